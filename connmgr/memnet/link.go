package memnet

import (
	"net/netip"
	"time"
)

// Link says what one direction between two addresses does to everything that travels on it. The zero value is perfect:
// no delay, no limit, no loss.
type Link struct {
	// Latency is the one-way delay.
	Latency time.Duration
	// Jitter is added to each segment's delay, uniform in [0, Jitter). Bytes of one connection stay in order.
	Jitter time.Duration
	// Bandwidth in bytes per second, for each connection by itself; 0 is unlimited.
	Bandwidth int64
	// Segment is the largest segment in bytes; default 64 KiB.
	Segment int
	// Resplit cuts written bytes at random places, 1 to Segment bytes each, and lets each Read return a random part of what
	// one segment brought: whatever a reader assumes about boundaries is wrong.
	Resplit bool
	// LoseReset drops every reset on this link: the other end stays half-open.
	LoseReset bool
}

// Phase is a stretch of time in the life of one end of a connection, counted from the moment that end was established.
type Phase struct {
	From, Until time.Duration // Until 0: for ever
	// Stall: nothing reaches this end.
	Stall bool
	// Bandwidth in bytes per second at which bytes reach this end, in addition to the link's own; 0 changes nothing.
	Bandwidth int64
	// Err fails every Read of this end that begins or waits in the phase.
	Err error
}

func (p Phase) contains(at time.Duration) bool {
	return at >= p.From && (p.Until == 0 || at < p.Until)
}

// CutKind is what happens at [End.CutAfter].
type CutKind uint8

// What a cut does after the last byte that still travels.
const (
	CutReset  CutKind = iota // both ends are reset
	CutEOF                   // the receiver sees an end of file inside whatever it was reading
	CutSilent                // nothing more travels in this direction, and nobody is told
)

// End lists the faults of one end of a connection. The zero value has none.
type End struct {
	// FailWrite makes the n-th Write and all later ones fail with WriteErr; 1 is the first, 0 never.
	FailWrite int
	// WriteErr is the error of FailWrite; default ECONNRESET.
	WriteErr error
	// CutAfter lets this many bytes of this end's output through and cuts there; 0 never.
	CutAfter int64
	// Cut is what CutAfter does.
	Cut CutKind
	// Phases attenuate what this end reads; they may overlap.
	Phases []Phase
	// Late delivers each segment once more, this much after it was due, to whichever *later* connection then owns the
	// 4-tuple; sequence numbers protect the connection itself. 0: never.
	Late time.Duration
}

// Bearer is the fate of one connection: what a script hands out, one per dial. See [Network.Script].
type Bearer struct {
	// Delay comes on top of the link's latency before the first SYN arrives. From Config.ConnectTimeout on, the dial times out.
	Delay time.Duration
	// DialErr fails the dial at once, as the socket call itself may.
	DialErr error
	// Dialling and Accepting are the faults of the two ends. In a simultaneous open each end takes Dialling of its own dial.
	Dialling, Accepting End
}

// Script sets what the next dials between a and b (in either direction) meet, in order. When only one bearer is left
// it serves all further dials: end with a faultless one to be able to ask for liveness. No bearer at all removes the script.
func (n *Network) Script(a, b netip.Addr, bearers ...Bearer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(bearers) == 0 {
		delete(n.scripts, unordered(a, b))
		return
	}
	n.scripts[unordered(a, b)] = append([]Bearer(nil), bearers...)
}

func (n *Network) nextBearer(a, b netip.Addr) *Bearer {
	key := unordered(a, b)
	script := n.scripts[key]
	if len(script) == 0 {
		return &n.faultless
	}
	first := script[0]
	if len(script) > 1 {
		n.scripts[key] = script[1:]
	}
	return &first
}

// SetLink replaces the link that carries traffic from one address to another. It acts on segments sent from now on.
func (n *Network) SetLink(from, to netip.Addr, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair{from, to}] = l
}

// SetLinks replaces both directions between a and b.
func (n *Network) SetLinks(a, b netip.Addr, l Link) {
	n.SetLink(a, b, l)
	n.SetLink(b, a, l)
}

func (n *Network) link(from, to netip.Addr) Link {
	l, ok := n.links[pair{from, to}]
	if !ok {
		l = n.cfg.Link
	}
	if l.Segment <= 0 {
		l.Segment = 64 << 10
	}
	return l
}

// pair is a direction between two addresses.
type pair struct{ from, to netip.Addr }

func unordered(a, b netip.Addr) pair {
	if b.Less(a) {
		a, b = b, a
	}
	return pair{a, b}
}
