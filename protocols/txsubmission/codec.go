package txsubmission

import (
	"errors"
	"fmt"
	"math"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// IDAndSize announces a transaction.
type IDAndSize struct {
	ID   []byte // one CBOR item, see [ParseTxID]
	Size uint32 // bytes of the transaction as it will be sent, envelope included, see [WireSize]
}

// Message is any tx-submission message: [MsgInit], [MsgRequestTxIDs], [MsgReplyTxIDs], [MsgRequestTxs], [MsgReplyTxs],
// [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §8.
type (
	// MsgInit opens the mini-protocol.
	MsgInit struct{}
	// MsgRequestTxIDs acknowledges the oldest Ack ids and asks for up to Req more.
	MsgRequestTxIDs struct {
		Blocking bool
		Ack, Req uint16
	}
	// MsgReplyTxIDs announces transactions; after a blocking request at least one.
	MsgReplyTxIDs struct{ IDs []IDAndSize }
	// MsgRequestTxs asks for announced transactions.
	MsgRequestTxs struct{ IDs [][]byte }
	// MsgReplyTxs brings those that are still there.
	MsgReplyTxs struct{ Txs [][]byte }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (MsgInit) Append(dst []byte) []byte { return AppendInit(dst) }

// Append implements [Message].
func (m MsgRequestTxIDs) Append(dst []byte) []byte {
	return AppendRequestTxIDs(dst, m.Blocking, m.Ack, m.Req)
}

// Append implements [Message].
func (m MsgReplyTxIDs) Append(dst []byte) []byte { return AppendReplyTxIDs(dst, m.IDs) }

// Append implements [Message].
func (m MsgRequestTxs) Append(dst []byte) []byte { return AppendRequestTxs(dst, m.IDs) }

// Append implements [Message].
func (m MsgReplyTxs) Append(dst []byte) []byte { return AppendReplyTxs(dst, m.Txs) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendInit appends [6].
func AppendInit(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagInit) }

// AppendRequestTxIDs appends [0, blocking, ack, req].
func AppendRequestTxIDs(dst []byte, blocking bool, ack, req uint16) []byte {
	dst = cbor.AppendBool(cbor.AppendMessage(dst, 4, TagRequestTxIDs), blocking)
	return cbor.AppendUint(cbor.AppendUint(dst, uint64(ack)), uint64(req))
}

// AppendReplyTxIDs appends [1, [_ [id, size], …]].
func AppendReplyTxIDs(dst []byte, ids []IDAndSize) []byte {
	dst = cbor.AppendIndefArray(cbor.AppendMessage(dst, 2, TagReplyTxIDs))
	for _, id := range ids {
		dst = append(cbor.AppendArray(dst, 2), id.ID...)
		dst = cbor.AppendUint(dst, uint64(id.Size))
	}
	return cbor.AppendBreak(dst)
}

// AppendRequestTxs appends [2, [_ id, …]].
func AppendRequestTxs(dst []byte, ids [][]byte) []byte { return appendItems(dst, TagRequestTxs, ids) }

// AppendReplyTxs appends [3, [_ tx, …]].
func AppendReplyTxs(dst []byte, txs [][]byte) []byte { return appendItems(dst, TagReplyTxs, txs) }

func appendItems(dst []byte, tag uint64, items [][]byte) []byte {
	dst = cbor.AppendIndefArray(cbor.AppendMessage(dst, 2, tag))
	for _, item := range items {
		dst = append(dst, item...)
	}
	return cbor.AppendBreak(dst)
}

// AppendDone appends [4].
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
	return fmt.Errorf("tx-submission: %s: %w", message, err)
}

// DecodeRequestTxIDs returns the fields of a request. Whether they fit the window is not for the codec to say.
func DecodeRequestTxIDs(msg []byte) (blocking bool, ack, req uint16, err error) {
	r := cbor.OpenMessage(msg, 4, TagRequestTxIDs)
	blocking, ack, req = r.Bool(), r.Uint16(), r.Uint16()
	return blocking, ack, req, named("RequestTxIds", r.Done())
}

// DecodeReplyTxIDs appends the announced ids, views of msg, to dst: at most limit, else [ErrTooMany]; none is [ErrEmpty] when
// the request was blocking.
func DecodeReplyTxIDs(dst []IDAndSize, msg []byte, limit int, blocking bool) ([]IDAndSize, error) {
	r := cbor.OpenMessage(msg, 2, TagReplyTxIDs)
	n := 0
	for r.IndefArray(); !r.Break(); n++ {
		if n >= limit {
			r.Fail(ErrTooMany)
			break
		}
		r.DefArray(2)
		dst = append(dst, IDAndSize{r.Raw(), r.Uint32()})
	}
	if n == 0 && blocking {
		r.Fail(ErrEmpty)
	}
	if err := r.Done(); err != nil {
		return nil, named("ReplyTxIds", err)
	}
	return dst, nil
}

// DecodeRequestTxs appends the ids asked for, views of msg, to dst: at most limit.
func DecodeRequestTxs(dst [][]byte, msg []byte, limit int) ([][]byte, error) {
	return decodeItems(dst, msg, limit, TagRequestTxs, "RequestTxs")
}

// DecodeReplyTxs appends the transactions, views of msg, to dst: at most limit.
func DecodeReplyTxs(dst [][]byte, msg []byte, limit int) ([][]byte, error) {
	return decodeItems(dst, msg, limit, TagReplyTxs, "ReplyTxs")
}

func decodeItems(dst [][]byte, msg []byte, limit int, tag uint64, name string) ([][]byte, error) {
	r := cbor.OpenMessage(msg, 2, tag)
	n := 0
	for r.IndefArray(); !r.Break(); n++ {
		if n >= limit {
			r.Fail(ErrTooMany)
			break
		}
		if tag == TagReplyTxs {
			dst = append(dst, r.Enveloped())
		} else {
			dst = append(dst, r.Raw())
		}
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
		return nil, fmt.Errorf("tx-submission: %w", err)
	}
	const limit = math.MaxUint16
	var m Message
	switch row.Tag {
	case TagRequestTxIDs:
		blocking, ack, req, err := DecodeRequestTxIDs(msg)
		return MsgRequestTxIDs{blocking, ack, req}, err
	case TagReplyTxIDs:
		ids, err := DecodeReplyTxIDs(nil, msg, limit, st == StateTxIDsBlocking)
		return MsgReplyTxIDs{ids}, err
	case TagRequestTxs:
		ids, err := DecodeRequestTxs(nil, msg, limit)
		return MsgRequestTxs{ids}, err
	case TagReplyTxs:
		txs, err := DecodeReplyTxs(nil, msg, limit)
		return MsgReplyTxs{txs}, err
	case TagInit:
		m = MsgInit{}
	case TagDone:
		m = MsgDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
