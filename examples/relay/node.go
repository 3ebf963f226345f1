package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/follow"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/localstatequery"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// maxFollowed is how many peers that dialled us are followed in return.
const maxFollowed = 32

// nodeOptions are what a relay is told.
type nodeOptions struct {
	listen, socket, chain, mempool string
	peers                          []string
	magic                          uint64
	mempoolBytes                   int
}

// node is a relay with static peers.
type node struct {
	o       nodeOptions
	network connmgr.Network
	archive *chain.Archive // of -chain; nil without
	chain   *chain.Chain
	sync    *follow.Syncer
	pool    *mempool
	txs     *txsubmission.Inbound
	ln      *connmgr.Listener
	local   *connmgr.Listener // nil without -socket
	scratch string            // folder of the blocks that come in

	mu       sync.Mutex
	peers    map[netip.AddrPort]bool // that we are connected to by our own dialling
	followed int
	salt     maphash.Seed // for the order in which peers are shared
	salted   time.Time
}

// newNode opens everything that can fail before anything runs.
func newNode(ctx context.Context, o nodeOptions) (_ *node, err error) {
	n := &node{o: o, network: connmgr.Network(o.magic), peers: map[netip.AddrPort]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.scratch, err = os.MkdirTemp("", "relay-"); err != nil {
		return nil, err
	}
	if o.chain != "" {
		if n.archive, err = chain.Open(o.chain); err != nil {
			return nil, err
		}
	}
	if n.chain, err = chain.New(chain.Config{Dir: n.scratch, Base: n.archive, CheckBodies: true}); err != nil {
		return nil, err
	}
	n.sync = follow.New(n.chain, func(from string, p chain.Point, number uint64, bytes int) {
		slog.Debug("block", "from", from, "point", p.String(), "number", number, "bytes", bytes)
	})
	if n.pool, err = newMempool(o.mempool, o.mempoolBytes, n.chain); err != nil {
		return nil, err
	}
	n.txs = txsubmission.NewInbound(n.pool, txsubmission.Limits{})
	if n.ln, err = connmgr.Listen(ctx, o.listen, n.network, n.options()...); err != nil {
		return nil, err
	}
	if o.socket != "" {
		n.local, err = listenLocal(ctx, o.socket, n.network, connmgr.Serve(
			chainsync.LocalResponder(n.chain), localtxsubmission.Responder(n.pool),
			localtxmonitor.Responder(n.pool), localstatequery.Responder(ledger{n.chain})))
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

// options are those of every node-to-node connection, whoever dials.
func (n *node) options() []connmgr.Option {
	return []connmgr.Option{connmgr.WithDuplex(), connmgr.WithPeerSharing(), connmgr.Serve(n.responders()...)}
}

func (n *node) responders() []*protocols.MiniProtocol {
	return []*protocols.MiniProtocol{
		chainsync.Responder(n.chain), blockfetch.Responder(n.chain), n.txs.Responder(), peersharing.Responder(n),
	}
}

// saltFor is how long the answers to those who ask for peers stay the same (governor §3.7).
const saltFor = 823 * time.Second

// Shareable implements [peersharing.Sharer]: the peers that we dial and are connected to, in an order that is the same for everybody
// and changes with the salt, so that asking often maps no network.
func (n *node) Shareable(most int) []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.salted) > saltFor {
		n.salt, n.salted = maphash.MakeSeed(), time.Now()
	}
	rank := func(p netip.AddrPort) uint64 { return maphash.Comparable(n.salt, p) }
	out := slices.SortedFunc(maps.Keys(n.peers), func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b))
	})
	return out[:min(len(out), most)]
}

