package connmgr

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// RecordID identifies a connection's record for the life of the process: two records of the same 4-tuple, one terminating
// and one fresh, have different ids. Traces are keyed by it (connmgr §1.1).
type RecordID uint64

// ConnID is a connection's 4-tuple. Local is the zero value until connect has returned.
type ConnID struct{ Local, Remote netip.AddrPort }

// sockID and ticket are names the shell gives: for a socket, and for a call that waits for its answer.
type (
	sockID uint64
	ticket uint64
)

// coreConfig holds what the core decides by; zero durations switch the timer off, except that TIME_WAIT 0 means none at all.
type coreConfig struct {
	Hard, Reserve int  // inbound limit and how much of it only protected peers may use
	Responders    bool // we run responders: initiator-and-responder or responder-only mode

	RemoteIdle, OutboundIdle, TimeWait, Maturity time.Duration
	Connect, Handshake, TupleBusy                time.Duration
}

// maxSelf bounds the set of addresses known to be our own.
const maxSelf = 1024

// drain is how long an orderly close may take before TIME_WAIT begins (connmgr §1.9).
const drain = 2 * time.Second

// core is the connection manager's and the inbound governor's state, a pure step machine: events in, effects out. It knows no
// clock, socket or goroutine. One owner calls it. Memory is bounded by the sockets and calls its owner hands in.
type core struct {
	cfg coreConfig
	rnd *rand.Rand

	now      time.Duration
	lastID   RecordID
	records  map[RecordID]*record
	byRemote map[netip.AddrPort][]*record // the entries; a record that was forgotten but still has a socket is not here
	self     map[netip.AddrPort]struct{}
	busy     map[RecordID]*busyWait
	timers   timers
	counters Counters
	remote   RemoteCounters
	mature   map[RecordID]*record
	closed   bool

	dirty   []*record // whose waiters have to be looked at
	effects []effect
	hit     func(row string) // of a test
	hold    func(notice)     // of the model check: takes notices instead of their being delivered at once
}

// record is one connection.
type record struct {
	id        RecordID
	conn      ConnID
	known     bool // the local address
	bound     netip.AddrPort
	state     State
	out, in   sockID // sockets; both only in a self connection
	handle    sockID // the one that was negotiated
	protected bool
	gone      bool // off the map
	created   time.Duration
	changed   time.Duration
	err       error

	dial     ticket   // the acquire that opened it, until answered
	acquires []ticket // that wait for the inbound handshake (D)
	releases []ticket // that wait for the outbound idle timer (K)
	watches  []ticket // wait-for-outbound-demotion

	inbound inboundEntry
}

func (r *record) sockets() int {
	n := 0
	if r.out != 0 {
		n++
	}
	if r.in != 0 {
		n++
	}
	return n
}

// busyWait is an acquire whose connect found the 4-tuple taken.
type busyWait struct {
	ticket ticket
	remote netip.AddrPort
	err    error
}

// eventKind says what happened.
type eventKind uint8

const (
	evAcquire          eventKind = iota // ticket, remote, reuseOnly, bound, protected
	evDialled                           // id, sock, local
	evDialFailed                        // id, fail, err
	evOutHandshake                      // id, sock, outcome, flow, shares, err
	evAccepted                          // sock, local, remote, protected
	evInHandshake                       // id, sock, outcome, flow, shares, err
	evResponderStarted                  // id, sock, hot
	evResponderEnded                    // id, sock, hot, err
	evRelease                           // id, ticket
	evWatch                             // id, ticket
	evEnded                             // id, sock, err
	evTimers                            // whatever is due
	evShutdown
)

// event is one step's input; which fields count is said at its kind.
type event struct {
	kind          eventKind
	id            RecordID
	sock          sockID
	ticket        ticket
	local, remote netip.AddrPort
	bound         netip.AddrPort // where a dial will bind; zero: an ephemeral port
	reuseOnly     bool
	protected     bool
	outcome       outcome
	fail          dialFailure
	flow          DataFlow
	shares        bool
	hot           bool
	err           error
}

// outcome of a handshake.
type outcome uint8

const (
	handshakeOK outcome = iota
	handshakeRefused
	handshakeViolation
	handshakeQuery
)

// dialFailure says how connect failed.
type dialFailure uint8

const (
	dialConnect dialFailure = iota
	dialSocket              // no descriptor
	dialBusy                // the 4-tuple is in use
)

type effectKind uint8

const (
	effDial   effectKind = iota // id, remote: connect, then evDialled or evDialFailed
	effReply                    // ticket, res, id, sock, err
	effClose                    // sock, how, err; evEnded follows when it is closed
	effArm                      // id, sock: start all responders
	effTrace                    // trace
	effRemote                   // id, conn, remoteFrom, remoteTo
)

