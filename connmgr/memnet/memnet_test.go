package memnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
	portA = netip.AddrPortFrom(addrA, 3001)
	portB = netip.AddrPortFrom(addrB, 3001)
	any4  = netip.AddrPort{}
)

// duo is two hosts, each with a listener.
type duo struct {
	*testing.T
	net    *Network
	a, b   *Host
	la, lb *Listener
}

// bubble runs f in virtual time.
func bubble(t *testing.T, cfg Config, f func(d *duo)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &duo{T: t, net: New(cfg)}
		d.a, d.b = d.net.Host(addrA), d.net.Host(addrB)
		var err error
		d.la, err = d.a.Listen(portA)
		require.NoError(t, err)
		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
		f(d)
		d.la.Close()
		d.lb.Close()
	})
}

func (d *duo) connect() (a, b *Conn) {
	d.Helper()
	a, err := d.a.Dial(context.Background(), any4, portB)
	require.NoError(d, err)
	c, err := d.lb.Accept()
	require.NoError(d, err)
	return a, c.(*Conn)
}

func closeAll(conns ...net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func readN(t require.TestingT, c net.Conn, n int) []byte {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	return b
}

func TestLatencyBandwidthAndJitterShapeDelivery(t *testing.T) {
	cfg := Config{Link: Link{Latency: 50 * time.Millisecond, Bandwidth: 1000}}
	bubble(t, cfg, func(d *duo) {
		begin := time.Now()
		a, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		require.Equal(t, 100*time.Millisecond, time.Since(begin), "a dial takes one round trip")
		b, err := d.lb.Accept()
		require.NoError(t, err)
		require.Equal(t, 150*time.Millisecond, time.Since(begin), "an accept half a round trip more")
		sent := time.Now()
		_, err = a.Write(make([]byte, 500))
		require.NoError(t, err)
		readN(t, b, 500)
		// The write was made when the dial returned's clock had moved to 150 ms.
		require.Equal(t, 550*time.Millisecond, time.Since(sent), "500 bytes at 1000 B/s and 50 ms")
		closeAll(a, b)
	})
}

func TestJitterKeepsOrder(t *testing.T) {
	cfg := Config{Seed: 7, Link: Link{Latency: time.Millisecond, Jitter: time.Second, Segment: 8, Resplit: true}}
	bubble(t, cfg, func(d *duo) {
		a, b := d.connect()
		want := make([]byte, 4096)
		for i := range want {
			want[i] = byte(i * 7)
		}
		_, err := a.Write(want)
		require.NoError(t, err)
		require.Equal(t, want, readN(t, b, len(want)))
		closeAll(a, b)
	})
}

// The same seed gives the same sizes of reads at the same times, another seed others.
func TestSeedDecidesSplittingAndTimes(t *testing.T) {
	trace := func(seed uint64) (out string) {
		cfg := Config{Seed: seed, Link: Link{Latency: time.Millisecond, Jitter: 5 * time.Millisecond, Segment: 100, Resplit: true}}
		bubble(t, cfg, func(d *duo) {
			a, b := d.connect()
			begin := time.Now()
			go func() {
				a.Write(make([]byte, 3000))
				a.CloseWrite()
			}()
			buf := make([]byte, 64)
			for {
				n, err := b.Read(buf)
				if err != nil {
					break
				}
				out += fmt.Sprintf("%d@%v ", n, time.Since(begin))
			}
			closeAll(a, b)
		})
		return out
	}
	first := trace(1)
	require.Equal(t, first, trace(1))
	require.NotEqual(t, first, trace(2))
}

func TestWindowStopsTheWriterUntilTheReaderReads(t *testing.T) {
	bubble(t, Config{Window: 1000}, func(d *duo) {
		a, b := d.connect()
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := a.Write(make([]byte, 1500))
		require.Equal(t, 1000, n)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetWriteDeadline(time.Time{})
		done := make(chan error)
		go func() {
			_, err := a.Write(make([]byte, 500))
			done <- err
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("the window was full")
		default:
		}
		readN(t, b, 500)
		require.NoError(t, <-done)
		closeAll(a, b)
	})
}

func TestSimultaneousOpenMakesOneConnection(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		var wg sync.WaitGroup
		var a, b *Conn
		wg.Go(func() {
			var err error
			a, err = d.a.Dial(context.Background(), portA, portB)
			require.NoError(t, err)
		})
		wg.Go(func() {
			time.Sleep(5 * time.Millisecond)
			var err error
			b, err = d.b.Dial(context.Background(), portB, portA)
			require.NoError(t, err)
		})
		wg.Wait()
		require.Equal(t, 1, d.net.Pairs(addrA, addrB))
		for _, l := range []*Listener{d.la, d.lb} {
			l.SetDeadline(time.Now().Add(time.Second))
			_, err := l.Accept()
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nobody accepts a simultaneous open")
		}
		a.Write([]byte("to b"))
		b.Write([]byte("to a"))
		require.Equal(t, "to b", string(readN(t, b, 4)))
		require.Equal(t, "to a", string(readN(t, a, 4)))
		closeAll(a, b)
	})
}

