package txsubmission

import (
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// Number is the mini-protocol number of tx-submission (wire §3).
const Number = 4

// IngressLimit is how many unread bytes either side takes (wire §2.6).
const IngressLimit = 721_424

// Window is how many transaction ids may be announced and not acknowledged (wire §8).
const Window = 10

// SizeTolerance is by how many bytes a transaction may differ from its advertised size, either way (wire §8).
const SizeTolerance = diffusion.SizeTolerance

// States of tx-submission. The client is the side that owns the transactions.
const (
	StateInit protocols.State = iota
	StateIdle
	StateTxIDsBlocking
	StateTxIDsNonBlocking
	StateTxs
	StateDone
)

// Message tags; 5 is unused.
const (
	TagRequestTxIDs = 0
	TagReplyTxIDs   = 1
	TagRequestTxs   = 2
	TagReplyTxs     = 3
	TagDone         = 4
	TagInit         = 6
)

const (
	small = 65_535    // bytes (wire §5.1)
	large = 2_500_000 // bytes
)

var spec = &protocols.Spec{
	Name: "tx-submission",
	States: []protocols.StateSpec{
		StateInit:             {Name: "Init", Agency: protocols.Client, Bytes: small},
		StateIdle:             {Name: "Idle", Agency: protocols.Server, Bytes: small},
		StateTxIDsBlocking:    {Name: "TxIds/blocking", Agency: protocols.Client, Bytes: large},
		StateTxIDsNonBlocking: {Name: "TxIds/non-block", Agency: protocols.Client, Bytes: large, Timeout: protocols.Within(10 * time.Second)},
		StateTxs:              {Name: "Txs", Agency: protocols.Client, Bytes: large, Timeout: protocols.Within(10 * time.Second)},
		StateDone:             {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "Init", Tag: TagInit, Len: 1, From: StateInit, To: StateIdle},
		{Message: "RequestTxIds", Tag: TagRequestTxIDs, Len: 4, From: StateIdle, To: StateTxIDsBlocking, Match: cbor.BoolField(4, true)},
		{Message: "RequestTxIds", Tag: TagRequestTxIDs, Len: 4, From: StateIdle, To: StateTxIDsNonBlocking, Match: cbor.BoolField(4, false)},
		{Message: "RequestTxs", Tag: TagRequestTxs, Len: 2, From: StateIdle, To: StateTxs},
		{Message: "ReplyTxIds", Tag: TagReplyTxIDs, Len: 2, From: StateTxIDsBlocking, To: StateIdle},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateTxIDsBlocking, To: StateDone},
		{Message: "ReplyTxIds", Tag: TagReplyTxIDs, Len: 2, From: StateTxIDsNonBlocking, To: StateIdle},
		{Message: "ReplyTxs", Tag: TagReplyTxs, Len: 2, From: StateTxs, To: StateIdle},
	},
}

// Spec returns the state table (wire §5.1, §8). It is shared and must not be changed.
func Spec() *protocols.Spec { return spec }
