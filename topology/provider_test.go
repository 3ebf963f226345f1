package topology

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// roots is what the governor declares, word for word: a provider fits without an adapter.
type roots interface {
	LocalRoots() (groups []struct {
		Hot, Warm                                        int
		Members                                          []netip.AddrPort
		Advertise, Trustable, InboundOnly, InitiatorOnly bool
	}, changed <-chan struct{})
	PublicRoots(ctx context.Context) (advertise map[netip.AddrPort]bool, ttl time.Duration, err error)
	BootstrapPeers(ctx context.Context) (peers []netip.AddrPort, ttl time.Duration, err error)
	LedgerPeers(ctx context.Context, n int, big bool) (peers []netip.AddrPort, ttl time.Duration, err error)
	Settings() (s struct {
		UseBootstrap, BootstrapEmpty, UseLedger bool
		SnapshotSlot                            uint64
		SnapshotHash                            [32]byte
	}, changed <-chan struct{})
}

var _ roots = (*Provider)(nil)

// fakeDNS answers from a table; a name without an entry does not exist.
type fakeDNS struct {
	mu      sync.Mutex
	ips     map[string][]netip.Addr // both families together
	srv     map[string][]SRVRecord
	ttl     time.Duration
	fails   map[string]error // by name, or by "4 name" and "6 name"
	delay   time.Duration
	asked   int
	running int
	most    int // names looked up at the same time
	active  map[string]int
}

func newFakeDNS() *fakeDNS {
	return &fakeDNS{ips: map[string][]netip.Addr{}, srv: map[string][]SRVRecord{}, fails: map[string]error{}, ttl: 100 * time.Second, active: map[string]int{}}
}

func (f *fakeDNS) set(name string, ips ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ips[name] = nil
	for _, ip := range ips {
		f.ips[name] = append(f.ips[name], netip.MustParseAddr(ip))
	}
}

func (f *fakeDNS) fail(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails[name] = err; err == nil {
		delete(f.fails, name)
	}
}

// takeMost returns the largest number of names looked up at the same time since it was last asked.
func (f *fakeDNS) takeMost() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.most
	f.most = 0
	return n
}

func (f *fakeDNS) enter(ctx context.Context, name string) error {
	f.mu.Lock()
	f.asked++
	if f.active[name]++; f.active[name] == 1 {
		f.running++
		f.most = max(f.most, f.running)
	}
	delay := f.delay
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		if f.active[name]--; f.active[name] == 0 {
			f.running--
		}
		f.mu.Unlock()
	}()
	if delay == 0 {
		return nil
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeDNS) LookupIP(ctx context.Context, family int, name string) ([]netip.Addr, time.Duration, error) {
	if err := f.enter(ctx, name); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmp.Or(f.fails[name], f.fails[fmt.Sprintf("%d %s", family, name)]); err != nil {
		return nil, 0, err
	}
	all, ok := f.ips[name]
	if !ok {
		return nil, 0, errNoName
	}
	var out []netip.Addr
	for _, ip := range all {
		if ip.Is4() == (family == 4) {
			out = append(out, ip)
		}
	}
	return out, f.ttl, nil
}

func (f *fakeDNS) LookupSRV(ctx context.Context, name string) ([]SRVRecord, time.Duration, error) {
	if err := f.enter(ctx, name); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fails[name]; err != nil {
		return nil, 0, err
	}
	records, ok := f.srv[name]
	if !ok {
		return nil, 0, errNoName
	}
	return records, f.ttl, nil
}

