package governor

import (
	"net/netip"
	"time"
)

// Results of orders (governor §3.5). They are applied to the state as it is now: meanwhile the peer may have been
// forgotten, demoted or reclassified, so every result looks again before it does anything.

// maxRetries is how many failures in a row a peer survives; the next one makes it forgotten (governor §3.5).
const maxRetries = 5

// orderFinished applies the first result that waits.
func (c *Core) orderFinished() verdict {
	if len(c.inbox) == 0 {
		return skip
	}
	ev := c.inbox[0]
	c.inbox = append(c.inbox[:0], c.inbox[1:]...)
	switch e := ev.(type) {
	case Connected:
		c.connected(e)
	case Activated:
		c.activated(e)
	case Deactivated:
		c.deactivated(e)
	case Disconnected:
		c.disconnected(e)
	case Answered:
		c.asking.rules = everyRule
		c.sharing.answered(c, e)
	case RootsAnswered:
		c.asking.rules = everyRule
		c.rootsAnswered(e)
	case InboundListed:
		c.asking.rules = everyRule
		c.inboundListed(e)
	case SnapshotVerified:
		c.tell("VerifyPeerSnapshot", map[bool]string{true: "verified", false: "not verified"}[e.OK])
	}
	return did
}

// running finds the peer of a result if the order still runs. Job 0 stands for the running order, whichever it is.
func (c *Core) running(a netip.AddrPort, job uint32, in place) *peer {
	p := c.find(a)
	if p == nil || p.place != in || p.has(pausing) || job != 0 && job != p.job {
		return nil
	}
	return p
}

// connected: cold → warm. Success does not reset the fail count: only 120 s of being hot do.
func (c *Core) connected(e Connected) {
	p := c.running(e.Peer, e.Job, connecting)
	if p == nil {
		if q := c.find(e.Peer); e.Failure == nil && (q == nil || !q.place.established()) {
			c.out.Effects = append(c.out.Effects, Effect{Kind: Disconnect, Peer: e.Peer}) // nobody wants this connection any more
		}
		return
	}
	big := p.class == classBig
	target, k := c.targets.Established, kindOrdinary
	if big {
		target, k = c.targets.EstablishedBigLedger, kindBig
	}
	c.touch(p, target, c.tot[k].established, -1)
	if e.Failure != nil {
		i := len(c.out.Trace)
		c.trace(named(big, "PromoteColdFailed", "PromoteColdBigLedgerPeerFailed"), target, c.tot[k].established, -1, e.Failure.text(), p.addr)
		if due, called := c.lifted[p.id]; called && !e.Failure.proof() {
			due = max(due, c.now+e.Failure.RetryAfter)
			c.out.Trace[i].Delay = max(0, due-c.now)
			c.chill(p, due) // nothing was dialled: the back-off goes on, and only another failure can begin one to be lifted
			return
		}
		if !e.Failure.proof() && !p.has(condemned) {
			p.set(backedOff)
		}
		c.out.Trace[i].Delay = c.failed(p, e.Failure, func(fails int) time.Duration {
			return c.cfg.Timing.Backoff<<min(fails-1, 5) + c.fuzz(c.cfg.Timing.BackoffFuzz)
		})
		return
	}
	p.clear(tepid)
	p.set(everConnected)
	p.sharing = answerOf(e.Shares)
	if !p.has(sawUp) {
		p.seen = Warm
	}
	c.move(p, warmReady, 0)
	c.salt.update(p)
	c.alive(p)
	c.trace(named(big, "PromoteColdDone", "PromoteColdBigLedgerPeerDone"), target, c.tot[k].established, -1, "", p.addr)
	if p.has(condemned) {
		c.close(p)
	} else if p.seen != Warm {
		c.changes(c.early[p.id])
	}
	delete(c.early, p.id)
}

