package governor

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plenty is an environment without faults or delays worth mentioning, with more peers than anybody wants.
func plenty(t testing.TB, cfg Config, peers int) *mock {
	m := newMock(t, cfg, cfg.Seed)
	var ledger, big []RootPeer
	for i := range peers {
		m.add(&mockPeer{addr: ip(i), latency: time.Millisecond, shares: true, answer: 10 * time.Millisecond})
		if i%3 == 0 {
			big = append(big, RootPeer{Peer: ip(i)})
		} else if i%3 == 1 {
			ledger = append(ledger, RootPeer{Peer: ip(i)})
		}
	}
	for _, p := range m.order {
		for range 60 {
			p.knows = append(p.knows, ip(m.rnd.IntN(peers)))
		}
	}
	m.sources[SourceLedger] = source{peers: ledger, ttl: time.Second, latency: time.Millisecond}
	m.sources[SourceBigLedger] = source{peers: big, ttl: time.Second, latency: time.Millisecond}
	m.settings.UseLedger = true
	return m
}

// churnLines are the targets of every step of churn, and how it ended.
func churnLines(m *mock) []string {
	var lines []string
	for _, s := range m.log {
		for _, tr := range s.trace {
			switch tr.Name {
			case "ChurnAction", "ChurnTimeout":
				if tr.Note == "IncreasedKnownPeers" {
					tr.Actual = min(tr.Actual, s.targets.Known) // roots may come on top of what is shared
				}
				lines = append(lines, fmt.Sprintf("%s %s actual=%d", tr.Name, tr.Note, tr.Actual))
			case "TargetsChanged":
				lines = append(lines, tr.Note)
			case "ChurnWait":
				lines = append(lines, "wait")
			}
		}
	}
	return lines
}

// TestChurnSteps is prop_churn_steps: the twelve steps with the numbers of governor §4.3 for relay defaults. Peers of two local
// root groups are not touched.
func TestChurnSteps(t *testing.T) {
	cfg := Relay()
	cfg.Seed = 5
	m := plenty(t, cfg, 600)
	m.local = []LocalRootGroup{{Hot: 2, Warm: 3, Members: []netip.AddrPort{ip(500), ip(501), ip(503)}}, {Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(506)}}}
	m.check = func(m *mock, s step) error {
		if s.at < time.Minute {
			return m.core.Check()
		}
		for i := range m.core.groups {
			g := &m.core.groups[i]
			if g.active() < g.Hot || g.established() < g.Warm {
				return fmt.Errorf("group %d: %d hot, %d established", i, g.active(), g.established())
			}
		}
		return m.core.Check()
	}
	m.start()
	m.run(70 * time.Minute)
	require.NoError(t, m.err)
	got := strings.Join(churnLines(m), "\n")
	want := strings.TrimSpace(`
roots=0 known=150 established=30 active=20 big=15/10/5
wait
roots=60 known=150 established=30 active=20 big=15/10/5
roots=60 known=150 established=30 active=20 big=15/10/4
ChurnAction DecreasedActiveBigLedgerPeers actual=4
roots=60 known=150 established=30 active=20 big=15/10/5
ChurnAction IncreasedActiveBigLedgerPeers actual=5
roots=60 known=150 established=30 active=20 big=15/9/5
ChurnAction DecreasedEstablishedBigLedgerPeers actual=9
roots=60 known=150 established=30 active=20 big=14/9/5
ChurnAction DecreasedKnownBigLedgerPeers actual=14
roots=60 known=150 established=30 active=20 big=15/9/5
ChurnAction IncreasedKnownBigLedgerPeers actual=15
roots=60 known=150 established=30 active=20 big=15/10/5
ChurnAction IncreasedEstablishedBigLedgerPeers actual=10
roots=60 known=150 established=30 active=16 big=15/10/5
ChurnAction DecreasedActivePeers actual=16
roots=60 known=150 established=30 active=20 big=15/10/5
ChurnAction IncreasedActivePeers actual=20
roots=60 known=150 established=26 active=20 big=15/10/5
ChurnAction DecreasedEstablishedPeers actual=26
roots=54 known=126 established=26 active=20 big=15/10/5
ChurnAction DecreasedKnownPeers actual=126
roots=60 known=150 established=26 active=20 big=15/10/5
ChurnAction IncreasedKnownPeers actual=150
roots=60 known=150 established=30 active=20 big=15/10/5
ChurnAction IncreasedEstablishedPeers actual=30
wait`)
	require.Equal(t, want, got)
	names := m.core.Counters().Names()
	require.Contains(t, names, "peerSelection.churnDecreasedActivePeers.duration")
	require.Equal(t, 4, m.core.Counters().Churn["DecreasedActivePeers"].Delta)
}

