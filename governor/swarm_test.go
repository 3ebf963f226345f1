package governor

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// swarm is many cores in one event heap with a trivial model of connections: an order takes a while and succeeds unless the other node
// is down. It shows that the core is ready for simulation at scale.
type swarm struct {
	clock
	rnd   *rand.Rand
	nodes []*swarmNode
	index map[netip.AddrPort]*swarmNode
	steps int
	hash  [32]byte
}

type swarmNode struct {
	*swarm
	addr  netip.AddrPort
	core  *Core
	wake  time.Duration
	roots []RootPeer
	down  span
}

func newSwarm(t testing.TB, n int, seed uint64) *swarm {
	s := &swarm{rnd: rand.New(rand.NewPCG(seed, 7)), index: map[netip.AddrPort]*swarmNode{}}
	for i := range n {
		cfg := Config{Targets: Targets{Roots: 10, Known: 40, Established: 10, Active: 5}, PeerSharing: true, Seed: seed*1e6 + uint64(i)}
		core, err := NewCore(cfg)
		require.NoError(t, err)
		x := &swarmNode{swarm: s, addr: ip(i), core: core, wake: Never}
		s.nodes = append(s.nodes, x)
		s.index[x.addr] = x
	}
	for i, x := range s.nodes {
		for range 12 {
			if j := s.rnd.IntN(n); j != i {
				x.roots = append(x.roots, RootPeer{Peer: ip(j), Advertise: true})
			}
		}
		if i%20 == 0 { // one in twenty is away for ten minutes
			from := time.Duration(10+s.rnd.IntN(25)) * time.Minute
			x.down = span{from, from + 10*time.Minute}
			s.at(from, func() { s.fall(x) })
		}
		s.at(time.Duration(s.rnd.IntN(10_000))*time.Millisecond, func() { x.feed(Begin{}) })
	}
	return s
}

// fall breaks the connections to x.
func (s *swarm) fall(x *swarmNode) {
	for _, y := range s.nodes {
		if p := y.core.find(x.addr); p != nil && p.place.established() {
			s.after(time.Second, func() {
				y.feed(StatusSeen{Peer: x.addr, Temperature: Cold, RetryAfter: 10 * time.Second, Cause: errNet})
			})
		}
	}
}

func (x *swarmNode) feed(ev Event) {
	x.steps++
	out := x.core.Step(ev, x.now)
	h := sha256.New()
	h.Write(x.hash[:])
	for i := range out.Effects {
		e := &out.Effects[i]
		fmt.Fprintf(h, "%d %d %d;", x.now, e.Kind, e.Job)
		x.carryOut(*e)
	}
	if len(out.Effects) > 0 {
		x.hash = [32]byte(h.Sum(nil))
	}
	if w := out.Wake; w < x.wake {
		x.wake = w
		x.at(max(w, x.now), func() {
			if x.wake == w {
				x.wake = Never
				x.feed(Tick{})
			}
		})
	}
}

func (x *swarmNode) carryOut(e Effect) {
	wait := time.Duration(20+x.rnd.IntN(200)) * time.Millisecond
	y := x.index[e.Peer]
	switch e.Kind {
	case Connect:
		x.after(wait, func() {
			ev := Connected{Job: e.Job, Peer: e.Peer, Shares: true}
			if y == nil || y.down.has(x.now) || x.down.has(x.now) {
				ev.Failure = errNet
			} else { // no connection lasts for ever
				job := e.Job
				x.after(time.Duration(60+x.rnd.IntN(1200))*time.Second, func() {
					if p := x.core.find(e.Peer); p != nil && p.place.established() && p.job-job < 4 {
						x.feed(StatusSeen{Peer: e.Peer, Temperature: Cold, RetryAfter: 10 * time.Second, Cause: errNet})
					}
				})
			}
			x.feed(ev)
		})
	case Activate:
		x.after(wait, func() { x.feed(Activated{Job: e.Job, Peer: e.Peer}) })
	case Deactivate:
		x.after(wait, func() { x.feed(Deactivated{Job: e.Job, Peer: e.Peer}) })
	case Disconnect:
		if e.Job != 0 {
			x.after(wait, func() { x.feed(Disconnected{Job: e.Job, Peer: e.Peer}) })
		}
	case AskForPeers:
		x.after(wait, func() { x.feed(Answered{Job: e.Job, Peer: e.Peer, Peers: y.core.Shareable(e.N, x.now)}) })
	case RequestRoots:
		x.after(wait, func() { x.feed(RootsAnswered{Job: e.Job, Peers: x.roots, TTL: time.Minute}) })
	case ListInbound:
		x.after(0, func() { x.feed(InboundListed{}) })
	}
}

// TestSwarm: 500 cores for a virtual hour, all at their targets, twice the same. The time it takes is for one core; the limit of ten
// seconds is for a quiet machine without the race detector.
func TestSwarm(t *testing.T) {
	n := 500
	if raceOn {
		n = 120
	}
	var first [32]byte
	for round := range 2 {
		began := time.Now()
		s := newSwarm(t, n, 42)
		s.run(time.Hour)
		t.Logf("%d cores, %d steps, %v", n, s.steps, time.Since(began))
		for _, x := range s.nodes {
			k := x.core.Counters()
			if x.core.churning.phase == churnSleep && (k.EstablishedPeers+k.ColdPeersPromotions < 10 || k.ActivePeers+k.WarmPeersPromotions < 5) || k.KnownPeers < 20 {
				t.Errorf("%v: known %d, established %d, active %d; %v", x.addr, k.KnownPeers, k.EstablishedPeers, k.ActivePeers, x.core.ExplainTargets())
			}
			require.NoError(t, x.core.Check())
		}
		if round == 0 {
			first = s.hash
		}
		require.Equal(t, first, s.hash)
	}
	require.NotEqual(t, first, func() [32]byte { s := newSwarm(t, n/10, 43); s.run(time.Minute); return s.hash }())
}
