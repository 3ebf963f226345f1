package governor

// bigLedgerBelow asks for big ledger peers while fewer are known than the target.
func (c *Core) bigLedgerBelow() verdict {
	actual, r := c.tot[kindBig].known, &c.roots[1]
	deficit := c.targets.KnownBigLedger - actual
	if deficit <= 0 || r.running {
		return skip
	}
	if c.now < r.retry {
		// [REF-BUG] The reference does not ask to be woken here, unlike for roots, so that its retry waits for something else
		// to happen.
		return skipUntil(r.retry)
	}
	c.trace("BigLedgerPeersRequest", c.targets.KnownBigLedger, actual, -1, "")
	c.requestRoots(r, true, deficit)
	return did
}

// bigLedgerAbove forgets cold big ledger peers above the target.
func (c *Core) bigLedgerAbove() verdict {
	actual := c.tot[kindBig].known
	excess := actual - c.targets.KnownBigLedger
	if excess <= 0 || c.n[kindBig][coldReady]+c.n[kindBig][coldWait] == 0 {
		return skip
	}
	picked, total := c.pick(PickColdToForget, excess, kindBig, coldReady, coldWait)
	c.forgetAll("ForgetBigLedgerPeers", c.targets.KnownBigLedger, actual, total, picked)
	return did
}
