package topology

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ipPoint(last byte) AccessPoint {
	return AccessPoint{Kind: IP, IP: netip.AddrFrom4([4]byte{10, 0, 0, last}), Port: 1}
}

// TestDiff: one example with everything in it.
func TestDiff(t *testing.T) {
	file := "s.json"
	old := &Topology{
		LocalRoots: []Group{
			{AccessPoints: []AccessPoint{ipPoint(1), ipPoint(2)}, HotValency: 1, WarmValency: 1},
			{AccessPoints: []AccessPoint{ipPoint(3)}, HotValency: 1, WarmValency: 1},
			{AccessPoints: []AccessPoint{ipPoint(9)}, HotValency: 0, WarmValency: 1},
		},
		PublicRoots:      []PublicRoot{{AccessPoints: []AccessPoint{ipPoint(20), ipPoint(21)}}},
		BootstrapPeers:   []AccessPoint{ipPoint(30)},
		PeerSnapshotFile: &file,
	}
	fresh := &Topology{
		LocalRoots: []Group{
			{AccessPoints: []AccessPoint{ipPoint(4)}, HotValency: 1, WarmValency: 1},
			{AccessPoints: []AccessPoint{ipPoint(2), ipPoint(1), ipPoint(9)}, HotValency: 2, WarmValency: 3, Trustable: true},
		},
		PublicRoots: []PublicRoot{{AccessPoints: []AccessPoint{ipPoint(21), ipPoint(22)}, Advertise: true}},
		UseLedger:   UseLedger{Mode: LedgerAfter, Slot: 5},
	}
	c := Diff(old, fresh)
	require.Equal(t, PointChanges{
		Connect: []AccessPoint{ipPoint(4), ipPoint(9)}, Drop: []AccessPoint{ipPoint(3)}, Keep: []AccessPoint{ipPoint(2), ipPoint(1)},
	}, c.Local)
	require.Equal(t, []GroupChange{{OldIndex: 0, NewIndex: 1, Old: old.LocalRoots[0], New: fresh.LocalRoots[1], Shared: []AccessPoint{ipPoint(2), ipPoint(1)}}}, c.Groups)
	require.Equal(t, PointChanges{Connect: []AccessPoint{ipPoint(22)}, Drop: []AccessPoint{ipPoint(20)}, Keep: []AccessPoint{ipPoint(21)}}, c.Public)
	require.Equal(t, []AccessPoint{ipPoint(21)}, c.Advertise)
	require.Equal(t, PointChanges{Drop: []AccessPoint{ipPoint(30)}}, c.Bootstrap)
	require.False(t, c.Empty())
	require.Equal(t, `connect local root 10.0.0.4:1
connect local root 10.0.0.9:1
drop local root 10.0.0.3:1
change group 1: hotValency 1 → 2 warmValency 1 → 3 trustable false → true
add public root 10.0.0.22:1
drop public root 10.0.0.20:1
advertise otherwise public root 10.0.0.21:1
drop bootstrap peer 10.0.0.30:1
bootstrap peers true → false
ledger peers never → after slot 5
peer snapshot "s.json" → ""
`, c.String())
}

// TestDiffMajority: a group that is made of several old ones goes on as the one it shares most with; of equals as the first.
func TestDiffMajority(t *testing.T) {
	group := func(hot int64, lasts ...byte) Group {
		g := Group{HotValency: hot, WarmValency: 3}
		for _, l := range lasts {
			g.AccessPoints = append(g.AccessPoints, ipPoint(l))
		}
		return g
	}
	c := Diff(&Topology{LocalRoots: []Group{group(1, 1), group(1, 2, 3)}}, &Topology{LocalRoots: []Group{group(2, 1, 2, 3)}})
	require.Equal(t, 1, c.Groups[0].OldIndex)
	require.Equal(t, []AccessPoint{ipPoint(2), ipPoint(3)}, c.Groups[0].Shared)
	c = Diff(&Topology{LocalRoots: []Group{group(1, 1), group(1, 2)}}, &Topology{LocalRoots: []Group{group(2, 2, 1)}})
	require.Equal(t, 0, c.Groups[0].OldIndex)
}

// TestDiffProperties: a topology does not differ from itself or a copy; what is kept, connected and dropped adds up to both
// sides; looking the other way swaps connecting and dropping; only what is empty says nothing.
func TestDiffProperties(t *testing.T) {
	ids := func(lists ...[]AccessPoint) map[AccessPoint]int {
		out := map[AccessPoint]int{}
		for _, l := range lists {
			for _, a := range l {
				out[a.identity()]++
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := genTopology().Draw(t, "a"), genTopology().Draw(t, "b")
		same := Diff(a, a.Clone())
		require.True(t, same.Empty(), same.String())
		require.Empty(t, same.String())
		c, back := Diff(a, b), Diff(b, a)
		for _, p := range [][2]PointChanges{{c.Local, back.Local}, {c.Public, back.Public}, {c.Bootstrap, back.Bootstrap}} {
			require.Equal(t, ids(p[0].Connect), ids(p[1].Drop))
			require.Equal(t, ids(p[0].Drop), ids(p[1].Connect))
			require.Equal(t, ids(p[0].Keep), ids(p[1].Keep))
			for _, n := range ids(p[0].Connect, p[0].Drop, p[0].Keep) {
				require.Equal(t, 1, n)
			}
		}
		before, _ := effectiveMembers(a)
		after, _ := effectiveMembers(b)
		require.Equal(t, ids(before), ids(c.Local.Drop, c.Local.Keep))
		require.Equal(t, ids(after), ids(c.Local.Connect, c.Local.Keep))
		require.Equal(t, c.Empty(), c.String() == "")
		seen := map[int]bool{}
		for _, g := range c.Groups {
			require.False(t, seen[g.OldIndex])
			seen[g.OldIndex] = true
			require.NotEmpty(t, g.Shared)
			for _, p := range g.Shared {
				has := func(l []AccessPoint) bool {
					return slices.ContainsFunc(l, func(q AccessPoint) bool { return q.identity() == p.identity() })
				}
				require.True(t, has(a.LocalRoots[g.OldIndex].AccessPoints) && has(b.LocalRoots[g.NewIndex].AccessPoints))
			}
		}
	})
}
