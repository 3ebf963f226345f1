package governor

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Never is a time that does not come.
const Never = time.Duration(math.MaxInt64)

// EffectKind is what an effect orders.
type EffectKind uint8

// The effects. Every one from Connect to RequestRoots is answered by the event of the same name, with the same Job.
const (
	Connect        EffectKind = iota // Peer, Options → Connected
	Activate                         // Peer → Activated
	Deactivate                       // Peer → Deactivated
	Disconnect                       // Peer → Disconnected; with Job 0 nobody waits for the answer
	AskForPeers                      // Peer, N → Answered
	CancelAsk                        // Job: answers are no longer wanted
	RequestRoots                     // Source, N → RootsAnswered
	ListInbound                      // → InboundListed
	VerifySnapshot                   // Settings of the snapshot → SnapshotVerified; the answer is only traced
	Outbound                         // Trusted changed: whether consensus may trust the outbound connections (governor §7)
	Fatal                            // Text: the node must stop and start clean
)

var effectNames = [...]string{"connect", "activate", "deactivate", "disconnect", "ask-for-peers", "cancel-ask", "request-roots",
	"list-inbound", "verify-snapshot", "outbound", "fatal"}

// String returns the kind in lower case, its words joined by hyphens: "ask-for-peers".
func (k EffectKind) String() string { return effectNames[k] }

// Effect is an order of the core. Which fields count depends on Kind.
type Effect struct {
	Kind    EffectKind
	Job     uint32
	Peer    netip.AddrPort
	Options ConnectOptions
	N       int
	Source  Source
	Trusted bool
	Text    string
}

// String is one line with the fields that count: "connect 192.0.2.1:3001 initiator-only", "request-roots ledger n=40".
func (e Effect) String() string {
	switch e.Kind {
	case Connect:
		s := "connect " + e.Peer.String()
		for _, o := range []struct {
			on   bool
			name string
		}{{e.Options.InitiatorOnly, "initiator-only"}, {e.Options.InboundOnly, "inbound-only"},
			{e.Options.Trustable, "trustable"}, {e.Options.BigLedger, "big-ledger"}} {
			if o.on {
				s += " " + o.name
			}
		}
		return s
	case Activate, Deactivate, Disconnect:
		return e.Kind.String() + " " + e.Peer.String()
	case AskForPeers:
		return fmt.Sprintf("ask-for-peers %v n=%d", e.Peer, e.N)
	case RequestRoots:
		return fmt.Sprintf("request-roots %v n=%d", e.Source, e.N)
	case Outbound:
		if e.Trusted {
			return "outbound trusted-state-with-external-peers"
		}
		return "outbound untrusted-state"
	case Fatal:
		return "fatal " + e.Text
	}
	return e.Kind.String()
}

// Output is what a Step returns. The slices belong to the core and are valid until its next Step; the peers within traces are
// the caller's to keep, not to change: traces share them.
type Output struct {
	Effects []Effect
	Trace   []Trace
	Wake    time.Duration // when the core wants its next Step if nothing else happens; Never if not
}