func newProvider(t testing.TB, top *Topology, cfg ProviderConfig) *Provider {
	t.Helper()
	p, err := NewProvider(top, cfg)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func localStrings(p *Provider) []string {
	groups, _ := p.LocalRoots()
	out := []string{}
	for _, g := range groups {
		for _, m := range g.Members {
			out = append(out, m.String())
		}
	}
	return out
}

func oneGroup(points ...AccessPoint) *Topology {
	return &Topology{LocalRoots: []Group{{AccessPoints: points, HotValency: 9, WarmValency: 9}}}
}

func namePoint(name string) AccessPoint { return AccessPoint{Kind: Domain, Name: name, Port: 3001} }

// TestWhoIsALocalRoot: protection goes by address, trust by peer, and both follow a reload.
func TestWhoIsALocalRoot(t *testing.T) {
	top := oneGroup(ipPoint(1))
	top.LocalRoots = append(top.LocalRoots, Group{AccessPoints: []AccessPoint{ipPoint(2)}, HotValency: 1, WarmValency: 1, Trustable: true})
	p := newProvider(t, top, ProviderConfig{})
	one, two := ipPoint(1).AddrPort(), ipPoint(2).AddrPort()
	mapped := netip.AddrFrom16(two.Addr().As16())
	for _, a := range []netip.Addr{one.Addr(), two.Addr(), mapped} {
		require.True(t, p.IsLocalRoot(a), a)
	}
	require.False(t, p.IsLocalRoot(ipPoint(3).AddrPort().Addr()))
	require.False(t, p.IsTrustable(one))
	require.True(t, p.IsTrustable(two))
	require.True(t, p.IsTrustable(netip.AddrPortFrom(mapped, two.Port())))
	require.False(t, p.IsTrustable(netip.AddrPortFrom(two.Addr(), two.Port()+1)))
	p.Apply(oneGroup(ipPoint(3)))
	require.False(t, p.IsLocalRoot(two.Addr()))
	require.False(t, p.IsTrustable(two))
	require.True(t, p.IsLocalRoot(ipPoint(3).AddrPort().Addr()))
}

// TestReloadOfAddresses: a change of plain addresses takes effect before Apply returns, and the channel says so, even while
// nothing resolves. The reference misses it until some look-up succeeds.
func TestReloadOfAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.delay = time.Hour
		p := newProvider(t, oneGroup(ipPoint(1), namePoint("slow.")), ProviderConfig{Resolver: dns})
		_, changed := p.LocalRoots()
		p.Apply(oneGroup(ipPoint(2), namePoint("slow.")))
		require.Equal(t, []string{"10.0.0.2:1"}, localStrings(p))
		select {
		case <-changed:
		default:
			t.Fatal("no word of the change")
		}
		_, changed = p.LocalRoots()
		p.Apply(&Topology{})
		require.Empty(t, localStrings(p))
		<-changed
		_, changed = p.LocalRoots()
		p.Apply(&Topology{})
		select {
		case <-changed:
			t.Fatal("nothing has changed")
		default:
		}
	})
}

// TestReloadKeepsNames: addresses of names that stay are there at once after a reload, also while they cannot be looked up.
// The reference forgets them.
func TestReloadKeepsNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.set("a.", "10.1.0.1", "2001:db8::1")
		dns.set("b.", "10.1.0.2")
		p := newProvider(t, oneGroup(namePoint("a."), namePoint("b.")), ProviderConfig{Resolver: dns})
		synctest.Wait()
		require.Equal(t, []string{"10.1.0.1:3001", "10.1.0.2:3001", "[2001:db8::1]:3001"}, localStrings(p))
		dns.fail("a.", errServer)
		dns.set("c.", "10.1.0.3")
		p.Apply(oneGroup(namePoint("c."), namePoint("A.")))
		require.Equal(t, []string{"10.1.0.1:3001", "[2001:db8::1]:3001"}, localStrings(p))
		synctest.Wait()
		require.Equal(t, []string{"10.1.0.1:3001", "10.1.0.3:3001", "[2001:db8::1]:3001"}, localStrings(p))
		time.Sleep(time.Hour)
		require.Len(t, localStrings(p), 3, "while look-ups fail the old addresses stay")
		dns.fail("a.", nil)
		dns.set("a.", "10.1.0.9")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"10.1.0.3:3001", "10.1.0.9:3001"}, localStrings(p))
	})
}

