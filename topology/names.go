package topology

import (
	"cmp"
	"container/heap"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"
)

// nameTable decides when each name of the local roots is looked up and keeps its addresses; it is pure. An entry lives as long
// as a topology has the name, so that a reload does not forget what is known.
//
// [REF-BUG] governor §6.4: the reference starts each reload with an empty table, and the first name to resolve makes the
// addresses of all others vanish for a while. Here the table is carried over.
type nameTable struct {
	byName map[AccessPoint]*nameEntry
	queue  nameQueue // entries with no look-up under way, the earliest due first
	serial int
}

type nameEntry struct {
	point   AccessPoint // identity
	serial  int         // order of arrival, breaks ties
	v4, v6  []netip.AddrPort
	due     time.Duration
	last    time.Duration // the last pause, which the next failure doubles
	mishaps int           // resolver configuration errors in a row
}

// addrs lists the addresses, IPv6 first.
func (e *nameEntry) addrs() []netip.AddrPort { return slices.Concat(e.v6, e.v4) }

// set makes points the names to look after: new ones are due at once, those that are gone are forgotten.
func (t *nameTable) set(now time.Duration, points []AccessPoint) {
	keep := make(map[AccessPoint]*nameEntry, len(points))
	for _, a := range points {
		id := a.identity()
		if _, again := keep[id]; again {
			continue
		}
		e := t.byName[id]
		if e == nil {
			e = &nameEntry{point: id, serial: t.serial, due: now}
			t.serial++
			heap.Push(&t.queue, e)
		}
		keep[id] = e
	}
	t.queue = slices.DeleteFunc(t.queue, func(e *nameEntry) bool { return keep[e.point] != e })
	heap.Init(&t.queue)
	t.byName = keep
}

// next is when the earliest look-up is due; false when there is none.
func (t *nameTable) next() (time.Duration, bool) {
	if len(t.queue) == 0 {
		return 0, false
	}
	return t.queue[0].due, true
}

// start takes a name that is due; the caller reports the result with finish.
func (t *nameTable) start(now time.Duration) (*nameEntry, bool) {
	if due, ok := t.next(); !ok || due > now {
		return nil, false
	}
	e := heap.Pop(&t.queue).(*nameEntry)
	return e, true
}

// finish stores an answer and says whether addresses changed. While a family fails, its old addresses stay.
func (t *nameTable) finish(now time.Duration, e *nameEntry, a answer) (changed bool) {
	if t.byName[e.point] != e {
		return false // no longer wanted
	}
	e.last = e.pause(a)
	e.due = now + e.last
	heap.Push(&t.queue, e)
	for _, f := range []struct {
		have *[]netip.AddrPort
		got  familyAnswer
	}{{&e.v4, a.v4}, {&e.v6, a.v6}} {
		if f.got.err == nil && !slices.Equal(*f.have, f.got.addrs) {
			*f.have = f.got.addrs
			changed = true
		}
	}
	return changed
}

// pause is how long to wait before the next look-up (governor §6.4).
func (e *nameEntry) pause(a answer) time.Duration {
	if !a.failed() {
		e.mishaps = 0
		return a.ttl()
	}
	var config *ResolverConfigError
	if errors.As(a.err(), &config) {
		e.mishaps++
		return configPause(e.mishaps)
	}
	e.mishaps = 0
	pause := time.Duration(math.MaxInt64)
	for _, f := range []familyAnswer{a.v4, a.v6} {
		if f.asked {
			pause = min(pause, retryAfter(f.err, e.last))
		}
	}
	return pause
}

// configPause is the wait after the nth failure in a row because the resolver itself does not work: 1, 3, 6, 9, then 12 s.
func configPause(n int) time.Duration {
	pauses := [...]time.Duration{1, 3, 6, 9, 12}
	return pauses[min(n, len(pauses))-1] * time.Second
}

// lookup returns the addresses of a name, none while it is not resolved.
func (t *nameTable) lookup(a AccessPoint) []netip.AddrPort {
	if e := t.byName[a.identity()]; e != nil {
		return e.addrs()
	}
	return nil
}

// nameQueue is a heap by due time.
type nameQueue []*nameEntry

func (q nameQueue) Len() int { return len(q) }
func (q nameQueue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].due, q[j].due), cmp.Compare(q[i].serial, q[j].serial)) < 0
}
func (q nameQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *nameQueue) Push(x any) { *q = append(*q, x.(*nameEntry)) }

func (q *nameQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
