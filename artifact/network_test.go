package artifact

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// liar is a way to misbehave: it changes what a node sends.
type liar struct {
	name   string
	mangle func(rnd *rand.Rand) func(c *simConn, s Stream, msg []byte) [][]byte
}

// isServing: streams on which a node answers fetches.
func isServing(s Stream) bool { return s == UrgentIn || s == BulkIn || s >= bearerIn }

// eachEntry rewrites the entries of an offers message.
func eachEntry(msg []byte, f func(e *entry)) [][]byte {
	m, err := decodeFromProvider(msg, maxWindow, nil)
	if err != nil || m.tag != tagOffers {
		return [][]byte{msg}
	}
	var es []byte
	for i := range m.offers {
		f(&m.offers[i])
		es = m.offers[i].append(es)
	}
	return [][]byte{appendOffers(nil, len(m.offers), es)}
}

func onServing(f func(rnd *rand.Rand, p piece, msg []byte) [][]byte) func(*rand.Rand) func(*simConn, Stream, []byte) [][]byte {
	return func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(_ *simConn, s Stream, msg []byte) [][]byte {
			if !isServing(s) {
				return [][]byte{msg}
			}
			p, err := decodePiece(msg)
			if err != nil {
				return [][]byte{msg}
			}
			return f(rnd, p, msg)
		}
	}
}

func onOffers(f func(rnd *rand.Rand, e *entry)) func(*rand.Rand) func(*simConn, Stream, []byte) [][]byte {
	return func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(_ *simConn, s Stream, msg []byte) [][]byte {
			if s != OfferIn {
				return [][]byte{msg}
			}
			return eachEntry(msg, func(e *entry) { f(rnd, e) })
		}
	}
}

var liars = []liar{
	{"hash liar", onServing(func(rnd *rand.Rand, p piece, msg []byte) [][]byte {
		if len(p.data) > 0 {
			p.data[rnd.IntN(len(p.data))] ^= 0x10
		}
		return [][]byte{msg}
	})},
	{"never answers", onServing(func(_ *rand.Rand, _ piece, _ []byte) [][]byte { return nil })},
	{"notFound to all", onServing(func(_ *rand.Rand, p piece, msg []byte) [][]byte {
		if p.tag != tagFetchDone {
			return nil
		}
		return [][]byte{appendFetchDone(nil, p.request, statusNotFound, 0)}
	})},
	{"slow drip", onServing(func(rnd *rand.Rand, p piece, msg []byte) [][]byte {
		if rnd.IntN(10) > 0 && p.tag != tagFetchDone {
			return nil
		}
		return [][]byte{msg}
	})},
	{"size liar", onOffers(func(rnd *rand.Rand, e *entry) {
		if e.tag == entryOffer && e.chunks.count == 0 && e.size > 0 && e.size < maxFlat {
			e.size = 1 + rnd.Int64N(maxFlat)
		}
	})},
	{"attr forger", onOffers(func(_ *rand.Rand, e *entry) {
		if e.tag == entryOffer || e.tag == entryPush {
			e.attr = []byte{9}
		}
	})},
	{"all urgent", onOffers(func(_ *rand.Rand, e *entry) {
		if e.tag == entryOffer || e.tag == entryPush {
			e.hint &^= 3
		}
	})},
	{"body swapper", onOffers(func(rnd *rand.Rand, e *entry) {
		if e.tag == entryPush && len(e.body) > 0 {
			e.body[0] ^= 4
		}
	})},
	{"everlasting have", func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(_ *simConn, s Stream, msg []byte) [][]byte {
			if s != ControlOut {
				return [][]byte{msg}
			}
			m, err := decodeControl(msg, nil)
			if err != nil || m.tag != tagDispose {
				return [][]byte{msg}
			}
			for i := range m.dispose {
				m.dispose[i].verdict = Have
			}
			return [][]byte{m.append(nil)}
		}
	}},
	{"never disposes", func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(c *simConn, s Stream, msg []byte) [][]byte {
			if m, err := decodeControl(msg, nil); s == ControlOut && err == nil && m.tag == tagDispose {
				return [][]byte{(&control{tag: tagHave, have: []ID{fill32(1)}}).append(nil)} // acked like the other would be
			}
			return [][]byte{msg}
		}
	}},
	{"silent eager parent", func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(c *simConn, s Stream, msg []byte) [][]byte {
			if s != OfferIn {
				return [][]byte{msg}
			}
			m, err := decodeFromProvider(msg, maxWindow, nil)
			if err != nil || m.tag != tagOffers {
				return [][]byte{msg}
			}
			var es []byte
			n := 0
			for i := range m.offers {
				if m.offers[i].tag != entryPush {
					es = m.offers[i].append(es)
					n++
				}
			}
			if n == 0 {
				es, n = append(es, 0x83, entryWithdraw, 0, 0), 1
			}
			return [][]byte{appendOffers(nil, n, es)}
		}
	}},
	{"bad digests", func(rnd *rand.Rand) func(*simConn, Stream, []byte) [][]byte {
		return func(c *simConn, s Stream, msg []byte) [][]byte {
			if m, err := decodeControl(msg, nil); s == ControlOut && err == nil && m.tag == tagCompare {
				for i := range m.digests {
					m.digests[i][0] ^= 1
				}
				return [][]byte{m.append(nil)}
			}
			return [][]byte{msg}
		}
	}},
}

