package mux

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSDUReadTimeout: nothing limits the wait for an SDU; 30 s after its first byte it must be whole, however steadily its bytes
// drip, and every SDU has its own 30 s (wire §2.4).
func TestSDUReadTimeout(t *testing.T) {
	whole := sdu(2, Initiator, 92, make([]byte, 92))
	for _, c := range []struct {
		name string
		cut  int
	}{{"one byte of header", 1}, {"seven bytes of header", 7}, {"header only", 8}, {"all but one byte", 99}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := memPair(1 << 16)
				m := New(x, Config{})
				registered(t, m, 1000)
				m.Start()
				time.Sleep(24 * time.Hour)
				mustWrite(t, y, whole) // an idle connection is no less alive
				time.Sleep(24 * time.Hour)
				require.NoError(t, m.Err())
				began := time.Now()
				mustWrite(t, y, whole[:c.cut])
				err := m.Wait(t.Context())
				require.Equal(t, 30*time.Second, time.Since(began))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Equal(t, ReadTimeout, err.(*Error).Kind)
				require.Equal(t, "network", err.(*Error).Fault())
			})
		})
	}
	t.Run("a byte a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, y := memPair(1 << 16)
			m := New(x, Config{})
			registered(t, m, 1000)
			m.Start()
			began := time.Now()
			dripped := make(chan struct{})
			go func() {
				defer close(dripped)
				for _, b := range whole {
					if _, err := y.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			require.ErrorIs(t, m.Wait(t.Context()), os.ErrDeadlineExceeded)
			require.Equal(t, 30*time.Second, time.Since(began))
			<-dripped
		})
	})
	t.Run("each SDU has its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, y := memPair(1 << 16)
			m := New(x, Config{})
			registered(t, m, 10_000)
			m.Start()
			mustWrite(t, y, whole[:50])
			for range 10 { // each write ends one SDU and begins the next
				time.Sleep(29 * time.Second)
				mustWrite(t, y, append(append([]byte(nil), whole[50:]...), whole[:50]...))
			}
			time.Sleep(29 * time.Second)
			mustWrite(t, y, whole[50:])
			time.Sleep(time.Hour)
			require.NoError(t, m.Err())
			require.Equal(t, uint64(11), m.Stream(2, Responder).Counters().SDUsIn)
			m.Abort(nil)
			m.Close()
		})
	})
}

// TestSDUReadTimeoutOverTCP: the limit works on a real socket's poller too, and its expiry is not one of the idle wait.
func TestSDUReadTimeoutOverTCP(t *testing.T) {
	for _, name := range []string{"TCP", "Unix", "Pipe"} {
		t.Run(name, func(t *testing.T) {
			x, y := bearers[name](t)
			m := New(x, Config{SDUTimeout: 50 * time.Millisecond})
			registered(t, m, 1000)
			m.Start()
			defer m.Close()
			ctx := background(t)
			whole := sdu(2, Initiator, 92, make([]byte, 92))
			for range 3 {
				mustWrite(t, y, whole[:40])
				mustWrite(t, y, whole[40:])
				_, err := readFull(ctx, m.Stream(2, Responder), 92)
				require.NoError(t, err)
			}
			idle, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, m.Wait(idle), context.DeadlineExceeded)
			mustWrite(t, y, whole[:40])
			require.ErrorIs(t, m.Wait(ctx), os.ErrDeadlineExceeded)
			require.Equal(t, ReadTimeout, muxErr(m).Kind)
			require.Equal(t, uint16(2), muxErr(m).Protocol)
		})
	}
}

