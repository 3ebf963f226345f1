package governor

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// knobs span the generated networks; rapid shrinks them.
type knobs struct {
	Seed                                uint64
	Peers, Groups                       int
	Known, Established, Active, Roots   int
	Big                                 int
	Sharing, Ledger, Bootstrap, Genesis bool
	Faulty                              int // of 100 peers
	Breaks, Returns, Scripts, Outages   bool
	Churn, Bulk, Detect                 bool
	LocalTrust                          bool
}

func drawKnobs(t *rapid.T) knobs {
	b := func(name string) bool { return rapid.Bool().Draw(t, name) }
	n := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name) }
	k := knobs{
		Seed: rapid.Uint64().Draw(t, "seed"), Peers: n("peers", 1, 40), Groups: n("groups", 0, 3), Active: n("active", 0, 6),
		Sharing: b("sharing"), Ledger: b("ledger"), Bootstrap: b("bootstrap"), Genesis: b("genesis"), Faulty: n("faulty", 0, 60),
		Breaks: b("breaks"), Returns: b("returns"), Scripts: b("scripts"), Outages: b("outages"), Churn: b("churn"), Bulk: b("bulk"),
		Detect: b("detect"), LocalTrust: b("local trust"), Big: n("big", 0, 4),
	}
	k.Established = k.Active + n("warm", 0, 6)
	k.Known = k.Established + n("cold", 0, 20)
	k.Roots = n("roots", 0, k.Known)
	return k
}

// generate makes a mock environment with an hour's script.
func generate(t testing.TB, k knobs) *mock {
	cfg := Config{
		Targets: Targets{Roots: k.Roots, Known: k.Known, Established: k.Established, Active: k.Active,
			KnownBigLedger: 3 * k.Big, EstablishedBigLedger: 2 * k.Big, ActiveBigLedger: k.Big},
		SyncTargets: Targets{Known: k.Known, Established: k.Established, Active: k.Active / 2, KnownBigLedger: 4 * k.Big,
			EstablishedBigLedger: 3 * k.Big, ActiveBigLedger: 2 * k.Big},
		Genesis: k.Genesis, PeerSharing: k.Sharing, NoChurn: !k.Churn, NoOutageDetection: !k.Detect, Seed: k.Seed,
	}
	m := newMock(t, cfg, k.Seed)
	r := m.rnd
	for i := range k.Peers {
		m.add(m.scriptPeer(k, i))
	}
	for _, p := range m.order {
		for range r.IntN(2 * k.Peers) {
			p.knows = append(p.knows, ip(r.IntN(k.Peers+2))) // two of them do not exist
		}
	}
	m.settings = RootSettings{UseLedger: k.Ledger, UseBootstrap: k.Bootstrap}
	m.ledger = LedgerSet{TooOld: k.Bootstrap || k.Genesis, BulkSync: k.Bulk}
	m.local = m.someGroups(k)
	for _, s := range []Source{SourceLedger, SourceBigLedger, SourcePublic, SourceBootstrap} {
		src := source{ttl: time.Duration(1+r.IntN(300)) * time.Second, latency: time.Duration(r.IntN(3000)) * time.Millisecond,
			all: s == SourcePublic || s == SourceBootstrap}
		for _, p := range m.order {
			if r.IntN(3) == 0 {
				src.peers = append(src.peers, RootPeer{Peer: p.addr, Advertise: r.IntN(2) == 0})
			}
		}
		if k.Outages && r.IntN(2) == 0 {
			src.fails = []span{m.someSpan(10 * time.Minute)}
		}
		m.sources[s] = src
	}
	if r.IntN(4) == 0 {
		m.settings.BootstrapEmpty = k.Bootstrap
		m.sources[SourceBootstrap].peers = nil
	}
	for _, p := range m.order {
		if r.IntN(8) == 0 {
			m.inbound = append(m.inbound, InboundPeer{p.addr, p.shares})
		}
	}
	if k.Outages && r.IntN(2) == 0 {
		m.cut = []span{m.someSpan(15 * time.Minute)}
	}
	if k.Scripts {
		m.script(k)
	}
	return m
}

func (m *mock) someSpan(most time.Duration) span {
	from := time.Duration(m.rnd.Int64N(int64(40 * time.Minute)))
	return span{from, from + time.Duration(m.rnd.Int64N(int64(most)))}
}

