package topology

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type fakeLedger struct {
	mu     sync.Mutex
	tip    uint64
	origin bool
	pools  []Pool
	err    error
	reads  int
}

func (l *fakeLedger) Tip() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tip, l.origin
}

func (l *fakeLedger) Pools(context.Context) ([]Pool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	return l.pools, l.err
}

func ledgerTopology(mode LedgerMode, slot uint64, snapshot string) *Topology {
	t := &Topology{UseLedger: UseLedger{Mode: mode, Slot: slot}}
	if snapshot != "" {
		t.PeerSnapshotFile = &snapshot
	}
	return t
}

// TestLedgerPeers: life times, the meanings of useLedgerAfterSlot, and what switching it off does (governor §6.2).
func TestLedgerPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &fakeLedger{tip: 9, pools: []Pool{{Stake: NewFraction(1, 1), Relays: []AccessPoint{ipPoint(1)}}}}
		var reports []error
		p := newProvider(t, ledgerTopology(LedgerAfter, 10, ""), ProviderConfig{Resolver: newFakeDNS(), Ledger: ledger,
			Report: func(err error) { reports = append(reports, err) }})
		ask := func() int {
			peers, ttl, err := p.LedgerPeers(t.Context(), 5, rand.IntN(2) == 0)
			require.NoError(t, err)
			if peers == nil {
				require.Zero(t, ttl)
				return -1
			}
			require.Equal(t, 5*time.Second, ttl)
			return len(peers)
		}
		require.Equal(t, -1, ask(), "the tip is before slot 10: the caller goes on to the public roots")
		require.Zero(t, ledger.reads)
		ledger.tip = 10
		require.Equal(t, -1, ask(), "the answer counts for 30 s")
		time.Sleep(30*time.Second + 1)
		require.Equal(t, 1, ask())
		require.Equal(t, 1, ledger.reads)
		time.Sleep(1846 * time.Second)
		require.Equal(t, 1, ask())
		require.Equal(t, 1, ledger.reads, "the pools count for 1,847 s")
		ledger.err = errors.New("busy")
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, ask(), "a failure leaves the pools in use")
		require.Equal(t, 2, ledger.reads)
		require.Len(t, reports, 1)
		require.Equal(t, 1, ask())
		require.Equal(t, 2, ledger.reads, "and is not repeated at once")
		ledger.err = nil
		time.Sleep(31 * time.Second)
		require.Equal(t, 1, ask())
		require.Equal(t, 3, ledger.reads)

		p.Apply(ledgerTopology(LedgerNever, 0, ""))
		require.Equal(t, -1, ask(), "at once, not after half an hour")
		p.Apply(ledgerTopology(LedgerAlways, 0, ""))
		ledger.origin = true
		require.Equal(t, 1, ask(), "always means at origin too")
		p.Apply(ledgerTopology(LedgerAfter, 0, ""))
		require.Equal(t, -1, ask())
		require.EqualValues(t, 6, p.Counters().LedgerPicks)
	})
}

// TestLedgerNames: each name gives one of its addresses, drawn uniformly; SRV names of the ledger have the prefix of CIP-155;
// what does not resolve is left out.
func TestLedgerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.set("a.", "10.1.0.1", "10.1.0.2", "2001:db8::1")
		dns.set("t.", "10.1.0.9")
		dns.srv["_cardano._tcp.s."] = []SRVRecord{{Target: "t.", Port: 5}}
		ledger := &fakeLedger{pools: []Pool{
			{Stake: NewFraction(1, 3), Relays: []AccessPoint{namePoint("a.")}},
			{Stake: NewFraction(1, 3), Relays: []AccessPoint{{Kind: SRV, Name: "s."}}},
			{Stake: NewFraction(1, 3), Relays: []AccessPoint{namePoint("none.")}},
		}}
		p := newProvider(t, ledgerTopology(LedgerAlways, 0, ""), ProviderConfig{Resolver: dns, Ledger: ledger})
		counts := map[string]int{}
		for range 300 {
			peers, _, err := p.LedgerPeers(t.Context(), 50, false)
			require.NoError(t, err)
			require.LessOrEqual(t, len(peers), 2)
			for _, a := range peers {
				counts[a.String()]++
			}
		}
		require.InDelta(t, 300, counts["10.1.0.9:5"], 1)
		for _, a := range []string{"10.1.0.1:3001", "10.1.0.2:3001", "[2001:db8::1]:3001"} {
			require.InDelta(t, 100, counts[a], 40, a)
		}
		require.Len(t, counts, 4)
		for _, a := range []string{"a.", "t."} {
			dns.fail(a, errServer)
		}
		peers, ttl, err := p.LedgerPeers(t.Context(), 50, false)
		require.NoError(t, err)
		require.True(t, peers != nil && len(peers) == 0, "there was something to draw from")
		require.Equal(t, 5*time.Second, ttl)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = p.LedgerPeers(ctx, 5, false)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestSnapshotLoad: the load rules of governor §6.3, at start and on reload.
