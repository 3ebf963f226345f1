package memnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

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
