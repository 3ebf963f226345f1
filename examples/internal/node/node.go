// Package node is a complete governed node, composed of the public packages as any host would: topology, governor, connection
// manager, all mini-protocols. It follows its hot peers and no others, relays blocks and transactions, shares peers, answers local
// clients, and keeps its chain, its mempool and the peers it knows on disk.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/follow"
	"github.com/hearthnet/hearth/examples/metrics"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/localstatequery"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
	"github.com/hearthnet/hearth/topology"
)

// goodbye is how long a node that closes waits for its mini-protocols to come to an end. The close itself takes 2 s at most.
const goodbye = time.Second

// Config of a node.
type Config struct {
	Name      string // in metrics; may be empty
	Network   connmgr.Network
	Listeners []net.Listener // for nodes, of [connmgr.ListenTCP], at most one of a family; none if the governor is initiator-only
	Local     net.Listener   // for local clients, on a Unix socket; may be nil
	Topology  *topology.Topology
	Roots     topology.ProviderConfig // the node fills in the network's magic
	// Governor is a preset, with what is to be different. The node fills in its own addresses and the log.
	Governor governor.Config
	Timeouts connmgr.Timeouts
	Chain    chain.Config
	Mempool  MempoolConfig
	// Bearer wraps sockets, see [connmgr.Config]; may be nil.
	Bearer func(ctx context.Context, socket net.Conn, dialled bool) (net.Conn, error)

	// Log gets what the governor and the node say; nil: errors only, to the program's log.
	Log *slog.Logger
	// Decided is told what the governor does, Adopted of every block that a peer gave and that extends the chain, Moved of every change
	// of a connection's state, Refused of every connection that a limit has cost. They must not block; each may be nil.
	Decided func(Event)
	Adopted func(Block)
	Moved   func(connmgr.Transition)
	Refused func(*connmgr.Refusal)
}

// Block is a block that a peer gave.
type Block struct {
	From   string // the peer
	Point  chain.Point
	Number uint64
	Bytes  int
}

// Node runs from Start to Close.
type Node struct {
	cfg     Config
	chain   *chain.Chain
	sync    *follow.Syncer
	pool    *Mempool
	roots   *topology.Provider
	manager *connmgr.Manager
	local   *connmgr.Manager // nil without local clients
	gov     *governor.Governor
	tally   metrics.Tally // of manager
	locals  metrics.Tally // of local

	topology *topology.Topology // in force

	stop    context.CancelFunc
	running sync.WaitGroup
	failed  chan error // the first failure that the node cannot go on with
}

// Start opens what is on disk and begins to serve and to connect. The node owns the listeners, whatever comes of it.
func Start(cfg Config) (_ *Node, err error) {
	n := &Node{cfg: cfg, topology: cfg.Topology, failed: make(chan error, 1)}
	listeners := cfg.Listeners
	if cfg.Local != nil {
		listeners = append(listeners[:len(listeners):len(listeners)], cfg.Local)
	}
	defer func() {
		if err != nil {
			for _, ln := range listeners { // those that nobody serves
				err = errors.Join(err, ln.Close())
			}
			err = errors.Join(err, n.Close())
		}
	}()
	if n.chain, err = chain.New(cfg.Chain); err != nil {
		return nil, err
	}
	if n.pool, err = OpenMempool(cfg.Mempool); err != nil {
		return nil, err
	}
	n.sync = follow.New(n.chain, follow.Hooks{Announced: n.announced, Adopted: n.adopted})
	cfg.Roots.Magic = uint32(cfg.Network)
	if n.roots, err = topology.NewProvider(cfg.Topology, cfg.Roots); err != nil {
		return nil, err
	}
	if n.manager, err = connmgr.NewManager(n.nodeToNode()); err != nil {
		return nil, err
	}
	if cfg.Local != nil {
		if n.local, err = connmgr.NewManager(n.nodeToClient()); err != nil {
			return nil, err
		}
	}
	gov := cfg.Governor
	gov.Self, gov.Log = n.Addrs(), slog.New(&recorder{cfg.Decided, cfg.Log})
	if n.gov, err = governor.New(gov, n.manager, n.roots, nil); err != nil {
		return nil, err
	}
	for len(listeners) > 0 {
		m, ln := n.manager, listeners[0]
		if ln == cfg.Local {
			m = n.local
		}
		if err = m.Serve(ln); err != nil {
			return nil, err
		}
		listeners = listeners[1:]
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.running.Go(func() {
		if err := n.gov.Run(ctx); err != nil && ctx.Err() == nil {
			n.fail(err)
		}
	})
	n.running.Go(func() { n.count(ctx) })
	n.running.Go(func() { n.pool.Run(ctx) })
	return n, nil
}

// nodeToNode is the configuration of connections with other nodes.
func (n *Node) nodeToNode() connmgr.Config {
	c := connmgr.Config{
		Network: n.cfg.Network, Local: n.Addrs(), InitiatorOnly: n.cfg.Governor.InitiatorOnly, PeerSharing: n.cfg.Governor.PeerSharing,
		Seed: n.cfg.Governor.Seed, Timeouts: n.cfg.Timeouts, Bearer: n.cfg.Bearer, PerConnection: n.initiators, Trace: n.cfg.Moved,
		Protected: n.roots.IsLocalRoot, Refused: n.cfg.Refused, Fatal: n.fail,
		Banned:    func(peer netip.AddrPort) bool { return n.gov.Banned(peer) }, // the governor comes after the manager
		RoundTrip: func(peer netip.AddrPort, d time.Duration) { n.gov.Measured(peer, d) },
		Protocols: []*protocols.MiniProtocol{txsubmission.Initiator(n.pool)},
	}
	if !c.InitiatorOnly {
		c.Protocols = append(c.Protocols, chainsync.Responder(n.chain), blockfetch.Responder(n.chain),
			txsubmission.NewInbound(n.pool, txsubmission.Limits{}).Responder())
	}
	if c.PeerSharing {
		c.Protocols = append(c.Protocols, peersharing.Responder(n))
	}
	return c
}

// nodeToClient is that of connections with local clients.
func (n *Node) nodeToClient() connmgr.Config {
	return connmgr.Config{
		Network: n.cfg.Network, NodeToClient: true, Fatal: n.fail,
		Protocols: []*protocols.MiniProtocol{
			chainsync.LocalResponder(n.chain), localtxsubmission.Responder(n.pool), localtxmonitor.Responder(monitor{n.pool, n.chain}),
			localstatequery.Responder(ledger{n.chain}),
		},
	}
}

// initiators are started on this connection while its peer is hot.
func (n *Node) initiators(id connmgr.ConnID, _ protocols.Negotiated) []*protocols.MiniProtocol {
	p := n.sync.Peer(id.Remote.String())
	chainSync := chainsync.Initiator(func(ctx context.Context, c *chainsync.Client) error {
		err := p.ChainSync(ctx, c)
		var elsewhere *connmgr.Outcome
		if errors.As(err, &elsewhere) && n.cfg.Log != nil {
			n.cfg.Log.Info("peer is on another chain", "peer", id.Remote, "outcome", elsewhere.Name)
		}
		return err
	})
	if n.roots.IsTrustable(id.Remote) {
		chainSync = chainsync.Trusted(chainSync)
	}
	return []*protocols.MiniProtocol{chainSync, blockfetch.Initiator(p.BlockFetch)}
}

// announced and adopted tell the governor who is first (governor §5).
func (n *Node) announced(from string, p chain.Point) {
	if peer, err := netip.ParseAddrPort(from); err == nil {
		n.gov.Announced(peer, p.Slot)
	}
}

func (n *Node) adopted(from string, p chain.Point, number uint64, bytes int) {
	if peer, err := netip.ParseAddrPort(from); err == nil {
		n.gov.Fetched(peer, p.Slot, bytes)
	}
	if n.cfg.Adopted != nil {
		n.cfg.Adopted(Block{from, p, number, bytes})
	}
}

// count keeps count of the traffic, until ctx ends.
func (n *Node) count(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			n.traffic()
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) traffic() []metrics.Traffic {
	all := n.tally.Look(n.manager.Connections())
	if n.local != nil {
		all = append(all, n.locals.Look(n.local.Connections())...)
	}
	return all
}

// fail notes a failure that the node cannot go on with: of its storage, of its listeners, of the governor (governor §11). All others
// cost one connection.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default: // one is enough
	}
}

