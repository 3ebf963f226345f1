package governor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Properties of governor §10.2 that say what never happens.

func noFail() property {
	return property{name: "prop_governor_nofail", during: func(m *mock, _ step, _ *oracle) error { return m.core.Check() }}
}

// viewSizes: every counter equals the size of its set.
func viewSizes() property {
	return property{name: "prop_peerSelectionView_sizes", during: func(_ *mock, s step, o *oracle) error {
		if s.at%7 != 0 && len(s.effects) == 0 {
			return nil
		}
		return o.sizes()
	}}
}

func hasOutput() property {
	return property{name: "prop_governor_hasoutput", after: func(m *mock) error {
		for _, s := range m.log {
			if len(s.trace) > 0 {
				return nil
			}
		}
		if m.core.base() != (Targets{}) { // in Genesis mode, the configured targets may be those of another judgement
			return fmt.Errorf("nothing was ever traced")
		}
		return nil
	}}
}

// noLivelock: at one instant only so much happens.
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

// noBusyness: between two spells of 45 quiet seconds, the governor is not busy for longer than what happened to it accounts for:
// 65 s, which is what a root request in vain takes to back off that far, and so much more for every event it did not cause. Nor does
// it wake up for nothing.
func noBusyness() property {
	const quiet, initial = 45 * time.Second, 65 * time.Second
	began, last, credit := -quiet, -2*quiet, time.Duration(0)
	owed := map[netip.AddrPort]int{} // attempts that peers may be given because they failed or went by themselves
	requested := map[string]time.Duration{}
	var idle []time.Duration
	return property{name: "prop_governor_nobusyness", during: func(m *mock, s step, _ *oracle) error {
		if _, tick := s.event.(Tick); tick && len(s.effects)+len(s.trace) == 0 {
			idle = append(idle, s.at)
			if n := len(idle); n >= 60 && idle[n-1]-idle[n-60] < quiet {
				return fmt.Errorf("60 wake-ups for nothing within %v", idle[n-1]-idle[n-60])
			}
		}
		earned := credits(s, m.late)
		for _, a := range upset(s) {
			earned += quiet
			owed[a]++
		}
		for _, e := range s.effects {
			if (e.Kind == Connect || e.Kind == Activate) && owed[e.Peer] > 0 {
				earned += quiet
				owed[e.Peer]--
			}
		}
		for _, t := range s.trace {
			// A timer that was set before this spell.
			if t.Name == "PublicRootsRequest" || t.Name == "BigLedgerPeersRequest" {
				if at, before := requested[t.Name]; before && s.at-at > quiet {
					earned += quiet
				}
				requested[t.Name] = s.at
			}
			if (t.Name == "ChurnAction" || t.Name == "ChurnTimeout") && t.Delay > quiet {
				earned += quiet
			}
		}
		if len(s.trace) == 0 && earned == 0 {
			return nil
		}
		if s.at-last > quiet {
			began, credit = s.at, initial
		}
		last, credit = s.at, credit+earned
		if s.at-began > credit {
			return fmt.Errorf("busy since %v, %v were accounted for", began, credit)
		}
		return nil
	}}
}

// upset are the peers that failed or went by themselves in a step.
func upset(s step) (as []netip.AddrPort) {
	failed := func(a netip.AddrPort, f *Failure) {
		if f != nil {
			as = append(as, a)
		}
	}
	switch e := s.event.(type) {
	case Connected:
		failed(e.Peer, e.Failure)
	case Activated:
		failed(e.Peer, e.Failure)
	case Deactivated:
		failed(e.Peer, e.Failure)
	case Disconnected:
		failed(e.Peer, e.Failure)
	}
	for _, t := range s.trace {
		switch t.Name {
		case "DemoteAsynchronous", "DemoteLocalAsynchronous", "DemoteBigLedgerPeersAsynchronous":
			as = append(as, t.Peers...)
		}
	}
	return as
}

