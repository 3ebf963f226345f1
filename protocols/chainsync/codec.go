package chainsync

import (
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
)

// Message is any chain-sync message: [MsgRequestNext], [MsgAwaitReply], [MsgRollForward], [MsgRollBackward],
// [MsgFindIntersect], [MsgIntersectFound], [MsgIntersectNotFound], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §6.
type (
	// MsgRequestNext asks for the next change of the chain.
	MsgRequestNext struct{}
	// MsgAwaitReply says that the client is at the server's tip.
	MsgAwaitReply struct{}
	// MsgRollForward extends the chain. Payload is the enveloped header or block, see [ParseHeader] and [ParseBlock].
	MsgRollForward struct {
		Payload []byte
		Tip     Tip
	}
	// MsgRollBackward goes back to a point.
	MsgRollBackward struct {
		Point Point
		Tip   Tip
	}
	// MsgFindIntersect names points in the order of preference.
	MsgFindIntersect struct{ Points []Point }
	// MsgIntersectFound names the first of the client's points that is on the server's chain.
	MsgIntersectFound struct {
		Point Point
		Tip   Tip
	}
	// MsgIntersectNotFound says that there is none.
	MsgIntersectNotFound struct{ Tip Tip }
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (MsgRequestNext) Append(dst []byte) []byte { return AppendRequestNext(dst) }

// Append implements [Message].
func (MsgAwaitReply) Append(dst []byte) []byte { return AppendAwaitReply(dst) }

// Append implements [Message].
func (m MsgRollForward) Append(dst []byte) []byte { return AppendRollForward(dst, m.Payload, m.Tip) }

// Append implements [Message].
func (m MsgRollBackward) Append(dst []byte) []byte { return AppendRollBackward(dst, m.Point, m.Tip) }

// Append implements [Message].
func (m MsgFindIntersect) Append(dst []byte) []byte { return AppendFindIntersect(dst, m.Points) }

// Append implements [Message].
func (m MsgIntersectFound) Append(dst []byte) []byte {
	return AppendIntersectFound(dst, m.Point, m.Tip)
}

// Append implements [Message].
func (m MsgIntersectNotFound) Append(dst []byte) []byte {
	return AppendIntersectNotFound(dst, m.Tip)
}

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendRequestNext appends [0].
func AppendRequestNext(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagRequestNext) }

// AppendAwaitReply appends [1].
func AppendAwaitReply(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagAwaitReply) }

// AppendDone appends [7].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

// AppendRollForward appends [2, payload, tip]; payload is one CBOR item.
func AppendRollForward(dst, payload []byte, tip Tip) []byte {
	return AppendTip(append(AppendRollForwardHead(dst), payload...), tip)
}

// AppendRollForwardHead appends what comes before the payload, for a sender that has payload and tip apart.
func AppendRollForwardHead(dst []byte) []byte { return cbor.AppendMessage(dst, 3, TagRollForward) }

// AppendRollBackward appends [3, point, tip].
func AppendRollBackward(dst []byte, p Point, tip Tip) []byte {
	return AppendTip(AppendPoint(cbor.AppendMessage(dst, 3, TagRollBackward), p), tip)
}

// AppendFindIntersect appends [4, points], the list as the reference writes it: definite when empty, indefinite otherwise.
func AppendFindIntersect(dst []byte, points []Point) []byte {
	dst = cbor.AppendMessage(dst, 2, TagFindIntersect)
	if len(points) == 0 {
		return cbor.AppendArray(dst, 0)
	}
	dst = cbor.AppendIndefArray(dst)
	for _, p := range points {
		dst = AppendPoint(dst, p)
	}
	return cbor.AppendBreak(dst)
}

// AppendIntersectFound appends [5, point, tip].
func AppendIntersectFound(dst []byte, p Point, tip Tip) []byte {
	return AppendTip(AppendPoint(cbor.AppendMessage(dst, 3, TagIntersectFound), p), tip)
}

// AppendIntersectNotFound appends [6, tip].
func AppendIntersectNotFound(dst []byte, tip Tip) []byte {
	return AppendTip(cbor.AppendMessage(dst, 2, TagIntersectNotFound), tip)
}

var (
	errPoints = fmt.Errorf("more than %d points", MaxPoints)
)

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("chain-sync: %s: %w", message, err)
}

// DecodeRollForward returns the payload, a view of msg, and the tip. CBOR in CBOR in the payload must be exactly one item;
// otherwise the payload is not looked into. It does not allocate.
func DecodeRollForward(msg []byte) (payload []byte, tip Tip, err error) {
	r := cbor.OpenMessage(msg, 3, TagRollForward)
	payload = readPayload(&r)
	tip = readTip(&r)
	return payload, tip, named("RollForward", r.Done())
}

// DecodeRollBackward returns the point to go back to and the tip. It does not allocate.
func DecodeRollBackward(msg []byte) (Point, Tip, error) {
	r := cbor.OpenMessage(msg, 3, TagRollBackward)
	p, tip := readPoint(&r), readTip(&r)
	return p, tip, named("RollBackward", r.Done())
}

// DecodeFindIntersect appends the points, at most [MaxPoints], to dst. Both forms of list are accepted.
func DecodeFindIntersect(dst []Point, msg []byte) ([]Point, error) {
	r := cbor.OpenMessage(msg, 2, TagFindIntersect)
	n := 0
	for l := r.List(); r.More(&l); n++ {
		if n == MaxPoints {
			r.Fail(errPoints)
			break
		}
		dst = append(dst, readPoint(&r))
	}
	if err := r.Done(); err != nil {
		return nil, named("FindIntersect", err)
	}
	return dst, nil
}

// DecodeIntersectFound returns the point and the tip.
func DecodeIntersectFound(msg []byte) (Point, Tip, error) {
	r := cbor.OpenMessage(msg, 3, TagIntersectFound)
	p, tip := readPoint(&r), readTip(&r)
	return p, tip, named("IntersectFound", r.Done())
}

// DecodeIntersectNotFound returns the tip.
func DecodeIntersectNotFound(msg []byte) (Tip, error) {
	r := cbor.OpenMessage(msg, 2, TagIntersectNotFound)
	tip := readTip(&r)
	return tip, named("IntersectNotFound", r.Done())
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (Message, error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("chain-sync: %w", err)
	}
	switch row.Tag {
	case TagRollForward:
		payload, tip, err := DecodeRollForward(msg)
		return MsgRollForward{payload, tip}, err
	case TagRollBackward:
		p, tip, err := DecodeRollBackward(msg)
		return MsgRollBackward{p, tip}, err
	case TagFindIntersect:
		points, err := DecodeFindIntersect(nil, msg)
		return MsgFindIntersect{points}, err
	case TagIntersectFound:
		p, tip, err := DecodeIntersectFound(msg)
		return MsgIntersectFound{p, tip}, err
	case TagIntersectNotFound:
		tip, err := DecodeIntersectNotFound(msg)
		return MsgIntersectNotFound{tip}, err
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	var m Message = MsgDone{}
	switch row.Tag {
	case TagRequestNext:
		m = MsgRequestNext{}
	case TagAwaitReply:
		m = MsgAwaitReply{}
	}
	return m, named(row.Message, r.Done())
}
