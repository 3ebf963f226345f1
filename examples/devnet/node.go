package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/follow"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// devMagic is the network magic of local networks.
const devMagic = connmgr.Network(42)

// node serves its chain, follows its neighbours and relays what it gets.
type node struct {
	id    int
	chain *chain.Chain
	sync  *follow.Syncer
	ln    *connmgr.Listener
	peers []string // addresses that this node dials
}

func newNode(id int, dir string, adopted func(node int, p chain.Point)) (*node, error) {
	c, err := chain.New(chain.Config{Dir: fmt.Sprintf("%s/node%03d", dir, id), CheckBodies: true})
	if err != nil {
		return nil, err
	}
	n := &node{id: id, chain: c}
	n.sync = follow.New(c, func(_ string, p chain.Point, _ uint64, _ int) { adopted(id, p) })
	n.ln, err = connmgr.Listen(context.Background(), "127.0.0.1:0", devMagic,
		connmgr.Serve(chainsync.Responder(c), blockfetch.Responder(c)))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return n, nil
}

// run works until ctx ends, and has closed every connection when it returns.
func (n *node) run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, addr := range n.peers {
		tasks.Go(func() { n.keepDialling(ctx, addr) })
	}
	err := n.ln.Serve(ctx, func(c *connmgr.Conn) {
		tasks.Go(func() { n.use(ctx, c) })
	})
	return errors.Join(err, n.ln.Close())
}

// keepDialling keeps a connection to a neighbour.
func (n *node) keepDialling(ctx context.Context, addr string) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		c, err := connmgr.Dial(ctx, addr, devMagic, connmgr.WithDuplex(),
			connmgr.Serve(chainsync.Responder(n.chain), blockfetch.Responder(n.chain)))
		if err == nil {
			pause = 50 * time.Millisecond
			n.use(ctx, c)
			err = c.Err()
		}
		if ctx.Err() != nil {
			return
		}
		slog.Warn("connection lost", "node", n.id, "peer", addr, "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// use follows the other end of a connection, whoever dialled it, until either ends.
func (n *node) use(ctx context.Context, c *connmgr.Conn) {
	p := n.sync.Peer(c.RemoteAddr().String())
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return p.ChainSync(ctx, chainsync.NewClient(c)) })
	tasks.Go(func() error { return p.BlockFetch(ctx, blockfetch.NewClient(c)) })
	err := tasks.Wait()
	if ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		c.Abort(err)
	}
	_ = c.Close() // its error is the connection's own
}

func (n *node) close() error { return n.chain.Close() }
