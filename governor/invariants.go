package governor

import (
	"errors"
	"fmt"
	"net/netip"
)

// Check looks at every invariant of governor §10.1 and at the bookkeeping of the indexes, and returns all that is broken. Its cost is
// linear in the known peers: for tests, simulations and the host's debug mode, after any step.
//
// Many invariants of the reference hold by construction, for a peer is in exactly one place and one root set: the in-progress
// sets are disjoint and part of cold, warm or hot; local, public and big ledger peers are disjoint; cooling is part of established and
// of no in-progress set. What is checked here is that the construction is sound.
func (c *Core) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }

	var n [kinds][places]int
	var tot [kinds]tally
	var byClass [classes]int
	live := [2]int{}
	crowds := map[netip.Prefix]tally{}
	count := 0
	for id := range c.pos {
		p := c.at(uint32(id))
		if !p.addr.IsValid() {
			continue
		}
		count++
		if c.find(p.addr) != p {
			bad("%v: the index does not find it", p.addr)
		}
		b := &c.buckets[p.class][p.place]
		if at := int(c.pos[p.id]); at >= len(b.ids) || b.ids[at] != p.id {
			bad("%v: not where the index says, %v", p.addr, p.place)
		}
		byClass[p.class]++
		for _, k := range []kind{p.kind(), kindOrdinary} {
			if k == kindOrdinary && p.class == classBig {
				continue
			}
			n[k][p.place]++
			tot[k].known++
			if p.place.established() {
				tot[k].established++
			}
			if p.place.active() {
				tot[k].active++
			}
		}
		if p.place.established() && p.place != cooling {
			live[scopeOf(p.addr)]++
		}
		w := crowds[c.prefix(p.addr)]
		if c.cfg.Diversity.PerPrefix > 0 {
			w.known++
		}
		if p.place.established() {
			w.established++
		}
		if p.place.active() {
			w.active++
		}
		crowds[c.prefix(p.addr)] = w
		c.checkPeer(p, bad)
	}
	if count != c.table.count {
		bad("%d peers, %d counted", c.table.count, count)
	}
	if n != c.n {
		bad("peers by kind and place: %v, counted %v", c.n, n)
	}
	if tot != c.tot {
		bad("known, established, active: %v, counted %v", c.tot, tot)
	}
	if byClass != c.known {
		bad("peers by root set: %v, counted %v", c.known, byClass)
	}
	for i := range live {
		if live[i] != c.outage[i].live {
			bad("live connections of scope %d: %d, counted %d", i, c.outage[i].live, live[i])
		}
	}
	for pre, w := range crowds {
		if have := c.prefixes[pre]; w != (tally{}) && (have == nil || *have != w) {
			bad("prefix %v: counted %v", pre, w)
		}
	}
	c.checkSets(bad)
	c.checkGroups(bad)
	return errors.Join(errs...)
}

func (c *Core) checkPeer(p *peer, bad func(string, ...any)) {
	if timed(p.place) && c.dueOf(p) <= c.now {
		bad("%v: %v although its time has come", p.addr, p.place)
	}
	if p.has(pausing) != c.inPauses(p) {
		bad("%v: pausing %v, in the queue %v", p.addr, p.has(pausing), c.inPauses(p))
	}
	if p.has(pausing) && p.place != activating && p.place != closing && p.place != deactivating {
		bad("%v: pausing while %v", p.addr, p.place)
	}
	if (p.class == classLocal) != (p.group >= 0) {
		bad("%v: root set %d, group %d", p.addr, p.class, p.group)
	}
	if p.class == classBig && p.advertise != no || p.class == classBootstrap && p.advertise != no {
		bad("%v: a %v peer is advertised", p.addr, p.source)
	}
	if p.shareable() != c.salt.members.has(p.id) {
		bad("%v: shareable %v, offered %v", p.addr, p.shareable(), c.salt.members.has(p.id))
	}
	_, waits := c.sharing.waiting.get(p.id)
	askable := c.sharing.askable.has(p.id)
	willing := p.place.established() && p.place != cooling && p.sharing == yes
	if willing != (waits || askable) || waits && askable {
		bad("%v: willing to share %v, askable %v, waiting %v", p.addr, willing, askable, waits)
	}
	if p.has(condemned) && !p.place.established() && p.place != connecting {
		bad("%v: condemned and cold", p.addr)
	}
	if p.has(backedOff) && p.place != coldWait {
		bad("%v: backed off and %v", p.addr, p.place)
	}
	if p.has(shown) {
		bad("%v: a pick left its mark", p.addr)
	}
	if p.scope() != scopeOf(p.addr) {
		bad("%v: scope %d", p.addr, p.scope())
	}
}

