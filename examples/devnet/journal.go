package main

import (
	"slices"
	"sync"
	"time"
)

// journal is what has entered the network, in order. An entry is open until every node has it and some time has passed; then it is
// settled, and nodes need not have it in memory any more. Settled ones stay in the journal only if all are to be checked in the end.
type journal[K comparable] struct {
	keep bool

	mu      sync.Mutex
	list    []K
	settled int             // of list
	dropped int             // settled before, and not in list any more
	at      map[K]time.Time // of the open ones
}

// newJournal returns a journal that keeps room entries from the start: 0 for one that keeps only the open ones.
func newJournal[K comparable](room int) *journal[K] {
	return &journal[K]{keep: room > 0, list: make([]K, 0, room), at: map[K]time.Time{}}
}

// enter adds an entry; undo takes it out again if nothing has come of it, before another is added.
func (j *journal[K]) enter(key K) (undo func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, key)
	j.at[key] = time.Now()
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.list = j.list[:len(j.list)-1]
		delete(j.at, key)
	}
}

// since is when an open entry entered.
func (j *journal[K]) since(key K) (at time.Time, open bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, open = j.at[key]
	return at, open
}

// count is how many have entered, and how many of them are open.
func (j *journal[K]) count() (all, open int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dropped + len(j.list), len(j.list) - j.settled
}

// open lists the open entries that entered before some time, and says how many entered before them.
func (j *journal[K]) open(when time.Time) (before int, list []K) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, key := range j.list[j.settled:] {
		if !j.at[key].Before(when) {
			break
		}
		list = append(list, key)
	}
	return j.dropped + j.settled, list
}

// all lists what is to be checked in the end: the settled entries, as far as they are kept, and the open ones.
func (j *journal[K]) all() (list []K, settled int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.list), j.settled
}

// settle closes the oldest n open entries.
func (j *journal[K]) settle(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, key := range j.list[j.settled : j.settled+n] {
		delete(j.at, key)
	}
	j.settled += n
	if !j.keep {
		j.list = slices.Clone(j.list[j.settled:])
		j.dropped, j.settled = j.dropped+j.settled, 0
	}
}
