package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// observer reads what two honest ends say to each other on offer and control, and knows nothing else.
type observer struct {
	t       *testing.T
	commits map[uint32]uint64 // shown last, per slot
	out     map[uint32]uint64 // shown and without a verdict or a withdrawal that was sent, per slot
	epoch   int               // of the connection
	window  int
}

// observe has every message between honest nodes looked at: P2, never more than W outstanding, and P5, commits of a slot never fall
// within a session.
func (s *simNet) observe(t *testing.T) {
	type key struct{ from, to int }
	seen := map[key]*observer{}
	of := func(c *simConn, provider, consumer *simNode) *observer {
		k := key{provider.ix, consumer.ix}
		o := seen[k]
		if o == nil || o.epoch != c.epoch {
			o = &observer{t: t, epoch: c.epoch, window: consumer.core.cfg.Window}
			seen[k] = o
		}
		return o
	}
	for _, n := range s.nodes {
		n.mangle = func(c *simConn, st Stream, msg []byte) [][]byte {
			other := c.a
			if other == n {
				other = c.b
			}
			switch st {
			case OfferIn:
				of(c, n, other).provider(msg)
			case ControlOut:
				of(c, other, n).consumer(msg)
			}
			return [][]byte{msg}
		}
	}
}

func (o *observer) provider(msg []byte) {
	m, err := decodeFromProvider(msg, maxWindow, nil)
	require.NoError(o.t, err)
	if m.tag == tagInitOk {
		o.commits, o.out = map[uint32]uint64{}, map[uint32]uint64{}
		return
	}
	for _, e := range m.offers {
		switch e.tag {
		case entryOffer, entryPush, entryKnown:
			require.GreaterOrEqual(o.t, e.commit, o.commits[e.slot], "slot %d", e.slot)
			o.commits[e.slot] = e.commit
			if e.tag != entryKnown {
				o.out[e.slot] = e.commit
			}
		case entryWithdraw:
			if e.commit == 0 || o.out[e.slot] == e.commit {
				delete(o.out, e.slot)
			}
		}
	}
	// Dispositions that were sent count here as soon as they are sent, at the provider when they are read: this is the smaller number.
	require.LessOrEqual(o.t, len(o.out), o.window)
}

func (o *observer) consumer(msg []byte) {
	m, err := decodeControl(msg, nil)
	require.NoError(o.t, err)
	for _, d := range m.dispose {
		if o.out[d.slot] == d.commit {
			delete(o.out, d.slot)
		}
	}
}

// P2, P5, P6, P9, P15: under cuts, lost bearers, restarts, slow validators, bouncers that say later and change their mind, and hot → warm →
// hot, windows and commits keep their rules on the wire; in the end everything is everywhere, and when all connections are cut once
// more, and come back, nothing is offered again.
func TestQuiescenceAfterChaos(t *testing.T) {
	pure(t)
	t.Parallel()
	for seed := uint64(1); seed <= chaosSeeds(); seed++ {
		s := newSimNet(t, seed+100)
		s.audit = 4
		s.cfg = oneKind
		for range 8 {
			s.addNode()
		}
		s.graph(4, func() time.Duration { return time.Duration(5+s.rnd.IntN(60)) * time.Millisecond }, 2e6)
		s.observe(t)
		var ids []ID
		for i := range 60 {
			s.at(time.Second+time.Duration(i)*250*time.Millisecond, func() {
				n := s.nodes[s.rnd.IntN(len(s.nodes))]
				ids = append(ids, n.publish(1, randomBody(s.rnd, []int{10, 900, 3000, 30000, 100000}[s.rnd.IntN(5)], Class(s.rnd.IntN(4)))))
			})
		}
		for i := range 12 { // one changes its mind for two seconds
			s.at(time.Second+time.Duration(i)*1200*time.Millisecond, func() {
				n := s.nodes[s.rnd.IntN(len(s.nodes))]
				n.clients[1].bounce = func(ID, []byte) Interest { return MaybeLater }
				n.clients[1].cl.refresh(nil, nil)
				n.settled()
				s.after(2*time.Second, func() {
					n.clients[1].bounce = nil
					n.clients[1].cl.refresh(nil, nil)
					n.settled()
				})
			})
		}
		s.chaos(17*time.Second, 500*time.Millisecond)
		s.run(20 * time.Second)
		for _, n := range s.nodes {
			n.delay = time.Millisecond
		}
		s.everywhere(120*time.Second, ids)
		s.run(s.now + 5*time.Minute) // the last dispositions and comparisons
		again, offers := uint64(0), uint64(0)
		count := func() (again, offers uint64) {
			for _, n := range s.nodes {
				again += n.core.Counters().OfferedAgain
				offers += n.core.Counters().OffersReceived
			}
			return again, offers
		}
		again, offers = count()
		for _, c := range s.conns {
			c.cut()
		}
		s.run(s.now + time.Minute)
		for _, c := range s.conns {
			require.True(t, c.up)
		}
		x, y := count()
		require.Equal(t, again, x, "seed %d: offered again", seed)
		require.Equal(t, offers, y, "seed %d", seed)
		s.noFalseBlame()
	}
}