func TestDialOfABusyTupleFails(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		_, err = d.a.Dial(context.Background(), portA, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		_, err = d.b.Dial(context.Background(), portB, portA)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "the other side's tuple is the same one")
		closeAll(a, b)
	})
}

func TestSelfConnectIsAnEcho(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		c, err := d.a.Dial(context.Background(), portA, portA)
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr(), c.RemoteAddr())
		c.Write([]byte("hello"))
		require.Equal(t, "hello", string(readN(t, c, 5)))
		c.Close()
	})
}

func TestDialFailures(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		ctx := context.Background()
		_, err := d.a.Dial(ctx, any4, netip.AddrPortFrom(addrB, 9))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		begin := time.Now()
		_, err = d.a.Dial(ctx, any4, netip.MustParseAddrPort("10.9.9.9:1"))
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, 120*time.Second, time.Since(begin))

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = d.a.Dial(short, any4, netip.MustParseAddrPort("10.9.9.9:1"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		_, err = d.a.Dial(ctx, portB, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "not our address")

		d.a.FailSockets(syscall.ENFILE)
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, syscall.ENFILE)

		boom := errors.New("boom")
		d.net.Script(addrA, addrB, Bearer{DialErr: boom}, Bearer{Delay: time.Hour}, Bearer{})
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, boom)
		_, err = d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		for range 2 { // the last bearer serves all further dials
			a, b := d.connect()
			closeAll(a, b)
		}
		require.Equal(t, 1, d.a.Descriptors(), "only the listener is left")
	})
}

func TestAbandonedDialLeavesNothingAtTheListener(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: time.Second}}, func(d *duo) {
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		_, err := d.a.Dial(ctx, any4, portB)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		time.Sleep(10 * time.Second)
		d.la.Close()
		d.lb.Close()
		require.NoError(t, d.net.Check())
	})
}

func TestOrderlyCloseDeliversEverythingAndLeavesTimeWait(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		a.Write([]byte("last words"))
		a.Close()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Equal(t, "last words", string(got))
		b.Close()
		time.Sleep(time.Second)
		_, err = d.a.Dial(context.Background(), portA, portB)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "the active closer is in TIME_WAIT")
		// The other side may come in from the same tuple.
		b2, err := d.b.Dial(context.Background(), portB, portA)
		require.NoError(t, err)
		a2, err := d.la.Accept()
		require.NoError(t, err)
		closeAll(b2, a2)
		time.Sleep(2 * time.Minute)
		require.Zero(t, d.net.remains())
	})
}

func TestCloseWriteKeepsReading(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		require.NoError(t, a.CloseWrite())
		_, err := a.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = b.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		b.Write([]byte("still here"))
		require.Equal(t, "still here", string(readN(t, a, 10)))
		closeAll(b, a)
	})
}

