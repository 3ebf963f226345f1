// Package mux carries many independent byte streams, in both directions, over one bearer: any [net.Conn] (wire §2).
//
// A stream is named by a mini-protocol number and the [Role] that the local end plays in it. Streams are bytes, not messages:
// framing is the business of the layer above. What the multiplexer adds is fairness and bounds:
//
//   - Egress is round robin, one SDU per stream per turn, many SDUs to a system call. A sender blocks while its own stream
//     has [Config.EgressLimit] bytes waiting; nobody else notices. Ranks (0 first, 4 the default) let a host overtake: ranks
//     that wait behind a better one still get at least one SDU in eight.
//   - Ingress never blocks. What arrives for a stream that nobody reads waits in that stream's buffer, up to its limit; one
//     byte more is the peer's fault and ends the connection with [IngressOverrun]. So a stalled stream delays no other one.
//   - A connection costs one goroutine while idle, a second one while it has something to send, and holds no buffers when
//     nothing is buffered.
//
// Memory per stream: unread bytes are at most the ingress limit and what the owner has looked at and not discarded, which its
// own message limit bounds. Their buffer is at most three times as large as the most it has held, and while the stream is idle
// or its owner keeps up, not above 64 KiB or eight times what it holds; a loan of outgrown bytes keeps one more such buffer until
// the owner's next call. What waits to be sent is at most the egress limit and one message, in buffers of 64 KiB. [Budget]
// bounds the unread bytes of a whole process.
package mux
