package bearer

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
)

// BenchmarkSwarm is 16 nodes of degree 7 with the windows full: deliveries per second, body copies per needed body, and bytes received
// per payload byte (artifact §6.15). One operation is one artifact at all 16.
func BenchmarkSwarm(b *testing.B) {
	for _, size := range []int{256, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ns := newSwarm(b, swarmConfig{})
			ahead := min(200, max(8, (16<<20)/size))
			next, seed := 0, make([]byte, size)
			ids := make([]artifact.ID, ahead)
			everywhere := func(i int) bool {
				for j, n := range ns {
					if i%16 != j && n.k.has(ids[i%ahead]) == nil {
						return false
					}
				}
				return true
			}
			spread := func(count int) {
				for end := next + count; next < end; next++ {
					if next >= ahead {
						old := next - ahead
						until(b, func() bool { return everywhere(old) }, "body %d", old)
						for _, n := range ns { // every node forgets what has been everywhere
							n.k.forget(ids[old%ahead])
							n.h.Abort(ids[old%ahead])
						}
					}
					binary.BigEndian.PutUint64(seed, uint64(next))
					ids[next%ahead] = ns[next%16].publish(b, append([]byte(nil), seed...), artifact.Normal)
				}
				for i := max(0, next-ahead); i < next; i++ {
					until(b, func() bool { return everywhere(i) }, "body %d", i)
				}
			}
			total := func() (bytes, bodies uint64) {
				for _, n := range ns {
					bytes += n.received()
					bodies += n.Counters().BodiesReceived
				}
				return bytes, bodies
			}
			spread(ahead) // the tree settles
			bytes0, bodies0 := total()
			b.ResetTimer()
			began := time.Now()
			spread(b.N)
			took := time.Since(began)
			b.StopTimer()
			bytes1, bodies1 := total()
			need := float64(15 * b.N)
			b.ReportMetric(need/took.Seconds(), "deliveries/s")
			b.ReportMetric(float64(bytes1-bytes0)/need/float64(size), "bytes/payload")
			b.ReportMetric(float64(bodies1-bodies0)/need, "copies")
			b.ReportMetric(0, "ns/op")
			for _, n := range ns {
				require.NoError(b, n.net.Close())
				require.NoError(b, n.Node.Close())
				require.Zero(b, n.Counters().Violations)
			}
		})
	}
}
