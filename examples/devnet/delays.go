package main

import (
	"slices"
	"sync"
	"time"
)

// maxDelays is how many times are kept of each thing that is measured, the latest ones.
const maxDelays = 10_000

// delays are how long things took to a node, a ring once it is full.
type delays struct {
	mu     sync.Mutex
	ring   []time.Duration
	oldest int
}

func (d *delays) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ring == nil {
		d.ring = make([]time.Duration, 0, maxDelays) // all at once: what a ring takes shall not look like a leak
	}
	if len(d.ring) < maxDelays {
		d.ring = append(d.ring, took)
		return
	}
	d.ring[d.oldest] = took
	d.oldest = (d.oldest + 1) % maxDelays
}

// percentiles returns how many there are, and by when half and 95 % of them had arrived.
func (d *delays) percentiles() (n int, p50, p95 time.Duration) {
	d.mu.Lock()
	sorted := slices.Clone(d.ring)
	d.mu.Unlock()
	if n = len(sorted); n == 0 {
		return 0, 0, 0
	}
	slices.Sort(sorted)
	return n, sorted[n/2], sorted[n*95/100]
}
