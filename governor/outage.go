package governor

import (
	"maps"
	"net/netip"
	"time"
)

// Own-outage detection: "many bad peers" and "we lost our own network" look alike, one failure at a time, and the reference
// flushes its known set in an outage. Here a failure is blamed on a peer for good only once somebody else has shown a sign of life
// after it: a connection, an answer, a block, a round trip, or a connection that keep-alive would have ended. When enough distinct peers failed in a row and no connection is left, it is an outage: what they were blamed
// for since the last sign of life is taken back, nobody is blamed or forgotten any more, and everybody is tried again at
// short intervals until one answers.
//
// An outage that lasts longer than an hour may be a list of peers that are all dead: then they are blamed again, so that others
// are asked for, until the next sign of life.
//
// Public and private addresses are judged apart: a relay in the next rack that still answers proves nothing about the Internet.

// maxSuspects bounds the failures remembered since the last sign of life; further ones are blamed at once.
const maxSuspects = 1024

type outage struct {
	on       bool
	spent    bool // it lasted too long: failures count until the next sign of life
	since    time.Duration
	live     int                              // connections of this scope, cooling ones excepted
	suspects []suspect                        // one for each peer
	index    map[netip.AddrPort]time.Duration // when each of them failed first
}

// suspect is a peer that failed since the last sign of life, and its fail count before.
type suspect struct {
	addr  netip.AddrPort
	fails uint16
}

func newOutage() outage { return outage{index: map[netip.AddrPort]time.Duration{}} }

func scopeOf(a netip.AddrPort) int {
	ip := a.Addr().Unmap()
	if ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}

// outageFailure remembers a failure. During an outage it is nobody's, and the delay until the next attempt is returned.
func (c *Core) outageFailure(p *peer) (time.Duration, bool) {
	if c.cfg.NoOutageDetection {
		return 0, false
	}
	o := &c.outage[p.scope()]
	if o.on && c.now-o.since > c.cfg.Timing.OutageMost {
		o.on, o.spent = false, true
		c.tell("OutageEnded", "it lasted too long: peers are blamed again").Delay = c.now - o.since
	}
	if o.spent {
		return 0, false
	}
	if o.on {
		return c.cfg.Timing.OutageRetry + c.fuzz(c.cfg.Timing.BackoffFuzz), true
	}
	if _, known := o.index[p.addr]; !known && len(o.suspects) < maxSuspects {
		o.index[p.addr] = c.now
		o.suspects = append(o.suspects, suspect{p.addr, p.fails})
	}
	return 0, false
}

// suspected says that a failure of p is still open to doubt. A connection that has outlived the peer's first failure by more than
// keep-alive allows a dead one is a sign of life too: no newer one came about meanwhile, or the suspects would be forgiven.
func (c *Core) suspected(p *peer) bool {
	o := &c.outage[p.scope()]
	first, ok := o.index[p.addr]
	return ok && (o.live == 0 || c.now-first <= c.cfg.Timing.SilentLife)
}

// outageCheck looks whether an outage has begun.
func (c *Core) outageCheck(scope int) {
	o := &c.outage[scope]
	if o.on || o.spent || o.live > 0 || len(o.suspects) < max(2, min(c.cfg.OutagePeers, c.table.count)) {
		return
	}
	o.on, o.since = true, c.now
	c.trace("OutageBegan", -1, len(o.suspects), -1, "everybody failed and no connection is left: nobody is blamed")
	retry := c.now + c.cfg.Timing.OutageRetry
	for _, s := range o.suspects {
		p := c.find(s.addr)
		if p == nil {
			continue
		}
		p.fails = min(p.fails, s.fails)
		p.clear(unblamed)
		c.salt.update(p)
		if p.place == coldWait && c.dueOf(p) > retry {
			c.move(p, coldWait, retry+c.fuzz(c.cfg.Timing.BackoffFuzz))
		}
	}
	o.forgive()
}

func (o *outage) forgive() {
	o.suspects = o.suspects[:0]
	clear(o.index)
}

// alive notes a sign of life of p: our own network works. Failures before it were the others' own.
func (c *Core) alive(p *peer) {
	o := &c.outage[p.scope()]
	o.spent = false
	if !o.on && len(o.suspects) == 0 {
		return
	}
	p.clear(unblamed)
	if o.on {
		o.on = false
		c.tell("OutageEnded", "", p.addr).Delay = c.now - o.since
		for i := range c.roots {
			if r := &c.roots[i]; r.backoff < 0 {
				r.backoff, r.retry = 0, c.now
				c.asking.rules = everyRule
			}
		}
	}
	for _, s := range o.suspects {
		q := c.find(s.addr)
		if q == nil || !q.has(unblamed) {
			continue
		}
		q.clear(unblamed)
		if (q.place == coldReady || q.place == coldWait) && !q.protected() {
			c.tell("ForgetColdPeers", "failed too often", q.addr)
			c.forget(q)
		}
	}
	o.forgive()
}

func (o *outage) clone() outage {
	n := *o
	n.suspects, n.index = append([]suspect(nil), o.suspects...), maps.Clone(o.index)
	return n
}
