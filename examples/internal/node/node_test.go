package node

import (
	"context"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/follow"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/txsubmission"
	"github.com/hearthnet/hearth/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, dir string, at netip.AddrPort, events chan Event, peers ...netip.AddrPort) *Node {
	t.Helper()
	ln, err := connmgr.ListenTCP(context.Background(), at)
	require.NoError(t, err)
	var points []topology.AccessPoint
	for _, p := range peers {
		points = append(points, topology.AccessPoint{Kind: topology.IP, IP: p.Addr(), Port: p.Port()})
	}
	g := governor.Relay()
	g.Targets = governor.Targets{Roots: 2, Known: 2, Established: 2, Active: 2}
	g.SyncTargets = g.Targets
	g.Timing = governor.DefaultTiming().Scaled(0.1)
	g.Seed = 1
	g.StorePath = filepath.Join(dir, "peers")
	n, err := Start(Config{Name: "x", Network: 42, Listeners: []net.Listener{ln}, Governor: g,
		Chain:    chain.Config{Dir: filepath.Join(dir, "chain"), CheckBodies: true},
		Mempool:  MempoolConfig{Dir: filepath.Join(dir, "mempool")},
		Topology: &topology.Topology{PublicRoots: []topology.PublicRoot{{AccessPoints: points, Advertise: true}}},
		Timeouts: connmgr.Timeouts{RemoteIdle: time.Second, OutboundIdle: time.Second, TimeWait: -1},
		Decided: func(e Event) {
			select {
			case events <- e:
			default:
			}
		}})
	require.NoError(t, err)
	return n
}

// TestBlocksAndTransactionsTravelOverHotConnections: a node follows the one that it has made hot, and gives it its transactions.
func TestBlocksAndTransactionsTravelOverHotConnections(t *testing.T) {
	any := netip.MustParseAddrPort("127.0.0.1:0")
	events := make(chan Event, 1000)
	dirs := []string{t.TempDir(), t.TempDir()}
	a := start(t, dirs[0], any, make(chan Event))
	b := start(t, dirs[1], any, events, a.Addrs()[0])
	for item := range chain.Generate(1, 5) {
		_, err := a.Chain().Append(item)
		require.NoError(t, err)
	}
	id, err := TxID(payment(1))
	require.NoError(t, err)
	require.NoError(t, b.Mempool().Add(id, payment(1)))
	require.Eventually(t, func() bool {
		return b.Chain().Tip() == a.Chain().Tip() && a.Mempool().Has(id)
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, governor.Hot, b.Governor().Explain(a.Addrs()[0]).Temperature)
	require.Eventually(t, func() bool { // the governor has heard who is first with headers and blocks
		x := b.Governor().Explain(a.Addrs()[0])
		return x.Announced == 5 && x.Fetched == 5 && x.FetchedBytes > 0
	}, 5*time.Second, 10*time.Millisecond)

	m := b.Metrics()
	require.Equal(t, 5, m.Host.Blocks)
	require.Equal(t, 1, m.Host.Transactions)
	require.Equal(t, 1, m.Governor.ActivePeers)
	carried := map[string]uint64{}
	for _, x := range m.Traffic {
		carried[x.Protocol] = x.In + x.Out
	}
	for _, p := range []string{"chain-sync", "block-fetch", "tx-submission"} {
		require.Positive(t, carried[p], p)
	}
	require.NoError(t, b.Close())
	require.NoError(t, a.Close())
	require.FileExists(t, filepath.Join(dirs[1], "peers"))
	close(events)
	decisions := map[string]bool{}
	for e := range events {
		decisions[e.Decision] = true
		require.NotEmpty(t, e.Name)
	}
	require.Contains(t, decisions, governor.ActiveBelow.String())

	again := start(t, dirs[0], a.Addrs()[0], make(chan Event)) // on the same address, with what it had
	view := again.Chain().View()
	require.Equal(t, 5, view.Len())
	require.True(t, again.Mempool().Has(id))
	require.NoError(t, again.Close())
}

// TestFatalFailures: the node says that it cannot go on when its listener fails and when its chain cannot be written, and blames nobody.
func TestFatalFailures(t *testing.T) {
	listen := func() net.Listener {
		ln, err := connmgr.ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
		require.NoError(t, err)
		return ln
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := Start(Config{Network: 42, Listeners: []net.Listener{listen()}, Topology: &topology.Topology{}, Governor: governor.PrivateNetwork()})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "chain")
	at := a.Addrs()[0]
	ln := listen()
	b, err := Start(Config{Network: 42, Listeners: []net.Listener{ln}, Governor: governor.PrivateNetwork(),
		Chain: chain.Config{Dir: dir, SegmentBytes: 1},
		Topology: &topology.Topology{LocalRoots: []topology.Group{{HotValency: 1, WarmValency: 1,
			AccessPoints: []topology.AccessPoint{{Kind: topology.IP, IP: at.Addr(), Port: at.Port()}}}}}})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir)) // the next segment has nowhere to go
	for item := range chain.Generate(1, 5) {
		_, err := a.Chain().Append(item)
		require.NoError(t, err)
	}
	err = b.Wait(ctx)
	var storage *follow.StorageError
	require.ErrorAs(t, err, &storage)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "fatal: ")
	require.False(t, b.Governor().Banned(at))
	require.NoError(t, ln.Close())
	require.ErrorContains(t, b.Wait(ctx), ln.Addr().String())
	require.NoError(t, b.Close())

	ended, stop := context.WithCancel(ctx)
	stop()
	require.NoError(t, a.Wait(ended), "it is well")
	require.NoError(t, a.Close())
}

