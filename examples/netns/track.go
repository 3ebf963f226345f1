package main

import (
	"slices"
	"sync"
	"time"
)

// kind is what travels.
type kind uint8

const (
	block kind = iota
	transaction
	artifact
	kinds
)

func (k kind) String() string { return [...]string{"block", "transaction", "artifact"}[k] }

// name of an item: a block's hash, a transaction's file, an artifact's file.
type name struct {
	kind kind
	id   string
}

// item is what is known of one of them.
type item struct {
	born   time.Time // zero until it is known
	origin int       // relay; producerSite for blocks
	seen   []time.Time
}

// producerSite is the origin of blocks.
const producerSite = -1

// tracker knows when what was where. It is safe for concurrent use.
type tracker struct {
	relays int

	mu    sync.Mutex
	items map[name]*item
	born  [kinds]int
	lacks []int // by relay, how many items that are born it has not seen
}

func newTracker(relays int) *tracker {
	return &tracker{relays: relays, items: map[name]*item{}, lacks: make([]int, relays)}
}

// get returns an item, which may be seen before its birth is known. t.mu is held.
func (t *tracker) get(n name) *item {
	it := t.items[n]
	if it == nil {
		it = &item{seen: make([]time.Time, t.relays)}
		t.items[n] = it
	}
	return it
}

// bornAt notes that an item has come into the network at a relay, which needs no delivery of it.
func (t *tracker) bornAt(n name, origin int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.get(n)
	if !it.born.IsZero() {
		return
	}
	it.born, it.origin = at, origin
	t.born[n.kind]++
	for i, seen := range it.seen {
		if i != origin && seen.IsZero() {
			t.lacks[i]++
		}
	}
}

// seenAt notes that an item has reached a relay.
func (t *tracker) seenAt(n name, relay int, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.get(n)
	if !it.seen[relay].IsZero() {
		return
	}
	it.seen[relay] = at
	if !it.born.IsZero() && relay != it.origin {
		t.lacks[relay]--
	}
}

// state returns how many of each kind there are, and how many items each relay lacks.
func (t *tracker) state() (born [kinds]int, lacks []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.born, slices.Clone(t.lacks)
}

// complete reports whether everything is everywhere.
func (t *tracker) complete() bool {
	_, lacks := t.state()
	return !slices.ContainsFunc(lacks, func(n int) bool { return n != 0 })
}

// delivery is an item's way to one relay.
type delivery struct {
	name
	from, to   int // relays; from may be producerSite
	born, seen time.Time
}

// deliveries lists all that have happened, and the names of items that came out of nothing.
func (t *tracker) deliveries() (all []delivery, strange []name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, it := range t.items {
		if it.born.IsZero() {
			strange = append(strange, n)
			continue
		}
		for i, seen := range it.seen {
			if i != it.origin && !seen.IsZero() {
				all = append(all, delivery{n, it.origin, i, it.born, seen})
			}
		}
	}
	return all, strange
}
