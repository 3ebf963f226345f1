// Package governed runs nodes that are composed of the public packages alone: topology, governor, connection manager.
package governed

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one governed node on loopback.
type node struct {
	at      netip.AddrPort
	manager *connmgr.Manager
	roots   *topology.Provider
	gov     *governor.Governor
	stop    context.CancelFunc
	done    chan error
}

// hotForever is an initiator that finds the intersection, asks for what follows and stays until it is told to end.
func hotForever() *protocols.MiniProtocol {
	return chainsync.Initiator(func(ctx context.Context, c *chainsync.Client) error {
		for _, err := range c.Follow(ctx, nil) {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func startNode(t *testing.T, ln net.Listener, all []netip.AddrPort, c *chain.Chain, seed uint64) *node {
	t.Helper()
	n := &node{at: ln.Addr().(*net.TCPAddr).AddrPort(), done: make(chan error, 1)}
	var points []string
	for _, a := range all {
		if a != n.at {
			points = append(points, fmt.Sprintf(`{"address": %q, "port": %d}`, a.Addr(), a.Port()))
		}
	}
	parsed := topology.Parse([]byte(`{"localRoots": [], "useLedgerAfterSlot": -1, "publicRoots": [{"advertise": true, "accessPoints": [`+
		strings.Join(points, ",")+`]}]}`), topology.Options{})
	require.NoError(t, parsed.Err())
	var err error
	n.roots, err = topology.NewProvider(parsed.Topology, topology.ProviderConfig{Magic: 42, Seed: seed})
	require.NoError(t, err)
	n.manager, err = connmgr.NewManager(connmgr.Config{
		Network: 42, Local: []netip.AddrPort{n.at}, PeerSharing: true, Seed: seed,
		Timeouts: connmgr.Timeouts{RemoteIdle: time.Second, OutboundIdle: time.Second, TimeWait: -1},
		Protocols: []*protocols.MiniProtocol{hotForever(), chainsync.Responder(c), blockfetch.Responder(c),
			peersharing.Responder(sharer{func() *governor.Governor { return n.gov }})},
	})
	require.NoError(t, err)
	cfg := governor.Relay()
	cfg.Targets = governor.Targets{Roots: 20, Known: 20, Established: 10, Active: 5}
	cfg.Timing = governor.DefaultTiming().Scaled(0.1)
	cfg.Seed, cfg.Log = seed, slog.New(slog.NewTextHandler(io.Discard, nil))
	n.gov, err = governor.New(cfg, n.manager, n.roots, nil)
	require.NoError(t, err)
	require.NoError(t, n.manager.Serve(ln))
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() { n.done <- n.gov.Run(ctx) }()
	return n
}

// sharer answers for a governor that is made after the manager.
type sharer struct{ gov func() *governor.Governor }

func (s sharer) Shareable(n int) []netip.AddrPort { return s.gov().Shareable(n) }

func (n *node) close(t *testing.T) {
	t.Helper()
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	assert.NoError(t, <-n.done)
	n.manager.Close()
	n.roots.Close()
}

// await fails the test unless every node meets its targets in time. A number above a target is on its way down.
func await(t *testing.T, nodes []*node, what string) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		behind := ""
		alive := map[netip.AddrPort]bool{}
		for _, n := range nodes {
			alive[n.at] = n.stop != nil
		}
		for i, n := range nodes {
			if n.stop == nil {
				continue
			}
			warm, hot := 0, 0 // peers that are there, with a connection
			for _, p := range n.gov.Peers(100) {
				conn := n.manager.Connection(p.Peer)
				if !alive[p.Peer] || conn == nil || conn.Err() != nil {
					continue
				}
				switch p.Temperature {
				case governor.Hot:
					hot++
					warm++
				case governor.Warm:
					warm++
				}
			}
			if want := n.gov.Targets(); warm < want.Established || hot < want.Active {
				behind += fmt.Sprintf(" node %d: established %d of %d, active %d of %d;", i, warm, want.Established, hot, want.Active)
			}
		}
		if behind == "" {
			t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("%s: not within 30 s:%s", what, behind)
		}
	}
}

// TestThirtyNodesReachAndRestoreTargets: thirty governed nodes on loopback reach their targets; when a third of them is gone the
// others restore theirs.
func TestThirtyNodesReachAndRestoreTargets(t *testing.T) {
	c := chain.NewMemory()
	defer c.Close()
	for item := range chain.Generate(1, 5) {
		_, err := c.Append(item)
		require.NoError(t, err)
	}
	var lns []net.Listener
	var all []netip.AddrPort
	for range 30 {
		ln, err := connmgr.ListenTCP(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"))
		require.NoError(t, err)
		lns = append(lns, ln)
		all = append(all, ln.Addr().(*net.TCPAddr).AddrPort())
	}
	var nodes []*node
	for i, ln := range lns {
		nodes = append(nodes, startNode(t, ln, all, c, uint64(i+1)))
	}
	closeAll := func(step int) {
		var closing sync.WaitGroup
		for i := 0; i < len(nodes); i += step {
			closing.Go(func() { nodes[i].close(t) })
		}
		closing.Wait()
	}
	defer closeAll(1)
	await(t, nodes, "targets reached")
	closeAll(3)
	await(t, nodes, "targets restored with a third gone")
}
