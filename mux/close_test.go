package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bearers are the bearers that every test of the whole path runs over.
var bearers = map[string]func(testing.TB) (net.Conn, net.Conn){
	"TCP":  tcpPair,
	"Unix": unixPair,
	"Pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
}

// TestCloseDeliversLastWords: everything that Send has taken before Close arrives, whoever reads late, and then the reader is
// told that the peer has closed.
func TestCloseDeliversLastWords(t *testing.T) {
	for name, bearer := range bearers {
		t.Run(name, func(t *testing.T) {
			x, y := bearer(t)
			p := muxPair(t, x, y, Config{}, 1, 2)
			ctx := background(t)
			const size = 200_000
			for _, n := range []uint16{1, 2} {
				require.NoError(t, p.a.Stream(n, Initiator).Send(ctx, patterned(n, size)))
			}
			closed := make(chan error, 1)
			go func() { closed <- p.a.Close() }()
			for _, n := range []uint16{1, 2} {
				got, err := readAll(ctx, p.b.Stream(n, Responder))
				requireBytes(t, patterned(n, size), got)
				require.ErrorIs(t, err, ErrBearerClosed)
			}
			require.NoError(t, <-closed)
			require.ErrorIs(t, p.a.Err(), ErrStopped)
			require.ErrorIs(t, p.b.Wait(ctx), ErrBearerClosed)
		})
	}
}

// requireBytes compares without printing megabytes.
func requireBytes(t testing.TB, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		n := 0
		for n < min(len(want), len(got)) && want[n] == got[n] {
			n++
		}
		t.Fatalf("%d bytes, want %d; they differ from byte %d on", len(got), len(want), n)
	}
}

// patterned returns n bytes that depend on the number and the position.
func patterned(number uint16, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8 + int(number)*31)
	}
	return p
}

// TestCloseWhileRunning is prop_mux_close: a stop while senders and receivers are in every state ends all of them with the
// same error, leaves no goroutine, and the peer sees a clean end.
func TestCloseWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 1, 2, 3, 4)
		ctx := t.Context()
		ended := make(chan error, 10)
		go func() { // waits for bytes that never come
			_, err := p.a.Stream(1, Responder).Wait(ctx, 0)
			ended <- err
		}()
		go func() { // sends without end; the other side reads
			for {
				if err := p.a.Stream(2, Initiator).Send(ctx, make([]byte, 5000)); err != nil {
					ended <- err
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		go func() { readAll(ctx, p.b.Stream(2, Responder)) }()
		time.Sleep(20 * time.Millisecond)
		require.NoError(t, p.a.Close())
		for range 2 {
			require.ErrorIs(t, <-ended, ErrStopped)
		}
		require.ErrorIs(t, p.b.Wait(ctx), ErrBearerClosed)
		require.NoError(t, p.a.Close(), "closing twice is no error")
		_, err := p.a.Stream(1, Responder).Wait(ctx, 0)
		require.ErrorIs(t, err, ErrStopped)
		require.ErrorIs(t, p.a.Stream(2, Initiator).Flush(), ErrStopped)
		require.Nil(t, p.a.Stream(2, Responder).Unread())
		p.a.Stream(2, Responder).Discard(5) // what was lent may be given back
	})
}

// TestCloseOfAStalledConnection: a peer that takes nothing delays Close by the drain limit and not more, and the blocked
// sender is released at once.
func TestCloseOfAStalledConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := memPair(1000)
		m := New(x, Config{})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		m.Start()
		sent := make(chan error, 1)
		go func() { sent <- s.Send(t.Context(), make([]byte, 1<<20)) }()
		synctest.Wait()
		began := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- m.Close() }()
		require.ErrorIs(t, <-sent, ErrStopped)
		require.Zero(t, time.Since(began))
		require.NoError(t, <-closed)
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

// TestCloseDoesNotWaitForTheEgressInterval: last words need not wait for company.
func TestCloseDoesNotWaitForTheEgressInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, peer := memPair(1000)
		m := New(x, Config{EgressInterval: time.Hour})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		m.Start()
		require.NoError(t, s.Send(t.Context(), []byte("a")))
		synctest.Wait()
		require.NoError(t, s.Send(t.Context(), []byte("b")))
		go func() {
			io.ReadAll(peer)
			peer.Close()
		}()
		began := time.Now()
		require.NoError(t, m.Close())
		require.Zero(t, time.Since(began))
		require.Equal(t, uint64(2), s.Counters().BytesOut)
	})
}

// TestCloseBothEnds: two ends that close at the same time do not wait for each other longer than it takes.
func TestCloseBothEnds(t *testing.T) {
	for name, bearer := range bearers {
		t.Run(name, func(t *testing.T) {
			x, y := bearer(t)
			p := muxPair(t, x, y, Config{DrainTimeout: time.Hour}, 1)
			done := make(chan error, 1)
			go func() { done <- p.a.Close() }()
			require.NoError(t, p.b.Close())
			require.NoError(t, <-done)
			require.NotNil(t, p.a.Err())
			require.NotNil(t, p.b.Err())
		})
	}
}

