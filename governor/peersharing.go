package governor

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Peer sharing (governor §3.7).

const (
	shareInFlight  = 2   // requests running
	shareLeast     = 8   // asked for at least: over-asking is deliberate, many answers are known already
	shareMost      = 255 // the amount is a byte
	inboundAtOnce  = 10
	sharedAtOnce   = 10 // answered at most
	maxInboundList = 10_000
)

// sharing is whom we may ask, when, and what is under way.
type sharing struct {
	askable idSet                    // established, willing, not cooling, retry time passed
	waiting queue                    // established, willing, not cooling: next-share times
	next    map[uint32]time.Duration // of established peers, kept while they cool; look-ups only
	running int                      // requests
	batches []batch

	listing      bool // a ListInbound is under way
	inboundRetry time.Duration
}

// batch is one round of requests. What has arrived is used when all have answered, after ShareBatch, and after ShareOverall, when
// the rest is cancelled.
type batch struct {
	job     uint32
	salt    uint64
	asked   []asked
	deficit int // peers still wanted of this batch
	got     []told
	phase   time.Duration // the end of the phase that runs
	second  bool          // it is the second one
}

type asked struct {
	peer netip.AddrPort
	n    int
	done bool
}

type told struct{ peer, by netip.AddrPort }

func newSharing() sharing {
	return sharing{askable: newIDSet(), waiting: newQueue(), next: map[uint32]time.Duration{}}
}

// update follows a peer that became established, cooling or cold.
func (s *sharing) update(c *Core, p *peer) {
	c.asking.rules |= 1 << KnownBelowSharing
	switch {
	case !p.place.established():
		s.askable.drop(p.id)
		s.waiting.drop(p.id)
		delete(s.next, p.id)
	case p.place == cooling || p.sharing != yes:
		s.askable.drop(p.id)
		s.waiting.drop(p.id)
	default:
		at, known := s.next[p.id]
		if !known {
			at = c.now + c.cfg.Timing.ShareActivation
			s.next[p.id] = at
		}
		s.waiting.set(p.id, at)
	}
}

func (s *sharing) drop(p *peer) {
	s.askable.drop(p.id)
	s.waiting.drop(p.id)
	delete(s.next, p.id)
}

// turnDue makes peers askable whose time has come and ends phases of batches.
func (s *sharing) turnDue(c *Core) {
	for id, ok := s.waiting.due(c.now); ok; id, ok = s.waiting.due(c.now) {
		s.askable.put(id)
		c.asking.rules |= 1 << KnownBelowSharing
	}
	c.deciding = OrderFinished
	for i := 0; i < len(s.batches); {
		b := &s.batches[i]
		if c.now < b.phase {
			i++
			continue
		}
		c.asking.rules = everyRule
		s.use(c, b)
		if !b.second {
			b.second, b.phase = true, b.phase+c.cfg.Timing.ShareOverall-c.cfg.Timing.ShareBatch
			continue
		}
		c.out.Effects = append(c.out.Effects, Effect{Kind: CancelAsk, Job: b.job})
		s.end(i)
	}
	c.deciding = DecisionNone
}

func (s *sharing) nextPhase() time.Duration {
	t := Never
	for i := range s.batches {
		t = min(t, s.batches[i].phase)
	}
	return t
}

// lightSharing learns some of our inbound peers. The coin lets both kinds of sharing have their turn.
func (c *Core) lightSharing() verdict {
	s := &c.sharing
	deficit := c.targets.Known - c.tot[kindOrdinary].known
	if !c.cfg.PeerSharing || deficit <= 0 || s.running > 0 || s.listing {
		return skip
	}
	if c.now < s.inboundRetry {
		return skipUntil(s.inboundRetry)
	}
	if len(s.askable.ids) > 0 && c.rnd.Uint32()&1 == 0 {
		return skipAgain
	}
	s.listing, s.inboundRetry = true, c.now+c.cfg.Timing.InboundRetry
	c.out.Effects = append(c.out.Effects, Effect{Kind: ListInbound})
	return did
}

