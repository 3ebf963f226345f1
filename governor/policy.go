package governor

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// PickKind says what a pick is for.
type PickKind uint8

// The picks (governor §3.4).
const (
	PickColdToWarm PickKind = iota
	PickWarmToHot
	PickHotToWarm
	PickWarmToCold
	PickColdToForget
	PickToAsk   // whom to ask for peers
	PickInbound // which inbound peers to learn
)

// String returns the pick as its constant says it: "cold-to-warm", "to-ask", "inbound".
func (k PickKind) String() string {
	return [...]string{"cold-to-warm", "warm-to-hot", "hot-to-warm", "warm-to-cold", "cold-to-forget", "to-ask", "inbound"}[k]
}

// Candidate is what a policy knows about a peer. Inbound candidates that are not known yet have Peer, Source and Prefix only.
type Candidate struct {
	Peer   netip.AddrPort
	Source Source
	Fails  int
	Tepid  bool          // was demoted from hot since it was last connected
	RTT    time.Duration // 0 unknown
	Age    time.Duration // at the present temperature
	Prefix netip.Prefix
	// How many established and active peers share the prefix, this one included if it is one.
	PrefixEstablished, PrefixActive int

	// Scores of established peers (governor §5): slots this peer announced first, delivered first, and the bytes of the latter.
	Announced, Fetched int
	FetchedBytes       int64
	// Score is the one that counts now: Announced + Fetched when caught up, FetchedBytes in bulk sync and Genesis.
	Score int64
	// Joined is the slot of the first contribution; HasJoined is false for peers that made none.
	Joined    uint64
	HasJoined bool
	Reports   int // by the application: good minus bad

	id uint32
}

func microseconds(us uint32) time.Duration { return time.Duration(us) * time.Microsecond }

// rank is one candidate's key in a pick; the lowest n are picked. Every key ends in a random word, so that socket addresses
// never decide.
type rank struct {
	key, second, random uint64
	peer                netip.AddrPort
}

func lowest(cs []Candidate, n int, rnd *rand.Rand, key func(c *Candidate, word uint64) (uint64, uint64)) []netip.AddrPort {
	if len(cs) == 1 && n > 0 {
		return []netip.AddrPort{cs[0].Peer}
	}
	ranks := make([]rank, len(cs))
	for i := range cs {
		word := uint64(rnd.Uint32())
		k, s := key(&cs[i], word)
		ranks[i] = rank{k, s, word, cs[i].Peer}
	}
	slices.SortFunc(ranks, func(a, b rank) int {
		if d := cmp.Compare(a.key, b.key); d != 0 {
			return d
		}
		if d := cmp.Compare(a.second, b.second); d != 0 {
			return d
		}
		if d := cmp.Compare(a.random, b.random); d != 0 {
			return d
		}
		return a.peer.Compare(b.peer)
	})
	out := make([]netip.AddrPort, min(n, len(ranks)))
	for i := range out {
		out[i] = ranks[i].peer
	}
	return out
}

// SimplePolicy is the reference's (governor §3.4, §5): uniform random words for promotions; tepid peers go first more often;
// peers that failed are forgotten first more often; the lowest score of the hot ones is demoted, and of equals who joined first.
type SimplePolicy struct{}

// Pick implements [Policy].
func (SimplePolicy) Pick(kind PickKind, cs []Candidate, n int, rnd *rand.Rand) []netip.AddrPort {
	switch kind {
	case PickWarmToCold:
		return lowest(cs, n, rnd, func(c *Candidate, word uint64) (uint64, uint64) {
			if c.Tepid {
				word /= 2
			}
			return word, 0
		})
	case PickColdToForget:
		return lowest(cs, n, rnd, func(c *Candidate, word uint64) (uint64, uint64) { return word / uint64(c.Fails+1), 0 })
	case PickHotToWarm:
		return lowest(cs, n, rnd, hotKey)
	}
	return lowest(cs, n, rnd, func(_ *Candidate, word uint64) (uint64, uint64) { return word, 0 })
}

// hotKey is (score, joined slot or none, random), none before any slot.
func hotKey(c *Candidate, _ uint64) (uint64, uint64) {
	joined := uint64(0)
	if c.HasJoined {
		joined = c.Joined + 1
	}
	return uint64(max(0, c.Score)), joined
}

// Sample implements [Sampler]: a uniform pick needs to see no more than it takes.
func (SimplePolicy) Sample(kind PickKind, n int) int {
	switch kind {
	case PickColdToWarm, PickWarmToHot, PickToAsk, PickInbound:
		return n
	case PickColdToForget:
		return 16 * n // among sixteen, those that failed go first nearly as surely as among all
	}
	return 0
}

