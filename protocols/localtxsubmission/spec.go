package localtxsubmission

import "github.com/hearthnet/hearth/protocols"

// Number is the mini-protocol number of local tx-submission (wire §3).
const Number = 6

// States of local tx-submission.
const (
	StateIdle protocols.State = iota
	StateBusy
	StateDone
)

// Message tags.
const (
	TagSubmitTx = 0
	TagAcceptTx = 1
	TagRejectTx = 2
	TagDone     = 3
)

var spec = &protocols.Spec{
	Name: "local-tx-submission",
	States: []protocols.StateSpec{
		StateIdle: {Name: "Idle", Agency: protocols.Client},
		StateBusy: {Name: "Busy", Agency: protocols.Server},
		StateDone: {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "SubmitTx", Tag: TagSubmitTx, Len: 2, From: StateIdle, To: StateBusy},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "AcceptTx", Tag: TagAcceptTx, Len: 1, From: StateBusy, To: StateIdle},
		{Message: "RejectTx", Tag: TagRejectTx, Len: 2, From: StateBusy, To: StateIdle},
	},
}

// Spec returns the state table (wire §12.2). It is shared and must not be changed. Node-to-client protocols have no limits of their own.
func Spec() *protocols.Spec { return spec }
