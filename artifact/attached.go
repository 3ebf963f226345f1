package artifact

import (
	"context"
	"errors"
	"sync"
	"time"
)

// attached is one peer of the shell.
type attached struct {
	n       *Node
	p       *peer
	links   Links
	bearers Bearers
	ctx     context.Context
	cancel  context.CancelFunc
	senders [streams]*sender
	bulk    [maxBearers]context.CancelFunc
	once    sync.Once
	read    time.Duration // when something was last read, since the node's start; under the node's lock
}

// quiet: nothing was read from the peer for 30 s.
func (a *attached) quiet() bool {
	a.n.mu.Lock()
	defer a.n.mu.Unlock()
	return time.Since(a.n.start)-a.read >= 30*time.Second
}

// lane starts a stream of a bulk bearer.
func (a *attached) lane(ctx context.Context, i int, s Stream, link Link) {
	n := a.n
	bctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.ctx, cancel)
	n.mu.Lock()
	if n.closed || a.ctx.Err() != nil {
		n.mu.Unlock()
		cancel()
		stop()
		return
	}
	if s < bearerIn {
		a.bulk[i] = cancel
	}
	x := newSender(a, bctx, s, link)
	a.senders[s] = x
	n.wg.Add(1) // until the stream is received
	n.mu.Unlock()
	defer n.wg.Done()
	a.receive(bctx, s, link, func() { stop(); cancel() })
	x.kick()
}

func (a *attached) perform(e *Effect) {
	n := a.n
	switch e.What {
	case EffectClose:
		a.end(e.Err)
	case EffectBearer:
		n.mu.Lock()
		cancel := a.bulk[e.Index]
		a.bulk[e.Index] = nil
		a.dropSenders(e.Index)
		n.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case EffectDial:
		n.mu.Lock()
		if !n.closed {
			i := e.Index
			n.wg.Go(func() { a.dial(i) })
		}
		n.mu.Unlock()
	}
}

// end removes the peer from the core and closes its bearers.
func (a *attached) end(cause error) {
	a.once.Do(func() {
		n := a.n
		n.mu.Lock()
		if n.peers[a.p.ID] == a {
			delete(n.peers, a.p.ID)
		}
		if n.core.byID[a.p.ID] == a.p {
			n.core.RemovePeer(time.Since(n.start), a.p.ID)
		}
		t := n.finish()
		n.mu.Unlock()
		a.cancel()
		a.bearers.Close(cause)
		n.carryOut(t)
	})
}

// dial dials a bulk bearer and joins it to the session.
func (a *attached) dial(i int) {
	n := a.n
	down := func() {
		n.do(func(c *Core, now time.Duration) {
			c.now = now
			if c.byID[a.p.ID] == a.p {
				c.bearerDown(a.p, i)
				c.settle()
			}
		})
	}
	for {
		ctx, cancel := context.WithCancel(a.ctx)
		link, err := a.bearers.Bulk(ctx, i)
		if err != nil {
			cancel()
			down()
			return
		}
		var msg []byte
		n.do(func(c *Core, now time.Duration) {
			c.now = now
			msg = c.joinMessage(a.p, i)
		})
		up, again := false, false
		if msg != nil {
			jctx, stop := context.WithTimeout(ctx, 5*time.Second)
			if err = link.Send(jctx, RankJoin, msg); err == nil {
				msg, err = link.Recv(jctx)
			}
			stop()
			if err != nil {
				cancel()
				down()
				return
			}
			n.do(func(c *Core, now time.Duration) {
				c.now = now
				up, again, _ = c.joinReply(a.p, i, msg)
			})
		}
		if up {
			context.AfterFunc(a.ctx, cancel)
			a.lane(ctx, i, bearerOut+Stream(i), link)
			n.do(func(c *Core, now time.Duration) { c.now = now; c.settle() })
			return
		}
		cancel()
		if !again {
			return
		}
	}
}

// current reports whether a link is the stream's, and its bearer up; the lock is held.
func (a *attached) current(s Stream, link Link) bool {
	x := a.senders[s]
	return x != nil && x.link == link && (s < bearerOut || a.p.join.state[(s-bearerOut)%maxBearers] == bearerUp)
}

// dropSenders gives up both lanes of a bulk bearer; the lock is held.
func (a *attached) dropSenders(i int) {
	a.senders[bearerOut+Stream(i)], a.senders[bearerIn+Stream(i)] = nil, nil
}

// receiver takes what arrives on one link.
type receiver struct {
	a    *attached
	s    Stream
	link Link
	decoder
}

// receive takes what arrives on a link until it ends, and calls ended then. The caller counts in the node's wait group.
func (a *attached) receive(ctx context.Context, s Stream, link Link, ended func()) {
	n := a.n
	r := &receiver{a: a, s: s, link: link, decoder: decoder{window: n.core.cfg.Window}}
	if d, ok := link.(Deliverer); ok {
		d.Deliver(ctx, func(b []byte, err error) {
			if err == nil {
				r.take(b)
				return
			}
			a.lost(s, link, err)
			ended()
		})
		return
	}
	n.wg.Go(func() {
		defer ended()
		for {
			b, err := link.Recv(ctx)
			if err != nil {
				a.lost(s, link, err)
				return
			}
			r.take(b)
		}
	})
}

// take is one message.
func (r *receiver) take(b []byte) {
	a, n := r.a, r.a.n
	asked := time.Since(n.start)
	m, err := r.decode(r.s, b, r.interest, r.plan)
	m.asked = asked
	n.mu.Lock()
	now := time.Since(n.start)
	a.read = now
	switch {
	case !a.current(r.s, r.link):
		// The bearer is lost: nothing was asked for on it any more, and what still comes is nobody's fault.
	case err != nil:
		n.core.malformed(now, a.p, err)
	default:
		_ = n.core.receive(now, a.p, &m)
	}
	t := n.finish()
	n.mu.Unlock()
	n.carryOut(t)
}

func (r *receiver) interest(kind uint32, id ID, attr []byte) Interest {
	if k := r.a.n.kinds[kind]; k != nil {
		return k.interest(id, attr)
	}
	return NotWanted
}

func (r *receiver) plan(pc *piece) hashOf {
	n := r.a.n
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.sched.hashPlan(r.a.p, r.a.p.laneOf(r.s), pc)
}

// lost is a link that ended: the peer's, or one bulk bearer's. An error whose Fault is "adversarial" is the peer's violation.
func (a *attached) lost(s Stream, link Link, err error) {
	var f interface{ Fault() string }
	if errors.As(err, &f) && f.Fault() == "adversarial" {
		a.n.do(func(c *Core, now time.Duration) {
			if c.byID[a.p.ID] == a.p {
				c.malformed(now, a.p, err)
			}
		})
	}
	if s < bearerOut {
		a.end(err)
		return
	}
	a.n.mu.Lock()
	replaced := a.senders[s] == nil || a.senders[s].link != link
	a.n.mu.Unlock()
	if replaced { // by a bearer that joined under the same index
		return
	}
	i := int(s - bearerOut)
	if s >= bearerIn {
		i = int(s - bearerIn)
	}
	a.n.mu.Lock()
	a.dropSenders(i)
	a.n.mu.Unlock()
	a.n.do(func(c *Core, now time.Duration) {
		c.now = now
		if c.byID[a.p.ID] == a.p && a.p.join.state[i] == bearerUp {
			c.bearerDown(a.p, i)
			c.settle()
		}
	})
	a.n.mu.Lock()
	cancel := a.bulk[i]
	a.bulk[i] = nil
	a.n.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
