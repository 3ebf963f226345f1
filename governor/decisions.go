package governor

import "time"

// Decision names a rule. Traces, counters and Explain speak in these names.
type Decision uint8

// verdict is what a rule answers: it took its decision, or it skips, perhaps until a time.
type verdict struct {
	did   bool
	until time.Duration // when not did: ask again then; Never
	again bool          // when not did: ask again in any case
}

var (
	did       = verdict{did: true}
	skip      = verdict{until: Never}
	skipAgain = verdict{until: Never, again: true}
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
	doc  string // the guard, and what is done for how many
	try  func(*Core) verdict

	// inSensitive: whether the rule also runs in sensitive state: too old, with bootstrap peers on (governor §7).
	inSensitive bool
}

// rules is the governor: the ordered list of governor §3.2, numbered as there. Targets precede local roots, because the targets of
// the start are zero and local roots are clamped to the known target. Churn and restored peers are [OURS]: churn stands before
// what it writes, and a peer we once had is taken before a stranger. What is in progress always counts, so that rules asked
// again never order twice. "known", "established" and "active" leave big ledger peers out and take local roots in (governor §1.3).
//
// It is filled by init, for the rules' own functions speak of it.
var rules []rule

func init() {
	rules = []rule{
		// 1.
		{name: BootstrapFlagChanged, text: "bootstrap-flag-changed", try: (*Core).bootstrapFlag, inSensitive: true,
			doc: "use-bootstrap-peers differs (Praos): forget cold bootstrap peers, take the ledger for young enough"},
		// 2.
		{name: LedgerStateChanged, text: "ledger-state-changed", try: (*Core).ledgerState, inSensitive: true,
			doc: "the judgement differs: Praos with bootstrap peers drops everything when too old, Genesis swaps its targets"},
		// 3.
		{name: Quiesced, text: "quiesced", try: (*Core).quiesce, inSensitive: true,
			doc: "too old with bootstrap peers, and none but trusted peers known, nothing under way: a clean state"},
		// 4.
		{name: WentByThemselves, text: "asynchronous-demotion", try: (*Core).wentByThemselves, inSensitive: true,
			doc: "a connection went warm, cooling or cold without being told: follow it, with the delay it asks for"},
		// 5.
		{name: OrderFinished, text: "order-finished", try: (*Core).orderFinished, inSensitive: true,
			doc: "an order has a result: apply the first one to the state as it is now"},
		// 6.
		{name: SnapshotReplaced, text: "snapshot-replaced", try: (*Core).snapshotReplaced, inSensitive: true,
			doc: "the point of the peer snapshot differs: have the ledger state worked off again"},
		// [OURS] Writes what 7 reads.
		{name: Churn, text: "churn", try: (*Core).churn, inSensitive: true,
			doc: "the step of churn is satisfied or timed out: write the target of the next"},
		// 7.
		{name: TargetsChanged, text: "targets-changed", try: (*Core).targetsChanged, inSensitive: true,
			doc: "targets differ, not draining: they are in force"},
		// 8.
		{name: LocalRootsChanged, text: "local-roots-changed", try: (*Core).localRootsChanged, inSensitive: true,
			doc: "local roots, normalised and clamped, differ, not draining: they are in force; removed hot ones to warm"},
		// 9.
		{name: BigLedgerKnownBelow, text: "big-ledger-known-below", try: (*Core).bigLedgerBelow,
			doc: "target − known > 0, no request running, retry time passed: ask for so many"},
		// 10.
		{name: BigLedgerKnownAbove, text: "big-ledger-known-above", try: (*Core).bigLedgerAbove, inSensitive: true,
			doc: "known > target and some cold: forget the excess"},
		// 11.
		{name: RootsBelow, text: "roots-below", try: (*Core).rootsBelow, inSensitive: true,
			doc: "target − roots > 0 (big ledger peers count), no request running, retry time passed: ask for so many"},
		// [OURS] Before 12.
		{name: RestorePeers, text: "restore-peers", try: (*Core).restorePeers,
			doc: "target − known > 0 and the peer store offers some: take so many"},
		// 12.
		{name: KnownBelowInbound, text: "known-below-inbound", try: (*Core).lightSharing,
			doc: "known < target, no share request running, retry time passed, the coin says so or nobody can be asked: learn ≤ 10 inbound peers"},
		{name: KnownBelowSharing, text: "known-below-sharing", try: (*Core).peerSharing,
			doc: "known < target, fewer than 2 requests running, somebody to ask: ask 2 − running"},
		// 13.
		{name: KnownAbove, text: "known-above", try: (*Core).knownAbove, inSensitive: true,
			doc: "known > target and some cold: forget the excess; roots only while there are more than their target"},
		// 14.
		{name: EstablishedBelowBigLedger, text: "established-below-big-ledger", try: (*Core).establishedBelowBig,
			doc: "target − established − connecting > 0 and some available: connect so many"},
		{name: EstablishedBelowLocal, text: "established-below-local", try: (*Core).establishedBelowLocal, inSensitive: true,
			doc: "a group has fewer established and connecting than its warm valency, some available: connect the difference"},
		{name: EstablishedBelow, text: "established-below", try: (*Core).establishedBelow, inSensitive: true,
			doc: "target − established − connecting > 0 and some available: connect so many"},
		// 15.
		{name: EstablishedAboveBigLedger, text: "established-above-big-ledger", try: (*Core).establishedAboveBig, inSensitive: true,
			doc: "established > target and some warm: close min(excess, warm) − in progress"},
		{name: EstablishedAbove, text: "established-above", try: (*Core).establishedAbove, inSensitive: true,
			doc: "established > target and some warm, no local roots: close min(excess, warm) − in progress"},
		// 16.
		{name: ActiveBelowBigLedger, text: "active-below-big-ledger", try: (*Core).activeBelowBig,
			doc: "target − active − activating > 0 and some warm and ready: activate so many"},
		{name: ActiveBelowLocal, text: "active-below-local", try: (*Core).activeBelowLocal, inSensitive: true,
			doc: "a group has fewer hot and activating than its hot valency, some warm and ready: activate the difference"},
		{name: ActiveBelow, text: "active-below", try: (*Core).activeBelow, inSensitive: true,
			doc: "target − active − activating > 0 and some warm and ready: activate so many"},
		// 17.
		{name: ActiveAboveBigLedger, text: "active-above-big-ledger", try: (*Core).activeAboveBig, inSensitive: true,
			doc: "active − target − deactivating > 0: deactivate so many"},
		{name: ActiveAboveLocal, text: "active-above-local", try: (*Core).activeAboveLocal, inSensitive: true,
			doc: "a group has more hot than its hot valency: deactivate the difference − all deactivating"},
		{name: ActiveAbove, text: "active-above", try: (*Core).activeAbove, inSensitive: true,
			doc: "active − target − deactivating > 0, no local roots: deactivate so many"},
	}
}

