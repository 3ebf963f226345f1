package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/topology"
	"github.com/hearthnet/hearth/topology/dns"
)

// rescanEvery is how often the mempool folder is looked at.
const rescanEvery = 200 * time.Millisecond

// Without a topology file there is nobody to ask for peers: those who connect are looked at this often, and need not be old.
const (
	inboundEvery  = 500 * time.Millisecond
	inboundMature = time.Millisecond
)

// publicNetworks are those whose peers have public addresses; local roots may have others.
var publicNetworks = []connmgr.Network{connmgr.Mainnet, connmgr.Preprod, connmgr.Preview}

// nodeOptions are what a relay is told.
type nodeOptions struct {
	listen, socket, chain, mempool, topology, preset, store, http, token string

	peers        []string
	lenient      bool
	magic        uint64
	mempoolBytes int
	timeouts     connmgr.Timeouts // the defaults, but in tests
}

// host is a node, what it stands on and what shows it.
type host struct {
	*node.Node
	o       nodeOptions
	peers   peers
	log     *slog.Logger
	archive *chain.Archive // of -chain; nil without
	scratch string         // folder of the blocks that come in
	web     net.Listener   // nil without -http
	events  *events
	shown   shown
	began   time.Time
	hangup  chan os.Signal
}

// serve runs a relay until ctx ends. Events are written to out, which may be nil.
func serve(ctx context.Context, o nodeOptions, out, stderr io.Writer) error {
	log := cli.Logger(stderr)
	slog.SetDefault(log)
	if os.Getenv("GOMEMLIMIT") == "" { // garbage must not come on top of a full mempool
		debug.SetMemoryLimit(int64(o.mempoolBytes) + 40<<20)
	}
	h, err := newHost(ctx, o, log, out, stderr)
	if err != nil {
		return err
	}
	return errors.Join(h.run(ctx), h.close(), h.events.flush())
}

// newHost opens everything that can fail at the start, and starts the node.
func newHost(ctx context.Context, o nodeOptions, log *slog.Logger, out, stderr io.Writer) (_ *host, err error) {
	h := &host{o: o, log: log, events: newEvents(out), began: time.Now(), hangup: make(chan os.Signal, 1)}
	signal.Notify(h.hangup, syscall.SIGHUP) // from now on: one that comes early would end the process
	cfg := node.Config{
		Network: connmgr.Network(o.magic), Governor: configuration(o.preset), Timeouts: o.timeouts, Log: log,
		Mempool: node.MempoolConfig{Dir: o.mempool, Bytes: o.mempoolBytes, Rescan: rescanEvery},
		Decided: h.events.decided, Adopted: h.events.adopted, Moved: h.moved, Refused: h.events.refused,
	}
	handedOver := false
	defer func() {
		if err == nil {
			return
		}
		if !handedOver {
			for _, ln := range append(cfg.Listeners, cfg.Local) {
				if ln != nil {
					err = errors.Join(err, ln.Close())
				}
			}
		}
		err = errors.Join(err, h.close())
	}()
	if err = h.listen(ctx, &cfg, stderr); err != nil {
		return nil, err
	}
	if err = h.whom(&cfg); err != nil {
		return nil, err
	}
	if h.scratch, err = os.MkdirTemp("", "relay-"); err != nil {
		return nil, err
	}
	if o.chain != "" {
		if h.archive, err = chain.Open(o.chain); err != nil {
			return nil, err
		}
	}
	cfg.Chain = chain.Config{Dir: h.scratch, Base: h.archive, CheckBodies: true}
	handedOver = true
	h.Node, err = node.Start(cfg)
	return h, err
}

// listen opens all that is listened on.
func (h *host) listen(ctx context.Context, cfg *node.Config, stderr io.Writer) (err error) {
	if h.o.preset == wallet && h.o.listen != "" {
		h.log.Warn("the preset accepts no connections", "preset", h.o.preset, "listen", h.o.listen)
	} else if h.o.preset != wallet {
		if cfg.Listeners, err = listenNodes(ctx, h.o.listen); err != nil {
			return err
		}
	}
	if h.o.socket != "" {
		if cfg.Local, err = listenLocal(ctx, h.o.socket); err != nil {
			return err
		}
	}
	if h.o.http == "" {
		return nil
	}
	if h.web, err = net.Listen("tcp", h.o.http); err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	if h.o.token == "" {
		h.o.token = rand.Text()
	}
	_, err = fmt.Fprintf(stderr, "http://%s/#token=%s\n", h.web.Addr(), h.o.token)
	return err
}

