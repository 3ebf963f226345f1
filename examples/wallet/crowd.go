package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/topology"
)

// crowd is the peers of a topology file, a few of which a governor keeps connected. One of the hot ones is followed; the others stand by,
// look now and then whether it keeps up, and one of them takes over when it fails.
type crowd struct {
	w       *wallet
	network connmgr.Network
	roots   *topology.Provider
	manager *connmgr.Manager
	turn    chan struct{} // holds one while a peer is followed
	result  chan error    // of the wallet's work
	over    chan struct{} // closed when nobody is to be followed any more

	look  time.Duration // between two looks of who stands by
	tweak func(*governor.Config)

	mu      sync.Mutex
	replace context.CancelCauseFunc // ends the run of the peer that is followed
	number  uint64                  // of the last block printed
	at      time.Time               // when that was
}

// A peer is behind when others have had staleBlocks more than it for two looks, and it has told nothing in between.
const (
	lookEvery   = 20 * time.Second
	staleBlocks = 2
)

var errBehind = errors.New("other peers have had more blocks for a while")

func newCrowd(w *wallet, file string, network connmgr.Network) (c *crowd, err error) {
	t, err := topology.Load(file, topology.Options{Convert: true})
	if err != nil {
		return nil, err
	}
	c = &crowd{w: w, network: network, turn: make(chan struct{}, 1), result: make(chan error, 1), over: make(chan struct{}), look: lookEvery}
	w.moved = c.moved
	c.roots, err = topology.NewProvider(t, topology.ProviderConfig{
		Magic: uint32(network), Dir: filepath.Dir(file), Seed: rand.Uint64(),
		Report: func(err error) { slog.Warn("roots", "err", err) },
	})
	if err != nil {
		return nil, err
	}
	c.manager, err = connmgr.NewManager(connmgr.Config{Network: network, InitiatorOnly: true, PerConnection: c.initiators})
	if err != nil {
		c.roots.Close()
	}
	return c, err
}

func (c *crowd) close() {
	c.manager.Close()
	c.roots.Close()
}

// run follows the chain until ctx ends or -count lines are printed.
func (c *crowd) run(ctx context.Context) error {
	cfg := governor.Wallet()
	cfg.Log, cfg.Seed = slog.New(slog.DiscardHandler), rand.Uint64()
	if c.tweak != nil {
		c.tweak(&cfg)
	}
	gov, err := governor.New(cfg, c.manager, c.roots, nil)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- gov.Run(running) }()
	select {
	case err = <-c.result:
	case err = <-ended: // it cannot go on
		ended <- nil
	case <-ctx.Done():
	}
	close(c.over)
	stop()
	if e := <-ended; err == nil && ctx.Err() == nil && !errors.Is(e, context.Canceled) {
		err = e
	}
	if errors.Is(err, errDone) {
		err = nil
	}
	return err
}

// initiators are started on a connection while its peer is hot: chain-sync, and block-fetch beside it, whose client it borrows.
func (c *crowd) initiators(id connmgr.ConnID, _ protocols.Negotiated) []*protocols.MiniProtocol {
	peer := id.Remote.String()
	if !c.w.blocks {
		return []*protocols.MiniProtocol{chainsync.Initiator(func(ctx context.Context, headers *chainsync.Client) error {
			return c.attend(ctx, peer, headers, nil)
		})}
	}
	fetcher := make(chan *blockfetch.Client, 1)
	return []*protocols.MiniProtocol{
		chainsync.Initiator(func(ctx context.Context, headers *chainsync.Client) error {
			return c.attend(ctx, peer, headers, fetcher)
		}),
		blockfetch.Initiator(func(ctx context.Context, blocks *blockfetch.Client) error {
			fetcher <- blocks
			<-ctx.Done()
			<-fetcher // once it is not in use
			return nil
		}),
	}
}

// attend stands by with a hot peer until its turn comes, and then follows it.
func (c *crowd) attend(ctx context.Context, peer string, headers *chainsync.Client, fetcher chan *blockfetch.Client) error {
	tick := time.NewTicker(c.look)
	defer tick.Stop()
	for behind := 0; ; {
		select {
		case c.turn <- struct{}{}:
			defer func() { <-c.turn }()
			if c.isOver() {
				return nil
			}
			return c.lead(ctx, peer, headers, fetcher)
		case <-tick.C:
			tip, err := headers.Tip(ctx)
			if err != nil {
				return err
			}
			if !c.stale(tip) {
				behind = 0
			} else if behind++; behind == 2 {
				behind = 0
				c.displace()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// lead follows a peer. An error ends its connection, and the governor looks for another.
func (c *crowd) lead(ctx context.Context, peer string, headers *chainsync.Client, fetcher chan *blockfetch.Client) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.replace, c.at = cancel, time.Now()
	c.mu.Unlock()
	var blocks *blockfetch.Client
	if fetcher != nil {
		select {
		case blocks = <-fetcher:
			defer func() { fetcher <- blocks }()
		case <-ctx.Done():
			return nil
		}
	}
	slog.Info("following", "peer", peer)
	err := c.w.follow(run, headers, blocks, false, func() {})
	var none *chainsync.NoIntersectionError
	switch {
	case errors.Is(err, errDone):
		c.result <- err
		<-c.over // before anybody else has the turn
		return nil
	case ctx.Err() != nil || c.isOver():
		return nil
	case context.Cause(run) == errBehind:
		err = errBehind
	case errors.As(err, &none):
		slog.Warn("the peer does not know our point of the chain", "peer", peer)
		if err := headers.Finish(ctx); err != nil {
			return err
		}
		return connmgr.NoMoreIntersection
	}
	slog.Warn("not followed any more", "peer", peer, "err", err)
	return fmt.Errorf("%s: %w", peer, err)
}

func (c *crowd) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// moved notes that the chain goes on.
func (c *crowd) moved(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number > 0 { // a roll back has none
		c.number = number
	}
	c.at = time.Now()
}

// stale reports whether the peer that is followed has told nothing for a while though there is more.
func (c *crowd) stale(tip chainsync.Tip) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tip.Block > c.number+staleBlocks && time.Since(c.at) > c.look/2
}

// displace ends the run of the peer that is followed.
func (c *crowd) displace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.replace != nil {
		c.replace(errBehind)
	}
}

// dial connects to one of the peers of the file, in random order, for work that needs no more.
func (c *crowd) dial(ctx context.Context) (*connmgr.Conn, error) {
	for {
		groups, changed := c.roots.LocalRoots()
		var all []netip.AddrPort
		for _, g := range groups {
			all = append(all, g.Members...)
		}
		public, _, err := c.roots.PublicRoots(ctx)
		for a := range public {
			all = append(all, a)
		}
		bootstrap, _, err2 := c.roots.BootstrapPeers(ctx)
		all = append(all, bootstrap...)
		errs := []error{err, err2}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, a := range all {
			conn, err := connmgr.Dial(ctx, a.String(), c.network)
			if err == nil {
				return conn, nil
			}
			errs = append(errs, fmt.Errorf("%v: %w", a, err))
		}
		if len(all) > 0 {
			return nil, errors.Join(errs...)
		}
		select {
		case <-changed: // names take a while
		case <-ctx.Done():
			return nil, errors.Join(append(errs, errors.New("no address is known of any peer in the topology"))...)
		}
	}
}
