package handshake

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Versions that exist (wire §4.3). Node-to-client numbers carry bit 15 on the wire and nowhere in this package's API.
const (
	MinNodeToNode   = 14
	MaxNodeToNode   = 16 // 16 is experimental: the version data has the field Peras
	MinNodeToClient = 16
	MaxNodeToClient = 23

	nodeToClientBit = 0x8000
)

// NodeToNodeVersions and NodeToClientVersions return the versions that we know, ascending.
func NodeToNodeVersions() []uint16 { return versions(MinNodeToNode, MaxNodeToNode) }

// NodeToClientVersions returns the node-to-client versions that we know, ascending.
func NodeToClientVersions() []uint16 { return versions(MinNodeToClient, MaxNodeToClient) }

func versions(from, to uint16) (vs []uint16) {
	for v := from; v <= to; v++ {
		vs = append(vs, v)
	}
	return vs
}

// Data is version data: what a side says about itself under a version (wire §4.4). A node offers the same values under all
// versions. Node-to-client data consists of Magic and Query alone.
type Data struct {
	Magic         uint32
	InitiatorOnly bool // the sender runs no responders on this connection
	PeerSharing   bool
	Query         bool
	Peras         bool // version 16; not sent below
}

// Entry is one pair of a version table, its data as raw CBOR.
type Entry struct {
	Version uint16
	Data    []byte // a view of the message it came in
}

// Reason is why a responder refuses.
type Reason uint8

// The reasons of wire §4.2.
const (
	VersionMismatch Reason = iota // no common version
	DecodeError                   // the version data of the selected version did not decode
	Refused                       // the version data decoded and is not acceptable
)

// String returns the reason's name.
func (r Reason) String() string {
	return [...]string{"version mismatch", "version data undecodable", "refused", "unknown reason"}[min(r, 3)]
}

// Refusal is the content of a Refuse message, and the error that comes of one.
type Refusal struct {
	Reason   Reason
	Versions []uint16 // VersionMismatch: what the responder supports, as far as we know the numbers
	Unknown  []uint64 // VersionMismatch, received: the numbers we do not know, as on the wire
	Version  uint16   // other reasons: the version that was selected
	Text     string   // other reasons: for humans
}

// Error describes the refusal.
func (r *Refusal) Error() string {
	if r.Reason == VersionMismatch {
		return fmt.Sprintf("handshake: no common version, responder supports %v and unknown %v", r.Versions, r.Unknown)
	}
	return fmt.Sprintf("handshake: %s under version %d: %q", r.Reason, r.Version, r.Text)
}

// Message is any handshake message: [MsgPropose], [MsgReplyVersions], [MsgAccept], [MsgRefuse], [MsgQueryReply].
type Message interface {
	// Append appends the message's bytes; nodeToClient says which family of versions it speaks of.
	Append(dst []byte, nodeToClient bool) []byte
}

// MsgPropose offers versions. Decoded, it holds the versions we know, ascending, and skips the others.
type MsgPropose struct{ Table []Entry }

// MsgReplyVersions is a proposal that crossed ours: simultaneous open (wire §4.8).
type MsgReplyVersions struct{ Table []Entry }

// MsgAccept selects a version; Data is the raw combined version data.
type MsgAccept struct {
	Version uint16
	Data    []byte
}

// MsgRefuse ends the handshake without a version.
type MsgRefuse struct{ Refusal }

// MsgQueryReply answers a query with the responder's version table.
type MsgQueryReply struct{ Table []Entry }

// Append implements [Message].
func (m MsgPropose) Append(dst []byte, ntc bool) []byte {
	return appendTable(cbor.AppendMessage(dst, 2, TagPropose), m.Table, ntc)
}

// Append implements [Message].
func (m MsgReplyVersions) Append(dst []byte, ntc bool) []byte {
	return MsgPropose(m).Append(dst, ntc)
}

// Append implements [Message].
func (m MsgQueryReply) Append(dst []byte, ntc bool) []byte {
	return appendTable(cbor.AppendMessage(dst, 2, TagQueryReply), m.Table, ntc)
}

// Append implements [Message].
func (m MsgAccept) Append(dst []byte, ntc bool) []byte {
	dst = cbor.AppendMessage(dst, 3, TagAccept)
	return append(appendVersion(dst, m.Version, ntc), m.Data...)
}

// Append implements [Message].
func (m MsgRefuse) Append(dst []byte, ntc bool) []byte {
	dst = cbor.AppendMessage(dst, 2, TagRefuse)
	if m.Reason == VersionMismatch {
		dst = cbor.AppendMessage(dst, 2, uint64(m.Reason))
		dst = cbor.AppendArray(dst, len(m.Versions))
		for _, v := range m.Versions {
			dst = appendVersion(dst, v, ntc)
		}
		return dst
	}
	dst = cbor.AppendMessage(dst, 3, uint64(m.Reason))
	return cbor.AppendText(appendVersion(dst, m.Version, ntc), strings.ToValidUTF8(m.Text, "\uFFFD"))
}

// appendTable writes a definite map; the entries must be in ascending order.
func appendTable(dst []byte, table []Entry, ntc bool) []byte {
	dst = cbor.AppendMap(dst, len(table))
	for _, e := range table {
		dst = append(appendVersion(dst, e.Version, ntc), e.Data...)
	}
	return dst
}