func TestLingerZeroResets(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err := d.lb.Accept()
		require.NoError(t, err)
		a.SetLinger(0)
		a.Close()
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		b.Close()
		// No TIME_WAIT: the tuple is free at once.
		a, err = d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		b, err = d.lb.Accept()
		require.NoError(t, err)
		closeAll(a, b)
	})
}

func TestCloseWithUnreadBytesResets(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		a.Write([]byte("never read"))
		b.Close()
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		a.Close()
	})
}

func TestLostResetLeavesTheOtherEndHalfOpen(t *testing.T) {
	bubble(t, Config{Link: Link{LoseReset: true}}, func(d *duo) {
		a, b := d.connect()
		a.SetLinger(0)
		a.Close()
		b.SetDeadline(time.Now().Add(time.Hour))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nobody told b")
		b.SetDeadline(time.Time{})
		_, err = b.Write([]byte("anybody?"))
		require.NoError(t, err)
		d.net.SetLinks(addrA, addrB, Link{})
		_, err = b.Write([]byte("anybody?"))
		require.NoError(t, err)
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET, "bytes for nobody are answered by a reset")
		b.Close()
	})
}

// A peer that restarted without a word dials from the same port: the stale end is found out by the challenge of its kernel.
func TestRedialOverAHalfOpenConnection(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		stale, err := d.lb.Accept()
		require.NoError(t, err)
		a.Vanish()
		a.Close()
		begin := time.Now()
		a2, err := d.a.Dial(context.Background(), portA, portB)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin), "the second SYN gets in")
		_, err = stale.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		fresh, err := d.lb.Accept()
		require.NoError(t, err)
		closeAll(stale, a2, fresh)
	})
}

func TestPartitionDelaysBytesAndLosesResets(t *testing.T) {
	bubble(t, Config{Link: Link{Latency: 10 * time.Millisecond}}, func(d *duo) {
		a, b := d.connect()
		a.Write([]byte("before "))
		d.net.Partition(addrA, addrB)
		a.Write([]byte("during "))
		b.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})
		d.net.Heal(addrA, addrB)
		a.Write([]byte("after"))
		require.Equal(t, "before during after", string(readN(t, b, 19)))

		d.net.Partition(addrA, addrB)
		_, err = d.a.Dial(timeout(t, 5*time.Second), any4, portB)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetLinger(0)
		a.Close()
		time.Sleep(time.Second)
		d.net.Heal(addrA, addrB)
		time.Sleep(time.Second)
		b.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the reset is gone for good")
		b.Close()
		time.Sleep(time.Second)
	})
}

func timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOneWayPartitionStopsTheOtherDirectionAtItsWindow(t *testing.T) {
	bubble(t, Config{Window: 10}, func(d *duo) {
		a, b := d.connect()
		d.net.Cut(addrB, addrA)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		go readN(t, b, 20)
		n, err := a.Write(make([]byte, 20))
		require.Equal(t, 10, n, "b reads them, but its acknowledgements do not arrive")
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetWriteDeadline(time.Time{})
		d.net.Heal(addrA, addrB)
		_, err = a.Write(make([]byte, 10))
		require.NoError(t, err)
		synctest.Wait()
		closeAll(a, b)
	})
}

func TestUndeliverableBytesEndTheConnection(t *testing.T) {
	bubble(t, Config{RetransmitTimeout: time.Minute}, func(d *duo) {
		a, b := d.connect()
		d.net.Partition(addrA, addrB)
		begin := time.Now()
		a.Write([]byte("lost"))
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		require.Equal(t, time.Minute, time.Since(begin))
		d.net.Heal(addrA, addrB)
		closeAll(a, b)
	})
}

func TestSynIsRetriedThroughAShortPartition(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Partition(addrA, addrB)
		time.AfterFunc(2*time.Second, func() { d.net.Heal(addrA, addrB) })
		begin := time.Now()
		a, b := d.connect()
		require.Equal(t, 3*time.Second, time.Since(begin), "SYNs at 0, 1 and 3 s")
		closeAll(a, b)
	})
}