// TestCloseIsStoppedNotReset: an end that closes reports so, even when the peer answers its last bytes with a reset.
func TestCloseIsStoppedNotReset(t *testing.T) {
	x, y := tcpPair(t)
	m := New(x, Config{})
	s, err := m.Register(StreamConfig{Number: 1})
	require.NoError(t, err)
	m.Start()
	require.NoError(t, s.Send(background(t), []byte("bye")))
	go func() {
		io.ReadAll(y)
		y.(*net.TCPConn).SetLinger(0)
		y.Close()
	}()
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Err(), &Error{Kind: Stopped}, "%v", m.Err())
}

// TestErrorInTheMiddle: one error ends every stream of the connection, in whatever state it is, with that very error and its
// cause, and the peer's end with it; another connection is untouched.
func TestErrorInTheMiddle(t *testing.T) {
	x, y := tcpPair(t)
	p := muxPair(t, x, y, Config{}, 1, 2, 3)
	x2, y2 := tcpPair(t)
	other := muxPair(t, x2, y2, Config{}, 1)
	ctx := background(t)
	ended := make(chan error, 3)
	go func() {
		_, err := p.a.Stream(1, Initiator).Wait(ctx, 0)
		ended <- err
	}()
	go func() { ended <- p.a.Stream(2, Initiator).Send(ctx, make([]byte, 64<<20)) }() // nobody reads at the peer
	go func() { _, err := readAll(ctx, p.a.Stream(3, Responder)); ended <- err }()
	waitFor(t, func() bool { return p.a.Stream(2, Initiator).Counters().BytesOut > 1<<20 })
	cause := errors.New("chain-sync: tag 9 in state Idle")
	p.a.Abort(cause)
	for range 3 {
		err := <-ended
		require.ErrorIs(t, err, cause)
		require.Same(t, p.a.Err(), err)
	}
	require.ErrorIs(t, p.a.Wait(ctx), cause)
	require.ErrorIs(t, p.b.Wait(ctx), &Error{Kind: BearerFailed}, "a reset")
	require.Equal(t, "network", muxErr(p.b).Fault())
	require.NoError(t, other.a.Stream(1, Initiator).Send(ctx, []byte("still here")))
	got, err := readFull(ctx, other.b.Stream(1, Responder), 10)
	require.NoError(t, err)
	require.Equal(t, "still here", string(got))
}

// TestHalfClosed: a peer that closes its direction and goes on to read gets the answers to what it has sent, whole, and then
// the end; at our end the error is typed.
func TestHalfClosed(t *testing.T) {
	for _, name := range []string{"TCP", "Unix"} {
		t.Run(name, func(t *testing.T) {
			x, y := bearers[name](t)
			m := New(x, Config{})
			s, err := m.Register(StreamConfig{Number: 5, Role: Responder})
			require.NoError(t, err)
			m.Start()
			defer m.Close()
			ctx := background(t)
			const size = 3 << 20
			answered := make(chan error, 1)
			go func() {
				q, err := readFull(ctx, s, 4) // read and discarded before the answer is made
				if err == nil {
					err = s.Send(ctx, patterned(uint16(q[0]), size))
				}
				if err == nil {
					_, err = s.Wait(ctx, 0)
				}
				answered <- err
			}()
			mustWrite(t, y, sdu(5, Initiator, 4, []byte("ping")))
			require.NoError(t, y.(interface{ CloseWrite() error }).CloseWrite())
			var got []byte
			for {
				h, q, err := ReadSDU(y, MaxPayload)
				if err != nil {
					require.Equal(t, io.EOF, err)
					break
				}
				require.Equal(t, Responder, h.From)
				got = append(got, q...)
			}
			requireBytes(t, patterned('p', size), got)
			require.ErrorIs(t, <-answered, ErrBearerClosed)
			require.ErrorIs(t, m.Wait(ctx), ErrBearerClosed)
			require.Equal(t, "benign", muxErr(m).Fault())
		})
	}
}

// TestHalfClosedLingers: whoever never comes back to be told delays the end by the linger limit and not more.
func TestHalfClosedLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 1, 2)
		require.NoError(t, p.a.Stream(1, Initiator).Send(t.Context(), []byte("never read")))
		synctest.Wait()
		began := time.Now()
		require.NoError(t, x.CloseWrite())
		require.ErrorIs(t, p.b.Wait(t.Context()), ErrBearerClosed)
		require.Equal(t, time.Second, time.Since(began))
	})
	synctest.Test(t, func(t *testing.T) { // nobody has anything to read: at once
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 1, 2)
		began := time.Now()
		require.NoError(t, x.CloseWrite())
		require.ErrorIs(t, p.b.Wait(t.Context()), ErrBearerClosed)
		require.Zero(t, time.Since(began))
	})
}