// run works until ctx ends.
func (n *node) run(ctx context.Context) error {
	slog.Info("listening", "addr", n.ln.Addr().String(), "magic", n.o.magic, "tip", n.chain.Tip().String())
	tasks, ctx := errgroup.WithContext(ctx)
	for _, addr := range n.o.peers {
		tasks.Go(func() error { n.keepDialling(ctx, addr); return nil })
	}
	tasks.Go(func() error {
		var inbound sync.WaitGroup
		defer inbound.Wait()
		return n.ln.Serve(ctx, func(c *connmgr.Conn) {
			slog.Info("accepted", "peer", c.RemoteAddr().String(), "version", c.Negotiated().Version, "duplex", c.Negotiated().Duplex())
			if c.Negotiated().Duplex() && n.followBack() {
				inbound.Go(func() { n.use(ctx, c); n.unfollow() })
			}
		})
	})
	if n.local != nil {
		tasks.Go(func() error { return n.local.Serve(ctx, nil) })
	}
	tasks.Go(func() error { return n.pool.run(ctx) })
	return tasks.Wait()
}

func (n *node) followBack() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.followed == maxFollowed {
		return false
	}
	n.followed++
	return true
}

func (n *node) unfollow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.followed--
}

// Pauses between two attempts to connect to a static peer: from the first to the last, doubling, and from the first again after a
// connection that has lasted.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	lasting    = 10 * time.Second
	dialWithin = 15 * time.Second
)

// keepDialling keeps a connection to a static peer.
func (n *node) keepDialling(ctx context.Context, addr string) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		dialling, cancel := context.WithTimeout(ctx, dialWithin)
		c, err := connmgr.Dial(dialling, addr, n.network, n.options()...)
		cancel()
		if err == nil {
			began := time.Now()
			slog.Info("connected", "peer", addr, "version", c.Negotiated().Version, "duplex", c.Negotiated().Duplex())
			n.connected(c, true)
			err = n.use(ctx, c)
			n.connected(c, false)
			if time.Since(began) > lasting {
				pause = firstPause
			}
		}
		if ctx.Err() != nil {
			return
		}
		slog.Warn("no connection", "peer", addr, "err", err, "again in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (n *node) connected(c *connmgr.Conn, up bool) {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if up {
		n.peers[tcp.AddrPort()] = true
	} else {
		delete(n.peers, tcp.AddrPort())
	}
}

// use runs our initiators on a connection until it ends or ctx does, and closes it.
func (n *node) use(ctx context.Context, c *connmgr.Conn) error {
	p := n.sync.Peer(c.RemoteAddr().String())
	tasks, running := errgroup.WithContext(ctx)
	tasks.Go(func() error { return p.ChainSync(running, chainsync.NewClient(c)) })
	tasks.Go(func() error { return p.BlockFetch(running, blockfetch.NewClient(c)) })
	tasks.Go(func() error { return txsubmission.Offer(running, c, n.pool) })
	err := tasks.Wait()
	var none *chainsync.NoIntersectionError
	if errors.As(err, &none) {
		slog.Info("peer has another chain", "peer", c.RemoteAddr().String(), "tip", none.Tip.String())
	}
	if ctx.Err() == nil {
		c.Abort(err)
	}
	return errors.Join(err, c.Close())
}

// close gives back what newNode opened; what is nil was not.
func (n *node) close() error {
	var errs []error
	if n.local != nil {
		errs = append(errs, n.local.Close())
	}
	if n.ln != nil {
		errs = append(errs, n.ln.Close())
	}
	if n.chain != nil {
		errs = append(errs, n.chain.Close())
	}
	if n.archive != nil {
		errs = append(errs, n.archive.Close())
	}
	if n.scratch != "" {
		errs = append(errs, os.RemoveAll(n.scratch))
	}
	return errors.Join(errs...)
}

// listenLocal listens on a Unix socket for whoever may read and write it: this user and its group. A socket file that nobody
// listens on any more is removed first; any other file is left alone.
func listenLocal(ctx context.Context, path string, network connmgr.Network, opts ...connmgr.Option) (*connmgr.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is no socket", path)
		}
		c, err := net.DialTimeout("unix", path, time.Second)
		switch {
		case err == nil:
			return nil, errors.Join(fmt.Errorf("%s: another process listens there", path), c.Close())
		case !errors.Is(err, syscall.ECONNREFUSED): // perhaps we may only not connect to it
			return nil, fmt.Errorf("%s exists, and whether another process listens there is unknown: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := connmgr.ListenLocal(ctx, path, network, opts...)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}
