package connmgr

import (
	"slices"
	"time"
)

// check asserts the invariants of connmgr §12 at both ends.
func (w *world) check(fail failure) {
	for x, e := range w.end {
		checkCore(e.core, fail)
		sockets := map[sockID]RecordID{}
		for _, r := range e.core.sorted() {
			for _, s := range []sockID{r.out, r.in} {
				if s != 0 {
					if sockets[s] != 0 {
						fail("socket %d belongs to two records", s)
					}
					sockets[s] = r.id
				}
			}
			w.checkOwner(x, r, fail)
		}
		for i := range w.links {
			for side, s := range w.links[i].end {
				if int(s.at) != x {
					continue
				}
				sock := sockOf(i, side)
				live := (s.state == sockOpen || s.state == sockBroken) && s.rec != 0
				if live && sockets[sock] != s.rec && !s.closing && s.state != sockBroken {
					fail("socket %d of end %d has no record", sock, x)
				}
				if !live && sockets[sock] != 0 && s.state == sockClosed {
					fail("record %d of end %d keeps a closed socket", sockets[sock], x)
				}
			}
		}
		// Who waits is known exactly once.
		waits := 0
		for _, r := range e.core.sorted() {
			for _, t := range slices.Concat([]ticket{r.dial}, r.acquires, r.releases) {
				if t == e.ticket && t != 0 {
					waits++
				}
			}
		}
		for _, b := range e.core.busy {
			if b.ticket == e.ticket {
				waits++
			}
		}
		for _, n := range e.mail {
			if n.in == inWaited && n.ticket == e.ticket {
				waits++
			}
		}
		if want := map[bool]int{true: 1}[e.ticket != 0]; waits != want {
			fail("end %d: ticket %d of governor %d waits in %d places", x, e.ticket, e.gov, waits)
		}
	}
	// One connection per pair under any order of opens, as long as both bind their ports and nothing is half-open.
	if !w.cfg.lostResets && !w.cfg.hairpin {
		for x := range w.end {
			n := 0
			for i := range w.links {
				if s := w.links[i].end[x]; w.links[i].tuple == 0 && s.state == sockOpen && !s.unreported {
					n++
				}
			}
			if n > 1 {
				fail("%d connections between the same ports", n)
			}
		}
	}
}

// checkOwner: no state is without an owner or a timer.
func (w *world) checkOwner(x int, r *record, fail failure) {
	e := w.end[x]
	has := func(k timerKind) bool { _, ok := e.core.timers.due(r.id, k); return ok }
	dying := false
	for _, s := range []sockID{r.out, r.in} {
		if _, se := w.socket(s); se != nil && (se.closing || se.state == sockBroken) {
			dying = true
		}
	}
	// Who has been told of something by a notice that is on its way will be told of it.
	ok := slices.ContainsFunc(e.mail, func(n notice) bool { return n.r == r && n.in != inWaited })
	if ok {
		return
	}
	_, running := r.inbound.counts()
	switch r.state {
	case StateReservedOutbound:
		ok = has(timerConnect)
	case StateUnnegotiatedOutbound, StateUnnegotiatedInbound:
		ok = has(timerHandshake) && r.sockets() > 0
	case StateInboundIdleUni, StateInboundIdleDup, StateOutboundDupTicking:
		ok = has(timerRemoteIdle) || running > 0 || dying
	case StateOutboundUni, StateOutboundDupExpired:
		ok = e.gov == govUsing && e.using == r.id || dying
	case StateInboundUni, StateInboundDup, StateDuplex:
		ok = running > 0 || dying
	case StateOutboundIdleUni, StateOutboundIdleDup:
		ok = has(timerOutboundIdle)
	case StateTerminating:
		ok = has(timerTimeWait)
	case StateTerminated:
		ok = r.sockets() > 0 && dying
	}
	if !ok {
		fail("end %d: record %d in %v has neither owner nor timer", x, r.id, r.state)
	}
	if (r.state == StateDuplex || r.state == StateOutboundDupTicking) && e.using != r.id && !dying && e.gov != govIdle {
		fail("end %d: %v without a user", x, r.state)
	}
}

// checkCore asserts what needs no knowledge of the outside: the counters are the truth, limits hold, the inbound governor's
// entries are those of usable records, timers are within their bounds.
func checkCore(c *core, fail failure) {
	var counters Counters
	var remote RemoteCounters
	tuples := map[ConnID]bool{}
	for _, r := range c.sorted() {
		counters.add(r.state.counts(), 1)
		remote.add(r.inbound.state, 1)
		if (r.inbound.state != RemoteNone) != r.state.usable() && r.inbound.state != RemoteNone {
			fail("the inbound governor tracks record %d in %v", r.id, r.state)
		}
		flow, negotiated := r.state.DataFlow()
		if c.cfg.Responders && negotiated && (flow == Duplex || r.state.counts().Inbound == 1) && r.inbound.state == RemoteNone {
			fail("the inbound governor does not track record %d in %v", r.id, r.state)
		}
		if offered := r.inbound.fresh || r.inbound.mature; offered != (negotiated && flow == Duplex && r.inbound.state != RemoteNone) {
			fail("record %d in %v: fresh %v, mature %v", r.id, r.state, r.inbound.fresh, r.inbound.mature)
		}
		if r.inbound.mature != (c.mature[r.id] == r) {
			fail("record %d: mature set is wrong", r.id)
		}
		if r.known && !r.gone {
			if tuples[r.conn] {
				fail("two entries of %v", r.conn)
			}
			tuples[r.conn] = true
		}
		if r.gone && r.sockets() == 0 {
			fail("record %d is kept for nothing", r.id)
		}
		if r.gone != !slices.Contains(c.byRemote[r.conn.Remote], r) {
			fail("record %d: the map is wrong", r.id)
		}
	}
	if counters != c.counters {
		fail("counters %+v, truth %+v", c.counters, counters)
	}
	if remote != c.remote {
		fail("remote counters %+v, truth %+v", c.remote, remote)
	}
	if counters.Inbound > c.cfg.Hard {
		fail("inbound %d above the hard limit %d", counters.Inbound, c.cfg.Hard)
	}
	bounds := map[timerKind]time.Duration{
		timerConnect: c.cfg.Connect, timerHandshake: c.cfg.Handshake, timerOutboundIdle: c.cfg.OutboundIdle, timerTimeWait: c.cfg.TimeWait + drain,
		timerRemoteIdle: c.cfg.RemoteIdle, timerMaturity: c.cfg.Maturity, timerTupleBusy: c.cfg.TupleBusy,
	}
	for _, t := range c.timers.heap {
		if t.due-c.now > bounds[t.kind] {
			fail("timer %v of %d is %v away", t.kind, t.id, t.due-c.now)
		}
		if c.records[t.id] == nil && c.busy[t.id] == nil {
			fail("timer %v of nobody", t.kind)
		}
	}
	for remote, list := range c.byRemote {
		if len(list) == 0 {
			fail("empty entry of %v", remote)
		}
	}
}
