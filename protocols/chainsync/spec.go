package chainsync

import (
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Mini-protocol numbers (wire §3): node-to-node connections carry headers, node-to-client ones whole blocks.
const (
	Number      = 2
	LocalNumber = 5
)

// IngressLimit is how many unread bytes a node-to-node client takes: 300 headers of 1,400 bytes and a tenth (wire §2.6).
const IngressLimit = 462_000

// Marks of the pipelining client (wire §6).
const (
	LowMark  = 200
	HighMark = 300
)

// MaxPoints is how many points a FindIntersect may name. A node-to-node message has room for about 1,800 points of blocks,
// so that only a node-to-client peer, or one that repeats the origin, can meet this limit of our own.
const MaxPoints = 2048

// States of chain-sync.
const (
	StateIdle protocols.State = iota
	StateCanAwait
	StateMustReply
	StateIntersect
	StateDone
)

// Message tags.
const (
	TagRequestNext       = 0
	TagAwaitReply        = 1
	TagRollForward       = 2
	TagRollBackward      = 3
	TagFindIntersect     = 4
	TagIntersectFound    = 5
	TagIntersectNotFound = 6
	TagDone              = 7
)

const small = 65_535 // bytes (wire §5.1)

var spec = &protocols.Spec{
	Name: "chain-sync",
	States: []protocols.StateSpec{
		StateIdle:      {Name: "Idle", Agency: protocols.Client, Bytes: small, Timeout: protocols.Within(3373 * time.Second)},
		StateCanAwait:  {Name: "Next/CanAwait", Agency: protocols.Server, Bytes: small, Timeout: protocols.Within(10 * time.Second)},
		StateMustReply: {Name: "Next/MustReply", Agency: protocols.Server, Bytes: small, Timeout: protocols.TimeLimit{Min: 601 * time.Second, Max: 911 * time.Second}},
		StateIntersect: {Name: "Intersect", Agency: protocols.Server, Bytes: small, Timeout: protocols.Within(10 * time.Second)},
		StateDone:      {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "RequestNext", Tag: TagRequestNext, Len: 1, From: StateIdle, To: StateCanAwait},
		{Message: "FindIntersect", Tag: TagFindIntersect, Len: 2, From: StateIdle, To: StateIntersect},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "AwaitReply", Tag: TagAwaitReply, Len: 1, From: StateCanAwait, To: StateMustReply},
		{Message: "RollForward", Tag: TagRollForward, Len: 3, From: StateCanAwait, To: StateIdle},
		{Message: "RollBackward", Tag: TagRollBackward, Len: 3, From: StateCanAwait, To: StateIdle},
		{Message: "RollForward", Tag: TagRollForward, Len: 3, From: StateMustReply, To: StateIdle},
		{Message: "RollBackward", Tag: TagRollBackward, Len: 3, From: StateMustReply, To: StateIdle},
		{Message: "IntersectFound", Tag: TagIntersectFound, Len: 3, From: StateIntersect, To: StateIdle},
		{Message: "IntersectNotFound", Tag: TagIntersectNotFound, Len: 2, From: StateIntersect, To: StateIdle},
	},
}

// Spec returns the state table with the limits of node-to-node connections (wire §5.1, §6). It is shared and must not be
// changed. Node-to-client connections use Spec().Unlimited(). The limit in Next/MustReply does not hold for peers that the topology marks as
// trustable, and the one in Idle is configurable: Spec().WithTimeLimit gives such tables.
func Spec() *protocols.Spec { return spec }
