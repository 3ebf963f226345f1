package bearer

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
)

// An idle main bearer costs two goroutines an end: one reads, one waits for the end. A bulk bearer costs two as well.
func TestIdleBearersCostTwoGoroutines(t *testing.T) {
	const peers = 4
	for bulk, bearers := range map[int]int{-1: 1, 2: 3} {
		base := runtime.NumGoroutine()
		var lns []net.Listener
		for range peers + 1 {
			lns = append(lns, listen(t, "127.0.0.1:0", nil))
		}
		var ns []*testNode
		start := func(i int, dial ...string) {
			ns = append(ns, newTestNode(t, byte(i+1), artifact.Config{BulkBearers: bulk}, Config{Listener: lns[i], Peers: dial}))
		}
		start(0)
		start(1, lns[0].Addr().String())
		settled := func(links int) int {
			up := func() bool {
				mains, bulks := ns[0].net.Bearers()
				return mains == links && bulks == links*(bearers-1)
			}
			require.Eventually(t, up, 10*time.Second, 5*time.Millisecond)
			n := 0
			// Dispositions, timers of dials and what says hello come and go.
			require.Eventually(t, func() bool { was := n; n = runtime.NumGoroutine(); return n == was }, 10*time.Second, 150*time.Millisecond)
			return n - base
		}
		one := settled(1)
		for i := 2; i <= peers; i++ {
			start(i, lns[0].Addr().String())
		}
		all := settled(peers)
		t.Logf("%d bearers a link: %d goroutines with one link, %d with %d", bearers, one, all, peers)
		// a node costs three: it accepts, keeps time, and runs its kind
		require.LessOrEqual(t, all-one, (peers-1)*(3+2*2*bearers))
		for _, n := range ns {
			n.close(t)
		}
	}
}
