package connmgr

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// The model is the product of two ends' cores, the kernels between them and a governor at each end that acquires, uses and
// releases. Everything that can happen next is a move; the search takes all of them from every state it has not seen.

type governorState uint8

const (
	govIdle governorState = iota
	govAcquiring
	govUsing
	govReleasing
)

type modelEnd struct {
	core      *core
	now       time.Duration
	gov       governorState
	ticket    ticket // outstanding
	extra     ticket // of a second, impatient acquire
	using     RecordID
	used      RecordID // by an acquire before
	sock      sockID
	dialling  RecordID // pending dial
	ephemeral bool     // … from an ephemeral port
	acquires  int
	last      map[RecordID]State // for chaining
	down      bool
}

type sockState uint8

const (
	sockNone    sockState = iota
	sockPending           // connected by the kernel, not accepted
	sockOpen
	sockBroken // the kernel reports an error; the owner has not seen it
	sockClosed
)

type linkEnd struct {
	state   sockState
	rec     RecordID
	dialler bool
	closing bool  // the core has asked for it
	done    bool  // handshake successful here
	failed  bool  // handshake failed here
	armed   bool  // responders
	running uint8 // responders running here: 0, 1 (one that is not hot), 2 (and a hot one)
}

// modelLink is one TCP connection. Its sockets are numbered 2·index+end+1.
type modelLink struct {
	tuple uint8 // 0: both ports bound; 1, 2: ephemeral at end 0, 1
	end   [2]linkEnd
	sent  outcome // what the server answered, once done or failed
	flow  DataFlow
}

type world struct {
	cfg   modelConfig
	end   [2]*modelEnd
	links []modelLink
	hit   map[string]bool
	sent  map[[2]State]bool
}

type modelConfig struct {
	name                     string
	hard                     int
	protected                bool
	acquires, links          int // budget
	ephemeral, reuse, faults bool
	lostResets, refusals     bool
	shutdown                 bool
	uni                      bool // connections between bound ports may be unidirectional
	impatient                bool // acquires again before the first has been answered or released
	single                   bool // only end 0 dials
}

