package governor

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Scenarios are conversations with a core in text files: a line that begins with ">" tells it something, the indented lines after it
// are what it decided and, after "→", what it ordered. Comments say which rule or trap is shown. Peers have names. After every step
// the invariants are checked. StatusChanged is left out.
//
//	config known=… established=… active=… roots=… big=known/established/active sharing churn genesis outage seed=…
//	local hot=1 warm=2 [advertise trustable inbound-only initiator-only] a b / hot=…   one group after the other
//	begin …     settings and the ledger state at once
//	settings [ledger] [bootstrap | bootstrap-empty] [snapshot=N]     ledger too-old | young [bulk]     targets known=…
//	roots a b [ttl=5s] [advertise] | big a b | roots fail            answers of root sources
//	connected a [shares]   activated a   deactivated a   disconnected a   answered a b c      each may end in
//	    fail [internal | adversarial | benign] [timeout] [retry=60s]
//	status a cold | cooling | warm | hot [delay=10s] [fail …]         what Watch reports
//	called a                                                         a duplex connection that it opened to us
//	inbound a b+ (shares)   restored a b   bad a   good a   header a 17   block a 17
//	settle      every order that runs succeeds, and what follows from it, until nothing runs
//	advance 10s wakes it whenever it asks to be woken
//	explain a   why   shareable   banned a   count X Y   what-if targets …|local …

var update = flag.Bool("update", false, "write what scenarios give as what they are expected to give")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) < 60 {
		t.Errorf("%d scenarios, want at least 60: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(b))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("%s\n%s", f, difference(string(b), got))
			}
		})
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant: %s\ngot:  %s", i+1, a, b)
		}
	}
	return ""
}

// play runs the commands of a scenario and returns it with what they give.
func play(t *testing.T, text string) string {
	s := &stage{t: t, names: map[netip.AddrPort]string{}, jobs: map[netip.AddrPort]Effect{}}
	var out []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, ">"):
			out = append(out, line)
			s.lines = nil
			s.command(strings.Fields(line[1:]))
			out = append(out, s.lines...)
		case strings.HasPrefix(line, "  "):
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

type stage struct {
	t     *testing.T
	core  *Core
	now   time.Duration
	wake  time.Duration
	names map[netip.AddrPort]string
	lines []string
	jobs  map[netip.AddrPort]Effect // orders that run
	queue []Effect
}

func (s *stage) say(format string, a ...any) {
	line := fmt.Sprintf(format, a...)
	known := make([]string, 0, len(s.names))
	for a := range s.names {
		known = append(known, a.String())
	}
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) }) // one may end in another
	for _, a := range known {
		line = strings.ReplaceAll(line, a, s.names[netip.MustParseAddrPort(a)])
	}
	s.lines = append(s.lines, "  "+line)
}

// peer gives a name its address: every name has a network of its own, names that begin with the same two letters and go on share
// one, and those that begin with p- are private.
func (s *stage) peer(name string) netip.AddrPort {
	h := func(part string) (n uint32) {
		for _, r := range part {
			n = n*31 + uint32(r)
		}
		return n
	}
	net, host := name, ""
	if len(name) > 2 {
		net, host = name[:2], name[2:]
	}
	b := [4]byte{byte(20 + h(net)%150), byte(h(net) / 150), byte(h(host) >> 8), byte(h(host))}
	if net == "p-" {
		b[0], b[1] = 10, 1
	}
	a := netip.AddrPortFrom(netip.AddrFrom4(b), 3001)
	s.names[a] = name
	return a
}

func (s *stage) step(ev Event) {
	out := s.core.Step(ev, s.now)
	s.wake = out.Wake
	for _, t := range out.Trace {
		if t.Name != "StatusChanged" {
			s.say("%v", t)
		}
	}
	for _, e := range out.Effects {
		s.say("→ %v", e)
		switch e.Kind {
		case Connect, Activate, Deactivate, Disconnect:
			if e.Job != 0 {
				s.jobs[e.Peer] = e
				s.queue = append(s.queue, e)
			}
		}
	}
	if err := s.core.Check(); err != nil {
		s.say("BROKEN: %v", err)
		s.t.Error(err)
	}
}

