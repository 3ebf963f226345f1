package governor

import "time"

// Decision names a rule. Traces, counters and Explain speak in these names.
type Decision uint8

// verdict is what a rule answers: it took its decision, or it skips, perhaps until a time.
type verdict struct {
	did   bool
	until time.Duration // when not did: ask again then; Never
}

var (
	did  = verdict{did: true}
	skip = verdict{until: Never}
)

func skipUntil(t time.Duration) verdict { return verdict{until: t} }

// The decisions, in their order. One more, DecisionNone, stands for "no rule": a report or a measurement.
const (
	BootstrapFlagChanged Decision = iota
	LedgerStateChanged
	Quiesced
	WentByThemselves
	OrderFinished
	SnapshotReplaced
	Churn
	TargetsChanged
	LocalRootsChanged
	BigLedgerKnownBelow
	BigLedgerKnownAbove
	RootsBelow
	RestorePeers
	KnownBelowInbound
	KnownBelowSharing
	KnownAbove
	EstablishedBelowBigLedger
	EstablishedBelowLocal
	EstablishedBelow
	EstablishedAboveBigLedger
	EstablishedAbove
	ActiveBelowBigLedger
	ActiveBelowLocal
	ActiveBelow
	ActiveAboveBigLedger
	ActiveAboveLocal
	ActiveAbove
	DecisionNone
)

// rule is one named decision. try looks at its guard; if that holds it takes exactly one decision.
type rule struct {
	name Decision
	text string
	doc  string // the guard and the amount, in one line; Explain shows it
	try  func(*Core) verdict

	// inSensitive: whether the rule also runs in sensitive state (TooOld with bootstrap peers on).
	inSensitive bool
}

// rules is the governor: the ordered list of governor §3.2. Targets precede local roots, because the targets of the start are
// zero and local roots are clamped to the known target. Churn and restored peers are [OURS]: churn stands before what it writes,
// and a peer we once had is taken before a stranger.
//
// It is filled by init, for the rules' own functions speak of it.
var rules []rule

func init() {
	rules = []rule{
		{BootstrapFlagChanged, "bootstrap-flag-changed", "use-bootstrap-peers differs from what we work with (Praos)", (*Core).bootstrapFlag, true},
		{LedgerStateChanged, "ledger-state-changed", "the ledger state judgement differs from what we work with", (*Core).ledgerState, true},
		{Quiesced, "quiesced", "sensitive, and nothing but trusted peers is left", (*Core).quiesce, true},
		{WentByThemselves, "asynchronous-demotion", "a connection changed without being told", (*Core).wentByThemselves, true},
		{OrderFinished, "order-finished", "the first result of an order", (*Core).orderFinished, true},
		{SnapshotReplaced, "snapshot-replaced", "the point of the peer snapshot differs", (*Core).snapshotReplaced, true},
		{Churn, "churn", "a step of churn is satisfied or timed out", (*Core).churn, true},
		{TargetsChanged, "targets-changed", "targets differ, are sane, and we are not draining", (*Core).targetsChanged, true},
		{LocalRootsChanged, "local-roots-changed", "local roots, normalised and clamped, differ, and we are not draining", (*Core).localRootsChanged, true},
		{BigLedgerKnownBelow, "big-ledger-known-below", "known big ledger peers < target, no request running, retry time passed", (*Core).bigLedgerBelow, false},
		{BigLedgerKnownAbove, "big-ledger-known-above", "known big ledger peers > target, some cold", (*Core).bigLedgerAbove, true},
		{RootsBelow, "roots-below", "root peers < target, no request running, retry time passed", (*Core).rootsBelow, true},
		{RestorePeers, "restore-peers", "known < target and the peer store offers some", (*Core).restorePeers, false},
		{KnownBelowInbound, "known-below-inbound", "known < target, nobody asked, retry time passed, the coin says so or nobody can be asked", (*Core).lightSharing, false},
		{KnownBelowSharing, "known-below-sharing", "known < target, fewer than 2 requests running, somebody to ask", (*Core).peerSharing, false},
		{KnownAbove, "known-above", "known > target, some cold", (*Core).knownAbove, true},
		{EstablishedBelowBigLedger, "established-below-big-ledger", "target − established − connecting > 0 and some available", (*Core).establishedBelowBig, false},
		{EstablishedBelowLocal, "established-below-local", "a group has fewer established than its warm valency", (*Core).establishedBelowLocal, true},
		{EstablishedBelow, "established-below", "target − established − connecting > 0 and some available", (*Core).establishedBelow, true},
		{EstablishedAboveBigLedger, "established-above-big-ledger", "established > target, some warm", (*Core).establishedAboveBig, true},
		{EstablishedAbove, "established-above", "established > target, some warm that are no local roots", (*Core).establishedAbove, true},
		{ActiveBelowBigLedger, "active-below-big-ledger", "active + activating < target", (*Core).activeBelowBig, false},
		{ActiveBelowLocal, "active-below-local", "a group has fewer hot than its hot valency", (*Core).activeBelowLocal, true},
		{ActiveBelow, "active-below", "active + activating < target", (*Core).activeBelow, true},
		{ActiveAboveBigLedger, "active-above-big-ledger", "active − deactivating > target", (*Core).activeAboveBig, true},
		{ActiveAboveLocal, "active-above-local", "a group has more hot than its hot valency", (*Core).activeAboveLocal, true},
		{ActiveAbove, "active-above", "active − deactivating > target", (*Core).activeAbove, true},
	}
}

func (d Decision) String() string {
	if int(d) < len(rules) {
		return rules[d].text
	}
	return "none"
}

// Decisions lists the rules in the order in which they are asked, with the guard of each.
func Decisions() []DecisionDoc {
	docs := make([]DecisionDoc, len(rules))
	for i, r := range rules {
		docs[i] = DecisionDoc{r.name, r.text, r.doc}
	}
	return docs
}

// DecisionDoc describes one rule.
type DecisionDoc struct {
	Decision    Decision
	Name, Guard string
}

// decide walks the list once and takes the first decision that is ready. Otherwise it leaves in c.out.Wake the earliest time a
// skipped rule asked for.
func (c *Core) decide() bool {
	c.out.Wake = c.nextTimer()
	sensitive := c.sensitive()
	for i := range rules {
		r := &rules[i]
		if sensitive && !r.inSensitive {
			continue
		}
		c.deciding = r.name
		v := r.try(c)
		if v.did {
			c.taken[r.name]++
			return true
		}
		c.out.Wake = min(c.out.Wake, v.until)
	}
	c.deciding = DecisionNone
	return false
}
