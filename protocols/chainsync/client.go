package chainsync

import (
	"bytes"
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
	ahead   uint64  // how many answers are ready at the peer, as far as we know; at least one is asked for
	waiting bool    // the oldest request has been answered with AwaitReply
	kept    []Event // answers collected to make room for a FindIntersect that moved nothing
	request [2]byte
	trusted bool
}

// NewClient returns a client on a connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client {
	c := &Client{opener: o}
	c.SetMarks(LowMark, HighMark)
	return c
}

// SetTrusted says that the peer may take as long as it likes to have a new block: its time limit in Next/MustReply does not apply, which
// is for peers that the topology marks as trustable (wire §5.1). It has effect from the next run on.
func (c *Client) SetTrusted(trusted bool) { c.trusted = trusted }

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

var errFinished = errors.New("chain-sync: the client has been finished")

// open sees to it that there is a session.
func (c *Client) open() error {
	switch {
	case c.session != nil:
		return nil
	case c.opener == nil:
		return errFinished
	}
	mp := definition(c.opener.Negotiated())
	if c.trusted {
		mp = Trusted(mp)
	}
	s, err := c.opener.Open(mp, mux.Initiator)
	if err != nil {
		return err
	}
	c.session, c.waiting, c.kept, c.ahead = s, false, nil, 1
	return nil
}

// collect receives what is outstanding and keeps it for Next.
func (c *Client) collect(ctx context.Context) error {
	for c.session.Outstanding() > 0 {
		c.ahead = 1 // no further requests
		ev, err := c.receive(ctx)
		if err != nil {
			return err
		}
		ev.Payload = bytes.Clone(ev.Payload)
		c.kept = append(c.kept, ev)
	}
	return nil
}

// FindIntersect asks for the first of the points that is on the peer's chain; the next event is then Backward to it. An empty
// list always fails with a [*NoIntersectionError], which has the peer's tip, and nothing moves. Requests under way are collected
// first, which at the peer's tip takes until its chain changes; their answers are still to come from Next when nothing has moved.
func (c *Client) FindIntersect(ctx context.Context, points []Point) (Point, Tip, error) {
	if len(points) > MaxPoints {
		return Point{}, Tip{}, fmt.Errorf("chain-sync: %w", errPoints)
	}
	if err := c.open(); err != nil {
		return Point{}, Tip{}, err
	}
	if err := c.collect(ctx); err != nil {
		return Point{}, Tip{}, err
	}
	if err := c.session.Send(ctx, AppendFindIntersect(nil, points)); err != nil {
		return Point{}, Tip{}, err
	}
	m, err := c.session.Recv(ctx)
	if err != nil {
		return Point{}, Tip{}, err
	}
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
			c.tip, c.kept, c.ahead = tip, nil, 1
			if at != tip.Point { // the roll back to it, and a block
				c.ahead = 2
			}
			return at, tip, nil
		}
	}
	return Point{}, Tip{}, c.session.Fail(fmt.Errorf("intersection %v was not asked for", at))
}

// Tip asks for the peer's tip and changes nothing else. It waits like [Client.FindIntersect].
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
	if err := c.open(); err != nil {
		return Event{}, err
	}
	if len(c.kept) > 0 {
		ev := c.kept[0]
		if c.kept = c.kept[1:]; len(c.kept) == 0 {
			c.kept = nil
		}
		return ev, nil
	}
	// At the low mark the pipeline is filled again, and what was asked leaves at once, even while answers lie here that have come
	// together: the peer always has at least as many requests to go on with.
	if n := c.session.Outstanding(); n == 0 || n < c.low {
		if err := c.ask(ctx); err != nil {
			return Event{}, err
		}
		if err := c.session.Flush(); err != nil {
			return Event{}, err
		}
	}
	return c.receive(ctx)
}

// ask pipelines requests for as many answers as the peer has ready, up to the high mark, and for one in any case.
func (c *Client) ask(ctx context.Context) error {
	want := int(min(max(c.ahead, 1), uint64(c.high)))
	for n := c.session.Outstanding(); n < want; n++ {
		if err := c.session.Pipeline(ctx, AppendRequestNext(c.request[:0])); err != nil {
			return err
		}
	}
	return nil
}

// receive returns the answer to the oldest request. Before it waits it fills the pipeline up to the high mark.
func (c *Client) receive(ctx context.Context) (Event, error) {
	for {
		m, ok, err := c.session.TryRecv()
		if err != nil {
			return Event{}, err
		}
		if !ok {
			if !c.waiting {
				if err := c.ask(ctx); err != nil {
					return Event{}, err
				}
			}
			if m, err = c.session.Recv(ctx); err != nil {
				return Event{}, err
			}
		}
		if m.Tag == TagAwaitReply {
			c.waiting = true
			continue
		}
		return c.event(m)
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
	switch at, known := blockNumber(ev.Payload, c.session.Negotiated().NodeToClient); {
	case ev.Kind == Backward, c.waiting: // how many blocks follow, if any, the next answer says
		c.ahead = 1
	case known:
		c.ahead = ev.Tip.Block - min(ev.Tip.Block, at)
	default:
		c.ahead = uint64(c.high)
	}
	c.waiting = false
	return ev, nil
}

// Finish collects what is outstanding, says Done and gives the stream back. A peer at its tip answers only when its chain
// changes, so ctx should have a limit; when it ends first, the connection is ended.
func (c *Client) Finish(ctx context.Context) error {
	if c.session == nil {
		return nil
	}
	s := c.session
	err := c.collect(ctx)
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
