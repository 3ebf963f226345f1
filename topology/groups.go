package topology

import (
	"math"
	"net/netip"
	"slices"
)

// LocalRootGroup is a group of local roots with its names resolved, as the governor takes it. Members have no order of
// preference; here they are always sorted.
type LocalRootGroup = struct {
	Hot, Warm                                        int
	Members                                          []netip.AddrPort
	Advertise, Trustable, InboundOnly, InitiatorOnly bool
}

// Normalise applies the rules of governor §2 to groups in their order: an address that an earlier group has is dropped, warm
// is at most the group's size and hot at most warm, and a group that keeps nothing warm or nothing hot disappears. Its
// addresses are taken all the same. The result shares nothing with the argument; normalising it again changes nothing.
func Normalise(groups []LocalRootGroup) []LocalRootGroup {
	taken := make(map[netip.AddrPort]struct{})
	out := make([]LocalRootGroup, 0, len(groups))
	for _, g := range groups {
		members := make([]netip.AddrPort, 0, len(g.Members))
		for _, m := range g.Members {
			if _, ok := taken[m]; !ok {
				taken[m] = struct{}{}
				members = append(members, m)
			}
		}
		slices.SortFunc(members, netip.AddrPort.Compare)
		g.Members = members
		out = appendGroup(out, g)
	}
	return out
}

// appendGroup reduces the valencies to what the group can reach and leaves a group out that reaches nothing.
func appendGroup(out []LocalRootGroup, g LocalRootGroup) []LocalRootGroup {
	g.Warm = min(g.Warm, len(g.Members))
	g.Hot = min(g.Hot, g.Warm)
	if g.Hot <= 0 {
		return out
	}
	return append(out, g)
}

// ClampToLimit keeps at most limit members in all (governor §2): groups are taken in order, the last one is cut in the order
// of addresses and its valencies are reduced to what is left. The argument must be normalised and is not changed.
func ClampToLimit(groups []LocalRootGroup, limit int) []LocalRootGroup {
	out := make([]LocalRootGroup, 0, len(groups))
	for _, g := range groups {
		if limit <= 0 {
			break
		}
		g.Members = slices.Clone(g.Members[:min(limit, len(g.Members))])
		limit -= len(g.Members)
		out = appendGroup(out, g)
	}
	return out
}

// ClampToTrustable keeps the trustable groups, for the time in which the ledger is too old. It comes before [ClampToLimit].
func ClampToTrustable(groups []LocalRootGroup) []LocalRootGroup {
	out := make([]LocalRootGroup, 0, len(groups))
	for _, g := range groups {
		if g.Trustable {
			g.Members = slices.Clone(g.Members)
			out = append(out, g)
		}
	}
	return out
}

// resolveGroups puts addresses for the access points of each group and normalises the result. A name that has not been
// resolved has no addresses, so its group may be smaller or missing until it is.
func resolveGroups(groups []Group, addresses func(AccessPoint) []netip.AddrPort) []LocalRootGroup {
	out := make([]LocalRootGroup, 0, len(groups))
	for _, g := range groups {
		r := LocalRootGroup{
			Hot: clampInt(g.HotValency), Warm: clampInt(g.WarmValency),
			Advertise: g.Advertise, Trustable: g.Trustable, InboundOnly: g.BehindFirewall, InitiatorOnly: g.DiffusionMode == InitiatorOnly,
		}
		for _, a := range g.AccessPoints {
			if a.Kind == IP {
				r.Members = append(r.Members, a.AddrPort())
			} else {
				r.Members = append(r.Members, addresses(a)...)
			}
		}
		out = append(out, r)
	}
	return Normalise(out)
}

func clampInt(v int64) int { return int(max(math.MinInt32, min(v, math.MaxInt32))) }

func equalGroups(a, b []LocalRootGroup) bool {
	return slices.EqualFunc(a, b, func(x, y LocalRootGroup) bool {
		return x.Hot == y.Hot && x.Warm == y.Warm && x.Advertise == y.Advertise && x.Trustable == y.Trustable &&
			x.InboundOnly == y.InboundOnly && x.InitiatorOnly == y.InitiatorOnly && slices.Equal(x.Members, y.Members)
	})
}
