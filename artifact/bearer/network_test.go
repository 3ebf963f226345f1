package bearer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper is a Client that validates everything, and wants nothing again that it was told to forget.
type keeper struct {
	mu      sync.Mutex
	seen    map[artifact.ID][]byte
	forgot  map[artifact.ID]bool
	arrived func(artifact.ID) // nil: nobody asks
}

func (k *keeper) OnChange(r artifact.Reader[[]byte]) (out []artifact.Change[[]byte]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range r.Unvalidated() {
		k.seen[e.ID] = e.Value
		if k.arrived != nil {
			k.arrived(e.ID)
		}
		out = append(out, artifact.Change[[]byte]{Op: artifact.MoveToValidated, ID: e.ID})
	}
	return out
}

func (k *keeper) Bouncer(artifact.Reader[[]byte]) func(artifact.ID, []byte) artifact.Interest {
	return func(id artifact.ID, attr []byte) artifact.Interest {
		k.mu.Lock()
		defer k.mu.Unlock()
		switch {
		case k.forgot[id]:
			return artifact.NotWanted
		case len(attr) == 1 && attr[0] <= byte(artifact.Idle):
			return artifact.Wants(artifact.Class(attr[0]))
		}
		return artifact.Wants(artifact.Normal)
	}
}
func (k *keeper) Quota(artifact.PeerID) int64 { return 0 }

func (k *keeper) has(id artifact.ID) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen[id]
}

// testNode is a node on a network, and what was told about it.
type testNode struct {
	*artifact.Node
	k   *keeper
	h   *artifact.Handle[[]byte] // of the first kind
	hs  []*artifact.Handle[[]byte]
	net *Network
	id  artifact.PeerID
	at  string

	mu     sync.Mutex
	events []Event
	judged []error
	bans   int
}

func (x *testNode) Misbehaved(_ artifact.PeerID, _ int, ban time.Duration, cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ban > 0 {
		x.bans++
	}
	x.judged = append(x.judged, cause)
}

func (x *testNode) count(k EventKind) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

func (x *testNode) lastError(k EventKind) (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Kind == k {
			err = e.Err
		}
	}
	return err
}

func (x *testNode) blames() []error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]error(nil), x.judged...)
}

// newTestNode makes a node with 256 slots and room for 8 peers, unless acfg says otherwise; without kinds it has one, number 7.
func newTestNode(t testing.TB, id byte, acfg artifact.Config, cfg Config, kinds ...artifact.Kind[[]byte]) *testNode {
	x := &testNode{k: &keeper{seen: map[artifact.ID][]byte{}, forgot: map[artifact.ID]bool{}}, id: artifact.PeerID{id}}
	if len(kinds) == 0 {
		kinds = []artifact.Kind[[]byte]{{ID: 7, MaxSize: 8 << 20}}
	}
	var regs []artifact.Registration
	for _, k := range kinds {
		x.hs = append(x.hs, artifact.Register(artifact.BytesKind(k), artifact.Client[[]byte](x.k)))
		regs = append(regs, x.hs[len(x.hs)-1])
	}
	x.h = x.hs[0]
	acfg.NodeID, acfg.Seed = x.id, uint64(id)
	if acfg.Slots == 0 {
		acfg.Slots = 256
	}
	if acfg.MaxPeers == 0 {
		acfg.MaxPeers = 8
	}
	n, err := artifact.NewNode(acfg, x, regs...)
	require.NoError(t, err)
	cfg.Network = 42
	cfg.Notify = func(e Event) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.events = append(x.events, e)
	}
	x.Node = n
	x.net, err = New(n, cfg)
	require.NoError(t, err)
	if a := x.net.Addr(); a != nil {
		x.at = a.String()
	}
	return x
}

func (x *testNode) close(t *testing.T) {
	require.NoError(t, x.net.Close())
	require.NoError(t, x.Node.Close())
	mains, bulks := x.net.Bearers()
	require.Zero(t, mains+bulks)
	require.Empty(t, x.net.budgets)
	require.ErrorIs(t, x.net.Close(), artifact.ErrClosed)
}

func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func (x *testNode) publish(t testing.TB, b []byte, c artifact.Class) artifact.ID {
	id, err := x.h.Publish(b, c)
	require.NoError(t, err)
	return id
}

// world is a memnet with one host for each node.
type world struct {
	t     *testing.T
	net   *memnet.Network
	hosts map[byte]*memnet.Host
}

