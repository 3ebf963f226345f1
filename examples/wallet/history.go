package main

import (
	"slices"

	"github.com/hearthnet/hearth/examples/chain"
)

// remembered is how far back a chain can switch to another fork: the security parameter of the public networks.
const remembered = 2160

// maxPoints is how many points fit a request of 65,535 bytes, with room to spare.
const maxPoints = 1400

// history is the last points of the chain as printed.
type history struct {
	recent  []chain.Point
	started bool // something was printed, or the first roll back was seen
}

// points returns what is offered as intersection: the recent ones, nearest first with growing gaps, then the start.
func (h *history) points(start chain.Point) []chain.Point {
	var ps []chain.Point
	for back, i := 1, len(h.recent)-1; i >= 0; i, back = i-back, back*2 {
		ps = append(ps, h.recent[i])
	}
	if n := len(h.recent); n > 0 && ps[len(ps)-1] != h.recent[0] {
		ps = append(ps, h.recent[0])
	}
	return append(ps, start)
}

// between returns the points that lie between the one of those offered that the peer has and the next newer one that it has not,
// newest first, and at behind them: among them is where the chains really part.
func (h *history) between(at, start chain.Point) []chain.Point {
	offered := h.points(start)
	upper := len(h.recent)
	var gap []chain.Point
	for _, p := range offered {
		if p == at {
			break
		}
		upper = slices.Index(h.recent, p)
	}
	for i := upper - 1; i >= 0 && h.recent[i] != at; i-- {
		gap = append(gap, h.recent[i])
	}
	if len(gap) == 0 {
		return nil
	}
	return append(gap[:min(len(gap), maxPoints)], at)
}

func (h *history) add(p chain.Point) {
	if len(h.recent) == 2*remembered {
		h.recent = h.recent[:copy(h.recent, h.recent[remembered:])]
	}
	h.recent = append(h.recent, p)
	h.started = true
}

// back notes a roll back and reports whether it changes anything.
func (h *history) back(to, start chain.Point) bool {
	first := !h.started
	h.started = true
	last := start
	if n := len(h.recent); n > 0 {
		last = h.recent[n-1]
	}
	for i := len(h.recent) - 1; i >= 0 && h.recent[i] != to; i-- {
		h.recent = h.recent[:i]
	}
	return !first && to != last
}
