package connmgr

import (
	"cmp"
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
	core     *core
	now      time.Duration
	gov      governorState
	ticket   ticket // outstanding
	extra    ticket // of a second, impatient acquire
	using    RecordID
	used     RecordID // by an acquire before
	sock     sockID
	dials    []modelDial
	acquires int
	last     map[RecordID]State // for chaining
	down     bool
	mail     []notice // held back
}

// modelDial is a connect under way.
type modelDial struct {
	rec   RecordID
	tuple uint8
	self  bool // to our own address
	link  int  // 1 + the link that the kernel has made of it and its goroutine has not reported
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
	at         uint8 // which end of the model has it
	state      sockState
	rec        RecordID
	dialler    bool
	unreported bool  // connected, but the core does not know yet
	closing    bool  // the core has asked for it
	done       bool  // handshake successful here
	failed     bool  // handshake failed here
	running    uint8 // responders running here: 0, 1 (one that is not hot), 2 (and a hot one)
}

// modelLink is one TCP connection. Its sockets are numbered 2·index+side+1. A side is the end of the same number, unless both are
// end 0's: it has come back to itself by a way on which its addresses were translated, so that both look like one 4-tuple.
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
	tally *tally
}

type modelConfig struct {
	name                     string
	prefix                   []string // names of the moves that lead to where the search begins
	depth                    int      // of the search; 4 more under HEARTH_SOAK
	hard                     int
	protected                bool
	acquires, links          int // budget
	ephemeral, reuse, faults bool
	lostResets, refusals     bool
	shutdown                 bool
	uni                      bool    // connections between bound ports may be unidirectional
	impatient                bool    // a governor that asks again before it has been answered
	single                   bool    // only end 0 dials
	free                     bool    // the remote starts and stops initiators as it likes
	hairpin                  bool    // what end 0 dials comes back to it
	self                     bool    // end 0 dials its own address, too
	wildcard                 bool    // end 0 binds to the wildcard address
	forgets                  bool    // a broken connection's 4-tuple is free before its owner has noticed
	lateDials                bool    // a goroutine that has connected reports it later
	crossing                 bool    // handshakes report their results after they have been given up
	late                     []input // the notices that are held back
	lateEnd                  int     // … at this end only
}

