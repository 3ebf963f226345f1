package blockfetch

import (
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Message is any block-fetch message: [MsgRequestRange], [MsgClientDone], [MsgStartBatch], [MsgNoBlocks], [MsgBlock],
// [MsgBatchDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §7.
type (
	// MsgRequestRange asks for the blocks between two points, both included.
	MsgRequestRange struct{ From, To chainsync.Point }
	// MsgClientDone ends the mini-protocol.
	MsgClientDone struct{}
	// MsgStartBatch announces at least one block.
	MsgStartBatch struct{}
	// MsgNoBlocks says that the server does not have the range.
	MsgNoBlocks struct{}
	// MsgBlock is one block: the pair [block tag, block].
	MsgBlock struct{ Block []byte }
	// MsgBatchDone ends a range.
	MsgBatchDone struct{}
)

// Append implements [Message].
func (m MsgRequestRange) Append(dst []byte) []byte { return AppendRequestRange(dst, m.From, m.To) }

// Append implements [Message].
func (MsgClientDone) Append(dst []byte) []byte { return AppendClientDone(dst) }

// Append implements [Message].
func (MsgStartBatch) Append(dst []byte) []byte { return AppendStartBatch(dst) }

// Append implements [Message].
func (MsgNoBlocks) Append(dst []byte) []byte { return AppendNoBlocks(dst) }

// Append implements [Message].
func (m MsgBlock) Append(dst []byte) []byte { return AppendBlock(dst, m.Block) }

// Append implements [Message].
func (MsgBatchDone) Append(dst []byte) []byte { return AppendBatchDone(dst) }

// AppendRequestRange appends [0, from, to].
func AppendRequestRange(dst []byte, from, to chainsync.Point) []byte {
	return chainsync.AppendPoint(chainsync.AppendPoint(cbor.AppendMessage(dst, 3, TagRequestRange), from), to)
}

// AppendClientDone appends [1].
func AppendClientDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagClientDone) }

// AppendStartBatch appends [2].
func AppendStartBatch(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagStartBatch) }

// AppendNoBlocks appends [3].
func AppendNoBlocks(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagNoBlocks) }

// AppendBlock appends [4, #24(block)]; block is the pair [block tag, block], one CBOR item.
func AppendBlock(dst, block []byte) []byte { return append(AppendBlockHead(dst, len(block)), block...) }

// AppendBlockHead appends what comes before the n bytes of a block, which end the message.
func AppendBlockHead(dst []byte, n int) []byte {
	return chainsync.AppendBlockHead(cbor.AppendMessage(dst, 2, TagBlock), n)
}

// AppendBatchDone appends [5].
func AppendBatchDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagBatchDone) }

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("block-fetch: %s: %w", message, err)
}

// DecodeRequestRange returns the ends of the range. Either may be the origin, which no server can fetch: that is for the
// server to refuse.
func DecodeRequestRange(msg []byte) (from, to chainsync.Point, err error) {
	r := cbor.OpenMessage(msg, 3, TagRequestRange)
	a, b := r.Raw(), r.Raw()
	if err := r.Done(); err != nil {
		return from, to, named("RequestRange", err)
	}
	if from, err = chainsync.DecodePoint(a); err == nil {
		to, err = chainsync.DecodePoint(b)
	}
	return from, to, named("RequestRange", err)
}

// DecodeBlock returns the pair [block tag, block], a view of msg, which is exactly one CBOR item. It does not allocate.
func DecodeBlock(msg []byte) (block []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagBlock)
	block = r.Wrapped()
	if err := r.Done(); err != nil {
		return nil, named("Block", err)
	}
	return block, nil
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("block-fetch: %w", err)
	}
	var m Message
	switch row.Tag {
	case TagRequestRange:
		from, to, err := DecodeRequestRange(msg)
		return MsgRequestRange{from, to}, err
	case TagBlock:
		block, err := DecodeBlock(msg)
		return MsgBlock{block}, err
	case TagClientDone:
		m = MsgClientDone{}
	case TagStartBatch:
		m = MsgStartBatch{}
	case TagNoBlocks:
		m = MsgNoBlocks{}
	case TagBatchDone:
		m = MsgBatchDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
