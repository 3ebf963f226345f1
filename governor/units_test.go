package governor

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Policies (governor §10.3).

// TestHotToWarm is prop_hotToWarm: nobody with a worse score is left hot than the worst demoted.
func TestHotToWarm(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var cs []Candidate
		for i := range rapid.IntRange(1, 30).Draw(r, "peers") {
			cs = append(cs, Candidate{Peer: ip(i), Score: int64(rapid.IntRange(0, 5).Draw(r, "score")), Joined: uint64(rapid.IntRange(0, 3).Draw(r, "joined")),
				HasJoined: rapid.Bool().Draw(r, "has joined")})
		}
		n := rapid.IntRange(1, len(cs)).Draw(r, "n")
		picked := SimplePolicy{}.Pick(PickHotToWarm, cs, n, rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)))
		if len(picked) != n {
			r.Fatalf("%d of %d picked", len(picked), n)
		}
		less := func(a, b Candidate) bool {
			ka, ja := hotKey(&a, 0)
			kb, jb := hotKey(&b, 0)
			return ka < kb || ka == kb && ja < jb
		}
		for _, c := range cs {
			for _, d := range cs {
				if slices.Contains(picked, d.Peer) && !slices.Contains(picked, c.Peer) && less(c, d) {
					r.Fatalf("%+v stays hot, %+v does not", c, d)
				}
			}
		}
	})
}

// TestRandomDemotion is prop_randomDemotion: of two equal halves the tepid one is closed more often, by how much the halved word says.
func TestRandomDemotion(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var cs []Candidate
	for i := range 20 {
		cs = append(cs, Candidate{Peer: ip(i), Tepid: i < 10})
	}
	tepidPicked, total := 0, 0
	for range 2000 {
		for _, a := range (SimplePolicy{}).Pick(PickWarmToCold, cs, 5, rnd) {
			total++
			if slices.IndexFunc(cs, func(c Candidate) bool { return c.Peer == a }) < 10 {
				tepidPicked++
			}
		}
	}
	share := float64(tepidPicked) / float64(total)
	require.InDelta(t, 0.67, share, 0.05) // r/2 against r: at any threshold twice as many of the tepid are below it
}

// TestForgetting: a peer with nine failures goes ten times as often as one without, and the others are uniform.
func TestForgetting(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	cs := []Candidate{{Peer: ip(0), Fails: 9}, {Peer: ip(1)}, {Peer: ip(2)}}
	n := map[netip.AddrPort]int{}
	for range 30_000 {
		n[SimplePolicy{}.Pick(PickColdToForget, cs, 1, rnd)[0]]++
	}
	require.Greater(t, n[ip(0)], 25_000)
	require.InDelta(t, n[ip(1)], n[ip(2)], 300)
}

// TestUniformPicks: every candidate is picked about as often, whatever the address, also when the core draws a sample first.
func TestUniformPicks(t *testing.T) {
	n := map[netip.AddrPort]int{}
	for seed := range uint64(4000) {
		c, err := NewCore(Config{Targets: Targets{Known: 20, Roots: 20, Established: 3}, NoChurn: true, Seed: seed})
		require.NoError(t, err)
		c.Step(Begin{Settings: RootSettings{UseLedger: true}}, 0)
		var peers []RootPeer
		for i := range 20 {
			peers = append(peers, RootPeer{Peer: ip(i)})
		}
		for _, e := range c.Step(RootsAnswered{Job: c.roots[0].job, Peers: peers}, 0).Effects {
			if e.Kind == Connect {
				n[e.Peer]++
			}
		}
	}
	require.Len(t, n, 20)
	for a, k := range n {
		require.InDelta(t, 600, k, 110, "%v", a) // 4000 · 3 / 20, five standard deviations
	}
}

