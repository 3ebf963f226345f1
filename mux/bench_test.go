//go:build unix

package mux

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The benchmarks compare with bare TCP connections in the same run, in turns, since machines are noisy: "ratio" is the rate of
// the multiplexer divided by that of raw TCP, "cpu" its processor time for the same bytes divided by that of raw TCP.

// turn is what one transfer cost.
type turn struct {
	wall, cpu time.Duration
	mallocs   uint64
}

func measured(f func()) turn {
	var m runtime.MemStats
	var r syscall.Rusage
	cpu := func() time.Duration {
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	runtime.ReadMemStats(&m)
	mallocs, used, began := m.Mallocs, cpu(), time.Now()
	f()
	t := turn{wall: time.Since(began), cpu: cpu() - used}
	runtime.ReadMemStats(&m)
	t.mallocs = m.Mallocs - mallocs
	return t
}

func (t *turn) add(u turn) {
	t.wall += u.wall
	t.cpu += u.cpu
	t.mallocs += u.mallocs
}

// rawTransfer writes total bytes in pieces of size on a bare connection, drained with a buffer of the multiplexer's size.
func rawTransfer(b *testing.B, x, y net.Conn, size, total int) {
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, readBufferSize)
		for rest := total; rest > 0; {
			n, err := y.Read(buf)
			if err != nil {
				done <- err
				return
			}
			rest -= n
		}
		done <- nil
	}()
	p := make([]byte, size)
	for rest := total; rest > 0; rest -= size {
		if _, err := x.Write(p); err != nil {
			b.Error(err)
			return
		}
	}
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// window is how far a sender may be ahead of what its receiver has granted: a real protocol's flow control, 300 messages or
// 1 MiB. Grants are one byte each, for half a window.
func window(size int) (messages int) { return max(2, min(300, 1<<20/size)) }

