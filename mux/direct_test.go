//go:build unix

package mux

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// rested lets a bearer look as if nothing had been written to it for a while.
func rested(m *Mux) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wroteAt -= directRest
}

// On a bearer that rests, what is flushed has reached it when Flush returns; the writer is not needed. On a busy one it is left to the
// writer, which has more to put into each system call.
func TestFlushWrites(t *testing.T) {
	for name, dial := range map[string]func(testing.TB) (net.Conn, net.Conn){"TCP": tcpPair, "Unix": unixPair} {
		t.Run(name, func(t *testing.T) {
			x, y := dial(t)
			m := New(x, Config{EgressLimit: 1 << 20})
			defer m.Close()
			defer m.Abort(nil)
			ctx := background(t)
			var streams []*Stream
			for n := range uint16(3) {
				s, err := m.Register(StreamConfig{Number: n + 1})
				require.NoError(t, err)
				streams = append(streams, s)
			}
			s := streams[0]
			require.NoError(t, s.Send(ctx, []byte("early"))) // written by Start
			m.Start()
			want := append(sdu(1, Initiator, 5, []byte("early")), sdu(1, Initiator, 5, []byte("hello"))...)
			got := make([]byte, len(want)/2)
			_, err := io.ReadFull(y, got)
			require.NoError(t, err)
			waitFor(t, func() bool { m.mu.Lock(); defer m.mu.Unlock(); return !m.flushing })
			total := uint64(len(got))
			for i := range 3 {
				rested(m)
				require.NoError(t, s.Send(ctx, []byte("hello")))
				total += HeaderSize + 5
				_, out := m.Traffic()
				require.Equal(t, total, out, "flush %d", i)
				m.mu.Lock()
				require.False(t, m.flushing)
				m.mu.Unlock()
			}
			rested(m)
			for _, s := range streams { // several streams, several blocks, one write
				require.NoError(t, s.Hold(ctx, DefaultRank, []byte{1, 2, 3}, nil))
			}
			for _, s := range streams[1:] {
				s.out.Load().mu.Lock()
				s.out.Load().queued = true
				m.mu.Lock()
				m.sched.push(s, DefaultRank)
				m.mu.Unlock()
				s.out.Load().mu.Unlock()
			}
			require.NoError(t, s.Flush())
			total += 3 * (HeaderSize + 3)
			_, out := m.Traffic()
			require.Equal(t, total, out)
			rest := make([]byte, int(total)-len(got))
			_, err = io.ReadFull(y, rest)
			require.NoError(t, err)
			for i := range 3 {
				require.Equal(t, "hello", string(rest[i*13+8:(i+1)*13]))
			}
		})
	}
}

// What the bearer does not take at once is written by the writer, every byte once, whatever else is sent meanwhile.
func TestFlushWritesInPart(t *testing.T) {
	for name, dial := range map[string]func(testing.TB) (net.Conn, net.Conn){"TCP": tcpPair, "Unix": unixPair} {
		t.Run(name, func(t *testing.T) {
			x, y := dial(t)
			require.NoError(t, x.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(4096))
			m := New(x, Config{EgressLimit: 4 << 20, BatchBytes: 1 << 20, SDUSize: 5000, NotSentLowat: -1})
			defer m.Close()
			defer m.Abort(nil)
			s, err := m.Register(StreamConfig{Number: 7})
			require.NoError(t, err)
			m.Start()
			ctx := background(t)
			var want []byte
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 5 {
				p := make([]byte, 300_000)
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				require.NoError(t, s.Hold(ctx, DefaultRank, p, nil))
				want = append(want, p...)
			}
			rested(m)
			require.NoError(t, s.Flush())
			_, out := m.Traffic()
			require.NotZero(t, out, "nothing was written by Flush")
			require.Less(t, out, uint64(len(want)), "the bearer took everything")
			m.mu.Lock()
			require.True(t, m.flushing)
			m.mu.Unlock()
			require.NoError(t, s.Send(ctx, []byte("the end")))
			want = append(want, "the end"...)
			var got []byte
			for len(got) < len(want) {
				var h [HeaderSize]byte
				_, err := io.ReadFull(y, h[:])
				require.NoError(t, err)
				head, err := ParseHeader(h[:])
				require.NoError(t, err)
				p := make([]byte, head.Length)
				_, err = io.ReadFull(y, p)
				require.NoError(t, err)
				got = append(got, p...)
			}
			require.True(t, bytes.Equal(want, got))
		})
	}
}

// A write limit that has passed since the writer set it does not end anything.
func TestFlushWritesAfterALongRest(t *testing.T) {
	x, y := tcpPair(t)
	p := muxPair(t, x, y, Config{}, 5)
	ctx := background(t)
	require.NoError(t, x.SetWriteDeadline(time.Now().Add(-time.Second)))
	for range 3 {
		rested(p.a)
		require.NoError(t, p.a.Stream(5, Initiator).Send(ctx, []byte("still here")))
		got, err := readFull(ctx, p.b.Stream(5, Responder), 10)
		require.NoError(t, err)
		require.Equal(t, "still here", string(got))
	}
}

// A bearer that fails under Flush ends the connection with what the writer says of it, and Flush does not call back.
func TestFlushFails(t *testing.T) {
	x, _ := tcpPair(t)
	ended := make(chan error, 1)
	m := New(x, Config{Ended: func(err error) { ended <- err }})
	s, err := m.Register(StreamConfig{Number: 7})
	require.NoError(t, err)
	m.mu.Lock()
	m.started = true // but no reader, which would find out first
	m.mu.Unlock()
	require.NoError(t, x.(*net.TCPConn).CloseWrite())
	rested(m)
	require.NoError(t, s.Send(background(t), []byte("lost")))
	var e *Error
	require.ErrorAs(t, <-ended, &e)
	require.Equal(t, BearerFailed, e.Kind)
	require.NoError(t, m.Close())
	require.True(t, errors.As(m.Err(), &e))
}

// Bearers that can only be written to by waiting, and those with a distance between batches, are left to the writer.
func TestFlushLeavesItToTheWriter(t *testing.T) {
	x, _ := tcpPair(t)
	require.NotNil(t, New(x, Config{}).direct)
	require.Nil(t, New(x, Config{EgressInterval: time.Millisecond}).direct)
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		m := New(x, Config{})
		require.Nil(t, m.direct)
		s, err := m.Register(StreamConfig{Number: 7})
		require.NoError(t, err)
		m.Start()
		require.NoError(t, s.Send(t.Context(), []byte("x"))) // nobody reads
		m.Abort(nil)
		require.NoError(t, m.Close())
	})
}