// TestPoliciesKeepTheContract: every preset, every kind of pick, any candidates.
func TestPoliciesKeepTheContract(t *testing.T) {
	policies := map[string]Policy{"simple": SimplePolicy{}, "stake": StakeLatencyPolicy{}, "diverse": DiversePolicy{},
		"diverse stake": DiversePolicy{Inner: StakeLatencyPolicy{Share: 1}}}
	rapid.Check(t, func(r *rapid.T) {
		var cs []Candidate
		for i := range rapid.IntRange(1, 12).Draw(r, "peers") {
			p, _ := ip(i).Addr().Prefix(8 * rapid.IntRange(0, 4).Draw(r, "bits"))
			cs = append(cs, Candidate{Peer: ip(i), Source: Source(rapid.IntRange(0, sourceCount-1).Draw(r, "source")), Prefix: p,
				Fails: rapid.IntRange(0, 9).Draw(r, "fails"), Tepid: rapid.Bool().Draw(r, "tepid"), Reports: rapid.IntRange(-3, 3).Draw(r, "reports"),
				RTT: time.Duration(rapid.IntRange(0, 400).Draw(r, "rtt")) * time.Millisecond, Score: int64(rapid.IntRange(0, 9).Draw(r, "score")),
				PrefixEstablished: rapid.IntRange(0, 4).Draw(r, "established"), PrefixActive: rapid.IntRange(0, 4).Draw(r, "active")})
		}
		n := rapid.IntRange(1, len(cs)).Draw(r, "n")
		seed := rapid.Uint64().Draw(r, "seed")
		for name, p := range policies {
			for kind := PickColdToWarm; kind <= PickInbound; kind++ {
				got := p.Pick(kind, cs, n, rand.New(rand.NewPCG(seed, 0)))
				seen := map[netip.AddrPort]bool{}
				for _, a := range got {
					if seen[a] || !slices.ContainsFunc(cs, func(c Candidate) bool { return c.Peer == a }) {
						r.Fatalf("%s, %v: %v", name, kind, got)
					}
					seen[a] = true
				}
				if len(got) != n {
					r.Fatalf("%s, %v: %d of %d picked", name, kind, len(got), n)
				}
				again := p.Pick(kind, cs, n, rand.New(rand.NewPCG(seed, 0)))
				if !slices.Equal(got, again) {
					r.Fatalf("%s, %v: not a function of its inputs", name, kind)
				}
			}
		}
	})
}

// TestStakeLatencyPrefers: near ledger peers are made hot more often, and others still are.
func TestStakeLatencyPrefers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var cs []Candidate
	for i := range 10 {
		cs = append(cs, Candidate{Peer: ip(i), Source: SourceShared, RTT: 300 * time.Millisecond})
	}
	cs[3].Source, cs[3].RTT = SourceBigLedger, 20*time.Millisecond
	n := map[netip.AddrPort]int{}
	for range 5000 {
		n[StakeLatencyPolicy{}.Pick(PickWarmToHot, cs, 1, rnd)[0]]++
	}
	require.InDelta(t, 2750, n[ip(3)], 200) // half the slots, and a tenth of the rest
	require.Greater(t, n[ip(0)], 150)
}

// TestDiversePolicyCaps: with enough prefixes about, none gets more than its cap.
func TestDiversePolicyCaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var cs []Candidate
	for i := range 40 {
		p, _ := netip.AddrFrom4([4]byte{byte(i % 4), 0, 0, 0}).Prefix(16)
		cs = append(cs, Candidate{Peer: ip(i), Prefix: p, PrefixEstablished: i % 4 / 3}) // prefix 3 has one already
	}
	per := map[netip.Prefix]int{}
	for _, a := range (DiversePolicy{}).Pick(PickColdToWarm, cs, 7, rnd) {
		per[cs[slices.IndexFunc(cs, func(c Candidate) bool { return c.Peer == a })].Prefix]++
	}
	for p, n := range per {
		require.LessOrEqual(t, n, 2-cs[slices.IndexFunc(cs, func(c Candidate) bool { return c.Prefix == p })].PrefixEstablished, "%v", p)
	}
}

// Known peers: the table and its buckets against a map.
func TestTable(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tb := newTable()
		model := map[netip.AddrPort]uint32{}
		for range rapid.IntRange(1, 400).Draw(r, "operations") {
			a := ip(rapid.IntRange(0, 120).Draw(r, "peer"))
			p := tb.find(a)
			if id, known := model[a]; known != (p != nil) || known && p.id != id {
				r.Fatalf("%v: known %v, found %v", a, known, p)
			}
			if p == nil { // prop_insert is idempotent by its contract: callers look first
				model[a] = tb.insert(a).id
			} else {
				delete(model, a)
				tb.remove(p)
			}
			if tb.count != len(model) {
				r.Fatalf("%d peers, counted %d", len(model), tb.count)
			}
		}
		for a, id := range model {
			if p := tb.find(a); p == nil || p.id != id {
				r.Fatalf("%v is lost", a)
			}
		}
	})
}

