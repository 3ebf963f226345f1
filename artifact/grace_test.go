package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The grace follows the median round trip, told by the host or shown by requests, whichever is less; 100 ms while none is known.
func TestGraceFollowsTheRoundTrip(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.p.RTT = 0
	require.Equal(t, graceMax, w.core.con.graceTime(0))
	w.core.SetRTT(x.id, 20*time.Millisecond)
	require.Equal(t, 50*time.Millisecond, w.core.con.graceTime(0))
	x.p.net.rtt = 4 * time.Millisecond
	require.Equal(t, 10*time.Millisecond, w.core.con.graceTime(0))
	x.p.net.rtt = 40 * time.Millisecond
	require.Equal(t, 50*time.Millisecond, w.core.con.graceTime(0))
	x.p.net.rtt = time.Microsecond
	require.Equal(t, graceMin, w.core.con.graceTime(0))
}

// Under load the grace is at least the lag of pushes, and not the same for all: up to half as long again.
func TestGraceUnderLoadIsSpread(t *testing.T) {
	w := smallWorld(t)
	w.peer(true, true)
	w.core.con.lag[0] = smoothed{80 * time.Millisecond, 5 * time.Millisecond}
	least, most := time.Hour, time.Duration(0)
	for range 200 {
		g := w.core.con.graceTime(0)
		least, most = min(least, g), max(most, g)
	}
	require.GreaterOrEqual(t, least, 100*time.Millisecond)
	require.Less(t, least, 110*time.Millisecond)
	require.Greater(t, most, 140*time.Millisecond)
	require.Less(t, most, 150*time.Millisecond)
}
