package governor

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Properties of governor §10.2 that say what does happen.

// opportunities: where the reference allows an opportunity some seconds, here it is taken in the very step in which it arises: after
// every step no guard may still hold.
func opportunities() []property {
	var ps []property
	for _, p := range []struct {
		name string
		rule Decision
	}{
		{"prop_governor_target_root_below", RootsBelow},
		{"prop_governor_target_known_2_opportunity_taken", KnownBelowSharing},
		{"prop_governor_target_known_above", KnownAbove},
		{"prop_governor_target_known_big_ledger_peers_below", BigLedgerKnownBelow},
		{"prop_governor_target_known_big_ledger_peers_above", BigLedgerKnownAbove},
		{"prop_governor_target_established_below", EstablishedBelow},
		{"prop_governor_target_established_above", EstablishedAbove},
		{"prop_governor_target_established_big_ledger_peers_below", EstablishedBelowBigLedger},
		{"prop_governor_target_established_big_ledger_peers_above", EstablishedAboveBigLedger},
		{"prop_governor_target_established_local", EstablishedBelowLocal},
		{"prop_governor_target_active_below", ActiveBelow},
		{"prop_governor_target_active_above", ActiveAbove},
		{"prop_governor_target_active_big_ledger_peers_below", ActiveBelowBigLedger},
		{"prop_governor_target_active_big_ledger_peers_above", ActiveAboveBigLedger},
		{"prop_governor_target_active_local_below", ActiveBelowLocal},
		{"prop_governor_target_active_local_above", ActiveAboveLocal},
	} {
		ps = append(ps, property{name: p.name, during: func(_ *mock, _ step, o *oracle) error {
			if what, ok := o.missed()[p.rule]; ok {
				return fmt.Errorf("%v was not taken: %s", p.rule, what)
			}
			return nil
		}})
	}
	return ps
}

// rootBelow: roots are asked for only while there are too few, and no more than are wanted, so that nothing but a source that
// answers with all it has takes them above the target.
func rootBelow() property {
	wanted := 0
	return property{name: "prop_governor_target_root_below (not overshot)", during: func(m *mock, s step, o *oracle) error {
		for _, t := range s.trace {
			if t.Name == "PublicRootsRequest" {
				if wanted = t.Target - t.Actual; wanted <= 0 {
					return fmt.Errorf("%v: none are wanted", t)
				}
			}
		}
		for _, e := range s.effects {
			if e.Kind == RequestRoots && e.Job == m.core.roots[0].job && e.N > wanted {
				return fmt.Errorf("%d roots are asked for, %d are wanted", e.N, wanted)
			}
		}
		return nil
	}}
}

// validSubset: all known peers were named by somebody.
func validSubset() property {
	return property{name: "prop_governor_target_known_1_valid_subset", during: func(m *mock, s step, o *oracle) error {
		for a := range o.known {
			if !m.told[a] {
				return fmt.Errorf("%v is known and nobody ever named it", a)
			}
		}
		return nil
	}}
}

// notTooChatty: nobody is asked again within 900 s, or 300 s of a new connection; the amount is a byte, and at least eight.
func notTooChatty() property {
	asked, up := map[netip.AddrPort]time.Duration{}, map[netip.AddrPort]time.Duration{}
	return property{name: "prop_governor_target_known_3_not_too_chatty", during: func(m *mock, s step, o *oracle) error {
		timing := m.core.cfg.Timing
		for _, t := range s.trace {
			if t.Name == "StatusChanged" && strings.HasPrefix(t.Note, "cold to") {
				up[t.Peers[0]] = s.at
			}
		}
		for _, e := range s.effects {
			if e.Kind != AskForPeers {
				continue
			}
			if d := s.at - up[e.Peer]; d < timing.ShareActivation {
				return fmt.Errorf("%v is asked %v after it was connected", e.Peer, d)
			}
			if last, ok := asked[e.Peer]; ok && last >= up[e.Peer] && s.at-last < timing.ShareRetry {
				return fmt.Errorf("%v was asked %v ago", e.Peer, s.at-last)
			}
			if e.N < shareLeast || e.N > shareMost {
				return fmt.Errorf("%v is asked for %d", e.Peer, e.N)
			}
			asked[e.Peer] = s.at
		}
		return nil
	}}
}

