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

// manyPeers is a Core with a full table that many peers have settled.
func manyPeers(b *testing.B, peers, slots int) *world {
	w := &world{t: b, bouncer: func(uint32, ID, []byte) Interest { return Wants(Normal) }}
	var err error
	w.core, err = NewCore(0, Config{NodeID: PeerID{0xff}, Slots: slots, MaxPeers: peers, BulkBearers: -1, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 10}}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range slots * 7 / 8 {
		a, err := NewArtifact(w.core.cfg.Kinds[0], []byte{byte(i), byte(i >> 8)}, nil, Normal)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.core.Publish(0, a); err != nil {
			b.Fatal(err)
		}
	}
	digests := make([]digest, slots/blockSlots)
	for k := range digests {
		digests[k] = blockDigest(func(i int) uint64 {
			return w.core.table.regs[i].commit * uint64(min(1, len(w.core.table.regs[i].id())))
		}, k*blockSlots)
	}
	for i := range peers {
		id := PeerID{1, byte(i), byte(i >> 8)}
		p, err := w.core.add(0, PeerInfo{ID: id, Addr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Authenticated: true, RTT: time.Duration(i%50+1) * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		m := &msgInit{version: 1, window: 256, reserve: 32, inline: 1 << 18, kinds: []kindWish{{1, false}},
			resume: &resumeClaim{epoch: w.core.table.epoch, highest: w.core.table.commit, digests: digests}}
		if err := w.core.init(p, m); err != nil {
			b.Fatal(err)
		}
		_, _ = w.core.next(0, p, OfferIn, nil) // initOk
		for range 2 {
			_ = w.core.requestNext(p, msgRequestNext{256, 0})
			_, _ = w.core.next(0, p, OfferIn, nil) // synced
		}
		if v := p.prov.view; v.anyPending() || v.nwait > 0 {
			b.Fatal("something is pending")
		}
	}
	w.core.Effects()
	return w
}

func (r *register) id() []byte {
	if r.art == nil {
		return nil
	}
	return r.art.ID[:]
}

// BenchmarkIdle: a virtual second of 1,000 peers that have settled 4,096 slots (artifact §9: about 0). One operation is a second.
func BenchmarkIdle(b *testing.B) {
	w := manyPeers(b, 1000, 4096)
	b.ResetTimer()
	for range b.N {
		for end := w.now + time.Second; w.core.Deadline() <= end; {
			w.now = w.core.Deadline()
			w.core.Advance(w.now)
			w.core.Effects()
		}
		w.now += time.Second
	}
	if per := b.Elapsed() / time.Duration(b.N); b.N > 1 && per > 10*time.Millisecond {
		b.Errorf("%v of a second, mark 1 %%", per)
	}
}

// BenchmarkPublish: a publish and an abort beside a number of peers (artifact §9: below 5 µs and what the
// views cost, which goes with the peers).
func BenchmarkPublish(b *testing.B) {
	for _, peers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) {
			w := manyPeers(b, peers, 4096)
			as := make([]*Artifact, 256)
			for i := range as {
				as[i], _ = NewArtifact(w.core.cfg.Kinds[0], []byte{1, byte(i)}, nil, Urgent) // the reserve of the table is theirs
			}
			b.ResetTimer()
			for i := range b.N {
				a := *as[i%len(as)]
				if err := w.core.Publish(w.now, &a); err != nil {
					b.Fatal(err)
				}
				w.core.Remove(w.now, a.ID)
				w.core.Effects()
			}
			if per := b.Elapsed() / time.Duration(b.N); b.N > 1000 && peers == 1 && per > 10*time.Microsecond {
				b.Errorf("%v for both, mark 5 µs each", per)
			}
		})
	}
}