func TestBucketIsAHeap(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tb := newTable()
		var b bucket
		model := map[uint32]time.Duration{}
		for range rapid.IntRange(1, 200).Draw(r, "operations") {
			id := uint32(rapid.IntRange(0, 40).Draw(r, "id"))
			for len(tb.pos) <= int(id) {
				tb.pos = append(tb.pos, 0)
			}
			if _, in := model[id]; in {
				b.remove(&tb, id, true)
				delete(model, id)
			} else {
				d := time.Duration(rapid.IntRange(0, 50).Draw(r, "due"))
				b.add(&tb, id, d, true)
				model[id] = d
			}
			least := Never
			for id, d := range model {
				if b.ids[tb.pos[id]] != id || b.due[tb.pos[id]] != d {
					r.Fatalf("%d is not where it should be", id)
				}
				least = min(least, d)
			}
			if len(b.ids) != len(model) || len(model) > 0 && b.due[0] != least {
				r.Fatalf("%v, want %v", b, model)
			}
		}
	})
}

// Local roots.

func someGroups(r *rapid.T) []LocalRootGroup {
	var gs []LocalRootGroup
	for range rapid.IntRange(0, 4).Draw(r, "groups") {
		g := LocalRootGroup{Hot: rapid.IntRange(-1, 4).Draw(r, "hot"), Warm: rapid.IntRange(-1, 5).Draw(r, "warm"), Trustable: rapid.Bool().Draw(r, "trustable")}
		for range rapid.IntRange(0, 5).Draw(r, "members") {
			g.Members = append(g.Members, ip(rapid.IntRange(0, 9).Draw(r, "member")))
		}
		gs = append(gs, g)
	}
	return gs
}

// TestLocalRootGroups is fromGroups, fromToGroups, and the laws of clampToLimit and clampToTrustable.
func TestLocalRootGroups(t *testing.T) {
	size := func(gs []LocalRootGroup) (n int) {
		for _, g := range gs {
			n += len(g.Members)
		}
		return n
	}
	rapid.Check(t, func(r *rapid.T) {
		gs := normaliseLocalRoots(someGroups(r))
		seen := map[netip.AddrPort]bool{}
		for _, g := range gs {
			if g.Hot < 1 || g.Hot > g.Warm || g.Warm > len(g.Members) {
				r.Fatalf("%+v", g)
			}
			for _, m := range g.Members {
				if seen[m] {
					r.Fatalf("%v is in two groups", m)
				}
				seen[m] = true
			}
		}
		if !sameGroups(normaliseLocalRoots(gs), gs) {
			r.Fatalf("not idempotent: %v", gs)
		}
		limit := rapid.IntRange(0, 12).Draw(r, "limit")
		clamped := clampLocalRoots(gs, limit)
		if size(clamped) != min(limit, size(gs)) {
			r.Fatalf("%d members of %d for a limit of %d", size(clamped), size(gs), limit)
		}
		trusted := slices.DeleteFunc(slices.Clone(gs), func(g LocalRootGroup) bool { return !g.Trustable })
		if got := trustableLocalRoots(gs); !sameGroups(got, trusted) {
			r.Fatalf("%v, want %v", got, trusted)
		}
	})
}

// Public roots: merging keeps the sets disjoint, and configured ones win.
func TestRootSetsStayDisjoint(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c, _ := NewCore(Config{Targets: Targets{Known: 50, Roots: 50, KnownBigLedger: 50}, NoChurn: true})
		c.Step(Begin{}, 0)
		for range rapid.IntRange(1, 60).Draw(r, "answers") {
			src := []Source{SourceBootstrap, SourcePublic, SourceLedger, SourceBigLedger}[rapid.IntRange(0, 3).Draw(r, "source")]
			a := ip(rapid.IntRange(0, 9).Draw(r, "peer"))
			before := c.find(a)
			var was class
			if before != nil {
				was = before.class
			}
			isNew := c.addRoot(RootPeer{Peer: a}, src)
			p := c.find(a)
			switch {
			case before == nil && (!isNew || p.class != class(src)):
				r.Fatalf("%v from %v: %v", a, src, p)
			case before != nil && isNew:
				r.Fatalf("%v is new twice", a)
			case before != nil && was == classBootstrap && p.class != classBootstrap,
				before != nil && was == classPublic && src != SourceBootstrap && p.class != classPublic,
				before != nil && (was == classLedger || was == classBig) && (src == SourceLedger || src == SourceBigLedger) && p.class != was:
				r.Fatalf("%v was in %d, %v took it to %d", a, was, src, p.class)
			}
			if err := c.Check(); err != nil {
				r.Fatal(err)
			}
		}
	})
}