// resultsUsed: whoever was named in an answer is known ten seconds later, as long as more are wanted. A batch takes no more than were
// wanted when it was asked for, so what came to be wanted later does not count.
func resultsUsed() property {
	due := map[netip.AddrPort]time.Duration{}
	asked, shrunk := map[uint32]time.Duration{}, time.Duration(-1)
	return property{name: "prop_governor_target_known_4_results_used", during: func(m *mock, s step, o *oracle) error {
		for _, t := range s.trace {
			if strings.HasPrefix(t.Name, "Forget") || t.Name == "TargetsChanged" || t.Name == "Banned" {
				clear(due)
				shrunk = s.at
			}
		}
		for _, e := range s.effects {
			if e.Kind == AskForPeers {
				asked[e.Job] = s.at
			}
		}
		if len(o.known)-len(o.big) >= m.core.targets.Known || m.core.sensitive() || m.core.liveSensitive() {
			clear(due)
			return nil
		}
		if e, ok := s.event.(Answered); ok && e.Failure == nil && asked[e.Job] > shrunk {
			for _, t := range s.trace {
				if t.Name != "PeerShareResults" || t.Note != "" {
					continue // it came too late, or was refused
				}
				for _, a := range e.Peers {
					if _, waits := due[a]; !waits {
						due[a] = s.at + m.core.cfg.Timing.ShareOverall
					}
				}
			}
		}
		for a, d := range due {
			switch {
			case o.known[a], m.core.bans.has(a, s.at):
				delete(due, a)
			case s.at > d:
				return fmt.Errorf("%v was told %v ago and is not known, %d of %d", a, s.at-d+m.core.cfg.Timing.ShareOverall,
					len(o.known)-len(o.big), m.core.targets.Known)
			}
		}
		return nil
	}}
}

// noOvershoot is ours, and missing in the reference (governor §10.3): what peers tell, who is inbound and what is restored never takes
// known above its target; nor does a promotion take established or active above theirs.
func noOvershoot() property {
	return property{name: "prop_governor_no_overshoot", during: func(m *mock, s step, _ *oracle) error {
		for _, t := range s.trace {
			switch t.Name {
			case "PeerShareResultsFiltered", "PickInboundPeers", "PromoteColdPeers", "PromoteColdLocalPeers",
				"PromoteColdBigLedgerPeers", "PromoteWarmPeers", "PromoteWarmLocalPeers", "PromoteWarmBigLedgerPeers":
				if t.Actual+len(t.Peers) > t.Target {
					return fmt.Errorf("%v: above the target", t)
				}
			case "RestoredPeers": // counted after
				if t.Actual > t.Target {
					return fmt.Errorf("%v: above the target", t)
				}
			}
		}
		return nil
	}}
}

// noShrink: known peers go only by the rules for too many, which stop at the target, or by name: because they failed too often, were
// bootstrap peers, or misbehaved. And the rules for too many take no other count below its target.
func noShrink() []property {
	gone := func(name string, big bool) property {
		last := set{}
		return property{name: name, during: func(m *mock, s step, o *oracle) error {
			now := o.known.minus(o.big)
			if big {
				now = o.big
			}
			named := set{}
			for _, t := range s.trace {
				switch {
				case t.Name == "ForgetColdPeers" && t.Note != "":
					named[t.Peers[0]] = true
				case t.Name == "ForgetColdPeers", t.Name == "ForgetBigLedgerPeers":
					if t.Actual-len(t.Peers) < t.Target {
						return fmt.Errorf("%v: below the target", t)
					}
					for _, a := range t.Peers {
						named[a] = true
					}
				}
			}
			for a := range last.minus(now, named) {
				if !o.known[a] { // it may have changed sides
					return fmt.Errorf("%v is gone and nobody says why", a)
				}
			}
			last = now
			return nil
		}}
	}
	others := property{name: "prop_governor_target_{established,active}_5_no_shrink_below", during: func(m *mock, s step, _ *oracle) error {
		for _, t := range s.trace {
			switch t.Name {
			case "DemoteWarmPeers", "DemoteWarmBigLedgerPeers", "DemoteHotPeers", "DemoteHotBigLedgerPeers", "DemoteLocalHotPeers":
				if t.Target >= 0 && t.Actual-len(t.Peers) < t.Target {
					return fmt.Errorf("%v: below the target", t)
				}
			}
		}
		return nil
	}}
	return []property{gone("prop_governor_target_known_5_no_shrink_below", false),
		gone("prop_governor_target_known_5_no_shrink_big_ledger_peers_below", true), others}
}
