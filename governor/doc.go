// Package governor is an outbound peer governor: it decides whom to know, whom to keep a connection to (warm) and whom to use
// (hot), so that seven targets and the valencies of the configured local roots are met, and it keeps deciding while peers come,
// go, fail and misbehave.
//
// # Core and shell
//
// [Core] is the governor proper and it is pure: Step takes one [Event] and the time, and returns [Effect] values (orders for
// somebody who owns sockets), [Trace] values (what was decided and why) and the time at which it wants to be woken. It has no
// clock, no goroutine, no I/O and one seeded source of randomness, so the same events at the same times give the same
// trace, in a test, in a simulator of thousands of nodes and in a replay of a recording.
//
// [Governor] is the shell: one goroutine which owns a Core, runs its orders through [PeerActions] and [Roots], and feeds the
// results back. A host passes a connection manager and a topology provider as they are.
//
// # Decisions
//
// The rules are an ordered list of named decisions (decisions.go, governor §3.2). After every event the list is walked from its
// top; the first rule whose guard holds takes exactly one decision, and the walk starts again. A rule that is held up only by
// time says when it wants to be asked again. A rule that had nothing to do is passed over until something that its guard looks
// at has changed or that time has come (asking.go), which decides the same as asking every rule every time, and costs less.
// Most guards look at no more than counts, which are kept as peers move.
//
//	file             decisions
//	bootstrap.go     bootstrap flag, ledger state judgement, quiesced, snapshot, targets (governor §7)
//	async.go         what peers did without being told (governor §3.6)
//	jobs.go          results of orders (governor §3.5)
//	churn.go         the twelve steps (governor §4)
//	localroots.go    groups, valencies, clamping (governor §2)
//	bigledger.go     big ledger peers known (governor §3.3)
//	known.go         roots, restored peers, forgetting (governor §3.3, §3.8)
//	peersharing.go   light sharing and asking for peers (governor §3.7)
//	established.go   cold to warm and back (governor §3.3)
//	active.go        warm to hot and back (governor §3.3)
//
// # Supervision
//
// An error of an order counts by its class: internal, network, adversarial, benign (governor §11). A panic in a function of the host
// is nobody's fault and is logged; a policy that panics or breaks its contract is replaced by a uniform pick. What the governor
// cannot go on with ends Run with a typed error (panic.go).
//
// # Bounds
//
// The known set is bounded by its target plus one root answer (Limits.Answer), a cold peer costs at most 200 bytes, the
// metric boards hold 180 slots each, bans 4,096 entries, two peer-sharing requests are in flight at most.
package governor
