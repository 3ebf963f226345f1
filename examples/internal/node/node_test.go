package node

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/governor"
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