// options are what follows the peers of a command.
type options struct {
	peers []netip.AddrPort
	words map[string]bool
	vals  map[string]string
	fail  *Failure
}

func (s *stage) parse(args []string) options {
	o := options{words: map[string]bool{}, vals: map[string]string{}}
	for _, a := range args {
		key, val, has := strings.Cut(a, "=")
		switch {
		case has:
			o.vals[key] = val
			if key == "retry" && o.fail != nil {
				o.fail.RetryAfter = s.duration(val)
			}
		case a == "fail":
			o.fail = &Failure{}
		case o.fail != nil && a == "timeout":
			o.fail.Timeout = true
		case o.fail != nil:
			o.fail.Fault = Fault(slices.Index(faultNames[:], a))
		case slices.Contains([]string{"shares", "advertise", "trustable", "inbound-only", "initiator-only", "ledger", "bootstrap",
			"bootstrap-empty", "bulk", "too-old", "young", "sharing", "churn", "genesis", "outage", "cold", "cooling", "warm", "hot",
			"reject-private", "initiator", "none"}, a):
			o.words[a] = true
		default:
			o.peers = append(o.peers, s.peer(strings.TrimSuffix(a, "+")))
		}
	}
	return o
}

func (s *stage) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stage) number(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) targets(o options, t Targets) Targets {
	for key, f := range map[string]*int{"known": &t.Known, "established": &t.Established, "active": &t.Active, "roots": &t.Roots} {
		if v, ok := o.vals[key]; ok {
			*f = s.number(v)
		}
	}
	if v, ok := o.vals["big"]; ok {
		f := strings.Split(v, "/")
		t.KnownBigLedger, t.EstablishedBigLedger, t.ActiveBigLedger = s.number(f[0]), s.number(f[1]), s.number(f[2])
	}
	return t
}

func (s *stage) config(o options) {
	cfg := Config{Targets: s.targets(o, Targets{}), NoChurn: !o.words["churn"], PeerSharing: o.words["sharing"], Genesis: o.words["genesis"],
		NoOutageDetection: !o.words["outage"], RejectPrivate: o.words["reject-private"], InitiatorOnly: o.words["initiator"], Seed: 1}
	if v, ok := o.vals["sync-big"]; ok {
		cfg.SyncTargets = s.targets(options{vals: map[string]string{"big": v}}, Targets{Known: cfg.Targets.Known})
	}
	if v, ok := o.vals["seed"]; ok {
		cfg.Seed = uint64(s.number(v))
	}
	if v, ok := o.vals["per-prefix"]; ok {
		cfg.Diversity.PerPrefix = s.number(v)
	}
	if v, ok := o.vals["per-teller"]; ok {
		cfg.Diversity.PerTeller = s.number(v)
	}
	switch o.vals["policy"] {
	case "empty":
		cfg.Policy = brokenPolicy("empty")
	case "twice":
		cfg.Policy = brokenPolicy("twice")
	case "panic":
		cfg.Policy = brokenPolicy("panic")
	case "stranger":
		cfg.Policy = brokenPolicy("stranger")
	case "many":
		cfg.Policy = brokenPolicy("many")
	case "diverse":
		cfg.Policy = DiversePolicy{}
	}
	var err error
	if s.core, err = NewCore(cfg); err != nil {
		s.t.Fatal(err)
	}
	s.wake = Never
}