var modelAddr = [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:3001"), netip.MustParseAddrPort("10.0.0.2:3001")}

func ephemeralAddr(end int) netip.AddrPort { return netip.AddrPortFrom(modelAddr[end].Addr(), 40000) }

func newWorld(cfg modelConfig) *world {
	w := &world{cfg: cfg, tally: newTally()}
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
	n := &world{cfg: w.cfg, tally: w.tally, links: slices.Clone(w.links)}
	for i, e := range w.end {
		d := *e
		d.last = maps.Clone(e.last)
		d.dials = slices.Clone(e.dials)
		d.core = e.core.clone()
		d.mail = slices.Clone(e.mail)
		gone := map[*record]*record{}
		for i, m := range d.mail {
			if m.r == nil {
				continue
			}
			if r := d.core.records[m.r.id]; r != nil {
				d.mail[i].r = r
			} else {
				if gone[m.r] == nil {
					r := *m.r
					gone[m.r] = &r
				}
				d.mail[i].r = gone[m.r]
			}
		}
		n.end[i] = &d
	}
	return n
}

func (c *core) clone() *core {
	n := *c
	n.rnd = rand.New(rand.NewPCG(1, 2))
	n.effects, n.dirty = nil, nil
	n.records = make(map[RecordID]*record, len(c.records))
	for id, r := range c.records {
		d := *r
		d.acquires, d.releases, d.watches = slices.Clone(r.acquires), slices.Clone(r.releases), slices.Clone(r.watches)
		n.records[id] = &d
	}
	n.byRemote = make(map[netip.AddrPort][]*record, len(c.byRemote))
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
	n.timers = timers{byKey: make(map[timerKey]*timer, len(c.timers.byKey)), seq: c.timers.seq}
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
			bits(r.known, r.gone, r.protected, r.dial != 0, r.inbound.mature, r.conn.Local.Port() == 40000, r.conn.Remote.Port() == 40000)
			for _, h := range r.inbound.running {
				b = append(b, byte(h.hot), byte(h.other))
			}
			b = append(b, byte(r.state), byte(r.out), byte(r.in), byte(r.handle), byte(len(r.acquires)), byte(len(r.releases)), byte(len(r.watches)),
				byte(r.inbound.state))
		}
		due := slices.Clone(e.core.timers.heap)
		slices.SortFunc(due, func(a, b *timer) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
		for _, x := range due {
			b = append(b, 255, rank[x.id], byte(x.kind))
		}
		bits(e.core.closed, e.down, e.used != 0 && e.core.records[e.used] == nil, len(e.core.self) > 0)
		b = append(b, 254, byte(len(e.core.busy)), byte(e.gov), rank[e.using], byte(e.sock), byte(e.acquires), byte(e.extra))
		for _, d := range e.dials {
			bits(d.self)
			b = append(b, 253, rank[d.rec], d.tuple, byte(d.link))
		}
		for _, m := range e.mail {
			b = append(b, 252, byte(m.in), byte(m.sock), byte(m.ticket))
			if m.r != nil {
				bits(m.r.gone)
				b = append(b, rank[m.r.id])
			}
		}
	}
	for _, l := range w.links {
		b = append(b, l.tuple, byte(l.sent), byte(l.flow))
		for _, s := range l.end {
			bits(s.dialler, s.unreported, s.closing, s.done, s.failed, s.at == 1)
			b = append(b, byte(s.state), s.running)
		}
	}
	return string(b)
}

// odd tells whether the configuration has what the table itself calls unexpected.
func (c modelConfig) odd() bool { return len(c.late) > 0 || c.forgets || c.hairpin }

type failure func(format string, args ...any)

// step runs one event at one end and carries its effects out.
func (w *world) step(fail failure, x int, e event) (result, RecordID) {
	end := w.hooked(x)
	res, id, effects := end.core.step(end.now, e)
	for _, f := range slices.Clone(effects) {
		w.effect(fail, x, f)
	}
	return res, id
}

// hooked is an end whose core reports the rows it takes, and gives away the notices that are to be late.
func (w *world) hooked(x int) *modelEnd {
	end := w.end[x]
	end.core.hit = w.tally.row
	end.core.hold = nil
	if len(w.cfg.late) > 0 && x == w.cfg.lateEnd {
		end.core.hold = func(n notice) {
			if slices.Contains(w.cfg.late, n.in) {
				end.mail = append(end.mail, n)
			} else {
				end.core.deliver(n)
			}
		}
	}
	return end
}

// deliver hands over a notice that was held back.
func (w *world) deliver(fail failure, x, i int) {
	end := w.hooked(x)
	n := end.mail[i]
	end.mail = slices.Delete(end.mail, i, i+1)
	end.core.begin(end.now)
	end.core.deliver(n)
	for _, f := range slices.Clone(end.core.finish()) {
		w.effect(fail, x, f)
	}
}

// deliverable tells whether a notice may come next: those about one record's responders come in order, except that a start may
// overtake the end before it; so do the calls that wait. Timers fire as they like.
func deliverable(mail []notice, i int) bool {
	responders := func(n notice) bool { return n.in == inRemoteAwake || n.in == inRemoteIdle }
	for _, before := range mail[:i] {
		switch {
		case before.r != mail[i].r:
		case responders(before) && responders(mail[i]) && (before.in != inRemoteIdle || mail[i].in != inRemoteAwake):
			return false
		case before.in == mail[i].in:
			return false
		}
	}
	return true
}