// Wait returns when ctx ends, or with an error when the node cannot go on. Either way it is still to be closed.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case err := <-n.failed:
		return fmt.Errorf("fatal: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// Changes says what a topology would change.
func (n *Node) Changes(t *topology.Topology) topology.Changes { return topology.Diff(n.topology, t) }

// Apply makes another topology count. Connections that it does not change stay. It is called by one goroutine at a time, as Changes is.
func (n *Node) Apply(t *topology.Topology) {
	n.roots.Apply(t)
	n.topology = t
}

// Close stops the node: the governor first, which saves its peers; then all connections are told goodbye and closed. It takes 4 s at
// most. Nothing is left running.
func (n *Node) Close() error {
	var errs []error
	if n.stop != nil {
		n.stop()
		n.running.Wait()
	}
	var closing sync.WaitGroup
	if n.local != nil {
		closing.Go(func() { _ = n.local.Close() }) // always nil, as the next one
	}
	if n.manager != nil {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		_ = n.manager.Shutdown(ctx)
	}
	closing.Wait()
	if n.roots != nil {
		n.roots.Close()
	}
	if n.chain != nil {
		errs = append(errs, n.chain.Close())
	}
	return errors.Join(errs...)
}

// Addrs is where the node listens.
func (n *Node) Addrs() []netip.AddrPort {
	var all []netip.AddrPort
	for _, ln := range n.cfg.Listeners {
		all = append(all, ln.Addr().(*net.TCPAddr).AddrPort())
	}
	return all
}

// Chain is what the node has of the chain.
func (n *Node) Chain() *chain.Chain { return n.chain }

// Mempool is what the node has of transactions.
func (n *Node) Mempool() *Mempool { return n.pool }

// Governor decides whom the node is connected to.
func (n *Node) Governor() *governor.Governor { return n.gov }

// Connections describes all connections with other nodes.
func (n *Node) Connections() []connmgr.Info { return n.manager.Connections() }

// Shareable implements [peersharing.Sharer].
func (n *Node) Shareable(max int) []netip.AddrPort { return n.gov.Shareable(max) }

// Metrics are the node's counters.
func (n *Node) Metrics() metrics.Node {
	g, k, v := n.gov.Counters(), n.manager.Counters(), n.chain.View()
	txs, bytes := n.pool.Len()
	m := metrics.Node{Name: n.cfg.Name, Governor: &g, Connections: &k, Traffic: n.traffic(),
		Host: &metrics.Host{Blocks: v.Len(), Slot: v.Tip().Slot, Transactions: txs, MempoolBytes: bytes}}
	if n.local != nil {
		l := n.local.Counters()
		m.Local = &l
	}
	return m
}