// credits are what else a step may keep the governor busy for, if results come so late.
func credits(s step, late time.Duration) time.Duration {
	n := 0
	switch s.event.(type) {
	case Answered:
		n = 15
	case RootsAnswered:
		n = 30 + int(late.Seconds()) // two requests may back off side by side
	case Begin, LocalRootsSet, LedgerSet, SettingsSet, Reported, Restored:
		n = 80
	}
	for _, t := range s.trace {
		switch t.Name {
		case "PeerShareRequests":
			n += 45 * len(t.Peers) // nobody is asked often
		case "TargetsChanged":
			n += 80 + 10*(s.targets.Known+s.targets.Established+s.targets.Active+s.targets.KnownBigLedger+
				s.targets.EstablishedBigLedger+s.targets.ActiveBigLedger)
		case "PublicRootsResults", "BigLedgerPeersResults":
			if len(t.Peers) > 0 {
				n += 60
			}
		case "OutageBegan", "OutageEnded":
			n += 80
		}
	}
	return time.Duration(n) * time.Second
}

// connStatus: the governor's view of every connection is the environment's, but for what is under way; and nobody is connected to who
// is connected, unless that connection is being closed.
func connStatus() property {
	since, closed := map[netip.AddrPort]time.Duration{}, set{}
	return property{name: "prop_governor_connstatus", during: func(m *mock, s step, _ *oracle) error {
		for _, e := range s.effects {
			switch p := m.peers[e.Peer]; {
			case e.Kind == Disconnect:
				closed[e.Peer] = true
			case e.Kind == Connect && p != nil && p.status >= Warm && !closed[e.Peer]:
				return fmt.Errorf("%v is connected to although it is %v", e.Peer, p.status)
			}
		}
		for _, p := range m.order {
			if p.status == Cold {
				delete(closed, p.addr)
			}
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

// staleResults is ours: the result of an order that no longer runs changes nothing.
func staleResults() property {
	running := map[netip.AddrPort]uint32{}
	return property{name: "prop_governor_stale_results_change_nothing", during: func(m *mock, s step, _ *oracle) error {
		var job uint32
		var peer netip.AddrPort
		switch e := s.event.(type) {
		case Connected:
			job, peer = e.Job, e.Peer
		case Activated:
			job, peer = e.Job, e.Peer
		case Deactivated:
			job, peer = e.Job, e.Peer
		case Disconnected:
			job, peer = e.Job, e.Peer
		}
		if job != 0 && running[peer] != job {
			for _, t := range s.trace {
				if t.Decision == OrderFinished && !strings.HasSuffix(t.Name, "Aborted") && slices.Contains(t.Peers, peer) {
					return fmt.Errorf("order %d of %v is long over, %d is the last: %v", job, peer, running[peer], t)
				}
			}
		}
		for _, e := range s.effects {
			switch e.Kind {
			case Connect, Activate, Deactivate, Disconnect:
				running[e.Peer] = e.Job
			}
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

// backOff is ours: who could not be connected to is left alone for 5, 10, 20, 40, 80 and then 160 s, each ± 2 s (governor §3.5).
func backOff() property {
	until := map[netip.AddrPort]time.Duration{}
	lifted, reusing := set{}, set{} // since it was last dialled; by the last order
	return property{name: "prop_governor_backoff", during: func(m *mock, s step, _ *oracle) error {
		for _, t := range s.trace {
			if t.Name == "BackOffLifted" {
				if lifted[t.Peers[0]] {
					return fmt.Errorf("the back-off of %v is lifted twice", t.Peers[0])
				}
				lifted[t.Peers[0]] = true
			} else if strings.HasPrefix(t.Name, "Outage") {
				clear(until)
			} else if strings.HasPrefix(t.Name, "Forget") {
				for _, a := range t.Peers {
					delete(until, a)
					delete(lifted, a)
				}
			}
		}
		for _, e := range s.effects {
			if e.Kind != Connect {
				continue
			}
			if reusing[e.Peer] = e.Options.InboundOnly; e.Options.InboundOnly {
				if !lifted[e.Peer] {
					return fmt.Errorf("%v is to be reused and has not connected to us", e.Peer)
				}
				continue
			}
			delete(lifted, e.Peer)
			if s.at < until[e.Peer] {
				return fmt.Errorf("%v is connected to at %v, not before %v", e.Peer, s.at, until[e.Peer])
			}
		}
		e, ok := s.event.(Connected)
		failed := slices.ContainsFunc(s.trace, func(t Trace) bool {
			return t.Delay > 0 && (t.Name == "PromoteColdFailed" || t.Name == "PromoteColdBigLedgerPeerFailed")
		})
		if p := m.core.find(e.Peer); ok && failed && !reusing[e.Peer] && p != nil && p.fails > 0 && e.Failure.RetryAfter == 0 && !m.core.outage[scopeOf(e.Peer)].on {
			until[e.Peer] = s.at + 5*time.Second<<(min(p.fails, 6)-1) - 2*time.Second
		}
		return nil
	}}
}

func associationMode() property {
	return property{name: "prop_governor_association_mode", during: func(m *mock, s step, _ *oracle) error {
		bootstrap := !m.core.cfg.Genesis && m.settings.UseBootstrap && !m.settings.BootstrapEmpty
		local := !m.settings.UseLedger && !m.core.cfg.PeerSharing && !bootstrap
		if got := m.core.Association() == LocalRootsOnly; got != local {
			return fmt.Errorf("local roots only: %v, want %v", got, local)
		}
		return nil
	}}
}

// sharesOnlyWhatMayBeShared is ours.
func sharesOnlyWhatMayBeShared() property {
	return property{name: "prop_governor_shares_only_what_may_be_shared", during: func(m *mock, s step, o *oracle) error {
		for _, a := range m.core.Shareable(10, m.now) {
			if !o.advertised[a] || !o.everConnected[a] || m.core.find(a).fails != 0 {
				return fmt.Errorf("%v is shared", a)
			}
		}
		return nil
	}}
}

// Bootstrap peers (governor §7).

// relabelled says that a step moved peers between trusted and untrusted without learning any.
func relabelled(s step) bool {
	return slices.ContainsFunc(s.trace, func(t Trace) bool { return t.Name == "LocalRootPeersChanged" })
}

// fallbackState: after the ledger state became too old, untrusted peers are gone in bounded time.
func fallbackState() property {
	since, was := time.Duration(0), false
	return property{name: "prop_governor_only_bootstrap_peers_in_fallback_state", during: func(m *mock, s step, o *oracle) error {
		if !s.counts.sensitive || !was || relabelled(s) {
			since = s.at
		}
		was = s.counts.sensitive
		if n := len(o.untrusted()); was && n > 0 && s.at-since > 16*time.Minute && !m.core.fatal {
			return fmt.Errorf("%d untrusted peers %v after", n, s.at-since)
		}
		return nil
	}}
}

func noStrangersBeforeCaughtUp() property {
	before, was := 0, false
	return property{name: "prop_governor_no_non_trustable_peers_before_caught_up_state", during: func(m *mock, s step, o *oracle) error {
		n := len(o.untrusted())
		if s.counts.sensitive && was && !relabelled(s) && n > before {
			return fmt.Errorf("%d untrusted peers, %d before", n, before)
		}
		before, was = n, s.counts.sensitive
		return nil
	}}
}

func cleanState() property {
	return property{name: "prop_governor_only_bootstrap_peers_in_clean_state", during: func(_ *mock, s step, o *oracle) error {
		if s.counts.sensitive && s.counts.onlyTrusted && len(o.untrusted()) > 0 {
			return fmt.Errorf("a clean state knows %v", o.untrusted())
		}
		return nil
	}}
}

// stopsUsingBootstrapPeers: while the ledger state is young enough, no new bootstrap peers come.
func stopsUsingBootstrapPeers() property {
	boot, was := 0, false
	return property{name: "prop_governor_stops_using_bootstrap_peers", during: func(m *mock, s step, o *oracle) error {
		live := m.core.liveSensitive()
		if !live && !was && s.counts.boot > boot {
			return fmt.Errorf("%d bootstrap peers, %d before, although not sensitive", s.counts.boot, boot)
		}
		boot, was = s.counts.boot, live
		return nil
	}}
}

// usesLedgerPeers: while sensitive bootstrap peers only; else the ledger first, and public roots only when it is off or had nothing to
// say.
func usesLedgerPeers() property {
	return property{name: "prop_governor_uses_ledger_peers", during: func(m *mock, s step, _ *oracle) error {
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
	}}
}
