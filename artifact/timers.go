package artifact

import "time"

// timer is one deadline inside a core. It is embedded in what it belongs to, so that a stopped one leaves nothing behind.
type timer struct {
	at   time.Duration
	seq  uint64
	pos  int // in the heap, counted from 1; 0: not set
	what timerKind
	p    *peer
	d    *download
	r    *request
}

type timerKind uint8

const (
	timerTick    timerKind = iota
	timerRequest           // deadline of a request
	timerHedge             // a request of the top class takes long
	timerRetry             // the next round of a download
	timerGrace             // a pushed body did not come
	timerDispose           // dispositions have waited long enough to share a message
	timerTail              // withdraw-2 and known have waited long enough
	timerRest              // a view has rested since its last answer
	timerReoffer           // what was parked for lack of room is asked for again
	timerMerged            // a merged reoffer of a consumer is honoured
	timerInit              // the next init, or the end of waiting for its answer
	timerJoin              // a bulk bearer is dialled again
	timerIngress           // the ingress bucket has filled
	timerEgress            // the egress bucket has filled
	timerGrant             // a requestNext that was held back, or has rested, is sent
	timerStop              // an orderly end took too long
)

// timers is a heap of deadlines, ties in the order they were set.
type timers struct {
	heap []*timer
	seq  uint64
}

func (h *timers) set(t *timer, at time.Duration) {
	h.seq++
	if t.pos == 0 {
		t.at, t.seq = at, h.seq
		h.heap = append(h.heap, t)
		t.pos = len(h.heap)
		h.up(t.pos - 1)
		return
	}
	t.at, t.seq = at, h.seq
	h.fix(t.pos - 1)
}

func (h *timers) stop(t *timer) {
	if t.pos == 0 {
		return
	}
	i, last := t.pos-1, len(h.heap)-1
	h.swap(i, last)
	h.heap[last] = nil
	h.heap = h.heap[:last]
	t.pos = 0
	if i < last {
		h.fix(i)
	}
}

// due removes and returns the first timer that is due, nil when none is.
func (h *timers) due(now time.Duration) *timer {
	if len(h.heap) == 0 || h.heap[0].at > now {
		return nil
	}
	t := h.heap[0]
	h.stop(t)
	return t
}

func (h *timers) less(i, j int) bool {
	a, b := h.heap[i], h.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (h *timers) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].pos, h.heap[j].pos = i+1, j+1
}

func (h *timers) up(i int) bool {
	moved := false
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i, moved = (i-1)/2, true
	}
	return moved
}

func (h *timers) fix(i int) {
	if h.up(i) {
		return
	}
	for {
		c := 2*i + 1
		if c >= len(h.heap) {
			return
		}
		if c+1 < len(h.heap) && h.less(c+1, c) {
			c++
		}
		if !h.less(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}

// onGrid is the first multiple of step that is not before at.
func onGrid(at, step time.Duration) time.Duration { return (at + step - 1) / step * step }
