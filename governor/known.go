package governor

import (
	"net/netip"
	"time"
)

// rootRequest is the state of one of the two kinds of requests: one may run at a time (governor §3.8).
type rootRequest struct {
	running bool
	job     uint32
	source  Source // who is being asked
	n       int
	backoff int           // below zero: failures in a row; above: successes without a new peer
	retry   time.Duration // not before
}

// again sets the time of the next request: 2^|backoff| units, at most 2^8.
func (r *rootRequest) again(c *Core, step int) {
	if step < 0 {
		r.backoff = min(r.backoff, 0) - 1
	} else {
		r.backoff = max(r.backoff, 0) + 1
	}
	r.retry = c.now + c.cfg.Timing.RootRetry<<min(max(r.backoff, -r.backoff), 8)
}

// rootsBelow asks for roots while there are fewer than the target; big ledger peers help to satisfy it.
func (c *Core) rootsBelow() verdict {
	deficit, r := c.targets.Roots-c.rootPeers(), &c.roots[0]
	if deficit <= 0 || r.running {
		return skip
	}
	if c.now < r.retry {
		return skipUntil(r.retry)
	}
	c.trace("PublicRootsRequest", c.targets.Roots, c.rootPeers(), -1, "")
	c.requestRoots(r, false, deficit)
	return did
}

// requestRoots asks the source that is right for the present state, judged by what is live, not by what has been worked
// off: bootstrap peers alone while sensitive, else the ledger, else the configured public roots (governor §6.2).
func (c *Core) requestRoots(r *rootRequest, big bool, n int) {
	src := SourcePublic
	switch {
	case c.liveSensitive():
		src = SourceBootstrap
	case c.settings.UseLedger && big:
		src = SourceBigLedger
	case c.settings.UseLedger:
		src = SourceLedger
	}
	c.ask(r, src, n)
}

func (c *Core) ask(r *rootRequest, src Source, n int) {
	r.running, r.job, r.source, r.n = true, c.newJob(), src, n
	c.out.Effects = append(c.out.Effects, Effect{Kind: RequestRoots, Job: r.job, Source: src, N: n})
}

// rootsAnswered takes up an answer of a root source.
func (c *Core) rootsAnswered(e RootsAnswered) {
	i := 0
	if c.roots[1].running && c.roots[1].job == e.Job {
		i = 1
	}
	r := &c.roots[i]
	if !r.running || e.Job != 0 && e.Job != r.job {
		return
	}
	r.running = false
	big := i == 1
	what := "PublicRoots"
	if big {
		what = "BigLedgerPeers"
	}
	if e.Failure != nil {
		r.again(c, -1)
		c.trace(what+"Failure", -1, -1, -1, e.Failure.text()).Delay = r.retry - c.now
		return
	}
	if (r.source == SourceBootstrap) != c.liveSensitive() {
		// The state changed while the answer was under way: it is an answer to another question.
		r.backoff, r.retry = 0, c.now
		c.tell(what+"Results", "dropped: the ledger state changed meanwhile")
		return
	}
	if len(e.Peers) == 0 && (r.source == SourceLedger || r.source == SourceBigLedger) {
		c.ask(r, SourcePublic, r.n) // the ledger has nothing to say
		return
	}
	peers := e.Peers[:min(len(e.Peers), c.cfg.Limits.Answer)]
	var added []netip.AddrPort
	for _, rp := range peers {
		if c.addRoot(rp, r.source) {
			added = append(added, rp.Peer)
		}
	}
	if len(added) == 0 {
		r.again(c, 1)
	} else {
		r.backoff, r.retry = 0, c.now+max(e.TTL, c.cfg.Timing.RootRetry)
	}
	c.trace(what+"Results", -1, -1, len(peers), "", added...).Delay = r.retry - c.now
}

// addRoot enters a peer into the root set of a source and reports whether it was in none before. Root sets are disjoint: local
// roots win over all, bootstrap over configured public roots, these two over the ledger, and among ledger peers the set a
// peer is in already (governor §1.4).
func (c *Core) addRoot(rp RootPeer, src Source) bool {
	cl := class(src)
	p := c.find(rp.Peer)
	configured := src == SourceBootstrap || src == SourcePublic
	if p != nil {
		better := configured && p.class != classLocal && p.class != classBootstrap && p.class != cl
		isNew := p.class == classPlain
		if isNew || better {
			c.reclass(p, cl)
			c.advertise(p, rp, src)
		}
		return isNew
	}
	if !c.acceptable(rp.Peer, configured) || !configured && c.crowded(rp.Peer) {
		return false
	}
	c.advertise(c.learn(rp.Peer, cl, src, unknown), rp, src)
	return true
}

