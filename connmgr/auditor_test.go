package connmgr

import (
	"sync"
	"time"
)

// auditor checks a manager's transitions as they come.
type auditor struct {
	mu       sync.Mutex
	fail     func(format string, args ...any)
	last     map[RecordID]State
	since    map[RecordID]time.Duration
	remote   map[ConnID]RemoteState
	seen     map[[2]State]int
	bounds   [numStates]time.Duration
	notUsual int
	pruned   int
	ended    chan error // if set, gets the errors of connections that end
}

func newAuditor(t Timeouts, fail func(format string, args ...any)) *auditor {
	t = t.withDefaults()
	a := &auditor{fail: fail, last: map[RecordID]State{}, since: map[RecordID]time.Duration{}, remote: map[ConnID]RemoteState{}, seen: map[[2]State]int{}}
	a.bounds[StateReservedOutbound] = t.Connect + time.Second
	a.bounds[StateUnnegotiatedInbound], a.bounds[StateUnnegotiatedOutbound] = handshakeLimit, handshakeLimit
	a.bounds[StateInboundIdleUni], a.bounds[StateInboundIdleDup], a.bounds[StateOutboundDupTicking] = t.RemoteIdle, t.RemoteIdle, t.RemoteIdle
	a.bounds[StateOutboundIdleUni], a.bounds[StateOutboundIdleDup] = t.OutboundIdle, t.OutboundIdle
	a.bounds[StateTerminating] = t.TimeWait + drain
	return a
}

// prop_connection_manager_valid_transitions, _valid_transition_order, _no_invalid_traces, prop_timeouts_enforced.
func (a *auditor) transition(t Transition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[[2]State{t.From, t.To}]++
	if a.last[t.Record] != t.From {
		a.fail("record %d: %v does not follow %v", t.Record, t, a.last[t.Record])
	}
	if t.Unexpected && t.Row != "E6" {
		a.fail("unexpected: %+v", t)
	}
	if t.Unexpected {
		a.notUsual++
	} else if !LegalTransition(t.From, t.To) {
		a.fail("illegal: %+v", t)
	}
	if t.Row == "P1" {
		a.pruned++
	}
	begin, timed := a.since[t.Record], a.bounds[t.From]
	if timed > 0 && t.At-begin > timed+timed/10 {
		a.fail("record %d was in %v for %v", t.Record, t.From, t.At-begin)
	}
	// The remote's idle timer goes on across InboundIdle ⇄ OutboundDup(Ticking).
	ticking := func(s State) bool { return s == StateInboundIdleDup || s == StateOutboundDupTicking }
	if !ticking(t.From) || !ticking(t.To) {
		a.since[t.Record] = t.At
	}
	a.last[t.Record] = t.To
	if a.ended != nil && t.Err != nil {
		a.ended <- t.Err
	}
	if t.To == StateUnknown {
		delete(a.last, t.Record)
		delete(a.since, t.Record)
	}
}

func (a *auditor) remoteTransition(id ConnID, from, to RemoteState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.remote[id] != from || !LegalRemoteTransition(from, to) {
		a.fail("remote of %v: %v → %v after %v", id, from, to, a.remote[id])
	}
	a.remote[id] = to
	if to == RemoteNone {
		delete(a.remote, id)
	}
}

func (a *auditor) atRest() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.last) > 0 {
		a.fail("records that do not end in Unknown: %v", a.last)
	}
	if len(a.remote) > 0 {
		a.fail("remote states that do not end: %v", a.remote)
	}
}