// churnStepNames are the twelve steps in order.
var churnStepNames = strings.Fields(`DecreasedActiveBigLedgerPeers IncreasedActiveBigLedgerPeers DecreasedEstablishedBigLedgerPeers
	DecreasedKnownBigLedgerPeers IncreasedKnownBigLedgerPeers IncreasedEstablishedBigLedgerPeers DecreasedActivePeers IncreasedActivePeers
	DecreasedEstablishedPeers DecreasedKnownPeers IncreasedKnownPeers IncreasedEstablishedPeers`)

// TestChurnTargets is prop_churn_steps, prop_churn_targets_bounds and prop_churn_notimeouts: whatever the configured targets are, the steps
// come in their order; each target taken down is what governor §4.3 says, from the configured ones and from what the step
// before moved; targets are never above the configured ones and are back in full after every round; and without delays in the
// environment no decreasing step times out.
func TestChurnTargets(t *testing.T) {
	var seen [12]int // how often each step changed something and was looked at
	rapid.Check(t, func(r *rapid.T) {
		n := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(r, name) }
		cfg := Config{Seed: uint64(n("seed", 1, 1<<30)), PeerSharing: true, NoOutageDetection: true}
		tg := &cfg.Targets
		tg.Active = n("active", 0, 20)
		tg.Established = tg.Active + n("warm", 0, 15)
		tg.Known = tg.Established + n("cold", 0, 40)
		tg.Roots = n("roots", 0, tg.Known)
		tg.ActiveBigLedger = n("active big", 0, 5)
		tg.EstablishedBigLedger = tg.ActiveBigLedger + n("warm big", 0, 5)
		tg.KnownBigLedger = tg.EstablishedBigLedger + n("cold big", 0, 5)
		m := plenty(t, cfg, 200)
		m.ledger.BulkSync = rapid.Bool().Draw(r, "bulk")
		if rapid.Bool().Draw(r, "locals") {
			m.local = []LocalRootGroup{{Hot: 1, Warm: 2, Members: []netip.AddrPort{ip(190), ip(193)}}}
		}
		hours := 3
		if soak() {
			hours = 24
		}
		w := churnWatch{base: *tg, want: *tg, seen: &seen}
		m.check = func(m *mock, s step) error {
			if m.ledger.BulkSync {
				return nil
			}
			return w.look(s, m.core.churning.results)
		}
		m.start()
		m.run(time.Duration(hours) * time.Hour)
		if m.err != nil {
			r.Fatal(m.err)
		}
		rounds, next := 0, 0
		for _, s := range m.log {
			if s.targets.Active > tg.Active || s.targets.Established > tg.Established || s.targets.Known > tg.Known || s.targets.Roots > tg.Roots ||
				s.targets.ActiveBigLedger > tg.ActiveBigLedger || s.targets.EstablishedBigLedger > tg.EstablishedBigLedger ||
				s.targets.KnownBigLedger > tg.KnownBigLedger {
				r.Fatalf("targets %v are above what is configured, %v", s.targets, *tg)
			}
			for _, tr := range s.trace {
				if tr.Name == "ChurnTimeout" || tr.Name == "ChurnAction" {
					if tr.Note != churnStepNames[next] {
						r.Fatalf("at %v: %s, want %s", s.at, tr.Note, churnStepNames[next])
					}
					next = (next + 1) % len(churnStepNames)
				}
				if tr.Name == "ChurnTimeout" && strings.HasPrefix(tr.Note, "Decreased") {
					// The only decreases that cannot be met are those of local roots, which never go, and those of known peers that
					// are roots while roots are wanted.
					if len(m.local) == 0 && (tg.Roots == 0 || !strings.Contains(tr.Note, "Known")) {
						r.Fatalf("at %v: %v", s.at, tr)
					}
				}
				if tr.Name == "ChurnWait" && s.at > time.Minute {
					rounds++
					if next != 0 {
						r.Fatalf("a round ends before %s", churnStepNames[next])
					}
					if s.targets != *tg && !m.ledger.BulkSync {
						r.Fatalf("after round %d the targets are %v", rounds, s.targets)
					}
				}
			}
		}
		if rounds < hours*3600/(3900+700)-1 {
			r.Fatalf("%d rounds in %d hours", rounds, hours)
		}
	})
	for i, n := range seen {
		require.Positive(t, n, "step %d was never looked at: %v", i+1, seen)
	}
}

