package connmgr

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
)

// Letting go, ends and timers: tables J to M of connmgr §1.4.

func (c *core) release(r *record, e event) result {
	if r == nil || r.gone {
		res := c.ask(StateUnknown, inRelease)
		c.reply(e.ticket, res, r, nil)
		return res
	}
	res := c.apply(r, inRelease)
	switch res {
	case resWait:
		r.releases = append(r.releases, e.ticket)
	case resTerminated: // pruned instead
		c.reply(e.ticket, resOK, r, nil)
	case resUnsupported:
		c.reply(e.ticket, res, r, &AcquireError{Reason: ErrForbiddenOperation, Remote: r.conn.Remote, State: r.state})
	default:
		c.reply(e.ticket, res, r, nil)
	}
	return res
}

func (c *core) watch(r *record, e event) {
	if r == nil || r.demoted() {
		c.reply(e.ticket, resOK, r, nil)
		return
	}
	r.watches = append(r.watches, e.ticket)
}

func (c *core) ended(r *record, e event) {
	if r == nil {
		return
	}
	accepted := e.sock == r.in
	switch e.sock {
	case r.out:
		r.out = 0
		if r.in != 0 {
			c.handOver(r)
		}
	case r.in:
		r.in = 0
	default:
		return // a stale socket that the record has replaced
	}
	if e.err != nil && r.err == nil {
		r.err = e.err
	}
	if r.sockets() > 0 {
		if e.sock == r.handle { // one connection, one fate: nobody would own the half that is left
			c.closeSockets(r, fxCloseReset)
		}
		c.halfEnded(r, accepted)
		return
	}
	if r.gone {
		delete(c.records, r.id)
		return
	}
	c.apply(r, inEnded)
	if r.state == StateTerminating {
		c.timers.set(r.id, timerTimeWait, c.now+c.cfg.TimeWait)
		if c.cfg.TimeWait <= 0 || c.closed {
			c.timers.stop(r.id, timerTimeWait)
			c.apply(r, inTimeWaitOver)
		}
	}
	c.answerDial(r, resDisconnected)
}

func (c *core) fire() {
	for {
		key, ok := c.timers.pop(c.now)
		if !ok {
			return
		}
		c.fired(key)
	}
}

var (
	errConnectTimeout   = errors.New("connect timed out")
	errHandshakeTimeout = errors.New("handshake timed out")
)

func (c *core) fired(key timerKey) {
	if b := c.busy[key.id]; b != nil {
		delete(c.busy, key.id)
		c.mark("B10")
		c.tupleStaysBusy(b.ticket, b.remote, b.err)
		return
	}
	r := c.records[key.id]
	if r == nil {
		return
	}
	switch key.kind {
	case timerConnect:
		c.mark("B11")
		r.err = errConnectTimeout
		c.apply(r, inConnectFailed)
		c.answerDial(r, resDisconnected)
	case timerHandshake:
		r.err = errHandshakeTimeout
		in := inInViolation
		if r.state == StateUnnegotiatedOutbound {
			in = inOutViolation
		}
		c.apply(r, in)
		c.answerDial(r, resDisconnected)
	case timerOutboundIdle:
		c.tell(notice{in: inOutIdleExpired, r: r})
	case timerTimeWait:
		c.tell(notice{in: inTimeWaitOver, r: r})
	case timerRemoteIdle:
		c.tell(notice{in: inIdleExpired, r: r})
	case timerMaturity:
		c.matured(r)
	}
}

// tupleStaysBusy answers an acquire whose connect found the 4-tuple taken, when no accepted connection explains it.
func (c *core) tupleStaysBusy(t ticket, remote netip.AddrPort, err error) {
	c.reply(t, resDisconnected, nil, faultError(FaultNetwork, 0, &AcquireError{Reason: ErrDisconnected, Remote: remote, Cause: err}))
}

func (c *core) shutdown() {
	c.closed = true
	for _, r := range c.sorted() {
		if r.gone {
			continue
		}
		r.err = cmp.Or(r.err, ErrClosed)
		c.apply(r, inShutdown)
		if r.state == StateTerminated && r.sockets() == 0 {
			c.forget(r)
		}
	}
	ids := make([]RecordID, 0, len(c.busy))
	for id := range c.busy {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		b := c.busy[id]
		delete(c.busy, id)
		c.timers.stop(id, timerTupleBusy)
		c.reply(b.ticket, resDisconnected, nil, &AcquireError{Reason: ErrClosed, Remote: b.remote})
	}
}
