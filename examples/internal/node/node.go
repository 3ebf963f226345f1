// Package node is a complete governed node, composed of the public packages as any host would: roots given in code, governor,
// connection manager, all node-to-node mini-protocols. It follows its hot peers and no others, relays blocks and transactions,
// shares peers, and keeps its chain, its mempool and the peers it knows on disk.
package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
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
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
	"github.com/hearthnet/hearth/topology"
)

// Config of a node.
type Config struct {
	Name     string // in metrics
	Network  connmgr.Network
	Listener net.Listener // on TCP, of [connmgr.ListenTCP]; the node owns it
	Dir      string       // of this node alone: chain, mempool and peers are kept there
	Topology *topology.Topology
	// Governor has targets, timing and seed; the node fills in its log and its peer store.
	Governor governor.Config
	Timeouts connmgr.Timeouts
	// MempoolBytes bounds the transactions held; when it is full no new ones are asked for. Default 16 MiB.
	MempoolBytes int
	// Bearer wraps sockets, see [connmgr.Config]; may be nil.
	Bearer func(ctx context.Context, socket net.Conn, dialled bool) (net.Conn, error)
	// Adopted is told of every block that a peer gave and that extends the chain; may be nil.
	Adopted func(p chain.Point)
	// Decided is told what the governor does; it must not block; may be nil.
	Decided func(Event)
}

// Node runs from Start to Close.
type Node struct {
	cfg     Config
	addr    netip.AddrPort
	chain   *chain.Chain
	sync    *follow.Syncer
	pool    *Mempool
	roots   *topology.Provider
	manager *connmgr.Manager
	gov     *governor.Governor
	tally   metrics.Tally

	stop    context.CancelFunc
	running sync.WaitGroup
	err     error // of the governor, once running is over
}

// Start opens what is on disk and begins to serve and to connect.
func Start(cfg Config) (_ *Node, err error) {
	n := &Node{cfg: cfg, addr: cfg.Listener.Addr().(*net.TCPAddr).AddrPort()}
	defer func() {
		if err != nil {
			err = errors.Join(err, cfg.Listener.Close(), n.Close())
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o777); err != nil {
		return nil, err
	}
	if n.chain, err = chain.New(chain.Config{Dir: filepath.Join(cfg.Dir, "chain"), CheckBodies: true}); err != nil {
		return nil, err
	}
	if n.pool, err = OpenMempool(filepath.Join(cfg.Dir, "mempool"), cfg.MempoolBytes); err != nil {
		return nil, err
	}
	n.sync = follow.New(n.chain, n.adopted)
	if n.roots, err = topology.NewProvider(cfg.Topology, topology.ProviderConfig{Magic: uint32(cfg.Network), Seed: cfg.Governor.Seed}); err != nil {
		return nil, err
	}
	n.manager, err = connmgr.NewManager(connmgr.Config{
		Network: cfg.Network, Local: []netip.AddrPort{n.addr}, PeerSharing: cfg.Governor.PeerSharing, Seed: cfg.Governor.Seed,
		Timeouts: cfg.Timeouts, Bearer: cfg.Bearer, PerConnection: n.initiators,
		Banned: func(a netip.AddrPort) bool { return n.gov.Banned(a) },
		Protocols: []*protocols.MiniProtocol{
			chainsync.Responder(n.chain), blockfetch.Responder(n.chain), peersharing.Responder(n),
			txsubmission.NewInbound(n.pool, txsubmission.Limits{}).Responder(), txsubmission.Initiator(n.pool),
		},
	})
	if err != nil {
		return nil, err
	}
	gov := cfg.Governor
	gov.StorePath, gov.Self = filepath.Join(cfg.Dir, "peers"), []netip.AddrPort{n.addr}
	gov.Log = slog.New(&recorder{report: cfg.Decided})
	if n.gov, err = governor.New(gov, n.manager, n.roots, nil); err != nil {
		return nil, err
	}
	if err = n.manager.Serve(cfg.Listener); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.running.Go(func() { n.err = n.gov.Run(ctx) })
	n.running.Go(func() { n.measure(ctx) })
	return n, nil
}

// initiators are started on this connection while its peer is hot.
func (n *Node) initiators(id connmgr.ConnID, _ protocols.Negotiated) []*protocols.MiniProtocol {
	p := n.sync.Peer(id.Remote.String())
	return []*protocols.MiniProtocol{chainsync.Initiator(p.ChainSync), blockfetch.Initiator(p.BlockFetch)}
}

func (n *Node) adopted(from string, p chain.Point, _ uint64, bytes int) {
	if peer, err := netip.ParseAddrPort(from); err == nil {
		n.gov.Fetched(peer, p.Slot, bytes)
	}
	if n.cfg.Adopted != nil {
		n.cfg.Adopted(p)
	}
}

// measure tells the governor how far its peers are, and keeps count of the traffic, until ctx ends.
func (n *Node) measure(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		conns := n.manager.Connections()
		n.tally.Look(conns)
		for _, c := range conns {
			if c.Latency > 0 {
				n.gov.Measured(c.Conn.Remote, c.Latency)
			}
		}
	}
}

// Close stops the node: the governor first, which saves its peers, then all connections in good order. Nothing is left running.
func (n *Node) Close() error {
	var errs []error
	if n.stop != nil {
		n.stop()
		n.running.Wait()
		if !errors.Is(n.err, context.Canceled) {
			errs = append(errs, n.err)
		}
	}
	if n.manager != nil {
		errs = append(errs, n.manager.Close())
	}
	if n.roots != nil {
		n.roots.Close()
	}
	if n.chain != nil {
		errs = append(errs, n.chain.Close())
	}
	return errors.Join(errs...)
}

// Addr is where the node listens.
func (n *Node) Addr() netip.AddrPort { return n.addr }

// Chain is what the node has of the chain.
func (n *Node) Chain() *chain.Chain { return n.chain }

// Mempool is what the node has of transactions.
func (n *Node) Mempool() *Mempool { return n.pool }

// Governor decides whom the node is connected to.
func (n *Node) Governor() *governor.Governor { return n.gov }

// Connections describes all connections.
func (n *Node) Connections() []connmgr.Info { return n.manager.Connections() }

// Shareable implements [peersharing.Sharer].
func (n *Node) Shareable(max int) []netip.AddrPort { return n.gov.Shareable(max) }

// Metrics are the node's counters.
func (n *Node) Metrics() metrics.Node {
	g, k, v := n.gov.Counters(), n.manager.Counters(), n.chain.View()
	txs, bytes := n.pool.Len()
	return metrics.Node{Name: n.cfg.Name, Governor: &g, Connections: &k, Traffic: n.tally.Look(n.manager.Connections()),
		Host: &metrics.Host{Blocks: v.Len(), Slot: v.Tip().Slot, Transactions: txs, MempoolBytes: bytes}}
}