// TestGoroutines: one per end while idle, none after Close.
func TestGoroutines(t *testing.T) {
	for _, name := range []string{"TCP", "Unix"} {
		t.Run(name, func(t *testing.T) {
			const pairs = 50
			var conns [][2]net.Conn
			for range pairs {
				x, y := bearers[name](t)
				conns = append(conns, [2]net.Conn{x, y})
			}
			var ps []pair
			ctx := background(t)
			for _, c := range conns {
				p := muxPair(t, c[0], c[1], Config{}, 2, 3, 4, 8, 10)
				require.NoError(t, p.a.Stream(8, Initiator).Send(ctx, []byte("ping")))
				_, err := readFull(ctx, p.b.Stream(8, Responder), 4)
				require.NoError(t, err)
				ps = append(ps, p)
			}
			waitFor(t, func() bool { return ownGoroutines() == 2*pairs })
			for _, p := range ps {
				p.a.Abort(nil)
				p.a.Close()
				p.b.Close()
			}
			waitFor(t, func() bool { return ownGoroutines() == 0 })
		})
	}
}

// ownGoroutines counts those that multiplexers have started.
func ownGoroutines() int {
	buf := make([]byte, 1<<20)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return bytes.Count(buf[:n], []byte("created by github.com/hearthnet/hearth/mux.(*Mux)."))
		}
		buf = make([]byte, 2*len(buf))
	}
}

// TestEnded: the host is told once, with the error that ended the connection, when nothing of it is open any more.
func TestEnded(t *testing.T) {
	x, y := tcpPair(t)
	told := make(chan error, 2)
	var m *Mux
	m = New(x, Config{Ended: func(err error) {
		select {
		case <-m.Done():
		default:
			t.Error("not done")
		}
		told <- err
	}})
	m.Start()
	mustWrite(t, y, sdu(1, Initiator, 1, []byte{1}))
	require.Equal(t, &Error{Kind: UnknownProtocol, Protocol: 1, Role: Responder}, <-told)
	m.Abort(nil)
	require.NoError(t, m.Close())
	require.Empty(t, told)
}

// TestWriteAfterThePeersEnd: an answer that finds nobody does not take the last words of the peer from those who still read.
func TestWriteAfterThePeersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 16)
		p := muxPair(t, x, y, Config{}, 1, 2)
		ctx := t.Context()
		require.NoError(t, p.a.Stream(1, Initiator).Send(ctx, []byte("last words")))
		synctest.Wait()
		require.NoError(t, x.Close()) // both directions
		synctest.Wait()
		require.NoError(t, p.b.Stream(2, Initiator).Send(ctx, []byte("anybody there?")))
		synctest.Wait()
		require.Error(t, p.b.Stream(2, Initiator).Send(ctx, []byte("no")))
		got, err := readAll(ctx, p.b.Stream(1, Responder))
		require.Equal(t, "last words", string(got))
		require.ErrorIs(t, err, ErrBearerClosed)
		require.ErrorIs(t, p.b.Wait(ctx), ErrBearerClosed)
	})
}

// TestTimestamp counts microseconds.
func TestTimestamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := Timestamp()
		time.Sleep(90*time.Minute + 5*time.Microsecond) // across the wrap at 71.6 minutes
		require.Equal(t, uint32((90*60*1_000_000+5)%(1<<32)), Timestamp()-before)
	})
}

// TestCloseOfAStalledTCP: last words that the peer does not take in time are given up; the error is still that of a stop.
func TestCloseOfAStalledTCP(t *testing.T) {
	x, _ := tcpPair(t)
	m := New(x, Config{DrainTimeout: 50 * time.Millisecond})
	s, err := m.Register(StreamConfig{Number: 5, EgressLimit: 64 << 20})
	require.NoError(t, err)
	m.Start()
	require.NoError(t, s.Send(background(t), make([]byte, 32<<20)))
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Err(), ErrStopped)
	require.Equal(t, "benign", muxErr(m).Fault())
}

// TestCloseAfterThePeersEnd: a peer that has closed its direction and reads late gets the last words of an end that closes.
func TestCloseAfterThePeersEnd(t *testing.T) {
	for _, when := range []string{"before", "during"} {
		t.Run(when, func(t *testing.T) {
			x, y := tcpPair(t)
			m := New(x, Config{})
			s, err := m.Register(StreamConfig{Number: 5})
			require.NoError(t, err)
			m.Start()
			const size = 50_000 // fits into what the kernel holds
			require.NoError(t, s.Send(background(t), patterned(5, size)))
			if when == "before" {
				require.NoError(t, y.(*net.TCPConn).CloseWrite())
				<-m.gone
			} else {
				go func() {
					waitFor(t, m.discarding.Load)
					y.(*net.TCPConn).CloseWrite()
				}()
			}
			require.NoError(t, m.Close())
			if when == "during" {
				require.ErrorIs(t, m.Err(), ErrStopped)
			} else { // nobody had anything to read: the connection may have ended by itself
				require.Equal(t, "benign", muxErr(m).Fault())
			}
			var got []byte
			for {
				_, p, err := ReadSDU(y, MaxPayload)
				if err != nil {
					require.Equal(t, io.EOF, err)
					break
				}
				got = append(got, p...)
			}
			requireBytes(t, patterned(5, size), got)
		})
	}
}
