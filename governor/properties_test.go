package governor

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// soak is whether the long versions of tests run: 1,000 generated runs instead of 100. It asks within a test, so that the test
// cache knows.
func soak() bool { return os.Getenv("HEARTH_SOAK") == "1" }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// property is one of governor §10.2. during looks at every step of a run, after at the whole of it.
type property struct {
	name   string
	during func(m *mock, s step, o *oracle) error
	after  func(m *mock) error
}

// properties are all checked on every run. Where the reference allows an opportunity some seconds, here it is taken in the very
// step in which it arises: see [oracle.missed], which stands behind every …_below and …_above.
func newProperties() []property {
	var ps []property
	add := func(name string, during func(*mock, step, *oracle) error, after func(*mock) error) {
		ps = append(ps, property{name, during, after})
	}
	add("prop_governor_nofail", func(m *mock, _ step, _ *oracle) error { return m.core.Check() }, nil)
	add("prop_peerSelectionView_sizes", func(_ *mock, s step, o *oracle) error {
		if s.at%7 != 0 && len(s.effects) == 0 {
			return nil
		}
		return o.sizes()
	}, nil)
	add("prop_governor_target_{known,established,active,root}_{below,above}_opportunity_taken", func(_ *mock, _ step, o *oracle) error {
		return o.missed()
	}, nil)
	add("prop_governor_hasoutput", nil, func(m *mock) error {
		out := 0
		for _, s := range m.log {
			out += len(s.trace)
		}
		if out == 0 && m.core.cfg.Targets != (Targets{}) {
			return fmt.Errorf("nothing was ever traced")
		}
		return nil
	})
	ps = append(ps, noLivelock(), noBusyness(), connStatus(), notTooChatty(), repromoteDelay(), fallback(), noShrink())
	add("prop_governor_target_known_1_valid_subset", func(m *mock, s step, o *oracle) error {
		for a := range o.known {
			if !m.told[a] {
				return fmt.Errorf("%v is known and nobody ever named it", a)
			}
		}
		return nil
	}, nil)
	add("prop_governor_target_known_4_results_used", func(m *mock, s step, _ *oracle) error {
		// No overshoot: what peers tell never takes known above the target.
		for _, t := range s.trace {
			if t.Name == "PeerShareResultsFiltered" && t.Actual+len(t.Peers) > t.Target {
				return fmt.Errorf("%d known, target %d, and %d more were taken", t.Actual, t.Target, len(t.Peers))
			}
		}
		return nil
	}, nil)
	add("prop_governor_association_mode", func(m *mock, s step, _ *oracle) error {
		local := !m.settings.UseLedger && !m.core.cfg.PeerSharing && (m.core.cfg.Genesis || !m.settings.UseBootstrap)
		if got := m.core.Association() == LocalRootsOnly; got != local {
			return fmt.Errorf("local roots only: %v, want %v", got, local)
		}
		return nil
	}, nil)
	add("prop_governor_uses_ledger_peers", func(m *mock, s step, _ *oracle) error {
		// While sensitive bootstrap peers only; else the ledger first, and public roots only when it is off or had nothing to say.
		_, answer := s.event.(RootsAnswered)
		for _, e := range s.effects {
			if e.Kind != RequestRoots {
				continue
			}
			sensitive := !m.core.cfg.Genesis && m.settings.UseBootstrap && m.ledger.TooOld
			if sensitive != (e.Source == SourceBootstrap) || m.settings.UseLedger && e.Source == SourcePublic && !answer {
				return fmt.Errorf("%v, sensitive %v, ledger %v", e, sensitive, m.settings.UseLedger)
			}
		}
		return nil
	}, nil)
	add("prop_governor_only_bootstrap_peers_in_clean_state", func(_ *mock, s step, o *oracle) error {
		if s.counts.sensitive && s.counts.onlyTrusted && len(o.untrusted()) > 0 {
			return fmt.Errorf("a clean state knows %v", o.untrusted())
		}
		return nil
	}, nil)
	add("prop_governor_shares_only_what_may_be_shared", func(m *mock, s step, o *oracle) error {
		for _, a := range m.core.Shareable(10, m.now) {
			if !o.advertised[a] || !o.everConnected[a] || m.core.find(a).fails != 0 {
				return fmt.Errorf("%v is shared", a)
			}
		}
		return nil
	}, nil)
	return ps
}

func noLivelock() property {
	at, steps := time.Duration(-1), 0
	return property{name: "prop_governor_nolivelock", during: func(m *mock, s step, _ *oracle) error {
		if s.at != at {
			at, steps = s.at, 0
		}
		if steps++; steps > 500 {
			return fmt.Errorf("%d steps at one instant", steps)
		}
		if len(s.trace) > 2000 {
			return fmt.Errorf("%d traces of one step", len(s.trace))
		}
		return nil
	}}
}