// activated: warm → hot. A failure is acted on after a pause, so that a peer which fails at once does not make us busy.
func (c *Core) activated(e Activated) {
	p := c.running(e.Peer, e.Job, activating)
	if p == nil {
		if q := c.find(e.Peer); q == nil || !q.place.active() {
			big := q != nil && q.class == classBig
			target, actual := c.activeTarget(big)
			c.trace(named(big, "PromoteWarmAborted", "PromoteWarmBigLedgerPeerAborted"), target, actual, -1, "", e.Peer)
		}
		return
	}
	if f := e.Failure; f != nil {
		if f.RetryAfter > 0 && p.seen == Warm {
			c.move(p, warmWait, c.now+f.RetryAfter)
			return
		}
		c.pause(p, c.cfg.Timing.ActivationPause, f)
		return
	}
	big := p.class == classBig
	target, k := c.targets.Active, kindOrdinary
	if big {
		target, k = c.targets.ActiveBigLedger, kindBig // [REF-BUG] the reference reports the other target
	}
	if !p.has(sawUp) {
		p.seen = Hot
	}
	c.touch(p, target, c.tot[k].active, -1)
	c.move(p, hot, 0)
	if p.fails > 0 {
		c.clearFails.set(p.id, c.now+c.cfg.Timing.FailClear)
	}
	c.trace(named(big, "PromoteWarmDone", "PromoteWarmBigLedgerPeerDone"), target, c.tot[k].active, -1, "", p.addr)
	if p.seen != Hot {
		c.changes(c.early[p.id])
	}
	delete(c.early, p.id)
}

// deactivated: hot → warm. Success does not mean warm: when the remote held the agency until the time-out the connection was
// closed, and Watch said so before (governor §3.5). Neither way is a failure of the peer.
func (c *Core) deactivated(e Deactivated) {
	p := c.running(e.Peer, e.Job, deactivating)
	if p == nil {
		return
	}
	switch {
	case p.seen == Cold:
		c.demotedHot(p)
	case e.Failure != nil || p.seen == Cooling:
		c.pause(p, c.cfg.Timing.TrueCold, e.Failure)
	default:
		p.seen = Warm
		c.demotedHot(p)
	}
}

// demotedHot ends a deactivation that worked, or that ended the connection.
func (c *Core) demotedHot(p *peer) {
	big := p.class == classBig
	target, k := c.targets.Active, kindOrdinary
	if big {
		target, k = c.targets.ActiveBigLedger, kindBig
	}
	p.set(tepid)
	c.touch(p, target, c.tot[k].active, -1)
	addr, note := p.addr, ""
	if p.seen == Cold {
		note = "connection closed"
		c.chill(p, 0)
	} else {
		c.move(p, warmReady, 0)
		if p.has(condemned) {
			c.close(p)
		}
	}
	c.trace(named(big, "DemoteHotDone", "DemoteHotBigLedgerPeerDone"), target, c.tot[k].active, -1, note, addr)
}

// disconnected: warm → cold. Neither a graceful nor a failed one counts a failure or sets a delay.
func (c *Core) disconnected(e Disconnected) {
	p := c.running(e.Peer, e.Job, closing)
	if p == nil {
		return
	}
	if e.Failure != nil && p.seen != Cold {
		c.pause(p, c.cfg.Timing.TrueCold, e.Failure)
		return
	}
	c.demotedWarm(p)
}

// demotedWarm ends a closing: the connection is really gone.
func (c *Core) demotedWarm(p *peer) {
	big := p.class == classBig
	target, k := c.targets.Established, kindOrdinary
	if big {
		target, k = c.targets.EstablishedBigLedger, kindBig // [REF-BUG] the reference reports the other target
	}
	c.touch(p, target, c.tot[k].established, -1)
	addr := p.addr
	c.chill(p, 0)
	c.trace(named(big, "DemoteWarmDone", "DemoteWarmBigLedgerPeerDone"), target, c.tot[k].established, -1, "", addr)
}

// pause leaves the peer in progress for a while.
func (c *Core) pause(p *peer, d time.Duration, why *Failure) {
	p.set(pausing)
	c.pauses.set(p.id, c.now+d)
	c.pauseCause[p.id] = why
}