func (c *Core) inPauses(p *peer) bool { _, ok := c.pauses.get(p.id); return ok }

func (c *Core) checkSets(bad func(string, ...any)) {
	for cl := range c.buckets {
		for pl := range c.buckets[cl] {
			b := &c.buckets[cl][pl]
			if timed(place(pl)) && len(b.due) != len(b.ids) || !timed(place(pl)) && len(b.due) != 0 {
				bad("bucket %d %v: %d peers, %d times", cl, place(pl), len(b.ids), len(b.due))
			}
			for i := 1; i < len(b.due); i++ {
				if parent := (i - 1) / 4; sooner(b.due[i], b.ids[i], b.due[parent], b.ids[parent]) {
					bad("bucket %d %v: not a heap at %d", cl, place(pl), i)
				}
			}
		}
	}
	if !c.targets.sane() {
		bad("targets are out of order: %v", c.targets)
	}
	for id := range c.lifted {
		if !c.at(id).addr.IsValid() {
			bad("a lifted back-off of nobody")
		}
	}
	running := 0
	for _, b := range c.sharing.batches {
		for _, a := range b.asked {
			if !a.done {
				running++
			}
		}
	}
	if running != c.sharing.running || running < 0 || running > shareInFlight {
		bad("%d share requests running, counted %d", c.sharing.running, running)
	}
	if len(c.inbox)+len(c.changed) > 0 && c.out.Wake > c.now {
		bad("%d results and %d changes left behind", len(c.inbox), len(c.changed))
	}
	if !c.sensitive() && c.onlyTrusted {
		bad("only trusted peers although not sensitive")
	}
	if c.sensitive() && c.onlyTrusted && !c.trustedOnly() {
		bad("a clean state with %d of %d peers trusted", c.known[classBootstrap]+c.trusted, c.table.count)
	}
	if len(c.bans.order) != len(c.bans.entries) || len(c.bans.order) > maxBans {
		bad("%d bans, %d in order", len(c.bans.entries), len(c.bans.order))
	}
	for _, on := range []*board{&c.boards.headers, &c.boards.blocks} {
		if len(on.slots) > boardSlots || len(on.tally) > boardSlots {
			bad("a board of %d slots and %d peers", len(on.slots), len(on.tally))
		}
	}
}

func (c *Core) checkGroups(bad func(string, ...any)) {
	total, trusted := 0, 0
	for i := range c.groups {
		g := &c.groups[i]
		var n [places]int
		for _, id := range g.ids {
			p := c.at(id)
			n[p.place]++
			if int(p.group) != i {
				bad("%v: group %d lists it, it is in %d", p.addr, i, p.group)
			}
		}
		if n != g.n {
			bad("group %d by place: %v, counted %v", i, g.n, n)
		}
		if g.Warm > len(g.ids) || g.Hot > g.Warm || g.Hot <= 0 {
			bad("group %d: %d hot, %d warm of %d", i, g.Hot, g.Warm, len(g.ids))
		}
		total += len(g.ids)
		if g.Trustable {
			trusted += len(g.ids)
		}
	}
	if total != c.known[classLocal] || trusted != c.trusted {
		bad("%d local roots, %d trusted, counted %d and %d", c.known[classLocal], c.trusted, total, trusted)
	}
	if !c.localDirty && total > c.targets.Known {
		bad("%d local roots for %d known", total, c.targets.Known)
	}
}
