package artifact

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The simulator runs whole networks of Cores on virtual time. Connections have latency, rate and streams ordered by rank, cut
// into SDUs like the mux does; they can be cut, fall silent, and come back. Nodes can be restarted. Every message is real
// bytes. After every step the invariants of the node it happened in are checked.

type simEvent struct {
	at  time.Duration
	seq uint64
	do  func()
}

type simHeap []*simEvent

func (h simHeap) Len() int { return len(h) }

func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}

func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *simHeap) Push(x any) { *h = append(*h, x.(*simEvent)) }

func (h *simHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

type simNet struct {
	t      testing.TB
	now    time.Duration
	seq    uint64
	events simHeap
	nodes  []*simNode
	conns  []*simConn
	rnd    *rand.Rand
	cfg    func(i int) Config
	steps  int
	audit  int // full recount every so many steps of a node; 1: each
	// faults of honest peers that were noticed
	banned  []string
	onJudge func(by, of *simNode, score int, ban time.Duration, cause error)
}

func newSimNet(t testing.TB, seed uint64) *simNet {
	return &simNet{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), audit: 1}
}

func (s *simNet) at(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.events, &simEvent{max(d, s.now), s.seq, f})
}

func (s *simNet) after(d time.Duration, f func()) { s.at(s.now+d, f) }

// run processes events until the time.
func (s *simNet) run(until time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(*simEvent)
		s.now = e.at
		e.do()
	}
	s.now = until
}

// runUntil processes events until the condition holds, and reports whether it did by the limit.
func (s *simNet) runUntil(limit time.Duration, ok func() bool) bool {
	for s.now < limit {
		if ok() {
			return true
		}
		s.run(min(limit, s.now+100*time.Millisecond))
	}
	return ok()
}

// graph connects the nodes in a ring plus random chords up to the degree.
func (s *simNet) graph(degree int, latency func() time.Duration, rate float64) {
	n := len(s.nodes)
	deg := make([]int, n)
	link := func(i, j int) {
		a, b := s.nodes[i], s.nodes[j]
		if i == j || a.conns[j] != nil || deg[i] >= degree+1 || deg[j] >= degree+1 {
			return
		}
		deg[i]++
		deg[j]++
		if s.rnd.IntN(2) == 0 {
			a, b = b, a
		}
		s.connect(a, b, latency(), rate)
	}
	for i := range n {
		link(i, (i+1)%n)
	}
	for i := range n {
		for tries := 0; deg[i] < degree && tries < 50; tries++ {
			link(i, s.rnd.IntN(n))
		}
	}
}

// missing lists (node, artifact) pairs of honest nodes that lack one.
func (s *simNet) missing(ids []ID) (out []string) {
	for _, n := range s.nodes {
		if n.evil {
			continue
		}
		for i, id := range ids {
			if !n.has(id) {
				out = append(out, fmt.Sprintf("node %d lacks artifact %d (%x)", n.ix, i, id[:4]))
			}
		}
	}
	return out
}

// everywhere runs until every honest node has every artifact.
func (s *simNet) everywhere(limit time.Duration, ids []ID) {
	s.t.Helper()
	if !s.runUntil(s.now+limit, func() bool {
		for _, n := range s.nodes {
			if n.evil {
				continue
			}
			for _, id := range ids {
				if !n.has(id) {
					return false
				}
			}
		}
		return true
	}) {
		m := s.missing(ids)
		for _, n := range s.nodes {
			if !n.evil {
				for _, id := range ids {
					if !n.has(id) {
						s.t.Log(n.describe(id))
					}
				}
			}
		}
		s.t.Fatalf("%d missing after %v, e.g. %v", len(m), limit, m[0])
	}
}

func (s *simNet) noFalseBlame() {
	s.t.Helper()
	if len(s.banned) > 0 {
		s.t.Fatalf("%d false violations, e.g. %s", len(s.banned), s.banned[0])
	}
}
