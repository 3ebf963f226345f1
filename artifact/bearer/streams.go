package bearer

import (
	"cmp"
	"slices"

	"github.com/hearthnet/hearth/mux"
)

// streamTotals adds up streams by mini-protocol and role: at most two entries for each mini-protocol there is.
type streamTotals map[streamKey]mux.StreamCounters

type streamKey struct {
	number uint16
	role   mux.Role
}

func (t streamTotals) add(streams []mux.StreamCounters) {
	for _, s := range streams {
		k := streamKey{s.Number, s.Role}
		old := t[k]
		s.BytesIn, s.BytesOut = s.BytesIn+old.BytesIn, s.BytesOut+old.BytesOut
		s.SDUsIn, s.SDUsOut = s.SDUsIn+old.SDUsIn, s.SDUsOut+old.SDUsOut
		t[k] = s
	}
}

// Streams returns what all bearers have carried so far after their handshakes, those that have ended included: payload bytes and SDUs
// by mini-protocol and role, sorted by both.
func (n *Network) Streams() []mux.StreamCounters {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := streamTotals{}
	for _, s := range n.streams {
		sum.add([]mux.StreamCounters{s})
	}
	for m := range n.muxes {
		sum.add(m.Counters())
	}
	out := make([]mux.StreamCounters, 0, len(sum))
	for _, s := range sum {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b mux.StreamCounters) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Role, b.Role))
	})
	return out
}
