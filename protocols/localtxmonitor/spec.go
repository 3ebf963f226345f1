package localtxmonitor

import "github.com/hearthnet/hearth/protocols"

// Number is the mini-protocol number of local tx-monitor (wire §3).
const Number = 9

// MeasuresVersion is the first node-to-client version under which a client may ask for measures (wire §4.3, §12.3).
const MeasuresVersion = 20

// MaxMeasures is how many measures a reply may hold, a limit of our own; nodes send four.
const MaxMeasures = 256

// States of local tx-monitor.
const (
	StateIdle protocols.State = iota
	StateAcquiring
	StateAcquired
	StateNextTx
	StateHasTx
	StateGetSizes
	StateGetMeasures
	StateDone
)

// Message tags; 4 is unused.
const (
	TagDone             = 0
	TagAcquire          = 1
	TagAwaitAcquire     = 1 // the same bytes as Acquire, sent in Acquired
	TagAcquired         = 2
	TagRelease          = 3
	TagNextTx           = 5
	TagReplyNextTx      = 6
	TagHasTx            = 7
	TagReplyHasTx       = 8
	TagGetSizes         = 9
	TagReplyGetSizes    = 10
	TagGetMeasures      = 11
	TagReplyGetMeasures = 12
)

var spec = &protocols.Spec{
	Name: "local-tx-monitor",
	States: []protocols.StateSpec{
		StateIdle:        {Name: "Idle", Agency: protocols.Client},
		StateAcquiring:   {Name: "Acquiring", Agency: protocols.Server},
		StateAcquired:    {Name: "Acquired", Agency: protocols.Client},
		StateNextTx:      {Name: "Busy/NextTx", Agency: protocols.Server},
		StateHasTx:       {Name: "Busy/HasTx", Agency: protocols.Server},
		StateGetSizes:    {Name: "Busy/GetSizes", Agency: protocols.Server},
		StateGetMeasures: {Name: "Busy/GetMeasures", Agency: protocols.Server},
		StateDone:        {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "Acquire", Tag: TagAcquire, Len: 1, From: StateIdle, To: StateAcquiring},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "Acquired", Tag: TagAcquired, Len: 2, From: StateAcquiring, To: StateAcquired},
		{Message: "AwaitAcquire", Tag: TagAwaitAcquire, Len: 1, From: StateAcquired, To: StateAcquiring},
		{Message: "Release", Tag: TagRelease, Len: 1, From: StateAcquired, To: StateIdle},
		{Message: "NextTx", Tag: TagNextTx, Len: 1, From: StateAcquired, To: StateNextTx},
		{Message: "HasTx", Tag: TagHasTx, Len: 2, From: StateAcquired, To: StateHasTx},
		{Message: "GetSizes", Tag: TagGetSizes, Len: 1, From: StateAcquired, To: StateGetSizes},
		{Message: "GetMeasures", Tag: TagGetMeasures, Len: 1, From: StateAcquired, To: StateGetMeasures},
		{Message: "ReplyNextTx", Tag: TagReplyNextTx, Len: 1, From: StateNextTx, To: StateAcquired},
		{Message: "ReplyNextTx", Tag: TagReplyNextTx, Len: 2, From: StateNextTx, To: StateAcquired},
		{Message: "ReplyHasTx", Tag: TagReplyHasTx, Len: 2, From: StateHasTx, To: StateAcquired},
		{Message: "ReplyGetSizes", Tag: TagReplyGetSizes, Len: 2, From: StateGetSizes, To: StateAcquired},
		{Message: "ReplyGetMeasures", Tag: TagReplyGetMeasures, Len: 3, From: StateGetMeasures, To: StateAcquired},
	},
}

// Spec returns the state table (wire §12.3). It is shared and must not be changed. Node-to-client protocols have no limits of their own.
func Spec() *protocols.Spec { return spec }