func newWorld(t *testing.T, latency time.Duration) *world {
	return &world{t: t, net: memnet.New(memnet.Config{Seed: 1, Link: memnet.Link{Latency: latency}}), hosts: map[byte]*memnet.Host{}}
}

func ip(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }

func (w *world) host(i byte) *memnet.Host {
	if w.hosts[i] == nil {
		w.hosts[i] = w.net.Host(ip(i))
	}
	return w.hosts[i]
}

func addr(i byte) string { return netip.AddrPortFrom(ip(i), 3001).String() }

// node starts node i, which dials peers.
func (w *world) node(i byte, acfg artifact.Config, cfg Config, peers ...byte) *testNode {
	ln, err := w.host(i).Listen(netip.AddrPortFrom(ip(i), 3001))
	require.NoError(w.t, err)
	cfg.Listener, cfg.Dial = ln, w.host(i).DialContext
	for _, p := range peers {
		cfg.Peers = append(cfg.Peers, addr(p))
	}
	return newTestNode(w.t, i, acfg, cfg)
}

func TestRingInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		var ns []*testNode
		for i := range 5 {
			ns = append(ns, w.node(byte(i+1), artifact.Config{}, Config{}, byte((i+1)%5+1), byte((i+4)%5+1)))
		}
		time.Sleep(10 * time.Second)
		for _, n := range ns {
			mains, bulks := n.net.Bearers()
			require.Equal(t, 2, mains)
			require.Equal(t, 4, bulks)
			require.Len(t, n.net.Peers(), 2)
		}
		want := map[artifact.ID][]byte{}
		for i, size := range []int{0, 1, 1024, 5000, 65536, 65537, 3 << 20} {
			b := body(uint64(i), size)
			want[ns[i%5].publish(t, b, artifact.Class(i%4))] = b
		}
		time.Sleep(20 * time.Second)
		for id, b := range want {
			held := 0
			for _, n := range ns {
				if got := n.k.has(id); got != nil {
					require.True(t, bytes.Equal(b, got))
					held++
				}
			}
			require.Equal(t, 4, held, "%d bytes", len(b))
		}
		for _, n := range ns {
			require.Zero(t, n.Counters().Violations)
			require.Empty(t, n.blames())
			for _, b := range n.net.mains {
				require.InDelta(t, 20*time.Millisecond, b.RTT(), float64(time.Millisecond))
			}
		}
		for _, n := range ns {
			n.close(t)
		}
		time.Sleep(5 * time.Second)
		require.Empty(t, w.net.Open())
	})
}

// TestTwoDialsLeaveOneBearer: whatever the timing, both ends keep the one main bearer that the smaller nodeId dialled (P16).
func TestTwoDialsLeaveOneBearer(t *testing.T) {
	for _, gap := range []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 30 * time.Millisecond, 45 * time.Millisecond, time.Second} {
		for first := range 2 {
			t.Run(fmt.Sprint(gap, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 10*time.Millisecond)
					var ns [2]*testNode
					for k := range 2 {
						i := byte((first+k)%2 + 1)
						if k == 1 {
							time.Sleep(gap)
						}
						ns[i-1] = w.node(i, artifact.Config{}, Config{}, 3-i)
					}
					time.Sleep(time.Minute)
					for _, n := range ns {
						mains, bulks := n.net.Bearers()
						require.Equal(t, 1, mains)
						require.Equal(t, 2, bulks)
						require.Empty(t, n.blames())
					}
					require.Equal(t, 3, w.net.Pairs(ip(1), ip(2)), "one main bearer and two bulk ones")
					id := ns[0].publish(t, body(1, 200000), artifact.Bulk)
					time.Sleep(5 * time.Second)
					require.NotNil(t, ns[1].k.has(id))
					ups := ns[0].count(PeerUp) + ns[1].count(PeerUp)
					time.Sleep(10 * time.Minute)
					require.Equal(t, ups, ns[0].count(PeerUp)+ns[1].count(PeerUp), "it stays as it is")
					ns[0].close(t)
					ns[1].close(t)
				})
			})
		}
	}
}

