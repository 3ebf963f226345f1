package localstatequery

import (
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Kind says what a [Target] is.
type Kind uint8

// The kinds of target. Only a point can be refused.
const (
	Volatile  Kind = iota // the tip of the node's chain
	Immutable             // the last block that cannot be rolled back
	AtPoint               // a point between these two, both included
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"volatile tip", "immutable tip", "point"}[min(k, 2)]
}

// Target is the state that a client wants to ask about. The zero Target is the volatile tip.
type Target struct {
	Kind  Kind
	Point chainsync.Point // of kind AtPoint
}

// At returns the target at a point.
func At(p chainsync.Point) Target { return Target{AtPoint, p} }

// String describes the target.
func (t Target) String() string {
	if t.Kind == AtPoint {
		return t.Point.String()
	}
	return t.Kind.String()
}

// Failure is why a server cannot acquire a point.
type Failure uint8

// The reasons.
const (
	PointTooOld Failure = iota
	PointNotOnChain
)

// Error describes the failure.
func (f Failure) Error() string {
	if f == PointTooOld {
		return "local-state-query: point is too old"
	}
	return "local-state-query: point is not on the chain"
}

// Fault says that nobody is to blame.
func (f Failure) Fault() string { return "benign" }

// Message is any local state query message: [MsgAcquire], [MsgAcquired], [MsgFailure], [MsgQuery], [MsgResult],
// [MsgReAcquire], [MsgRelease], [MsgDone].
type Message interface {
	// Append appends the message's bytes.
	Append(dst []byte) []byte
}

// The messages of wire §12.4.
type (
	// MsgAcquire asks for a state.
	MsgAcquire struct{ Target Target }
	// MsgAcquired says that queries about it may come.
	MsgAcquired struct{}
	// MsgFailure says why they may not.
	MsgFailure struct{ Reason Failure }
	// MsgQuery is one CBOR item.
	MsgQuery struct{ Query []byte }
	// MsgResult answers it with one CBOR item.
	MsgResult struct{ Result []byte }
	// MsgReAcquire asks for another state.
	MsgReAcquire struct{ Target Target }
	// MsgRelease gives the state up.
	MsgRelease struct{}
	// MsgDone ends the mini-protocol.
	MsgDone struct{}
)

// Append implements [Message].
func (m MsgAcquire) Append(dst []byte) []byte { return AppendAcquire(dst, m.Target) }

// Append implements [Message].
func (MsgAcquired) Append(dst []byte) []byte { return AppendAcquired(dst) }

// Append implements [Message].
func (m MsgFailure) Append(dst []byte) []byte { return AppendFailure(dst, m.Reason) }

// Append implements [Message].
func (m MsgQuery) Append(dst []byte) []byte { return AppendQuery(dst, m.Query) }

// Append implements [Message].
func (m MsgResult) Append(dst []byte) []byte { return AppendResult(dst, m.Result) }

// Append implements [Message].
func (m MsgReAcquire) Append(dst []byte) []byte { return AppendReAcquire(dst, m.Target) }

// Append implements [Message].
func (MsgRelease) Append(dst []byte) []byte { return AppendRelease(dst) }

// Append implements [Message].
func (MsgDone) Append(dst []byte) []byte { return AppendDone(dst) }

// AppendAcquire appends [0, point], [8] or [10].
func AppendAcquire(dst []byte, t Target) []byte {
	return appendTarget(dst, t, TagAcquirePoint, TagAcquireVolatile, TagAcquireImmutable)
}

// AppendReAcquire appends [6, point], [9] or [11].
func AppendReAcquire(dst []byte, t Target) []byte {
	return appendTarget(dst, t, TagReAcquirePoint, TagReAcquireVolatile, TagReAcquireImmutable)
}

func appendTarget(dst []byte, t Target, point, volatile, immutable uint64) []byte {
	switch t.Kind {
	case Volatile:
		return cbor.AppendMessage(dst, 1, volatile)
	case Immutable:
		return cbor.AppendMessage(dst, 1, immutable)
	}
	return chainsync.AppendPoint(cbor.AppendMessage(dst, 2, point), t.Point)
}