// Peer metric.

// TestBoards: the first sighting of a slot counts, the boards are bounded, and results are what they add up to.
func TestBoards(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := NewBoards()
		type best struct {
			peer netip.AddrPort
			at   time.Duration
		}
		model := map[uint64]best{}
		for range rapid.IntRange(1, 600).Draw(r, "sightings") {
			s := Sighting{Peer: ip(rapid.IntRange(0, 9).Draw(r, "peer")), Slot: uint64(rapid.IntRange(0, 300).Draw(r, "slot")), Bytes: 10,
				At: time.Duration(rapid.IntRange(0, 50).Draw(r, "at"))}
			have, known := model[s.Slot]
			want := !known || s.At < have.at
			if !known && len(model) >= boardSlots {
				lowest := slices.Min(slices.Collect(func(yield func(uint64) bool) {
					for slot := range model {
						if !yield(slot) {
							return
						}
					}
				}))
				if want = s.Slot > lowest; want {
					delete(model, lowest)
				}
			}
			if want {
				model[s.Slot] = best{s.Peer, s.At}
			}
			b.Announced(s)
			if got := b.Fetched(s); got != want {
				r.Fatalf("%+v: %v, want %v", s, got, want)
			}
		}
		count := map[netip.AddrPort]int{}
		for _, e := range model {
			count[e.peer]++
		}
		for i := range 10 {
			blocks, bytes := b.Fetchyness(ip(i))
			if b.Upstreamyness(ip(i)) != count[ip(i)] || blocks != count[ip(i)] || bytes != int64(10*blocks) {
				r.Fatalf("%v: %d announced, %d fetched, %d bytes; want %d", ip(i), b.Upstreamyness(ip(i)), blocks, bytes, count[ip(i)])
			}
		}
		if len(b.headers.slots) > boardSlots || len(b.joined) > 4*boardSlots+1 {
			r.Fatalf("%d slots, %d joined", len(b.headers.slots), len(b.joined))
		}
	})
}

// TestBoardsForget: who contributed only to slots that are gone is forgotten; who goes on keeps the slot it joined at.
func TestBoardsForget(t *testing.T) {
	b := NewBoards()
	for slot := range uint64(1000) {
		p := ip(int(slot))
		if slot%2 == 0 {
			p = ip(5000)
		}
		b.Announced(Sighting{Peer: p, Slot: slot})
		b.Fetched(Sighting{Peer: p, Slot: slot, Bytes: 1})
	}
	joined, ok := b.Joined(ip(5000))
	require.True(t, ok)
	require.Zero(t, joined)
	_, ok = b.Joined(ip(1))
	require.False(t, ok)
	require.LessOrEqual(t, len(b.joined), 100)
}

// Bans.

func TestBansAreBoundedAndDouble(t *testing.T) {
	l := newBanList()
	const first, most = 10 * time.Minute, 2 * time.Hour
	now := time.Duration(0)
	for _, want := range []time.Duration{first, 2 * first, 4 * first, 8 * first, most, most} {
		require.Equal(t, want, l.add(ip(1), now, first, most, ""))
		require.True(t, l.has(ip(1), now+want-1))
		require.False(t, l.has(ip(1), now+want))
		now += want
	}
	require.Equal(t, first, l.add(ip(1), now+most+1, first, most, ""), "the level is forgotten after a while")
	for i := range 3 * maxBans {
		l.add(ip(10+i), now, first, most, "")
	}
	require.Len(t, l.entries, maxBans)
	require.False(t, l.has(ip(1), now), "the oldest goes first")
	require.True(t, l.has(ip(10+3*maxBans-1), now))
}

// Targets and configuration.

