package bearer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// swarm is nodes on loopback TCP, all of degree 7: the pass marks of artifact §9 are measured on it.
type swarm []*testNode

// swarmConfig is how a swarm is made; its zero value is 16 plain nodes.
type swarmConfig struct {
	kinds []artifact.Kind[[]byte]
	node  artifact.Config
	wrap  func(i int, c net.Conn) net.Conn // puts something around every connection of node i
}

const swarmSize, swarmDegree = 16, 7

// newSwarm starts 16 nodes, each connected to the three next to it on either side and to the one opposite, and waits until all bearers
// are up.
func newSwarm(t testing.TB, cfg swarmConfig) (ns swarm) {
	lns := make([]net.Listener, swarmSize)
	for i := range lns {
		lns[i] = listen(t, "127.0.0.1:0", cfg.wrapper(i))
	}
	for i := range lns {
		ns = append(ns, cfg.start(t, lns, i))
	}
	ns.settle(t)
	return ns
}

// start starts node i.
func (cfg *swarmConfig) start(t testing.TB, lns []net.Listener, i int) *testNode {
	const n = swarmSize
	acfg, bcfg := cfg.node, Config{Listener: lns[i], RedialMin: 20 * time.Millisecond, RedialMax: time.Second}
	if acfg.MaxPeers == 0 {
		acfg.MaxPeers = 16
	}
	if wrap := cfg.wrapper(i); wrap != nil {
		bcfg.Dial = wrappedDial(wrap)
	}
	dialled := []int{1, 2, 3}
	if i < n/2 {
		dialled = append(dialled, n/2)
	}
	for _, d := range dialled {
		bcfg.Peers = append(bcfg.Peers, lns[(i+d)%n].Addr().String())
	}
	return newTestNode(t, byte(i+1), acfg, bcfg, cfg.kinds...)
}

func (cfg *swarmConfig) wrapper(i int) func(net.Conn) net.Conn {
	if cfg.wrap == nil {
		return nil
	}
	return func(c net.Conn) net.Conn { return cfg.wrap(i, c) }
}

// until asks again and again until f is true, two minutes at most: these tests are about real sockets, and their time is real.
func until(t testing.TB, f func() bool, what string, args ...any) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: "+what, args...)
		}
	}
}

// up waits until a node has so many bearers.
func (x *testNode) up(t testing.TB, mains, bulks int) {
	t.Helper()
	until(t, func() bool { m, b := x.net.Bearers(); return m >= mains && b >= bulks }, "%d main and %d bulk bearers", mains, bulks)
}

// settle waits until all bearers are up.
func (ns swarm) settle(t testing.TB) {
	t.Helper()
	for _, x := range ns {
		x.up(t, swarmDegree, 2*swarmDegree)
	}
}

// spread publishes count bodies of a size, one after the other at each node in turn, with at most ahead of them under way, and
// waits until all are everywhere. What has been everywhere is forgotten, so that the tables stay small. tag tells the bodies of one
// call from those of another.
func (ns swarm) spread(t testing.TB, tag uint64, kind, size, count, ahead int, class artifact.Class) {
	ids := make([]artifact.ID, count)
	everywhere := func(i int) {
		for j, n := range ns {
			until(t, func() bool { return j == i%len(ns) || n.k.has(ids[i]) != nil }, "body %d of %d at node %d", i, count, j)
		}
	}
	forget := func(i int) {
		everywhere(i)
		for _, n := range ns {
			n.k.forget(ids[i])
			n.hs[kind].Abort(ids[i])
		}
	}
	for i := range count {
		if i >= ahead {
			forget(i - ahead)
		}
		b := make([]byte, size)
		binary.BigEndian.PutUint64(b, tag)
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		b[size-1] = byte(class)
		id, err := ns[i%len(ns)].hs[kind].Publish(b, class)
		require.NoError(t, err)
		ids[i] = id
	}
	for i := max(0, count-ahead); i < count; i++ {
		forget(i)
	}
}

// await waits until every node has all of them; the publisher of each counts as having it.
func (ns swarm) await(t testing.TB, ids []artifact.ID) {
	until(t, func() bool { return ns.missing(ids) == 0 }, "%d bodies at %d nodes", len(ids), len(ns))
}