// TestRootPeersDNS is RootPeersDNS' preserve IPs, preserve groups, resolve and update in one: whatever the names do, plain
// addresses and the order and settings of groups stay; everything that resolves is there; changed answers arrive within
// their life time.
func TestRootPeersDNS(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		top := genTopology().Draw(rt, "topology")
		tables := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) map[string][]netip.Addr {
			table := map[string][]netip.Addr{}
			for _, name := range []string{"a.example.", "b.example.", "c."} {
				if rapid.Bool().Draw(t, "exists") {
					for range rapid.IntRange(0, 3).Draw(t, "n") {
						table[name] = append(table[name], genAddr().Draw(t, "ip").Addr())
					}
				}
			}
			return table
		}), 1, 3).Draw(rt, "answers")
		synctest.Test(t, func(t *testing.T) {
			dns := newFakeDNS()
			p := newProvider(t, top, ProviderConfig{Resolver: dns, NoIPv6: true})
			known := map[string][]netip.Addr{} // the last good answers
			for _, table := range tables {
				dns.mu.Lock()
				dns.ips = table
				dns.mu.Unlock()
				for name, ips := range table {
					known[name] = ips
				}
				time.Sleep(maxTTL + time.Minute)
				synctest.Wait()
				want := resolveGroups(top.LocalRoots, func(a AccessPoint) []netip.AddrPort {
					var out []netip.AddrPort
					if a.Kind == Domain {
						for _, ip := range known[a.Name] {
							out = append(out, netip.AddrPortFrom(ip, a.Port))
						}
					}
					return out
				})
				got, _ := p.LocalRoots()
				require.True(t, equalGroups(want, got), "%v\n%v", want, got)
				invariant(t, got)
			}
		})
	})
}

// TestLookupLimits: two names at a time for local roots, eight for everything asked for.
func TestLookupLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var points []AccessPoint
		for i := range 40 {
			points = append(points, namePoint(fmt.Sprintf("n%d.", i)))
		}
		dns := newFakeDNS()
		dns.delay = time.Second
		for _, a := range points {
			dns.set(a.Name, "10.0.0.1")
		}
		p := newProvider(t, oneGroup(points...), ProviderConfig{Resolver: dns})
		time.Sleep(21 * time.Second)
		require.Equal(t, 2, dns.takeMost())
		require.EqualValues(t, 40, p.Counters().Lookups)
		p.Apply(&Topology{PublicRoots: []PublicRoot{{AccessPoints: points}}, BootstrapPeers: points})
		var wg sync.WaitGroup
		start := time.Now()
		wg.Go(func() { _, _, err := p.PublicRoots(t.Context()); require.NoError(t, err) })
		wg.Go(func() { _, _, err := p.BootstrapPeers(t.Context()); require.NoError(t, err) })
		wg.Wait()
		require.LessOrEqual(t, dns.takeMost(), 8)
		require.Equal(t, 10*time.Second, time.Since(start), "80 look-ups, eight at a time")
	})
}