// TestLostBearersComeBack: cut main bearers are dialled again, and what was under way arrives.
func TestLostBearersComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		w.net.SetLinks(ip(1), ip(2), memnet.Link{Latency: 10 * time.Millisecond, Bandwidth: 1 << 20})
		a, b := w.node(1, artifact.Config{}, Config{}), w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(5 * time.Second)
		id := a.publish(t, body(1, 8<<20), artifact.Bulk)
		time.Sleep(time.Second)
		w.net.Partition(ip(1), ip(2)) // silence: keep-alive finds out
		time.Sleep(3 * time.Minute)
		require.Equal(t, 1, b.count(PeerDown))
		require.Equal(t, 1, a.count(PeerDown))
		require.Error(t, b.lastError(PeerDown))
		require.Nil(t, b.k.has(id))
		require.Positive(t, b.count(DialFailed))
		w.net.Heal(ip(1), ip(2))
		time.Sleep(2 * time.Minute)
		require.NotNil(t, b.k.has(id))
		require.Equal(t, 2, b.count(PeerUp))
		require.Zero(t, a.Counters().Violations+b.Counters().Violations)
		require.Zero(t, a.bans+b.bans, "silence is nobody's fault")
		a.close(t)
		b.close(t)
	})
}

// TestLostBulkBearers: a bulk bearer that dies is dialled again, its requests go elsewhere at once, and the session goes on.
func TestLostBulkBearers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		w.net.SetLinks(ip(1), ip(2), memnet.Link{Latency: 10 * time.Millisecond, Bandwidth: 1 << 20})
		a, b := w.node(1, artifact.Config{}, Config{}), w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(5 * time.Second)
		id := a.publish(t, body(1, 8<<20), artifact.Bulk)
		for range 3 {
			time.Sleep(1500 * time.Millisecond)
			a.net.mu.Lock()
			for _, x := range a.net.bulks {
				x.close(errors.New("cut by the test"))
			}
			a.net.mu.Unlock()
		}
		time.Sleep(30 * time.Second)
		require.NotNil(t, b.k.has(id))
		require.GreaterOrEqual(t, a.count(BulkUp), 4)
		require.Zero(t, a.count(PeerDown)+b.count(PeerDown))
		_, bulks := b.net.Bearers()
		require.Equal(t, 2, bulks)
		require.Zero(t, a.Counters().Violations+b.Counters().Violations)
		a.close(t)
		b.close(t)
	})
}

func TestNoBulkBearers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a, b := w.node(1, artifact.Config{BulkBearers: -1}, Config{}), w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(time.Second)
		id := a.publish(t, body(1, 1<<20), artifact.Bulk)
		time.Sleep(10 * time.Second)
		require.NotNil(t, b.k.has(id))
		_, bulks := b.net.Bearers()
		require.Zero(t, bulks)
		a.close(t)
		b.close(t)
	})
}

func TestRefusedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a := w.node(1, artifact.Config{MaxPeers: 1}, Config{}, 1) // dials itself
		b := w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(time.Second)
		c := w.node(3, artifact.Config{}, Config{}, 1)
		time.Sleep(2 * time.Minute)
		var e *RefusalError
		require.ErrorAs(t, a.lastError(DialFailed), &e)
		require.Equal(t, "self", e.Text)
		require.ErrorAs(t, c.lastError(DialFailed), &e)
		require.Equal(t, "no room", e.Text)
		require.Less(t, c.count(DialFailed), 20, "it backs off")
		require.Equal(t, 1, a.count(PeerUp))
		b.close(t)
		time.Sleep(time.Minute)
		require.Equal(t, 1, c.count(PeerUp), "there is room now")
		a.close(t)
		c.close(t)
	})
}

func TestSelfIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a := w.node(1, artifact.Config{}, Config{}, 1)
		time.Sleep(25 * time.Minute)
		require.Equal(t, 1, a.count(DialFailed))
		a.close(t)
	})
}

func TestSimultaneousOpenOfTwoSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		p1, p2 := netip.AddrPortFrom(ip(1), 9), netip.AddrPortFrom(ip(2), 9)
		hosts := [2]*memnet.Host{w.host(1), w.host(2)}
		own := [2]artifact.VersionData{{Network: 1, NodeID: artifact.PeerID{1}}, {Network: 1, NodeID: artifact.PeerID{2}}}
		var dialled [2]bool
		var wg sync.WaitGroup
		for i, at := range [2][2]netip.AddrPort{{p1, p2}, {p2, p1}} {
			wg.Go(func() {
				conn, err := hosts[i].Dial(t.Context(), at[0], at[1])
				if err == nil {
					_, dialled[i], err = propose(t.Context(), conn, own[i])
					conn.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, [2]bool{true, false}, dialled)
	})
}

