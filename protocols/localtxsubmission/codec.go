package localtxsubmission

import (
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Message is any local tx-submission message: [MsgSubmitTx], [MsgAcceptTx], [MsgRejectTx], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §12.2.
type (
	// MsgSubmitTx hands over a transaction: [era, #24(bytes)].
	MsgSubmitTx struct{ Tx []byte }
	// MsgAcceptTx says that it is in the mempool.
	MsgAcceptTx struct{}
	// MsgRejectTx says why it is not; Reason is one CBOR item.
	MsgRejectTx struct{ Reason []byte }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (m MsgSubmitTx) Append(dst []byte) []byte { return AppendSubmitTx(dst, m.Tx) }

// Append implements [Message].
func (MsgAcceptTx) Append(dst []byte) []byte { return AppendAcceptTx(dst) }

// Append implements [Message].
func (m MsgRejectTx) Append(dst []byte) []byte { return AppendRejectTx(dst, m.Reason) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendSubmitTx appends [0, tx]; tx is one CBOR item.
func AppendSubmitTx(dst, tx []byte) []byte {
	return append(cbor.AppendMessage(dst, 2, TagSubmitTx), tx...)
}

// AppendAcceptTx appends [1].
func AppendAcceptTx(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagAcceptTx) }

// AppendRejectTx appends [2, reason]; reason is one CBOR item.
func AppendRejectTx(dst, reason []byte) []byte {
	return append(cbor.AppendMessage(dst, 2, TagRejectTx), reason...)
}

// AppendDone appends [3].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("local-tx-submission: %s: %w", message, err)
}

// DecodeSubmitTx returns the transaction, a view of msg.
func DecodeSubmitTx(msg []byte) (tx []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagSubmitTx)
	tx = r.Enveloped()
	return tx, named("SubmitTx", r.Done())
}

// DecodeRejectTx returns the reason, a view of msg.
func DecodeRejectTx(msg []byte) (reason []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagRejectTx)
	reason = r.Raw()
	return reason, named("RejectTx", r.Done())
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("local-tx-submission: %w", err)
	}
	var m Message
	switch row.Tag {
	case TagSubmitTx:
		tx, err := DecodeSubmitTx(msg)
		return MsgSubmitTx{tx}, err
	case TagRejectTx:
		reason, err := DecodeRejectTx(msg)
		return MsgRejectTx{reason}, err
	case TagAcceptTx:
		m = MsgAcceptTx{}
	case TagDone:
		m = MsgDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
