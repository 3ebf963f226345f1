package bearer

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/mux"
)

// Config is how a Network is made. The zero value of a field means its default.
type Config struct {
	// Network must be the same at both ends of every connection; 0 is a network like any other.
	Network uint32
	// Listener accepts peers; the Network owns it. Nil: nobody can connect.
	Listener net.Listener
	// Peers are addresses, host:port, to which a main bearer is kept. At most 1,024.
	Peers []string
	// Dial opens connections; nil: TCP with keep-alive probes every 15 s, from an ephemeral port.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Identify tells the nodeId that a connection proves (artifact §6.2, Identity: on TLS the first 16 bytes of SHA-256 over the
	// peer's SubjectPublicKeyInfo). It runs when the handshake is done; nil: nodeIds are claims.
	Identify func(net.Conn) (artifact.PeerID, error)
	// MaxHandshakes bounds connections that have not negotiated; 64.
	MaxHandshakes int
	// DialTimeout is for a connection and its handshake; 10 s.
	DialTimeout time.Duration
	// RedialMin and RedialMax are the first and the longest pause before a peer is dialled again; 250 ms and 30 s. The pause
	// doubles each time and up to half of it is left out at random.
	RedialMin, RedialMax time.Duration
	// KeepAlive is the time between a keep-alive response and the next request; 10 s.
	KeepAlive time.Duration
	// Notify is told what happens. It must not block; nil: nobody is.
	Notify func(Event)
}

const maxStaticPeers = 1024

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.MaxHandshakes <= 0 {
		c.MaxHandshakes = 64
	}
	def(&c.DialTimeout, 10*time.Second)
	def(&c.RedialMin, 250*time.Millisecond)
	def(&c.RedialMax, 30*time.Second)
	def(&c.KeepAlive, 10*time.Second)
	if c.Dial == nil {
		d := &net.Dialer{KeepAlive: 15 * time.Second}
		c.Dial = d.DialContext
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	return c
}

// EventKind says what an Event is.
type EventKind uint8

// What a Network tells.
const (
	PeerUp     EventKind = iota // a main bearer is up
	PeerDown                    // it has ended, because of Err; nil: in good order
	BulkUp                      // a bulk bearer of the peer has joined
	DialFailed                  // a static peer could not be reached, because of Err
	Rejected                    // somebody who connected was not let in, because of Err
	Duplicate                   // a main bearer that was not kept
)

// String returns the kind in words, such as "peer up" or "dial failed".
func (k EventKind) String() string {
	return [...]string{"peer up", "peer down", "bulk bearer up", "dial failed", "rejected", "duplicate"}[min(k, Duplicate)]
}

// Event is something a host may want to log.
type Event struct {
	Kind    EventKind
	Peer    artifact.PeerID // zero where it is not known
	Addr    string          // of the other end, or as it was dialled
	Dialled bool            // we dialled
	Err     error
}

// Network runs the bearers of a node. All methods may be called from any goroutine.
type Network struct {
	node   *artifact.Node
	cfg    Config
	limits artifact.Config
	own    artifact.VersionData

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	mains   map[artifact.PeerID]*mainBearer
	changed chan struct{} // closed and made anew when a main bearer has gone
	bulks   map[bulkKey]*bulkBearer
	budgets map[artifact.PeerID]*budget
	door    []*visitor // have not negotiated, oldest first
	muxes   map[*mux.Mux]struct{}
	past    [2]uint64    // bytes in and out of those that have ended
	streams streamTotals // and what their streams carried
}

// New starts a network for a node. Close ends it, before the node's own Close.
func New(node *artifact.Node, cfg Config) (*Network, error) {
	if len(cfg.Peers) > maxStaticPeers {
		return nil, errors.New("artifact: more than 1024 static peers")
	}
	for _, p := range cfg.Peers {
		if _, _, err := net.SplitHostPort(p); err != nil {
			return nil, err
		}
	}
	n := &Network{
		node: node, cfg: cfg.withDefaults(), limits: node.Config(), changed: make(chan struct{}),
		muxes: map[*mux.Mux]struct{}{}, streams: streamTotals{}, mains: map[artifact.PeerID]*mainBearer{}, bulks: map[bulkKey]*bulkBearer{}, budgets: map[artifact.PeerID]*budget{},
	}
	n.own = artifact.VersionData{Network: cfg.Network, NodeID: n.limits.NodeID}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if cfg.Listener != nil {
		n.tasks.Go(func() { n.accept(cfg.Listener) })
	}
	for _, p := range cfg.Peers {
		n.tasks.Go(func() { n.keepPeer(p) })
	}
	return n, nil
}

