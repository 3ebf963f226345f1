package artifact

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter is a Client that validates everything and counts it.
type counter struct{ n *atomic.Int64 }

func (k counter) OnChange(r Reader[[]byte]) (out []Change[[]byte]) {
	for _, e := range r.Unvalidated() {
		out = append(out, Change[[]byte]{Op: MoveToValidated, ID: e.ID})
	}
	k.n.Add(int64(len(out)))
	return out
}
func (k counter) Bouncer(Reader[[]byte]) func(ID, []byte) Interest { return nil }
func (k counter) Quota(PeerID) int64                               { return 0 }

// BenchmarkSixteenNodes spreads artifacts among 16 nodes of degree 6 to 8 over in-memory links: the cost of everything but the
// network. deliveries/s is what is compared with other systems.
func BenchmarkSixteenNodes(b *testing.B) {
	for _, size := range []int{256, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var delivered atomic.Int64
			var nodes []*Node
			var handles []*Handle[[]byte]
			for i := range 16 {
				h := Register(BytesKind(Kind[[]byte]{ID: 1, MaxSize: 1 << 20}), Client[[]byte](counter{&delivered}))
				n, err := NewNode(Config{NodeID: PeerID{byte(i + 1)}, Seed: uint64(i)}, nil, h)
				if err != nil {
					b.Fatal(err)
				}
				nodes, handles = append(nodes, n), append(handles, h)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			linked := map[[2]int]bool{}
			deg := [16]int{}
			link := func(i, j int) {
				k := [2]int{min(i, j), max(i, j)}
				if i == j || linked[k] || deg[i] > 7 || deg[j] > 7 {
					return
				}
				linked[k] = true
				deg[i]++
				deg[j]++
				benchJoin(b, nodes[i], nodes[j])
			}
			for i := range 16 {
				link(i, (i+1)%16)
			}
			for i := range 16 {
				for t := 0; deg[i] < 6 && t < 50; t++ {
					link(i, rnd.IntN(16))
				}
			}
			time.Sleep(200 * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			b.SetBytes(int64(size) * 15)
			b.ResetTimer()
			body := make([]byte, size)
			var mine [16][]ID
			window := int64(max(16, min(96, 64<<20/size)))
			for i := 0; i < b.N; i++ {
				for int64(i)-delivered.Load()/15 > window && ctx.Err() == nil {
					time.Sleep(100 * time.Microsecond)
				}
				for j := range 16 {
					body[j] = byte(rnd.Uint32())
				}
				x := i % 16
				id, err := handles[x].Publish(append([]byte(nil), body...), Normal)
				for errors.Is(err, ErrTableFull) && ctx.Err() == nil {
					time.Sleep(100 * time.Microsecond)
					id, err = handles[x].Publish(append([]byte(nil), body...), Normal)
				}
				if err != nil {
					b.Fatal(err)
				}
				if mine[x] = append(mine[x], id); len(mine[x]) > 200 {
					handles[x].Abort(mine[x][0])
					mine[x] = mine[x][1:]
				}
			}
			for delivered.Load() < int64(b.N)*15 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			if delivered.Load() < int64(b.N)*15 {
				b.Errorf("%d of %d delivered", delivered.Load(), b.N*15)
			}
			b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "deliveries/s")
			var bodies, dups uint64
			for _, n := range nodes {
				bodies += n.Counters().BodiesReceived
				dups += n.Counters().DuplicateBodies
			}
			b.ReportMetric(float64(bodies)/float64(b.N*15), "copies")
			for _, n := range nodes {
				_ = n.Close()
			}
		})
	}
}

func benchJoin(b *testing.B, x, y *Node) {
	done, once, n := make(chan struct{}), &sync.Once{}, &atomic.Int32{}
	var lx, ly Links
	for _, p := range [][2]*[2]Link{{&lx.Offer, &ly.Offer}, {&lx.Control, &ly.Control}, {&lx.Urgent, &ly.Urgent}, {&lx.Bulk, &ly.Bulk}} {
		for i := range 2 {
			p[0][i], p[1][1-i] = memPair(done, 0)
		}
	}
	ix, iy := x.core.cfg.NodeID, y.core.cfg.NodeID
	if err := x.Attach(PeerInfo{ID: iy, Addr: netip.MustParseAddr("10.0.0.2"), Dialler: true}, lx, &memBearers{x, y, ix, iy, done, once, 0, n}); err != nil {
		b.Fatal(err)
	}
	if err := y.Attach(PeerInfo{ID: ix, Addr: netip.MustParseAddr("10.0.0.1")}, ly, &memBearers{y, x, iy, ix, done, once, 0, n}); err != nil {
		b.Fatal(err)
	}
	x.Start(iy)
	y.Start(ix)
}
