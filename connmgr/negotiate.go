package connmgr

import "slices"

// Accepted sockets and the ends of handshakes: tables C, E and F of connmgr §1.4.

func (c *core) outHandshake(r *record, e event) result {
	in := [...]input{inOutUni, inOutRefused, inOutViolation, inOutQuery}[e.outcome]
	if e.outcome == handshakeOK && e.flow == Duplex {
		in = inOutDup
	}
	if r == nil || r.out != e.sock { // that connection has ended, or a fresh socket has taken its record
		return c.ask(StateTerminated, in)
	}
	if e.outcome != handshakeOK {
		if r.in != 0 { // only the outgoing half of a self connection has failed
			c.mark("C11")
			c.handOver(r)
			return resDisconnected
		}
		if !r.gone {
			r.err = e.err
		}
		res := c.apply(r, in)
		c.answerDial(r, res)
		return res
	}
	res := c.apply(r, in)
	if res == resConnected {
		r.negotiated(e)
		if in == inOutDup && c.cfg.Responders {
			// Also after SelfConn, where the reference leaves it to the accepted half, which may fail: Ticking needs its timer.
			c.track(r)
		}
	}
	c.answerDial(r, res)
	return res
}

func (r *record) negotiated(e event) {
	if r.handle == 0 {
		r.handle = e.sock
	}
	r.inbound.shares = e.shares
}

func (c *core) accepted(e event) (result, RecordID) {
	if c.closed {
		return resDisconnected, 0
	}
	conn := ConnID{e.local, e.remote}
	r := c.find(conn)
	if r != nil && (r.state == StateTerminating || r.state == StateTerminated) {
		c.apply(r, inReplaced)
		c.mark("E5")
		r = nil
	}
	if r == nil {
		r = c.newRecord(conn)
	}
	_, rule := next(r.state, inAccepted)
	if rule != nil && rule.fx&fxCloseStale != 0 {
		// TCP does not let two sockets share a 4-tuple: the record's own must be dead.
		c.closeSockets(r, fxCloseReset)
		r.out, r.in, r.handle = 0, 0, 0
	} else if r.in != 0 {
		c.emit(effect{kind: effClose, id: r.id, conn: r.conn, sock: r.in, how: fxCloseReset})
	}
	res := c.apply(r, inAccepted)
	r.conn.Local, r.known = e.local, true
	r.in = e.sock
	r.protected = e.protected
	c.wakeBusy(r)
	return res, r.id
}

// wakeBusy lets acquires whose connect found the 4-tuple taken look at what the remote has now.
func (c *core) wakeBusy(r *record) {
	if len(c.busy) == 0 {
		return
	}
	var ids []RecordID
	for id, b := range c.busy {
		if b.remote == r.conn.Remote {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		b := c.busy[id]
		delete(c.busy, id)
		c.timers.stop(id, timerTupleBusy)
		c.tell(notice{in: inWaited, ticket: b.ticket, remote: b.remote, err: b.err})
	}
}

func (c *core) inHandshake(r *record, e event) result {
	in := [...]input{inInUni, inInRefused, inInViolation, inInQuery}[e.outcome]
	if e.outcome == handshakeOK && e.flow == Duplex {
		in = inInDup
	}
	if r == nil || r.in != e.sock {
		return c.ask(StateTerminated, in)
	}
	if e.outcome != handshakeOK {
		if r.out != 0 { // only the accepted half of a self connection has failed
			c.mark("F11")
			return resDisconnected
		}
		if !r.gone {
			r.err = e.err
		}
		return c.apply(r, in)
	}
	if to, _ := next(r.state, in); to.counts().Inbound > r.state.counts().Inbound {
		if limit := c.limit(r); c.counters.Inbound >= limit {
			r.err = &Refusal{Scope: "inbound connections", Limit: limit, InUse: c.counters.Inbound, Remote: r.conn.Remote}
			return c.apply(r, inInOverLimit)
		}
	}
	res := c.apply(r, in)
	if res == resConnected {
		r.negotiated(e)
		c.track(r)
	}
	return res
}

// limit is the inbound limit for a connection.
func (c *core) limit(r *record) int {
	if r.protected {
		return c.cfg.Hard
	}
	return c.cfg.Hard - c.cfg.Reserve
}