// inboundListed learns at most ten inbound peers: they may be told to others, and have been connected before.
func (c *Core) inboundListed(e InboundListed) {
	if !c.sharing.listing {
		return
	}
	c.sharing.listing = false
	actual := c.tot[kindOrdinary].known
	deficit := c.targets.Known - actual
	if deficit <= 0 || c.liveSensitive() || c.sensitive() {
		return
	}
	cs := c.candidates[:0]
	shares := map[netip.AddrPort]bool{}
	for _, in := range e.Peers[:min(len(e.Peers), maxInboundList)] {
		if _, twice := shares[in.Peer]; !twice && c.find(in.Peer) == nil && c.acceptable(in.Peer, false) && !c.crowded(in.Peer) {
			shares[in.Peer] = in.Shares
			cs = append(cs, Candidate{Peer: in.Peer, Source: SourceInbound, Prefix: c.prefix(in.Peer)})
		}
	}
	c.candidates = cs
	if len(cs) == 0 {
		return
	}
	n := min(inboundAtOnce, deficit, len(cs))
	picks, note := c.askPolicy(PickInbound, n)
	if !inboundPickOK(picks, shares, n) {
		c.trace("PolicyViolation", n, len(picks), len(cs), note)
		picks = SimplePolicy{}.Pick(PickInbound, cs, n, c.rnd)
	}
	c.trace("PickInboundPeers", c.targets.Known, actual, len(cs), "", picks...)
	for _, a := range picks {
		p := c.learn(a, classPlain, SourceInbound, yes)
		p.set(everConnected)
		p.sharing = answerOf(shares[a])
		c.salt.update(p)
		c.touch(p, c.targets.Known, actual, len(cs))
	}
}

func inboundPickOK(picks []netip.AddrPort, among map[netip.AddrPort]bool, n int) bool {
	seen := map[netip.AddrPort]bool{}
	for _, a := range picks {
		if _, ok := among[a]; !ok || seen[a] {
			return false
		}
		seen[a] = true
	}
	return len(picks) > 0 && len(picks) <= n
}

// peerSharing asks established peers for others.
func (c *Core) peerSharing() verdict {
	s := &c.sharing
	actual := c.tot[kindOrdinary].known
	deficit := c.targets.Known - actual
	if !c.cfg.PeerSharing || deficit <= 0 || s.running >= shareInFlight {
		return skip
	}
	if len(s.askable.ids) == 0 {
		return skipUntil(s.waiting.next())
	}
	c.from = append(c.from[:0], s.askable.ids)
	picked, total := c.choose(PickToAsk, shareInFlight-s.running)
	b := batch{job: c.newJob(), salt: c.rnd.Uint64(), deficit: deficit, phase: c.now + c.cfg.Timing.ShareBatch}
	n := min(shareMost, max(shareLeast, deficit/len(picked)))
	for _, p := range picked {
		s.askable.drop(p.id)
		s.next[p.id] = c.now + c.cfg.Timing.ShareRetry
		s.waiting.set(p.id, s.next[p.id])
		b.asked = append(b.asked, asked{peer: p.addr, n: n})
		c.touch(p, c.targets.Known, actual, total)
		c.out.Effects = append(c.out.Effects, Effect{Kind: AskForPeers, Job: b.job, Peer: p.addr, N: n})
	}
	s.running += len(picked)
	s.batches = append(s.batches, b)
	c.trace("PeerShareRequests", c.targets.Known, actual, total, "", c.addresses(picked)...)
	return did
}

// answered collects a reply.
func (s *sharing) answered(c *Core, e Answered) {
	for i := range s.batches {
		b := &s.batches[i]
		if e.Job != 0 && e.Job != b.job {
			continue
		}
		for j := range b.asked {
			a := &b.asked[j]
			if a.peer != e.Peer || a.done {
				continue
			}
			a.done = true
			s.running--
			p := c.find(e.Peer)
			note := e.Failure.text()
			switch {
			case e.Failure != nil:
			case len(e.Peers) > a.n:
				note = "more than asked for"
				if p != nil {
					c.punish(p, "peer sharing: "+note)
				}
			default:
				if p != nil {
					c.alive(p)
				}
				for _, q := range e.Peers {
					b.got = append(b.got, told{q, e.Peer})
				}
			}
			c.trace("PeerShareResults", a.n, len(e.Peers), -1, note, e.Peer)
			if all := !slices.ContainsFunc(b.asked, func(a asked) bool { return !a.done }); all {
				s.use(c, b)
				s.end(i)
			}
			return
		}
	}
}

func (s *sharing) end(i int) {
	for _, a := range s.batches[i].asked {
		if !a.done {
			s.running--
		}
	}
	s.batches = slices.Delete(s.batches, i, i+1)
}

