package txsubmission

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Inbound asks peers for transactions, every transaction of one peer at a time whoever else announces it, within [Limits], and hands
// them to a [Sink]. One Inbound serves all connections of a node.
type Inbound struct {
	sink  Sink
	began time.Time

	mu      sync.Mutex
	core    *inbound
	changed chan struct{} // closed when something has happened that another peer may be waiting for
}

// NewInbound returns an Inbound that fills sink.
func NewInbound(sink Sink, l Limits) *Inbound {
	return &Inbound{
		sink: sink, began: time.Now(), changed: make(chan struct{}),
		core: newInbound(l),
	}
}

// Responder returns the mini-protocol to give to connections.
func (in *Inbound) Responder() *protocols.MiniProtocol {
	mp := define()
	mp.Respond = in.respond
	return mp
}

// Counters is what an [Inbound] is at.
type Counters struct {
	Peers, Announced, UnderWay, BytesUnderWay int
}

// Counters returns what is going on.
func (in *Inbound) Counters() Counters {
	in.mu.Lock()
	defer in.mu.Unlock()
	return Counters{len(in.core.peers), len(in.core.txs), in.core.count, in.core.bytes}
}

func (in *Inbound) now() time.Duration { return time.Since(in.began) }

// notify wakes up whoever waits. Called with the lock held.
func (in *Inbound) notify() {
	close(in.changed)
	in.changed = make(chan struct{})
}

func (in *Inbound) respond(ctx context.Context, s *protocols.Session) error {
	if _, err := s.Recv(ctx); err != nil { // Init
		return err
	}
	if d := in.core.limits.Delay; d > 0 {
		if err := pause(ctx, s, nil, nil, d); err != nil {
			return err
		}
	}
	a := &asking{in: in, s: s}
	in.mu.Lock()
	a.peer = in.core.join()
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		in.core.leave(a.peer)
		in.notify()
		in.mu.Unlock()
	}()
	return a.run(ctx)
}

// asking is the asking side of one connection.
type asking struct {
	in      *Inbound
	s       *protocols.Session
	peer    *inPeer
	pending []request // unanswered, oldest first
	buf     []byte
}

func (a *asking) run(ctx context.Context) error {
	for {
		r, changed, freed, later := a.next()
		var err error
		switch {
		case r.kind != nothing:
			err = a.ask(ctx, r)
		case len(a.pending) > 0:
			var done bool
			if done, err = a.answer(ctx); done {
				return err
			}
		default:
			err = pause(ctx, a.s, changed, freed, later)
		}
		if err != nil {
			return err
		}
	}
}

// next asks the core what to say, having looked up outside of its lock what the sink has.
func (a *asking) next() (r request, changed, freed <-chan struct{}, later time.Duration) {
	in := a.in
	freed = in.sink.Freed()
	room := in.sink.Room()
	in.mu.Lock()
	changed = in.changed
	open := a.peer.open()
	in.mu.Unlock()
	known := slices.DeleteFunc(open, func(id string) bool { return !in.sink.Has([]byte(id)) })
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, id := range known {
		in.core.known(id)
	}
	r, later = in.core.next(a.peer, len(a.pending), room, in.now())
	return r, changed, freed, later
}

func (a *asking) ask(ctx context.Context, r request) error {
	a.pending = append(a.pending, r)
	if r.kind == askIDs {
		a.buf = AppendRequestTxIDs(a.buf[:0], r.blocking, uint16(r.ack), uint16(r.req))
		if r.blocking {
			return a.s.Send(ctx, a.buf)
		}
		return a.s.Pipeline(ctx, a.buf)
	}
	ids := make([][]byte, len(r.ids))
	for i, id := range r.ids {
		ids[i] = []byte(id)
	}
	a.buf = AppendRequestTxs(a.buf[:0], ids)
	return a.s.Pipeline(ctx, a.buf)
}

// answer takes the answer to the oldest request.
func (a *asking) answer(ctx context.Context) (done bool, err error) {
	m, err := a.s.Recv(ctx)
	if err != nil || m.Tag == TagDone {
		return true, err
	}
	r := a.pending[0]
	a.pending = a.pending[:copy(a.pending, a.pending[1:])]
	if r.kind == askIDs {
		ids, err := DecodeReplyTxIDs(nil, m.Raw, r.req, r.blocking)
		if err != nil {
			return true, a.s.Fail(err)
		}
		a.in.mu.Lock()
		a.in.core.announced(a.peer, ids)
		a.in.mu.Unlock()
		return false, nil
	}
	txs, err := DecodeReplyTxs(nil, m.Raw, len(r.ids))
	if err != nil {
		return true, a.s.Fail(err)
	}
	for _, tx := range txs {
		if err := a.take(ctx, tx, r.ids); err != nil {
			return true, err
		}
	}
	a.in.mu.Lock()
	a.in.core.replied(a.peer, r.ids)
	a.in.notify()
	a.in.mu.Unlock()
	return false, nil
}

// take hands one transaction to the sink. When the sink has less room than it had when the transaction was asked for, it waits:
// nothing that was asked for is dropped.
func (a *asking) take(ctx context.Context, tx []byte, asked []string) error {
	id, err := a.in.sink.ID(tx)
	if err != nil {
		return a.s.Fail(err)
	}
	a.in.mu.Lock()
	_, err = a.peer.expected(string(id), len(tx), asked)
	a.in.mu.Unlock()
	if err != nil {
		return a.s.Fail(err)
	}
	late := a.in.sink.Has(id)
	for !late {
		freed := a.in.sink.Freed()
		err := a.in.sink.Add(id, tx)
		if late = err != nil && !errors.Is(err, ErrFull); late || err == nil {
			break
		}
		if err := pause(ctx, a.s, nil, freed, 0); err != nil {
			return err
		}
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	if e, err := a.peer.expected(string(id), len(tx), asked); err == nil {
		a.in.core.received(a.peer, e, late, a.in.now())
		a.in.notify()
	}
	return nil
}

// pause waits until something has changed, or for d if d is positive.
func pause(ctx context.Context, s *protocols.Session, changed, freed <-chan struct{}, d time.Duration) error {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-freed:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.Done():
		return mux.ErrStopped
	}
	return nil
}