// pauseOver decides what becomes of a peer whose order failed.
func (c *Core) pauseOver(p *peer) {
	why := c.pauseCause[p.id]
	p.clear(pausing)
	delete(c.pauseCause, p.id)
	big := p.class == classBig
	switch p.place {
	case activating:
		target, actual := c.activeTarget(big)
		if p.seen >= Warm { // the connection outlived the failure: do not leave it behind
			c.out.Effects = append(c.out.Effects, Effect{Kind: Disconnect, Peer: p.addr})
			p.seen = Cold
		}
		c.touch(p, target, actual, -1)
		i := len(c.out.Trace)
		c.trace(named(big, "PromoteWarmFailed", "PromoteWarmBigLedgerPeerFailed"), target, actual, -1, why.text(), p.addr)
		c.out.Trace[i].Delay = c.failed(p, why, func(int) time.Duration {
			return c.cfg.Timing.ErrorDelay + c.fuzz(c.cfg.Timing.BackoffFuzz)
		})
	case closing, deactivating:
		// The connection never went away. The peer stays established, and if it is cooling, the next look at its status
		// (governor §3.6) finds out; nothing waits for it any more.
		from, what := warmReady, "DemoteWarm"
		if p.place == deactivating {
			from, what = hot, "DemoteHot"
		}
		c.tell(named(big, what+"Failed", what+"BigLedgerPeerFailed")+".CoolingToColdTimeout", why.text(), p.addr)
		c.move(p, from, 0)
		if p.has(condemned) {
			c.close(p)
			return
		}
		c.changes(change{p.id, -1, nil})
	}
}

// failed counts a failure against a peer, makes it cold, and returns the delay until it may be tried again. delay gets the fail
// count after this failure, at least 1. The peer may be gone afterwards.
func (c *Core) failed(p *peer, why *Failure, delay func(fails int) time.Duration) time.Duration {
	switch {
	case p.has(condemned):
		d := delay(max(1, int(p.fails)))
		c.chill(p, c.now+d)
		return d
	case why != nil && why.RetryAfter > 0:
		// Not a failure at all: the address or our limits are busy. The forgiving timer runs on.
		c.chill(p, c.now+why.RetryAfter)
		return why.RetryAfter
	case why.ours():
		d := delay(max(1, int(p.fails)))
		c.chill(p, c.now+d)
		return d
	case why.proof():
		p.seen = Cold
		c.move(p, coldReady, 0)
		c.punish(p, why.text())
		return 0
	}
	scope := p.scope()
	c.clearFails.drop(p.id)
	if d, out := c.outageFailure(p); out {
		c.chill(p, c.now+d)
		return d
	}
	d := delay(int(min(p.fails, maxRetries)) + 1)
	if p.fails >= maxRetries && !p.protected() {
		if !c.suspected(p) {
			c.tell("ForgetColdPeers", "failed too often", p.addr)
			c.move(p, coldReady, 0)
			c.forget(p)
			return 0
		}
		// Whose fault it was shows at the next sign of life of anybody else (outage.go).
		p.set(unblamed)
	} else if p.fails < 1<<16-1 {
		p.fails++
	}
	c.salt.update(p)
	c.chill(p, c.now+d)
	c.outageCheck(scope)
	return d
}

// chill makes a peer cold, waiting until due if that is later than now. Peers to be got rid of are forgotten on the way.
func (c *Core) chill(p *peer, due time.Duration) {
	p.seen = Cold
	due = max(due, c.dueOf(p))
	if p.has(condemned) {
		p.clear(condemned)
		if p.class != classLocal {
			c.tell("ForgetColdPeers", "misbehaved", p.addr)
			c.move(p, coldReady, 0)
			c.forget(p)
			return
		}
		if p.fails < 1<<16-1 { // a local root is never banned, only backed off
			p.fails++
		}
		c.salt.update(p)
		due = max(due, c.now+c.cfg.Timing.Backoff<<min(p.fails-1, 5)+c.fuzz(c.cfg.Timing.BackoffFuzz))
	}
	if due > c.now {
		c.move(p, coldWait, due)
	} else {
		c.move(p, coldReady, 0)
	}
}

// close orders a warm or hot peer to be disconnected.
func (c *Core) close(p *peer) {
	c.move(p, closing, 0)
	c.order(Disconnect, p, ConnectOptions{})
}

// activeTarget is the target that counts for a peer, and how many there are.
func (c *Core) activeTarget(big bool) (target, actual int) {
	if big {
		return c.targets.ActiveBigLedger, c.tot[kindBig].active
	}
	return c.targets.Active, c.tot[kindOrdinary].active
}

// named is the name of a trace, which big ledger peers have their own of.
func named(big bool, ordinary, bigLedger string) string {
	if big {
		return bigLedger
	}
	return ordinary
}