func (s *stage) groups(args []string) []LocalRootGroup {
	var gs []LocalRootGroup
	for len(args) > 0 {
		n := slices.Index(args, "/")
		if n < 0 {
			n = len(args)
		}
		o := s.parse(args[:n])
		if !o.words["none"] {
			g := LocalRootGroup{Hot: s.number(o.vals["hot"]), Warm: s.number(o.vals["warm"]), Members: o.peers,
				Advertise: o.words["advertise"], Trustable: o.words["trustable"], InboundOnly: o.words["inbound-only"],
				InitiatorOnly: o.words["initiator-only"]}
			gs = append(gs, g)
		}
		args = args[min(n+1, len(args)):]
	}
	return gs
}

func (s *stage) temperature(o options) Temperature {
	for t := Cold; t <= Hot; t++ {
		if o.words[t.String()] {
			return t
		}
	}
	s.t.Fatal("no temperature")
	return Cold
}

func (s *stage) command(args []string) {
	name, args := args[0], args[1:]
	o := s.parse(args)
	first := func() netip.AddrPort {
		if len(o.peers) == 0 {
			s.t.Fatalf("%s: no peer", name)
		}
		return o.peers[0]
	}
	switch name {
	case "config":
		s.config(o)
	case "local":
		s.step(LocalRootsSet{s.groups(args)})
	case "settings", "begin":
		r := RootSettings{UseLedger: o.words["ledger"], UseBootstrap: o.words["bootstrap"] || o.words["bootstrap-empty"],
			BootstrapEmpty: o.words["bootstrap-empty"]}
		if v, ok := o.vals["snapshot"]; ok {
			r.SnapshotSlot = uint64(s.number(v))
		}
		if name == "begin" {
			s.step(Begin{Ledger: LedgerSet{TooOld: o.words["too-old"], BulkSync: o.words["bulk"]}, Settings: r})
		} else {
			s.step(SettingsSet{r})
		}
	case "ledger":
		s.step(LedgerSet{TooOld: o.words["too-old"], BulkSync: o.words["bulk"]})
	case "targets":
		s.step(TargetsSet{s.targets(o, s.core.cfg.Targets), s.core.cfg.SyncTargets})
	case "roots", "big":
		r := &s.core.roots[0]
		if name == "big" {
			r = &s.core.roots[1]
		}
		if !r.running {
			s.t.Fatalf("no request for %s runs", name)
		}
		ev := RootsAnswered{Job: r.job, TTL: 5 * time.Second, Failure: o.fail}
		if v, ok := o.vals["ttl"]; ok {
			ev.TTL = s.duration(v)
		}
		for _, p := range o.peers {
			ev.Peers = append(ev.Peers, RootPeer{p, o.words["advertise"]})
		}
		s.step(ev)
	case "connected", "activated", "deactivated", "disconnected":
		s.finish(name, first(), o)
	case "late-connected":
		s.step(Connected{Job: 1 << 30, Peer: first(), Failure: o.fail})
	case "answered":
		s.step(Answered{Peer: first(), Peers: o.peers[1:], Failure: o.fail})
	case "status":
		ev := StatusSeen{Peer: first(), Temperature: s.temperature(o), RetryAfter: -1, Cause: o.fail}
		if v, ok := o.vals["delay"]; ok {
			ev.RetryAfter = s.duration(v)
		}
		s.step(ev)
	case "called":
		s.step(InboundSeen{first()})
	case "inbound":
		var ev InboundListed
		for i, a := range o.peers {
			ev.Peers = append(ev.Peers, InboundPeer{a, strings.HasSuffix(args[i], "+")})
		}
		s.step(ev)
	case "restored":
		var ev Restored
		for _, a := range o.peers {
			ev.Peers = append(ev.Peers, StoredPeer{Peer: a, Source: SourceShared, Shared: true})
		}
		s.step(ev)
	case "bad", "good":
		s.step(Reported{Peer: first(), Good: name == "good", Reason: "told so"})
	case "header", "block":
		sight := []Sighting{{Peer: s.peer(args[0]), Slot: uint64(s.number(args[1])), Bytes: 1000, At: s.now}}
		if name == "header" {
			s.step(MetricsSeen{Headers: sight})
		} else {
			s.step(MetricsSeen{Blocks: sight})
		}
	case "settle":
		for n := 0; len(s.queue) > 0 && n < 1000; n++ {
			e := s.queue[0]
			s.queue = s.queue[1:]
			if have, ok := s.jobs[e.Peer]; ok && have.Job == e.Job {
				s.finish(map[EffectKind]string{Connect: "connected", Activate: "activated", Deactivate: "deactivated",
					Disconnect: "disconnected"}[e.Kind], e.Peer, options{words: map[string]bool{"shares": s.core.cfg.PeerSharing}})
			}
		}
	case "advance":
		s.advance(s.duration(args[0]))
	default:
		s.ask(name, args, o)
	}
}