type effect struct {
	kind                 effectKind
	id                   RecordID
	conn                 ConnID
	sock                 sockID
	ticket               ticket
	res                  result
	how                  fx // one of fxClose…
	err                  error
	trace                Transition
	remoteFrom, remoteTo RemoteState
}

// Transition is one step of one record.
type Transition struct {
	Record   RecordID
	Conn     ConnID
	From, To State
	Row      string // line of connmgr §1.4, "A9"
	Name     string // of the design document, "AwakeDuplexLocal"; may be empty
	At       time.Duration
	// Unexpected marks what only a defect or a misbehaving kernel brings about.
	Unexpected bool
	// Err is what has ended the connection, if something went wrong; nil before that.
	Err error
}

func newCore(cfg coreConfig, rnd *rand.Rand) *core {
	return &core{
		cfg:      cfg,
		rnd:      rnd,
		records:  map[RecordID]*record{},
		byRemote: map[netip.AddrPort][]*record{},
		self:     map[netip.AddrPort]struct{}{},
		busy:     map[RecordID]*busyWait{},
		mature:   map[RecordID]*record{},
	}
}

// step handles one event. The result is the caller's answer; what has to be done is in the effects, in order, valid until the
// next step.
func (c *core) step(now time.Duration, e event) (result, RecordID, []effect) {
	c.begin(now)
	res, id := c.dispatch(e)
	return res, id, c.finish()
}

func (c *core) begin(now time.Duration) {
	c.now = max(c.now, now)
	clear(c.effects)
	c.effects = c.effects[:0]
}

func (c *core) finish() []effect {
	for len(c.dirty) > 0 {
		r := c.dirty[0]
		c.dirty = c.dirty[1:]
		c.settle(r)
	}
	c.dirty = nil
	return c.effects
}

func (c *core) dispatch(e event) (result, RecordID) {
	r := c.records[e.id]
	switch e.kind {
	case evAcquire:
		return resNone, c.acquire(e)
	case evDialled:
		return c.dialled(r, e), e.id
	case evDialFailed:
		return c.dialFailed(r, e), e.id
	case evOutHandshake:
		return c.outHandshake(r, e), e.id
	case evAccepted:
		return c.accepted(e)
	case evInHandshake:
		return c.inHandshake(r, e), e.id
	case evResponderStarted:
		c.responderStarted(r, e)
	case evResponderEnded:
		c.responderEnded(r, e)
	case evRelease:
		return c.release(r, e), e.id
	case evWatch:
		c.watch(r, e)
	case evEnded:
		c.ended(r, e)
	case evTimers:
		c.fire()
	case evShutdown:
		c.shutdown()
	}
	return resNone, e.id
}

// nextTimer returns when evTimers is due.
func (c *core) nextTimer() (time.Duration, bool) { return c.timers.next() }

// apply runs the state machine of one record and performs what the rule asks for.
func (c *core) apply(r *record, in input) result {
	to, rule := next(r.state, in)
	if rule == nil {
		c.mark("?")
		c.trace(r, r.state, r.state, "?", "", true)
		return resImpossible
	}
	c.mark(rule.row)
	if rule.fx&fxPrune != 0 && c.prune(r, to) {
		return resTerminated
	}
	from := r.state
	if to != from {
		c.setState(r, to)
	}
	if to != from || rule.fx&fxAssert != 0 {
		c.trace(r, from, to, rule.row, rule.name, rule.fx&fxAssert != 0)
	}
	if how := rule.fx & (fxCloseReset | fxCloseRefused | fxCloseQuery | fxCloseOrderly); how != 0 {
		c.closeSockets(r, how)
	}
	if rule.fx&fxForget != 0 {
		c.forget(r)
	}
	return rule.res
}

// ask answers for what has no record: the state it has in the table, Unknown or Terminated, does not change.
func (c *core) ask(s State, in input) result {
	_, rule := next(s, in)
	c.mark(rule.row)
	return rule.res
}

func (c *core) mark(row string) {
	if c.hit != nil {
		c.hit(row)
	}
}

func (c *core) trace(r *record, from, to State, row, name string, unexpected bool) {
	c.emit(effect{kind: effTrace, trace: Transition{r.id, r.conn, from, to, row, name, c.now, unexpected, r.err}})
}

func (c *core) emit(e effect) { c.effects = append(c.effects, e) }

