package bearer

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
)

// TestNothingIsLost: main bearers are cut all over 16 nodes on loopback TCP, bulk bearers too, and nodes are killed and come back on
// their address with an empty memory but what they have made themselves, while all of them publish. Everything is everywhere in the
// end, and nobody is blamed.
func TestNothingIsLost(t *testing.T) {
	cfg := swarmConfig{kinds: twoKinds(), node: artifact.Config{Slots: 4096}}
	ns := newSwarm(t, cfg)
	addrs := make([]string, len(ns))
	lns := make([]net.Listener, len(ns))
	for i, n := range ns {
		addrs[i], lns[i] = n.at, n.net.cfg.Listener
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	type made struct {
		id    artifact.ID
		body  []byte
		class artifact.Class
	}
	own := make([][]made, len(ns))
	var ids []artifact.ID
	rounds := times(12, 200)
	for round := range rounds {
		for range 12 {
			i := rnd.IntN(len(ns))
			m := made{body: body(rnd.Uint64(), 1<<rnd.IntN(18)), class: artifact.Class(rnd.IntN(4))}
			m.body[len(m.body)-1] = byte(m.class)
			m.id = ns[i].publish(t, m.body, m.class)
			own[i] = append(own[i], m)
			ids = append(ids, m.id)
		}
		for range 3 {
			x := ns[rnd.IntN(len(ns))]
			x.cut(func(artifact.PeerID) bool { return rnd.IntN(4) == 0 })
			x.net.mu.Lock()
			for _, b := range x.net.bulks {
				if rnd.IntN(6) == 0 {
					b.close(fmt.Errorf("cut by the test"))
				}
			}
			x.net.mu.Unlock()
		}
		if round%4 == 3 && round < rounds-1 {
			i := rnd.IntN(len(ns))
			old := ns[i]
			require.NoError(t, old.net.Close())
			require.NoError(t, old.Node.Close())
			require.Zero(t, old.bans)
			require.Zero(t, old.Counters().Violations)
			lns[i] = listen(t, addrs[i], nil)
			ns[i] = cfg.start(t, lns, i)
			for _, m := range own[i] {
				ns[i].publish(t, m.body, m.class)
			}
		}
		time.Sleep(20 * time.Millisecond) // real time: this is about real sockets
	}
	ns.await(t, ids)
	x := ns.traffic()
	t.Logf("%d artifacts, %d sessions resumed, %d begun anew", len(ids), x.count.Resumed, x.count.NotResumed)
	require.Positive(t, x.count.Resumed)
	ns.close(t)
}

// TestQuietReconnect: every main bearer of 16 nodes is cut while nothing is going on. The sessions resume, no id is offered again, no
// body moves, and a reconnect costs what artifact §6.11 says: 9 bytes for each 64 slots and the messages around them.
func TestQuietReconnect(t *testing.T) {
	ns := newSwarm(t, swarmConfig{kinds: twoKinds(), node: artifact.Config{Slots: 4096}})
	var ids []artifact.ID
	for i := range 200 {
		b := body(uint64(i), 200+i)
		b[len(b)-1] = byte(artifact.Normal)
		ids = append(ids, ns[i%len(ns)].publish(t, b, artifact.Normal))
	}
	ns.await(t, ids)
	ns.quiet(t)
	before := ns.traffic()
	flaps := times(1, 20)
	for range flaps {
		was := ns.traffic()
		// One end of each link is enough; no more than one link of a node's four at a time, or both ends cut the same.
		cut := 0
		for i, n := range ns {
			cut += n.cut(func(peer artifact.PeerID) bool { return int(peer[0])-1 > i })
		}
		require.Equal(t, swarmSize*swarmDegree/2, cut)
		until(t, func() bool { return ns.traffic().count.Resumed >= was.count.Resumed+uint64(2*cut) }, "%d sessions resumed", 2*cut)
		ns.settle(t)
		ns.quiet(t)
		per := float64(ns.traffic().wire) / float64(2*cut) // of the new bearers alone
		t.Logf("%d reconnects, %.0f bytes received at each end of one", cut, per)
		require.LessOrEqual(t, per, 4096/64*9+400.0)
	}
	after := ns.traffic()
	require.Equal(t, before.count.OfferedAgain, after.count.OfferedAgain, "ids offered again")
	require.Equal(t, before.count.OffersReceived, after.count.OffersReceived, "offers")
	require.Equal(t, before.bodies, after.bodies, "bodies received again")
	require.Equal(t, before.bytes, after.bytes)
	require.Equal(t, before.count.NotResumed, after.count.NotResumed)
	ns.close(t)
}

// TestFlapsMoveNoBodyTwice: bearers are cut again and again in the middle of everything, adverts only. What has come whole is never
// sent again.
func TestFlapsMoveNoBodyTwice(t *testing.T) {
	ns := newSwarm(t, swarmConfig{kinds: twoKinds(), node: artifact.Config{Slots: 4096}})
	rnd := rand.New(rand.NewPCG(6, 6))
	total := times(300, 10000)
	var ids []artifact.ID
	payload := 0
	for i := range total {
		b := body(uint64(i), 100+rnd.IntN(30000))
		b[len(b)-1] = byte(artifact.Normal)
		id, err := ns[i%len(ns)].hs[advertKind].Publish(b, artifact.Normal)
		require.NoError(t, err)
		ids = append(ids, id)
		payload += len(b) * (swarmSize - 1)
		if i%10 == 9 {
			ns[rnd.IntN(len(ns))].cut(func(artifact.PeerID) bool { return rnd.IntN(3) == 0 })
			time.Sleep(5 * time.Millisecond)
		}
	}
	for _, n := range ns {
		n.h = n.hs[advertKind]
	}
	ns.await(t, ids)
	x := ns.traffic()
	t.Logf("%d bodies for %d needed, %.4f bytes for each", x.bodies, total*(swarmSize-1), float64(x.bytes)/float64(payload))
	// A body comes twice only if its first supplier let a deadline pass.
	require.LessOrEqual(t, x.bodies, uint64(total*(swarmSize-1))+x.count.Timeouts)
	ns.close(t)
}
