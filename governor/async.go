package governor

import (
	"net/netip"
	"time"
)

// What peers did without being told: asynchronous demotions (governor §3.6), and connections of their own.

// inboundSeen lifts the back-off of a peer that could not be connected to: its own duplex connection can be reused, which takes no
// dialling. [OURS] The reference waits it out.
//
// Nobody can make us dial by this. Until the back-off would have ended the peer is only ever reused; when its connection has gone by the
// time somebody wants it, the rest of the back-off is waited out, and no call lifts that again. The fail count stays as it is.
func (c *Core) inboundSeen(e InboundSeen) {
	p := c.find(e.Peer)
	if p == nil || !p.has(backedOff) {
		return
	}
	due := c.dueOf(p)
	c.lifted[p.id] = due
	c.touch(p, -1, -1, -1)
	c.tell("BackOffLifted", "it has connected to us", p.addr).Delay = due - c.now
	c.move(p, coldReady, 0)
}

// statusSeen notes what Watch reports. Which changes were ordered is known here and nowhere else: every place knows what it
// leads to.
func (c *Core) statusSeen(e StatusSeen) {
	p := c.find(e.Peer)
	if p == nil {
		return
	}
	if p.place == connecting {
		// The end of an earlier connection may be reported late; only an end after a beginning is this one's.
		if e.Temperature >= Warm || p.has(sawUp) {
			p.seen = e.Temperature
			p.set(sawUp)
			c.early[p.id] = change{p.id, e.RetryAfter, e.Cause}
		}
		return
	}
	if !p.place.established() {
		return
	}
	p.seen = e.Temperature
	switch {
	case p.place == activating && e.Temperature == Hot:
		p.set(sawUp)
	case p.place == activating && e.Temperature == Warm:
		c.early[p.id] = change{p.id, e.RetryAfter, e.Cause} // if it was hot already, its result will tell
	case p.has(pausing) && e.Temperature == Cold && p.place == deactivating:
		c.deciding = OrderFinished
		c.demotedHot(p)
	case p.has(pausing) && e.Temperature == Cold && p.place == closing:
		c.deciding = OrderFinished
		c.demotedWarm(p)
	case p.place != closing && p.place != deactivating:
		c.changes(change{p.id, e.RetryAfter, e.Cause})
	}
}

// wentByThemselves looks at every connection whose status changed and was not ordered to: hot ones that are warm, warm or hot ones
// that are cooling, and any that are cold, which may have skipped cooling. A clean end counts as a failure like any other, and
// none of this makes a peer tepid.
func (c *Core) wentByThemselves() verdict {
	if len(c.changed) == 0 {
		return skip
	}
	batch := c.changed
	c.changed = c.batch[:0]
	c.batch = batch // its room is for the next
	// One draw for each batch and direction.
	toWarm := c.uniform(c.cfg.Timing.ReactivateFuzz[0], c.cfg.Timing.ReactivateFuzz[1])
	toCold := c.uniform(c.cfg.Timing.ReconnectFuzz[0], c.cfg.Timing.ReconnectFuzz[1])
	for _, ch := range batch {
		p := c.at(ch.id)
		if !p.place.established() || p.place == closing || p.place == deactivating {
			continue
		}
		switch {
		case p.seen == Warm && p.place == hot:
			c.touch(p, -1, -1, -1)
			t := c.asynchronous(p, p.addr, "to warm", ch)
			if ch.delay >= 0 {
				t.Delay = ch.delay + toWarm
				c.move(p, warmWait, c.now+ch.delay+toWarm)
			} else {
				c.move(p, warmReady, 0)
			}
		case p.seen == Cooling && p.place != cooling:
			c.touch(p, -1, -1, -1)
			c.asynchronous(p, p.addr, "to cooling", ch)
			c.move(p, cooling, 0)
		case p.seen == Cold:
			c.touch(p, -1, -1, -1)
			i := len(c.out.Trace)
			c.asynchronous(p, p.addr, "to cold", ch)
			c.out.Trace[i].Delay = c.failed(p, ch.cause.blamable(), func(int) time.Duration {
				if ch.delay < 0 {
					return 0
				}
				return ch.delay + toCold
			})
		}
	}
	return did
}

// blamable is the cause without a retry-after: an established connection that ended is a failure, whatever its error says about
// retrying; the delay of the exit policy counts.
func (f *Failure) blamable() *Failure {
	if f == nil || f.RetryAfter == 0 {
		return f
	}
	g := *f
	g.RetryAfter = 0
	return &g
}

func (c *Core) asynchronous(p *peer, a netip.AddrPort, where string, ch change) *Trace {
	name := "DemoteAsynchronous"
	switch p.class {
	case classLocal:
		name = "DemoteLocalAsynchronous"
	case classBig:
		name = "DemoteBigLedgerPeersAsynchronous"
	}
	if ch.cause != nil {
		where += ": " + ch.cause.text()
	}
	return c.tell(name, where, a)
}
