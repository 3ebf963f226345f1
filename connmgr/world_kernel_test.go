package connmgr

import "errors"

// The kernels of the model and the network between them.

var errModel = errors.New("model")

func (w *world) dialMoves(x int, add adder) {
	for i := range w.end[x].dials {
		w.oneDialMoves(x, i, add)
	}
}

func (w *world) oneDialMoves(x, i int, add adder) {
	d := w.end[x].dials[i]
	if d.link > 0 {
		add(func(w *world, fail failure) { w.reportDial(fail, x, i, d.link-1) }, "%d reports connection %d", x, d.link-1)
		return
	}
	failDial := func(how dialFailure, name string) {
		add(func(w *world, fail failure) {
			w.dropDial(x, i)
			w.step(fail, x, event{kind: evDialFailed, id: d.rec, fail: how, err: errModel})
		}, "%d dial fails: %s", x, name)
	}
	if d.self {
		add(func(w *world, fail failure) {
			w.dropDial(x, i)
			if res, _ := w.step(fail, x, event{kind: evDialled, id: d.rec, sock: 1000, local: modelAddr[x]}); res == resProceed {
				fail("a connection to itself proceeds")
			}
		}, "%d connects to itself", x)
		return
	}
	if w.cfg.faults {
		failDial(dialConnect, "network")
		failDial(dialSocket, "socket")
	}
	if w.owned(d.tuple, x) {
		if w.cfg.hairpin { // the other socket belongs to somebody else's kernel
			return
		}
		failDial(dialBusy, "tuple busy")
		return
	}
	if len(w.links) >= w.cfg.links {
		if !w.cfg.faults {
			failDial(dialConnect, "network")
		}
		return
	}
	if !w.end[1-x].down {
		add(func(w *world, fail failure) { w.connect(fail, x, i, -1) }, "%d connects", x)
	}
	if d.tuple != 0 || x != 0 || w.owned(0, 1) {
		return
	}
	for j, o := range w.end[1].dials {
		if o.tuple == 0 && o.link == 0 && !o.self {
			add(func(w *world, fail failure) { w.connect(fail, x, i, j) }, "both connect at once")
		}
	}
}

func (w *world) dropDial(x, i int) {
	e := w.end[x]
	e.dials = append(e.dials[:i:i], e.dials[i+1:]...)
}

// connect is the kernel's part of a dial; with j ≥ 0 it is a simultaneous open with that dial of end 1.
func (w *world) connect(fail failure, x, i, j int) {
	d := w.end[x].dials[i]
	l := modelLink{tuple: d.tuple}
	// A stale end over there answers the SYN, is found out and dies.
	for i := range w.links {
		if s := &w.links[i].end[1-x]; w.links[i].tuple == d.tuple && s.state == sockOpen && int(s.at) == 1-x {
			s.state = sockBroken
		}
	}
	l.end[x] = linkEnd{at: uint8(x), state: sockOpen, dialler: true, unreported: true}
	l.end[1-x] = linkEnd{at: uint8(1 - x), state: sockPending}
	if w.cfg.hairpin {
		l.end[1-x].at = uint8(x)
	}
	if j >= 0 {
		l.end[1-x] = linkEnd{at: uint8(1 - x), state: sockOpen, dialler: true, unreported: true}
	}
	w.links = append(w.links, l)
	index := len(w.links) - 1
	w.end[x].dials[i].link = index + 1
	if j >= 0 {
		w.end[1-x].dials[j].link = index + 1
	}
	if w.cfg.lateDials {
		return
	}
	w.reportDial(fail, x, i, index)
	if j >= 0 {
		w.reportDial(fail, 1-x, j, index)
	}
}

// reportDial is the goroutine's part.
func (w *world) reportDial(fail failure, x, i, index int) {
	d := w.end[x].dials[i]
	w.dropDial(x, i)
	s := &w.links[index].end[x]
	s.rec, s.unreported = d.rec, false
	res, _ := w.step(fail, x, event{kind: evDialled, id: d.rec, sock: sockOf(index, x), local: tupleOf(d.tuple, x).Local})
	if res != resProceed {
		s := &w.links[index].end[x]
		s.closing = true // the shell closes what the core did not take
		s.rec = 0
	}
}