// AppendAcquired appends [1].
func AppendAcquired(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagAcquired) }

// AppendFailure appends [2, reason].
func AppendFailure(dst []byte, f Failure) []byte {
	return cbor.AppendUint(cbor.AppendMessage(dst, 2, TagFailure), uint64(f))
}

// AppendQuery appends [3, query]; query is one CBOR item.
func AppendQuery(dst, query []byte) []byte {
	return append(cbor.AppendMessage(dst, 2, TagQuery), query...)
}

// AppendResult appends [4, result]; result is one CBOR item.
func AppendResult(dst, result []byte) []byte { return append(AppendResultHead(dst), result...) }

// AppendResultHead appends what comes before a result, which ends the message.
func AppendResultHead(dst []byte) []byte { return cbor.AppendMessage(dst, 2, TagResult) }

// AppendRelease appends [5].
func AppendRelease(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagRelease) }

// AppendDone appends [7].
func AppendDone(dst []byte) []byte { return cbor.AppendMessage(dst, 1, TagDone) }

var (
	errReason = errors.New("unknown reason")
)

func named(message string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("local-state-query: %s: %w", message, err)
}

// DecodeTarget returns what an Acquire or ReAcquire message asks for; which of the two it is follows from the state.
func DecodeTarget(msg []byte) (t Target, err error) {
	r := cbor.NewReader(msg)
	n := r.AnyDefArray()
	tag := r.Uint()
	switch {
	case n == 1 && (tag == TagAcquireVolatile || tag == TagReAcquireVolatile):
	case n == 1 && (tag == TagAcquireImmutable || tag == TagReAcquireImmutable):
		t.Kind = Immutable
	case n == 2 && (tag == TagAcquirePoint || tag == TagReAcquirePoint):
		t.Kind = AtPoint
		if raw := r.Raw(); r.Err() == nil {
			if t.Point, err = chainsync.DecodePoint(raw); err != nil {
				return Target{}, named("Acquire", err)
			}
		}
	default:
		r.Fail(cbor.ErrTag)
	}
	if err := r.Done(); err != nil {
		return Target{}, named("Acquire", err)
	}
	return t, nil
}

// DecodeFailure returns the reason of a failure.
func DecodeFailure(msg []byte) (f Failure, err error) {
	r := cbor.OpenMessage(msg, 2, TagFailure)
	if f = Failure(r.Uint8()); f > PointNotOnChain {
		r.Fail(errReason)
	}
	return f, named("Failure", r.Done())
}

// DecodeQuery returns the query, a view of msg.
func DecodeQuery(msg []byte) (query []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagQuery)
	query = r.Raw()
	return query, named("Query", r.Done())
}

// DecodeResult returns the result, a view of msg.
func DecodeResult(msg []byte) (result []byte, err error) {
	r := cbor.OpenMessage(msg, 2, TagResult)
	result = r.Raw()
	return result, named("Result", r.Done())
}

// Decode decodes a message that arrived in st.
func Decode(st protocols.State, msg []byte) (m Message, err error) {
	row, err := spec.Step(st, msg)
	if err != nil {
		return nil, fmt.Errorf("local-state-query: %w", err)
	}
	switch row.Tag {
	case TagAcquirePoint, TagAcquireVolatile, TagAcquireImmutable:
		t, err := DecodeTarget(msg)
		return MsgAcquire{t}, err
	case TagReAcquirePoint, TagReAcquireVolatile, TagReAcquireImmutable:
		t, err := DecodeTarget(msg)
		return MsgReAcquire{t}, err
	case TagFailure:
		f, err := DecodeFailure(msg)
		return MsgFailure{f}, err
	case TagQuery:
		query, err := DecodeQuery(msg)
		return MsgQuery{query}, err
	case TagResult:
		result, err := DecodeResult(msg)
		return MsgResult{result}, err
	case TagAcquired:
		m = MsgAcquired{}
	case TagRelease:
		m = MsgRelease{}
	case TagDone:
		m = MsgDone{}
	}
	r := cbor.OpenMessage(msg, 1, row.Tag)
	return m, named(row.Message, r.Done())
}
