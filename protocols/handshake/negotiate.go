package handshake

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hearthnet/hearth/protocols"
)

// Proposal is what one side brings to a handshake.
type Proposal struct {
	NodeToClient bool
	Versions     []uint16 // that we offer or support, in any order
	Data         Data     // the same under every version
}

// Validate reports versions that do not exist, and an empty list.
func (p Proposal) Validate() error {
	lo, hi := uint16(MinNodeToNode), uint16(MaxNodeToNode)
	if p.NodeToClient {
		lo, hi = MinNodeToClient, MaxNodeToClient
	}
	var errs []error
	if len(p.Versions) == 0 {
		errs = append(errs, errors.New("handshake: no version to offer"))
	}
	for _, v := range p.Versions {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("handshake: version %d, want %d to %d", v, lo, hi))
		}
	}
	return errors.Join(errs...)
}

// Table returns the proposal as a version table: ascending, each version with data of its own shape.
func (p Proposal) Table() []Entry {
	vs := slices.Clone(p.Versions)
	slices.Sort(vs)
	var table []Entry
	for _, v := range slices.Compact(vs) {
		table = append(table, Entry{v, AppendData(nil, v, p.NodeToClient, p.Data)})
	}
	return table
}

// Append appends the ProposeVersions message that the initiator opens with.
func (p Proposal) Append(dst []byte) []byte {
	return MsgPropose{p.Table()}.Append(dst, p.NodeToClient)
}

// Combine returns what two sides' data come to under a version, the same whichever is local: unidirectional or query if
// either side says so, peer sharing and peras if both do. It fails, with a text for humans, when the magics differ (wire §4.5).
func Combine(v uint16, nodeToClient bool, local, remote Data) (protocols.Negotiated, error) {
	if local.Magic != remote.Magic {
		return protocols.Negotiated{}, fmt.Errorf("network magic mismatch: %d and %d", local.Magic, remote.Magic)
	}
	n := protocols.Negotiated{
		Version:       v,
		NodeToClient:  nodeToClient,
		Magic:         local.Magic,
		InitiatorOnly: nodeToClient || local.InitiatorOnly || remote.InitiatorOnly,
		Query:         local.Query || remote.Query,
	}
	if !nodeToClient {
		n.PeerSharing = local.PeerSharing && remote.PeerSharing
		n.Peras = v >= 16 && local.Peras && remote.Peras
	}
	return n, nil
}

// Reply is a responder's decision.
type Reply struct {
	Message    []byte               // to send before the handshake ends
	Negotiated protocols.Negotiated // when neither refused nor queried
	Refusal    *Refusal             // why the message is a Refuse; the connection ends
	Queried    bool                 // the message is a QueryReply; the connection ends, the other side closes (wire §4.7)
}

// Negotiate decides what a responder answers to the ProposeVersions in msg (wire §4.5): only the greatest common version is
// tried. The error is about a malformed proposal, which gets no answer, or a local proposal that is not valid.
func Negotiate(local Proposal, msg []byte) (Reply, error) {
	if err := local.Validate(); err != nil {
		return Reply{}, err
	}
	m, err := Decode(StatePropose, msg, local.NodeToClient)
	if err != nil {
		return Reply{}, err
	}
	n, refusal := choose(local, m.(MsgPropose).Table)
	switch {
	case refusal != nil:
		return Reply{Message: MsgRefuse{*refusal}.Append(nil, local.NodeToClient), Refusal: refusal}, nil
	case n.Query:
		return Reply{Message: MsgQueryReply{local.Table()}.Append(nil, local.NodeToClient), Queried: true}, nil
	}
	data := AppendData(nil, n.Version, n.NodeToClient, Data{n.Magic, n.InitiatorOnly, n.PeerSharing, n.Query, n.Peras})
	return Reply{Message: MsgAccept{n.Version, data}.Append(nil, local.NodeToClient), Negotiated: n}, nil
}