// noBusyness: wake-ups that lead to nothing are rare; everything else is caused by the environment or does something.
func noBusyness() property {
	var idle []time.Duration
	return property{name: "prop_governor_nobusyness", during: func(m *mock, s step, _ *oracle) error {
		if _, tick := s.event.(Tick); !tick || len(s.effects)+len(s.trace) > 0 {
			return nil
		}
		idle = append(idle, s.at)
		if n := len(idle); n >= 60 && idle[n-1]-idle[n-60] < 45*time.Second {
			return fmt.Errorf("60 wake-ups for nothing within %v", idle[n-1]-idle[n-60])
		}
		return nil
	}}
}

// connStatus: the governor's view of every connection is the environment's, but for what is under way.
func connStatus() property {
	since := map[netip.AddrPort]time.Duration{}
	return property{name: "prop_governor_connstatus", during: func(m *mock, s step, _ *oracle) error {
		for _, p := range m.order {
			q := m.core.find(p.addr)
			want := Cold
			if q != nil {
				switch q.place {
				case connecting, activating, closing, deactivating:
					delete(since, p.addr)
					continue
				}
				want = q.place.temperature()
			}
			if p.status == want {
				delete(since, p.addr)
			} else if from, known := since[p.addr]; !known {
				since[p.addr] = s.at
			} else if s.at-from > 100*time.Second { // a connection nobody wants is being closed
				return fmt.Errorf("%v is %v, the governor has had it as %v for %v", p.addr, p.status, want, s.at-from)
			}
		}
		return nil
	}}
}

func notTooChatty() property {
	asked := map[netip.AddrPort]time.Duration{}
	return property{name: "prop_governor_target_known_3_not_too_chatty", during: func(m *mock, s step, o *oracle) error {
		for _, e := range s.effects {
			if e.Kind != AskForPeers {
				continue
			}
			if last, ok := asked[e.Peer]; ok && s.at-last < 300*time.Second {
				return fmt.Errorf("%v was asked %v ago", e.Peer, s.at-last)
			}
			if e.N < 8 || e.N > 255 {
				return fmt.Errorf("%v is asked for %d", e.Peer, e.N)
			}
			asked[e.Peer] = s.at
		}
		return nil
	}}
}

// repromoteDelay: after a demotion by themselves with a delay, peers are left alone for as long.
func repromoteDelay() property {
	cold, warm := map[netip.AddrPort]time.Duration{}, map[netip.AddrPort]time.Duration{}
	return property{name: "prop_governor_repromote_delay", during: func(m *mock, s step, _ *oracle) error {
		for _, t := range s.trace {
			if t.Name == "DemoteAsynchronous" || t.Name == "DemoteLocalAsynchronous" || t.Name == "DemoteBigLedgerPeersAsynchronous" {
				if e, ok := s.event.(StatusSeen); ok && e.RetryAfter >= 0 && !m.core.outage[scopeOf(e.Peer)].on {
					switch e.Temperature {
					case Warm:
						warm[e.Peer] = s.at + e.RetryAfter + 100*time.Millisecond
					case Cold:
						if m.core.find(e.Peer) != nil {
							cold[e.Peer] = s.at + e.RetryAfter + 100*time.Millisecond
						}
					}
				}
			}
			if strings.HasPrefix(t.Name, "Forget") || t.Name == "Banned" || strings.HasPrefix(t.Name, "Outage") {
				for _, a := range t.Peers {
					delete(cold, a)
				}
				if strings.HasPrefix(t.Name, "Outage") {
					clear(cold)
				}
			}
			if t.Name == "StatusChanged" {
				delete(warm, t.Peers[0])
				if t.Note == "hot to warm" { // entered again below, from the same trace
					if e, ok := s.event.(StatusSeen); ok && e.Peer == t.Peers[0] && e.RetryAfter >= 0 {
						warm[e.Peer] = s.at + e.RetryAfter + 100*time.Millisecond
					}
				}
			}
		}
		for _, e := range s.effects {
			if until := cold[e.Peer]; e.Kind == Connect && s.at < until {
				return fmt.Errorf("%v is connected to at %v, not before %v", e.Peer, s.at, until)
			}
			if until := warm[e.Peer]; e.Kind == Activate && s.at < until {
				return fmt.Errorf("%v is activated at %v, not before %v", e.Peer, s.at, until)
			}
		}
		return nil
	}}
}

// fallback: after the ledger state became too old, nobody untrusted is learnt, and untrusted peers are gone in bounded time; and once
// it is young enough, no new bootstrap peers come.
func fallback() property {
	before, since, wasSensitive := 0, time.Duration(0), false
	boot, wasLive := 0, false
	return property{
		name: "prop_governor_{only_bootstrap_peers_in_fallback_state,no_non_trustable_peers_before_caught_up_state,stops_using_bootstrap_peers}",
		during: func(m *mock, s step, o *oracle) error {
			relabelled := slices.ContainsFunc(s.trace, func(t Trace) bool { return t.Name == "LocalRootPeersChanged" })
			n := len(o.untrusted())
			if s.counts.sensitive && wasSensitive && !relabelled && n > before {
				return fmt.Errorf("%d untrusted peers, %d before", n, before)
			}
			if !s.counts.sensitive || !wasSensitive || relabelled {
				since = s.at
			}
			if s.counts.sensitive && n > 0 && s.at-since > 16*time.Minute && !m.core.fatal {
				return fmt.Errorf("%d untrusted peers %v after", n, s.at-since)
			}
			before, wasSensitive = n, s.counts.sensitive
			live := m.core.liveSensitive()
			if !live && !wasLive && s.counts.boot > boot {
				return fmt.Errorf("%d bootstrap peers, %d before, although not sensitive", s.counts.boot, boot)
			}
			boot, wasLive = s.counts.boot, live
			return nil
		}}
}

