package governor

// Which rules are asked. A rule that skipped would skip again until something that its guard looks at has changed, or the time has
// come that it named; until then it is passed over. Most of what a step changes are the counts of one kind of peers in two places,
// which few rules look at. Whatever else changes has all rules asked again.

// looks is a set of counts that a guard looks at.
type looks uint64

// The counts of a kind: of its peers in each place, then its tally.
const (
	looksKnown = iota + nowhere + 1
	looksEstablished
	looksActive
	looksOfKind
)

func lookAt(k kind, counts ...place) looks {
	if k == kindOrdinary {
		return lookAt(kindOther, counts...) | lookAt(kindLocal, counts...)
	}
	var l looks
	for _, n := range counts {
		l |= 1 << (place(k)*looksOfKind + n)
	}
	return l
}

// in are the peers of a kind in some places; known, established and active its tally.
func in(k kind, ps ...place) looks { return lookAt(k, ps...) }
func knownOf(k kind) looks         { return lookAt(k, looksKnown) }
func establishedOf(k kind) looks   { return lookAt(k, looksEstablished) }
func activeOf(k kind) looks        { return lookAt(k, looksActive) }
func everybody(ps ...place) looks  { return in(kindOrdinary, ps...) | in(kindBig, ps...) }

// looksAt has what the guards of the rules that are not always asked look at.
var looksAt = [DecisionNone]looks{
	BigLedgerKnownBelow: knownOf(kindBig),
	BigLedgerKnownAbove: knownOf(kindBig) | in(kindBig, coldReady, coldWait),
	RootsBelow:          knownOf(kindOrdinary) | knownOf(kindBig),
	RestorePeers:        knownOf(kindOrdinary),
	KnownAbove:          knownOf(kindOrdinary) | knownOf(kindBig) | in(kindOther, coldReady, coldWait),

	EstablishedBelowBigLedger: establishedOf(kindBig) | in(kindBig, connecting, coldReady, coldWait),
	EstablishedBelowLocal:     establishedOf(kindLocal) | in(kindLocal, connecting, coldReady, coldWait),
	EstablishedBelow:          establishedOf(kindOrdinary) | in(kindOrdinary, connecting) | in(kindOther, coldReady, coldWait),
	EstablishedAboveBigLedger: establishedOf(kindBig) | activeOf(kindBig) | in(kindBig, warmReady, warmWait, cooling) |
		everybody(closing, activating),
	EstablishedAbove: establishedOf(kindOrdinary) | activeOf(kindOrdinary) | in(kindOther, warmReady, warmWait) |
		in(kindOrdinary, closing, activating, cooling),

	ActiveBelowBigLedger: activeOf(kindBig) | in(kindBig, activating, warmReady, warmWait),
	ActiveBelowLocal:     activeOf(kindLocal) | in(kindLocal, activating, warmReady, warmWait),
	ActiveBelow:          activeOf(kindOrdinary) | in(kindOrdinary, activating) | in(kindOther, warmReady, warmWait),
	ActiveAboveBigLedger: activeOf(kindBig) | in(kindBig, deactivating, hot),
	ActiveAboveLocal:     activeOf(kindLocal) | in(kindLocal, hot) | everybody(deactivating),
	ActiveAbove:          activeOf(kindOrdinary) | in(kindOrdinary, deactivating) | in(kindOther, hot),
}

// ruleSet is a set of rules, a bit each.
type ruleSet uint32

func rulesOf(ds ...Decision) (s ruleSet) {
	for _, d := range ds {
		s |= 1 << d
	}
	return s
}

const everyRule ruleSet = 1<<DecisionNone - 1

// alwaysAsked are asked in every walk: their guards look at more than counts, and at next to nothing when there is nothing to do.
var alwaysAsked = rulesOf(Quiesced, WentByThemselves, OrderFinished, Churn, KnownBelowInbound, KnownBelowSharing)

// moves are the rules that change nothing but counts which others look at. After any other, all are asked.
var moves = rulesOf(WentByThemselves, OrderFinished, EstablishedBelowBigLedger, EstablishedBelowLocal, EstablishedBelow,
	EstablishedAboveBigLedger, EstablishedAbove, ActiveBelowBigLedger, ActiveBelowLocal, ActiveBelow, ActiveAboveBigLedger,
	ActiveAboveLocal, ActiveAbove)

// concerned are the rules that look at what changes when a peer of a kind goes from one place to another.
var concerned = func() (concerned [kindOrdinary][places + 1][places + 1]ruleSet) {
	for k := range kindOrdinary {
		for from := range nowhere + 1 {
			for to := range nowhere + 1 {
				changed := in(k, from, to)
				a, b := from.tally(), to.tally()
				if a.known != b.known {
					changed |= knownOf(k)
				}
				if a.established != b.established {
					changed |= establishedOf(k)
				}
				if a.active != b.active {
					changed |= activeOf(k)
				}
				for d, l := range looksAt {
					if l&changed != 0 {
						concerned[k][from][to] |= 1 << d
					}
				}
			}
		}
	}
	return concerned
}()