func (w *world) linkMoves(i int, add adder) {
	l := &w.links[i]
	for side, s := range l.end {
		x := int(s.at)
		switch {
		case s.unreported:
		case s.state == sockPending:
			add(func(w *world, fail failure) {
				l := &w.links[i]
				conn := tupleOf(l.tuple, x)
				l.end[side].state = sockOpen
				res, id := w.step(fail, x, event{kind: evAccepted, sock: sockOf(i, side), local: conn.Local, remote: conn.Remote, protected: w.cfg.protected})
				s := &w.links[i].end[side]
				s.rec = id
				s.closing = s.closing || res != resProceed
			}, "%d accepts %d", x, i)
		case s.state == sockOpen && s.closing:
			for _, lost := range []bool{false, true} {
				if lost && !w.cfg.lostResets {
					continue
				}
				add(func(w *world, fail failure) { w.closeEnd(fail, i, side, !lost, nil) }, "%d closes %d lost=%v", x, i, lost)
			}
			if w.cfg.crossing {
				w.handshakeMoves(i, side, add)
			}
		case s.state == sockBroken:
			add(func(w *world, fail failure) { w.closeEnd(fail, i, side, false, errModel) }, "%d notices the end of %d", x, i)
			if w.cfg.forgets && l.end[1-side].done { // the answer had been read
				w.handshakeMoves(i, side, add)
			}
		case s.state == sockOpen:
			w.handshakeMoves(i, side, add)
			if w.cfg.free && w.responds(i, side) {
				w.responderMoves(i, side, add)
			}
		}
	}
	if s := l.end; w.cfg.faults && s[0].state == sockOpen && (s[1].state == sockOpen || s[1].state == sockPending && w.cfg.forgets) {
		add(func(w *world, fail failure) {
			for side := range w.links[i].end {
				s := &w.links[i].end[side]
				if s.state == sockPending {
					s.state = sockClosed
				} else {
					s.state = sockBroken
				}
			}
		}, "%d breaks", i)
	}
}

// closeEnd is the end of a connection's goroutine.
func (w *world) closeEnd(fail failure, i, side int, tell bool, err error) {
	s := &w.links[i].end[side]
	x := int(s.at)
	s.state = sockClosed
	s.running = 0
	if o := &w.links[i].end[1-side]; tell && (o.state == sockOpen || o.state == sockPending) {
		if o.state == sockPending {
			o.state = sockClosed
		} else {
			o.state = sockBroken
		}
	}
	if s.rec != 0 {
		w.step(fail, x, event{kind: evEnded, id: s.rec, sock: sockOf(i, side), err: err})
	}
	if e := w.end[x]; e.gov == govUsing && e.sock == sockOf(i, side) {
		e.gov, e.using, e.sock = govIdle, 0, 0
	}
}

func (w *world) handshakeMoves(i, side int, add adder) {
	l := &w.links[i]
	s, o := &l.end[side], &l.end[1-side]
	x := int(s.at)
	if s.done || s.failed || s.rec == 0 || o.unreported {
		return
	}
	flow := Duplex
	if l.tuple > 0 || s.dialler && !o.dialler && o.done {
		flow = l.flow
	}
	finish := func(out outcome) {
		flow := flow
		add(func(w *world, fail failure) {
			l := &w.links[i]
			kind := evInHandshake
			if l.end[side].dialler {
				kind = evOutHandshake
			} else {
				l.sent = out
			}
			if out == handshakeOK {
				l.flow = flow
			}
			l.end[side].done = out == handshakeOK
			l.end[side].failed = out != handshakeOK
			res, _ := w.step(fail, x, event{kind: kind, id: l.end[side].rec, sock: sockOf(i, side), outcome: out, flow: flow, err: errModel})
			if res != resConnected {
				s := &w.links[i].end[side]
				s.done, s.failed, s.closing = false, true, true
			}
		}, "%d handshake on %d: %d %v", x, i, out, flow)
	}
	switch {
	case !s.dialler: // the server decides
		finish(handshakeOK)
		if w.cfg.uni {
			flow = Unidirectional
			finish(handshakeOK)
			flow = Duplex
		}
		if w.cfg.refusals {
			finish(handshakeRefused)
			finish(handshakeQuery)
			finish(handshakeViolation)
		}
	case o.dialler: // simultaneous open: both ends come to the same answer by themselves
		finish(handshakeOK)
		if w.cfg.refusals {
			finish(handshakeRefused)
		}
	case o.done:
		finish(handshakeOK)
	case o.failed:
		finish(l.sent)
	}
	if s.dialler && w.cfg.faults {
		finish(handshakeViolation)
	}
}
