package libp2p

import (
	"errors"
	"runtime"
	"time"

	"github.com/hearthnet/hearth/internal/pulse"
)

// sample is what one swarm showed in one round.
type sample struct {
	rate     float64         // deliveries a second
	cpu      time.Duration   // processor time of each
	copies   float64         // bodies received ÷ bodies needed
	overhead float64         // bytes received ÷ payload delivered
	took     []time.Duration // from publish to each delivery
	atSpeed  []time.Duration // those while the machine was not slow
	slow     float64         // share of the time when it was
	calls    []time.Duration // of publish itself
	alone    float64         // deliveries of bulk a second without urgent ones beside it
}

// windowFor is how many bodies of a size are under way.
func windowFor(size int) int { return min(96, max(16, (16<<20)/size)) }

// settle is how many bodies go before the count begins: meshes and trees find their shape.
const settle = 500

// throughput keeps the window full for about as long as wanted.
func throughput(im implementation, size int, about time.Duration) (out sample, err error) {
	l, err := newLoad(im)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	f := l.newFlow(0, size, windowFor(size), false, false)
	next := 0
	spread := func(more func(i int) bool) error {
		for i := 0; more(i); i++ {
			if err := f.send(next % nodes); err != nil {
				return err
			}
			next++
		}
		return f.drain()
	}
	if err := spread(func(i int) bool { return i < min(settle, 4*windowFor(size)) }); err != nil {
		return out, err
	}
	runtime.GC()
	bytes, bodies := l.s.received()
	arrived, cpu, began := f.arrived.Load(), processorTime(), time.Now()
	if err := spread(func(int) bool { return time.Since(began) < about }); err != nil {
		return out, err
	}
	took, used := time.Since(began), processorTime()-cpu
	bytes1, bodies1 := l.s.received()
	n := float64(f.arrived.Load() - arrived)
	out.rate = n / took.Seconds()
	out.cpu = time.Duration(float64(used) / n)
	out.copies = float64(bodies1-bodies) / n
	out.overhead = float64(bytes1-bytes) / n / float64(size)
	return out, nil
}

// The moderate load of artifact §9, and what goes beside bulk.
const (
	moderateSize = 1 << 10
	moderateRate = 50 // a second
	urgentSize   = 64
	urgentRate   = 50
	bulkSize     = 1 << 20
)

// latency is bodies of 1 KiB at 50 a second, from the publisher's call to each delivery.
func latency(im implementation, about time.Duration) (out sample, err error) {
	l, err := newLoad(im)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	f := l.newFlow(0, moderateSize, 256, false, true)
	bytes, bodies := l.s.received()
	cpu, beats := processorTime(), pulse.Feel()
	err = paced(f, moderateRate, about)
	spells := beats.End()
	if err != nil {
		return out, err
	}
	used := processorTime() - cpu
	bytes1, bodies1 := l.s.received()
	n := float64(f.arrived.Load())
	out.rate, out.took, out.calls = n/about.Seconds(), latencies(f.took, nil), f.calls
	out.atSpeed, out.slow = latencies(f.took, spells.Slow), spells.Share
	out.cpu = time.Duration(float64(used) / n)
	out.copies = float64(bodies1-bodies) / n
	out.overhead = float64(bytes1-bytes) / n / moderateSize
	return out, nil
}

// paced sends at a rate until time is over, and waits for the deliveries.
func paced(f *flow, rate int, about time.Duration) error {
	t := time.NewTicker(time.Second / time.Duration(rate))
	defer t.Stop()
	for i, began := 0, time.Now(); time.Since(began) < about; i++ {
		<-t.C
		if err := f.send(i % nodes); err != nil {
			return err
		}
	}
	return f.drain()
}

// urgent is bodies of 64 bytes, urgent where there is such a thing, beside bulk of 1 MiB that keeps its window full; before and after
// it the bulk runs alone.
func urgent(im implementation, about time.Duration) (out sample, err error) {
	l, err := newLoad(im)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	bulk := l.newFlow(0, bulkSize, windowFor(bulkSize), false, false)
	small := l.newFlow(1, urgentSize, 1024, true, true)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- bulk.drain()
				return
			default:
			}
			if err := bulk.send(i % nodes); err != nil {
				ended <- err
				return
			}
		}
	}()
	// rate is that of bulk while f runs.
	rate := func(f func()) float64 {
		from, began := bulk.arrived.Load(), time.Now()
		f()
		return float64(bulk.arrived.Load()-from) / time.Since(began).Seconds()
	}
	alone := func() { time.Sleep(about / 2) }
	alone() // bulk finds its pace
	before := rate(alone)
	out.rate = rate(func() { err = paced(small, urgentRate, about) })
	out.alone = (before + rate(alone)) / 2
	close(stop)
	out.took = latencies(small.took, nil)
	return out, errors.Join(err, <-ended)
}
