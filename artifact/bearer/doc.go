// Package bearer connects artifact nodes over a network: the listener and the dialler, the handshake, main and bulk bearers, and the
// [artifact.Link] and [artifact.Bearers] that an [artifact.Node] runs on (artifact §6.2, §6.7).
//
// A [Network] keeps a main bearer to every peer of a static list and accepts others up to the node's MaxPeers. Artifact gossip has its own
// port: it never runs on a connection that was negotiated with a Cardano version.
//
//   - A main bearer is one multiplexed connection with the four mini-protocols offer, control, urgent lane and bulk lane in both
//     directions, and keep-alive from the start, whose round trips are the peer's RTT.
//   - Up to four bulk bearers beside it are dialled by whoever dialled the main one, from an ephemeral port, and joined to the session
//     by a token that never travels on them. Each carries one fetch lane each way.
//   - What is sent has a rank for each message; [mux] cuts SDUs in that order. A Link's Send returns when the last SDU of its
//     message was cut, so that what can still be aborted or overtaken is not in a buffer. TCP_NOTSENT_LOWAT is 16 KiB on main
//     bearers and 64 KiB on bulk ones.
//   - Of two main bearers between the same two nodes both ends keep the one dialled by the smaller nodeId.
//
// # Bounds
//
// Every stream has the ingress limit of artifact §6.2, and all bearers of one peer together have one [mux.Budget] of the sum of the
// formula's rows, so a peer cannot hold more however many bearers it fills. Sockets that have not negotiated, or carry a bulk bearer
// that has not joined, are at most Config.MaxHandshakes; the oldest makes room for a new one. Main bearers are at most the node's
// MaxPeers, each with at most its BulkBearers.
//
// An idle bearer, main or bulk, costs two goroutines an end: one reads it, and takes what arrives, for its Links are of the kind
// [artifact.Deliverer]; the other waits for its end.
package bearer