// TestWriteTimeout: a batch of n SDUs has n times 30 s; a peer that reads slowly, but within that, is no error.
func TestWriteTimeout(t *testing.T) {
	for sdus := 1; sdus <= 5; sdus += 2 {
		synctest.Test(t, func(t *testing.T) {
			x, y := memPair(10)
			m := New(x, Config{SDUSize: 100})
			s, err := m.Register(StreamConfig{Number: 9, Role: Responder})
			require.NoError(t, err)
			require.NoError(t, s.Send(t.Context(), make([]byte, 100*sdus)))
			began := time.Now()
			m.Start()
			err = m.Wait(t.Context())
			require.Equal(t, time.Duration(sdus)*30*time.Second, time.Since(began))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.ErrorIs(t, s.Send(t.Context(), []byte{1}), err)
			require.Equal(t, WriteTimeout, err.(*Error).Kind)
			require.Equal(t, "network", err.(*Error).Fault())
			_ = y
		})
	}
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(10)
		m := New(x, Config{SDUSize: 100})
		s, err := m.Register(StreamConfig{Number: 9, Role: Responder})
		require.NoError(t, err)
		m.Start()
		for range 10 {
			require.NoError(t, s.Send(t.Context(), make([]byte, 100)))
			time.Sleep(29 * time.Second)
			_, _, err := ReadSDU(y, 100)
			require.NoError(t, err)
		}
		require.NoError(t, m.Err())
		m.Abort(nil)
		m.Close()
	})
}

// TestContexts: a context that ends releases exactly the call it was given to, at any moment, and the stream goes on.
func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(100)
		m := New(x, Config{SDUSize: 100, BatchBytes: 100, EgressLimit: 1000})
		registered(t, m, 1<<20)
		m.Start()
		s, in := m.Stream(2, Initiator), m.Stream(2, Responder)
		cause := context.DeadlineExceeded
		limited := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		for range 3 {
			_, err := in.Wait(limited(), 0)
			require.ErrorIs(t, err, cause)
		}
		mustWrite(t, y, sdu(2, Initiator, 3, []byte("abc")))
		p, err := in.Wait(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, "abc", string(p))
		_, err = in.Wait(limited(), 3)
		require.ErrorIs(t, err, cause)
		require.Equal(t, "abc", string(in.Unread()), "a wait that failed takes nothing")

		require.ErrorIs(t, s.Append(limited(), 4, make([]byte, 5000)), cause)
		require.ErrorIs(t, s.Append(limited(), 4, make([]byte, 5000)), cause)
		require.ErrorIs(t, s.WaitCut(limited()), cause)
		require.ErrorIs(t, m.Wait(limited()), cause)
		taken := s.Counters().BytesOut
		go func() {
			for {
				if _, _, err := ReadSDU(y, 100); err != nil {
					return
				}
			}
		}()
		require.NoError(t, s.WaitCut(t.Context()))
		require.Greater(t, s.Counters().BytesOut, taken)
		require.NoError(t, s.Send(t.Context(), make([]byte, 5000)))
		require.NoError(t, s.WaitCut(t.Context()))
		m.Abort(nil)
		m.Close()
	})
}

// TestContextEndsAsBytesArrive has the end of a wait's context and the arrival race each other: no wake-up is lost, none is
// left over for the next wait.
func TestContextEndsAsBytesArrive(t *testing.T) {
	x, y := tcpPair(t)
	p := muxPair(t, x, y, Config{EgressLimit: 64}, 1)
	out, in := p.a.Stream(1, Initiator), p.b.Stream(1, Responder)
	ctx := background(t)
	got := 0
	for i := range 3000 {
		wait, cancel := context.WithCancel(ctx)
		started := make(chan struct{})
		go func() {
			close(started)
			cancel()
		}()
		if i%2 == 0 {
			<-started
		}
		require.NoError(t, out.Send(ctx, []byte{1}))
		if q, err := in.Wait(wait, 0); err == nil {
			got += len(q)
			in.Discard(len(q))
		} else {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
		// and the sender's side: a full stream whose wait for room is given up
		send, cancelSend := context.WithCancel(ctx)
		go cancelSend()
		if err := out.Send(send, make([]byte, 200)); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancelSend()
	}
	require.NoError(t, out.WaitCut(ctx))
	want := int(out.Counters().BytesOut)
	_, err := readFull(ctx, in, want-got)
	require.NoError(t, err)
	require.Zero(t, p.b.Unread())
}
