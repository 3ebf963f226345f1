package chain

import (
	"sync/atomic"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// state is a chain as of one change.
type state struct {
	View
	changed chan struct{} // closed by the next change; nil when there will be none
	closed  bool
}

// current is where a Cursor finds the latest state.
type current = atomic.Pointer[state]

// What a [Cursor] reads: header payloads for node-to-node chain-sync, block payloads for node-to-client chain-sync.
const (
	Headers = chainsync.Headers
	Blocks  = chainsync.Blocks
)

// The kinds of an [Event].
const (
	AtTip    = chainsync.AtTip
	Forward  = chainsync.Forward
	Backward = chainsync.Backward
)

// Event is what a [Cursor] says next. Its Point is the block (Forward), where to go back to (Backward) or where the follower is
// (AtTip). Changed is nil for a chain that never changes.
type Event = chainsync.Update

// Cursor follows a chain on behalf of one client (wire §6): it starts at origin, and its first answer is Backward to
// where it starts. When the chain switches to a fork the answer is Backward to the last block that both have in common,
// however many switches there were since the last call. It has no goroutine and no queue and need not be closed: it keeps
// one snapshot and one buffer, at most the largest payload it read. Not safe for concurrent use; any number of cursors
// may follow a chain.
type Cursor struct {
	head    *current
	kind    chainsync.Form
	seen    *state // the chain on which pos counts
	pos     int    // blocks the client has, or will once it heard Backward
	pending bool   // Backward to pos is still to be said
	buf     []byte
}

func newCursor(head *current, kind chainsync.Form) *Cursor {
	return &Cursor{head: head, kind: kind, seen: head.Load(), pending: true}
}

// Intersect puts the cursor on the first of the points that is on the chain; its next answer is Backward to there. If none
// is, the cursor stays as it is. The tip is the chain's in either case.
func (c *Cursor) Intersect(points []Point) (p Point, tip Tip, ok bool) {
	st := c.head.Load()
	p, i, ok := st.Intersect(points)
	if ok {
		c.seen, c.pos, c.pending = st, i+1, true
	}
	return p, st.Tip(), ok
}

// Next returns what comes next. It never waits: AtTip carries the channel to wait on. An error (a file that cannot be read,
// or ErrClosed) leaves the cursor where it is.
func (c *Cursor) Next() (Event, error) {
	st := c.head.Load()
	if st.closed {
		return Event{}, ErrClosed
	}
	if st != c.seen {
		n, err := c.seen.idx.common(&st.idx, c.pos)
		if err != nil {
			return Event{}, err
		}
		if n < c.pos {
			c.pos, c.pending = n, true
		}
		c.seen = st
	}
	ev := Event{Tip: st.Tip()}
	if c.pos > 0 {
		e, err := st.idx.at(c.pos - 1)
		if err != nil {
			return Event{}, err
		}
		ev.Point = e.point()
	}
	switch {
	case c.pending:
		c.pending = false
		ev.Kind = Backward
	case c.pos == st.idx.n:
		ev.Kind, ev.Changed = AtTip, st.changed
	default:
		e, err := st.idx.at(c.pos)
		if err != nil {
			return Event{}, err
		}
		if c.kind == Blocks {
			c.buf, err = st.AppendBlock(c.buf[:0], c.pos)
		} else {
			c.buf, err = st.AppendHeader(c.buf[:0], c.pos)
		}
		if err != nil {
			return Event{}, err
		}
		ev.Kind, ev.Point, ev.Payload = Forward, e.point(), c.buf
		c.pos++
	}
	return ev, nil
}