// String returns the name of the rule as traces and metrics have it, such as "active-above-local"; "none" for DecisionNone.
func (d Decision) String() string {
	if int(d) < len(rules) {
		return rules[d].text
	}
	return "none"
}

// Decisions lists the rules in the order in which they are asked, with the guard and the amount of each.
func Decisions() []DecisionDoc {
	docs := make([]DecisionDoc, len(rules))
	for i, r := range rules {
		docs[i] = DecisionDoc{r.name, r.text, r.doc}
	}
	return docs
}

// DecisionDoc describes one rule. Rule is the guard, a colon, and what is done for how many.
type DecisionDoc struct {
	Decision   Decision
	Name, Rule string
}

// decide walks the list once and takes the first decision that is ready. Otherwise it leaves in c.out.Wake the earliest time a
// skipped rule asked for. Rules that would skip as they did before are not asked (asking.go).
func (c *Core) decide() bool {
	sensitive := c.sensitive()
	ask := c.asking.rules
	if sensitive || c.asking.all {
		ask = everyRule
	}
	for ; ask != 0; ask &= ask - 1 {
		r := &rules[ask.first()]
		if sensitive && !r.inSensitive {
			c.asking.skipped(r.name, skipAgain)
			continue
		}
		c.deciding = r.name
		v := r.try(c)
		if v.did {
			c.taken[r.name]++
			if moves&(1<<r.name) == 0 {
				c.asking.rules = everyRule
			}
			return true
		}
		c.asking.skipped(r.name, v)
	}
	c.deciding = DecisionNone
	c.out.Wake = min(c.nextTimer(), c.asking.wake())
	return false
}
