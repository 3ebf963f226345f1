package governor

import (
	"fmt"
	"net/netip"
)

// pick asks the policy for at most n of the peers of a kind in the given places. It returns how many candidates there were.
func (c *Core) pick(what PickKind, n int, from kind, ps ...place) ([]*peer, int) {
	c.from = c.from[:0]
	for _, cl := range classesOf[from] {
		for _, p := range ps {
			if ids := c.buckets[cl][p].ids; len(ids) > 0 {
				c.from = append(c.from, ids)
			}
		}
	}
	return c.choose(what, n)
}

// choose asks the policy for at most n of the peers in c.from, and checks the answer: not empty, at most n, candidates only, none
// twice. The peers are valid until the next pick. A policy that breaks this is reported, and a uniform pick is taken instead: an empty pick would leave us stuck.
func (c *Core) choose(what PickKind, n int) ([]*peer, int) {
	total := 0
	for _, ids := range c.from {
		total += len(ids)
	}
	n = min(n, total)
	if n <= 0 {
		return nil, total
	}
	c.sample(max(n, c.show(what, n, total)), total)
	picks, note := c.askPolicy(what, n)
	if peers, ok := c.checked(picks, n); ok {
		return peers, total
	}
	c.trace("PolicyViolation", n, len(picks), total, note)
	uniform := SimplePolicy{}.Pick(PickColdToWarm, c.candidates, n, c.rnd)
	peers, _ := c.checked(uniform, n)
	return peers, total
}

// show is how many of the candidates the policy is shown.
func (c *Core) show(what PickKind, n, total int) (show int) {
	show = c.cfg.Limits.Candidates + 4*n
	defer func() { _ = recover() }() // if it cannot even say that, Pick will tell
	if s, ok := c.cfg.Policy.(Sampler); ok {
		if show = s.Sample(what, n); show <= 0 {
			show = total
		}
	}
	return show
}

// askPolicy has the policy pick at most n of c.candidates. A policy that panics has picked nobody.
func (c *Core) askPolicy(what PickKind, n int) (picks []netip.AddrPort, note string) {
	defer func() {
		if r := recover(); r != nil {
			picks, note = nil, fmt.Sprintf("%v: panic: %v", what, r)
		}
	}()
	return c.cfg.Policy.Pick(what, c.candidates, n, c.rnd), what.String()
}

func (c *Core) checked(picks []netip.AddrPort, n int) ([]*peer, bool) {
	if len(picks) == 0 || len(picks) > n {
		return nil, false
	}
	// The shown candidates carry a mark while the picks are looked at; it is taken off with every pick.
	for i := range c.candidates {
		c.at(c.candidates[i].id).set(shown)
	}
	peers := c.picked[:0]
	for _, a := range picks {
		if p := c.pickedPeer(a); p != nil && p.has(shown) {
			p.clear(shown)
			peers = append(peers, p)
		}
	}
	for i := range c.candidates {
		c.at(c.candidates[i].id).clear(shown)
	}
	c.picked = peers
	return peers, len(peers) == len(picks)
}

// pickedPeer finds a peer that was picked. Among a few candidates looking is quicker than hashing.
func (c *Core) pickedPeer(a netip.AddrPort) *peer {
	if len(c.candidates) > 8 {
		return c.find(a)
	}
	for i := range c.candidates {
		if c.candidates[i].Peer == a {
			return c.at(c.candidates[i].id)
		}
	}
	return nil
}

// sample fills c.candidates with m of the total peers in c.from, drawn uniformly.
func (c *Core) sample(m, total int) {
	c.candidates = c.candidates[:0]
	if m >= total {
		for _, ids := range c.from {
			for _, id := range ids {
				c.candidate(c.at(id))
			}
		}
		return
	}
	// Floyd's algorithm: m draws, whatever the total.
	clear(c.drawn)
	for j := total - m; j < total; j++ {
		i := c.rnd.IntN(j + 1)
		if m > 1 {
			if _, twice := c.drawn[i]; twice {
				i = j
			}
			c.drawn[i] = struct{}{}
		}
		c.candidate(c.at(c.nth(i)))
	}
}

func (c *Core) nth(i int) uint32 {
	for _, ids := range c.from {
		if i < len(ids) {
			return ids[i]
		}
		i -= len(ids)
	}
	return 0
}

// candidate appends to c.candidates what a policy gets to know about a peer.
func (c *Core) candidate(p *peer) {
	src := p.source
	if p.class != classPlain {
		src = Source(p.class) // the root sources come first and in the order of the classes
	}
	c.candidates = append(c.candidates, Candidate{Peer: p.addr, Source: src, Fails: int(p.fails), Tepid: p.has(tepid),
		RTT: microseconds(p.rtt), Age: c.now - p.since, Prefix: c.prefix(p.addr), Reports: int(p.score), id: p.id})
	cand := &c.candidates[len(c.candidates)-1]
	if w := c.prefixes[cand.Prefix]; w != nil {
		cand.PrefixEstablished, cand.PrefixActive = w.established, w.active
	}
	if p.place.established() {
		c.boards.fill(cand)
		cand.Score = cand.FetchedBytes
		if c.deadlineMode() {
			cand.Score = int64(cand.Announced + cand.Fetched)
		}
	}
}
