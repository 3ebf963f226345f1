package txsubmission

import "github.com/hearthnet/hearth/internal/cbor"

// Tx is a transaction out of its envelope (wire §5.4).
type Tx struct {
	Era   uint8  // era index: 0 Byron, 1 Shelley … 7 Dijkstra; not a block's tag (wire §5.3)
	Bytes []byte // the transaction, verbatim; of a Byron one the pair [kind, payload]
}

// AppendTx appends the envelope around a transaction: [era, #24(bytes)], or [0, [kind, payload]] for Byron.
func AppendTx(dst []byte, tx Tx) []byte {
	dst = cbor.AppendUint(cbor.AppendArray(dst, 2), uint64(tx.Era))
	if tx.Era == 0 {
		return append(dst, tx.Bytes...)
	}
	return cbor.AppendWrapped(dst, tx.Bytes)
}

// ParseTx opens a transaction as it is sent. Bytes is a view of it, one CBOR item.
func ParseTx(item []byte) (tx Tx, err error) {
	r := cbor.NewReader(item)
	r.DefArray(2)
	tx.Era = r.Uint8()
	if tx.Era > 0 {
		tx.Bytes = r.Wrapped()
	} else {
		start := r.Offset()
		r.DefArray(2)
		r.Uint8()
		r.Raw()
		tx.Bytes = item[start:r.Offset()]
	}
	if err := r.Done(); err != nil {
		return Tx{}, named("transaction", err)
	}
	return tx, nil
}

// WireSize returns how many bytes a transaction takes as it is sent, which is the size that is advertised (wire §8).
func WireSize(tx Tx) int {
	n := 1 + cbor.HeadLen(uint64(tx.Era)) + len(tx.Bytes)
	if tx.Era > 0 {
		n += 2 + cbor.HeadLen(uint64(len(tx.Bytes)))
	}
	return n
}

// TxID is a transaction's id out of its envelope (wire §5.4).
type TxID struct {
	Era  uint8    // era index of the transaction
	Kind uint8    // Byron: 0 for a transaction
	Hash [32]byte // of the transaction's body
}

// AppendTxID appends [era, hash], or [0, [kind, hash]] for Byron.
func AppendTxID(dst []byte, id TxID) []byte {
	dst = cbor.AppendUint(cbor.AppendArray(dst, 2), uint64(id.Era))
	if id.Era == 0 {
		dst = cbor.AppendUint(cbor.AppendArray(dst, 2), uint64(id.Kind))
	}
	return cbor.AppendBytes(dst, id.Hash[:])
}

// ParseTxID opens an id as it is sent.
func ParseTxID(item []byte) (id TxID, err error) {
	r := cbor.NewReader(item)
	r.DefArray(2)
	id.Era = r.Uint8()
	if id.Era == 0 && r.Err() == nil {
		r.DefArray(2)
		id.Kind = r.Uint8()
	}
	copy(id.Hash[:], r.BytesLen(len(id.Hash)))
	if err := r.Done(); err != nil {
		return TxID{}, named("id", err)
	}
	return id, nil
}
