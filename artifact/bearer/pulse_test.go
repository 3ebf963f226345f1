package bearer

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pulse finds the spells in which the machine runs slow. A virtual machine may do a tenth of its work for 50 ms every other second, and
// no system call tells: what takes half a millisecond takes five then, whatever it is. Every other millisecond a fixed piece of work is
// timed, three times, of which the fastest counts, so that being preempted is not taken for it.
type pulse struct {
	stop chan struct{}
	over sync.WaitGroup
	at   []time.Time
	took []time.Duration
}

const (
	pulseEvery = 2 * time.Millisecond
	pulseWork  = 2000 // additions: some microseconds
	pulseSlow  = 3    // times the median is slow
)

func feelPulse() *pulse {
	p := &pulse{stop: make(chan struct{})}
	p.over.Go(func() {
		tick := time.NewTicker(pulseEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.at, p.took = append(p.at, time.Now()), append(p.took, beat())
			}
		}
	})
	return p
}

// sink keeps the compiler from leaving the work out.
var sink int

func beat() time.Duration {
	best := time.Hour
	for range 3 {
		began := time.Now()
		for i := range pulseWork {
			sink += i
		}
		best = min(best, time.Since(began))
	}
	return best
}

// spells ends the watch and returns a function that tells whether the machine was slow at some moment of a span, and the share of the
// beats that were slow.
func (p *pulse) spells() (slow func(from, to time.Time) bool, share float64) {
	close(p.stop)
	p.over.Wait()
	if len(p.took) == 0 {
		return func(time.Time, time.Time) bool { return false }, 0
	}
	sorted := slices.Clone(p.took)
	limit := pulseSlow * quantile(sorted, 0.5)
	var at []time.Time
	for i, d := range p.took {
		if d > limit {
			at = append(at, p.at[i])
		}
	}
	return func(from, to time.Time) bool {
		i, _ := slices.BinarySearchFunc(at, from.Add(-pulseEvery), time.Time.Compare)
		return i < len(at) && !at[i].After(to.Add(pulseEvery))
	}, float64(len(at)) / float64(len(p.took))
}

func TestPulse(t *testing.T) {
	began := time.Now()
	p := &pulse{stop: make(chan struct{})}
	for i := range 100 {
		p.at, p.took = append(p.at, began.Add(time.Duration(i)*pulseEvery)), append(p.took, time.Duration(10+i%10))
	}
	for i := 50; i < 60; i++ {
		p.took[i] *= 10
	}
	slow, share := p.spells()
	require.InDelta(t, 0.1, share, 0.001)
	after := func(beats float64) time.Time { return began.Add(time.Duration(beats * float64(pulseEvery))) }
	require.False(t, slow(after(-5), after(48.9)))
	require.True(t, slow(after(40), after(49.1)))
	require.True(t, slow(after(54), after(54)))
	require.True(t, slow(after(60), after(70)))
	require.False(t, slow(after(60.1), after(200)))
	slow, share = (&pulse{stop: make(chan struct{})}).spells()
	require.Zero(t, share)
	require.False(t, slow(began, began))
}
