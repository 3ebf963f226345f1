package connmgr

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// pruneCandidate is a connection that counts as inbound, as the choice of victims sees it.
type pruneCandidate struct {
	id        RecordID
	remote    netip.Addr
	upstream  bool          // we use it too
	idle      bool          // nobody uses it
	age       time.Duration // of the record
	protected bool          // local root
	trigger   bool          // the connection whose transition went over the limit
}

// chooseVictims picks n connections to give up (connmgr §3, §11 item 13): never a protected one, and one that we use
// ourselves only when nothing else is left; among the others first idle ones, then those of the most crowded address prefix, then the
// youngest. When only protected ones are left the connection that came last gives way, protected or not: the hard limit holds.
// O(N log N), run only at the limit.
func chooseVictims(candidates []pruneCandidate, n int, rnd *rand.Rand) []RecordID {
	crowd := map[netip.Prefix]int{}
	for _, c := range candidates {
		crowd[prefixOf(c.remote)]++
	}
	type scored struct {
		pruneCandidate
		crowd  int
		random uint64
	}
	open := make([]scored, 0, len(candidates))
	var trigger []RecordID
	for _, c := range candidates {
		if c.protected {
			if c.trigger {
				trigger = append(trigger, c.id)
			}
			continue
		}
		open = append(open, scored{c, crowd[prefixOf(c.remote)], rnd.Uint64()})
	}
	slices.SortFunc(open, func(a, b scored) int {
		return cmp.Or(
			compareBool(a.upstream, b.upstream),
			compareBool(b.idle, a.idle),
			cmp.Compare(b.crowd, a.crowd),
			cmp.Compare(a.age, b.age),
			cmp.Compare(a.random, b.random),
			cmp.Compare(a.id, b.id),
		)
	})
	victims := make([]RecordID, 0, n)
	for _, c := range open[:min(n, len(open))] {
		victims = append(victims, c.id)
	}
	if len(victims) < n {
		victims = append(victims, trigger...)
	}
	return victims
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// prefixOf is the unit in which addresses are counted: IPv4 /24, IPv6 /48, with IPv4-mapped IPv6 as IPv4.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// prune makes room for r, which is about to enter a state that counts as inbound. It tells whether r itself had to go.
func (c *core) prune(r *record, to State) bool {
	if r.state.counts().Inbound == 1 || to.counts().Inbound == 0 {
		return false
	}
	over := c.counters.Inbound + 1 - c.cfg.Hard
	if over <= 0 {
		return false
	}
	candidates := []pruneCandidate{c.candidate(r, to)}
	candidates[0].trigger = true
	for _, o := range c.sorted() {
		if o.state.counts().Inbound == 1 {
			candidates = append(candidates, c.candidate(o, o.state))
		}
	}
	self := false
	for _, id := range chooseVictims(candidates, over, c.rnd) {
		v := c.records[id]
		v.err = &Refusal{Scope: "inbound connections", Limit: c.cfg.Hard, InUse: c.counters.Inbound, Remote: v.conn.Remote, Reason: ErrPruned}
		c.apply(v, inPruned)
		self = self || v == r
	}
	return self
}

func (c *core) candidate(r *record, s State) pruneCandidate {
	return pruneCandidate{
		id:        r.id,
		remote:    r.conn.Remote.Addr(),
		upstream:  s == StateDuplex,
		idle:      s == StateInboundIdleUni || s == StateInboundIdleDup,
		age:       c.now - r.created,
		protected: r.protected,
	}
}