func TestSnapshotLoad(t *testing.T) {
	dir := t.TempDir()
	point := func(name string, version int, magic uint32, slot uint64, last byte) {
		s := &Snapshot{Version: version, Magic: magic, Slot: slot, Origin: slot == 0, Pools: []Pool{
			{Stake: NewFraction(1, 1), Accumulated: NewFraction(1, 1), Relays: []AccessPoint{ipPoint(last)}}}}
		if slot > 0 && version == 23 {
			s.Hash = make([]byte, 32)
			s.Hash[0] = last
		}
		write(t, filepath.Join(dir, name), string(s.AppendJSON(nil)))
	}
	point("good.json", 23, 42, 100, 1)
	point("newer.json", 23, 42, 200, 2)
	point("old.json", 23, 42, 5, 3)
	point("other.json", 23, 1, 100, 4)
	point("genesis.json", 23, 42, 0, 5)
	point("v2.json", 2, 0, 100, 6)
	write(t, filepath.Join(dir, "bad.json"), `{"version":2}`)
	cfg := func(genesis bool) ProviderConfig {
		return ProviderConfig{Resolver: newFakeDNS(), Magic: 42, Dir: dir, Genesis: genesis}
	}
	for _, c := range []struct {
		file           string
		reason         error
		praos, genesis bool // fatal at start
	}{
		{"good.json", nil, false, false},
		{"none.json", os.ErrNotExist, false, true},
		{"bad.json", nil, false, true},
		{"other.json", ErrSnapshotMagic, true, true},
		{"genesis.json", ErrSnapshotGenesis, true, true},
		{"v2.json", ErrSnapshotVersion, true, true},
		{"old.json", ErrSnapshotTooOld, true, true},
	} {
		for _, genesis := range []bool{false, true} {
			p, err := NewProvider(ledgerTopology(LedgerAfter, 10, c.file), cfg(genesis))
			fatal := c.praos && !genesis || c.genesis && genesis
			require.Equal(t, fatal, err != nil, "%s, Genesis %v: %v", c.file, genesis, err)
			if err != nil {
				var s *SnapshotError
				require.ErrorAs(t, err, &s)
				require.True(t, c.reason == nil || errors.Is(err, c.reason), err)
				continue
			}
			p.Close()
		}
	}
	newProvider(t, ledgerTopology(LedgerNever, 0, "other.json"), cfg(true)) // not loaded while ledger peers are off

	var reports []error
	conf := cfg(false)
	conf.Report = func(err error) { reports = append(reports, err) }
	ledger := &fakeLedger{tip: 150, pools: []Pool{{Stake: NewFraction(1, 1), Relays: []AccessPoint{ipPoint(99)}}}}
	conf.Ledger = ledger
	p := newProvider(t, ledgerTopology(LedgerAfter, 10, "newer.json"), conf)
	peer := func() string {
		peers, _, err := p.LedgerPeers(context.Background(), 3, true)
		require.NoError(t, err)
		if len(peers) == 0 {
			return "none"
		}
		return peers[0].Addr().String()
	}
	slot := func() uint64 { s, _ := p.Settings(); return s.SnapshotSlot }
	s, changed := p.Settings()
	require.Equal(t, RootSettings{UseLedger: true, SnapshotSlot: 200, SnapshotHash: [32]byte{2}}, s)
	require.Equal(t, "10.0.0.2", peer(), "the snapshot is newer than the tip")
	ledger.tip = 200
	p.Apply(ledgerTopology(LedgerAfter, 11, "newer.json"))
	require.Equal(t, "10.0.0.2", peer(), "or as new")
	ledger.tip = 150
	p.Apply(ledgerTopology(LedgerAfter, 10, "good.json"))
	<-changed
	require.EqualValues(t, 100, slot())
	require.Equal(t, "10.0.0.99", peer(), "the tip is newer than the snapshot")
	p.Apply(ledgerTopology(LedgerAfter, 10, "old.json"))
	require.ErrorIs(t, reports[len(reports)-1], ErrSnapshotTooOld)
	require.EqualValues(t, 100, slot(), "one that is too old leaves the one in use")
	for _, bad := range []string{"none.json", "bad.json", "other.json", "genesis.json", "v2.json"} {
		p.Apply(ledgerTopology(LedgerAfter, 10, "newer.json"))
		require.EqualValues(t, 200, slot())
		n := len(reports)
		p.Apply(ledgerTopology(LedgerAfter, 10, bad))
		require.Len(t, reports, n+1, bad)
		require.Zero(t, slot(), "any other failure drops it")
		require.Equal(t, "10.0.0.99", peer())
	}
	p.Apply(ledgerTopology(LedgerAfter, 1000, "newer.json"))
	require.Zero(t, slot(), "too old, and there is none to keep")
	p.Apply(ledgerTopology(LedgerAlways, 0, filepath.Join(dir, "newer.json")))
	require.EqualValues(t, 200, slot(), "an absolute path")
	p.Apply(ledgerTopology(LedgerNever, 0, "newer.json"))
	require.Zero(t, slot())
	require.Equal(t, "none", peer())
	// Without a ledger there is the snapshot alone, also before the chain has begun.
	alone := newProvider(t, ledgerTopology(LedgerAfter, 10, "good.json"), cfg(false))
	peers, _, err := alone.LedgerPeers(context.Background(), 1, false)
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{ipPoint(1).AddrPort()}, peers)
}
