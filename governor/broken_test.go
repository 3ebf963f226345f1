package governor

import (
	"math/rand/v2"
	"net/netip"
)

// brokenPolicy breaks the contract of Policy in one way.
type brokenPolicy string

func (b brokenPolicy) Pick(_ PickKind, cs []Candidate, n int, _ *rand.Rand) []netip.AddrPort {
	switch b {
	case "twice":
		return []netip.AddrPort{cs[0].Peer, cs[0].Peer}
	case "panic":
		panic("index out of range")
	case "stranger":
		return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}
	case "many":
		var all []netip.AddrPort
		for range n + 1 {
			all = append(all, cs[0].Peer)
		}
		return all
	}
	return nil
}
