// Package memnet is a network of hosts inside one process, for tests of anything that speaks over net.Conn.
//
// It models TCP where it matters to a program with long-lived connections: a connection is a 4-tuple, two dials between the
// same bound ports meet in one connection (simultaneous open), a dial from a port to itself connects to itself, an occupied
// 4-tuple answers EADDRNOTAVAIL, SetLinger(0) turns Close into a reset, an orderly close leaves a TIME_WAIT behind, bytes for
// a connection that is gone are answered with a reset, and a reset may be lost, which leaves the other end half-open until
// it writes or gives up by itself.
//
//	n := memnet.New(memnet.Config{Seed: 1, Link: memnet.Link{Latency: 50 * time.Millisecond}})
//	a := n.Host(netip.MustParseAddr("10.0.0.1"))
//	b := n.Host(netip.MustParseAddr("10.0.0.2"))
//	l, err := b.Listen(netip.MustParseAddrPort("10.0.0.2:3001"))
//	c, err := a.Dial(ctx, netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:3001"))
//
// Faults come in three ways: per directed pair of addresses ([Link]: delay, jitter, bandwidth, segment sizes, lost resets),
// per connection from a script ([Bearer]: n-th write fails, cut after so many bytes, stalls, slow and failing phases,
// late duplicates), and by hand while things run ([Network.Partition], [Network.Cut], [Host.PowerOff], [Conn.Reset],
// [Listener.FailAccept], [Host.SetDescriptors]).
//
// # Time and determinism
//
// Time is the time package's, so inside a testing/synctest bubble it is virtual and every wait is durably blocking. Create the
// network inside the bubble that uses it. All randomness comes from Config.Seed, split by connection and direction:
// what happens to the bytes of one connection does not depend on how goroutines of another are scheduled. Events of the
// same instant are handled in the order in which they were sent.
//
// # Bounds
//
// A direction of a connection holds at most Config.Window bytes, sent and not read; a listener holds at most
// Config.Backlog connections. The network starts no goroutine of its own; it owns one timer.
package memnet
