package localtxmonitor

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Sizes describes a mempool in bytes and transactions.
type Sizes struct {
	Capacity uint32 // bytes it may hold
	Size     uint32 // bytes in it
	Count    uint32 // transactions in it
}

// Measure is one dimension of a mempool, such as "transaction_bytes". The numbers may be of any size and sign.
type Measure struct {
	Name           string
	Size, Capacity *big.Int // the other order than in [Sizes], as on the wire; nil is sent as 0
}

// Message is any local tx-monitor message: [MsgAcquire], [MsgAwaitAcquire], [MsgAcquired], [MsgRelease], [MsgNextTx],
// [MsgReplyNextTx], [MsgHasTx], [MsgReplyHasTx], [MsgGetSizes], [MsgReplyGetSizes], [MsgGetMeasures], [MsgReplyGetMeasures],
// [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §12.3.
type (
	// MsgAcquire takes a snapshot of the mempool.
	MsgAcquire struct{}
	// MsgAwaitAcquire waits for another mempool than the one acquired, then takes a snapshot of that.
	MsgAwaitAcquire struct{}
	// MsgAcquired says for a block in which slot the snapshot is.
	MsgAcquired struct{ Slot uint64 }
	// MsgRelease gives the snapshot up.
	MsgRelease struct{}
	// MsgNextTx asks for the next transaction of the snapshot.
	MsgNextTx struct{}
	// MsgReplyNextTx is the next transaction, or nil after the last one.
	MsgReplyNextTx struct{ Tx []byte }
	// MsgHasTx asks whether a transaction is in the snapshot.
	MsgHasTx struct{ ID []byte }
	// MsgReplyHasTx says whether it is.
	MsgReplyHasTx struct{ Has bool }
	// MsgGetSizes asks how large the snapshot is.
	MsgGetSizes struct{}
	// MsgReplyGetSizes says it.
	MsgReplyGetSizes struct{ Sizes Sizes }
	// MsgGetMeasures asks how large the snapshot is in every dimension.
	MsgGetMeasures struct{}
	// MsgReplyGetMeasures says it, by name in ascending order.
	MsgReplyGetMeasures struct {
		Count    uint32 // transactions
		Measures []Measure
	}
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (MsgAcquire) Append(dst []byte) []byte { return AppendAcquire(dst) }

// Append implements [Message].
func (MsgAwaitAcquire) Append(dst []byte) []byte { return AppendAcquire(dst) }

// Append implements [Message].
func (m MsgAcquired) Append(dst []byte) []byte { return AppendAcquired(dst, m.Slot) }

// Append implements [Message].
func (MsgRelease) Append(dst []byte) []byte { return AppendRelease(dst) }

// Append implements [Message].
func (MsgNextTx) Append(dst []byte) []byte { return AppendNextTx(dst) }

// Append implements [Message].
func (m MsgReplyNextTx) Append(dst []byte) []byte { return AppendReplyNextTx(dst, m.Tx) }

// Append implements [Message].
func (m MsgHasTx) Append(dst []byte) []byte { return AppendHasTx(dst, m.ID) }

// Append implements [Message].
func (m MsgReplyHasTx) Append(dst []byte) []byte { return AppendReplyHasTx(dst, m.Has) }

// Append implements [Message].
func (MsgGetSizes) Append(dst []byte) []byte { return AppendGetSizes(dst) }

// Append implements [Message].
func (m MsgReplyGetSizes) Append(dst []byte) []byte { return AppendReplyGetSizes(dst, m.Sizes) }

// Append implements [Message].
func (MsgGetMeasures) Append(dst []byte) []byte { return AppendGetMeasures(dst) }

// Append implements [Message].
func (m MsgReplyGetMeasures) Append(dst []byte) []byte {
	return AppendReplyGetMeasures(dst, m.Count, m.Measures)
}

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendAcquire appends [1], which is AwaitAcquire as well.
func AppendAcquire(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagAcquire) }

// AppendAcquired appends [2, slot].
func AppendAcquired(dst []byte, slot uint64) []byte {
	return cbor.AppendUint(cbor.AppendMessage(dst, 2, TagAcquired), slot)
}

// AppendRelease appends [3].
func AppendRelease(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagRelease) }

// AppendNextTx appends [5].
func AppendNextTx(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagNextTx) }

// AppendReplyNextTx appends [6, tx], or [6] when tx is empty.
func AppendReplyNextTx(dst, tx []byte) []byte {
	if len(tx) == 0 {
		return cbor.AppendMessage(dst, 1, TagReplyNextTx)
	}
	return append(cbor.AppendMessage(dst, 2, TagReplyNextTx), tx...)
}

// AppendHasTx appends [7, id]; id is one CBOR item.
func AppendHasTx(dst, id []byte) []byte { return append(cbor.AppendMessage(dst, 2, TagHasTx), id...) }

// AppendReplyHasTx appends [8, has].
func AppendReplyHasTx(dst []byte, has bool) []byte {
	return cbor.AppendBool(cbor.AppendMessage(dst, 2, TagReplyHasTx), has)
}

// AppendGetSizes appends [9].
func AppendGetSizes(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagGetSizes) }

// AppendReplyGetSizes appends [10, [capacity, size, count]].
func AppendReplyGetSizes(dst []byte, s Sizes) []byte {
	dst = cbor.AppendArray(cbor.AppendMessage(dst, 2, TagReplyGetSizes), 3)
	for _, n := range [...]uint32{s.Capacity, s.Size, s.Count} {
		dst = cbor.AppendUint(dst, uint64(n))
	}
	return dst
}

