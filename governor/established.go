package governor

// Connecting and closing (governor §3.3, rules 14 and 15). Nothing limits how many connect at once but the deficit itself.

func (c *Core) establishedBelowBig() verdict {
	return c.establishedBelowOf(c.targets.EstablishedBigLedger, kindBig, kindBig)
}

// establishedBelow connects to peers that are neither local roots nor big ledger peers; local roots count as established
// all the same.
func (c *Core) establishedBelow() verdict {
	return c.establishedBelowOf(c.targets.Established, kindOrdinary, kindOther)
}

func (c *Core) establishedBelowOf(target int, counted, from kind) verdict {
	actual := c.tot[counted].established
	deficit := target - actual - c.n[counted][connecting]
	if deficit <= 0 {
		return skip
	}
	if c.n[from][coldReady] == 0 {
		return skipUntil(c.waiting(from, coldWait))
	}
	picked, total := c.pick(PickColdToWarm, deficit, from, coldReady)
	c.connect(named(from == kindBig, "PromoteColdPeers", "PromoteColdBigLedgerPeers"), target, actual, total, picked)
	return did
}

// establishedBelowLocal connects to local roots of groups below their warm valency, whatever the overall target.
func (c *Core) establishedBelowLocal() verdict {
	until, acted := Never, false
	for i := range c.groups {
		g := &c.groups[i]
		deficit := g.Warm - g.established() - g.n[connecting]
		if deficit <= 0 {
			continue
		}
		if g.n[coldReady] == 0 {
			until = min(until, c.groupWaiting(g, coldWait))
			continue
		}
		picked, total := c.pickMembers(PickColdToWarm, deficit, g, coldReady)
		c.connect("PromoteColdLocalPeers", g.Warm, g.established(), total, picked)
		acted = true
	}
	if acted {
		return did
	}
	return skipUntil(until)
}

func (c *Core) connect(name string, target, actual, candidates int, picked []*peer) {
	c.trace(name, target, actual, candidates, "", c.addresses(picked)...)
	for _, p := range picked {
		c.touch(p, target, actual, candidates)
		o := ConnectOptions{InitiatorOnly: c.cfg.InitiatorOnly, BigLedger: p.class == classBig}
		if p.group >= 0 {
			g := &c.groups[p.group]
			o.InitiatorOnly = o.InitiatorOnly || g.InitiatorOnly
			o.InboundOnly, o.Trustable = g.InboundOnly, g.Trustable
		}
		if c.lifted[p.id] > c.now {
			o.InboundOnly = true
		} else {
			delete(c.lifted, p.id)
		}
		p.seen = Cold
		c.move(p, connecting, 0)
		c.order(Connect, p, o)
	}
}

// establishedAboveBig closes warm big ledger peers above the target. Like the reference it subtracts the promotions and
// demotions of all warm peers, so it may order fewer than it could, never more.
func (c *Core) establishedAboveBig() verdict {
	s := c.tot[kindBig]
	if s.established <= c.targets.EstablishedBigLedger || c.n[kindBig][warmReady]+c.n[kindBig][warmWait] == 0 {
		return skip
	}
	n := min(s.established-c.targets.EstablishedBigLedger, s.established-s.active) -
		c.all(closing) - c.all(activating) - c.n[kindBig][cooling]
	return c.closeWarm("DemoteWarmBigLedgerPeers", n, c.targets.EstablishedBigLedger, s.established, kindBig)
}

// establishedAbove closes warm peers above the target, never local roots.
func (c *Core) establishedAbove() verdict {
	s, in := c.tot[kindOrdinary], &c.n[kindOrdinary]
	if s.established <= c.targets.Established || c.n[kindOther][warmReady]+c.n[kindOther][warmWait] == 0 {
		return skip
	}
	local := c.tot[kindLocal]
	n := min(s.established-c.targets.Established, s.established-(local.established-local.active)-s.active) -
		in[closing] - in[activating] - in[cooling]
	return c.closeWarm("DemoteWarmPeers", n, c.targets.Established, s.established, kindOther)
}

func (c *Core) closeWarm(name string, n, target, actual int, from kind) verdict {
	if n <= 0 {
		return skip
	}
	picked, total := c.pick(PickWarmToCold, n, from, warmReady, warmWait)
	c.trace(name, target, actual, total, "", c.addresses(picked)...)
	for _, p := range picked {
		c.touch(p, target, actual, total)
		c.close(p)
	}
	return did
}