// TestLoopback is the same over TCP.
func TestLoopback(t *testing.T) {
	var ns []*testNode
	for i := range 4 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		cfg := Config{Listener: ln}
		for _, p := range ns {
			cfg.Peers = append(cfg.Peers, p.at)
		}
		ns = append(ns, newTestNode(t, byte(i+1), artifact.Config{}, cfg))
	}
	ids := make([]artifact.ID, 40)
	for i := range ids {
		ids[i] = ns[i%4].publish(t, body(uint64(i), 1<<(i%22)), artifact.Class(i%4))
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	require.Eventually(t, func() bool {
		for i, id := range ids {
			for j, n := range ns {
				if i%4 != j && n.k.has(id) == nil {
					return ctx.Err() != nil
				}
			}
		}
		return true
	}, 40*time.Second, 10*time.Millisecond)
	require.NoError(t, ctx.Err())
	for _, n := range ns {
		require.Zero(t, n.Counters().Violations)
	}
	for _, n := range ns {
		n.close(t)
		require.Zero(t, n.bans)
	}
}

func TestNewRefusesBadAddresses(t *testing.T) {
	x := newTestNode(t, 1, artifact.Config{}, Config{})
	_, err := New(x.Node, Config{Peers: []string{"nowhere"}})
	require.Error(t, err)
	_, err = New(x.Node, Config{Peers: make([]string, 1025)})
	require.Error(t, err)
	x.close(t)
}

// TestRestartWithTheSameSeed: a node that starts anew begins to count anew, and its peers must not take its table for the old one, whatever
// its seed is.
func TestRestartWithTheSameSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		b := w.node(2, artifact.Config{}, Config{}, 1)
		a := w.node(1, artifact.Config{}, Config{})
		time.Sleep(5 * time.Second)
		var ids []artifact.ID
		for round := range uint64(5) { // registers are used again: their commits grow
			for _, id := range ids {
				a.h.Abort(id)
			}
			ids = nil
			for i := range uint64(5) {
				ids = append(ids, a.publish(t, body(10*round+i, 100), artifact.Normal))
			}
			time.Sleep(time.Second)
			for _, id := range ids {
				require.NotNil(t, b.k.has(id))
			}
		}
		a.close(t)
		a = w.node(1, artifact.Config{}, Config{})
		ids = nil
		for i := range uint64(100) { // commits are beyond the old ones, but not those of the same registers
			ids = append(ids, a.publish(t, body(1000+i, 100), artifact.Normal))
		}
		time.Sleep(10 * time.Second)
		require.Empty(t, b.blames())
		for _, id := range ids {
			require.NotNil(t, b.k.has(id))
		}
		a.close(t)
		b.close(t)
	})
}

// TestStreamsAreCountedByMiniProtocol: what one end sent the other has received, and bearers that have ended count.
func TestStreamsAreCountedByMiniProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a, b := w.node(1, artifact.Config{}, Config{}), w.node(2, artifact.Config{}, Config{}, 1)
		for round := range uint64(2) {
			time.Sleep(5 * time.Second)
			for i := range uint64(3) {
				a.publish(t, body(10*round+i, 200_000), artifact.Normal)
			}
			time.Sleep(5 * time.Second)
			out, in := a.net.Streams(), b.net.Streams()
			require.Len(t, in, len(out))
			bytes := map[uint16]uint64{}
			for i, s := range out {
				r := in[slices.IndexFunc(in, func(x mux.StreamCounters) bool { return x.Number == s.Number && x.Role != s.Role })]
				require.Equal(t, []uint64{s.BytesIn, s.BytesOut, s.SDUsIn, s.SDUsOut}, []uint64{r.BytesOut, r.BytesIn, r.SDUsOut, r.SDUsIn}, s.Number)
				bytes[s.Number] += s.BytesOut
				if i > 0 {
					require.True(t, out[i-1].Number < s.Number || out[i-1].Role < s.Role)
				}
			}
			require.GreaterOrEqual(t, bytes[artifact.NumBulk], (round+1)*600_000)
			for _, number := range []uint16{artifact.NumOffer, artifact.NumControl, artifact.NumJoin, keepalive.Number} {
				require.Positive(t, bytes[number], number)
			}
			a.Detach(b.id)
		}
		a.close(t)
		b.close(t)
	})
}