// AppendGetMeasures appends [11], which only versions from [MeasuresVersion] on may send.
func AppendGetMeasures(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagGetMeasures) }

// AppendReplyGetMeasures appends [12, count, {name: [size, capacity], …}], a definite map in ascending order of the names.
func AppendReplyGetMeasures(dst []byte, count uint32, measures []Measure) []byte {
	dst = cbor.AppendUint(cbor.AppendMessage(dst, 3, TagReplyGetMeasures), uint64(count))
	dst = cbor.AppendMap(dst, len(measures))
	for _, m := range slices.SortedStableFunc(slices.Values(measures), byName) {
		dst = cbor.AppendArray(cbor.AppendText(dst, strings.ToValidUTF8(m.Name, "\uFFFD")), 2)
		for _, n := range [...]*big.Int{m.Size, m.Capacity} {
			if n == nil {
				n = new(big.Int)
			}
			dst = cbor.AppendBigInt(dst, n)
		}
	}
	return dst
}

func byName(a, b Measure) int { return cmp.Compare(a.Name, b.Name) }

// AppendDone appends [0].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

var (
	errMeasures = fmt.Errorf("more than %d measures", MaxMeasures)
	errTwice    = errors.New("a measure named twice")
)

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("local-tx-monitor: %s: %w", message, err)
}

// DecodeAcquired returns the slot of the snapshot.
func DecodeAcquired(msg []byte) (slot uint64, err error) {
	r := cbor.OpenMessage(msg, 2, TagAcquired)
	slot = r.Uint()
	return slot, named("Acquired", r.Done())
}

// DecodeReplyNextTx returns the transaction, a view of msg, or nil after the last one.
func DecodeReplyNextTx(msg []byte) (tx []byte, err error) {
	r := cbor.NewReader(msg)
	n := r.AnyDefArray()
	if r.Uint() != TagReplyNextTx {
		r.Fail(cbor.ErrTag)
	}
	if n != 1 {
		r = cbor.OpenMessage(msg, 2, TagReplyNextTx)
		tx = r.Enveloped()
	}
	return tx, named("ReplyNextTx", r.Done())
}

// DecodeHasTx returns the id, a view of msg.
func DecodeHasTx(msg []byte) (id []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagHasTx)
	id = r.Raw()
	return id, named("HasTx", r.Done())
}

// DecodeReplyHasTx returns whether the snapshot has the transaction.
func DecodeReplyHasTx(msg []byte) (has bool, err error) {
	r := cbor.OpenMessage(msg, 2, TagReplyHasTx)
	has = r.Bool()
	return has, named("ReplyHasTx", r.Done())
}

// DecodeReplyGetSizes returns the sizes.
func DecodeReplyGetSizes(msg []byte) (s Sizes, err error) {
	r := cbor.OpenMessage(msg, 2, TagReplyGetSizes)
	r.DefArray(3)
	s = Sizes{r.Uint32(), r.Uint32(), r.Uint32()}
	return s, named("ReplyGetSizes", r.Done())
}

// DecodeReplyGetMeasures returns the number of transactions and the measures, at most [MaxMeasures], in ascending order of
// their names. Numbers of more than 32 bytes are refused.
func DecodeReplyGetMeasures(msg []byte) (count uint32, measures []Measure, err error) {
	r := cbor.OpenMessage(msg, 3, TagReplyGetMeasures)
	count = r.Uint32()
	n := r.DefMap()
	if n > MaxMeasures {
		r.Fail(errMeasures)
	}
	for ; n > 0 && r.Err() == nil; n-- {
		name := r.Text()
		r.DefArray(2)
		size, capacity := r.BigInt(), r.BigInt()
		if r.Err() == nil {
			measures = append(measures, Measure{string(name), size, capacity})
		}
	}
	slices.SortFunc(measures, byName)
	for i := range measures {
		if i > 0 && measures[i].Name == measures[i-1].Name {
			r.Fail(errTwice)
		}
	}
	if err := r.Done(); err != nil {
		return 0, nil, named("ReplyGetMeasures", err)
	}
	return count, measures, nil
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (m Message, err error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("local-tx-monitor: %w", err)
	}
	switch row.Tag {
	case TagAcquired:
		slot, err := DecodeAcquired(msg)
		return MsgAcquired{slot}, err
	case TagReplyNextTx:
		tx, err := DecodeReplyNextTx(msg)
		return MsgReplyNextTx{tx}, err
	case TagHasTx:
		id, err := DecodeHasTx(msg)
		return MsgHasTx{id}, err
	case TagReplyHasTx:
		has, err := DecodeReplyHasTx(msg)
		return MsgReplyHasTx{has}, err
	case TagReplyGetSizes:
		s, err := DecodeReplyGetSizes(msg)
		return MsgReplyGetSizes{s}, err
	case TagReplyGetMeasures:
		count, measures, err := DecodeReplyGetMeasures(msg)
		return MsgReplyGetMeasures{count, measures}, err
	case TagAcquire:
		m = MsgAcquire{}
		if st == StateAcquired {
			m = MsgAwaitAcquire{}
		}
	case TagRelease:
		m = MsgRelease{}
	case TagNextTx:
		m = MsgNextTx{}
	case TagGetSizes:
		m = MsgGetSizes{}
	case TagGetMeasures:
		m = MsgGetMeasures{}
	case TagDone:
		m = MsgDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
