// Package artifact spreads artifacts between peers by advert instead of flooding, with bounded memory per peer whatever
// that peer does (artifact §6).
//
// # The idea
//
// A provider does not queue messages for its peers, it keeps a [Table] of registers. What a peer must learn is the current
// content of every register, not the history, so a slow peer costs a few bits per slot and never a queue. A peer may hold at
// most a window of offers without having given its verdict on each, so the consumer's memory is bounded too. Bodies are
// named by the hash of their bytes, large ones by the hash of a manifest, and every chunk is verified when it arrives.
//
// # The parts
//
//   - [Table]: the provider. Registers, one view per consumer, withdrawals, digests for reconnect and anti-entropy.
//   - [Consumer]: what peers offer us. Offers held, the tracker of each artifact under way, quotas, the receive check, the
//     stash, dispositions, eager links.
//   - [Scheduler]: which chunk is asked of whom, and when. Classes, fairness among kinds, supplier choice, fail-over,
//     hedging.
//   - [Pool]: the typed unvalidated and validated sections of one kind, changed only by lists of [Change].
//   - [Core]: one whole node made of the above, a pure step machine: no clock, no goroutine, no I/O. The simulator in this
//     package's tests and the shell run the same one.
//   - [Node]: the shell. It owns the goroutines and runs a Core over the [Link], [Bearers] and [Judge] of a host. What a Link that is
//     a [Deliverer] receives is taken where its bearer is read, so that an idle bearer costs the node no goroutine.
//   - [Kind] and [Client]: the typed face for the layer above.
//
// The package bearer has the network side. Its example is two nodes, of which one publishes and the other is told.
//
// Time inside the cores is a [time.Duration] since start; randomness is a seeded [math/rand/v2] source that is passed in.
package artifact