func TestNthWriteFails(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Script(addrA, addrB, Bearer{Dialling: End{FailWrite: 3}, Accepting: End{FailWrite: 1, WriteErr: io.ErrNoProgress}})
		a, b := d.connect()
		for i := 1; i <= 4; i++ {
			_, err := a.Write([]byte("x"))
			if i < 3 {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, syscall.ECONNRESET)
			}
		}
		_, err := b.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrNoProgress)
		closeAll(a, b)
	})
}

func TestCutsTruncateInsideASegment(t *testing.T) {
	for kind, want := range map[CutKind]error{CutReset: syscall.ECONNRESET, CutEOF: io.EOF, CutSilent: os.ErrDeadlineExceeded} {
		bubble(t, Config{Link: Link{Latency: time.Millisecond}}, func(d *duo) {
			d.net.Script(addrA, addrB, Bearer{Dialling: End{CutAfter: 10, Cut: kind}})
			a, b := d.connect()
			a.Write(make([]byte, 6))
			readN(t, b, 6)
			a.Write(make([]byte, 6))
			b.SetReadDeadline(time.Now().Add(time.Minute))
			got, err := io.ReadAll(b)
			if want == io.EOF {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, want)
			}
			if kind != CutReset { // a reset may throw away what was not read
				require.Len(t, got, 4)
			}
			closeAll(a, b)
		})
	}
}

func TestPhasesStallSlowAndFail(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		boom := errors.New("boom")
		d.net.Script(addrA, addrB, Bearer{Accepting: End{Phases: []Phase{
			{From: time.Second, Until: 3 * time.Second, Stall: true},
			{From: 10 * time.Second, Until: 20 * time.Second, Bandwidth: 100},
			{From: 30 * time.Second, Err: boom},
		}}})
		a, b := d.connect()
		begin := time.Now()
		at := func(s float64) { time.Sleep(time.Duration(s*float64(time.Second)) - time.Since(begin)) }
		at(1.5)
		a.Write([]byte("x"))
		readN(t, b, 1)
		require.Equal(t, 3*time.Second, time.Since(begin))
		at(10)
		a.Write(make([]byte, 200))
		a.Write(make([]byte, 100))
		readN(t, b, 300)
		require.Equal(t, 13*time.Second, time.Since(begin))
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, boom)
		require.Equal(t, 30*time.Second, time.Since(begin), "a waiting read notices the phase")
		closeAll(a, b)
	})
}

func TestLateBytesReachTheNextConnectionOfTheTuple(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.net.Script(addrA, addrB, Bearer{Dialling: End{Late: time.Second}}, Bearer{})
		open := func() (*Conn, net.Conn) {
			a, err := d.a.Dial(context.Background(), portA, portB)
			require.NoError(t, err)
			b, err := d.lb.Accept()
			require.NoError(t, err)
			return a, b
		}
		a, b := open()
		a.Write([]byte("old"))
		readN(t, b, 3)
		a.SetLinger(0)
		a.Close()
		b.Close()
		a, b = open()
		a.Write([]byte("new"))
		require.Equal(t, "newold", string(readN(t, b, 6)))
		closeAll(a, b)
	})
}

func TestAcceptFailures(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		d.lb.FailAccept(syscall.EMFILE, syscall.ENOBUFS)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EMFILE)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.ENOBUFS)
		b, err := d.lb.Accept()
		require.NoError(t, err, "the connection waited in the queue")
		closeAll(a, b)

		d.lb.AbortAccept(syscall.ECONNABORTED)
		a, err = d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.ECONNABORTED)
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		a.Close()

		d.lb.FailAcceptFor(time.Second, syscall.EPROTO)
		a, err = d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EPROTO)
		a.Close()
		time.Sleep(time.Second)
		a, b = d.connect()
		closeAll(a, b)
	})
}