// muxTransfer sends as many messages of size on every stream, the receivers looking at every message.
func muxTransfer(b *testing.B, p pair, numbers []uint16, size, messages int, windowed bool) {
	ctx := context.Background()
	done := make(chan error, 2*len(numbers))
	half := window(size) / 2
	for _, n := range numbers {
		in, out := p.b.Stream(n, Responder), p.a.Stream(n, Initiator)
		go func() {
			got := 0
			var view []byte
			for range messages {
				var err error
				for len(view) < size {
					if view, err = in.Wait(ctx, len(view)); err != nil {
						done <- err
						return
					}
				}
				in.Discard(size)
				view = view[size:]
				if got++; windowed && got%half == 0 {
					if err := in.Send(ctx, []byte{1}); err != nil {
						done <- err
						return
					}
				}
			}
			done <- nil
		}()
		go func() {
			q := make([]byte, size)
			granted := messages
			if windowed {
				granted = 2 * half
			}
			for i := range messages {
				for i >= granted {
					g, err := out.Wait(ctx, 0)
					if err != nil {
						done <- err
						return
					}
					granted += half * len(g)
					out.Discard(len(g))
				}
				if err := out.Send(ctx, q); err != nil {
					done <- err
					return
				}
			}
			if windowed { // grants of the last messages
				for granted < 2*half+messages/half*half {
					g, err := out.Wait(ctx, 0)
					if err != nil {
						done <- err
						return
					}
					granted += half * len(g)
					out.Discard(len(g))
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkBulk moves 32 MiB a turn over a bare connection and over 1 to 32 streams, with and without flow control.
func BenchmarkBulk(b *testing.B) {
	const total = 32 << 20
	for _, windowed := range []bool{false, true} {
		name := "free"
		if windowed {
			name = "window"
		}
		for _, streams := range []int{1, 4, 32} {
			for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
				b.Run(fmt.Sprintf("%s/%dstreams/%dKiB", name, streams, size>>10), func(b *testing.B) {
					x, y := tcpPair(b)
					numbers := make([]uint16, streams)
					for i := range numbers {
						numbers[i] = uint16(i + 1)
					}
					v, w := tcpPair(b)
					p := muxPair(b, v, w, Config{}, numbers...)
					messages := total / size / streams
					muxTransfer(b, p, numbers, size, messages, windowed)
					rawTransfer(b, x, y, size, total)
					var raw, muxed turn
					for b.Loop() {
						raw.add(measured(func() { rawTransfer(b, x, y, size, total) }))
						muxed.add(measured(func() { muxTransfer(b, p, numbers, size, messages, windowed) }))
					}
					bytes := float64(b.N) * total
					b.ReportMetric(bytes/raw.wall.Seconds()/1e6, "raw-MB/s")
					b.ReportMetric(bytes/muxed.wall.Seconds()/1e6, "mux-MB/s")
					b.ReportMetric(raw.wall.Seconds()/muxed.wall.Seconds(), "ratio")
					b.ReportMetric(muxed.cpu.Seconds()/raw.cpu.Seconds(), "cpu")
					b.ReportMetric(float64(muxed.mallocs)/float64(b.N*messages*streams), "allocs/msg")
				})
			}
		}
	}
}

// BenchmarkUrgent measures round trips of 64 bytes beside a saturating stream: over one multiplexer, and over two raw TCP
// connections, one of them saturated. "p99" is the ratio of the two p99, "bulk" the rate of the bulk stream divided by that of
// the raw bulk connection beside its pings.
func BenchmarkUrgent(b *testing.B) {
	const size, slice = 64 << 10, 150 * time.Millisecond
	var rawTrips, muxTrips []time.Duration
	var rawBulk, muxBulk float64
	x, y := tcpPair(b)
	u, v := tcpPair(b)
	s, r := tcpPair(b)
	p := muxPair(b, s, r, Config{}, 3, 8)
	for b.Loop() {
		t, rate := urgentRaw(b, x, y, u, v, size, slice)
		rawTrips, rawBulk = append(rawTrips, t...), rawBulk+rate
		t, rate = urgentMux(b, p, size, slice)
		muxTrips, muxBulk = append(muxTrips, t...), muxBulk+rate
	}
	quantile := func(t []time.Duration, q float64) time.Duration {
		slices.Sort(t)
		return t[int(q*float64(len(t)-1))]
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", .5}, {"p90", .9}, {"p99", .99}} {
		raw, muxed := quantile(rawTrips, q.q), quantile(muxTrips, q.q)
		b.ReportMetric(float64(raw.Microseconds()), "raw-µs-"+q.name)
		b.ReportMetric(float64(muxed.Microseconds()), "mux-µs-"+q.name)
		b.ReportMetric(muxed.Seconds()/raw.Seconds(), q.name)
	}
	b.ReportMetric(rawBulk/float64(b.N)/1e6, "raw-MB/s")
	b.ReportMetric(muxBulk/float64(b.N)/1e6, "mux-MB/s")
	b.ReportMetric(muxBulk/rawBulk, "bulk")
}

// BenchmarkRest measures round trips of 64 bytes on bearers that rest in between, the far end answering from OnData: over a bare
// connection, over a multiplexer, and over one whose flushes are all left to the writer, in turns. "cpu" is processor time and "p50" the
// median, each divided by that of the bare connection.
func BenchmarkRest(b *testing.B) {
	const slice = 300 * time.Millisecond
	u, v := tcpPair(b)
	go func() { _, _ = io.Copy(u, u) }()
	names := []string{"raw", "mux", "writer"}
	q := make([]byte, 64)
	trips := []func() error{func() error {
		if _, err := v.Write(q); err != nil {
			return err
		}
		_, err := io.ReadFull(v, q)
		return err
	}}
	for _, name := range names[1:] {
		x, y := tcpPair(b)
		p := muxPair(b, x, y, Config{}, 8)
		if name == "writer" {
			p.a.direct, p.b.direct = nil, nil
		}
		out, in := p.a.Stream(8, Initiator), p.b.Stream(8, Responder)
		in.OnData(func() {
			if got := in.Unread(); len(got) >= 64 {
				if err := in.Send(context.Background(), got[:64]); err != nil {
					b.Error(err)
				}
				in.Discard(64)
			}
		})
		trips = append(trips, func() error {
			if err := out.Send(context.Background(), q); err != nil {
				return err
			}
			_, err := out.Wait(context.Background(), 63)
			out.Discard(64)
			return err
		})
	}
	var cpu, p50 [3]float64
	for b.Loop() {
		for i, trip := range trips {
			var took []time.Duration
			t := measured(func() { took = pings(b, 2*directRest, time.Now().Add(slice), trip) })
			slices.Sort(took)
			cpu[i] += t.cpu.Seconds() / float64(len(took))
			p50[i] += took[len(took)/2].Seconds()
		}
	}
	for i, name := range names {
		b.ReportMetric(1e6*p50[i]/float64(b.N), name+"-µs-p50")
		b.ReportMetric(p50[i]/p50[0], name+"-p50")
		b.ReportMetric(cpu[i]/cpu[0], name+"-cpu")
	}
	b.ReportMetric(0, "ns/op")
}

// pings measures a round trip every so often: often enough for statistics, seldom enough not to be a load itself.
func pings(b *testing.B, pace time.Duration, until time.Time, trip func() error) (trips []time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for now := time.Now(); now.Before(until); now = <-tick.C {
		began := time.Now()
		if err := trip(); err != nil {
			b.Error(err)
			return
		}
		trips = append(trips, time.Since(began))
	}
	return trips
}

func urgentRaw(b *testing.B, x, y, u, v net.Conn, size int, d time.Duration) (trips []time.Duration, rate float64) {
	var wg sync.WaitGroup
	began := time.Now()
	until := began.Add(d)
	var bulk int
	wg.Go(func() {
		p := make([]byte, size)
		for time.Now().Before(until) {
			p[0] = 0
			if _, err := x.Write(p); err != nil {
				b.Error(err)
			}
		}
		p[0] = 1
		if _, err := x.Write(p); err != nil {
			b.Error(err)
		}
	})
	wg.Go(func() {
		buf := make([]byte, readBufferSize)
		for last := false; !last; {
			n, err := y.Read(buf)
			if err != nil {
				b.Error(err)
				return
			}
			for at := (size - bulk%size) % size; at < n; at += size {
				last = last || buf[at] == 1
			}
			bulk += n
		}
		for bulk%size != 0 {
			n, err := y.Read(buf[:min(len(buf), size-bulk%size)])
			if err != nil {
				b.Error(err)
				return
			}
			bulk += n
		}
	})
	wg.Go(func() {
		q := make([]byte, 64)
		for {
			if _, err := io.ReadFull(v, q); err != nil {
				b.Error(err)
				return
			}
			if _, err := v.Write(q); err != nil || q[0] == 1 {
				return
			}
		}
	})
	q := make([]byte, 64)
	trip := func() error {
		if _, err := u.Write(q); err != nil {
			return err
		}
		_, err := io.ReadFull(u, q)
		return err
	}
	trips = pings(b, time.Millisecond, until, trip)
	q[0] = 1
	if err := trip(); err != nil {
		b.Error(err)
	}
	wg.Wait()
	return trips, float64(bulk) / time.Since(began).Seconds()
}

func urgentMux(b *testing.B, p pair, size int, d time.Duration) (trips []time.Duration, rate float64) {
	ctx := context.Background()
	var wg sync.WaitGroup
	began := time.Now()
	until := began.Add(d)
	total := make(chan int, 1)
	var bulk int
	wg.Go(func() {
		q, n := make([]byte, size), 0
		for time.Now().Before(until) {
			if err := p.a.Stream(3, Initiator).Send(ctx, q); err != nil {
				b.Error(err)
				break
			}
			n += size
		}
		total <- n
	})
	wg.Go(func() {
		in, want := p.b.Stream(3, Responder), -1
		for want < 0 || bulk < want {
			select {
			case want = <-total:
				continue
			default:
			}
			if q := in.Unread(); len(q) > 0 {
				bulk += len(q)
				in.Discard(len(q))
				continue
			}
			wait, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			q, err := in.Wait(wait, 0)
			cancel()
			if err == nil {
				bulk += len(q)
				in.Discard(len(q))
			}
		}
	})
	wg.Go(func() {
		in := p.b.Stream(8, Responder)
		for {
			q, err := in.Wait(ctx, 63)
			if err == nil {
				err = in.Send(ctx, q[:64])
			}
			if err != nil {
				b.Error(err)
				return
			}
			last := binary.BigEndian.Uint64(q) == 1
			in.Discard(64)
			if last {
				return
			}
		}
	})
	q, out := make([]byte, 64), p.a.Stream(8, Initiator)
	trip := func() error {
		if err := out.Send(ctx, q); err != nil {
			return err
		}
		_, err := out.Wait(ctx, 63)
		out.Discard(64)
		return err
	}
	trips = pings(b, time.Millisecond, until, trip)
	binary.BigEndian.PutUint64(q, 1)
	if err := trip(); err != nil {
		b.Error(err)
	}
	wg.Wait()
	return trips, float64(bulk) / time.Since(began).Seconds()
}