// junk keeps a liar busy: offers that are withdrawn at once, ids that are never served.
func (n *simNode) junk(until time.Duration, every time.Duration) {
	s := n.net
	var last []ID
	var f func()
	f = func() {
		if s.now >= until {
			return
		}
		body := randomBody(s.rnd, 20+s.rnd.IntN(3000), Urgent)
		a, _ := NewArtifact(n.clients[1].k, body, bodyAttr(body), Urgent)
		if n.core.Publish(s.now, a) == nil {
			last = append(last, a.ID)
		}
		for len(last) > 30 {
			n.core.Remove(s.now, last[0])
			last = last[1:]
		}
		n.settled()
		s.after(every, f)
	}
	f()
}

// network is a graph of nodes of which a quarter lies; the honest ones are connected among themselves.
func (s *simNet) network(nodes, degree int, evil bool, rate float64) {
	for i := range nodes {
		n := s.addNode()
		if evil && i%4 == 3 {
			l := liars[(i/4)%len(liars)]
			n.evil = true
			n.mangle = l.mangle(rand.New(rand.NewPCG(uint64(i), 7)))
		}
	}
	latency := func() time.Duration { return time.Duration(10+s.rnd.IntN(140)) * time.Millisecond }
	var honest []*simNode
	for _, n := range s.nodes {
		if !n.evil {
			honest = append(honest, n)
		}
	}
	for i, n := range honest {
		s.connect(n, honest[(i+1)%len(honest)], latency(), rate)
	}
	s.graph(degree, latency, rate)
}

// 50 nodes with a small table, a quarter of them malicious, a partition of 60 s that heals; every invariant and the memory
// formula after every step.
func TestFiftyNodesAQuarterMalicious(t *testing.T) {
	pure(t)
	t.Parallel()
	s := newSimNet(t, 50)
	s.audit = 512
	s.cfg = func(i int) Config {
		return Config{Slots: 256, Kinds: []KindConfig{{ID: 1, MaxSize: 128 << 10, ChunkSize: 4096}}}
	}
	s.network(50, 8, true, 1e6)
	s.run(2 * time.Second)
	for _, n := range s.nodes {
		if n.evil {
			n.junk(85*time.Second, 12*time.Second)
		}
	}
	var ids []ID
	for i := range 45 {
		s.at(2*time.Second+time.Duration(i)*2*time.Second, func() {
			n := s.nodes[s.rnd.IntN(len(s.nodes))]
			if n.evil {
				n = s.nodes[n.ix-1]
			}
			sizes := []int{10, 300, 1024, 3000, 20000, 100000}
			n.publishSoon(1, randomBody(s.rnd, sizes[s.rnd.IntN(len(sizes))], Class(s.rnd.IntN(4))), func(id ID) { ids = append(ids, id) })
		})
	}
	// the partition: nodes 0 … 24 against the rest
	s.at(20*time.Second, func() {
		for _, c := range s.conns {
			if (c.a.ix < 25) != (c.b.ix < 25) {
				c.silence(60 * time.Second)
			}
		}
	})
	s.run(95 * time.Second)
	require.Len(t, ids, 45)
	s.everywhere(120*time.Second, ids)
	s.noFalseBlame()
	t.Logf("%d steps", s.steps)
}

