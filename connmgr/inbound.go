package connmgr

import (
	"fmt"
	"net/netip"
)

// RemoteState is what the inbound governor knows of a remote's use of a connection (connmgr §5.1).
type RemoteState uint8

// The remote states. RemoteNone: the connection is not tracked.
const (
	RemoteNone RemoteState = iota
	RemoteIdle             // no responder runs; the idle timer does
	RemoteCold             // the remote does not use it, but we do
	RemoteWarm             // at least one responder runs, none of them hot
	RemoteHot              // at least one hot responder runs
	numRemoteStates
)

func (s RemoteState) String() string {
	if s < numRemoteStates {
		return [...]string{"none", "idle", "cold", "warm", "hot"}[s]
	}
	return fmt.Sprintf("RemoteState(%d)", uint8(s))
}

// RemoteCounters counts tracked connections by remote state (connmgr §5.7).
type RemoteCounters struct{ Idle, Cold, Warm, Hot int }

func (c *RemoteCounters) add(s RemoteState, n int) {
	switch s {
	case RemoteIdle:
		c.Idle += n
	case RemoteCold:
		c.Cold += n
	case RemoteWarm:
		c.Warm += n
	case RemoteHot:
		c.Hot += n
	}
}

// inboundEntry is the inbound governor's part of a record. It lives and dies with the record's negotiated states, in the same
// step: it cannot be registered for a connection that has died, nor outlive one (connmgr §11 items 2, 3, 21, 22).
type inboundEntry struct {
	state      RemoteState
	hot, other int  // responders running
	dead       bool // one ended with an error: the connection is dying, nothing counts any more
	fresh      bool
	mature     bool
	shares     bool // the remote takes part in peer sharing
}

// LegalRemoteTransition is the oracle of connmgr §5.3 for an inbound governor's trace.
func LegalRemoteTransition(from, to RemoteState) bool {
	switch to {
	case RemoteNone:
		return true
	case RemoteIdle:
		return from != RemoteCold
	case RemoteCold:
		return from == RemoteIdle || from == RemoteCold
	case RemoteWarm, RemoteHot:
		return from != RemoteNone
	}
	return false
}

func (c *core) setRemote(r *record, to RemoteState) {
	from := r.inbound.state
	if from == RemoteIdle {
		c.timers.stop(r.id, timerRemoteIdle)
	}
	c.remote.add(from, -1)
	c.remote.add(to, 1)
	r.inbound.state = to
	if to == RemoteIdle && c.cfg.RemoteIdle > 0 {
		c.timers.set(r.id, timerRemoteIdle, c.now+c.cfg.RemoteIdle)
	}
	if from != to {
		c.emit(effect{kind: effRemote, id: r.id, conn: r.conn, remoteFrom: from, remoteTo: to})
	}
}

// track registers a negotiated connection: first the entry, then the responders, so that the first bytes find it. A connection
// that is announced again keeps everything but its age (connmgr §5.3).
func (c *core) track(r *record) {
	if !r.state.usable() {
		return
	}
	if r.inbound.state == RemoteNone {
		c.setRemote(r, RemoteIdle)
		c.emit(effect{kind: effArm, id: r.id, conn: r.conn, sock: r.handle})
	}
	if flow, _ := r.state.DataFlow(); flow == Duplex && c.cfg.Maturity > 0 {
		r.inbound.fresh, r.inbound.mature = true, false
		delete(c.mature, r.id)
		c.timers.set(r.id, timerMaturity, c.now+c.cfg.Maturity)
	}
}

// untrack forgets a connection that is no longer usable.
func (c *core) untrack(r *record) {
	if r.inbound.state == RemoteNone {
		return
	}
	c.setRemote(r, RemoteNone)
	c.timers.stop(r.id, timerMaturity)
	delete(c.mature, r.id)
	r.inbound = inboundEntry{}
}

func (c *core) responderStarted(r *record, hot bool) {
	if r == nil || r.inbound.state == RemoteNone || r.inbound.dead {
		return
	}
	e := &r.inbound
	first := e.hot+e.other == 0
	if hot {
		e.hot++
	} else {
		e.other++
	}
	if first {
		c.apply(r, inRemoteAwake)
		if r.inbound.state == RemoteNone { // pruned
			return
		}
	}
	switch {
	case e.hot > 0 && e.state != RemoteHot:
		if e.state != RemoteWarm {
			c.setRemote(r, RemoteWarm)
		}
		c.setRemote(r, RemoteHot)
	case e.hot == 0 && e.state != RemoteWarm:
		c.setRemote(r, RemoteWarm)
	}
}

func (c *core) responderEnded(r *record, hot bool, err error) {
	if r == nil || r.inbound.state == RemoteNone || r.inbound.dead {
		return
	}
	e := &r.inbound
	if err != nil {
		e.dead = true
		return
	}
	if hot {
		e.hot--
	} else {
		e.other--
	}
	if e.hot < 0 || e.other < 0 { // ended without having been started: not ours to count
		e.hot, e.other = max(e.hot, 0), max(e.other, 0)
		return
	}
	if hot && e.hot == 0 {
		c.setRemote(r, RemoteWarm)
	}
	if e.hot+e.other == 0 && c.apply(r, inRemoteIdle) == resOK {
		c.setRemote(r, RemoteIdle)
	}
}

func (c *core) remoteIdleFired(r *record) {
	if r.inbound.state != RemoteIdle {
		return
	}
	// The timer is gone by now, whatever the answer: it cannot spin (connmgr §11 item 4).
	switch c.apply(r, inIdleExpired) {
	case resCommit:
		c.untrack(r)
	case resKeep:
		c.setRemote(r, RemoteCold)
	}
}

func (c *core) matured(r *record) {
	r.inbound.fresh, r.inbound.mature = false, true
	c.mature[r.id] = r
}

// matureInbound returns the remotes of mature duplex connections and whether they share peers. Several connections to one
// remote count once; it stays while one of them lives.
func (c *core) matureInbound() map[netip.AddrPort]bool {
	m := make(map[netip.AddrPort]bool, len(c.mature))
	for _, r := range c.mature {
		m[r.conn.Remote] = m[r.conn.Remote] || r.inbound.shares
	}
	return m
}
