// Package protocols is the engine that all mini-protocols run on: a table of states with agency, byte limits and time limits
// ([Spec]), and a [Session] that enforces it over one stream of a multiplexer.
//
// A mini-protocol is a value of [MiniProtocol]: a table, a number, and a function that runs it. The standard ones are in the
// sub-packages; a host's own is defined the same way and needs nothing to be changed here. Payloads are opaque bytes.
//
// Whatever a peer does wrong — bytes that are not CBOR, a message out of turn, one that is too large or too late, content that
// breaks a rule — ends the connection with an [*Error] that names the mini-protocol, the state and the side at fault. No error is
// ever sent to the peer (wire §2.9).
package protocols