func (w *world) effect(fail failure, x int, f effect) {
	end := w.end[x]
	switch f.kind {
	case effDial:
		d := modelDial{rec: f.id, self: f.conn.Remote == modelAddr[x]}
		if end.core.records[f.id].bound == (netip.AddrPort{}) {
			d.tuple = uint8(x + 1)
		}
		end.dials = append(end.dials, d)
	case effClose:
		if _, s := w.socket(f.sock); s != nil {
			s.closing = true
		} else {
			fail("close of unknown socket %d", f.sock)
		}
	case effArm:
		if _, s := w.socket(f.sock); s == nil {
			fail("arm of unknown socket %d", f.sock)
		}
	case effTrace:
		t := f.trace
		w.tally.transition(t.From, t.To)
		last, ok := end.last[t.Record]
		if !ok {
			last = StateUnknown
		}
		if t.From != last {
			fail("record %d: %v → %v (%s) does not follow %v", t.Record, t.From, t.To, t.Row, last)
		}
		if t.Unexpected {
			// Of two correct ends the only thing unexpected is a fresh socket over a record whose own socket is dead.
			if t.Row != "E6" && !w.cfg.odd() {
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
		w.reply(fail, x, f)
	}
}

// spare is the ticket of calls whose answer nobody waits for.
const spare ticket = 97

func (w *world) reply(fail failure, x int, f effect) {
	end := w.end[x]
	switch f.ticket {
	case spare:
		return
	case 0:
		fail("end %d: reply to nobody", x)
	case end.extra:
		end.extra = 0
	case end.ticket:
		end.ticket = 0
		if f.res == resConnected {
			break
		}
		if end.gov == govAcquiring && f.err == nil {
			fail("acquire failed without an error: %+v", f)
		}
		if end.gov != govUsing { // otherwise the second acquire was faster
			end.gov, end.using, end.sock = govIdle, 0, 0
		}
	default:
		fail("end %d: reply to ticket %d, which does not wait (%d)", x, f.ticket, end.ticket)
	}
	if f.res != resConnected {
		return
	}
	if _, s := w.socket(end.sock); end.gov == govUsing && s.state == sockOpen && !s.closing {
		if f.id == end.using {
			fail("end %d: two users of one connection", x)
		}
		// It has asked twice, and got two connections.
		w.step(fail, x, event{kind: evRelease, id: f.id, ticket: spare})
		return
	}
	end.gov, end.using, end.sock, end.used = govUsing, f.id, f.sock, f.id
}

func (w *world) socket(s sockID) (*modelLink, *linkEnd) {
	i := int(s) - 1
	if i < 0 || i/2 >= len(w.links) {
		return nil, nil
	}
	return &w.links[i/2], &w.links[i/2].end[i%2]
}

func sockOf(link, end int) sockID { return sockID(2*link + end + 1) }

// tupleOf is a 4-tuple as one end sees it.
func tupleOf(tuple uint8, x int) ConnID {
	a := modelAddr
	if tuple > 0 {
		a[tuple-1] = ephemeralAddr(int(tuple - 1))
	}
	return ConnID{a[x], a[1-x]}
}

// owned tells whether the kernel of end x has the tuple.
func (w *world) owned(tuple uint8, x int) bool {
	for i := range w.links {
		for _, s := range w.links[i].end {
			if w.links[i].tuple == tuple && int(s.at) == x && (s.state == sockPending || s.state == sockOpen || s.state == sockBroken && !w.cfg.forgets) {
				return true
			}
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
		for i, n := range w.end[x].mail {
			if deliverable(w.end[x].mail, i) {
				add(func(w *world, fail failure) { w.deliver(fail, x, i) }, "%d hears of %s", x, inputNames[n.in])
			}
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

// move makes the move of a name.
func (w *world) move(name string, fail failure) {
	var names []string
	for _, m := range w.moves() {
		if m.name == name {
			m.do(w, fail)
			w.check(fail)
			return
		}
		names = append(names, m.name)
	}
	fail("no move %q among %q", name, names)
}

type adder func(do func(w *world, fail failure), format string, args ...any)
