package connmgr

import "net/netip"

// The governors of the model, which acquire, use and release.

func (w *world) governorMoves(x int, add adder) {
	e := w.end[x]
	bound := modelAddr[x]
	if w.cfg.wildcard && x == 0 {
		bound = netip.AddrPortFrom(netip.IPv4Unspecified(), bound.Port())
	}
	acquire := func(how string, change func(*event)) {
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.acquires++
			e.gov = govAcquiring
			e.ticket = ticket(e.acquires)
			ev := event{kind: evAcquire, ticket: e.ticket, remote: modelAddr[1-x], bound: bound, protected: w.cfg.protected}
			change(&ev)
			w.step(fail, x, ev)
		}, "%d acquires%s", x, how)
	}
	if e.gov == govIdle && e.ticket == 0 && e.extra == 0 && e.acquires < w.cfg.acquires && (!w.cfg.single || x == 0) {
		acquire("", func(*event) {})
		if w.cfg.ephemeral {
			acquire(" from an ephemeral port", func(ev *event) { ev.bound = netip.AddrPort{} })
		}
		if w.cfg.reuse {
			acquire(" without dialling", func(ev *event) { ev.reuseOnly = true })
		}
		if w.cfg.self && x == 0 {
			acquire(" itself", func(ev *event) { ev.remote = modelAddr[x] })
		}
	}
	if e.gov == govIdle && e.ticket == 0 && e.used != 0 && e.core.records[e.used] == nil {
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.gov, e.ticket = govReleasing, 99
			id := e.used
			e.used = 0
			w.step(fail, x, event{kind: evRelease, id: id, ticket: 99})
		}, "%d late release of what is gone", x)
	}
	if e.gov == govIdle && e.ticket == 0 && e.acquires > 0 && w.cfg.faults {
		// A governor that is late releases what it no longer has, or has not got yet.
		for _, r := range e.core.sorted() {
			if _, told := e.last[r.id]; !told || r.state == StateOutboundUni || r.state == StateDuplex ||
				r.state == StateOutboundDupTicking || r.state == StateOutboundDupExpired {
				continue
			}
			id := r.id
			add(func(w *world, fail failure) {
				e := w.end[x]
				e.gov = govReleasing
				e.acquires++
				e.ticket = ticket(e.acquires)
				w.step(fail, x, event{kind: evRelease, id: id, ticket: e.ticket})
			}, "%d late release %d", x, id)
			break
		}
	}
	if e.gov != govIdle && e.extra == 0 && w.cfg.impatient && e.acquires < w.cfg.acquires+1 {
		once := func(how string, ev event) {
			add(func(w *world, fail failure) {
				e := w.end[x]
				e.acquires++
				e.extra = ticket(50 + e.acquires)
				ev.ticket = e.extra
				w.step(fail, x, ev)
			}, "%d %s once more", x, how)
		}
		once("acquires without dialling", event{kind: evAcquire, remote: modelAddr[1-x], reuseOnly: true})
		if len(w.cfg.late) > 0 {
			once("acquires", event{kind: evAcquire, remote: modelAddr[1-x], bound: bound})
		}
		if e.gov == govReleasing {
			once("releases", event{kind: evRelease, id: e.using})
		}
	}
	if e.gov != govUsing {
		return
	}
	l, own := w.socket(e.sock)
	unnoticed := own.state == sockBroken && w.cfg.forgets
	if own.state != sockOpen && !unnoticed || own.closing {
		if e.ticket != 0 || e.extra != 0 {
			return
		}
		add(func(w *world, fail failure) { w.end[x].gov, w.end[x].using, w.end[x].sock = govIdle, 0, 0 }, "%d gives up", x)
		return
	}
	index, side := int(e.sock-1)/2, int(e.sock-1)%2
	peer := &l.end[1-side]
	canRun := peer.state == sockOpen && w.responds(index, 1-side)
	if canRun && !w.cfg.free {
		w.responderMoves(index, 1-side, add)
	}
	if (peer.running == 0 || !canRun || w.cfg.free) && e.ticket == 0 && (e.extra == 0 || len(w.cfg.late) > 0) {
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.gov = govReleasing
			e.ticket = ticket(100 + e.acquires)
			w.step(fail, x, event{kind: evRelease, id: e.using, ticket: e.ticket})
		}, "%d releases", x)
	}
}

// responds tells whether responders run on a side of a link at all.
func (w *world) responds(i, side int) bool {
	l, s := &w.links[i], &w.links[i].end[side]
	return s.done && !s.closing && (!s.dialler || l.flow == Duplex)
}

// responderMoves: the other side starts an initiator, or stops one.
func (w *world) responderMoves(i, side int, add adder) {
	s := w.links[i].end[side]
	x := int(s.at)
	if s.running < 2 {
		add(func(w *world, fail failure) {
			s := &w.links[i].end[side]
			s.running++
			w.step(fail, x, event{kind: evResponderStarted, id: s.rec, sock: sockOf(i, side), hot: s.running == 2})
		}, "%d: a responder starts on %d", x, i)
	}
	if s.running > 0 {
		add(func(w *world, fail failure) {
			s := &w.links[i].end[side]
			s.running--
			w.step(fail, x, event{kind: evResponderEnded, id: s.rec, sock: sockOf(i, side), hot: s.running == 1})
		}, "%d: a responder ends on %d", x, i)
	}
}
