package governor

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// soak is whether the long versions of tests run: 1,000 generated runs instead of 100. It asks within a test, so that the test
// cache knows.
func soak() bool { return os.Getenv("HEARTH_SOAK") == "1" }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// property is one of governor §10.2, or one of ours. during looks at every step of a run, after at the whole of it.
type property struct {
	name   string
	during func(m *mock, s step, o *oracle) error
	after  func(m *mock) error
}

// newProperties are all checked on every run: those of governor §10.2 under their names, and a few more. Properties that are only seen
// over many runs have tests of their own below.
func newProperties() []property {
	ps := []property{noFail(), viewSizes(), hasOutput(), noLivelock(), noBusyness(), connStatus(), staleResults(), repromoteDelay(), backOff(),
		associationMode(), sharesOnlyWhatMayBeShared()}
	ps = append(ps, opportunities()...)
	ps = append(ps, rootBelow(), validSubset(), notTooChatty(), resultsUsed(), noOvershoot())
	ps = append(ps, noShrink()...)
	return append(ps, fallbackState(), noStrangersBeforeCaughtUp(), cleanState(), stopsUsingBootstrapPeers(), usesLedgerPeers())
}

// observe makes the mock check all properties.
func (m *mock) observe(ps []property) {
	m.check = func(m *mock, s step) error {
		o := newOracle(m.core)
		for _, p := range ps {
			if p.during == nil || m.core.fatal && p.name != "prop_governor_nofail" {
				continue
			}
			if err := p.during(m, s, o); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		return nil
	}
}

// checked runs a generated network for a while and checks all properties.
func checked(t testing.TB, k knobs, explore uint64, d time.Duration) *mock {
	m := generate(t, k)
	if explore > 0 {
		m.explore(explore, 20*time.Second)
	}
	ps := newProperties()
	m.observe(ps)
	m.start()
	m.run(d)
	if m.err != nil {
		from := max(0, len(m.log)-12)
		for _, s := range m.log[from:] {
			t.Logf("%v %T%+v\n\t%v\n\t%v", s.at, s.event, s.event, s.trace, s.effects)
		}
		t.Fatalf("%+v\n%v", k, m.err)
	}
	for _, p := range ps {
		if p.after != nil {
			if err := p.after(m); err != nil {
				t.Fatalf("%+v\n%s: %v", k, p.name, err)
			}
		}
	}
	return m
}

// moreChecks is 1,000 runs instead of 100 in a soak.
func moreChecks(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); soak() && f.Value.String() == "100" {
		if err := f.Value.Set("1000"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProperties is every property of governor §10.2 on generated networks: an hour each.
func TestProperties(t *testing.T) {
	moreChecks(t)
	rapid.Check(t, func(r *rapid.T) { checked(fatalT{t, r}, drawKnobs(r), 0, time.Hour) })
}

// TestNothingWanted: in Genesis mode, targets that are set for when the node has caught up want nothing before.
func TestNothingWanted(t *testing.T) {
	checked(t, knobs{Seed: 1, Peers: 3, Groups: 3, Genesis: true, Returns: true, Scripts: true}, 0, time.Hour)
}

// TestExplore is prop_explore_governor_nolivelock and prop_explore_governor_connstatus, and every other property: of each network some
// course that events may take when what happens at one instant comes in any order and results of orders come up to 20 s late.
func TestExplore(t *testing.T) {
	moreChecks(t)
	rapid.Check(t, func(r *rapid.T) {
		checked(fatalT{t, r}, drawKnobs(r), rapid.Uint64Min(1).Draw(r, "course"), 20*time.Minute)
	})
}

// fatalT lets helpers that want a testing.TB fail a rapid check, so that it shrinks.
type fatalT struct {
	testing.TB
	r *rapid.T
}

func (f fatalT) Fatal(a ...any)            { f.r.Fatal(a...) }
func (f fatalT) Fatalf(s string, a ...any) { f.r.Fatalf(s, a...) }
func (f fatalT) Logf(s string, a ...any)   { f.r.Logf(s, a...) }
func (f fatalT) Helper()                   {}

// TestPeerShare1hr is prop_governor_peershare_1hr: nobody is known who cannot be reached by asking, and within the hour the target is
// met or everybody who can be reached is known.
func TestPeerShare1hr(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(2, 25).Draw(r, "peers")
		target := rapid.IntRange(1, 30).Draw(r, "target")
		cfg := Config{Targets: Targets{Roots: 1, Known: target, Established: target}, PeerSharing: true, NoChurn: true,
			Seed: rapid.Uint64().Draw(r, "seed")}
		m := newMock(t, cfg, cfg.Seed)
		for i := range n {
			m.add(&mockPeer{addr: ip(i), latency: time.Second, shares: true, answer: time.Duration(rapid.IntRange(0, 9).Draw(r, "answer")) * time.Second})
		}
		for _, p := range m.order {
			for range rapid.IntRange(0, 4).Draw(r, "knows") {
				p.knows = append(p.knows, ip(rapid.IntRange(0, n-1).Draw(r, "peer")))
			}
		}
		m.sources[SourcePublic] = source{peers: []RootPeer{{Peer: ip(0)}}, ttl: time.Minute}
		reachable, todo := set{ip(0): true}, []netip.AddrPort{ip(0)}
		for len(todo) > 0 {
			for _, a := range m.peers[todo[0]].knows {
				if !reachable[a] {
					reachable[a] = true
					todo = append(todo, a)
				}
			}
			todo = todo[1:]
		}
		m.start()
		m.run(3 * time.Hour) // the first question comes after five minutes: one hop each
		known := newOracle(m.core).known
		if extra := known.minus(reachable); len(extra) > 0 {
			r.Fatalf("%v are known and cannot be reached", extra)
		}
		if len(known) != min(target, len(reachable)) {
			r.Fatalf("%d known, %d can be reached, target %d", len(known), len(reachable), target)
		}
	})
}

// TestTraceCoverage is prop_governor_trace_coverage, prop_governor_events_coverage and prop_governor_target_{established,active}_public: over
// some runs everything that can be traced is, enough happens in most of them to be worth looking at, and public roots do become
// established and active, big ledger peers too.
func TestTraceCoverage(t *testing.T) {
	seen, lengths := map[string]int{}, map[int]int{}
	var public, big struct{ established, active int } // runs in which some were
	for seed := range uint64(80) {
		m := generate(t, randomKnobs(seed))
		var established, active, establishedBig, activeBig bool
		m.check = func(m *mock, s step) error {
			established, active = established || m.hasPublic(place.established), active || m.hasPublic(place.active)
			establishedBig, activeBig = establishedBig || s.counts.establishedBig > 0, activeBig || s.counts.activeBig > 0
			return nil
		}
		m.start()
		m.run(time.Hour)
		events := 0
		for _, s := range m.log {
			for _, tr := range s.trace {
				seen[tr.Name]++
			}
			events += len(s.trace)
		}
		lengths[len(strconv.Itoa(events))]++
		for _, c := range []struct {
			is bool
			n  *int
		}{{established, &public.established}, {active, &public.active}, {establishedBig, &big.established}, {activeBig, &big.active}} {
			if c.is {
				*c.n++
			}
		}
	}
	if public.established < 20 || public.active < 10 || big.established < 10 || big.active < 10 {
		t.Errorf("of 80 runs, public roots were established and active in %+v, big ledger peers in %+v", public, big)
	}
	if lengths[3]+lengths[4] < 40 {
		t.Errorf("of 80 runs, so many had a number of traces of so many digits: %v", lengths)
	}
	t.Logf("public roots were established and active in %+v, big ledger peers in %+v of 80 runs; digits of the number of traces: %v", public, big, lengths)
	for _, name := range []string{"LocalRootPeersChanged", "TargetsChanged", "PublicRootsRequest", "PublicRootsResults", "PublicRootsFailure",
		"BigLedgerPeersRequest", "BigLedgerPeersResults", "BigLedgerPeersFailure", "PeerShareRequests", "PeerShareResults",
		"PeerShareResultsFiltered", "PickInboundPeers", "ForgetColdPeers", "ForgetBigLedgerPeers", "PromoteColdPeers",
		"PromoteColdLocalPeers", "PromoteColdBigLedgerPeers", "PromoteColdFailed", "PromoteColdDone", "PromoteColdBigLedgerPeerFailed",
		"PromoteColdBigLedgerPeerDone", "PromoteWarmPeers", "PromoteWarmLocalPeers", "PromoteWarmBigLedgerPeers", "PromoteWarmFailed",
		"PromoteWarmDone", "PromoteWarmBigLedgerPeerDone", "DemoteWarmPeers", "DemoteWarmDone", "DemoteWarmBigLedgerPeers",
		"DemoteWarmBigLedgerPeerDone", "DemoteHotPeers", "DemoteLocalHotPeers", "DemoteHotBigLedgerPeers", "DemoteHotDone",
		"DemoteHotBigLedgerPeerDone", "DemoteAsynchronous", "DemoteLocalAsynchronous", "DemoteBigLedgerPeersAsynchronous", "BackOffLifted", "ChurnWait",
		"ChurnAction", "ChurnTimeout", "LedgerStateJudgementChanged", "OnlyBootstrapPeers", "UseBootstrapPeersChanged", "StatusChanged",
		"Banned", "OutageBegan", "OutageEnded", "RestoredPeers", "PeerSnapshotReplaced", "VerifyPeerSnapshot"} {
		if seen[name] == 0 {
			t.Errorf("%s was never traced", name)
		}
	}
	t.Log(seen)
}

// hasPublic reports whether some public root that is not a big ledger peer is in such a place.
func (m *mock) hasPublic(is func(place) bool) bool {
	for _, cl := range []class{classBootstrap, classPublic, classLedger} {
		for p := range places {
			if is(p) && len(m.core.buckets[cl][p].ids) > 0 {
				return true
			}
		}
	}
	return false
}
