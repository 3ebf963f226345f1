// Conformance checks any node-to-node responder over TCP against the wire specification, and prints a line for each check.
//
// It speaks raw SDUs, so that it can break every rule on purpose: what a node must answer, what it must refuse and say why, what it
// must end the connection for. Each check has connections of its own, and after each violation a fresh handshake must still work.
//
// # Results
//
// pass: the node did what the specification asks. fail: it did something else. n/a: the check does not apply to this node, which is said
// with its reason: peer sharing is not negotiated, its chain is empty, it opens no initiators on our connection within 5 s, or the
// specification leaves the matter open.
//
// # Bounds
//
// At most [parallel] checks run at a time, each with one or two connections. A connection keeps at most 64 MiB of what the node
// sends. A check waits at most 10 s for an answer and 5 s for an end; with -slow those of the long limits up to two minutes.
package main
