package bearer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
)

// Traffic counts what all bearers have carried, also those that have ended.
func TestTraffic(t *testing.T) {
	ns := newSwarm(t, swarmConfig{kinds: twoKinds()})
	sum := func() (in, out uint64) {
		for _, n := range ns {
			i, o := n.net.Traffic()
			in, out = in+i, out+o
		}
		return in, out
	}
	ns.spread(t, 1, treeKind, 16<<10, 16, 16, artifact.Normal)
	in, _ := sum()
	require.Greater(t, in, uint64(16*15*16<<10))
	ns.close(t)
	last, out := sum()
	require.GreaterOrEqual(t, last, in, "nothing is forgotten")
	require.GreaterOrEqual(t, out, uint64(16*15*16<<10))
	for _, n := range ns {
		require.Empty(t, n.net.muxes)
	}
}