// TestPublicRoots: all of them, the flag of the first group, the longest life time; an error only when nothing is left.
func TestPublicRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.set("a.", "10.1.0.1", "10.1.0.2")
		var reports []error
		p := newProvider(t, &Topology{PublicRoots: []PublicRoot{
			{AccessPoints: []AccessPoint{namePoint("a."), ipPoint(7)}, Advertise: true},
			{AccessPoints: []AccessPoint{ipPoint(7), namePoint("none.")}},
		}}, ProviderConfig{Resolver: dns, Report: func(err error) { reports = append(reports, err) }})
		got, ttl, err := p.PublicRoots(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[netip.AddrPort]bool{netip.MustParseAddrPort("10.1.0.1:3001"): true, netip.MustParseAddrPort("10.1.0.2:3001"): true,
			netip.MustParseAddrPort("10.0.0.7:1"): true}, got)
		require.Equal(t, maxTTL, ttl)
		require.Len(t, reports, 1)
		var lookup *LookupError
		require.ErrorAs(t, reports[0], &lookup)
		require.Equal(t, namePoint("none."), lookup.Point)
		require.Equal(t, "network", lookup.Fault())

		p.Apply(&Topology{PublicRoots: []PublicRoot{{AccessPoints: []AccessPoint{namePoint("a."), namePoint("none.")}}}})
		got, ttl, err = p.PublicRoots(t.Context())
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, 100*time.Second, ttl)

		p.Apply(&Topology{PublicRoots: []PublicRoot{{AccessPoints: []AccessPoint{namePoint("none.")}}}})
		_, ttl, err = p.PublicRoots(t.Context())
		require.ErrorIs(t, err, errNoName)
		require.Equal(t, time.Minute, ttl)
		got, _, err = newProvider(t, &Topology{}, ProviderConfig{Resolver: dns}).PublicRoots(t.Context())
		require.NoError(t, err)
		require.Empty(t, got)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err = p.PublicRoots(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestBootstrapPeers: off, on and empty, on; never in Genesis mode. The settings say the same.
func TestBootstrapPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.set("a.", "10.1.0.1", "2001:db8::1")
		p := newProvider(t, &Topology{}, ProviderConfig{Resolver: dns})
		peers, _, err := p.BootstrapPeers(t.Context())
		require.NoError(t, err)
		require.Nil(t, peers)
		s, changed := p.Settings()
		require.Equal(t, RootSettings{}, s)

		p.Apply(&Topology{BootstrapPeers: []AccessPoint{}})
		<-changed
		s, changed = p.Settings()
		require.Equal(t, RootSettings{UseBootstrap: true, BootstrapEmpty: true}, s)
		peers, _, err = p.BootstrapPeers(t.Context())
		require.NoError(t, err)
		require.True(t, peers != nil && len(peers) == 0)

		on := &Topology{BootstrapPeers: []AccessPoint{namePoint("a."), ipPoint(1), ipPoint(1)}, UseLedger: UseLedger{Mode: LedgerAlways}}
		p.Apply(on)
		<-changed
		s, _ = p.Settings()
		require.Equal(t, RootSettings{UseBootstrap: true, UseLedger: true}, s)
		peers, _, err = p.BootstrapPeers(t.Context())
		require.NoError(t, err)
		require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:3001"), netip.MustParseAddrPort("10.1.0.1:3001"),
			netip.MustParseAddrPort("10.0.0.1:1")}, peers, "IPv6 first")

		g := newProvider(t, on, ProviderConfig{Resolver: dns, Genesis: true})
		s, _ = g.Settings()
		require.Equal(t, RootSettings{UseLedger: true}, s)
		peers, _, err = g.BootstrapPeers(t.Context())
		require.NoError(t, err)
		require.Nil(t, peers)
	})
}

