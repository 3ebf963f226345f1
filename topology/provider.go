package topology

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"time"
)

// RootSettings is what the governor needs to know of a topology besides addresses.
type RootSettings = struct {
	UseBootstrap, BootstrapEmpty, UseLedger bool
	SnapshotSlot                            uint64
	SnapshotHash                            [32]byte
}

// Ledger is the host's view of the stake distribution. Both methods must be safe for concurrent use.
type Ledger interface {
	// Tip is the slot of the chain's tip; origin is true while there is none.
	Tip() (slot uint64, origin bool)
	// Pools lists the stake pools that have relays. Stakes may be amounts or shares.
	Pools(ctx context.Context) ([]Pool, error)
}

// ProviderConfig is what a provider needs besides the topology. The zero value resolves with the operating system and has no
// ledger.
type ProviderConfig struct {
	// Resolver for all names; nil is SystemResolver{}.
	Resolver Resolver
	// NoIPv4 and NoIPv6 say that we have no address of that family: its records are not asked for. Not both.
	NoIPv4, NoIPv6 bool
	// Ledger may be nil: then ledger peers come from a peer snapshot only.
	Ledger Ledger
	// Genesis says that the node runs in Genesis mode: bootstrap peers are off whatever the topology says, and a snapshot
	// that cannot be read is fatal at start.
	Genesis bool
	// Magic is the network's; a snapshot of another one is not used.
	Magic uint32
	// Dir is where a relative snapshot path starts: the directory of the topology file.
	Dir string
	// LoadSnapshot reads the snapshot file; nil reads JSON leniently.
	LoadSnapshot func(path string) (*Snapshot, error)
	// Seed of all random choices.
	Seed uint64
	// Report, when not nil, is told of failures that have no other way out: look-ups, snapshots that are not used, the ledger.
	// It is called from several goroutines, with no lock held, and must not call Close.
	Report func(error)
}

// Provider answers the governor's questions for root peers (governor §1.4, §6, §7): it satisfies governor.Roots. It only
// answers; which source is asked when, and what to do without an answer, is the governor's business. All methods are safe for
// concurrent use.
//
// It runs one goroutine and at most two look-ups for local roots at a time; questions for public roots, bootstrap and ledger
// peers together run at most eight. Memory is that of the topology, its addresses and one selection over the ledger's pools.
type Provider struct {
	cfg    ProviderConfig
	look   lookuper
	start  time.Time
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}
	kick   chan struct{} // capacity 1: names may have become due
	remote chan struct{} // a place for each look-up on demand

	apply sync.Mutex // one Apply at a time; held while files are read

	mu              sync.Mutex
	topology        *Topology
	names           nameTable
	groups          []LocalRootGroup
	members         map[netip.Addr]bool     // of the groups, whatever the port
	trusted         map[netip.AddrPort]bool // members of trustable groups
	groupsChanged   chan struct{}
	settings        RootSettings
	settingsChanged chan struct{}
	snapshot        *Snapshot
	ledger          ledgerCache
	rnd             *rand.Rand
	counters        Counters
}

// Counters are what a provider has done since its start.
type Counters struct {
	Lookups        uint64 // names looked up, an SRV name with its target as one
	LookupFailures uint64
	Applied        uint64 // topologies applied, the first one included
	LedgerReads    uint64
	LedgerPicks    uint64 // access points drawn for ledger peers
	LocalNames     int    // names of local roots, resolved or not
	LocalRoots     int    // addresses of local roots
}

// NewProvider starts a provider with a first topology. It fails when that cannot work: both families off, or a peer snapshot
// that governor §6.3 calls fatal at start. Close must be called.
func NewProvider(t *Topology, cfg ProviderConfig) (*Provider, error) {
	if cfg.NoIPv4 && cfg.NoIPv6 {
		return nil, errors.New("topology: neither IPv4 nor IPv6")
	}
	if cfg.Resolver == nil {
		cfg.Resolver = SystemResolver{}
	}
	if cfg.LoadSnapshot == nil {
		cfg.LoadSnapshot = loadSnapshot
	}
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	p := &Provider{
		cfg:           cfg,
		look:          lookuper{cfg.Resolver, !cfg.NoIPv4, !cfg.NoIPv6},
		start:         time.Now(),
		done:          make(chan struct{}),
		kick:          make(chan struct{}, 1),
		remote:        make(chan struct{}, remoteLookups),
		groupsChanged: make(chan struct{}), settingsChanged: make(chan struct{}),
		rnd: rand.New(rand.NewPCG(cfg.Seed, 0x6c656467)),
	}
	if err := p.use(t, true); err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	go p.run()
	return p, nil
}

// Close ends all work and waits for it.
func (p *Provider) Close() {
	p.stop()
	<-p.done
}

// Apply makes another topology count. What needs no look-up takes effect before it returns, names as they resolve; addresses of
// names that stay are kept. The peer snapshot is read again. After a series of changes the answers are those of a fresh
// provider with the last topology.
//
// [REF-BUG] governor §6.4: in the reference a change of plain addresses only takes effect when some look-up succeeds, and
// with no names at all never.
func (p *Provider) Apply(t *Topology) { _ = p.use(t, false) }