// churnWatch compares the targets in force at the end of every step of the default regime with the table of governor §4.3.
type churnWatch struct {
	base  Targets
	want  Targets // what the steps so far have written
	force Targets // in force, since the step before ended
	fresh bool    // force is set
	seen  *[12]int
}

func (w *churnWatch) look(s step, moved [12]int) error {
	for _, tr := range s.trace {
		switch tr.Name {
		case "TargetsChanged":
			f := &w.force
			if _, err := fmt.Sscanf(tr.Note, "roots=%d known=%d established=%d active=%d big=%d/%d/%d", &f.Roots, &f.Known, &f.Established,
				&f.Active, &f.KnownBigLedger, &f.EstablishedBigLedger, &f.ActiveBigLedger); err != nil {
				return err
			}
			w.fresh = true
		case "ChurnWait":
			w.want, w.fresh = w.base, false
		case "ChurnAction", "ChurnTimeout":
			i := slices.Index(churnStepNames, tr.Note)
			w.write(i+1, moved)
			if w.fresh { // it had something to change
				w.seen[i]++
				if w.force != w.want {
					return fmt.Errorf("step %d: the targets are %v, want %v; the steps before moved %v", i+1, w.force, w.want, moved)
				}
			}
			w.fresh = false
		}
	}
	return nil
}

// write does what a step is to do; moved is |counter after − before| of every step.
func (w *churnWatch) write(step int, moved [12]int) {
	dec := func(v, least int) int { // by a fifth, at least by one, at least by so many
		return max(0, v-max(v/5, 1, least))
	}
	b, t := w.base, &w.want
	switch step {
	case 1:
		t.ActiveBigLedger = dec(b.ActiveBigLedger, 0)
	case 2:
		t.ActiveBigLedger = b.ActiveBigLedger
	case 3:
		t.EstablishedBigLedger = b.ActiveBigLedger + dec(b.EstablishedBigLedger-b.ActiveBigLedger, moved[0])
	case 4:
		t.KnownBigLedger = b.EstablishedBigLedger + dec(b.KnownBigLedger-b.EstablishedBigLedger, moved[2])
	case 5:
		t.KnownBigLedger = b.KnownBigLedger
	case 6:
		t.EstablishedBigLedger = b.EstablishedBigLedger
	case 7:
		t.Active = dec(b.Active, 0)
	case 8:
		t.Active = b.Active
	case 9:
		t.Established = b.Active + dec(b.Established-b.Active, moved[6])
	case 10:
		t.Known = b.Established + dec(b.Known-b.Established, moved[8])
		t.Roots = min(b.Roots, b.Established+dec(b.Roots-b.Established, 0), t.Known)
	case 11:
		t.Known, t.Roots = b.Known, b.Roots
	case 12:
		t.Established = b.Established
	}
}

