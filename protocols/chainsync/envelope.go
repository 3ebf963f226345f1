package chainsync

import (
	"errors"

	"github.com/hearthnet/hearth/internal/cbor"
)

// Header is a header out of its node-to-node envelope (wire §5.4).
type Header struct {
	Era      uint8  // era index: 0 Byron, 1 Shelley … 7 Dijkstra; not the block's tag (wire §5.3)
	Boundary bool   // Byron: the header of an epoch boundary block
	Size     uint32 // Byron: how large the block is said to be, a hint for whoever fetches it
	Bytes    []byte // the header itself, verbatim: what is hashed
}

var errByron = errors.New("header of neither Byron kind")

// AppendHeader appends the envelope around h: [era, #24(bytes)], or Byron's [0, [[kind, size], #24(bytes)]].
func AppendHeader(dst []byte, h Header) []byte {
	dst = cbor.AppendUint(cbor.AppendArray(dst, 2), uint64(h.Era))
	if h.Era == 0 {
		kind := uint64(1)
		if h.Boundary {
			kind = 0
		}
		dst = cbor.AppendUint(cbor.AppendArray(cbor.AppendArray(dst, 2), 2), kind)
		dst = cbor.AppendUint(dst, uint64(h.Size))
	}
	return cbor.AppendWrapped(dst, h.Bytes)
}

// ParseHeader opens the payload of a node-to-node RollForward and checks that the header is one CBOR item. Bytes is a view
// of the payload.
func ParseHeader(payload []byte) (h Header, err error) {
	r := cbor.NewReader(payload)
	r.DefArray(2)
	h.Era = r.Uint8()
	if h.Era == 0 && r.Err() == nil {
		r.DefArray(2)
		r.DefArray(2)
		kind := r.Uint()
		h.Boundary = kind == 0
		if kind > 1 {
			r.Fail(errByron)
		}
		h.Size = r.Uint32()
	}
	h.Bytes = r.Wrapped()
	if err := r.Done(); err != nil {
		return Header{}, named("header", err)
	}
	return h, nil
}

// AppendBlock appends the envelope of a whole block, #24(block), where block is the pair [block tag, block] as chains are stored.
func AppendBlock(dst, block []byte) []byte { return cbor.AppendWrapped(dst, block) }

// AppendBlockHead appends what comes before the n bytes of the pair [block tag, block].
func AppendBlockHead(dst []byte, n int) []byte {
	return cbor.AppendBytesHead(cbor.AppendTag(dst, 24), n)
}

// ParseBlock opens the payload of a node-to-client RollForward and returns the pair [block tag, block], a view of it.
func ParseBlock(payload []byte) (block []byte, err error) {
	r := cbor.NewReader(payload)
	block = r.Wrapped()
	if err := r.Done(); err != nil {
		return nil, named("block", err)
	}
	return block, nil
}

// BlockEra returns the tag of the pair [block tag, block]: 0 Byron boundary, 1 Byron, 2 Shelley … 8 Dijkstra (wire §5.3).
func BlockEra(block []byte) (tag uint8, err error) {
	r := cbor.NewReader(block)
	r.DefArray(2)
	tag = r.Uint8()
	return tag, named("block", r.Err())
}

// readPayload reads one item of any shape. A block must be one item in its envelope (wire §0). A header stays closed, since
// it is for the ledger to judge; [ParseHeader] makes the same check.
func readPayload(r *cbor.Reader) []byte {
	at := *r
	raw := r.Raw()
	if r.Err() == nil && at.Peek() == cbor.TypeTag && at.Tag() == 24 && at.Peek() == cbor.TypeBytes {
		w := cbor.NewReader(raw)
		w.Wrapped()
		if err := w.Err(); err != nil {
			r.Fail(errors.Unwrap(err))
		}
	}
	return raw
}
