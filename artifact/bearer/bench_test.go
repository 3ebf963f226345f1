package bearer

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// swarm is nodes on loopback TCP, node i connected to the next three and to the one opposite: degree 7 with 16 of them.
func swarm(t testing.TB, n int) []*testNode {
	var ns []*testNode
	lns := make([]net.Listener, n)
	for i := range lns {
		var err error
		lns[i], err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	for i := range n {
		cfg := Config{Listener: lns[i]}
		for _, d := range []int{1, 2, 3} {
			cfg.Peers = append(cfg.Peers, lns[(i+d)%n].Addr().String())
		}
		if i < n/2 {
			cfg.Peers = append(cfg.Peers, lns[i+n/2].Addr().String())
		}
		ns = append(ns, newTestNode(t, byte(i+1), artifact.Config{MaxPeers: 16}, cfg))
	}
	for _, x := range ns {
		for mains, bulks := 0, 0; mains < 7 || bulks < 14; mains, bulks = x.net.Bearers() {
			time.Sleep(time.Millisecond)
		}
	}
	return ns
}

func (k *keeper) forget(id artifact.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, id)
}

// received is what has arrived at a node on artifact mini-protocols, SDU headers included.
func (x *testNode) received() (bytes uint64) {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	for _, b := range x.net.mains {
		for _, c := range b.m.Counters() {
			if c.Number != keepalive.Number {
				bytes += c.BytesIn + 8*c.SDUsIn
			}
		}
	}
	for _, b := range x.net.bulks {
		for _, c := range b.m.Counters() {
			bytes += c.BytesIn + 8*c.SDUsIn
		}
	}
	return bytes
}

// BenchmarkSwarm is 16 nodes of degree 7 with the windows full: deliveries per second, body copies per needed body, and bytes received
// per payload byte (artifact §6.15). One operation is one artifact at all 16.
func BenchmarkSwarm(b *testing.B) {
	for _, size := range []int{256, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ns := swarm(b, 16)
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
						for !everywhere(old) {
							time.Sleep(200 * time.Microsecond)
						}
						for _, n := range ns { // every node forgets what has been everywhere
							n.k.forget(ids[old%ahead])
							n.h.Abort(ids[old%ahead])
						}
					}
					binary.BigEndian.PutUint64(seed, uint64(next))
					ids[next%ahead] = ns[next%16].publish(b, append([]byte(nil), seed...), artifact.Normal)
				}
				for i := max(0, next-ahead); i < next; i++ {
					for !everywhere(i) {
						time.Sleep(200 * time.Microsecond)
					}
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