func TestDescriptorLimit(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		d.b.SetDescriptors(2) // the listener and one more
		a, b := d.connect()
		a2, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err, "the kernel connects, the process cannot accept")
		_, err = d.lb.Accept()
		require.ErrorIs(t, err, syscall.EMFILE)
		_, err = d.b.Dial(context.Background(), any4, portA)
		require.ErrorIs(t, err, syscall.EMFILE)
		b.Close()
		b2, err := d.lb.Accept()
		require.NoError(t, err)
		closeAll(a, a2, b2)
		require.Equal(t, 1, d.b.Descriptors())
	})
}

func TestFullBacklogDropsSyns(t *testing.T) {
	bubble(t, Config{Backlog: 2}, func(d *duo) {
		a1, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		a2, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, func() {
			b, _ := d.lb.Accept()
			b.Close()
		})
		begin := time.Now()
		a3, err := d.a.Dial(context.Background(), any4, portB)
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, time.Since(begin), "SYNs at 0, 1, 3 and 7 s")
		closeAll(a1, a2, a3)
	})
}

func TestKillPowerOffAndOn(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		d.b.Kill()
		_, err := a.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		_, err = d.a.Dial(context.Background(), any4, portB)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		closeAll(a, b)

		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
		a, b = d.connect()
		d.b.PowerOff()
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ENETDOWN)
		_, err = d.b.Dial(context.Background(), any4, portA)
		require.ErrorIs(t, err, syscall.ENETDOWN)
		a.Write([]byte("anybody?"))
		a.SetReadDeadline(time.Now().Add(time.Minute))
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		a.SetReadDeadline(time.Time{})
		d.b.PowerOn()
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		closeAll(a, b)
		d.lb, err = d.b.Listen(portB)
		require.NoError(t, err)
	})
}

func TestWildcardListenersOfDifferentHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{})
		six := netip.MustParseAddr("fd00::1")
		a, b := n.Host(addrA, six), n.Host(addrB)
		var ls []*Listener
		for _, h := range []*Host{a, b} {
			l, err := h.Listen(netip.MustParseAddrPort("0.0.0.0:3001"))
			require.NoError(t, err)
			ls = append(ls, l)
			_, err = h.Listen(netip.MustParseAddrPort("0.0.0.0:3001"))
			require.ErrorIs(t, err, syscall.EADDRINUSE)
		}
		c, err := b.DialContext(context.Background(), "tcp", "10.0.0.1:3001")
		require.NoError(t, err)
		s, err := ls[0].Accept()
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1:3001", s.LocalAddr().String())
		_, err = a.Dial(context.Background(), any4, netip.AddrPortFrom(six, 3001))
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "the IPv4 wildcard does not serve IPv6")
		closeAll(c, s)
		closeAllListeners(ls...)
		require.NoError(t, n.Check())
	})
}

func closeAllListeners(ls ...*Listener) {
	for _, l := range ls {
		l.Close()
	}
}