// TestChurnFollowsTheJudgement is the Genesis switch of prop_churn_targets_bounds: between rounds the targets are at once those of the
// judgement, at the end of a round too, and never above the larger of the two sets.
func TestChurnFollowsTheJudgement(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(r, name) }
		set := func(name string) (t Targets) {
			t.Active = n(name+" active", 0, 8)
			t.Established = t.Active + n(name+" warm", 0, 8)
			t.Known = t.Established + n(name+" cold", 0, 20)
			t.Roots = n(name+" roots", 0, t.Known)
			t.ActiveBigLedger = n(name+" active big", 0, 8)
			t.EstablishedBigLedger = t.ActiveBigLedger + n(name+" warm big", 0, 8)
			t.KnownBigLedger = t.EstablishedBigLedger + n(name+" cold big", 0, 8)
			return t
		}
		cfg := Config{Targets: set("deadline"), SyncTargets: set("sync"), Genesis: true, Seed: uint64(n("seed", 1, 1<<30))}
		m := plenty(t, cfg, 120)
		m.ledger.TooOld = rapid.Bool().Draw(r, "too old")
		for range n("turns", 1, 5) {
			m.at(time.Duration(n("second", 1, 10_000))*time.Second, func() {
				m.ledger.TooOld = !m.ledger.TooOld
				m.feed(m.ledger)
			})
		}
		m.check = func(m *mock, s step) error {
			a, b, now := cfg.Targets, cfg.SyncTargets, s.targets
			want := a
			if m.ledger.TooOld {
				want = b
			}
			if m.core.churning.phase != churnStep && now != want {
				return fmt.Errorf("too old %v: the targets are %v, want %v", m.ledger.TooOld, now, want)
			}
			if now.Active > max(a.Active, b.Active) || now.Established > max(a.Established, b.Established) || now.Known > max(a.Known, b.Known) ||
				now.ActiveBigLedger > max(a.ActiveBigLedger, b.ActiveBigLedger) || now.KnownBigLedger > max(a.KnownBigLedger, b.KnownBigLedger) ||
				now.EstablishedBigLedger > max(a.EstablishedBigLedger, b.EstablishedBigLedger) || now.Roots > max(a.Roots, b.Roots) {
				return fmt.Errorf("the targets %v are above both %v and %v", now, a, b)
			}
			return m.core.Check()
		}
		m.start()
		m.run(3 * time.Hour)
		if m.err != nil {
			r.Fatal(m.err)
		}
	})
}

// TestChurnIntervals: 3,300 + U(0, 600) s caught up, 900 + U(0, 60) s in bulk sync, less what the round took (governor §4.4).
func TestChurnIntervals(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		cfg := Relay()
		cfg.Seed = 11
		m := plenty(t, cfg, 300)
		m.ledger.BulkSync = bulk
		m.start()
		m.run(5 * time.Hour)
		var begins []time.Duration
		for _, s := range m.log {
			if slices.ContainsFunc(s.trace, func(tr Trace) bool { return tr.Note == "DecreasedActiveBigLedgerPeers" }) {
				begins = append(begins, s.at)
			}
		}
		lo, hi := 3300*time.Second, 3900*time.Second
		if bulk {
			lo, hi = 900*time.Second, 960*time.Second
		}
		require.Greater(t, len(begins), 3)
		for i := 1; i < len(begins); i++ {
			gap := begins[i] - begins[i-1]
			require.GreaterOrEqual(t, gap, lo-time.Second)
			require.LessOrEqual(t, gap, hi+time.Second)
		}
	}
}

