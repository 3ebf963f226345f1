package topology

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func genAddr() *rapid.Generator[netip.AddrPort] {
	return rapid.Custom(func(t *rapid.T) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(1, 12).Draw(t, "ip")}), rapid.Uint16Range(1, 2).Draw(t, "port"))
	})
}

func genGroups() *rapid.Generator[[]LocalRootGroup] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) LocalRootGroup {
		return LocalRootGroup{
			Hot: rapid.IntRange(-1, 5).Draw(t, "hot"), Warm: rapid.IntRange(-1, 6).Draw(t, "warm"),
			Members:   rapid.SliceOfN(genAddr(), 0, 8).Draw(t, "members"),
			Advertise: rapid.Bool().Draw(t, "advertise"), Trustable: rapid.Bool().Draw(t, "trustable"),
			InboundOnly: rapid.Bool().Draw(t, "inbound"), InitiatorOnly: rapid.Bool().Draw(t, "initiator"),
		}
	}), 0, 6)
}

func size(groups []LocalRootGroup) int {
	n := 0
	for _, g := range groups {
		n += len(g.Members)
	}
	return n
}

// invariant is that of the reference's LocalRootPeers: disjoint groups, 0 < hot ≤ warm ≤ size.
func invariant(t require.TestingT, groups []LocalRootGroup) {
	seen := map[netip.AddrPort]bool{}
	for _, g := range groups {
		require.True(t, 0 < g.Hot && g.Hot <= g.Warm && g.Warm <= len(g.Members), "%+v", g)
		require.True(t, slices.IsSortedFunc(g.Members, netip.AddrPort.Compare))
		for _, m := range g.Members {
			require.False(t, seen[m])
			seen[m] = true
		}
	}
}

// TestFromGroups: prop_fromGroups and prop_fromToGroups. The invariant holds, normalising twice is normalising once, an
// address belongs to the first group that has it, and the rest of a group is untouched.
func TestFromGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := genGroups().Draw(t, "groups")
		before := make([][]netip.AddrPort, len(in))
		for i := range in {
			before[i] = slices.Clone(in[i].Members)
		}
		out := Normalise(in)
		invariant(t, out)
		require.True(t, equalGroups(out, Normalise(out)))
		for i := range in {
			require.Equal(t, before[i], append([]netip.AddrPort{}, in[i].Members...), "the argument is not changed")
		}
		owner := map[netip.AddrPort]int{}
		sizes := make([]int, len(in))
		for i, g := range in {
			for _, m := range g.Members {
				if _, ok := owner[m]; !ok {
					owner[m] = i
					sizes[i]++
				}
			}
		}
		n := 0
		for i, g := range in {
			warm := min(g.Warm, sizes[i])
			hot := min(g.Hot, warm)
			if hot <= 0 {
				continue
			}
			o := out[n]
			n++
			require.Equal(t, [2]int{hot, warm}, [2]int{o.Hot, o.Warm})
			require.Len(t, o.Members, sizes[i])
			for _, m := range o.Members {
				require.Equal(t, i, owner[m])
			}
			require.Equal(t, [4]bool{g.Advertise, g.Trustable, g.InboundOnly, g.InitiatorOnly},
				[4]bool{o.Advertise, o.Trustable, o.InboundOnly, o.InitiatorOnly})
		}
		require.Len(t, out, n)
	})
}

// TestClampToLimit: prop_clampToLimit. The size is min(limit, size before), the groups a prefix, the last one cut in the order
// of addresses.
func TestClampToLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := Normalise(genGroups().Draw(t, "groups"))
		limit := rapid.IntRange(-1, 20).Draw(t, "limit")
		out := ClampToLimit(groups, limit)
		invariant(t, out)
		require.Equal(t, max(0, min(limit, size(groups))), size(out))
		for i, g := range out {
			if i+1 < len(out) {
				require.Equal(t, groups[i], g)
				continue
			}
			require.Equal(t, groups[i].Members[:len(g.Members)], g.Members)
			require.Equal(t, min(groups[i].Warm, len(g.Members)), g.Warm)
			require.Equal(t, min(groups[i].Hot, g.Warm), g.Hot)
		}
	})
}

// TestClampToTrustable: prop_clampToTrustable.
func TestClampToTrustable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := Normalise(genGroups().Draw(t, "groups"))
		out := ClampToTrustable(groups)
		invariant(t, out)
		want := slices.DeleteFunc(slices.Clone(groups), func(g LocalRootGroup) bool { return !g.Trustable })
		require.True(t, equalGroups(want, out))
	})
}

// TestResolveGroups: names count with all their addresses, and not at all before they are resolved.
func TestResolveGroups(t *testing.T) {
	a := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	name := AccessPoint{Kind: Domain, Name: "a.", Port: 1}
	groups := []Group{
		{AccessPoints: []AccessPoint{name}, HotValency: 2, WarmValency: 3, Advertise: true, BehindFirewall: true},
		{AccessPoints: []AccessPoint{{Kind: IP, IP: netip.MustParseAddr("::ffff:10.0.0.1"), Port: 1}, name}, HotValency: 1 << 40, WarmValency: 1 << 40, Trustable: true, DiffusionMode: InitiatorOnly},
	}
	none := func(AccessPoint) []netip.AddrPort { return nil }
	require.Equal(t, []LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{a("10.0.0.1:1")}, Trustable: true, InitiatorOnly: true}},
		resolveGroups(groups, none))
	two := func(AccessPoint) []netip.AddrPort { return []netip.AddrPort{a("10.0.0.3:1"), a("10.0.0.2:1")} }
	require.Equal(t, []LocalRootGroup{
		{Hot: 2, Warm: 2, Members: []netip.AddrPort{a("10.0.0.2:1"), a("10.0.0.3:1")}, Advertise: true, InboundOnly: true},
		{Hot: 1, Warm: 1, Members: []netip.AddrPort{a("10.0.0.1:1")}, Trustable: true, InitiatorOnly: true},
	}, resolveGroups(groups, two))
}
