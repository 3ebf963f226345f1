package keepalive

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Number is the mini-protocol number of keep-alive (wire §3).
const Number = 8

// IngressLimit is how many unread bytes either side takes (wire §2.6).
const IngressLimit = 1408

// States of keep-alive.
const (
	StateClient protocols.State = iota
	StateServer
	StateDone
)

// Message tags.
const (
	TagKeepAlive = 0
	TagResponse  = 1
	TagDone      = 2
)

const small = 65_535 // bytes (wire §5.1)

var spec = &protocols.Spec{
	Name: "keep-alive",
	States: []protocols.StateSpec{
		StateClient: {Name: "Client", Agency: protocols.Client, Bytes: small, Timeout: protocols.Within(97 * time.Second)},
		StateServer: {Name: "Server", Agency: protocols.Server, Bytes: small, Timeout: protocols.Within(60 * time.Second)},
		StateDone:   {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "KeepAlive", Tag: TagKeepAlive, Len: 2, From: StateClient, To: StateServer},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateClient, To: StateDone},
		{Message: "KeepAliveResponse", Tag: TagResponse, Len: 2, From: StateServer, To: StateClient},
	},
}

// Spec returns the state table (wire §5.1, §10). It is shared and must not be changed.
func Spec() *protocols.Spec { return spec }