func (m *mock) scriptPeer(k knobs, i int) *mockPeer {
	r := m.rnd
	p := &mockPeer{addr: ip(i), latency: time.Duration(r.IntN(2000)) * time.Millisecond, shares: r.IntN(2) == 0,
		answer: time.Duration(r.IntN(12_000)) * time.Millisecond, backoff: -1}
	if m.chance(k.Faulty) {
		switch r.IntN(7) {
		case 0:
			p.failing = 100
		case 1:
			p.failing, p.fault = 50, Fault(r.IntN(4))
		case 2:
			p.failing, p.retry = 50, time.Duration(1+r.IntN(60))*time.Second
		case 3:
			p.badAct = 50
		case 4:
			p.badDeact, p.lingers = 50, time.Duration(r.IntN(90))*time.Second
		case 5:
			p.hung = 50
		case 6:
			p.silent = 70
			p.down = []span{m.someSpan(20 * time.Minute)}
		}
	}
	if k.Breaks && r.IntN(3) == 0 {
		p.breaks = time.Duration(20+r.IntN(1200)) * time.Second
		p.lingers = time.Duration(r.IntN(2)*r.IntN(60)) * time.Second
	}
	if k.Returns && r.IntN(3) == 0 {
		p.returns = time.Duration(10+r.IntN(600)) * time.Second
		p.backoff = []time.Duration{-1, 10 * time.Second, 120 * time.Second, 180 * time.Second}[r.IntN(4)]
	}
	return p
}

func (m *mock) someGroups(k knobs) []LocalRootGroup {
	r := m.rnd
	var gs []LocalRootGroup
	for range k.Groups {
		var members []netip.AddrPort
		for range r.IntN(5) {
			members = append(members, ip(r.IntN(k.Peers)))
		}
		warm := r.IntN(4)
		gs = append(gs, LocalRootGroup{Hot: r.IntN(warm + 1), Warm: warm, Members: members, Advertise: r.IntN(2) == 0,
			Trustable: k.LocalTrust && r.IntN(2) == 0, InitiatorOnly: r.IntN(4) == 0})
	}
	return gs
}

// script changes the environment while it runs.
func (m *mock) script(k knobs) {
	r := m.rnd
	some := func() time.Duration { return time.Duration(r.Int64N(int64(55 * time.Minute))) }
	for range r.IntN(6) {
		gs := m.someGroups(k)
		m.at(some(), func() { m.local = gs; m.feed(LocalRootsSet{gs}) })
	}
	for range r.IntN(4) {
		f := func(n int) int { return r.IntN(n + 1) }
		t := m.core.cfg.Targets
		t.Active = f(t.Active)
		t.Established = t.Active + f(4)
		t.Known = t.Established + f(10)
		t.Roots = f(t.Known)
		t.ActiveBigLedger = f(t.ActiveBigLedger)
		t.EstablishedBigLedger = t.ActiveBigLedger + f(3)
		t.KnownBigLedger = t.EstablishedBigLedger + f(5)
		m.at(some(), func() { m.feed(TargetsSet{t, m.core.cfg.SyncTargets}) })
	}
	for range r.IntN(4) {
		m.at(some(), func() {
			m.ledger.TooOld = !m.ledger.TooOld
			m.feed(m.ledger)
		})
	}
	for range r.IntN(3) {
		m.at(some(), func() {
			m.settings.UseBootstrap = !m.settings.UseBootstrap
			m.feed(SettingsSet{m.settings})
		})
	}
	for range r.IntN(3) {
		slot := r.Uint64N(1 << 30)
		m.at(some(), func() {
			m.settings.SnapshotSlot = slot
			m.feed(SettingsSet{m.settings})
		})
	}
	for range r.IntN(4) {
		a, good := ip(r.IntN(k.Peers)), r.IntN(2) == 0
		m.at(some(), func() { m.feed(Reported{Peer: a, Good: good, Reason: "script"}) })
	}
	for range r.IntN(40) {
		s := Sighting{Peer: ip(r.IntN(k.Peers)), Slot: r.Uint64N(1000), Bytes: r.IntN(90_000)}
		m.at(some(), func() {
			s.At = m.now
			m.feed(MetricsSeen{Headers: []Sighting{s}, Blocks: []Sighting{s}})
		})
	}
	for _, p := range m.order {
		for range r.IntN(3) * r.IntN(20) {
			from := some()
			p.calls = append(p.calls, span{from, from + time.Duration(r.Int64N(int64(time.Minute)))})
			m.at(from, func() { m.feed(InboundSeen{p.addr}) })
		}
	}
	if r.IntN(2) == 0 {
		var stored []StoredPeer
		for range r.IntN(10) {
			stored = append(stored, StoredPeer{Peer: ip(r.IntN(k.Peers)), Shared: r.IntN(2) == 0, Fails: r.IntN(3)})
		}
		m.at(time.Millisecond, func() { m.feed(Restored{stored}) })
	}
}

// randomKnobs are those of a seed, for runs that are not rapid's.
func randomKnobs(seed uint64) knobs {
	r := rand.New(rand.NewPCG(seed, 99))
	b := func() bool { return r.IntN(2) == 0 }
	k := knobs{Seed: seed, Peers: 1 + r.IntN(40), Groups: r.IntN(4), Active: r.IntN(7), Big: r.IntN(5), Sharing: b(), Ledger: b(),
		Bootstrap: b(), Genesis: r.IntN(4) == 0, Faulty: r.IntN(60), Breaks: b(), Returns: b(), Scripts: b(), Outages: b(), Churn: b(),
		Bulk: b(), Detect: b(), LocalTrust: b()}
	k.Established = k.Active + r.IntN(7)
	k.Known = k.Established + r.IntN(21)
	k.Roots = r.IntN(k.Known + 1)
	return k
}
