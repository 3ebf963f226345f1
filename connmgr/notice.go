package connmgr

import "net/netip"

// notice is what one part of the core tells another: the inbound governor a record (tables G and H), a timer a record (I, K, L),
// a record an acquire that waits for it (D). In the reference these are components that send each other messages; here a notice
// is delivered in the step in which it arises, and so cannot cross anything. The model check holds notices back, to show that
// nothing depends on it.
type notice struct {
	in     input
	r      *record // nil: an acquire that waits for whatever its remote has (B9)
	sock   sockID  // G, H: whose responders
	ticket ticket  // D
	remote netip.AddrPort
	err    error
}

func (c *core) tell(n notice) {
	if c.hold != nil {
		c.hold(n)
		return
	}
	c.deliver(n)
}

func (c *core) deliver(n notice) {
	switch n.in {
	case inWaited:
		c.waited(n)
	case inRemoteAwake, inRemoteIdle, inIdleExpired:
		if n.r.gone || n.sock != 0 && !n.r.owns(n.sock) {
			c.ask(StateUnknown, n.in)
			return
		}
		c.remoteNotice(n)
	default:
		c.apply(n.r, n.in)
	}
}

// waited has an acquire look again at the record it waits for.
func (c *core) waited(n notice) {
	r := n.r
	if r == nil {
		if r = c.choose(n.remote); r == nil {
			c.tupleStaysBusy(n.ticket, n.remote, n.err)
			return
		}
	}
	res := c.apply(r, inWaited)
	if res == resWait {
		r.acquires = append(r.acquires, n.ticket)
		return
	}
	c.answerAcquire(n.ticket, res, r)
}