// choose runs steps 1 to 3 of wire §4.5.
func choose(local Proposal, remote []Entry) (protocols.Negotiated, *Refusal) {
	ours := local.Table()
	for _, e := range slices.Backward(remote) {
		if !slices.Contains(local.Versions, e.Version) {
			continue
		}
		theirs, err := DecodeData(e.Data, e.Version, local.NodeToClient)
		if err != nil {
			return protocols.Negotiated{}, &Refusal{Reason: DecodeError, Version: e.Version, Text: err.Error()}
		}
		n, err := Combine(e.Version, local.NodeToClient, local.Data, theirs)
		if err != nil {
			return protocols.Negotiated{}, &Refusal{Reason: Refused, Version: e.Version, Text: err.Error()}
		}
		return n, nil
	}
	refusal := &Refusal{Reason: VersionMismatch}
	for _, e := range ours {
		refusal.Versions = append(refusal.Versions, e.Version)
	}
	return protocols.Negotiated{}, refusal
}

// Supported is one entry of a query's answer.
type Supported struct {
	Version uint16
	Data    Data
	Err     error // the data did not decode; that concerns this entry alone
}

// Result is what an initiator has at the end of a handshake.
type Result struct {
	Negotiated   protocols.Negotiated
	Simultaneous bool        // both sides dialled, the other one proposed as well
	Supported    []Supported // the answer to a query, not nil; nothing was negotiated
}

// Why an initiator ends a handshake that the responder did not refuse. They come wrapped in a [ReplyError].
var (
	// ErrNotOffered: the responder accepted a version that was not on offer.
	ErrNotOffered = errors.New("version was not offered")
	// ErrData: the responder's version data does not decode.
	ErrData = errors.New("version data does not decode")
	// ErrSelection: the responder accepted with data that we cannot accept.
	ErrSelection = errors.New("invalid server selection")
	// ErrQueryReply: the responder answered a query that was not made.
	ErrQueryReply = errors.New("query reply without a query")
)

// ReplyError is a reply that the initiator cannot accept.
type ReplyError struct {
	Version uint16 // 0 for [ErrQueryReply]
	Err     error  // wraps one of ErrNotOffered, ErrData, ErrSelection, ErrQueryReply
}

// Error describes the fault.
func (e *ReplyError) Error() string {
	return fmt.Sprintf("handshake: reply with version %d: %v", e.Version, e.Err)
}

// Unwrap returns the reason.
func (e *ReplyError) Unwrap() error { return e.Err }

// Fault implements the seam's classification: the responder broke the rules.
func (e *ReplyError) Fault() string { return "adversarial" }

// Confirm decides what the answer in msg means to the initiator that proposed local (wire §4.5, §4.8). What is negotiated
// is the combination of our data with the data in the reply, not the reply itself. A refusal by the responder, or by
// ourselves in a simultaneous open, is a [*Refusal]; an answer out of bounds a [*ReplyError]; anything else is malformed.
// Nothing is sent in any case.
func Confirm(local Proposal, msg []byte) (Result, error) {
	if err := local.Validate(); err != nil {
		return Result{}, err
	}
	m, err := Decode(StateConfirm, msg, local.NodeToClient)
	if err != nil {
		return Result{}, err
	}
	switch m := m.(type) {
	case MsgAccept:
		n, err := accepted(local, m)
		return Result{Negotiated: n}, err
	case MsgRefuse:
		return Result{}, &m.Refusal
	case MsgReplyVersions:
		n, refusal := choose(local, m.Table)
		if refusal != nil {
			return Result{}, refusal
		}
		return Result{Negotiated: n, Simultaneous: true}, nil
	}
	if !local.Data.Query {
		return Result{}, &ReplyError{Err: ErrQueryReply}
	}
	res := Result{Supported: []Supported{}}
	for _, e := range m.(MsgQueryReply).Table {
		d, err := DecodeData(e.Data, e.Version, local.NodeToClient)
		res.Supported = append(res.Supported, Supported{e.Version, d, err})
	}
	return res, nil
}

func accepted(local Proposal, m MsgAccept) (protocols.Negotiated, error) {
	if !slices.Contains(local.Versions, m.Version) {
		return protocols.Negotiated{}, &ReplyError{m.Version, ErrNotOffered}
	}
	theirs, err := DecodeData(m.Data, m.Version, local.NodeToClient)
	if err != nil {
		return protocols.Negotiated{}, &ReplyError{m.Version, fmt.Errorf("%w: %w", ErrData, err)}
	}
	n, err := Combine(m.Version, local.NodeToClient, local.Data, theirs)
	if err != nil {
		return protocols.Negotiated{}, &ReplyError{m.Version, fmt.Errorf("%w: %w", ErrSelection, err)}
	}
	return n, nil
}
