package objectdiffusion

import (
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Mini-protocol numbers, from node-to-node version 16 on and if both sides speak peras (wire §3).
const (
	CertificateNumber = 16
	VoteNumber        = 17
)

// How many ids may be announced and not acknowledged (wire §11).
const (
	CertificateWindow = 10
	VoteWindow        = 50
)

// How many unread bytes either side takes (wire §2.6).
const (
	CertificateIngressLimit = 220_000
	VoteIngressLimit        = 55_000
)

// States of object diffusion. The client, which is the initiator, is the inbound side: it asks.
const (
	StateInit protocols.State = iota
	StateIdle
	StateIDsBlocking
	StateIDsNonBlocking
	StateObjects
	StateDone
)

// Message tags.
const (
	TagInit           = 0
	TagRequestIDs     = 1
	TagReplyIDs       = 2
	TagRequestObjects = 3
	TagReplyObjects   = 4
	TagDone           = 5
)

const (
	small = 65_535    // bytes (wire §5.1)
	large = 2_500_000 // bytes
)

var spec = &protocols.Spec{
	Name: "object-diffusion",
	States: []protocols.StateSpec{
		StateInit:           {Name: "Init", Agency: protocols.Client, Bytes: small},
		StateIdle:           {Name: "Idle", Agency: protocols.Client, Bytes: small},
		StateIDsBlocking:    {Name: "ObjIds/blocking", Agency: protocols.Server, Bytes: large},
		StateIDsNonBlocking: {Name: "ObjIds/non-block", Agency: protocols.Server, Bytes: large, Timeout: protocols.Within(10 * time.Second)},
		StateObjects:        {Name: "Objects", Agency: protocols.Server, Bytes: large, Timeout: protocols.Within(10 * time.Second)},
		StateDone:           {Name: "Done"},
	},
	Transitions: []protocols.Transition{
		{Message: "Init", Tag: TagInit, Len: 1, From: StateInit, To: StateIdle},
		{Message: "RequestObjectIds", Tag: TagRequestIDs, Len: 4, From: StateIdle, To: StateIDsBlocking, Match: cbor.BoolField(4, true)},
		{Message: "RequestObjectIds", Tag: TagRequestIDs, Len: 4, From: StateIdle, To: StateIDsNonBlocking, Match: cbor.BoolField(4, false)},
		{Message: "RequestObjects", Tag: TagRequestObjects, Len: 2, From: StateIdle, To: StateObjects},
		{Message: "Done", Tag: TagDone, Len: 1, From: StateIdle, To: StateDone},
		{Message: "ReplyObjectIds", Tag: TagReplyIDs, Len: 2, From: StateIDsBlocking, To: StateIdle},
		{Message: "ReplyObjectIds", Tag: TagReplyIDs, Len: 2, From: StateIDsNonBlocking, To: StateIdle},
		{Message: "ReplyObjects", Tag: TagReplyObjects, Len: 2, From: StateObjects, To: StateIdle},
	},
}

// Spec returns the state table (wire §5.1, §11), the same for both kinds of object. It is shared and must not be changed.
func Spec() *protocols.Spec { return spec }
