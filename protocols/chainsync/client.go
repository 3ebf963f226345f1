package chainsync

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Client follows a peer's chain. Requests are pipelined underneath: while the peer is ahead, between the low and the high mark of
// them are under way, and each answer makes room for the next; at the peer's tip there is one (wire §6). Not for concurrent use.
type Client struct {
	opener    protocols.Opener
	session   *protocols.Session
	low, high int

	tip     Tip
	heard   bool   // tip is of this run
	awaited bool   // the last answer followed an AwaitReply: nothing further is ready
	at      uint64 // number of the block the last answer was
	placed  bool   // at is known
	request [2]byte
}

// NewClient returns a client on a connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client {
	c := &Client{opener: o}
	c.SetMarks(LowMark, HighMark)
	return c
}

// SetMarks changes how many requests are kept under way; 1, 1 asks for one change at a time. A node-to-node server need not bear
// more than 300, and this end's buffer has room for that many answers.
func (c *Client) SetMarks(low, high int) {
	c.low = max(low, 1)
	c.high = max(high, c.low)
}

// Event is a change of the peer's chain.
type Event struct {
	Kind    UpdateKind // Forward or Backward
	Payload []byte     // Forward: the enveloped header, or block on node-to-client, see [ParseHeader] and [ParseBlock]; valid until the next event
	Point   Point      // Backward: where the chain continues from
	Tip     Tip        // the peer's, when it answered
}

// NoIntersectionError says that the peer's chain has none of the points that were asked for.
type NoIntersectionError struct{ Tip Tip }

// Error names the peer's tip.
func (e *NoIntersectionError) Error() string {
	return fmt.Sprintf("chain-sync: none of the points is on the peer's chain, whose tip is %v", e.Tip)
}

// Fault says that nobody is to blame.
func (e *NoIntersectionError) Fault() string { return "benign" }

