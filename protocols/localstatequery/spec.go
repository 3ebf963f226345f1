package localstatequery

import "github.com/hearthnet/hearth/protocols"

// Number is the mini-protocol number of local state query (wire §3).
const Number = 7

// ImmutableTipVersion is the first node-to-client version under which a client may acquire the immutable tip, the oldest
// that is supported (wire §12.4).
const ImmutableTipVersion = 16

// States of local state query.
const (
	StateIdle protocols.State = iota
	StateAcquiring
	StateAcquired
	StateQuerying
	StateDone
)

// Message tags.
const (
	TagAcquirePoint       = 0
	TagAcquired           = 1
	TagFailure            = 2
	TagQuery              = 3
	TagResult             = 4
	TagRelease            = 5
	TagReAcquirePoint     = 6
	TagDone               = 7
	TagAcquireVolatile    = 8
	TagReAcquireVolatile  = 9
	TagAcquireImmutable   = 10
	TagReAcquireImmutable = 11
)

var spec = &protocols.Spec{
	Name: "local-state-query",
	States: []protocols.StateSpec{
		StateIdle:      {Name: "Idle", Agency: protocols.Client},
		StateAcquiring: {Name: "Acquiring", Agency: protocols.Server},
		StateAcquired:  {Name: "Acquired", Agency: protocols.Client},
		StateQuerying:  {Name: "Querying", Agency: protocols.Server},
		StateDone:      {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "AcquirePoint", Tag: TagAcquirePoint, Len: 2, From: StateIdle, To: StateAcquiring},
		{Message: "AcquireVolatile", Tag: TagAcquireVolatile, Len: 1, From: StateIdle, To: StateAcquiring},
		{Message: "AcquireImmutable", Tag: TagAcquireImmutable, Len: 1, From: StateIdle, To: StateAcquiring},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "Acquired", Tag: TagAcquired, Len: 1, From: StateAcquiring, To: StateAcquired},
		{Message: "Failure", Tag: TagFailure, Len: 2, From: StateAcquiring, To: StateIdle},
		{Message: "Query", Tag: TagQuery, Len: 2, From: StateAcquired, To: StateQuerying},
		{Message: "ReAcquirePoint", Tag: TagReAcquirePoint, Len: 2, From: StateAcquired, To: StateAcquiring},
		{Message: "ReAcquireVolatile", Tag: TagReAcquireVolatile, Len: 1, From: StateAcquired, To: StateAcquiring},
		{Message: "ReAcquireImmutable", Tag: TagReAcquireImmutable, Len: 1, From: StateAcquired, To: StateAcquiring},
		{Message: "Release", Tag: TagRelease, Len: 1, From: StateAcquired, To: StateIdle},
		{Message: "Result", Tag: TagResult, Len: 2, From: StateQuerying, To: StateAcquired},
	},
}

// Spec returns the state table (wire §12.4). It is shared and must not be changed. Node-to-client protocols have no limits of their own.
func Spec() *protocols.Spec { return spec }