// advertise sets what may be told to others about a root peer: configured public roots say it themselves, bootstrap and big ledger
// peers never, ledger peers stay as they are.
func (c *Core) advertise(p *peer, rp RootPeer, src Source) {
	switch src {
	case SourcePublic:
		p.advertise = answerOf(rp.Advertise)
	case SourceBootstrap, SourceBigLedger:
		p.advertise = no
	}
	c.salt.update(p)
}

// acceptable refuses nonsense, our own addresses, banned peers and, for what was learnt from others, private addresses if so
// configured.
func (c *Core) acceptable(a netip.AddrPort, configured bool) bool {
	if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || c.bans.has(a, c.now) {
		return false
	}
	if !configured && c.cfg.RejectPrivate && scopeOf(a) == 1 {
		return false
	}
	for _, self := range c.cfg.Self {
		if a == self {
			return false
		}
	}
	return true
}

// crowded says that the peer's prefix has its share of the known set already (Diversity.PerPrefix).
func (c *Core) crowded(a netip.AddrPort) bool {
	limit := c.cfg.Diversity.PerPrefix
	if limit <= 0 {
		return false
	}
	w := c.prefixes[c.prefix(a)]
	return w != nil && w.known >= limit
}

// restorePeers takes up peers of the peer store, as many as are wanted.
func (c *Core) restorePeers() verdict {
	if len(c.restored) == 0 {
		return skip
	}
	deficit := c.targets.Known - c.tot[kindOrdinary].known
	if deficit <= 0 {
		return skip
	}
	var added []netip.AddrPort
	i := 0
	for ; i < len(c.restored) && len(added) < deficit; i++ {
		s := c.restored[i]
		if c.find(s.Peer) != nil || !c.acceptable(s.Peer, true) || c.crowded(s.Peer) {
			continue
		}
		p := c.learn(s.Peer, classPlain, SourceRestored, unknown)
		if s.Shared {
			p.advertise = yes
		}
		p.fails = uint16(min(s.Fails, maxRetries-1))
		p.rtt = uint32(max(0, min(s.RTT.Microseconds(), 1<<32-1)))
		c.touch(p, c.targets.Known, c.tot[kindOrdinary].known, len(c.restored))
		added = append(added, s.Peer)
	}
	c.restored = c.restored[i:]
	if len(c.restored) == 0 {
		c.restored = nil
	}
	c.trace("RestoredPeers", c.targets.Known, c.tot[kindOrdinary].known, len(c.restored), "", added...)
	return did
}

// knownAbove forgets cold peers above the target. Roots are only among them while more roots are known than wanted.
func (c *Core) knownAbove() verdict {
	actual := c.tot[kindOrdinary].known
	excess := actual - c.targets.Known
	if excess <= 0 || c.n[kindOther][coldReady]+c.n[kindOther][coldWait] == 0 {
		return skip
	}
	spare := c.rootPeers() - c.targets.Roots // |local| + |public, big ledger peers included| − target
	n, roots := excess, false
	if spare > 0 {
		n, roots = min(spare, excess), true
	}
	c.from = c.from[:0]
	for _, cl := range classesOf[kindOther] {
		if !roots && cl != classPlain {
			continue
		}
		for _, in := range [...]place{coldReady, coldWait} {
			if ids := c.buckets[cl][in].ids; len(ids) > 0 {
				c.from = append(c.from, ids)
			}
		}
	}
	picked, total := c.choose(PickColdToForget, n)
	if len(picked) == 0 {
		return skip
	}
	c.forgetAll("ForgetColdPeers", c.targets.Known, actual, total, picked)
	return did
}

func (c *Core) forgetAll(name string, target, actual, candidates int, picked []*peer) {
	c.trace(name, target, actual, candidates, "", c.addresses(picked)...)
	for _, p := range picked {
		c.forget(p)
	}
}

// addresses of peers, valid until the next call.
func (c *Core) addresses(ps []*peer) []netip.AddrPort {
	c.addressed = c.addressed[:0]
	for _, p := range ps {
		c.addressed = append(c.addressed, p.addr)
	}
	return c.addressed
}