// finish is the result of an order that runs.
func (s *stage) finish(name string, a netip.AddrPort, o options) {
	job := s.jobs[a].Job
	delete(s.jobs, a)
	switch name {
	case "connected":
		s.step(Connected{Job: job, Peer: a, Shares: o.words["shares"], Failure: o.fail})
	case "activated":
		s.step(Activated{Job: job, Peer: a, Failure: o.fail})
	case "deactivated":
		s.step(Deactivated{Job: job, Peer: a, Failure: o.fail})
	case "disconnected":
		s.step(Disconnected{Job: job, Peer: a, Failure: o.fail})
	}
}

func (s *stage) advance(d time.Duration) {
	end := s.now + d
	for n := 0; s.wake <= end; n++ {
		if n > 200 {
			s.t.Fatal("it does not come to rest")
		}
		s.now = max(s.now, s.wake)
		before := len(s.lines)
		s.step(Tick{})
		if len(s.lines) > before {
			s.lines = slices.Insert(s.lines, before, fmt.Sprintf("  at %v", s.now.Round(time.Millisecond)))
		}
	}
	s.now = end
}

// ask looks and changes nothing.
func (s *stage) ask(name string, args []string, o options) {
	switch name {
	case "explain":
		s.say("%v", s.core.Explain(o.peers[0]))
	case "why":
		for _, e := range s.core.ExplainTargets() {
			if e.Why != "" {
				until := ""
				if e.Until != Never {
					until = fmt.Sprintf(" until %v", e.Until.Round(time.Millisecond))
				}
				s.say("%s %d of %d: %s%s", e.Name, e.Actual, e.Target, e.Why, until)
			}
		}
	case "shareable":
		got := s.core.Shareable(10, s.now)
		slices.SortFunc(got, netip.AddrPort.Compare)
		names := []string{}
		for _, a := range got {
			names = append(names, s.names[a])
		}
		slices.Sort(names)
		s.say("%s", strings.Join(names, " "))
	case "banned":
		s.core.Step(Tick{}, s.now)
		s.say("%v", s.core.Banned(o.peers[0]))
	case "trust":
		s.say("trusted %v, local roots only %v", s.core.OutboundTrusted(), s.core.Association() == LocalRootsOnly)
	case "count":
		k := s.core.Counters()
		all := k.Names()
		var parts []string
		for _, n := range args {
			parts = append(parts, fmt.Sprintf("%s=%v", n, all["peerSelection."+n]))
		}
		s.say("%s", strings.Join(parts, " "))
	case "what-if":
		var ev Event
		if args[0] == "local" {
			ev = LocalRootsSet{s.groups(args[1:])}
		} else {
			ev = TargetsSet{s.targets(s.parse(args[1:]), s.core.cfg.Targets), s.core.cfg.SyncTargets}
		}
		for _, t := range s.core.WhatIf(ev).Trace {
			if t.Name != "StatusChanged" {
				s.say("would: %v", t)
			}
		}
		if err := s.core.Check(); err != nil {
			s.t.Error(err)
		}
	default:
		s.t.Fatalf("no command %q", name)
	}
}