func (c *core) reply(t ticket, res result, r *record, err error) {
	e := effect{kind: effReply, ticket: t, res: res, err: err}
	if r != nil {
		e.id, e.conn, e.sock = r.id, r.conn, r.handle
	}
	c.emit(e)
}

func (c *core) closeSockets(r *record, how fx) {
	for _, s := range [2]sockID{r.out, r.in} {
		if s != 0 {
			c.emit(effect{kind: effClose, id: r.id, conn: r.conn, sock: s, how: how, err: r.err})
		}
	}
}

// setState moves a record and its counters and timers along.
func (c *core) setState(r *record, to State) {
	c.counters.add(r.state.counts(), -1)
	c.counters.add(to.counts(), 1)
	if k, _ := c.stateTimer(r.state); k != timerNone {
		c.timers.stop(r.id, k)
	}
	r.state = to
	r.changed = c.now
	if k, d := c.stateTimer(to); k != timerNone {
		c.timers.set(r.id, k, c.now+d)
	}
	if !to.usable() {
		c.untrack(r)
	}
	c.dirty = append(c.dirty, r)
}

// usable tells whether mini-protocols may run in the state.
func (s State) usable() bool {
	return s >= StateOutboundUni && s <= StateOutboundIdleDup
}

// stateTimer returns the timer of a state that this core runs itself; the inbound governor runs the other one.
func (c *core) stateTimer(s State) (timerKind, time.Duration) {
	switch s {
	case StateReservedOutbound:
		return timerConnect, c.cfg.Connect
	case StateUnnegotiatedOutbound, StateUnnegotiatedInbound:
		return timerHandshake, c.cfg.Handshake
	case StateOutboundIdleUni, StateOutboundIdleDup:
		return timerOutboundIdle, c.cfg.OutboundIdle
	case StateTerminating:
		return timerTimeWait, drain + c.cfg.TimeWait
	}
	return timerNone, 0
}

// newRecord makes a record in state Unknown; apply moves it on.
func (c *core) newRecord(conn ConnID) *record {
	c.lastID++
	r := &record{id: c.lastID, conn: conn, created: c.now, changed: c.now}
	c.records[r.id] = r
	c.byRemote[conn.Remote] = append(c.byRemote[conn.Remote], r)
	return r
}

// forget takes the entry off the map. The record stays known until its sockets are closed.
func (c *core) forget(r *record) {
	if r.gone {
		return
	}
	r.gone = true
	list := c.byRemote[r.conn.Remote]
	list = slices.DeleteFunc(list, func(o *record) bool { return o == r })
	if len(list) == 0 {
		delete(c.byRemote, r.conn.Remote)
	} else {
		c.byRemote[r.conn.Remote] = list
	}
	c.trace(r, r.state, StateUnknown, "", "", false)
	if r.sockets() == 0 {
		delete(c.records, r.id)
	}
	c.dirty = append(c.dirty, r)
}

// find returns the entry of a 4-tuple; a pending dial counts when it is bound to that very address.
func (c *core) find(conn ConnID) *record {
	var pending *record
	for _, r := range c.byRemote[conn.Remote] {
		if r.known && r.conn.Local == conn.Local {
			return r
		}
		if !r.known && r.bound == conn.Local {
			pending = r
		}
	}
	return pending
}

// settle answers the calls that waited for a change of the record.
func (c *core) settle(r *record) {
	if r.gone {
		c.answerDial(r, resDisconnected)
	}
	waiting := r.acquires
	r.acquires = nil
	for _, t := range waiting {
		c.tell(notice{in: inWaited, r: r, ticket: t})
	}
	if len(r.releases) > 0 && r.state != StateOutboundIdleUni && r.state != StateOutboundIdleDup {
		res := resUnsupported
		switch {
		case r.state == StateTerminating || r.state == StateTerminated || r.gone:
			res = resOK
			c.mark("K2")
		default:
			c.mark("K3")
		}
		for _, t := range r.releases {
			c.reply(t, res, r, nil)
		}
		r.releases = nil
	}
	if r.demoted() {
		for _, t := range r.watches {
			c.reply(t, resOK, r, r.err)
		}
		r.watches = nil
	}
}

// demoted tells whether our half of the connection is over (connmgr §2.1, last row).
func (r *record) demoted() bool {
	switch r.state {
	case StateUnnegotiatedInbound, StateInboundIdleUni, StateInboundIdleDup, StateInboundUni, StateInboundDup, StateTerminated:
		return true
	}
	return r.gone
}

// sorted returns all records by age.
func (c *core) sorted() []*record {
	all := make([]*record, 0, len(c.records))
	for _, r := range c.records {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.id, b.id) })
	return all
}