// use takes up what has arrived: unknown peers, no big ledger peers, at most as many as are wanted, chosen by a hash with a salt of the
// batch, so that who answers cannot choose.
//
// [REF-BUG] The reference swaps two arguments here, so that half of its batches are dropped whole and the rest are not
// capped. This is the intent.
func (s *sharing) use(c *Core, b *batch) {
	got := b.got
	b.got = nil
	actual := c.tot[kindOrdinary].known
	room := min(b.deficit, c.targets.Known-actual)
	if len(got) == 0 || room <= 0 || c.sensitive() || c.liveSensitive() {
		return
	}
	slices.SortFunc(got, func(x, y told) int {
		if d := cmp.Compare(saltedHash(b.salt, x.peer), saltedHash(b.salt, y.peer)); d != 0 {
			return d
		}
		if d := x.peer.Compare(y.peer); d != 0 {
			return d
		}
		return x.by.Compare(y.by)
	})
	var added []netip.AddrPort
	for _, t := range got {
		if len(added) >= room {
			break
		}
		if c.find(t.peer) != nil || !c.acceptable(t.peer, false) || c.crowded(t.peer) {
			continue // known, big ledger peers among them
		}
		teller, ok := c.tellers.take(t.by, c.cfg.Diversity.PerTeller)
		if !ok {
			continue
		}
		p := c.learn(t.peer, classPlain, SourceShared, yes)
		p.teller = teller
		c.touch(p, c.targets.Known, actual, len(got))
		added = append(added, t.peer)
	}
	b.deficit -= len(added)
	c.trace("PeerShareResultsFiltered", c.targets.Known, actual, len(got), "", added...)
}

// tellers counts the known peers told by each peer, for Diversity.PerTeller. Only kept when that is set.
type tellers struct {
	list  []teller
	free  []uint32
	index map[netip.AddrPort]uint32 // look-ups only
}

type teller struct {
	addr netip.AddrPort
	n    int
}

func newTellers() tellers {
	return tellers{list: make([]teller, 1), index: map[netip.AddrPort]uint32{}}
}

// take counts one more peer told by a, unless that is one too many.
func (t *tellers) take(a netip.AddrPort, limit int) (uint32, bool) {
	if limit <= 0 {
		return 0, true
	}
	i, known := t.index[a]
	if !known {
		if n := len(t.free); n > 0 {
			i, t.free = t.free[n-1], t.free[:n-1]
		} else {
			i = uint32(len(t.list))
			t.list = append(t.list, teller{})
		}
		t.list[i] = teller{addr: a}
		t.index[a] = i
	}
	if t.list[i].n >= limit {
		return 0, false
	}
	t.list[i].n++
	return i, true
}

func (t *tellers) drop(i uint32) {
	if i == 0 {
		return
	}
	if t.list[i].n--; t.list[i].n == 0 {
		delete(t.index, t.list[i].addr)
		t.free = append(t.free, i)
	}
}

// saltedTop is what peer sharing answers: the same few peers for everybody during SaltLife, which limits what can be mapped.
// (The reference's first answer after a renewal is still ordered by the old salt; ours is not.)
type saltedTop struct {
	salt    uint64
	members idSet // all that may be shared
	top     []hashed
	stale   bool
}

type hashed struct {
	hash uint64
	addr netip.AddrPort
}

func newSaltedTop() saltedTop { return saltedTop{members: newIDSet(), stale: true} }

// update follows whether p may be shared.
func (s *saltedTop) update(p *peer) {
	if p.shareable() != s.members.has(p.id) {
		if s.stale = true; p.shareable() {
			s.members.put(p.id)
		} else {
			s.members.drop(p.id)
		}
	}
}

func (s *saltedTop) drop(p *peer) {
	if s.members.has(p.id) {
		s.members.drop(p.id)
		s.stale = true
	}
}

// Shareable returns at most n and at most ten peers that others may be told about: advertised, connected before, without a failure.
func (c *Core) Shareable(n int, now time.Duration) []netip.AddrPort {
	s := &c.salt
	// The salt is a function of the seed and the period: asking must not move the core's randomness, or a replay would differ.
	if salt := mix(c.cfg.Seed ^ mix(uint64(now/c.cfg.Timing.SaltLife)+1)); salt != s.salt {
		s.salt, s.stale = salt, true
	}
	if s.stale {
		s.stale, s.top = false, s.top[:0]
		for _, id := range s.members.ids {
			a := c.at(id).addr
			h := hashed{saltedHash(s.salt, a), a}
			i, _ := slices.BinarySearchFunc(s.top, h, func(x, y hashed) int {
				if d := cmp.Compare(x.hash, y.hash); d != 0 {
					return d
				}
				return x.addr.Compare(y.addr)
			})
			if i < sharedAtOnce {
				s.top = slices.Insert(s.top[:min(len(s.top), sharedAtOnce-1)], i, h)
			}
		}
	}
	var out []netip.AddrPort
	for _, h := range s.top {
		if len(out) < n && !c.Banned(h.addr) {
			out = append(out, h.addr)
		}
	}
	return out
}

// saltedHash orders addresses in a way nobody can foresee without the salt. It need not resist more than guessing.
func saltedHash(salt uint64, a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	h := salt ^ uint64(a.Port())*0x9e3779b97f4a7c15
	for i := 0; i < 16; i += 8 {
		var w uint64
		for _, x := range b[i : i+8] {
			w = w<<8 | uint64(x)
		}
		h = mix(h ^ w)
	}
	return mix(h ^ salt)
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
