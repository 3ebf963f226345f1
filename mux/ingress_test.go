package mux

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestViewsStayValid: what Wait has returned is not touched, moved or recycled, whatever arrives, until Discard has covered it or
// the next call, and not by the end of the connection either.
func TestViewsStayValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(8 << 20)
		m := New(x, Config{})
		registered(t, m, 1<<22)
		m.Start()
		s, other := m.Stream(2, Responder), m.Stream(2, Initiator)
		first := patterned(1, 400)
		mustWrite(t, y, sdu(2, Initiator, 400, first))
		synctest.Wait()
		view, err := s.Wait(t.Context(), 0)
		require.NoError(t, err)
		_ = append(view, "the owner's own business"...) // must not reach into what arrives next
		churn := func() {
			for i := range 40 { // this stream grows out of its buffer again and again, another one reuses what is given back
				n := 1000 * (i + 1)
				mustWrite(t, y, sdu(2, Initiator, n, bytes.Repeat([]byte{0xee}, n)))
				mustWrite(t, y, sdu(2, Responder, n, bytes.Repeat([]byte{0xdd}, n)))
				synctest.Wait()
				other.Discard(len(other.Unread()))
			}
		}
		churn()
		require.Equal(t, first, view)
		s.Discard(150)
		churn()
		require.Equal(t, first[150:], view[150:], "the part that was not discarded")
		s.Discard(250)
		view = s.Unread()
		require.Len(t, view, 2*820_000)
		require.Equal(t, bytes.Repeat([]byte{0xee}, len(view)), view)
		m.Abort(nil)
		m.Close()
		for range 100 {
			b := getBlock(len(view))
			b.buf = b.buf[:cap(b.buf)]
			clear(b.buf)
		}
		require.Equal(t, bytes.Repeat([]byte{0xee}, len(view)), view, "after the end")
	})
}

// TestDiscardTooMuch is a mistake of the caller.
func TestDiscardTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		m := New(x, Config{})
		registered(t, m, 1000)
		m.Start()
		s := m.Stream(2, Responder)
		require.Panics(t, func() { s.Discard(1) })
		mustWrite(t, y, sdu(2, Initiator, 5, []byte("hello")))
		synctest.Wait()
		require.Equal(t, 5, s.Buffered())
		require.Panics(t, func() { s.Discard(6) })
		require.Panics(t, func() { s.Discard(-1) })
		s.Discard(0)
		require.Equal(t, "hello", string(s.Unread()))
		s.Discard(5)
		require.Zero(t, s.Buffered())
		m.Abort(nil)
		m.Close()
	})
}

// TestOnData: a mini-protocol without a goroutine answers on the reader.
func TestOnData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 8)
		s := p.b.Stream(8, Responder)
		calls := 0
		s.OnData(func() {
			calls++
			q := s.Unread()
			if len(q) < 5 {
				return
			}
			require.NoError(t, s.TryAppend(0, q[:5]))
			require.NoError(t, s.Flush())
			s.Discard(5)
		})
		client := p.a.Stream(8, Initiator)
		for range 10 {
			require.NoError(t, client.Send(t.Context(), []byte("he")))
			synctest.Wait()
			require.NoError(t, client.Send(t.Context(), []byte("llo")))
			got, err := readFull(t.Context(), client, 5)
			require.NoError(t, err)
			require.Equal(t, "hello", string(got))
		}
		require.Equal(t, 20, calls)
		s.OnData(nil)
		require.NoError(t, client.Send(t.Context(), []byte("more")))
		synctest.Wait()
		require.Equal(t, 20, calls)
		require.Equal(t, "more", string(s.Unread()))
	})
}

// TestRegister: a number and role is registered once; counters are in order of registration.
func TestRegister(t *testing.T) {
	x, _ := tcpPair(t)
	m := New(x, Config{})
	defer m.Close()
	registered(t, m, 0)
	_, err := m.Register(StreamConfig{Number: 2, Role: Responder})
	require.Equal(t, &Error{Kind: AlreadyRegistered, Protocol: 2, Role: Responder, Local: true}, err)
	require.Equal(t, "internal", err.(*Error).Fault())
	require.Nil(t, m.Stream(3, Responder))
	s := m.Stream(3, Initiator)
	require.Same(t, m, s.Mux())
	require.Equal(t, 128<<10, s.ingressLimit)
	require.Equal(t, defaultEgressLimit, s.sending().limit)
	require.Equal(t, []StreamCounters{{Number: 2, Role: Initiator}, {Number: 2, Role: Responder}, {Number: 3, Role: Initiator}, {Number: 4, Role: Responder}}, m.Counters())
}

