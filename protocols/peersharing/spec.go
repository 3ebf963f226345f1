package peersharing

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Number is the mini-protocol number of peer-sharing (wire §3).
const Number = 10

// IngressLimit is how many unread bytes either side takes (wire §2.6).
const IngressLimit = 5760

// MaxMessage is the longest message, 4 × 1,440 bytes (wire §5.1).
const MaxMessage = 5760

// MaxPeers is how many addresses fit a reply whatever they are; a server that has more must leave some out (wire §9).
const MaxPeers = 230

// DefaultPeers is how many addresses a server tells at most, whatever it is asked for, as the reference does (wire §9).
const DefaultPeers = 10

// States of peer-sharing.
const (
	StateIdle protocols.State = iota
	StateBusy
	StateDone
)

// Message tags.
const (
	TagShareRequest = 0
	TagSharePeers   = 1
	TagDone         = 2
)

var spec = &protocols.Spec{
	Name: "peer-sharing",
	States: []protocols.StateSpec{
		StateIdle: {Name: "Idle", Agency: protocols.Client, Bytes: MaxMessage},
		StateBusy: {Name: "Busy", Agency: protocols.Server, Bytes: MaxMessage, Timeout: protocols.Within(60 * time.Second)},
		StateDone: {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "ShareRequest", Tag: TagShareRequest, Len: 2, From: StateIdle, To: StateBusy},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "SharePeers", Tag: TagSharePeers, Len: 2, From: StateBusy, To: StateIdle},
	},
}

// Spec returns the state table (wire §5.1, §9). It is shared and must not be changed.
func Spec() *protocols.Spec { return spec }