var modelAddr = [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:3001"), netip.MustParseAddrPort("10.0.0.2:3001")}

func ephemeralAddr(end int) netip.AddrPort { return netip.AddrPortFrom(modelAddr[end].Addr(), 40000) }

func newWorld(cfg modelConfig) *world {
	w := &world{cfg: cfg, hit: map[string]bool{}, sent: map[[2]State]bool{}}
	for i := range w.end {
		c := newCore(coreConfig{
			Hard: cfg.hard, Responders: true,
			RemoteIdle: 5 * time.Second, OutboundIdle: 5 * time.Second, TimeWait: 60 * time.Second, Maturity: 900 * time.Second,
			Connect: 10 * time.Second, Handshake: 20 * time.Second, TupleBusy: time.Second,
		}, rand.New(rand.NewPCG(1, 2)))
		w.end[i] = &modelEnd{core: c, last: map[RecordID]State{}}
	}
	return w
}

func (w *world) clone() *world {
	n := &world{cfg: w.cfg, hit: w.hit, sent: w.sent, links: slices.Clone(w.links)}
	for i, e := range w.end {
		d := *e
		d.last = maps.Clone(e.last)
		d.core = e.core.clone()
		n.end[i] = &d
	}
	return n
}

func (c *core) clone() *core {
	n := *c
	n.rnd = rand.New(rand.NewPCG(1, 2))
	n.effects, n.dirty = nil, nil
	n.records = map[RecordID]*record{}
	for id, r := range c.records {
		d := *r
		d.acquires, d.releases, d.watches = slices.Clone(r.acquires), slices.Clone(r.releases), slices.Clone(r.watches)
		n.records[id] = &d
	}
	n.byRemote = map[netip.AddrPort][]*record{}
	for a, list := range c.byRemote {
		for _, r := range list {
			n.byRemote[a] = append(n.byRemote[a], n.records[r.id])
		}
	}
	n.mature = map[RecordID]*record{}
	for id := range c.mature {
		n.mature[id] = n.records[id]
	}
	n.self = maps.Clone(c.self)
	n.busy = map[RecordID]*busyWait{}
	for id, b := range c.busy {
		d := *b
		n.busy[id] = &d
	}
	n.timers = timers{byKey: map[timerKey]*timer{}, seq: c.timers.seq}
	for _, e := range c.timers.heap {
		d := *e
		n.timers.heap = append(n.timers.heap, &d)
		n.timers.byKey[d.timerKey] = &d
	}
	return &n
}

// key is the state without its history: times only count by their order.
func (w *world) key() string {
	b := make([]byte, 0, 256)
	bits := func(flags ...bool) {
		var x byte
		for i, f := range flags {
			if f {
				x |= 1 << i
			}
		}
		b = append(b, x)
	}
	for _, e := range w.end {
		rank := map[RecordID]byte{}
		for i, r := range e.core.sorted() {
			rank[r.id] = byte(i + 1)
			bits(r.known, r.gone, r.protected, r.dial != 0, r.inbound.dead, r.inbound.mature, r.conn.Local.Port() == 40000, r.conn.Remote.Port() == 40000)
			b = append(b, byte(r.state), byte(r.out), byte(r.in), byte(r.handle), byte(len(r.acquires)), byte(len(r.releases)), byte(len(r.watches)),
				byte(r.inbound.state), byte(r.inbound.hot), byte(r.inbound.other))
		}
		due := slices.Clone(e.core.timers.heap)
		slices.SortFunc(due, func(a, b *timer) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
		for _, x := range due {
			b = append(b, 255, rank[x.id], byte(x.kind))
		}
		bits(e.core.closed, e.ephemeral, e.down, e.used != 0 && e.core.records[e.used] == nil)
		b = append(b, 254, byte(len(e.core.busy)), byte(e.gov), rank[e.using], byte(e.sock), rank[e.dialling], byte(e.acquires), byte(e.extra))
	}
	for _, l := range w.links {
		b = append(b, l.tuple, byte(l.sent), byte(l.flow))
		for _, s := range l.end {
			bits(s.dialler, s.closing, s.done, s.failed, s.armed)
			b = append(b, byte(s.state), s.running)
		}
	}
	return string(b)
}

type failure func(format string, args ...any)

// step runs one event at one end and carries its effects out.
func (w *world) step(fail failure, x int, e event) (result, RecordID) {
	end := w.end[x]
	end.core.hit = func(row string) { w.hit[row] = true }
	res, id, effects := end.core.step(end.now, e)
	for _, f := range slices.Clone(effects) {
		w.effect(fail, x, f)
	}
	return res, id
}

func (w *world) effect(fail failure, x int, f effect) {
	end := w.end[x]
	switch f.kind {
	case effDial:
		end.dialling = f.id
	case effClose:
		if l, s := w.socket(f.sock); s != nil {
			s.closing = true
			_ = l
		} else {
			fail("close of unknown socket %d", f.sock)
		}
	case effArm:
		if _, s := w.socket(f.sock); s != nil {
			s.armed = true
		} else {
			fail("arm of unknown socket %d", f.sock)
		}
	case effTrace:
		t := f.trace
		w.sent[[2]State{t.From, t.To}] = true
		last, ok := end.last[t.Record]
		if !ok {
			last = StateUnknown
		}
		if t.From != last {
			fail("record %d: %v → %v (%s) does not follow %v", t.Record, t.From, t.To, t.Row, last)
		}
		if t.Unexpected {
			// Only a fresh socket over a record whose own socket is dead is expected of the unexpected.
			if t.Row != "E6" {
				fail("unexpected: %+v", t)
			}
		} else if !t.Unexpected && !LegalTransition(t.From, t.To) {
			fail("illegal: %+v", t)
		}
		end.last[t.Record] = t.To
		if t.To == StateUnknown {
			delete(end.last, t.Record)
		}
	case effRemote:
		if !LegalRemoteTransition(f.remoteFrom, f.remoteTo) {
			fail("remote %v → %v", f.remoteFrom, f.remoteTo)
		}
	case effReply:
		if f.ticket == end.extra && f.ticket != 0 {
			end.extra = 0
			if f.res == resConnected {
				if end.gov == govUsing {
					fail("end %d: two users of its connections", x)
				}
				end.gov, end.using, end.sock, end.used = govUsing, f.id, f.sock, f.id
			}
			return
		}
		if f.ticket != end.ticket || f.ticket == 0 {
			fail("end %d: reply to ticket %d, which does not wait (%d)", x, f.ticket, end.ticket)
			return
		}
		end.ticket = 0
		if end.gov == govAcquiring && f.res == resConnected {
			end.gov, end.using, end.sock, end.used = govUsing, f.id, f.sock, f.id
			return
		}
		if end.gov == govUsing {
			return // the second acquire was faster
		}
		if end.gov == govAcquiring && f.err == nil {
			fail("acquire failed without an error: %+v", f)
		}
		end.gov, end.using, end.sock = govIdle, 0, 0
	}
}

func (w *world) socket(s sockID) (*modelLink, *linkEnd) {
	i := int(s) - 1
	if i < 0 || i/2 >= len(w.links) {
		return nil, nil
	}
	return &w.links[i/2], &w.links[i/2].end[i%2]
}

func sockOf(link, end int) sockID { return sockID(2*link + end + 1) }

// addrs of a link as one end sees it.
func (w *world) conn(l *modelLink, x int) ConnID {
	a := modelAddr
	if l.tuple > 0 {
		a[l.tuple-1] = ephemeralAddr(int(l.tuple - 1))
	}
	return ConnID{a[x], a[1-x]}
}

// owned tells whether the kernel of end x has the tuple.
func (w *world) owned(tuple uint8, x int) bool {
	for i := range w.links {
		s := w.links[i].end[x].state
		if w.links[i].tuple == tuple && (s == sockPending || s == sockOpen || s == sockBroken) {
			return true
		}
	}
	return false
}

type move struct {
	name string
	do   func(w *world, fail failure)
}

// moves lists everything that can happen next.
func (w *world) moves() []move {
	var all []move
	add := func(do func(w *world, fail failure), format string, args ...any) {
		all = append(all, move{fmt.Sprintf(format, args...), do})
	}
	for x := range w.end {
		w.governorMoves(x, add)
		w.dialMoves(x, add)
		if due, ok := w.end[x].core.nextTimer(); ok {
			add(func(w *world, fail failure) {
				w.end[x].now = due
				w.step(fail, x, event{kind: evTimers})
			}, "%d timer", x)
		}
		if w.cfg.shutdown && !w.end[x].down && x == 0 {
			add(func(w *world, fail failure) {
				w.end[x].down = true
				w.step(fail, x, event{kind: evShutdown})
			}, "%d shutdown", x)
		}
	}
	for i := range w.links {
		w.linkMoves(i, add)
	}
	return all
}

type adder func(do func(w *world, fail failure), format string, args ...any)

func (w *world) governorMoves(x int, add adder) {
	e := w.end[x]
	acquire := func(ephemeral, reuse bool) {
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.acquires++
			e.gov = govAcquiring
			e.ticket = ticket(e.acquires)
			e.ephemeral = ephemeral
			ev := event{kind: evAcquire, ticket: e.ticket, remote: modelAddr[1-x], reuseOnly: reuse, protected: w.cfg.protected}
			if !ephemeral {
				ev.bound = modelAddr[x]
			}
			w.step(fail, x, ev)
		}, "%d acquire ephemeral=%v reuse=%v", x, ephemeral, reuse)
	}
	if e.gov == govIdle && e.ticket == 0 && e.extra == 0 && e.acquires < w.cfg.acquires && (!w.cfg.single || x == 0) {
		acquire(false, false)
		if w.cfg.ephemeral {
			acquire(true, false)
		}
		if w.cfg.reuse {
			acquire(false, true)
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
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.acquires++
			e.extra = ticket(50 + e.acquires)
			w.step(fail, x, event{kind: evAcquire, ticket: e.extra, remote: modelAddr[1-x], reuseOnly: true})
		}, "%d acquires once more", x)
	}
	if e.gov != govUsing {
		return
	}
	l, own := w.socket(e.sock)
	if own.state != sockOpen || own.closing {
		if e.ticket != 0 || e.extra != 0 {
			return
		}
		add(func(w *world, fail failure) { w.end[x].gov, w.end[x].using, w.end[x].sock = govIdle, 0, 0 }, "%d gives up", x)
		return
	}
	peer := &l.end[1-x]
	canRun := peer.state == sockOpen && peer.done && peer.armed && !peer.closing
	index := (int(e.sock) - 1) / 2
	if canRun && peer.running < 2 {
		add(func(w *world, fail failure) {
			p := &w.links[index].end[1-x]
			p.running++
			w.step(fail, 1-x, event{kind: evResponderStarted, id: p.rec, hot: p.running == 2})
		}, "%d starts an initiator", x)
	}
	if peer.running > 0 && canRun {
		add(func(w *world, fail failure) {
			p := &w.links[index].end[1-x]
			p.running--
			w.step(fail, 1-x, event{kind: evResponderEnded, id: p.rec, hot: p.running == 1})
		}, "%d stops an initiator", x)
	}
	if (peer.running == 0 || !canRun) && e.ticket == 0 && e.extra == 0 {
		add(func(w *world, fail failure) {
			e := w.end[x]
			e.gov = govReleasing
			e.ticket = ticket(100 + e.acquires)
			w.step(fail, x, event{kind: evRelease, id: e.using, ticket: e.ticket})
		}, "%d releases", x)
	}
}