// TestIdleMemory measures what a pair of idle multiplexers costs after traffic: with all streams of node-to-node registered on
// both ends it holds no buffers.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Log("measured without the race detector, whose shadow memory counts too; with it only the traffic runs")
	}
	const pairs = 1000
	ctx := background(t)
	var before, after runtime.MemStats
	conns := make([][2]net.Conn, pairs)
	ps := make([]pair, pairs)
	for i := range conns {
		conns[i][0], conns[i][1] = tcpPair(t)
	}
	measure := func(s *runtime.MemStats) {
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(s)
	}
	measure(&before)
	for i := range ps {
		p := pair{New(conns[i][0], Config{}), New(conns[i][1], Config{})}
		for _, n := range []uint16{2, 3, 4, 8, 10} {
			for _, m := range []*Mux{p.a, p.b} {
				for _, r := range []Role{Initiator, Responder} {
					_, err := m.Register(StreamConfig{Number: n, Role: r})
					require.NoError(t, err)
				}
			}
		}
		p.a.Start()
		p.b.Start()
		ps[i] = p
		for _, n := range []uint16{2, 8} {
			require.NoError(t, p.a.Stream(n, Initiator).Send(ctx, make([]byte, 5000)))
			_, err := readFull(ctx, p.b.Stream(n, Responder), 5000)
			require.NoError(t, err)
		}
	}
	waitFor(t, func() bool { return ownGoroutines() == 2*pairs })
	for _, p := range ps { // nothing is buffered, so nothing is held but what the stream itself is
		for _, m := range []*Mux{p.a, p.b} {
			for _, s := range *m.streams.Load() {
				if in := s.in.Load(); in != nil {
					require.Nil(t, in.b)
					require.Nil(t, in.old)
				}
				require.Nil(t, s.sending().head)
			}
		}
	}
	measure(&after)
	each := (int64(after.HeapAlloc) + int64(after.StackInuse) - int64(before.HeapAlloc) - int64(before.StackInuse)) / pairs
	t.Logf("%d bytes a pair, heap and stack, both ends, 10 streams each", each)
	if !raceEnabled {
		require.Less(t, each, int64(16<<10))
	}
	for _, p := range ps {
		p.a.Abort(nil)
		p.a.Close()
		p.b.Close()
	}
}

// TestAllocations: a message of 1 KiB costs less than a tenth of an allocation, both ends together, streamed or as a round trip.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("not counted with the race detector, which drops pooled buffers at random; the traffic runs all the same")
	}
	x, y := tcpPair(t)
	p := muxPair(t, x, y, Config{}, 1)
	ctx := background(t)
	client, server := p.a.Stream(1, Initiator), p.b.Stream(1, Responder)
	msg := make([]byte, 1024)
	take := func(s *Stream) {
		seen := 0
		for seen < len(msg) {
			q, err := s.Wait(ctx, seen)
			if err != nil {
				t.Error(err)
				return
			}
			seen = len(q)
		}
		s.Discard(len(msg))
	}
	check := func(what string, n float64, f func()) {
		f()
		f()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		each := float64(after.Mallocs-before.Mallocs) / n
		t.Logf("%s: %.4f allocations a message", what, each)
		if !raceEnabled && each > 0.1 {
			t.Errorf("%s: %.3f allocations a message", what, each)
		}
	}
	check("stream", 20_000, func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20_000 {
				take(server)
			}
		}()
		for range 20_000 {
			if err := client.Send(ctx, msg); err != nil {
				t.Error(err)
				break
			}
		}
		<-done
	})
	check("round trip", 2*2000, func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 2000 {
				take(server)
				if err := server.Send(ctx, msg); err != nil {
					t.Error(err)
				}
			}
		}()
		for range 2000 {
			if err := client.Send(ctx, msg); err != nil {
				t.Error(err)
				break
			}
			take(client)
		}
		<-done
	})
}

// TestBufferOfLittle: a stream that has held much and holds little keeps a small buffer.
func TestBufferOfLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 20)
		m := New(x, Config{})
		registered(t, m, 1<<20)
		m.Start()
		s := m.Stream(2, Responder)
		for range 10 {
			mustWrite(t, y, sdu(2, Initiator, 60_000, patterned(1, 60_000)))
		}
		synctest.Wait()
		require.Len(t, s.Unread(), 600_000)
		require.LessOrEqual(t, cap(s.in.Load().b.buf), 3*600_000)
		s.Discard(599_990)
		require.Equal(t, patterned(1, 60_000)[59_990:], s.Unread())
		require.LessOrEqual(t, cap(s.in.Load().b.buf), 64<<10)
		s.Discard(10)
		require.Nil(t, s.in.Load().b)
		mustWrite(t, y, sdu(2, Initiator, 1, []byte{1}))
		synctest.Wait()
		require.Equal(t, 1, s.Buffered())
		require.LessOrEqual(t, cap(s.in.Load().b.buf), 64<<10, "nor does it ask for as much again")
		m.Abort(nil)
		m.Close()
	})
}

// TestViewsOutliveAFailedWait: an owner whose wait was cut short goes on with what it had.
func TestViewsOutliveAFailedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		m := New(x, Config{})
		registered(t, m, 1<<20)
		m.Start()
		s := m.Stream(2, Responder)
		msg := patterned(1, 400)
		mustWrite(t, y, sdu(2, Initiator, 400, msg))
		synctest.Wait()
		view, err := s.Wait(t.Context(), 0)
		require.NoError(t, err)
		s.Discard(300)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Wait(gone, 100)
		require.ErrorIs(t, err, context.Canceled)
		for range 20 {
			mustWrite(t, y, sdu(2, Initiator, 350, bytes.Repeat([]byte{0xee}, 350)))
			synctest.Wait()
			require.Equal(t, msg[300:], view[300:])
		}
		view, err = s.Wait(t.Context(), 100)
		require.NoError(t, err)
		require.Equal(t, msg[300:], view[:100])
		require.Len(t, view, 100+20*350)
		require.Nil(t, s.in.Load().old)
		m.Abort(nil)
		m.Close()
	})
}
