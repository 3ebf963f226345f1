package artifact

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parent is a world with an eager link to x and a lazy one to y, who always offers first.
type parent struct {
	w    *world
	x, y *puppet
	n    int
	rnd  *rand.Rand
}

func newParent(t *testing.T) *parent {
	w := smallWorld(t)
	p := &parent{w: w, x: w.peer(true, true), y: w.peer(true, true), rnd: rand.New(rand.NewPCG(1, 2))}
	p.x.p.link.on[0] = true
	return p
}

// body has y offer a small body and x push it a while later, never if that is 0. It reports whether we fetched it meanwhile.
func (p *parent) body(after time.Duration) (fetched bool) {
	p.n++
	b := append(make([]byte, 100), byte(p.n), byte(p.n>>8))
	e := offerOf(uint32(p.n%128), uint64(p.n), b)
	p.y.offers(e)
	wait := after
	if after == 0 {
		wait = time.Second
	}
	p.w.wait(wait)
	for _, m := range p.y.fetches(BulkOut) {
		fetched = true
		p.y.serve(BulkOut, m, b)
	}
	if after > 0 {
		e.tag, e.body = entryPush, b
		p.x.offers(e)
	}
	p.w.accept()
	for _, x := range []*puppet{p.x, p.y} {
		x.controls()
	}
	p.w.wait(10 * time.Millisecond)
	return fetched
}

// Under load pushes come later than round trips tell. To fetch what is on its way costs a second copy and makes the load worse, so
// their lag is learnt.
func TestLateButComingPushesAreWaitedFor(t *testing.T) {
	p := newParent(t)
	fetched := 0
	for i := range 80 {
		f := p.body(time.Duration(20+p.rnd.IntN(160)) * time.Millisecond)
		p.x.p.link.on[0], p.y.p.link.on[0] = true, false // whatever the tree does about it
		if f && i >= 40 {
			fetched++
		}
	}
	require.LessOrEqual(t, fetched, 4, "of 40")
}

// A parent that is always late is replaced by the peer that offered first, and pruned when its pushes are duplicates.
func TestSlowParentIsReplaced(t *testing.T) {
	p := newParent(t)
	n := 0
	for ; n < 60 && !p.y.p.link.on[0]; n++ {
		p.body(250 * time.Millisecond)
	}
	require.True(t, p.y.p.link.on[0], "grafted")
	t.Logf("after %d bodies", n)
	for ; n < 120 && p.x.p.link.on[0]; n++ {
		p.n++
		b := append(make([]byte, 100), byte(p.n), byte(p.n>>8))
		e := offerOf(uint32(p.n%128), uint64(p.n), b)
		e.tag, e.body = entryPush, b
		p.y.offers(e)
		p.w.wait(250 * time.Millisecond)
		p.x.offers(e)
		p.w.accept()
		p.x.controls()
		p.y.controls()
	}
	require.False(t, p.x.p.link.on[0], "pruned")
}

// id squatting, silent eager parent: it costs grace and a fetch, never an artifact; the late counter moves the eager link.
func TestRowSilentEagerParent(t *testing.T) {
	p := newParent(t)
	for range lateGraft {
		require.False(t, p.y.p.link.on[0])
		require.True(t, p.body(0))
	}
	require.True(t, p.y.p.link.on[0], "eight late bodies")
	require.Zero(t, p.x.score, "silence about a body is nobody's fault")
	told := p.w.core.Counters().Grafts
	require.EqualValues(t, 1, told)
}

// A network without bodies yet is one tree from the first on, whether all begin at once or link after link: whoever has not seen yet
// which links are of use wants every one to push, and prunes. With a few links that both ends happen to want, the tree would be in
// pieces for dozens of bodies, each of which costs a grace.
func TestNewNetworkIsOneTree(t *testing.T) {
	pure(t)
	for seed := uint64(31); seed < 36; seed++ {
		for _, together := range []bool{true, false} {
			s := newSimNet(t, seed)
			s.cfg = oneKind
			for range 16 {
				s.addNode()
			}
			latency := func() time.Duration { return time.Duration(10+s.rnd.IntN(20)) * time.Millisecond }
			if together {
				s.graph(6, latency, 1.25e8)
			} else {
				for _, d := range []int{1, 2, 3, 8} { // neighbours first
					for i := range 16 {
						if d < 8 || i < 8 {
							s.connect(s.nodes[i], s.nodes[(i+d)%16], latency(), 1.25e8)
							s.run(s.now + time.Duration(s.rnd.IntN(100))*time.Millisecond)
						}
					}
				}
			}
			s.run(s.now + 2*time.Second)
			for i := range 20 {
				id := s.nodes[i%16].publish(1, randomBody(s.rnd, 500, Normal))
				s.everywhere(5*time.Second, []ID{id})
			}
			fetched, copies := uint64(0), uint64(0)
			for _, n := range s.nodes {
				c := n.core.Counters()
				fetched += c.BodiesReceived - c.PushesReceived
				copies += c.BodiesReceived
			}
			require.LessOrEqual(t, fetched, uint64(3), "of 300 deliveries, seed %d, together %v", seed, together)
			require.LessOrEqual(t, copies, uint64(400), "most of the second ones are of the first body, seed %d, together %v", seed, together)
		}
	}
}

// A node that loses its place in the tree of a calm network has what it misses after the longest rest of an offer, a grace and the fetch
// at most, and is pushed to again once it was late a few times.
func TestCalmTreeIsMended(t *testing.T) {
	pure(t)
	for seed := uint64(51); seed < 53; seed++ {
		s := newSimNet(t, seed)
		s.cfg = oneKind
		for range 16 {
			s.addNode()
		}
		s.graph(6, func() time.Duration { return time.Duration(5+s.rnd.IntN(10)) * time.Millisecond }, 1.25e8)
		s.run(2 * time.Second)
		for i := range 60 {
			s.nodes[i%16].publish(1, randomBody(s.rnd, 500, Normal))
			s.run(s.now + 20*time.Millisecond)
		}
		s.run(s.now + time.Second)

		x := s.nodes[5]
		for _, p := range x.core.peers {
			p.link.on[0] = false
		}
		for _, n := range s.nodes {
			for _, p := range n.core.peers {
				if p.ID == x.id {
					p.link.on[0] = false
				}
			}
		}
		before := x.core.Counters()
		var took []time.Duration
		for i := range 30 {
			id := s.nodes[(6+i%15)%16].publish(1, randomBody(s.rnd, 500, Normal))
			began := s.now
			for !x.has(id) {
				s.run(s.now + time.Millisecond)
			}
			took = append(took, s.now-began)
			s.run(s.now + 50*time.Millisecond)
		}
		after := x.core.Counters()
		t.Logf("seed %d: %v", seed, took)
		require.Less(t, slices.Max(took), 2*calmRest+graceMax+6*15*time.Millisecond)
		require.NotZero(t, after.Grafts-before.Grafts)
		require.LessOrEqual(t, after.BodiesReceived-after.PushesReceived-(before.BodiesReceived-before.PushesReceived), uint64(lateGraft+4), "fetched")
		require.True(t, x.core.con.hasParent(0))
	}
}