func (p *Provider) use(t *Topology, first bool) error {
	p.apply.Lock()
	defer p.apply.Unlock()
	t = t.Clone()
	p.mu.Lock()
	p.topology = t
	p.counters.Applied++
	p.names.set(p.now(), t.localNames())
	p.updateGroups()
	have := p.snapshot
	p.mu.Unlock()
	p.wake()

	snapshot, err := p.readSnapshot(t, have, first)
	if first && err != nil {
		return err
	}
	if err != nil {
		p.cfg.Report(err)
	}
	p.mu.Lock()
	if snapshot != have {
		p.snapshot = snapshot
		p.ledger.forget()
	}
	// [TRAP] governor §6.2: the reference goes on with its old pools for up to half an hour after such a change.
	p.ledger.use(t.UseLedger)
	p.updateSettings()
	p.mu.Unlock()
	return nil
}

// localNames lists the access points of the local roots that need resolving.
func (t *Topology) localNames() []AccessPoint {
	var out []AccessPoint
	for _, g := range t.LocalRoots {
		for _, a := range g.AccessPoints {
			if a.Kind != IP {
				out = append(out, a)
			}
		}
	}
	return out
}

// now is the time since the start.
func (p *Provider) now() time.Duration { return time.Since(p.start) }

func (p *Provider) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// updateGroups works the local roots out anew. The caller holds mu.
func (p *Provider) updateGroups() {
	groups := resolveGroups(p.topology.LocalRoots, p.names.lookup)
	if !equalGroups(groups, p.groups) {
		p.groups = groups
		p.members, p.trusted = map[netip.Addr]bool{}, map[netip.AddrPort]bool{}
		for _, g := range groups {
			for _, a := range g.Members {
				p.members[a.Addr()] = true
				if g.Trustable {
					p.trusted[a] = true
				}
			}
		}
		close(p.groupsChanged)
		p.groupsChanged = make(chan struct{})
	}
}

// updateSettings does the same for the settings. The caller holds mu.
func (p *Provider) updateSettings() {
	t := p.topology
	s := RootSettings{UseBootstrap: t.UsesBootstrap() && !p.cfg.Genesis, UseLedger: t.UseLedger.Enabled()}
	s.BootstrapEmpty = s.UseBootstrap && len(t.BootstrapPeers) == 0
	if p.snapshot != nil {
		s.SnapshotSlot = p.snapshot.Slot
		copy(s.SnapshotHash[:], p.snapshot.Hash)
	}
	if s != p.settings {
		p.settings = s
		close(p.settingsChanged)
		p.settingsChanged = make(chan struct{})
	}
}

// run looks the names of the local roots up as they become due.
func (p *Provider) run() {
	defer close(p.done)
	var work sync.WaitGroup
	defer work.Wait()
	type result struct {
		entry  *nameEntry
		answer answer
	}
	results := make(chan result)
	busy := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := time.Duration(-1)
		p.mu.Lock()
		for busy < localLookups {
			e, ok := p.names.start(p.now())
			if !ok {
				break
			}
			busy++
			seed := p.rnd.Uint64()
			work.Go(func() {
				a := p.look.lookup(p.ctx, e.point, seed)
				select {
				case results <- result{e, a}:
				case <-p.ctx.Done():
				}
			})
		}
		if due, ok := p.names.next(); ok && busy < localLookups {
			wait = max(0, due-p.now())
		}
		p.mu.Unlock()
		if timer.Stop(); wait >= 0 {
			timer.Reset(wait)
		}
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		case r := <-results:
			busy--
			p.mu.Lock()
			p.counters.Lookups++
			if r.answer.failed() {
				p.counters.LookupFailures++
			}
			if p.names.finish(p.now(), r.entry, r.answer) {
				p.updateGroups()
			}
			p.mu.Unlock()
			p.report(r.entry.point, &r.answer)
		}
	}
}

// LocalRoots returns the groups of local roots, normalised (governor §2) but not clamped to any target, and a channel that is
// closed when they change. The groups must not be changed.
func (p *Provider) LocalRoots() (groups []LocalRootGroup, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groups, p.groupsChanged
}

// IsLocalRoot tells whether an address is a local root's, whatever the port: what a connection manager protects. It costs one
// look into a map.
func (p *Provider) IsLocalRoot(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members[a.Unmap()]
}

// IsTrustable tells whether a peer is a local root of a trustable group, which chain-sync lets take its time (governor §2).
func (p *Provider) IsTrustable(peer netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trusted[netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())]
}

// Settings returns the flags of the topology, the point of the snapshot in use (zero without one), and a channel that is closed
// when they change.
func (p *Provider) Settings() (s RootSettings, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings, p.settingsChanged
}