func TestTargetErrorsNameTheField(t *testing.T) {
	err := Targets{Active: 5, Established: 3, Known: 20_000, Roots: -1}.Validate(Limits{})
	for _, want := range []string{"Active = 5 is above Established = 3", "Known = 20000 is above Limits.Known = 10000", "Roots = -1 is below zero"} {
		require.ErrorContains(t, err, want)
	}
	var te *TargetError
	require.ErrorAs(t, err, &te)
	require.NoError(t, Targets{Known: 1_000_000}.Validate(Limits{Known: 1_000_000}))
	_, err = NewCore(Config{Targets: Targets{Active: 1}})
	require.Error(t, err)
	for name, cfg := range map[string]Config{"relay": Relay(), "producer": BlockProducer(), "wallet": Wallet(), "private": PrivateNetwork(), "zero": {}} {
		require.NoError(t, cfg.Validate(), name)
	}
	g := Relay()
	g.Genesis, g.MinBigLedgerPeers = true, 30
	require.ErrorContains(t, g.Validate(), "MinBigLedgerPeers = 30 is above SyncTargets.ActiveBigLedger")
}

func TestTimingScales(t *testing.T) {
	s := Timing{}.Scaled(0.1)
	require.Equal(t, 500*time.Millisecond, s.Backoff)
	require.Equal(t, 90*time.Second, s.ShareRetry)
	require.Equal(t, s, s.filled())
	_, err := NewCore(Config{Timing: Timing{Backoff: 10_000 * time.Hour}})
	var te *TimingError
	require.ErrorAs(t, err, &te)
}

// Decisions.

// TestDecisionsAreInOrder: the list is in the order of its names, each has a guard to show, and the order is that of governor §3.2.
func TestDecisionsAreInOrder(t *testing.T) {
	var names []string
	for i, d := range Decisions() {
		require.Equal(t, Decision(i), d.Decision)
		require.Contains(t, d.Rule, ": ")
		names = append(names, d.Name)
	}
	require.Len(t, names, int(DecisionNone))
	require.Equal(t, strings.Fields(`bootstrap-flag-changed ledger-state-changed quiesced asynchronous-demotion order-finished
		snapshot-replaced churn targets-changed local-roots-changed big-ledger-known-below big-ledger-known-above roots-below restore-peers
		known-below-inbound known-below-sharing known-above established-below-big-ledger established-below-local established-below
		established-above-big-ledger established-above active-below-big-ledger active-below-local active-below active-above-big-ledger
		active-above-local active-above`), names)
}

// TestShareableIsStable: everybody gets the same answer during a period, and one peer more changes one peer of it.
func TestShareableIsStable(t *testing.T) {
	c, _ := NewCore(Config{Targets: Targets{Known: 200}, NoChurn: true, PeerSharing: true, Seed: 1})
	c.Step(Begin{}, 0)
	teach := func(i int) {
		p := c.learn(ip(i), classPlain, SourceShared, yes)
		p.set(everConnected)
		c.salt.update(p)
	}
	for i := range 100 {
		teach(i)
	}
	first := c.Shareable(10, 0)
	require.Len(t, first, 10)
	require.Equal(t, first, c.Shareable(200, 800*time.Second))
	require.Equal(t, first[:3], c.Shareable(3, time.Second))
	for i := 100; i < 130; i++ {
		before := c.Shareable(10, time.Second)
		teach(i)
		gone := 0
		for _, a := range before {
			if !slices.Contains(c.Shareable(10, time.Second), a) {
				gone++
			}
		}
		require.LessOrEqual(t, gone, 1)
	}
	require.NotEqual(t, c.Shareable(10, time.Second), c.Shareable(10, 823*time.Second))
}

// TestDecisionsOfOneStepAreBounded: a step that never comes to rest is cut off and goes on at once.
func TestDecisionsOfOneStepAreBounded(t *testing.T) {
	c, _ := NewCore(Config{Targets: Targets{Known: 5, Established: 5, Roots: 5}, NoChurn: true, Limits: Limits{Decisions: 3}})
	out := c.Step(Begin{}, time.Second)
	n := 0
	for out.Wake == time.Second {
		out = c.Step(Tick{}, time.Second)
		if n++; n > 10 {
			t.Fatal("it does not come to rest")
		}
	}
	require.Equal(t, Targets{Known: 5, Established: 5, Roots: 5}, c.targets)
	require.True(t, c.roots[0].running)
}

