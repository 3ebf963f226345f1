package diffusion

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Sink is where items come in. It is safe for concurrent use.
type Sink interface {
	// Has reports whether an item need not be asked for.
	Has(id []byte) bool
	// ID returns the id of an item.
	ID(item []byte) ([]byte, error)
	// Add takes an item, or refuses it; ErrFull says that it is to be offered again when there is room.
	Add(id, item []byte) error
	// Room returns how many bytes can be taken now.
	Room() int
	// Freed returns a channel that is closed when Room has grown.
	Freed() <-chan struct{}
}

// ErrFull says that a sink has no room.
var ErrFull = errors.New("no room")

// Asker asks all peers of a node for items and hands them to a sink.
type Asker struct {
	d     *Dialect
	sink  Sink
	began time.Time

	mu      sync.Mutex
	core    *inbound
	changed chan struct{} // closed when something has happened that another peer may be waiting for
}

// NewAsker returns an Asker that fills sink.
func NewAsker(d *Dialect, sink Sink, l Limits) *Asker {
	return &Asker{d: d, sink: sink, began: time.Now(), changed: make(chan struct{}), core: newInbound(d, l)}
}

// Counters returns how many peers there are, how many items they have announced, and how many and how many bytes are under way.
func (a *Asker) Counters() (peers, announced, count, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.core.peers), len(a.core.items), a.core.count, a.core.bytes
}

func (a *Asker) now() time.Duration { return time.Since(a.began) }

// notify wakes up whoever waits. Called with the lock held.
func (a *Asker) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Run is the asking side of one connection. It returns nil when the conversation has come to its end.
func (a *Asker) Run(ctx context.Context, s *protocols.Session) error {
	if a.d.AskerOpens {
		if err := s.Send(ctx, a.d.Init); err != nil {
			return err
		}
	} else if _, err := s.Recv(ctx); err != nil { // Init
		return err
	}
	for until := a.now() + a.core.limits.Delay; ; {
		left := until - a.now()
		control, controlled := s.Control()
		if left <= 0 || control == protocols.Terminate {
			break
		}
		if err := pause(ctx, s, nil, nil, controlled, left); err != nil {
			return err
		}
	}
	c := &asking{Asker: a, s: s}
	a.mu.Lock()
	c.peer = a.core.join()
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.core.leave(c.peer)
		a.notify()
		a.mu.Unlock()
	}()
	return c.run(ctx)
}

// asking is the asking side of one connection.
type asking struct {
	*Asker
	s       *protocols.Session
	peer    *inPeer
	pending []request // unanswered, oldest first: at most one for ids and Limits.Requests for items
	buf     []byte
}

func (c *asking) run(ctx context.Context) error {
	for {
		control, controlled := c.s.Control()
		w := wakeups{}
		var r request
		if control == protocols.Continue || !c.d.AskerOpens { // a responder has no say
			r, w = c.next()
		}
		var err error
		switch {
		case r.kind != nothing:
			err = c.ask(ctx, r)
		case len(c.pending) > 0:
			var done bool
			if done, err = c.answer(ctx); done {
				return err
			}
		case c.d.AskerOpens && control == protocols.Terminate:
			return c.s.Send(ctx, c.d.Done)
		default:
			err = pause(ctx, c.s, w.changed, w.freed, controlled, w.later)
		}
		if err != nil {
			return err
		}
	}
}

// wakeups is when it is worth asking the core again.
type wakeups struct {
	changed, freed <-chan struct{}
	later          time.Duration
}

// next asks the core what to say, having looked up outside of its lock what the sink has.
func (c *asking) next() (r request, w wakeups) {
	c.mu.Lock()
	w.changed = c.changed
	open := c.peer.open()
	taken := c.core.taken
	c.mu.Unlock()
	w.freed = c.sink.Freed()
	room := c.sink.Room()
	known := slices.DeleteFunc(open, func(id string) bool { return !c.sink.Has([]byte(id)) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range known {
		c.core.known(id)
	}
	// What was taken since is perhaps not in room yet, and no longer under way.
	r, w.later = c.core.next(c.peer, len(c.pending), room-int(c.core.taken-taken), c.now())
	return r, w
}

func (c *asking) ask(ctx context.Context, r request) error {
	c.pending = append(c.pending, r)
	if r.kind == askIDs {
		c.buf = c.d.AppendRequestIDs(c.buf[:0], r.blocking, uint16(r.ack), uint16(r.req))
		if r.blocking {
			return c.s.Send(ctx, c.buf)
		}
		return c.s.Pipeline(ctx, c.buf)
	}
	ids := make([][]byte, len(r.ids))
	for i, id := range r.ids {
		ids[i] = []byte(id)
	}
	c.buf = c.d.AppendRequestItems(c.buf[:0], ids)
	return c.s.Pipeline(ctx, c.buf)
}

// answer takes the answer to the oldest request.
func (c *asking) answer(ctx context.Context) (done bool, err error) {
	m, err := c.s.Recv(ctx)
	if err != nil || m.Tag == c.d.TagDone {
		return true, err
	}
	r := c.pending[0]
	c.pending = c.pending[:copy(c.pending, c.pending[1:])]
	if r.kind == askIDs {
		ids, err := c.d.DecodeReplyIDs(m.Raw, r.req, r.blocking)
		if err != nil {
			return true, c.s.Fail(err)
		}
		c.mu.Lock()
		c.core.announced(c.peer, ids, c.now())
		c.mu.Unlock()
		return false, nil
	}
	items, err := c.d.DecodeReplyItems(nil, m.Raw, len(r.ids))
	if err != nil {
		return true, c.s.Fail(err)
	}
	for _, item := range items {
		if err := c.take(ctx, item, r.ids); err != nil {
			return true, err
		}
	}
	c.mu.Lock()
	c.core.replied(c.peer, r.ids, c.now())
	c.notify()
	c.mu.Unlock()
	return false, nil
}

// take hands one item to the sink. When the sink has less room than it had when the item was asked for, it waits: nothing that was
// asked for is dropped.
func (c *asking) take(ctx context.Context, item []byte, asked []string) error {
	id, err := c.sink.ID(item)
	if err != nil {
		return c.s.Fail(err)
	}
	c.mu.Lock()
	e, err := c.core.expected(c.peer, string(id), len(item), asked)
	c.mu.Unlock()
	if err != nil {
		return c.s.Fail(err)
	}
	verdict, err := c.hand(ctx, id, item)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.received(c.peer, e, verdict, c.now())
	c.notify()
	return nil
}

func (c *asking) hand(ctx context.Context, id, item []byte) (verdict, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		freed := c.sink.Freed()
		if c.sink.Has(id) {
			return late, nil
		}
		switch err := c.sink.Add(id, item); {
		case err == nil:
			return accepted, nil
		case !errors.Is(err, ErrFull):
			return refused, nil
		}
		if err := pause(ctx, c.s, changed, freed, nil, 0); err != nil {
			return 0, err
		}
	}
}

// pause waits until something has changed, or for d if d is positive.
func pause(ctx context.Context, s *protocols.Session, a, b, c <-chan struct{}, d time.Duration) error {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-a:
	case <-b:
	case <-c:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.Done():
		return s.EndError()
	}
	return nil
}
