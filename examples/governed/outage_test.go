package governed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// ledgerOf is a ledger that lists the same relays once a day; they are forgotten when they fail too often.
type ledgerOf []netip.AddrPort

func (l ledgerOf) LocalRoots() ([]governor.LocalRootGroup, <-chan struct{}) { return nil, nil }
func (l ledgerOf) PublicRoots(context.Context) (map[netip.AddrPort]bool, time.Duration, error) {
	return nil, 24 * time.Hour, nil
}
func (l ledgerOf) BootstrapPeers(context.Context) ([]netip.AddrPort, time.Duration, error) {
	return nil, 24 * time.Hour, nil
}
func (l ledgerOf) LedgerPeers(_ context.Context, n int, big bool) ([]netip.AddrPort, time.Duration, error) {
	if big {
		return nil, 24 * time.Hour, nil
	}
	return l[:min(n, len(l))], 24 * time.Hour, nil
}
func (l ledgerOf) Settings() (governor.RootSettings, <-chan struct{}) {
	return governor.RootSettings{UseLedger: true}, nil
}

// memnetManager is a node on the simulated network.
func memnetManager(t *testing.T, n *memnet.Network, at netip.AddrPort, c *chain.Chain) *connmgr.Manager {
	t.Helper()
	host := n.Host(at.Addr())
	m, err := connmgr.NewManager(connmgr.Config{
		Network: 42, Local: []netip.AddrPort{at}, Dial: host.DialFrom, Seed: uint64(at.Port()),
		Protocols: []*protocols.MiniProtocol{hotForever(), chainsync.Responder(c)},
	})
	require.NoError(t, err)
	ln, err := host.Listen(at)
	require.NoError(t, err)
	require.NoError(t, m.Serve(ln))
	return m
}

// partition cuts one governed node off from all its peers for a quarter of an hour. It returns how many peers it then still
// knew, and how long after the end of that it met its targets again; 0: not within ten minutes.
func partition(t *testing.T, detection bool) (known int, healed time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Seed: 1, Link: memnet.Link{Latency: 30 * time.Millisecond}})
		c := chain.NewMemory()
		defer c.Close()
		at := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 3001)
		}
		var peers ledgerOf
		var managers []*connmgr.Manager
		for i := range 20 {
			peers = append(peers, at(i+1))
			managers = append(managers, memnetManager(t, net, at(i+1), c))
		}
		us := memnetManager(t, net, at(100), c)
		managers = append(managers, us)
		cfg := governor.Relay()
		cfg.Targets = governor.Targets{Roots: 20, Known: 20, Established: 10, Active: 5}
		cfg.NoOutageDetection = !detection
		cfg.PeerSharing, cfg.Seed, cfg.Log = false, 7, slog.New(slog.NewTextHandler(io.Discard, nil))
		gov, err := governor.New(cfg, us, peers, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- gov.Run(ctx) }()

		met := func() bool {
			k := gov.Counters()
			return k.EstablishedPeers >= cfg.Targets.Established && k.ActivePeers >= cfg.Targets.Active
		}
		time.Sleep(time.Minute)
		require.True(t, met())
		require.Equal(t, 20, gov.Counters().KnownPeers)
		for _, p := range peers {
			net.Partition(at(100).Addr(), p.Addr())
		}
		time.Sleep(15 * time.Minute)
		known = gov.Counters().KnownPeers
		require.Equal(t, detection, gov.Counters().Outage)
		for _, p := range peers {
			net.Heal(at(100).Addr(), p.Addr())
		}
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(time.Second) {
			if met() {
				healed = time.Since(began)
				break
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			require.NoError(t, err)
		}
		for _, m := range managers {
			m.Close()
		}
	})
	return known, healed
}

// TestOwnOutageForgetsNobody: a node that is cut off blames nobody; without the detection it forgets peers that were never at fault.
func TestOwnOutageForgetsNobody(t *testing.T) {
	known, healed := partition(t, true)
	t.Logf("with detection: knows %d of 20 after 15 min, targets met %v after the end", known, healed)
	require.Equal(t, 20, known)
	require.Positive(t, healed)
	require.LessOrEqual(t, healed, time.Minute)
	known, healed = partition(t, false)
	t.Logf("without: knows %d of 20, targets met %v after the end", known, healed)
	require.Less(t, known, 20)
}

// neighbour is a topology of one local root.
type neighbour struct {
	ledgerOf
	group [1]governor.LocalRootGroup
}

func (n neighbour) LocalRoots() ([]governor.LocalRootGroup, <-chan struct{}) { return n.group[:], nil }

// TestCallerIsUsedAtOnce: after a cut, the side that dials again first makes its connection serve both; the other side, minutes away
// from its next attempt, does not wait for that.
func TestCallerIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Config{Seed: 1, Link: memnet.Link{Latency: 30 * time.Millisecond}})
		c := chain.NewMemory()
		defer c.Close()
		a, b := netip.MustParseAddrPort("10.0.1.1:3001"), netip.MustParseAddrPort("10.0.2.1:3001")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		govern := func(us, peer netip.AddrPort, pace float64) (*governor.Governor, *connmgr.Manager) {
			m := memnetManager(t, net, us, c)
			cfg := governor.Config{Targets: governor.Targets{Known: 1, Established: 1, Active: 1}, NoOutageDetection: true, Seed: 7,
				Timing: governor.DefaultTiming().Scaled(pace), Log: slog.New(slog.DiscardHandler)}
			root := neighbour{group: [1]governor.LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{peer}}}}
			gov, err := governor.New(cfg, m, root, nil)
			require.NoError(t, err)
			go func() { done <- gov.Run(ctx) }()
			return gov, m
		}
		patient, m := govern(a, b, 1)
		hasty, n := govern(b, a, 0.1)
		time.Sleep(time.Minute)
		net.Partition(a.Addr(), b.Addr())
		time.Sleep(8 * time.Minute)
		require.Greater(t, patient.Explain(b).Until, 11*time.Minute, "two minutes to go")
		net.Heal(a.Addr(), b.Addr())
		for hasty.Explain(a).Temperature != governor.Hot {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		e := patient.Explain(b)
		require.Greater(t, e.Fails, 5)
		require.Equal(t, governor.Hot, e.Temperature, e)
		require.Len(t, m.Connections(), 1)
		require.Equal(t, connmgr.StateDuplex, m.Connections()[0].State)
		cancel()
		require.NoError(t, errors.Join(<-done, <-done, m.Close(), n.Close()))
	})
}
