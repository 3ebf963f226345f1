package blockfetch

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Point is a place on a chain.
type Point = chainsync.Point

// Range is a run of blocks, both ends included; neither can be the origin.
type Range struct{ From, To Point }

// String names both ends.
func (r Range) String() string { return r.From.String() + " to " + r.To.String() }

const defaultInFlight = 10

// Client fetches blocks. Not for concurrent use.
type Client struct {
	opener   protocols.Opener
	session  *protocols.Session
	inFlight int
	check    func(r Range, i int, block []byte) error
	asked    []Range // under way, the oldest first
	next     int     // index of the next block within the oldest range
	buf      []byte
}

// NewClient returns a client on a connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client { return &Client{opener: o, inFlight: defaultInFlight} }

// SetInFlight changes how many ranges are kept under way, 1 to [MaxInFlight]; default 10.
func (c *Client) SetInFlight(n int) { c.inFlight = min(max(n, 1), MaxInFlight) }

// SetCheck has every block examined before it is yielded: f gets the range, the block's index in it and the block. An error from f says that the peer sent something else than what was asked for, and ends the connection.
func (c *Client) SetCheck(f func(r Range, i int, block []byte) error) { c.check = f }

// NoBlocksError says that the peer does not have a range. It is no offence.
type NoBlocksError struct{ Range Range }

// Error names the range.
func (e *NoBlocksError) Error() string { return fmt.Sprintf("block-fetch: peer has no %v", e.Range) }

// Fault says that nobody is to blame.
func (e *NoBlocksError) Fault() string { return "benign" }

func absent(err error) bool {
	var none *NoBlocksError
	return errors.As(err, &none)
}

// The client's rules (wire §7). They come wrapped in a [*protocols.Error].
var (
	ErrTooFewBlocks  = errors.New("block-fetch: batch done before the last block of the range")
	ErrTooManyBlocks = errors.New("block-fetch: block after the last one of the range")
	ErrOrigin        = errors.New("block-fetch: the origin is no block")
)

// Range yields the blocks of one range, each as the pair [block tag, block] that chains are stored as, valid until the next one. The peer
// sends as fast as the connection takes it, and what has arrived and was not taken may be [IngressLimit] bytes at most, beyond which the
// connection ends: who may fall behind asks for ranges of less than that, taken together.
func (c *Client) Range(ctx context.Context, from, to Point) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for b, err := range c.Ranges(ctx, func(yield func(Range) bool) { yield(Range{from, to}) }) {
			if !yield(b.Bytes, err) {
				return
			}
		}
	}
}

// Block is one block of a range.
type Block struct {
	Range Range
	Index int
	Bytes []byte // the pair [block tag, block], valid until the next one
}

// Ranges yields the blocks of many ranges in order, and asks for the next ranges while the first are still coming, so that no round
// trip is waited for. A range that the peer does not have yields a [*NoBlocksError], after which the others go on if the loop
// does; any other error is the last. What is under way when the loop is left is thrown away by the next call.
func (c *Client) Ranges(ctx context.Context, ranges iter.Seq[Range]) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		if err := c.open(ctx); err != nil {
			yield(Block{}, err)
			return
		}
		next, stop := iter.Pull(ranges)
		defer stop()
		for more := true; ; {
			for more && len(c.asked) < c.inFlight {
				var r Range
				if r, more = next(); !more {
					break
				}
				if err := c.ask(ctx, r); err != nil {
					yield(Block{Range: r}, err)
					return
				}
			}
			if len(c.asked) == 0 {
				return
			}
			b, ok, err := c.receive(ctx)
			if (ok || err != nil) && !yield(b, err) || err != nil && !absent(err) {
				return
			}
		}
	}
}

var errFinished = errors.New("block-fetch: the client has been finished")

// open sees to it that there is a session with nothing under way.
func (c *Client) open(ctx context.Context) error {
	if c.session == nil && c.opener == nil {
		return errFinished
	}
	if c.session == nil {
		s, err := c.opener.Open(NodeToNode(), mux.Initiator)
		if err != nil {
			return err
		}
		c.session = s
	}
	for len(c.asked) > 0 {
		if _, _, err := c.receive(ctx); err != nil && !absent(err) {
			return err
		}
	}
	return nil
}

func (c *Client) ask(ctx context.Context, r Range) error {
	if r.From.IsOrigin() || r.To.IsOrigin() {
		return ErrOrigin
	}
	c.buf = AppendRequestRange(c.buf[:0], r.From, r.To)
	if err := c.session.Pipeline(ctx, c.buf); err != nil {
		return err
	}
	c.asked = append(c.asked, r)
	return nil
}

// receive takes one message for the oldest range; ok says that it was a block.
func (c *Client) receive(ctx context.Context) (b Block, ok bool, err error) {
	m, err := c.session.Recv(ctx)
	if err != nil {
		return b, false, err
	}
	b.Range, b.Index = c.asked[0], c.next
	switch m.Tag {
	case TagBlock:
		if b.Bytes, err = DecodeBlock(m.Raw); err == nil && c.next > 0 && b.Range.From == b.Range.To {
			err = ErrTooManyBlocks
		}
		if err == nil && c.check != nil {
			err = c.check(b.Range, c.next, b.Bytes)
		}
		if err != nil {
			return Block{}, false, c.session.Fail(err)
		}
		c.next++
		return b, true, nil
	case TagNoBlocks:
		c.done()
		return b, false, &NoBlocksError{b.Range}
	case TagBatchDone:
		if c.next == 0 {
			return b, false, c.session.Fail(ErrTooFewBlocks)
		}
		c.done()
	}
	return b, false, nil
}

func (c *Client) done() {
	c.asked = c.asked[:copy(c.asked, c.asked[1:])]
	c.next = 0
}

// Finish receives what is under way, says Done and gives the stream back.
func (c *Client) Finish(ctx context.Context) error {
	if c.session == nil {
		return nil
	}
	s := c.session
	err := c.open(ctx)
	if err == nil {
		err = s.Send(ctx, AppendClientDone(nil))
	}
	c.session, c.asked, c.next = nil, nil, 0
	s.End()
	return err
}
