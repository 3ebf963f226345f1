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

// String returns "none", "idle", "cold", "warm" or "hot".
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
	state   RemoteState
	running [2]responders // of the dialled and of the accepted socket: a connection with oneself has both
	fresh   bool
	mature  bool
	shares  bool // the remote takes part in peer sharing
}

// responders counts those that run on one socket.
type responders struct {
	hot, other int32
	dead       bool // one ended with an error: the socket is dying, nothing counts any more
}

// counts returns how many responders run.
func (e *inboundEntry) counts() (hot, all int) {
	hot = int(e.running[0].hot + e.running[1].hot)
	return hot, hot + int(e.running[0].other+e.running[1].other)
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

// owns tells whether the record's connection runs over the socket; after a fresh socket has taken its place (E6) the old one is
// nobody's.
func (r *record) owns(s sockID) bool { return s != 0 && (s == r.out || s == r.in) }

// responders returns the counters of a socket, nil when it does not count: the connection has ended, or is dying.
func (r *record) responders(s sockID) *responders {
	h := &r.inbound.running[0]
	if s == r.in {
		h = &r.inbound.running[1]
	}
	if r.inbound.state == RemoteNone || h.dead {
		return nil
	}
	return h
}

func (c *core) responderStarted(r *record, e event) {
	if r == nil || r.gone || !r.owns(e.sock) {
		c.ask(StateUnknown, inRemoteAwake)
		return
	}
	h := r.responders(e.sock)
	if h == nil {
		if r.inbound.state == RemoteNone { // too late: the connection is closing
			c.apply(r, inRemoteAwake)
		}
		return
	}
	_, before := r.inbound.counts()
	if e.hot {
		h.hot++
	} else {
		h.other++
	}
	if before == 0 {
		c.tell(notice{in: inRemoteAwake, r: r, sock: e.sock})
	} else if e.hot && r.inbound.state == RemoteWarm {
		c.setRemote(r, RemoteHot)
	}
}

func (c *core) responderEnded(r *record, e event) {
	if r == nil || r.gone || !r.owns(e.sock) {
		c.ask(StateUnknown, inRemoteIdle)
		return
	}
	h := r.responders(e.sock)
	if h == nil {
		if r.inbound.state == RemoteNone {
			c.apply(r, inRemoteIdle)
		}
		return
	}
	if e.err != nil {
		h.dead = true
		return
	}
	n := &h.other
	if e.hot {
		n = &h.hot
	}
	if *n == 0 { // ended without having been started: not ours to count
		return
	}
	*n--
	c.fewerResponders(r, e.sock)
}

// fewerResponders goes on when responders on a socket have ended.
func (c *core) fewerResponders(r *record, s sockID) {
	hot, all := r.inbound.counts()
	if hot == 0 && r.inbound.state == RemoteHot {
		c.setRemote(r, RemoteWarm)
	}
	if all == 0 {
		c.tell(notice{in: inRemoteIdle, r: r, sock: s})
	}
}

// halfEnded stops counting the responders of one half of a connection with oneself; the other half lives.
func (c *core) halfEnded(r *record, accepted bool) {
	h := &r.inbound.running[0]
	if accepted {
		h = &r.inbound.running[1]
	}
	counted := h.hot+h.other > 0
	*h = responders{}
	if counted {
		c.fewerResponders(r, 0)
	}
}

// remoteNotice tells a record what its remote does; the answer decides the remote state.
func (c *core) remoteNotice(n notice) {
	r := n.r
	res := c.apply(r, n.in)
	e := &r.inbound
	if e.state == RemoteNone { // closing, or pruned instead
		return
	}
	switch {
	case n.in == inRemoteAwake:
		c.setRemote(r, RemoteWarm)
		if hot, _ := e.counts(); hot > 0 {
			c.setRemote(r, RemoteHot)
		}
	case n.in == inRemoteIdle && res == resOK && e.state != RemoteCold:
		c.setRemote(r, RemoteIdle)
	// The idle timer is gone by now, whatever the answer: it cannot spin (connmgr §11 item 4). After a commit in OutboundIdle (I5) the
	// entry stays: the remote may still awake (G4).
	case n.in == inIdleExpired && res == resKeep && e.state == RemoteIdle:
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