// Addr is where the network listens; nil without a listener.
func (n *Network) Addr() net.Addr {
	if n.cfg.Listener == nil {
		return nil
	}
	return n.cfg.Listener.Addr()
}

// Close ends all bearers in good order, within about 2 s, and waits for everything that runs.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return artifact.ErrClosed
	}
	n.closed = true
	door := n.door
	n.door = nil
	var all []artifact.PeerID
	for id := range n.mains {
		all = append(all, id)
	}
	n.mu.Unlock()
	var err error
	if n.cfg.Listener != nil {
		err = n.cfg.Listener.Close()
	}
	for _, v := range door {
		_ = v.conn.Close()
	}
	for _, id := range all {
		n.node.Detach(id)
	}
	n.cancel()
	n.tasks.Wait()
	return err
}

// Peers returns the peers that have a main bearer, in no order.
func (n *Network) Peers() (ids []artifact.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.mains {
		ids = append(ids, id)
	}
	return ids
}

// Bearers counts main and bulk bearers that are up.
func (n *Network) Bearers() (mains, bulks int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mains), len(n.bulks)
}

// Traffic returns how many bytes have been read and written so far on all bearers, after their handshakes; SDU headers and keep-alive
// are included.
func (n *Network) Traffic() (in, out uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	in, out = n.past[0], n.past[1]
	for m := range n.muxes {
		i, o := m.Traffic()
		in, out = in+i, out+o
	}
	return in, out
}

// newMux makes the multiplexer of a bearer, whose bytes count; ended when it is closed.
func (n *Network) newMux(conn net.Conn, c mux.Config) *mux.Mux {
	m := mux.New(conn, c)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.muxes[m] = struct{}{}
	return m
}

func (n *Network) ended(m *mux.Mux) {
	in, out := m.Traffic()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.muxes, m)
	n.past[0], n.past[1] = n.past[0]+in, n.past[1]+out
	n.streams.add(m.Counters())
}

// enter adds a task unless the network is closing; the caller calls tasks.Done.
func (n *Network) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Add(1)
	return true
}

func (n *Network) note(e Event) { n.cfg.Notify(e) }

// identify checks a claimed nodeId against what the connection proves.
func (n *Network) identify(conn net.Conn, claimed artifact.PeerID) (authenticated bool, err error) {
	if n.cfg.Identify == nil {
		return false, nil
	}
	id, err := n.cfg.Identify(conn)
	if err == nil && id != claimed {
		err = &HandshakeError{errors.New("the nodeId is not that of the key")}
	}
	return err == nil, err
}

// run attaches a main bearer whose handshake is done and returns when it has ended: nil in good order. up is called when it is
// attached.
func (n *Network) run(conn net.Conn, peer artifact.VersionData, dialler bool, up func()) error {
	auth, err := n.identify(conn, peer.NodeID)
	if err != nil {
		_ = conn.Close()
		return err
	}
	b, err := n.newMain(conn, peer.NodeID)
	if err != nil {
		return err
	}
	e := Event{Kind: PeerUp, Peer: peer.NodeID, Addr: b.addr, Dialled: dialler}
	info := artifact.PeerInfo{ID: peer.NodeID, Addr: addrOf(conn), Dialler: dialler, Authenticated: auth}
	err = n.node.Attach(info, b.links, b)
	switch {
	case errors.Is(err, artifact.ErrDuplicate):
		e.Kind = Duplicate
		n.note(e)
		if dialler {
			b.drop(nil) // nothing is owed: our init was not sent
		} else {
			b.refuseInit(n.ctx, handshakeLimit)
		}
		return err
	case err != nil:
		b.drop(err)
		return err
	}
	if !n.setMain(b) {
		n.node.Detach(peer.NodeID)
	}
	b.start()
	n.node.Start(peer.NodeID)
	n.note(e)
	up()
	err = b.keep()
	n.unsetMain(b)
	e.Kind, e.Err = PeerDown, err
	n.note(e)
	return err
}

// setMain says that a main bearer is the peer's. False: the network is closed.
func (n *Network) setMain(b *mainBearer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.mains[b.peer] = b
	return true
}

func (n *Network) unsetMain(b *mainBearer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mains[b.peer] == b {
		delete(n.mains, b.peer)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// awaitGone returns when there is no main bearer to a peer.
func (n *Network) awaitGone(peer artifact.PeerID) {
	for {
		n.mu.Lock()
		_, up := n.mains[peer]
		changed := n.changed
		n.mu.Unlock()
		if !up {
			return
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
			return
		}
	}
}
