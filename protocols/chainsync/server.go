package chainsync

import (
	"context"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Form is what a cursor's payloads are.
type Form uint8

// Node-to-node chain-sync carries headers, node-to-client chain-sync whole blocks, each in its envelope (wire §5.4).
const (
	Headers Form = iota
	Blocks
)

// Source is a chain that can be served. Cursor is called once for every run of every client and may be called concurrently.
type Source interface {
	Cursor(form Form) Cursor
}

// Cursor is the place of one client on a [Source]. It is used by one goroutine at a time. If it has a method Close() error, that is
// called when the run ends.
type Cursor interface {
	// Intersect moves to the first of the points that is on the chain, and returns it and the chain's tip; without one, ok is
	// false and the cursor stays where it was. The next event after a move is Backward to that point.
	Intersect(points []Point) (at Point, tip Tip, ok bool)
	// Next returns the next change for this client: Forward, Backward after a switch of fork, or AtTip with a channel that is
	// closed when there is more. A fresh cursor's first event is Backward to the origin. It does not wait.
	Next() (Update, error)
}

// UpdateKind tells the three answers to a request apart.
type UpdateKind uint8

// The kinds of an [Update].
const (
	AtTip    UpdateKind = iota // nothing to say until Changed is closed
	Forward                    // the next block
	Backward                   // the client must go back to Point
)

// String returns "at tip", "forward" or "backward".
func (k UpdateKind) String() string { return [...]string{"at tip", "forward", "backward"}[min(k, 2)] }

// Update is what a [Cursor] says next.
type Update struct {
	Kind    UpdateKind
	Point   Point           // Backward: where to go back to
	Payload []byte          // Forward: header or block in its envelope, valid until the next call
	Tip     Tip             // the chain's, now
	Changed <-chan struct{} // AtTip: closed when there is more to say; nil for a chain that never changes
}

// Serve answers one client on a stream of o that nobody answers yet, until it is done. Hosts that serve every connection give
// [Responder] to their listener instead.
func Serve(ctx context.Context, o protocols.Opener, src Source) error {
	s, err := o.Open(definition(o.Negotiated()), mux.Responder)
	if err != nil {
		return err
	}
	return s.Run(ctx, func(ctx context.Context, s *protocols.Session) error { return serve(ctx, s, src) })
}

// serve answers requests strictly in order (wire §6). Answers leave together as long as further requests are there.
func serve(ctx context.Context, s *protocols.Session, src Source) error {
	form := Headers
	if s.Negotiated().NodeToClient {
		form = Blocks
	}
	cur := src.Cursor(form)
	if c, ok := cur.(interface{ Close() error }); ok {
		defer c.Close()
	}
	var points []Point
	var buf []byte
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			return err
		}
		switch m.Tag {
		case TagRequestNext:
			buf, err = answer(ctx, s, cur, buf)
		case TagFindIntersect:
			if points, err = DecodeFindIntersect(points[:0], m.Raw); err != nil {
				return s.Fail(err)
			}
			if at, tip, ok := cur.Intersect(points); ok {
				buf = AppendIntersectFound(buf[:0], at, tip)
			} else {
				buf = AppendIntersectNotFound(buf[:0], tip)
			}
			err = s.Send(ctx, buf)
		case TagDone:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answer answers one RequestNext, waiting for the chain to change if need be. It returns buf, grown perhaps.
func answer(ctx context.Context, s *protocols.Session, cur Cursor, buf []byte) ([]byte, error) {
	for awaiting := false; ; awaiting = true {
		u, err := cur.Next()
		if err != nil {
			return buf, err
		}
		switch u.Kind {
		case Forward:
			buf = AppendTip(AppendRollForwardHead(buf[:0]), u.Tip)
			return buf, s.SendParts(ctx, buf[:2], u.Payload, buf[2:])
		case Backward:
			buf = AppendRollBackward(buf[:0], u.Point, u.Tip)
			return buf, s.Queue(ctx, buf)
		}
		if !awaiting {
			if err := s.Send(ctx, AppendAwaitReply(buf[:0])); err != nil {
				return buf, err
			}
		}
		select {
		case <-u.Changed:
		case <-ctx.Done():
			return buf, context.Cause(ctx)
		case <-s.Done():
			return buf, s.EndError()
		}
	}
}
