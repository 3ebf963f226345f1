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