// The reliability scenario of artifact §7.3, after the IC's network_reliability test.
func TestNetworkReliability(t *testing.T) {
	pure(t)
	t.Parallel()
	s := newSimNet(t, 21)
	s.audit = 512
	s.cfg = func(int) Config { // own products keep their registers, so the full scenario needs the full table
		return Config{Slots: 4096 / reliabilityShare() / 64 * 64, Kinds: []KindConfig{{ID: 1, MaxSize: 256 << 10, ChunkSize: 4096}}}
	}
	for range 21 {
		s.addNode()
	}
	degraded := func(n *simNode) bool { return n.ix%3 == 2 }
	var healthy []*simNode
	for _, n := range s.nodes {
		if !degraded(n) {
			healthy = append(healthy, n)
		}
	}
	latency := func() time.Duration { return time.Duration(10+s.rnd.IntN(40)) * time.Millisecond }
	for i, n := range healthy {
		s.connect(n, healthy[(i+1)%len(healthy)], latency(), 12.5e6)
	}
	s.graph(6, latency, 12.5e6)
	base := map[*simConn]time.Duration{}
	for _, c := range s.conns {
		base[c] = c.latency
	}
	s.run(2 * time.Second)
	// spells of 10 s, back to back for 120 s
	const spells = 12
	type draw struct {
		rate  float64
		delay time.Duration
		p     float64
	}
	for k := range spells {
		s.at(2*time.Second+time.Duration(k)*10*time.Second, func() {
			d := map[*simNode]draw{}
			for _, n := range s.nodes {
				if degraded(n) {
					d[n] = draw{float64(10+s.rnd.IntN(91)) * 1e6 / 8, time.Duration(10+s.rnd.IntN(981)) * time.Millisecond, 0.01 + 0.98*s.rnd.Float64()}
				}
			}
			for _, c := range s.conns {
				x, okx := d[c.a]
				y, oky := d[c.b]
				if !okx && !oky {
					continue
				}
				if !okx || oky && y.p > x.p {
					x = y
				}
				c.rate, c.latency = x.rate, x.delay
				if s.rnd.Float64() < x.p {
					reset := s.rnd.IntN(2) == 0
					s.after(time.Duration(s.rnd.Int64N(int64(10*time.Second))), func() {
						if reset {
							c.cut()
						} else {
							c.silence(20 * time.Second) // until the keep-alive's limit fires
						}
					})
				}
			}
		})
	}
	end := 2*time.Second + spells*10*time.Second
	s.at(end, func() {
		for _, c := range s.conns {
			c.rate, c.latency = 12.5e6, base[c]
		}
	})
	var ids []ID
	at := map[ID]time.Duration{}
	for i := range 20 * 180 / reliabilityShare() {
		s.at(2*time.Second+time.Duration(i*reliabilityShare())*50*time.Millisecond, func() {
			n := healthy[i%len(healthy)]
			n.publishSoon(1, randomBody(s.rnd, 1024, Normal), func(id ID) {
				ids = append(ids, id)
				at[id] = s.now
			})
		})
	}
	s.run(182 * time.Second)
	s.everywhere(end+120*time.Second-s.now, ids)
	s.noFalseBlame()
	worst := time.Duration(0)
	for _, id := range ids {
		for _, n := range healthy {
			worst = max(worst, n.got[id]-at[id])
		}
	}
	require.LessOrEqual(t, worst, 20*time.Second)
	t.Logf("%d artifacts, slowest healthy delivery %v, all degraded by %v of %v, %d steps", len(ids), worst, s.now, end+120*time.Second, s.steps)
}

// reliabilityShare thins the scenario out in the default suite: one artifact in so many.
func reliabilityShare() int {
	if soak() {
		return 1
	}
	return 12
}

// The soak: 1,000 nodes of degree 20 with full tables.
func TestThousandNodes(t *testing.T) {
	pure(t)
	t.Parallel()
	nodes, degree, n := 60, 10, 40
	cfg := Config{Slots: 512, Kinds: []KindConfig{{ID: 1, MaxSize: 64 << 10}}}
	if soak() {
		nodes, degree, n = 1000, 20, 120
		cfg.Slots = 4096
	}
	s := newSimNet(t, 1000)
	s.audit = 1 << 30 // incremental counters after every step, a recount of all nodes each virtual second
	s.cfg = func(int) Config { return cfg }
	s.network(nodes, degree, true, 5e6)
	var recount func()
	recount = func() {
		for _, n := range s.nodes {
			if err := n.core.check(PeerID{}, true); err != nil {
				t.Fatalf("node %d at %v: %v", n.ix, s.now, err)
			}
		}
		s.after(time.Second, recount)
	}
	s.after(time.Second, recount)
	s.run(3 * time.Second)
	var ids []ID
	for i := range n {
		s.at(3*time.Second+time.Duration(i)*100*time.Millisecond, func() {
			n := s.nodes[s.rnd.IntN(len(s.nodes))]
			if n.evil {
				n = s.nodes[n.ix-1]
			}
			n.publishSoon(1, randomBody(s.rnd, []int{100, 900, 5000, 40000}[s.rnd.IntN(4)], Class(s.rnd.IntN(4))), func(id ID) { ids = append(ids, id) })
		})
	}
	s.run(3*time.Second + time.Duration(n)*100*time.Millisecond)
	s.everywhere(120*time.Second, ids)
	s.noFalseBlame()
	t.Logf("%d nodes, %d connections, %d artifacts, %d steps, done at %v", nodes, len(s.conns), len(ids), s.steps, s.now)
}
