package connmgr

import (
	"net/netip"
	"time"
)

// Acquiring a connection: tables A, B and D of connmgr §1.4.

func (c *core) acquire(e event) RecordID {
	if _, own := c.self[e.remote]; own {
		c.mark("A13")
		c.reply(e.ticket, resSelf, nil, &AcquireError{Reason: ErrSelfConnection, Remote: e.remote})
		return 0
	}
	if c.closed {
		c.reply(e.ticket, resDisconnected, nil, &AcquireError{Reason: ErrClosed, Remote: e.remote})
		return 0
	}
	r := c.choose(e.remote)
	if r != nil {
		c.acquireExisting(r, e.ticket)
		return r.id
	}
	if e.reuseOnly {
		res := c.ask(StateUnknown, inAcquireReuse)
		c.reply(e.ticket, res, nil, &AcquireError{Reason: ErrInboundConnectionNotFound, Remote: e.remote})
		return 0
	}
	r = c.newRecord(ConnID{Remote: e.remote})
	r.dial, r.bound, r.protected = e.ticket, e.bound, e.protected
	c.apply(r, inAcquire)
	c.emit(effect{kind: effDial, id: r.id, conn: r.conn, ticket: e.ticket})
	return r.id
}

func (c *core) acquireExisting(r *record, t ticket) {
	res := c.apply(r, inAcquire)
	if res == resWait {
		r.acquires = append(r.acquires, t)
		return
	}
	c.answerAcquire(t, res, r)
}

// choose picks among the records of one remote: what can be reused, then a pending inbound handshake, then the rest of the
// living, then what is terminating; at random within a class.
func (c *core) choose(remote netip.AddrPort) *record {
	list := c.byRemote[remote]
	if len(list) <= 1 {
		if len(list) == 0 {
			return nil
		}
		return list[0]
	}
	c.mark("A12")
	class := func(r *record) int {
		switch r.state {
		case StateInboundIdleDup, StateInboundDup:
			return 0
		case StateUnnegotiatedInbound:
			return 1
		case StateTerminating, StateTerminated:
			return 3
		}
		return 2
	}
	var best []*record
	for _, r := range list {
		switch {
		case len(best) == 0 || class(r) < class(best[0]):
			best = append(best[:0], r)
		case class(r) == class(best[0]):
			best = append(best, r)
		}
	}
	return best[c.rnd.IntN(len(best))]
}

// answerAcquire turns a result into the reply of an acquire.
func (c *core) answerAcquire(t ticket, res result, r *record) {
	if res == resConnected {
		c.reply(t, res, r, nil)
		return
	}
	err := &AcquireError{Remote: r.conn.Remote, State: r.state, Cause: r.err}
	after := time.Duration(0)
	switch res {
	case resExists:
		err.Reason = ErrConnectionExists
	case resForbiddenConnection:
		err.Reason = ErrForbiddenConnection
	case resForbiddenOperation:
		err.Reason = ErrForbiddenOperation
		after = c.cfg.TimeWait
		if due, ok := c.timers.due(r.id, timerOutboundIdle); ok {
			after += due - c.now
		}
	case resTerminating:
		err.Reason = ErrConnectionTerminating
		after = 100 * time.Millisecond
		if due, ok := c.timers.due(r.id, timerTimeWait); ok {
			after = max(after, due-c.now)
		}
	case resSelf:
		err.Reason = ErrSelfConnection
	case resDisconnected:
		err.Reason = ErrDisconnected
	default:
		err.Reason = ErrImpossibleState
	}
	if after > 0 {
		c.reply(t, res, r, &retryError{err, after})
		return
	}
	c.reply(t, res, r, err)
}

func (c *core) dialled(r *record, e event) result {
	if r == nil || r.gone {
		return c.ask(StateTerminated, inConnected) // given up in the meantime; the shell closes the socket
	}
	if e.local == r.conn.Remote {
		if len(c.self) < maxSelf {
			c.self[r.conn.Remote] = struct{}{}
		}
		res := c.apply(r, inSelf)
		c.answerDial(r, res)
		return resSelf
	}
	if o := c.find(ConnID{e.local, r.conn.Remote}); o != nil && o != r {
		c.mark("B3")
		c.apply(r, inConnectFailed)
		c.answerDial(r, resExists)
		return resExists
	}
	if r.known && r.conn.Local != e.local {
		return resExists
	}
	res := c.apply(r, inConnected)
	if res != resProceed {
		c.answerDial(r, res)
		return res
	}
	r.conn.Local, r.known = e.local, true
	r.out = e.sock
	return res
}

func (c *core) answerDial(r *record, res result) {
	if r.dial != 0 {
		c.answerAcquire(r.dial, res, r)
		r.dial = 0
	}
}

func (c *core) dialFailed(r *record, e event) result {
	in := [...]input{dialConnect: inConnectFailed, dialSocket: inSocketFailed, dialBusy: inTupleBusy}[e.fail]
	if r == nil || r.gone {
		return c.ask(StateTerminated, in)
	}
	if r.state != StateReservedOutbound {
		// The accepted socket of the same 4-tuple has taken the record over: wait for it instead.
		res := c.apply(r, in)
		c.handOver(r)
		return res
	}
	t := r.dial
	r.dial = 0
	r.err = e.err
	if c.closed {
		e.fail = dialConnect // nobody will be accepted any more
	}
	switch e.fail {
	case dialSocket:
		c.apply(r, inSocketFailed)
		c.reply(t, resDisconnected, r, faultError(FaultInternal, time.Second,
			&AcquireError{Reason: ErrDisconnected, Remote: r.conn.Remote, Cause: e.err}))
		return resDisconnected
	case dialBusy:
		c.apply(r, inTupleBusy)
		if o := c.choose(r.conn.Remote); o != nil {
			c.acquireExisting(o, t)
			return resDisconnected
		}
		c.lastID++
		c.busy[c.lastID] = &busyWait{t, r.conn.Remote, e.err}
		c.timers.set(c.lastID, timerTupleBusy, c.now+c.cfg.TupleBusy)
		return resDisconnected
	}
	res := c.apply(r, inConnectFailed)
	c.reply(t, res, r, &AcquireError{Reason: ErrDisconnected, Remote: r.conn.Remote, Cause: e.err})
	return resDisconnected
}

// handOver makes the acquire that dialled wait for the accepted socket.
func (c *core) handOver(r *record) {
	if r.dial != 0 {
		r.acquires = append(r.acquires, r.dial)
		r.dial = 0
		c.dirty = append(c.dirty, r)
	}
}