// TestLookup: an SRV name gives one target with its port, and the life time of the SRV record; one family may fail; both
// families are asked at the same time, each for at most three seconds.
func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		dns.srv["_x."] = []SRVRecord{{Target: "a.", Port: 7, Priority: 1, Weight: 1}, {Target: "b.", Port: 8, Priority: 2}}
		dns.srv["none."] = []SRVRecord{{Target: "."}}
		dns.set("a.", "10.1.0.1", "2001:db8::1")
		l := lookuper{dns, true, true}
		a := l.lookup(t.Context(), AccessPoint{Kind: SRV, Name: "_x."}, 1)
		require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:7"), netip.MustParseAddrPort("10.1.0.1:7")}, a.addrs())
		require.Equal(t, 100*time.Second, a.ttl())
		a = l.lookup(t.Context(), AccessPoint{Kind: SRV, Name: "none."}, 1)
		require.NoError(t, a.err())
		require.Empty(t, a.addrs())
		require.Equal(t, time.Minute, a.ttl())
		a = l.lookup(t.Context(), AccessPoint{Kind: SRV, Name: "missing."}, 1)
		require.ErrorIs(t, a.err(), errNoName)

		dns.set("a.", "10.1.0.3", "10.1.0.2")
		a = l.lookup(t.Context(), namePoint("a."), 1)
		dns.set("a.", "10.1.0.2", "10.1.0.3")
		require.Equal(t, a, l.lookup(t.Context(), namePoint("a."), 1), "servers rotate their answers; that is no change")

		dns.set("a.", "10.1.0.1", "2001:db8::1")
		dns.fail("4 a.", errServer)
		a = l.lookup(t.Context(), namePoint("a."), 1)
		require.NoError(t, a.err())
		require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:3001")}, a.addrs())
		dns.fail("4 a.", errNoName)
		a = l.lookup(t.Context(), namePoint("a."), 1)
		require.NoError(t, a.v4.err, "it does exist")
		require.Len(t, a.addrs(), 1)
		dns.fail("4 a.", errServer)
		dns.fail("6 a.", errServer)
		a = l.lookup(t.Context(), namePoint("a."), 1)
		require.ErrorIs(t, a.err(), errServer)

		dns.delay = time.Minute
		start := time.Now()
		a = l.lookup(t.Context(), namePoint("a."), 1)
		require.ErrorIs(t, a.err(), context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestNewProviderErrors(t *testing.T) {
	_, err := NewProvider(&Topology{}, ProviderConfig{NoIPv4: true, NoIPv6: true})
	require.Error(t, err)
	p := newProvider(t, &Topology{}, ProviderConfig{})
	p.Close()
	p.Close()
}

// mutate makes one random change of a topology, as an operator would.
func mutate(rnd *rand.Rand, t *Topology) *Topology {
	t = t.Clone()
	point := func() AccessPoint {
		switch rnd.IntN(4) {
		case 0:
			return namePoint(fmt.Sprintf("n%d.", rnd.IntN(6)))
		case 1:
			return AccessPoint{Kind: SRV, Name: fmt.Sprintf("_s%d.", rnd.IntN(3))}
		}
		return ipPoint(byte(rnd.IntN(20) + 1))
	}
	if len(t.LocalRoots) == 0 || rnd.IntN(8) == 0 && len(t.LocalRoots) < 6 {
		t.LocalRoots = slices.Insert(t.LocalRoots, rnd.IntN(len(t.LocalRoots)+1),
			Group{AccessPoints: []AccessPoint{point()}, HotValency: 1, WarmValency: int64(1 + rnd.IntN(3))})
		return t
	}
	i := rnd.IntN(len(t.LocalRoots))
	g := &t.LocalRoots[i]
	switch rnd.IntN(11) {
	case 0:
		t.LocalRoots = slices.Delete(t.LocalRoots, i, i+1)
	case 1, 2:
		g.AccessPoints = append(g.AccessPoints, point())
	case 3:
		if n := len(g.AccessPoints); n > 0 {
			g.AccessPoints = slices.Delete(g.AccessPoints, 0, 1)
		}
	case 4:
		g.HotValency, g.WarmValency = int64(rnd.IntN(4)), int64(rnd.IntN(5))
	case 5:
		g.Trustable, g.Advertise = !g.Trustable, rnd.IntN(2) == 0
	case 6:
		g.BehindFirewall, g.DiffusionMode = rnd.IntN(2) == 0, DiffusionMode(rnd.IntN(2))
	case 7:
		t.PublicRoots = []PublicRoot{{AccessPoints: []AccessPoint{point(), point()}, Advertise: rnd.IntN(2) == 0}}
	case 8:
		t.BootstrapPeers = nil
		if rnd.IntN(2) == 0 {
			t.BootstrapPeers = []AccessPoint{point()}
		}
	case 9:
		t.UseLedger = []UseLedger{{}, {Mode: LedgerAlways}, {Mode: LedgerAfter, Slot: 50}, {Mode: LedgerAfter, Slot: 500}}[rnd.IntN(4)]
	case 10:
		t.PeerSnapshotFile = nil
		if rnd.IntN(2) == 0 {
			name := fmt.Sprintf("snapshot%d.json", rnd.IntN(2))
			t.PeerSnapshotFile = &name
		}
	}
	return t
}

// answers is everything a provider says, in a form to compare.
func answers(t *testing.T, p *Provider) []any {
	groups, _ := p.LocalRoots()
	settings, _ := p.Settings()
	public, _, publicErr := p.PublicRoots(t.Context())
	bootstrap, _, bootstrapErr := p.BootstrapPeers(t.Context())
	slices.SortFunc(bootstrap, netip.AddrPort.Compare)
	out := []any{append([]LocalRootGroup{}, groups...), settings, public, publicErr == nil, bootstrap, bootstrapErr == nil}
	for _, big := range []bool{false, true} {
		// Enough draws to see every pool: the set does not depend on chance then.
		peers, ttl, err := p.LedgerPeers(t.Context(), 2000, big)
		slices.SortFunc(peers, netip.AddrPort.Compare)
		out = append(out, peers, ttl, err)
	}
	return out
}

// TestThousandEdits applies 1,000 random edits of a file to a running watcher and provider, bad and half-written versions
// among them. At every hundredth the answers equal those of a fresh start with the file as it is.
func TestThousandEdits(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		s := &Snapshot{Version: 23, Magic: 42, Slot: uint64(600 + i), Hash: make([]byte, 32), Pools: []Pool{
			{Stake: NewFraction(1, 2), Accumulated: NewFraction(1, 2), Relays: []AccessPoint{ipPoint(byte(100 + i))}},
			{Stake: NewFraction(1, 2), Accumulated: NewFraction(1, 1), Relays: []AccessPoint{ipPoint(byte(110 + i))}}}}
		write(t, filepath.Join(dir, fmt.Sprintf("snapshot%d.json", i)), string(s.AppendJSON(nil)))
	}
	synctest.Test(t, func(t *testing.T) {
		dns := newFakeDNS()
		for i := range 5 { // n5 does not exist
			dns.set(fmt.Sprintf("n%d.", i), fmt.Sprintf("10.1.0.%d", i), fmt.Sprintf("2001:db8::%d", i))
		}
		for i := range 2 {
			dns.srv[fmt.Sprintf("_s%d.", i)] = []SRVRecord{{Target: fmt.Sprintf("n%d.", i), Port: 77}}
		}
		ledger := &fakeLedger{tip: 100, pools: []Pool{{Stake: NewFraction(3, 1), Relays: []AccessPoint{ipPoint(200)}},
			{Stake: NewFraction(1, 1), Relays: []AccessPoint{namePoint("n0.")}}}}
		cfg := ProviderConfig{Resolver: dns, NoIPv6: true, Ledger: ledger, Magic: 42, Dir: dir}
		rnd := rand.New(rand.NewPCG(3, 4))
		path := filepath.Join(dir, "topology.json")
		current := &Topology{LocalRoots: []Group{}, PublicRoots: []PublicRoot{}}
		write(t, path, string(current.AppendJSON(nil)))
		p := newProvider(t, current, cfg)
		applied := 0
		w, err := NewWatcher(WatchConfig{Path: path, Options: Options{Lenient: true}, Apply: func(n *Topology, c Changes) {
			applied++
			p.Apply(n)
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		for i := 1; i <= 1000; i++ {
			// Not every change is one that cardano-node starts with; those are for the other half of this test.
			next := mutate(rnd, current)
			good := Parse(next.AppendJSON(nil), Options{Lenient: true}).Err() == nil
			if good {
				current = next
			}
			content := string(next.AppendJSON(nil))
			switch rnd.IntN(6) {
			case 0: // caught half-written, then complete
				write(t, path, content[:rnd.IntN(len(content))])
				pass()
				write(t, path, content)
			case 1: // a mistake first
				replace(t, path, `{"localRoots": [], "publicRoots": [], }`)
				pass()
				replace(t, path, content)
			case 2:
				replace(t, path, content)
				w.Reload()
			default:
				replace(t, path, content)
			}
			pass()
			require.Equal(t, current, w.Current(), "edit %d", i)
			if i%100 != 0 {
				continue
			}
			if !good {
				replace(t, path, string(current.AppendJSON(nil)))
				pass()
			}
			r, err := ReadFile(path, Options{Lenient: true})
			require.NoError(t, err)
			require.NoError(t, r.Err())
			fresh, err := NewProvider(r.Topology, cfg)
			require.NoError(t, err)
			// Names that the running provider asked for in vain before wait for their turn in both.
			time.Sleep(maxTTL + time.Minute)
			synctest.Wait()
			require.Equal(t, answers(t, fresh), answers(t, p), "after %d edits", i)
			fresh.Close()
		}
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Greater(t, applied, 800)
	})
}