var errModel = errors.New("model")

func (w *world) dialMoves(x int, add adder) {
	e := w.end[x]
	if e.dialling == 0 {
		return
	}
	tuple := uint8(0)
	if e.ephemeral {
		tuple = uint8(x + 1)
	}
	failDial := func(how dialFailure, name string) {
		add(func(w *world, fail failure) {
			id := w.end[x].dialling
			w.end[x].dialling = 0
			w.step(fail, x, event{kind: evDialFailed, id: id, fail: how, err: errModel})
		}, "%d dial fails: %s", x, name)
	}
	if w.cfg.faults {
		failDial(dialConnect, "network")
		failDial(dialSocket, "socket")
	}
	if w.owned(tuple, x) {
		failDial(dialBusy, "tuple busy")
		return
	}
	if len(w.links) >= w.cfg.links {
		if !w.cfg.faults {
			failDial(dialConnect, "network")
		}
		return
	}
	connect := func(simultaneous bool) {
		add(func(w *world, fail failure) {
			l := modelLink{tuple: tuple}
			// A stale end over there answers the SYN, is found out and dies.
			for i := range w.links {
				if s := &w.links[i].end[1-x]; w.links[i].tuple == tuple && s.state == sockOpen {
					s.state = sockBroken
				}
			}
			l.end[x] = linkEnd{state: sockOpen, rec: w.end[x].dialling, dialler: true}
			l.end[1-x] = linkEnd{state: sockPending}
			if simultaneous {
				l.end[1-x] = linkEnd{state: sockOpen, rec: w.end[1-x].dialling, dialler: true}
			}
			w.links = append(w.links, l)
			index := len(w.links) - 1
			for _, y := range [2]int{x, 1 - x} {
				if !w.links[index].end[y].dialler {
					continue
				}
				id := w.end[y].dialling
				w.end[y].dialling = 0
				res, _ := w.step(fail, y, event{kind: evDialled, id: id, sock: sockOf(index, y), local: w.conn(&l, y).Local})
				if res != resProceed {
					w.links[index].end[y].closing = true // the shell closes what the core did not take
					w.links[index].end[y].rec = 0
				}
			}
		}, "%d connects simultaneous=%v", x, simultaneous)
	}
	if !w.end[1-x].down {
		connect(false)
	}
	if o := w.end[1-x]; tuple == 0 && o.dialling != 0 && !o.ephemeral && x == 0 && !w.owned(0, 1) {
		connect(true)
	}
}