func appendVersion(dst []byte, v uint16, ntc bool) []byte {
	if ntc {
		v |= nodeToClientBit
	}
	return cbor.AppendUint(dst, uint64(v))
}

// AppendData appends version data in the shape that version v has (wire §4.4).
func AppendData(dst []byte, v uint16, nodeToClient bool, d Data) []byte {
	if nodeToClient {
		return cbor.AppendBool(cbor.AppendUint(cbor.AppendArray(dst, 2), uint64(d.Magic)), d.Query)
	}
	n := 4
	if v >= 16 {
		n = 5
	}
	dst = cbor.AppendUint(cbor.AppendArray(dst, n), uint64(d.Magic))
	dst = cbor.AppendBool(dst, d.InitiatorOnly)
	if d.PeerSharing {
		dst = cbor.AppendUint(dst, 1)
	} else {
		dst = cbor.AppendUint(dst, 0)
	}
	dst = cbor.AppendBool(dst, d.Query)
	if n == 5 {
		dst = cbor.AppendBool(dst, d.Peras)
	}
	return dst
}

// DecodeData decodes the version data of version v. Another number of fields than the version has, a magic above 32 bits
// or a peer sharing flag other than 0 and 1 is an error (wire §4.4).
func DecodeData(raw []byte, v uint16, nodeToClient bool) (Data, error) {
	r := cbor.NewReader(raw)
	var d Data
	switch {
	case nodeToClient:
		r.DefArray(2)
		d.Magic = r.Uint32()
		d.Query = r.Bool()
	default:
		n := 4
		if v >= 16 {
			n = 5
		}
		r.DefArray(n)
		d.Magic = r.Uint32()
		d.InitiatorOnly = r.Bool()
		switch r.Uint() {
		case 0:
		case 1:
			d.PeerSharing = true
		default:
			r.Fail(errPeerSharing)
		}
		d.Query = r.Bool()
		if n == 5 {
			d.Peras = r.Bool()
		}
	}
	if err := r.Done(); err != nil {
		return Data{}, fmt.Errorf("handshake: data of version %d: %w", v, err)
	}
	return d, nil
}

var (
	errPeerSharing = errors.New("peer sharing is neither 0 nor 1")
	errOrder       = errors.New("versions are not in strictly ascending order")
	errUnknown     = errors.New("unknown version")
	errReason      = errors.New("unknown reason")
)

// known returns the version that a number on the wire stands for, and whether our codec knows it.
func known(n uint64, ntc bool) (uint16, bool) {
	if ntc {
		v := n &^ nodeToClientBit
		return uint16(v), n != v && v >= MinNodeToClient && v <= MaxNodeToClient
	}
	return uint16(n), n >= MinNodeToNode && n <= MaxNodeToNode
}

// Decode decodes a message that arrived in st. Tag 0 is a proposal in Propose and the other side's proposal in Confirm.
// Views into msg are returned.
func Decode(st protocols.State, msg []byte, nodeToClient bool) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	r := cbor.NewReader(msg)
	r.DefArray(row.Len)
	r.Uint()
	var m Message
	switch {
	case st == StatePropose:
		m = MsgPropose{readTable(&r, nodeToClient)}
	case row.Tag == TagReplyVersions:
		m = MsgReplyVersions{readTable(&r, nodeToClient)}
	case row.Tag == TagAccept:
		m = MsgAccept{readVersion(&r, nodeToClient), r.Raw()}
	case row.Tag == TagRefuse:
		m = MsgRefuse{readRefusal(&r, nodeToClient)}
	default:
		m = MsgQueryReply{readTable(&r, nodeToClient)}
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("handshake: %s: %w", row.Message, err)
	}
	return m, nil
}

// readTable reads a version table: definite map, the keys we know in strictly ascending order, others skipped together with
// their values and whatever their type (wire §4.2).
func readTable(r *cbor.Reader, ntc bool) []Entry {
	var table []Entry
	for n := r.DefMap(); n > 0 && r.Err() == nil; n-- {
		v, ok := uint16(0), false
		if r.Peek() == cbor.TypeUint {
			v, ok = known(r.Uint(), ntc)
		} else {
			r.Raw()
		}
		if ok && len(table) > 0 && table[len(table)-1].Version >= v {
			r.Fail(errOrder)
		}
		if raw := r.Raw(); ok && r.Err() == nil {
			table = append(table, Entry{v, raw})
		}
	}
	return table
}

func readVersion(r *cbor.Reader, ntc bool) uint16 {
	v, ok := known(r.Uint(), ntc)
	if !ok {
		r.Fail(errUnknown)
	}
	return v
}

func readRefusal(r *cbor.Reader, ntc bool) Refusal {
	n := r.AnyDefArray()
	ref := Refusal{Reason: Reason(r.Uint8())}
	switch {
	case ref.Reason == VersionMismatch && n == 2:
		for left := r.AnyDefArray(); left > 0 && r.Err() == nil; left-- {
			if r.Peek() != cbor.TypeUint {
				r.Raw()
				continue
			}
			n := r.Uint()
			if v, ok := known(n, ntc); ok {
				ref.Versions = append(ref.Versions, v)
			} else if r.Err() == nil {
				ref.Unknown = append(ref.Unknown, n)
			}
		}
	case (ref.Reason == DecodeError || ref.Reason == Refused) && n == 3:
		ref.Version = readVersion(r, ntc)
		ref.Text = string(r.Text())
	default:
		r.Fail(errReason)
	}
	return ref
}