// TestMetricNames: the names of governor §9.1, every one, and what is derived.
func TestMetricNames(t *testing.T) {
	names := Counters{KnownPeers: 10, EstablishedPeers: 6, ActivePeers: 2, EstablishedLocalRootPeers: 3, ActiveLocalRootPeers: 1,
		KnownBigLedgerPeers: 5, EstablishedBigLedgerPeers: 4, ActiveBigLedgerPeers: 3,
		Churn: map[string]ChurnCounters{"DecreasedActivePeers": {Duration: 1500 * time.Millisecond}}}.Names()
	for name, want := range map[string]float64{"Cold": 4, "Warm": 4, "Hot": 2, "ColdBigLedgerPeers": 1, "WarmBigLedgerPeers": 1,
		"HotBigLedgerPeers": 3, "WarmLocalRoots": 2, "HotLocalRoots": 1, "churnDecreasedActivePeers.duration": 1.5} {
		require.Equal(t, want, names["peerSelection."+name], name)
	}
	for name := range strings.FieldsSeq(`RootPeers KnownPeers ColdPeersPromotions EstablishedPeers WarmPeersDemotions WarmPeersPromotions
		ActivePeers ActivePeersDemotions KnownBigLedgerPeers ColdBigLedgerPeersPromotions EstablishedBigLedgerPeers WarmBigLedgerPeersDemotions
		WarmBigLedgerPeersPromotions ActiveBigLedgerPeers ActiveBigLedgerPeersDemotions KnownLocalRootPeers EstablishedLocalRootPeers
		WarmLocalRootPeersPromotions ActiveLocalRootPeers ActiveLocalRootPeersDemotions KnownNonRootPeers ColdNonRootPeersPromotions
		EstablishedNonRootPeers WarmNonRootPeersDemotions WarmNonRootPeersPromotions ActiveNonRootPeers ActiveNonRootPeersDemotions
		KnownBootstrapPeers ColdBootstrapPeersPromotions EstablishedBootstrapPeers WarmBootstrapPeersDemotions
		WarmBootstrapPeersPromotions ActiveBootstrapPeers ActiveBootstrapPeersDemotions Cold Warm Hot ColdBigLedgerPeers WarmBigLedgerPeers
		HotBigLedgerPeers WarmLocalRoots HotLocalRoots`) {
		require.Contains(t, names, "peerSelection."+name)
	}
	require.Len(t, names, 42+1)

	// Every counter that has a name is what stands under it, and nothing else.
	var k Counters
	v := reflect.ValueOf(&k).Elem()
	want := map[string]float64{}
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Int {
			v.Field(i).SetInt(int64(1000 + i))
			want["peerSelection."+v.Type().Field(i).Name] = float64(1000 + i)
		}
	}
	same := 0
	for name, is := range k.Names() {
		if w, ok := want[name]; ok {
			require.Equal(t, w, is, name)
			same++
		}
	}
	require.Equal(t, 42-8, same) // all but Cold … HotLocalRoots
}

// TestSeverities are those of governor §9.2.
func TestSeverities(t *testing.T) {
	for name, want := range map[string]slog.Level{"LocalRootPeersChanged": slog.LevelInfo + 2, "TargetsChanged": slog.LevelInfo + 2,
		"ChurnTimeout": slog.LevelInfo + 2, "UseBootstrapPeersChanged": slog.LevelInfo + 2, "DemoteLocalAsynchronous": slog.LevelWarn,
		"BootstrapPeersFlagChangedWhilstInSensitiveState": slog.LevelWarn, "PublicRootsFailure": slog.LevelError,
		"VerifyPeerSnapshot": slog.LevelError, "OutboundGovernorCriticalFailure": slog.LevelError,
		"DemoteWarmFailed.CoolingToColdTimeout": slog.LevelError, "DemoteHotBigLedgerPeerFailed.CoolingToColdTimeout": slog.LevelError,
		"PeerShareRequests": slog.LevelDebug, "PeerShareResults": slog.LevelDebug, "PromoteColdPeers": slog.LevelInfo,
		"ChurnWait": slog.LevelInfo, "ForgetColdPeers": slog.LevelInfo} {
		require.Equal(t, want, Trace{Name: name}.Severity(), name)
	}
}
