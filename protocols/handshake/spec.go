package handshake

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Number is the mini-protocol number of the handshake, on node-to-node and node-to-client connections (wire §3).
const Number = 0

// MaxMessage is the longest handshake message, 4 × 1,440 bytes (wire §4.6).
const MaxMessage = 5760

// States of the handshake.
const (
	StatePropose protocols.State = iota
	StateConfirm
	StateDone
)

// Message tags.
const (
	TagPropose       = 0
	TagReplyVersions = 0 // the same bytes as ProposeVersions, received in Confirm
	TagAccept        = 1
	TagRefuse        = 2
	TagQueryReply    = 3
)

var spec = &protocols.Spec{
	Name: "handshake",
	States: []protocols.StateSpec{
		StatePropose: {Name: "Propose", Agency: protocols.Client, Bytes: MaxMessage, Timeout: protocols.Within(10 * time.Second)},
		StateConfirm: {Name: "Confirm", Agency: protocols.Server, Bytes: MaxMessage, Timeout: protocols.Within(10 * time.Second)},
		StateDone:    {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "ProposeVersions", Tag: TagPropose, Len: 2, From: StatePropose, To: StateConfirm},
		{Message: "ReplyVersions", Tag: TagReplyVersions, Len: 2, From: StateConfirm, To: StateDone},
		{Message: "AcceptVersion", Tag: TagAccept, Len: 3, From: StateConfirm, To: StateDone},
		{Message: "Refuse", Tag: TagRefuse, Len: 2, From: StateConfirm, To: StateDone},
		{Message: "QueryReply", Tag: TagQueryReply, Len: 2, From: StateConfirm, To: StateDone},
	},
}

// Spec returns the state table with the limits of node-to-node connections (wire §4.1, §4.6). It is shared and must not be changed. Node-to-client
// connections have the byte limit and no time limits; a server that keeps the 10 s anyway is indistinguishable.
func Spec() *protocols.Spec { return spec }