func (ns swarm) missing(ids []artifact.ID) (n int) {
	for _, x := range ns {
		_ = x.h.Read(context.Background(), func(r artifact.Reader[[]byte]) {
			for _, id := range ids {
				if _, ok := r.Get(id); !ok {
					n++
				}
			}
		})
	}
	return n
}

// quiet waits until nothing has been received anywhere for a while: dispositions and what closes a table's books go out late.
func (ns swarm) quiet(t testing.TB) {
	deadline := time.Now().Add(time.Minute)
	// Dispositions wait a second for company.
	for was, same := ns.traffic(), 0; same < 8; {
		time.Sleep(150 * time.Millisecond)
		now := ns.traffic()
		if now.wire == was.wire {
			same++
		} else {
			same = 0
		}
		was = now
		if time.Now().After(deadline) {
			t.Fatal("the swarm does not come to rest")
		}
	}
}

// traffic is what a swarm has received since it was made.
type traffic struct {
	wire   uint64 // bytes on artifact mini-protocols, SDU headers included
	bodies uint64 // bodies that arrived whole, duplicates included
	bytes  uint64 // of bodies and manifests, whole or not
	count  artifact.Counters
}

func (ns swarm) traffic() (x traffic) {
	for _, n := range ns {
		c := n.Counters()
		x.wire += n.received()
		x.bodies += c.BodiesReceived
		x.bytes += c.BodyBytes
		x.count.OfferedAgain += c.OfferedAgain
		x.count.OffersReceived += c.OffersReceived + c.PushesReceived
		x.count.Violations += c.Violations
		x.count.Resumed += c.Resumed
		x.count.NotResumed += c.NotResumed
		x.count.Hedges += c.Hedges
		x.count.Timeouts += c.Timeouts
	}
	return x
}

// close closes all nodes, and reports violations and bans unless some of them lie.
func (ns swarm) close(t testing.TB) {
	for _, n := range ns {
		require.NoError(t, n.net.Close())
		require.NoError(t, n.Node.Close())
	}
	for _, n := range ns {
		require.Zero(t, n.Counters().Violations)
		require.Zero(t, n.bans)
	}
}

func (k *keeper) forget(id artifact.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, id)
	k.forgot[id] = true
}

// received is what has arrived at a node on artifact mini-protocols over the bearers it has now, SDU headers included.
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

// cut closes the connections of main bearers of a node that f names by the peer's id.
func (x *testNode) cut(f func(peer artifact.PeerID) bool) (n int) {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	for id, b := range x.net.mains {
		if f(id) {
			b.m.Abort(io.ErrUnexpectedEOF)
			n++
		}
	}
	return n
}

// sduConn shows every SDU that is written to a connection, before it is on its way. see may change the payload, of which it gets the
// part that this write has, and may block.
type sduConn struct {
	net.Conn
	see func(h mux.Header, payload []byte)

	mu   sync.Mutex
	head []byte
	h    mux.Header
	left int
}

// NetConn lets the multiplexer find the socket.
func (c *sduConn) NetConn() net.Conn { return c.Conn }

func (c *sduConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := append([]byte(nil), b...)
	for p := out; len(p) > 0; {
		if c.left == 0 {
			n := min(8-len(c.head), len(p))
			c.head, p = append(c.head, p[:n]...), p[n:]
			if len(c.head) < 8 {
				break
			}
			number := binary.BigEndian.Uint16(c.head[4:])
			c.h = mux.Header{Number: number &^ 0x8000, From: mux.Role(number >> 15), Length: binary.BigEndian.Uint16(c.head[6:])}
			c.head, c.left = c.head[:0], int(c.h.Length)
			continue
		}
		n := min(c.left, len(p))
		c.see(c.h, p[:n])
		c.left, p = c.left-n, p[n:]
	}
	return c.Conn.Write(out)
}

// listener puts something around every connection it accepts.
type listener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c = l.wrap(c)
	}
	return c, err
}

func listen(t testing.TB, addr string, wrap func(net.Conn) net.Conn) net.Listener {
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	if wrap != nil {
		ln = listener{ln, wrap}
	}
	return ln
}

func wrappedDial(wrap func(net.Conn) net.Conn) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			c = wrap(c)
		}
		return c, err
	}
}
