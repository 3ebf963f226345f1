// Package pulse finds the spells in which the machine runs slow, for benchmarks of latency. A virtual machine may do a tenth of its work
// for 50 ms every other second, and no system call tells: what takes half a millisecond takes five then, whatever it is. A 99th
// percentile over everything says as much about such spells as about what is measured; one without them says what it is worth.
package pulse

import (
	"slices"
	"sync"
	"time"
)

// Every is how often a piece of work is timed. Three in a row are timed each time, some microseconds in all, of which the fastest
// counts, so that being preempted is not taken for a slow machine.
const Every = 2 * time.Millisecond

const (
	work = 2000 // additions
	slow = 3    // times the median is slow
)

// Pulse is a watch over the machine's speed. One goroutine keeps it.
type Pulse struct {
	stop chan struct{}
	over sync.WaitGroup
	at   []time.Time
	took []time.Duration
	sum  int // of the work, or the compiler would leave it out
}

// Feel begins a watch. End ends it.
func Feel() *Pulse {
	p := &Pulse{stop: make(chan struct{})}
	p.over.Go(func() {
		tick := time.NewTicker(Every)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.at, p.took = append(p.at, time.Now()), append(p.took, p.beat())
			}
		}
	})
	return p
}

func (p *Pulse) beat() time.Duration {
	best := time.Hour
	for range 3 {
		began := time.Now()
		x := p.sum
		for i := range work {
			x += i ^ x
		}
		p.sum = x
		best = min(best, time.Since(began))
	}
	return best
}

// Spells are what a watch has found.
type Spells struct {
	// Share of the beats that were slow, 0 to 1.
	Share float64
	at    []time.Time
}

// End ends the watch.
func (p *Pulse) End() Spells {
	close(p.stop)
	p.over.Wait()
	if len(p.took) == 0 {
		return Spells{}
	}
	limit := slow * slices.Sorted(slices.Values(p.took))[len(p.took)/2]
	s := Spells{}
	for i, d := range p.took {
		if d > limit {
			s.at = append(s.at, p.at[i])
		}
	}
	s.Share = float64(len(s.at)) / float64(len(p.took))
	return s
}

// Slow reports whether the machine was slow at some moment between from and to, a beat more or less.
func (s Spells) Slow(from, to time.Time) bool {
	i, _ := slices.BinarySearchFunc(s.at, from.Add(-Every), time.Time.Compare)
	return i < len(s.at) && !s.at[i].After(to.Add(Every))
}