// Counters returns a snapshot of the counters.
func (p *Provider) Counters() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counters
	c.LocalNames = len(p.names.byName)
	for _, g := range p.groups {
		c.LocalRoots += len(g.Members)
	}
	return c
}

// PublicRoots resolves all configured public roots: address → whether it may be shared. An address that several groups have
// belongs to the first. It fails only when nothing could be resolved. The life time is that of the longest-lived answer.
func (p *Provider) PublicRoots(ctx context.Context) (advertise map[netip.AddrPort]bool, ttl time.Duration, err error) {
	p.mu.Lock()
	roots := p.topology.PublicRoots
	p.mu.Unlock()
	var points []AccessPoint
	var flags []bool
	for _, r := range roots {
		for _, a := range r.AccessPoints {
			points = append(points, a)
			flags = append(flags, r.Advertise)
		}
	}
	found, ttl, err := p.resolveAll(ctx, points)
	advertise = make(map[netip.AddrPort]bool)
	for i, addrs := range found {
		for _, a := range addrs {
			if _, ok := advertise[a]; !ok {
				advertise[a] = flags[i]
			}
		}
	}
	return advertise, ttl, err
}

// BootstrapPeers resolves the bootstrap list; nil without an error when bootstrap peers are off. It fails only when nothing
// could be resolved.
func (p *Provider) BootstrapPeers(ctx context.Context) (peers []netip.AddrPort, ttl time.Duration, err error) {
	p.mu.Lock()
	points := p.topology.BootstrapPeers
	p.mu.Unlock()
	if points == nil || p.cfg.Genesis {
		return nil, 0, nil
	}
	found, ttl, err := p.resolveAll(ctx, points)
	peers = []netip.AddrPort{}
	seen := make(map[netip.AddrPort]struct{})
	for _, addrs := range found {
		for _, a := range addrs {
			if _, again := seen[a]; !again {
				seen[a] = struct{}{}
				peers = append(peers, a)
			}
		}
	}
	return peers, ttl, err
}

// resolveAll looks all names up, eight at a time over all callers, and returns the addresses of each access point. Plain
// addresses live as long as any answer can.
func (p *Provider) resolveAll(ctx context.Context, points []AccessPoint) (found [][]netip.AddrPort, ttl time.Duration, err error) {
	found = make([][]netip.AddrPort, len(points))
	answers := make([]*answer, len(points))
	var work sync.WaitGroup
	for i, a := range points {
		if a.Kind == IP {
			found[i] = []netip.AddrPort{a.AddrPort()}
			ttl = maxTTL
			continue
		}
		select {
		case p.remote <- struct{}{}:
		case <-ctx.Done():
			work.Wait()
			return nil, 0, ctx.Err()
		}
		seed := p.seed()
		work.Go(func() {
			got := p.look.lookup(ctx, a, seed)
			<-p.remote
			answers[i] = &got
		})
	}
	work.Wait()
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	var errs []error
	any, dead := false, 0
	for i, got := range answers {
		if got == nil {
			any = true
			continue
		}
		if got.failed() {
			dead++
			errs = append(errs, &LookupError{points[i], got.err()})
			p.report(points[i], got)
			continue
		}
		any = true
		found[i] = got.addrs()
		ttl = max(ttl, got.ttl())
	}
	p.mu.Lock()
	p.counters.Lookups += uint64(len(points)) - p.countIPs(points)
	p.counters.LookupFailures += uint64(dead)
	p.mu.Unlock()
	if !any && len(errs) > 0 {
		return nil, minTTL, errs[0]
	}
	return found, max(ttl, minTTL), nil
}

func (p *Provider) countIPs(points []AccessPoint) uint64 {
	n := uint64(0)
	for _, a := range points {
		if a.Kind == IP {
			n++
		}
	}
	return n
}

func (p *Provider) seed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rnd.Uint64()
}

// LookupError says that a name could not be resolved.
type LookupError struct {
	Point AccessPoint
	Err   error
}

// Error names the access point and the resolver's error.
func (e *LookupError) Error() string { return "looking up " + e.Point.String() + ": " + e.Err.Error() }

// Unwrap returns the resolver's error.
func (e *LookupError) Unwrap() error { return e.Err }

// Fault is "network" unless the resolver's error says otherwise.
func (e *LookupError) Fault() string {
	var f interface{ Fault() string }
	if errors.As(e.Err, &f) {
		return f.Fault()
	}
	return "network"
}

func (p *Provider) report(point AccessPoint, a *answer) {
	if err := a.err(); err != nil && p.ctx.Err() == nil {
		p.cfg.Report(&LookupError{point, err})
	}
}

// snapshotPath is where the snapshot lies, "" when there is none to load.
func (p *Provider) snapshotPath(t *Topology) string {
	if t.PeerSnapshotFile == nil || *t.PeerSnapshotFile == "" || !t.UseLedger.Enabled() {
		return ""
	}
	if filepath.IsAbs(*t.PeerSnapshotFile) {
		return *t.PeerSnapshotFile
	}
	return filepath.Join(p.cfg.Dir, *t.PeerSnapshotFile)
}
