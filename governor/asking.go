package governor

import (
	"math/bits"
	"time"
)

// Which rules are asked. A rule that skipped would skip again until something that its guard looks at changes, or the time comes
// that it named, so until then it is passed over. Nearly all that a step changes is how many peers of one kind are in two places,
// and few rules look at any one of these counts. Whatever is not said here to concern but some rules has all of them asked.
//
// TestPassedOver holds this against a core that asks every rule every time.

// asking is which rules are to be asked, and when the others are.
type asking struct {
	rules ruleSet
	timed ruleSet // of the others, those that named a time
	until [DecisionNone]time.Duration
	all   bool // for tests: none is ever passed over
}

// ruleSet is a set of rules, a bit each.
type ruleSet uint32

const everyRule ruleSet = 1<<DecisionNone - 1

func (s ruleSet) first() Decision { return Decision(bits.TrailingZeros32(uint32(s))) }

// skipped notes that a rule has nothing to do.
func (a *asking) skipped(d Decision, v verdict) {
	if !v.again {
		a.rules &^= 1 << d
	}
	a.timed &^= 1 << d
	if v.until != Never {
		a.timed |= 1 << d
		a.until[d] = v.until
	}
}

// turnDue has those asked whose time has come.
func (a *asking) turnDue(now time.Duration) {
	for s := a.timed; s != 0; s &= s - 1 {
		if d := s.first(); a.until[d] <= now {
			a.rules |= 1 << d
		}
	}
}

// wake is the earliest time that a rule named.
func (a *asking) wake() time.Duration {
	t := Never
	for s := a.timed; s != 0; s &= s - 1 {
		t = min(t, a.until[s.first()])
	}
	return t
}

// moves are the rules that do no more than move peers, which tells by itself whom it concerns. After any other, all are asked.
const moves ruleSet = 1<<WentByThemselves | 1<<OrderFinished |
	1<<EstablishedBelowBigLedger | 1<<EstablishedBelowLocal | 1<<EstablishedBelow | 1<<EstablishedAboveBigLedger | 1<<EstablishedAbove |
	1<<ActiveBelowBigLedger | 1<<ActiveBelowLocal | 1<<ActiveBelow | 1<<ActiveAboveBigLedger | 1<<ActiveAboveLocal | 1<<ActiveAbove

// looks is a set of counts: of the peers of a kind in each place, and its tally.
type looks uint64

const (
	looksKnown = iota + nowhere + 1
	looksEstablished
	looksActive
	looksOfKind
)

// in are the peers of a kind in some places; knownOf, establishedOf and activeOf are its tally.
func in(k kind, counts ...place) (l looks) {
	if k == kindOrdinary {
		return in(kindOther, counts...) | in(kindLocal, counts...)
	}
	for _, n := range counts {
		l |= 1 << (place(k)*looksOfKind + n)
	}
	return l
}

func knownOf(k kind) looks       { return in(k, looksKnown) }
func establishedOf(k kind) looks { return in(k, looksEstablished) }
func activeOf(k kind) looks      { return in(k, looksActive) }

// looksAt has the counts that guards look at.
var looksAt = [DecisionNone]looks{
	// Churn waits for a count to follow its target.
	Churn: knownOf(kindOrdinary) | establishedOf(kindOrdinary) | activeOf(kindOrdinary) |
		knownOf(kindBig) | establishedOf(kindBig) | activeOf(kindBig),

	BigLedgerKnownBelow: knownOf(kindBig),
	BigLedgerKnownAbove: knownOf(kindBig) | in(kindBig, coldReady, coldWait),
	RootsBelow:          knownOf(kindOrdinary) | knownOf(kindBig),
	RestorePeers:        knownOf(kindOrdinary),
	KnownBelowInbound:   knownOf(kindOrdinary),
	KnownBelowSharing:   knownOf(kindOrdinary), // and at who can be asked: sharing tells
	KnownAbove:          knownOf(kindOrdinary) | knownOf(kindBig) | in(kindOther, coldReady, coldWait),

	EstablishedBelowBigLedger: establishedOf(kindBig) | in(kindBig, connecting, coldReady, coldWait),
	EstablishedBelowLocal:     establishedOf(kindLocal) | in(kindLocal, connecting, coldReady, coldWait),
	EstablishedBelow:          establishedOf(kindOrdinary) | in(kindOrdinary, connecting) | in(kindOther, coldReady, coldWait),
	EstablishedAboveBigLedger: establishedOf(kindBig) | activeOf(kindBig) | in(kindBig, warmReady, warmWait, cooling) |
		in(kindBig, closing, activating) | in(kindOrdinary, closing, activating),
	EstablishedAbove: establishedOf(kindOrdinary) | activeOf(kindOrdinary) | in(kindOther, warmReady, warmWait) |
		in(kindOrdinary, closing, activating, cooling),

	ActiveBelowBigLedger: activeOf(kindBig) | in(kindBig, activating, warmReady, warmWait),
	ActiveBelowLocal:     activeOf(kindLocal) | in(kindLocal, activating, warmReady, warmWait),
	ActiveBelow:          activeOf(kindOrdinary) | in(kindOrdinary, activating) | in(kindOther, warmReady, warmWait),
	ActiveAboveBigLedger: activeOf(kindBig) | in(kindBig, deactivating, hot),
	ActiveAboveLocal:     activeOf(kindLocal) | in(kindLocal, hot, deactivating) | in(kindOther, deactivating) | in(kindBig, deactivating),
	ActiveAbove:          activeOf(kindOrdinary) | in(kindOrdinary, deactivating) | in(kindOther, hot),
}

// lookers are the rules that look at one of some counts.
func lookers(changed looks) (s ruleSet) {
	for d, l := range looksAt {
		if l&changed != 0 {
			s |= 1 << d
		}
	}
	return s
}
