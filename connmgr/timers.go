package connmgr

import (
	"container/heap"
	"time"
)

// timerKind names what a timer stands for; see [Info.Timer].
type timerKind uint8

const (
	timerNone timerKind = iota
	timerConnect
	timerHandshake
	timerOutboundIdle
	timerTimeWait
	timerRemoteIdle // of the inbound governor
	timerMaturity   // of the inbound governor
	timerTupleBusy  // an acquire that waits for the accepted connection
	numTimerKinds
)

var timerNames = [numTimerKinds]string{"", "connect", "handshake", "outbound idle", "time-wait", "remote idle", "maturity", "tuple busy"}

func (k timerKind) String() string { return timerNames[k] }

// timerKey is who waits for what; each key has at most one timer.
type timerKey struct {
	id   RecordID
	kind timerKind
}

// timers is a set of due times: O(log n) to set and to stop, at most one entry for each key.
type timers struct {
	heap  timerHeap
	byKey map[timerKey]*timer
	seq   uint64
}

type timer struct {
	timerKey
	due time.Duration
	seq uint64
	at  int // in the heap
}

func (t *timers) set(id RecordID, kind timerKind, due time.Duration) {
	if t.byKey == nil {
		t.byKey = map[timerKey]*timer{}
	}
	t.seq++
	key := timerKey{id, kind}
	if e := t.byKey[key]; e != nil {
		e.due, e.seq = due, t.seq
		heap.Fix(&t.heap, e.at)
		return
	}
	e := &timer{timerKey: key, due: due, seq: t.seq}
	t.byKey[key] = e
	heap.Push(&t.heap, e)
}

func (t *timers) stop(id RecordID, kind timerKind) {
	key := timerKey{id, kind}
	if e := t.byKey[key]; e != nil {
		heap.Remove(&t.heap, e.at)
		delete(t.byKey, key)
	}
}

func (t *timers) due(id RecordID, kind timerKind) (time.Duration, bool) {
	if e := t.byKey[timerKey{id, kind}]; e != nil {
		return e.due, true
	}
	return 0, false
}

// next returns the earliest due time.
func (t *timers) next() (time.Duration, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].due, true
}

// pop removes and returns the earliest timer that is due; timers of the same moment come in the order they were set.
func (t *timers) pop(now time.Duration) (timerKey, bool) {
	if len(t.heap) == 0 || t.heap[0].due > now {
		return timerKey{}, false
	}
	e := heap.Pop(&t.heap).(*timer)
	delete(t.byKey, e.timerKey)
	return e.timerKey, true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *timerHeap) Push(x any) {
	e := x.(*timer)
	e.at = len(*h)
	*h = append(*h, e)
}
func (h *timerHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