// Follow yields every change of the peer's chain from the first of the points that is on it; the first event is Backward to that
// point. No points means the origin. It ends with an error, which is a [*NoIntersectionError], ctx's or the connection's; or when
// the loop is left: what was asked for and not yet answered is then thrown away by the next call.
func (c *Client) Follow(ctx context.Context, points []Point) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if len(points) == 0 {
			points = []Point{Origin}
		}
		if _, _, err := c.FindIntersect(ctx, points); err != nil {
			yield(Event{}, err)
			return
		}
		for {
			ev, err := c.Next(ctx)
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// open sees to it that there is a session with nothing outstanding.
func (c *Client) open(ctx context.Context) error {
	if c.session == nil {
		s, err := c.opener.Open(definition(c.opener.Negotiated()), mux.Initiator)
		if err != nil {
			return err
		}
		c.session = s
	}
	c.placed, c.awaited = false, false
	for c.session.Outstanding() > 0 {
		if _, err := c.receive(ctx); err != nil {
			return err
		}
	}
	return nil
}

// FindIntersect asks for the first of the points that is on the peer's chain; the next event is then Backward to it. An empty
// list always fails with a [*NoIntersectionError], which has the peer's tip.
func (c *Client) FindIntersect(ctx context.Context, points []Point) (Point, Tip, error) {
	if len(points) > MaxPoints {
		return Point{}, Tip{}, fmt.Errorf("chain-sync: %w", errPoints)
	}
	if err := c.open(ctx); err != nil {
		return Point{}, Tip{}, err
	}
	if err := c.session.Send(ctx, AppendFindIntersect(nil, points)); err != nil {
		return Point{}, Tip{}, err
	}
	m, err := c.session.Recv(ctx)
	if err != nil {
		return Point{}, Tip{}, err
	}
	c.heard = true
	if m.Tag == TagIntersectNotFound {
		if c.tip, err = DecodeIntersectNotFound(m.Raw); err != nil {
			return Point{}, Tip{}, c.session.Fail(err)
		}
		return Point{}, c.tip, &NoIntersectionError{c.tip}
	}
	at, tip, err := DecodeIntersectFound(m.Raw)
	if err != nil {
		return Point{}, Tip{}, c.session.Fail(err)
	}
	for _, p := range points {
		if p == at {
			c.tip = tip
			return at, tip, nil
		}
	}
	return Point{}, Tip{}, c.session.Fail(fmt.Errorf("intersection %v was not asked for", at))
}

// Tip asks for the peer's tip and changes nothing else.
func (c *Client) Tip(ctx context.Context) (Tip, error) {
	_, tip, err := c.FindIntersect(ctx, nil)
	var none *NoIntersectionError
	if err == nil || errors.As(err, &none) {
		return tip, nil
	}
	return Tip{}, err
}

// Next returns the next change. Without a FindIntersect before, the first one is Backward to the origin.
func (c *Client) Next(ctx context.Context) (Event, error) {
	if c.session == nil {
		if err := c.open(ctx); err != nil {
			return Event{}, err
		}
	}
	n := c.session.Outstanding()
	if n <= c.low { // n == 0 too
		if err := c.ask(ctx, c.want(n, min(c.low+1, c.high))-n); err != nil {
			return Event{}, err
		}
	}
	return c.receive(ctx)
}

// want returns how many requests should be under way, at least one: up to limit while the peer is ahead by that many.
func (c *Client) want(n, limit int) int {
	switch {
	case !c.heard, c.awaited:
		limit = 1
	case c.placed && c.tip.Block <= c.at:
		limit = 1
	case c.placed:
		limit = int(min(c.tip.Block-c.at, uint64(limit)))
	}
	return max(limit, n, 1)
}

// ask pipelines requests.
func (c *Client) ask(ctx context.Context, n int) error {
	for range n {
		if err := c.session.Pipeline(ctx, AppendRequestNext(c.request[:0])); err != nil {
			return err
		}
	}
	return nil
}

// receive returns the answer to the oldest request. Before it waits it fills the pipeline up to the high mark.
func (c *Client) receive(ctx context.Context) (Event, error) {
	awaited := false
	for {
		m, ok, err := c.session.TryRecv()
		if err != nil {
			return Event{}, err
		}
		if !ok {
			if !awaited {
				n := c.session.Outstanding()
				if err := c.ask(ctx, c.want(n, c.high)-n); err != nil {
					return Event{}, err
				}
			}
			if m, err = c.session.Recv(ctx); err != nil {
				return Event{}, err
			}
		}
		if m.Tag == TagAwaitReply {
			awaited = true
			continue
		}
		ev, err := c.event(m)
		c.awaited, c.heard = awaited, true
		return ev, err
	}
}

func (c *Client) event(m protocols.Message) (ev Event, err error) {
	if m.Tag == TagRollForward {
		ev.Kind = Forward
		ev.Payload, ev.Tip, err = DecodeRollForward(m.Raw)
	} else {
		ev.Kind = Backward
		ev.Point, ev.Tip, err = DecodeRollBackward(m.Raw)
	}
	if err != nil {
		return Event{}, c.session.Fail(err)
	}
	c.tip = ev.Tip
	c.at, c.placed = blockNumber(ev.Payload, c.session.Negotiated().NodeToClient)
	if ev.Kind == Backward { // not more blocks than slots ahead
		c.at, c.placed = ev.Tip.Block-min(ev.Tip.Block, ev.Tip.Slot-min(ev.Tip.Slot, ev.Point.Slot)), true
	}
	return ev, nil
}

// Finish collects what is outstanding, says Done and gives the stream back. A peer at its tip answers only when its chain
// changes, so ctx should have a limit; when it ends first, the connection is ended.
func (c *Client) Finish(ctx context.Context) error {
	if c.session == nil {
		return nil
	}
	s := c.session
	err := c.open(ctx)
	if err == nil {
		err = s.Send(ctx, AppendDone(nil))
	}
	c.session = nil
	s.End()
	return err
}

// blockNumber looks for the number of a block in its enveloped header, or in the enveloped block, and reads nothing else. It only
// serves to decide how far to run ahead, so anything unknown is just that; Byron, where the number is elsewhere, is near no tip.
func blockNumber(payload []byte, local bool) (uint64, bool) {
	r := cbor.NewReader(payload)
	if !local {
		r.DefArray(2)
		if r.Uint() == 0 {
			return 0, false
		}
	}
	r.Tag()
	r = cbor.NewReader(r.Bytes())
	if local {
		r.DefArray(2)
		if r.Uint() < 2 {
			return 0, false
		}
		r.Array()
	}
	r.DefArray(2) // header: body and signature
	r.Array()
	n := r.Uint()
	return n, r.Err() == nil
}