// whom says whom the node may know: the topology and how its names are resolved, the peer store, and who connects.
func (h *host) whom(cfg *node.Config) (err error) {
	h.peers = peers{file: h.o.topology, closed: localRootsOnly(h.o.preset), read: topology.Options{
		Lenient: h.o.lenient, Convert: true, Producer: h.o.preset == "producer", PeerSharing: cfg.Governor.PeerSharing,
	}}
	cfg.Roots = topology.ProviderConfig{Resolver: dns.New(dns.Config{}), Dir: h.peers.dir(), Report: func(err error) { h.log.Warn("roots", "err", err) }}
	cfg.Roots.NoIPv4, cfg.Roots.NoIPv6 = len(cfg.Listeners) > 0, len(cfg.Listeners) > 0
	for _, ln := range cfg.Listeners {
		at := ln.Addr().(*net.TCPAddr).AddrPort()
		h.peers.read.Listen = append(h.peers.read.Listen, at)
		if at.Addr().Unmap().Is4() {
			cfg.Roots.NoIPv4 = false
		} else {
			cfg.Roots.NoIPv6 = false
		}
	}
	for _, addr := range h.o.peers {
		a, err := accessPoint(addr)
		if err != nil {
			return err
		}
		h.peers.static = append(h.peers.static, a)
	}
	if cfg.Topology, err = h.peers.load(h.log); err != nil {
		return err
	}
	if h.o.topology == "" {
		cfg.Governor.Timing.InboundRetry, cfg.Timeouts.Maturity = inboundEvery, inboundMature
	} else { // what strangers say of private addresses is of use in a network of one's own only
		cfg.Governor.RejectPrivate = slices.Contains(publicNetworks, cfg.Network)
	}
	cfg.Governor.StorePath, err = storePath(h.o.store)
	return err
}

// storePath looks whether a peer store can be kept in a file, which it must not take from anything else.
func storePath(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return "", fmt.Errorf("-peers: %w", err)
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return "", fmt.Errorf("-peers: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	begins := make([]byte, len("hearth peers "))
	if n, _ := io.ReadFull(f, begins); n > 0 && string(begins) != "hearth peers " {
		return "", fmt.Errorf("-peers: %s exists and is no peer store", file)
	}
	return file, nil
}

// run works until ctx ends, or the node cannot go on.
func (h *host) run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	tasks, running := errgroup.WithContext(running)
	tasks.Go(func() error { return h.Wait(running) })
	tasks.Go(func() error { return h.events.write(running) })
	if h.web != nil {
		tasks.Go(func() error { return page.New(h, h.o.token).Serve(running, h.web) })
	}
	tip := h.Chain().Tip()
	for _, at := range h.Addrs() {
		h.log.Info("listening", "addr", at, "magic", h.o.magic, "tip", tip.String())
		h.events.add(event{Event: "listening", Addr: at.String()})
	}
	h.log.Info("started", "preset", h.o.preset)
	cli.Notify("READY=1")
	tasks.Go(func() error {
		for {
			select {
			case <-h.hangup:
				h.reload()
			case <-running.Done():
				cli.Notify("STOPPING=1")
				h.log.Info("stopping")
				return nil
			}
		}
	})
	return tasks.Wait()
}

// reload reads the topology file again and has it applied, or says why not.
func (h *host) reload() {
	cli.Notify("RELOADING=1")
	defer cli.Notify("READY=1")
	if h.peers.file == "" {
		h.log.Warn("there is no topology file to reload")
		return
	}
	t, err := h.peers.load(h.log)
	if err != nil {
		h.log.Error("topology not reloaded, the one before stays", "err", err)
		h.events.add(event{Event: "topology", Error: err.Error()})
		return
	}
	c := h.Changes(t)
	changes := lines(c)
	for _, l := range changes {
		h.log.Info("topology", "change", l)
	}
	h.events.add(event{Event: "topology", Changes: changes, Detail: summary(c)})
	h.Apply(t)
	h.log.Info("topology reloaded", "file", h.peers.file, "local", summary(c))
}

// moved is told of changes of connections.
func (h *host) moved(t connmgr.Transition) {
	_, was := t.From.DataFlow()
	flow, is := t.To.DataFlow()
	e := event{Event: "connection", Addr: t.Conn.Remote.String()}
	switch {
	case is && !was:
		e.Name, e.Duplex = "connected", flow == connmgr.Duplex
		if t.From == connmgr.StateUnnegotiatedInbound {
			e.Name = "accepted"
		}
		h.log.Info(e.Name, "peer", t.Conn.Remote, "duplex", e.Duplex)
	case was && !is:
		e.Name = "disconnected"
		args := []any{"peer", t.Conn.Remote}
		if t.Err != nil {
			e.Error = t.Err.Error()
			args = append(args, "err", t.Err)
		}
		h.log.Info(e.Name, args...)
	default:
		return
	}
	h.events.add(e)
}

// close gives back what newHost opened; what is nil was not.
func (h *host) close() error {
	signal.Stop(h.hangup)
	var errs []error
	if h.Node != nil {
		errs = append(errs, h.Node.Close())
	}
	if h.web != nil {
		if err := h.web.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if h.archive != nil {
		errs = append(errs, h.archive.Close())
	}
	if h.scratch != "" {
		errs = append(errs, os.RemoveAll(h.scratch))
	}
	return errors.Join(errs...)
}

// addr is where the node is, for people: its first address.
func (h *host) addr() string {
	if all := h.Addrs(); len(all) > 0 {
		return all[0].String()
	}
	return "listens nowhere"
}