// Named after the integration tests of artifact §7.1: a node that joins late gets the whole validated pool.
func TestJoiningNodeGetsTheValidatedPool(t *testing.T) {
	s := newSimNet(t, 41)
	s.audit = 16
	s.cfg = oneKind
	for range 4 {
		s.addNode()
	}
	for i := 1; i < 4; i++ {
		s.connect(s.nodes[i-1], s.nodes[i], 10*time.Millisecond, 1e7)
	}
	s.run(time.Second)
	var ids []ID
	for i := range 150 {
		ids = append(ids, s.nodes[i%4].publish(1, randomBody(s.rnd, 300+i*20, Class(i%4))))
	}
	s.everywhere(20*time.Second, ids)
	late := s.addNode()
	s.connect(late, s.nodes[3], 10*time.Millisecond, 1e7)
	s.everywhere(20*time.Second, ids)
	require.Zero(t, late.core.Counters().PushesReceived, "what is older than the session is never pushed")
}

// The load test of artifact §7.1: inserts and purges at random for 20 s, with and without the same artifacts at several nodes; 4 s after the
// last purge every artifact that is active anywhere is everywhere, and nothing that was purged by all is anywhere.
func TestRandomInsertsAndPurges(t *testing.T) {
	pure(t)
	t.Parallel()
	for _, overlap := range []bool{false, true} {
		s := newSimNet(t, 42)
		s.audit = 16
		s.cfg = func(int) Config {
			return Config{Slots: 1024, Kinds: []KindConfig{{ID: 1, MaxSize: 4096, Relay: OriginOnly}}}
		}
		for range 6 {
			s.addNode()
		}
		for i := range 6 {
			for j := range i {
				s.connect(s.nodes[i], s.nodes[j], 20*time.Millisecond, 1e7)
			}
		}
		s.run(time.Second)
		active := map[ID]int{} // by how many
		mine := make([]map[ID]bool, 6)
		for i, n := range s.nodes {
			mine[i] = map[ID]bool{}
			// An artifact that nobody shows any more is dropped: the validated section mirrors the tables, as in the IC.
			n.clients[1].bounce = func(id ID, _ []byte) Interest {
				if active[id] == 0 {
					return NotWanted
				}
				return Wants(Normal)
			}
			n.clients[1].judge = func(e Entry[[]byte]) Change[[]byte] {
				if active[e.ID] == 0 {
					return Change[[]byte]{Op: RemoveFromUnvalidated, ID: e.ID}
				}
				return Change[[]byte]{Op: MoveToValidated, ID: e.ID}
			}
		}
		purge := func(i int, id ID) {
			delete(mine[i], id)
			if active[id]--; active[id] > 0 {
				return
			}
			for _, n := range s.nodes {
				_ = n.clients[1].cl.change([]Change[[]byte]{{Op: RemoveFromValidated, ID: id}})
				n.settled()
			}
		}
		for step := range 400 {
			s.at(time.Second+time.Duration(step)*50*time.Millisecond, func() {
				i := s.rnd.IntN(6)
				body := randomBody(s.rnd, 100+s.rnd.IntN(2000), Normal)
				holders := []int{i}
				if overlap {
					holders = append(holders, (i+1)%6, (i+3)%6)
				}
				for _, h := range holders {
					id := s.nodes[h].publish(1, body)
					if !mine[h][id] {
						mine[h][id] = true
						active[id]++
					}
				}
				for id := range mine[i] { // any one: the seed decides nothing here, the end condition is the same
					if len(mine[i]) > 40 {
						purge(i, id)
					}
					break
				}
			})
		}
		s.run(25 * time.Second) // 4 s after the last
		for _, n := range s.nodes {
			for id, by := range active {
				require.Equal(t, by > 0, n.has(id), "overlap %v, node %d", overlap, n.ix)
			}
		}
		s.noFalseBlame()
	}
}

// P12: body copies settle again after a change of links.
func TestCopiesSettleAfterLinksChange(t *testing.T) {
	pure(t)
	t.Parallel()
	s := newSimNet(t, 43)
	s.audit = 1 << 20
	s.cfg = func(int) Config { return Config{Slots: 4096, Kinds: []KindConfig{{ID: 1, MaxSize: 4096}}} }
	for range 16 {
		s.addNode()
	}
	s.graph(6, func() time.Duration { return time.Duration(10+s.rnd.IntN(20)) * time.Millisecond }, 1.25e8)
	s.run(2 * time.Second)
	n := 0
	copies := func(k int) float64 {
		before := uint64(0)
		for _, x := range s.nodes {
			before += x.core.Counters().BodiesReceived
		}
		var ids []ID
		for range k {
			n++
			ids = append(ids, s.nodes[n%16].publish(1, randomBody(s.rnd, 256, Normal)))
			s.run(s.now + 20*time.Millisecond)
		}
		s.everywhere(10*time.Second, ids)
		s.run(s.now + time.Second)
		after := uint64(0)
		for _, x := range s.nodes {
			after += x.core.Counters().BodiesReceived
		}
		return float64(after-before) / float64(15*k)
	}
	warm, measured := 100, 50
	if soak() {
		warm, measured = 500, 500
	}
	copies(warm)
	for range 2 {
		// A third of the links goes for good, others come.
		for range len(s.conns) / 3 {
			i := s.rnd.IntN(len(s.conns))
			c := s.conns[i]
			c.closed = true
			c.cut()
			delete(c.a.conns, c.b.ix)
			delete(c.b.conns, c.a.ix)
			s.conns = append(s.conns[:i], s.conns[i+1:]...)
		}
		s.graph(6, func() time.Duration { return time.Duration(10+s.rnd.IntN(20)) * time.Millisecond }, 1.25e8)
		s.run(s.now + 2*time.Second)
		first := copies(warm)
		settled := copies(measured)
		t.Logf("%.3f copies while it settles, %.3f then", first, settled)
		require.LessOrEqual(t, first, 1.5)
		require.LessOrEqual(t, settled, 1.15)
	}
}