func (w *world) linkMoves(i int, add adder) {
	l := &w.links[i]
	for x := range l.end {
		s := l.end[x]
		switch {
		case s.state == sockPending:
			add(func(w *world, fail failure) {
				l := &w.links[i]
				conn := w.conn(l, x)
				l.end[x].state = sockOpen
				res, id := w.step(fail, x, event{kind: evAccepted, sock: sockOf(i, x), local: conn.Local, remote: conn.Remote, protected: w.cfg.protected})
				l = &w.links[i]
				l.end[x].rec = id
				l.end[x].closing = l.end[x].closing || res != resProceed
			}, "%d accepts %d", x, i)
		case s.state == sockOpen && s.closing:
			for _, lost := range []bool{false, true} {
				if lost && !w.cfg.lostResets {
					continue
				}
				add(func(w *world, fail failure) { w.closeEnd(fail, i, x, !lost, nil) }, "%d closes %d lost=%v", x, i, lost)
			}
		case s.state == sockBroken:
			add(func(w *world, fail failure) { w.closeEnd(fail, i, x, false, errModel) }, "%d notices the end of %d", x, i)
		case s.state == sockOpen:
			w.handshakeMoves(i, x, add)
			if w.cfg.faults && l.end[1-x].state == sockOpen && x == 0 {
				add(func(w *world, fail failure) {
					for y := range w.links[i].end {
						w.links[i].end[y].state = sockBroken
					}
				}, "%d breaks", i)
			}
		}
	}
}

// closeEnd is the end of a connection's goroutine.
func (w *world) closeEnd(fail failure, i, x int, tell bool, err error) {
	s := &w.links[i].end[x]
	s.state = sockClosed
	s.running, s.armed = 0, false
	if o := &w.links[i].end[1-x]; tell && (o.state == sockOpen || o.state == sockPending) {
		if o.state == sockPending {
			o.state = sockClosed
		} else {
			o.state = sockBroken
		}
	}
	if s.rec != 0 {
		w.step(fail, x, event{kind: evEnded, id: s.rec, sock: sockOf(i, x), err: err})
	}
	if e := w.end[x]; e.gov == govUsing && e.sock == sockOf(i, x) {
		e.gov, e.using, e.sock = govIdle, 0, 0
	}
}

func (w *world) handshakeMoves(i, x int, add adder) {
	l := &w.links[i]
	s, o := &l.end[x], &l.end[1-x]
	if s.done || s.failed || s.rec == 0 {
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
			if l.end[x].dialler {
				kind = evOutHandshake
			} else {
				l.sent, l.flow = out, flow
			}
			l.end[x].done = out == handshakeOK
			l.end[x].failed = out != handshakeOK
			res, _ := w.step(fail, x, event{kind: kind, id: l.end[x].rec, sock: sockOf(i, x), outcome: out, flow: flow, err: errModel})
			if res != resConnected {
				l := &w.links[i]
				l.end[x].done, l.end[x].failed, l.end[x].closing = false, true, true
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