// TestChurnRegimes: what the steps write in bulk sync, by hand from the table of governor §4.3.
func TestChurnRegimes(t *testing.T) {
	base := Relay().Targets
	for _, c := range []struct {
		bootstrap bool
		step      int
		want      func(Targets) Targets
	}{
		{false, 0, func(t Targets) Targets { t.ActiveBigLedger = 1; return t }},
		{false, 1, func(t Targets) Targets { t.ActiveBigLedger = 1; return t }},
		{false, 6, func(t Targets) Targets { t.Active = 3; return t }}, // two groups of 2 + 1 hot
		{false, 7, func(t Targets) Targets { t.Active = 4; return t }},
		{false, 8, func(t Targets) Targets { t.Established = 20 + 8; return t }},
		{true, 8, func(t Targets) Targets { t.Established = 20; return t }}, // the present active target
		{true, 11, func(t Targets) Targets { t.Established = 21; return t }},
	} {
		core, err := NewCore(Relay())
		require.NoError(t, err)
		core.Step(Begin{Ledger: LedgerSet{BulkSync: true}, Settings: RootSettings{UseBootstrap: c.bootstrap}, LocalRoots: []LocalRootGroup{
			{Hot: 2, Warm: 2, Members: []netip.AddrPort{ip(1), ip(2)}}, {Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(3)}}}}, 0)
		got := base
		churnSteps[c.step].write(core, &got, base, 0, core.regime())
		require.Equal(t, c.want(base), got, "step %d, bootstrap %v", c.step+1, c.bootstrap)
	}
}

// TestStepsComeFromTheBase: [TRAP] what a step writes is computed from the configured targets, never from the present ones, or targets
// that a step could not bring back would decay (governor §4.4).
func TestStepsComeFromTheBase(t *testing.T) {
	base := Relay().Targets
	low := Targets{Roots: 9, Known: 31, Established: 11, Active: 7, KnownBigLedger: 6, EstablishedBigLedger: 4, ActiveBigLedger: 2}
	core, err := NewCore(Relay())
	require.NoError(t, err)
	for i := range churnSteps {
		full, worn := base, low
		churnSteps[i].write(core, &full, base, 2, regimeDefault)
		churnSteps[i].write(core, &worn, base, 2, regimeDefault)
		written := 0
		for f := range reflect.TypeFor[Targets]().NumField() {
			if now := reflect.ValueOf(worn).Field(f).Int(); now != reflect.ValueOf(low).Field(f).Int() {
				require.Equal(t, reflect.ValueOf(full).Field(f).Int(), now, "step %d", i+1)
				written++
			}
		}
		require.Positive(t, written, "step %d", i+1)
	}
}

// TestDecrease is dec and dec_m of governor §4.3.
func TestDecrease(t *testing.T) {
	for _, c := range []struct{ v, m, want int }{{20, 0, 16}, {5, 0, 4}, {1, 0, 0}, {0, 0, 0}, {-7, 0, 0}, {10, 4, 6}, {3, 4, 0}, {120, 4, 96}} {
		require.Equal(t, c.want, decrease(c.v, c.m), "dec_%d(%d)", c.m, c.v)
	}
}

// TestTargetsSetInTheMiddleOfARound: steps that are over have written the old ones; the end of the round puts the new ones in force.
func TestTargetsSetInTheMiddleOfARound(t *testing.T) {
	cfg := Relay()
	cfg.Seed = 5
	m := plenty(t, cfg, 300)
	m.start()
	for m.core.churning.phase != churnStep || m.core.churning.step < 8 { // after the active ones were increased again
		m.run(m.now + 100*time.Millisecond)
		require.Less(t, m.now, 3*time.Hour)
		for _, p := range m.order {
			p.latency = 3 * time.Second // or a round takes no time
		}
	}
	want := cfg.Targets
	want.Active, want.ActiveBigLedger = 12, 3
	m.feed(TargetsSet{Targets: want})
	for m.core.churning.phase == churnStep {
		m.run(m.now + time.Second)
	}
	require.Equal(t, want, m.core.Targets())
}