func TestCheckListsWhatIsOpen(t *testing.T) {
	bubble(t, Config{}, func(d *duo) {
		a, b := d.connect()
		require.ErrorContains(t, d.net.Check(), "listener 10.0.0.1:3001")
		require.ErrorContains(t, d.net.Check(), "ESTABLISHED 10.0.0.2:3001 -> 10.0.0.1:32768")
		closeAll(a, b)
		closeAllListeners(d.la, d.lb)
		require.NoError(t, d.net.Check())
		_, err := d.la.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// A deadline wakes a call that waits already, can be moved while it waits, and ends calls that would have succeeded.
func TestDeadlines(t *testing.T) {
	bubble(t, Config{Window: 1}, func(d *duo) {
		a, b := d.connect()
		begin := time.Now()
		time.AfterFunc(time.Second, func() { a.SetReadDeadline(begin.Add(5 * time.Second)) })
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(begin))

		b.Write([]byte("x"))
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the deadline comes before the bytes")
		a.SetReadDeadline(time.Time{})
		readN(t, a, 1)

		a.Write([]byte("x")) // the window is full now
		a.SetWriteDeadline(time.Now().Add(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { a.SetWriteDeadline(time.Now().Add(time.Hour)) })
		begin = time.Now()
		_, err = a.Write([]byte("x"))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, time.Hour+500*time.Millisecond, time.Since(begin))
		closeAll(a, b)
		require.ErrorIs(t, a.SetDeadline(time.Time{}), net.ErrClosed)
	})
}

func TestCloseWakesWaitingCalls(t *testing.T) {
	bubble(t, Config{Window: 1}, func(d *duo) {
		a, b := d.connect()
		var wg sync.WaitGroup
		for range 2 { // several readers may wait
			wg.Go(func() {
				_, err := a.Read(make([]byte, 1))
				require.ErrorIs(t, err, net.ErrClosed)
			})
		}
		wg.Go(func() {
			_, err := a.Write(make([]byte, 2))
			require.ErrorIs(t, err, net.ErrClosed)
		})
		wg.Go(func() {
			_, err := d.lb.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
		})
		synctest.Wait()
		closeAll(a, b)
		require.ErrorIs(t, a.Close(), net.ErrClosed)
		closeAllListeners(d.lb)
		wg.Wait()
	})
}

// Whatever the link does short of breaking, bytes arrive complete and in order, both ends see the end of file, and nothing is left.
func TestStreamsSurviveAnyLink(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		link := Link{
			Latency:   time.Duration(rapid.IntRange(0, 1000).Draw(rt, "latency")) * time.Millisecond,
			Jitter:    time.Duration(rapid.IntRange(0, 1000).Draw(rt, "jitter")) * time.Millisecond,
			Bandwidth: int64(rapid.SampledFrom([]int{0, 3057, 48912, 1 << 20}).Draw(rt, "bandwidth")),
			Segment:   rapid.SampledFrom([]int{1, 7, 1448, 0}).Draw(rt, "segment"),
			Resplit:   rapid.Bool().Draw(rt, "resplit"),
		}
		phases := []Phase{{
			From:      time.Duration(rapid.IntRange(0, 5).Draw(rt, "from")) * time.Second,
			Until:     10 * time.Second,
			Stall:     rapid.Bool().Draw(rt, "stall"),
			Bandwidth: 1000,
		}}
		cfg := Config{Seed: rapid.Uint64().Draw(rt, "seed"), Link: link, Window: rapid.SampledFrom([]int{1, 100, 4096}).Draw(rt, "window")}
		out := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(rt, "out")
		back := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(rt, "back")
		outage := time.Duration(rapid.IntRange(1, 5000).Draw(rt, "outage")) * time.Millisecond
		bubble(t, cfg, func(d *duo) {
			d.net.Script(addrA, addrB, Bearer{Dialling: End{Phases: phases}, Accepting: End{Phases: phases}})
			a, b := d.connect()
			time.AfterFunc(outage, func() { d.net.Partition(addrA, addrB) })
			time.AfterFunc(2*outage, func() { d.net.Heal(addrA, addrB) })
			var wg sync.WaitGroup
			exchange := func(c *Conn, send, expect []byte) {
				wg.Go(func() {
					c.Write(send)
					c.CloseWrite()
				})
				wg.Go(func() {
					got, err := io.ReadAll(c)
					if err != nil || !bytes.Equal(got, expect) {
						rt.Errorf("got %d of %d bytes, %v", len(got), len(expect), err)
					}
				})
			}
			exchange(a, out, back)
			exchange(b, back, out)
			wg.Wait()
			closeAll(a, b)
			closeAllListeners(d.la, d.lb)
			time.Sleep(time.Hour)
			if err := d.net.Check(); err != nil {
				rt.Error(err)
			}
			if left := d.net.remains() + d.a.Descriptors() + d.b.Descriptors(); left != 0 {
				rt.Errorf("%d connections, events and descriptors left", left)
			}
		})
	})
}

// remains counts what the network still remembers or waits for.
func (n *Network) remains() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns) + len(n.events) + len(n.held)
}
