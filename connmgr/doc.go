// Package connmgr opens, accepts, shares and closes connections between nodes. One socket serves both directions: whoever
// dialled, each end may later run its own initiators on it, and stop again, any number of times.
//
// [Dial] and [Listen] are the thin way: one connection, no bookkeeping. Everything below is for nodes.
//
// # Cores
//
// Each decision is made by a step function without clock, goroutine or I/O; what happens in the world comes in as an event,
// what is to be done goes out as effects:
//
//   - state.go is the transition table of one connection, data in the order of connmgr §1.4, and [LegalTransition] its oracle;
//   - core.go, with acquire.go, negotiate.go and release.go, is the map of all connections with their timers and waiting calls, inbound.go
//     the inbound governor inside it: both
//     see an event in the same step, so an announcement cannot cross a death, nor a commit an awakening;
//   - prune.go chooses who gives way at the hard limit; limit.go what happens to an accepted socket before it has negotiated;
//   - peer.go is one peer's way between cold, cooling, warm and hot; classify.go says what a failure does to the peer.
//
// [Manager] is the shell around them: it owns the sockets, the goroutines and the one timer.
//
// # Limits
//
// Memory follows the number of sockets, and that is bounded: inbound connections by the hard limit, sockets that have not negotiated by a
// budget of their own, outgoing ones by who acquires them. A refusal is an error of type [Refusal] that names the limit, its use and who
// asked.
package connmgr