// noShrink: rules for too many never take a count below its target.
func noShrink() property {
	return property{name: "prop_governor_target_{known,established,active}_5_no_shrink_below", during: func(m *mock, s step, _ *oracle) error {
		for _, t := range s.trace {
			switch t.Name {
			case "ForgetColdPeers", "ForgetBigLedgerPeers", "DemoteWarmPeers", "DemoteWarmBigLedgerPeers", "DemoteHotPeers",
				"DemoteHotBigLedgerPeers", "DemoteLocalHotPeers":
				if t.Target >= 0 && t.Actual-len(t.Peers) < t.Target {
					return fmt.Errorf("%v: below the target", t)
				}
			case "PromoteColdPeers", "PromoteColdLocalPeers", "PromoteColdBigLedgerPeers", "PromoteWarmPeers", "PromoteWarmLocalPeers",
				"PromoteWarmBigLedgerPeers":
				if t.Actual+len(t.Peers) > t.Target {
					return fmt.Errorf("%v: above the target", t)
				}
			}
		}
		return nil
	}}
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

// hour runs a generated network for an hour and checks all properties.
func hour(t testing.TB, k knobs, seen map[string]int) *mock {
	m := generate(t, k)
	ps := newProperties()
	m.observe(ps)
	m.start()
	m.run(time.Hour)
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
	for _, s := range m.log {
		for _, tr := range s.trace {
			seen[tr.Name]++
		}
	}
	return m
}

// TestProperties is every property of governor §10.2 on generated networks: an hour each.
func TestProperties(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); soak() && f.Value.String() == "100" {
		if err := f.Value.Set("1000"); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	rapid.Check(t, func(r *rapid.T) { hour(fatalT{t, r}, drawKnobs(r), seen) })
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

// TestTraceCoverage is prop_governor_trace_coverage and _events_coverage: over some runs everything that can be traced is, and enough
// happens to be worth looking at.
func TestTraceCoverage(t *testing.T) {
	seen := map[string]int{}
	steps, established, active := 0, 0, 0
	for seed := range uint64(80) {
		m := generate(t, randomKnobs(seed))
		m.start()
		m.run(time.Hour)
		for _, s := range m.log {
			for _, tr := range s.trace {
				seen[tr.Name]++
			}
		}
		steps += len(m.log)
		active += len(m.core.buckets[classPublic][hot].ids)
		established += m.core.known[classPublic]
	}
	for _, name := range []string{"LocalRootPeersChanged", "TargetsChanged", "PublicRootsRequest", "PublicRootsResults", "PublicRootsFailure",
		"BigLedgerPeersRequest", "BigLedgerPeersResults", "BigLedgerPeersFailure", "PeerShareRequests", "PeerShareResults",
		"PeerShareResultsFiltered", "PickInboundPeers", "ForgetColdPeers", "ForgetBigLedgerPeers", "PromoteColdPeers",
		"PromoteColdLocalPeers", "PromoteColdBigLedgerPeers", "PromoteColdFailed", "PromoteColdDone", "PromoteColdBigLedgerPeerFailed",
		"PromoteColdBigLedgerPeerDone", "PromoteWarmPeers", "PromoteWarmLocalPeers", "PromoteWarmBigLedgerPeers", "PromoteWarmFailed",
		"PromoteWarmDone", "PromoteWarmBigLedgerPeerDone", "DemoteWarmPeers", "DemoteWarmDone", "DemoteWarmBigLedgerPeers",
		"DemoteWarmBigLedgerPeerDone", "DemoteHotPeers", "DemoteLocalHotPeers", "DemoteHotBigLedgerPeers", "DemoteHotDone",
		"DemoteHotBigLedgerPeerDone", "DemoteAsynchronous", "DemoteLocalAsynchronous", "DemoteBigLedgerPeersAsynchronous", "ChurnWait",
		"ChurnAction", "ChurnTimeout", "LedgerStateJudgementChanged", "OnlyBootstrapPeers", "UseBootstrapPeersChanged", "StatusChanged",
		"Banned", "OutageBegan", "OutageEnded", "RestoredPeers", "PeerSnapshotReplaced", "VerifyPeerSnapshot"} {
		if seen[name] == 0 {
			t.Errorf("%s was never traced", name)
		}
	}
	if steps < 5000 || established == 0 || active == 0 {
		t.Errorf("%d steps, %d public roots known and %d active in the end: prop_governor_target_{established,active}_public", steps, established, active)
	}
	t.Logf("%d steps; %v", steps, seen)
}
