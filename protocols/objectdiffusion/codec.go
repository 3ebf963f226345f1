package objectdiffusion

import (
	"errors"
	"fmt"
	"math"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Message is any object diffusion message: [MsgInit], [MsgRequestIDs], [MsgReplyIDs], [MsgRequestObjects],
// [MsgReplyObjects], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §11.
type (
	// MsgInit opens the mini-protocol.
	MsgInit struct{}
	// MsgRequestIDs acknowledges the oldest Ack ids and asks for up to Req more.
	MsgRequestIDs struct {
		Blocking bool
		Ack, Req uint16
	}
	// MsgReplyIDs announces objects; after a blocking request at least one.
	MsgReplyIDs struct{ IDs [][]byte }
	// MsgRequestObjects asks for announced objects.
	MsgRequestObjects struct{ IDs [][]byte }
	// MsgReplyObjects brings those that are still there.
	MsgReplyObjects struct{ Objects [][]byte }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (MsgInit) Append(dst []byte) []byte { return AppendInit(dst) }

// Append implements [Message].
func (m MsgRequestIDs) Append(dst []byte) []byte {
	return AppendRequestIDs(dst, m.Blocking, m.Ack, m.Req)
}

// Append implements [Message].
func (m MsgReplyIDs) Append(dst []byte) []byte { return AppendReplyIDs(dst, m.IDs) }

// Append implements [Message].
func (m MsgRequestObjects) Append(dst []byte) []byte { return AppendRequestObjects(dst, m.IDs) }

// Append implements [Message].
func (m MsgReplyObjects) Append(dst []byte) []byte { return AppendReplyObjects(dst, m.Objects) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendInit appends [0].
func AppendInit(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagInit) }

// AppendRequestIDs appends [1, blocking, ack, req].
func AppendRequestIDs(dst []byte, blocking bool, ack, req uint16) []byte {
	dst = cbor.AppendBool(cbor.AppendMessage(dst, 4, TagRequestIDs), blocking)
	return cbor.AppendUint(cbor.AppendUint(dst, uint64(ack)), uint64(req))
}

// AppendReplyIDs appends [2, [_ id, …]].
func AppendReplyIDs(dst []byte, ids [][]byte) []byte { return appendItems(dst, TagReplyIDs, ids) }

// AppendRequestObjects appends [3, [_ id, …]].
func AppendRequestObjects(dst []byte, ids [][]byte) []byte {
	return appendItems(dst, TagRequestObjects, ids)
}

// AppendReplyObjects appends [4, [_ object, …]].
func AppendReplyObjects(dst []byte, objects [][]byte) []byte {
	return appendItems(dst, TagReplyObjects, objects)
}

func appendItems(dst []byte, tag uint64, items [][]byte) []byte {
	dst = cbor.AppendIndefArray(cbor.AppendMessage(dst, 2, tag))
	for _, item := range items {
		dst = append(dst, item...)
	}
	return cbor.AppendBreak(dst)
}

// AppendDone appends [5].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

// What is wrong with lists that are well-formed.
var (
	// ErrTooMany: a list of more elements than were asked for, or than the window has room for.
	ErrTooMany = errors.New("more elements than allowed")
	// ErrEmpty: no ids in the reply to a blocking request.
	ErrEmpty = errors.New("empty reply to a blocking request")
)

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("object-diffusion: %s: %w", message, err)
}

// DecodeRequestIDs returns the fields of a request. Whether they fit the window is not for the codec to say.
func DecodeRequestIDs(msg []byte) (blocking bool, ack, req uint16, err error) {
	r := cbor.OpenMessage(msg, 4, TagRequestIDs)
	blocking, ack, req = r.Bool(), r.Uint16(), r.Uint16()
	return blocking, ack, req, named("RequestObjectIds", r.Done())
}

// DecodeReplyIDs appends the announced ids, views of msg, to dst: at most limit, else [ErrTooMany]; none is [ErrEmpty] when
// the request was blocking.
func DecodeReplyIDs(dst [][]byte, msg []byte, limit int, blocking bool) ([][]byte, error) {
	before := len(dst)
	dst, err := decodeItems(dst, msg, limit, TagReplyIDs, "ReplyObjectIds")
	if err == nil && len(dst) == before && blocking {
		return nil, named("ReplyObjectIds", ErrEmpty)
	}
	return dst, err
}

// DecodeRequestObjects appends the ids asked for, views of msg, to dst: at most limit.
func DecodeRequestObjects(dst [][]byte, msg []byte, limit int) ([][]byte, error) {
	return decodeItems(dst, msg, limit, TagRequestObjects, "RequestObjects")
}

// DecodeReplyObjects appends the objects, views of msg, to dst: at most limit.
func DecodeReplyObjects(dst [][]byte, msg []byte, limit int) ([][]byte, error) {
	return decodeItems(dst, msg, limit, TagReplyObjects, "ReplyObjects")
}

func decodeItems(dst [][]byte, msg []byte, limit int, tag uint64, name string) ([][]byte, error) {
	r := cbor.OpenMessage(msg, 2, tag)
	n := 0
	for r.IndefArray(); !r.Break(); n++ {
		if n >= limit {
			r.Fail(ErrTooMany)
			break
		}
		dst = append(dst, r.Raw())
	}
	if err := r.Done(); err != nil {
		return nil, named(name, err)
	}
	return dst, nil
}

// Decode decodes a message that arrived in st; lists of up to 65,535 elements, the most that can be asked for.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("object-diffusion: %w", err)
	}
	const limit = math.MaxUint16
	var m Message
	switch row.Tag {
	case TagRequestIDs:
		blocking, ack, req, err := DecodeRequestIDs(msg)
		return MsgRequestIDs{blocking, ack, req}, err
	case TagReplyIDs:
		ids, err := DecodeReplyIDs(nil, msg, limit, st == StateIDsBlocking)
		return MsgReplyIDs{ids}, err
	case TagRequestObjects:
		ids, err := DecodeRequestObjects(nil, msg, limit)
		return MsgRequestObjects{ids}, err
	case TagReplyObjects:
		objects, err := DecodeReplyObjects(nil, msg, limit)
		return MsgReplyObjects{objects}, err
	case TagInit:
		m = MsgInit{}
	case TagDone:
		m = MsgDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