// StakeLatencyPolicy prefers peers behind much stake and peers that are near, for Share of the slots (0 means ½); the rest
// is random, or everybody would crowd on the same few, and a near network could fill us. Stake is known by its order of
// magnitude only: a big ledger peer, any other ledger peer, everybody else. Demotion from hot takes the application's reports
// before scores. It is opt-in.
type StakeLatencyPolicy struct {
	Share float64
}

// Pick implements [Policy].
func (p StakeLatencyPolicy) Pick(kind PickKind, cs []Candidate, n int, rnd *rand.Rand) []netip.AddrPort {
	switch kind {
	case PickColdToWarm, PickWarmToHot:
	case PickHotToWarm:
		return lowest(cs, n, rnd, func(c *Candidate, w uint64) (uint64, uint64) {
			k, joined := hotKey(c, w)
			return uint64(max(0, min(c.Reports, 1<<14)+1<<14))<<48 | min(k, 1<<48-1), joined
		})
	default:
		return SimplePolicy{}.Pick(kind, cs, n, rnd)
	}
	share := p.Share
	if share <= 0 || share > 1 {
		share = 0.5
	}
	best := 0
	for range n {
		if rnd.Float64() < share {
			best++
		}
	}
	var picked []netip.AddrPort
	if best > 0 {
		picked = lowest(cs, best, rnd, func(c *Candidate, word uint64) (uint64, uint64) {
			return stakeTier(c)<<32 | uint64(latencyBand(c.RTT)), word
		})
	}
	if len(picked) < n && len(picked) < len(cs) {
		taken := make(map[netip.AddrPort]bool, len(picked))
		for _, a := range picked {
			taken[a] = true
		}
		rest := make([]Candidate, 0, len(cs))
		for i := range cs {
			if !taken[cs[i].Peer] {
				rest = append(rest, cs[i])
			}
		}
		picked = append(picked, SimplePolicy{}.Pick(kind, rest, n-len(picked), rnd)...)
	}
	return picked
}

func stakeTier(c *Candidate) uint64 {
	switch c.Source {
	case SourceBigLedger:
		return 0
	case SourceLedger:
		return 1
	}
	return 2
}

// latencyBand groups round-trip times by powers of two from 8 ms: finer differences are noise. Unknown counts as 128 ms.
func latencyBand(rtt time.Duration) int {
	if rtt <= 0 {
		rtt = 128 * time.Millisecond
	}
	band := 0
	for d := 8 * time.Millisecond; d < rtt && band < 12; d *= 2 {
		band++
	}
	return band
}

// DiversePolicy keeps any one prefix from taking more than its share: promotions go to peers whose prefix has fewer than
// Established (2) and Active (1) peers already, and if there are none such, to the least crowded prefix, for an empty pick
// would leave the governor stuck. Demotions take from the most crowded prefix first. Ties are left to Inner (SimplePolicy).
type DiversePolicy struct {
	Inner               Policy
	Established, Active int
}

// Pick implements [Policy].
func (d DiversePolicy) Pick(kind PickKind, cs []Candidate, n int, rnd *rand.Rand) []netip.AddrPort {
	inner := d.Inner
	if inner == nil {
		inner = SimplePolicy{}
	}
	crowd, limit, sign := func(c *Candidate) int { return c.PrefixEstablished }, max(d.Established, 2), 1
	switch kind {
	case PickColdToWarm:
	case PickWarmToHot:
		crowd, limit = func(c *Candidate) int { return c.PrefixActive }, max(d.Active, 1)
	case PickHotToWarm:
		crowd, limit, sign = func(c *Candidate) int { return c.PrefixActive }, max(d.Active, 1), -1
	case PickWarmToCold:
		sign = -1
	default:
		return inner.Pick(kind, cs, n, rnd)
	}
	// The inner policy's order, one by one, each time among those whose prefix is best off. n is small: a deficit.
	now := map[netip.Prefix]int{}
	for i := range cs {
		now[cs[i].Prefix] = crowd(&cs[i])
	}
	rest := slices.Clone(cs)
	var picked []netip.AddrPort
	for len(picked) < n && len(rest) > 0 {
		level := func(c *Candidate) int { // 0 within the limit; promotions want the lowest, demotions the highest
			return max(0, now[c.Prefix]-limit+(1+sign)/2) * sign
		}
		best := level(&rest[0])
		for i := range rest {
			best = min(best, level(&rest[i]))
		}
		var group []Candidate
		for i := range rest {
			if level(&rest[i]) == best {
				group = append(group, rest[i])
			}
		}
		got := inner.Pick(kind, group, 1, rnd)
		if len(got) == 0 {
			break
		}
		i := slices.IndexFunc(rest, func(c Candidate) bool { return c.Peer == got[0] })
		if i < 0 {
			break
		}
		now[rest[i].Prefix] += sign
		picked = append(picked, got[0])
		rest = append(rest[:i], rest[i+1:]...)
	}
	return picked
}
