package blockfetch

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Number is the mini-protocol number of block-fetch (wire §3).
const Number = 3

// IngressLimit is how many unread bytes a client takes (wire §2.6).
const IngressLimit = 23_068_694

// MaxInFlight is how many ranges a client may have asked for and not received completely (wire §7).
const MaxInFlight = 100

// States of block-fetch.
const (
	StateIdle protocols.State = iota
	StateBusy
	StateStreaming
	StateDone
)

// Message tags.
const (
	TagRequestRange = 0
	TagClientDone   = 1
	TagStartBatch   = 2
	TagNoBlocks     = 3
	TagBlock        = 4
	TagBatchDone    = 5
)

const (
	small = 65_535    // bytes (wire §5.1)
	large = 2_500_000 // bytes, of one block with its framing
)

var spec = &protocols.Spec{
	Name: "block-fetch",
	States: []protocols.StateSpec{
		StateIdle:      {Name: "Idle", Agency: protocols.Client, Bytes: small},
		StateBusy:      {Name: "Busy", Agency: protocols.Server, Bytes: small, Timeout: protocols.Within(60 * time.Second)},
		StateStreaming: {Name: "Streaming", Agency: protocols.Server, Bytes: large, Timeout: protocols.Within(60 * time.Second)},
		StateDone:      {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "RequestRange", Tag: TagRequestRange, Len: 3, From: StateIdle, To: StateBusy},
		{Message: "ClientDone", Tag: TagClientDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "StartBatch", Tag: TagStartBatch, Len: 1, From: StateBusy, To: StateStreaming},
		{Message: "NoBlocks", Tag: TagNoBlocks, Len: 1, From: StateBusy, To: StateIdle},
		{Message: "Block", Tag: TagBlock, Len: 2, From: StateStreaming, To: StateStreaming},
		{Message: "BatchDone", Tag: TagBatchDone, Len: 1, From: StateStreaming, To: StateIdle},
	},
}

// Spec returns the state table (wire §5.1, §7). It is shared and must not be changed.
func Spec() *protocols.Spec { return spec }
