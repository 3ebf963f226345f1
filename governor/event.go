package governor

import (
	"net/netip"
	"time"
)

// Event is an input of the core. Everything the core ever learns comes in through one.
type Event interface{ event() }

// Tick carries nothing: the time a Step asked to be woken at has come.
type Tick struct{}

// Begin tells a core at once how things stand at the start: in pieces, the first decisions would be taken on half the truth.
type Begin struct {
	Ledger     LedgerSet
	Settings   RootSettings
	LocalRoots []LocalRootGroup
}

// TargetsSet replaces the configured targets. Targets that break the order are refused with a trace; the shell validates
// them against the limits first and refuses the call.
type TargetsSet struct{ Targets, Sync Targets }

// LocalRootsSet carries the resolved local root groups, as configured: the core normalises and clamps them (governor §2).
type LocalRootsSet struct{ Groups []LocalRootGroup }

// SettingsSet carries the topology's mode.
type SettingsSet struct{ Settings RootSettings }

// LedgerSet carries the host's view of the chain.
type LedgerSet struct {
	TooOld   bool // [Ledger].Judgement
	BulkSync bool // far behind the network's tip
}

// StatusSeen is a report of [PeerActions].Watch. RetryAfter is negative when there is none.
type StatusSeen struct {
	Peer        netip.AddrPort
	Temperature Temperature
	RetryAfter  time.Duration // before it may be promoted again
	Cause       *Failure      `json:",omitempty"`
}

// InboundSeen is a report of [InboundWatcher]: a peer has opened a duplex connection to us, which an order to connect would reuse. It
// lifts the back-off of a peer that could not be connected to, and means nothing for any other.
type InboundSeen struct{ Peer netip.AddrPort }

// Connected, Activated, Deactivated and Disconnected are the results of orders; Failure is nil on success. Job is the number in
// the order: a result of an order that no longer runs is ignored.
type Connected struct {
	Job     uint32
	Peer    netip.AddrPort
	Shares  bool     // the peer answers requests for peers
	Failure *Failure `json:",omitempty"`
}

// Activated is the result of an Activate order.
type Activated struct {
	Job     uint32
	Peer    netip.AddrPort
	Failure *Failure `json:",omitempty"`
}

// Deactivated is the result of a Deactivate order. Success does not mean warm (governor §3.5).
type Deactivated struct {
	Job     uint32
	Peer    netip.AddrPort
	Failure *Failure `json:",omitempty"`
}

// Disconnected is the result of a Disconnect order; success means that the connection is really gone.
type Disconnected struct {
	Job     uint32
	Peer    netip.AddrPort
	Failure *Failure `json:",omitempty"`
}

// Answered is a reply to an AskForPeers order.
type Answered struct {
	Job     uint32
	Peer    netip.AddrPort
	Peers   []netip.AddrPort
	Failure *Failure `json:",omitempty"`
}

// RootsAnswered is a reply to a RequestRoots order.
type RootsAnswered struct {
	Job     uint32
	Peers   []RootPeer
	TTL     time.Duration // how long the answer counts
	Failure *Failure      `json:",omitempty"`
}

// RootPeer is a peer in an answer of a root source; Advertise counts for configured public roots only.
type RootPeer struct {
	Peer      netip.AddrPort
	Advertise bool
}

// InboundListed answers a ListInbound order: mature duplex inbound peers, sorted by address.
type InboundListed struct{ Peers []InboundPeer }

// InboundPeer is a mature duplex inbound peer.
type InboundPeer struct {
	Peer   netip.AddrPort
	Shares bool // it answers requests for peers
}

// SnapshotVerified answers a VerifySnapshot order.
type SnapshotVerified struct{ OK bool }

// Reported is what the application thinks of a peer. Bad is proof of misbehaviour: the peer is forgotten and banned for a while
// (governor §11). Good adds to the peer's score.
type Reported struct {
	Peer   netip.AddrPort
	Good   bool
	Reason string
}

// Measured is a round-trip time, from keep-alive.
type Measured struct {
	Peer netip.AddrPort
	RTT  time.Duration
}

// MetricsSeen feeds the boards of governor §5: who announced and who delivered a block of a slot first. It takes no decision.
type MetricsSeen struct{ Headers, Blocks []Sighting }

// Sighting is one header or block from one peer.
type Sighting struct {
	Peer  netip.AddrPort
	Slot  uint64
	Bytes int           // blocks only
	At    time.Duration // when it arrived
}

// Restored offers peers of a peer store. They are taken up when peers are wanted and nothing speaks against untrusted ones.
type Restored struct{ Peers []StoredPeer }

func (Tick) event()             {}
func (Begin) event()            {}
func (TargetsSet) event()       {}
func (LocalRootsSet) event()    {}
func (SettingsSet) event()      {}
func (LedgerSet) event()        {}
func (StatusSeen) event()       {}
func (InboundSeen) event()      {}
func (Connected) event()        {}
func (Activated) event()        {}
func (Deactivated) event()      {}
func (Disconnected) event()     {}
func (Answered) event()         {}
func (RootsAnswered) event()    {}
func (InboundListed) event()    {}
func (SnapshotVerified) event() {}
func (Reported) event()         {}
func (Measured) event()         {}
func (MetricsSeen) event()      {}
func (Restored) event()         {}

// Fault says whose fault a failure is (governor §11).
type Fault uint8

// The faults. Network is also the default for errors that say nothing.
const (
	FaultNetwork Fault = iota
	FaultInternal
	FaultAdversarial
	FaultBenign
)

var faultNames = [...]string{"network", "internal", "adversarial", "benign"}

// String returns the word that errors which cross a seam use: "network", "internal", "adversarial" or "benign".
func (f Fault) String() string { return faultNames[f&3] }

// Failure is an error as the core sees it.
type Failure struct {
	Fault      Fault         `json:",omitempty"`
	RetryAfter time.Duration `json:",omitempty"` // > 0: not a failure at all, only "not before then" (governor §3.5)
	Timeout    bool          `json:",omitempty"` // a time-out is no proof of misbehaviour (governor §11)
	Text       string        `json:",omitempty"`
}

// proof of misbehaviour.
func (f *Failure) proof() bool { return f != nil && f.Fault == FaultAdversarial && !f.Timeout }

// ours is a failure that never counts against the peer.
func (f *Failure) ours() bool { return f != nil && f.Fault == FaultInternal }

func (f *Failure) text() string {
	if f == nil {
		return ""
	}
	if f.Text == "" {
		return f.Fault.String()
	}
	return f.Text
}
