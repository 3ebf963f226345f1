package governor

// Activating and deactivating (governor §3.3, rules 16 and 17).

func (c *Core) activeBelowBig() verdict {
	return c.activeBelowOf(c.targets.ActiveBigLedger, kindBig, kindBig)
}

// activeBelow activates peers that are neither local roots nor big ledger peers; local roots count as active all the same.
func (c *Core) activeBelow() verdict {
	return c.activeBelowOf(c.targets.Active, kindOrdinary, kindOther)
}

func (c *Core) activeBelowOf(target int, counted, from kind) verdict {
	actual := c.tot[counted].active
	deficit := target - actual - c.n[counted][activating]
	if deficit <= 0 {
		return skip
	}
	if c.n[from][warmReady] == 0 {
		return skipUntil(c.waiting(from, warmWait))
	}
	picked, total := c.pick(PickWarmToHot, deficit, from, warmReady)
	c.activate(named(from == kindBig, "PromoteWarmPeers", "PromoteWarmBigLedgerPeers"), target, actual, total, picked)
	return did
}

// activeBelowLocal activates local roots of groups below their hot valency, whatever the overall target.
func (c *Core) activeBelowLocal() verdict {
	until, acted := Never, false
	for i := range c.groups {
		g := &c.groups[i]
		deficit := g.Hot - g.active() - g.n[activating]
		if deficit <= 0 {
			continue
		}
		if g.n[warmReady] == 0 {
			until = min(until, c.groupWaiting(g, warmWait))
			continue
		}
		picked, total := c.pickMembers(PickWarmToHot, deficit, g, warmReady)
		c.activate("PromoteWarmLocalPeers", g.Hot, g.active(), total, picked)
		acted = true
	}
	if acted {
		return did
	}
	return skipUntil(until)
}

func (c *Core) activate(name string, target, actual, candidates int, picked []*peer) {
	c.trace(name, target, actual, candidates, "", c.addresses(picked)...)
	for _, p := range picked {
		c.touch(p, target, actual, candidates)
		c.move(p, activating, 0)
		c.order(Activate, p, ConnectOptions{})
	}
}

func (c *Core) activeAboveBig() verdict {
	return c.activeAboveOf("DemoteHotBigLedgerPeers", c.targets.ActiveBigLedger, kindBig, kindBig)
}

// activeAbove deactivates hot peers above the target, never local roots: those go by their valency alone.
func (c *Core) activeAbove() verdict {
	return c.activeAboveOf("DemoteHotPeers", c.targets.Active, kindOrdinary, kindOther)
}

// A cooling peer is not active any more, so there is none to subtract (governor §3.6).
func (c *Core) activeAboveOf(name string, target int, counted, from kind) verdict {
	actual := c.tot[counted].active
	n := actual - target - c.n[counted][deactivating]
	if n <= 0 || c.n[from][hot] == 0 {
		return skip
	}
	picked, total := c.pick(PickHotToWarm, n, from, hot)
	c.deactivate(name, target, actual, total, picked)
	return did
}

// activeAboveLocal takes groups down to their hot valency. Like the reference it subtracts all deactivations that run anywhere,
// so it may order fewer than it could, never more.
func (c *Core) activeAboveLocal() verdict {
	acted := false
	for i := range c.groups {
		g := &c.groups[i]
		if g.active() <= g.Hot || g.n[hot] == 0 {
			continue
		}
		n := g.active() - g.Hot - c.all(deactivating)
		if n <= 0 {
			continue
		}
		picked, total := c.pickMembers(PickHotToWarm, n, g, hot)
		c.deactivate("DemoteLocalHotPeers", g.Hot, g.active(), total, picked)
		acted = true
	}
	if acted {
		return did
	}
	return skip
}

func (c *Core) deactivate(name string, target, actual, candidates int, picked []*peer) {
	c.trace(name, target, actual, candidates, "", c.addresses(picked)...)
	for _, p := range picked {
		c.touch(p, target, actual, candidates)
		c.move(p, deactivating, 0)
		c.order(Deactivate, p, ConnectOptions{})
	}
}