// stranger is a chain that has no point of anybody else's or, if it has, rolls back to one that nobody has.
type stranger struct{ meets bool }

func (s stranger) Cursor(chainsync.Form) chainsync.Cursor { return s }

func (s stranger) Intersect(points []chain.Point) (chain.Point, chain.Tip, bool) {
	return points[len(points)-1], chain.Tip{}, s.meets
}

func (s stranger) Next() (chainsync.Update, error) {
	return chainsync.Update{Kind: chainsync.Backward, Point: chain.Point{Slot: 1, Hash: [32]byte{1}}}, nil
}

// TestAnotherChain: a peer whose chain is not ours to follow is left in peace: the connection stays, and nobody is blamed.
func TestAnotherChain(t *testing.T) {
	for _, meets := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		pool, err := OpenMempool(MempoolConfig{})
		require.NoError(t, err)
		peer, err := connmgr.Listen(ctx, "127.0.0.1:0", 42, connmgr.Serve(chainsync.Responder(stranger{meets}),
			blockfetch.Responder(chain.NewMemory()), txsubmission.NewInbound(pool, txsubmission.Limits{}).Responder()))
		require.NoError(t, err)
		served := make(chan error, 1)
		serving, stop := context.WithCancel(ctx)
		go func() { served <- peer.Serve(serving, nil) }()
		events := make(chan Event, 1000)
		at := netip.MustParseAddrPort(peer.Addr().String())
		n := start(t, t.TempDir(), netip.MustParseAddrPort("127.0.0.1:0"), events, at)
		for e := (Event{}); e.Name != "DemoteAsynchronous"; {
			select {
			case e = <-events:
			case <-ctx.Done():
				t.Fatal("it goes on")
			}
			if e.Name == "DemoteAsynchronous" {
				require.Contains(t, e.Detail, "to warm")
			}
		}
		require.Equal(t, governor.Warm, n.Governor().Explain(at).Temperature)
		require.Zero(t, n.Governor().Explain(at).Fails)
		require.NoError(t, n.Close())
		stop()
		require.NoError(t, <-served)
		require.NoError(t, peer.Close())
	}
}
