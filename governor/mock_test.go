package governor

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// clock is one event heap in virtual time; many cores may share it. What is due at one instant comes in the order in which it was
// asked for, or in any order if shuffle is set.
type clock struct {
	now     time.Duration
	seq     uint64
	items   alarms
	shuffle *rand.Rand
}

type alarm struct {
	at  time.Duration
	seq uint64
	do  func()
}

type alarms []alarm

func (a alarms) Len() int { return len(a) }
func (a alarms) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a alarms) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)   { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	old := *a
	x := old[len(old)-1]
	old[len(old)-1] = alarm{}
	*a = old[:len(old)-1]
	return x
}

func (k *clock) after(d time.Duration, do func()) { k.at(k.now+max(0, d), do) }

func (k *clock) at(t time.Duration, do func()) {
	seq := k.seq
	if k.seq++; k.shuffle != nil {
		seq = k.shuffle.Uint64()
	}
	heap.Push(&k.items, alarm{t, seq, do})
}

// run runs everything up to and including end.
func (k *clock) run(end time.Duration) {
	for len(k.items) > 0 && k.items[0].at <= end {
		a := heap.Pop(&k.items).(alarm)
		k.now = a.at
		a.do()
	}
	k.now = end
}

// mockPeer is a remote in the mock environment: a script of what it does.
type mockPeer struct {
	addr     netip.AddrPort
	latency  time.Duration // of every order
	down     []span        // when it cannot be connected to, and connections break
	failing  int           // of 100 connects
	fault    Fault         // of these
	retry    time.Duration // if > 0, failing connects carry it as a retry-after
	badAct   int           // of 100 activations
	badDeact int           // of 100 deactivations
	hung     int           // of 100 deactivations: the time-out closes the connection, nobody's fault
	shares   bool
	answer   time.Duration // latency of share answers
	silent   int           // of 100 share requests never answered
	knows    []netip.AddrPort
	returns  time.Duration // mean time until hot protocols return; 0 never
	backoff  time.Duration // exit policy's delay for it, negative none
	breaks   time.Duration // mean time until the connection breaks; 0 never
	lingers  time.Duration // cooling before cold
	calls    []span        // when it has a duplex connection to us
	turns    []turn        // what its connections do by themselves, one after the other

	status  Temperature
	conn    int // number of the connection, to tell stale alarms
	closing int // one more than the number of the connection that is being closed
	connect int // connects so far
}

// turn is a step of a script that all connections of a peer share: after so long the connection goes to. Cold ends it; Hot stands for a
// connection that is left alone.
type turn struct {
	to    Temperature
	after time.Duration
}

type span struct{ from, to time.Duration }

func (s span) has(t time.Duration) bool { return s.from <= t && t < s.to }

func (p *mockPeer) isDown(t time.Duration) bool {
	return slices.ContainsFunc(p.down, func(s span) bool { return s.has(t) })
}

// source is one kind of roots in the mock environment.
type source struct {
	peers   []RootPeer
	ttl     time.Duration
	latency time.Duration
	fails   []span
	all     bool // every answer is everything, whatever was asked for
}

// step is one step of a run, as it went.
type step struct {
	at      time.Duration
	event   Event
	effects []Effect
	trace   []Trace
	counts  tallies
	targets Targets
}

// tallies are the counts properties look at.
type tallies struct {
	known, established, active          int
	knownBig, establishedBig, activeBig int
	roots, local, boot, trusted         int
	connecting                          int
	sensitive, onlyTrusted              bool
}

// mock is a core in its environment.
type mock struct {
	*clock
	core    *Core
	rnd     *rand.Rand
	peers   map[netip.AddrPort]*mockPeer
	order   []*mockPeer
	sources [sourceCount]source
	inbound []InboundPeer
	cut     []span // when the node's own network is out

	local    []LocalRootGroup
	settings RootSettings
	ledger   LedgerSet

	wake  time.Duration
	log   []step
	noLog bool
	check func(*mock, step) error
	err   error
	told  map[netip.AddrPort]bool // everybody anything ever named
	asked map[netip.AddrPort]time.Duration

	exact bool          // latencies are what they say, and demotions take none
	late  time.Duration // > 0: results of orders may come later than what they tell of, up to this
}

func newMock(t testing.TB, cfg Config, seed uint64) *mock {
	t.Helper()
	core, err := NewCore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &mock{clock: &clock{}, core: core, rnd: rand.New(rand.NewPCG(seed, 1)), peers: map[netip.AddrPort]*mockPeer{},
		wake: Never, told: map[netip.AddrPort]bool{}, asked: map[netip.AddrPort]time.Duration{}}
}

func (m *mock) add(p *mockPeer) *mockPeer {
	m.peers[p.addr] = p
	m.order = append(m.order, p)
	return p
}

// feed gives the core an event and carries out what it orders.
func (m *mock) feed(ev Event) {
	if m.err != nil {
		return
	}
	m.name(ev)
	out := m.core.Step(ev, m.now)
	s := step{m.now, ev, slices.Clone(out.Effects), slices.Clone(out.Trace), m.tallies(), m.core.targets}
	if !m.noLog {
		m.log = append(m.log, s)
	}
	if m.check != nil {
		if err := m.check(m, s); err != nil {
			m.err = fmt.Errorf("at %v after %T%+v: %w", m.now, ev, ev, err)
			return
		}
	}
	for _, e := range s.effects {
		m.carryOut(e)
	}
	if w := out.Wake; w != Never && w < m.wake {
		m.wake = w
		m.at(max(w, m.now), func() { m.tick(w) })
	}
}

func (m *mock) tick(w time.Duration) {
	if m.wake != w {
		return
	}
	m.wake = Never
	m.feed(Tick{})
}

// name notes whom an event names.
func (m *mock) name(ev Event) {
	note := func(as ...netip.AddrPort) {
		for _, a := range as {
			m.told[a] = true
		}
	}
	switch e := ev.(type) {
	case Begin:
		for _, g := range e.LocalRoots {
			note(g.Members...)
		}
	case LocalRootsSet:
		for _, g := range e.Groups {
			note(g.Members...)
		}
	case RootsAnswered:
		for _, p := range e.Peers {
			note(p.Peer)
		}
	case Answered:
		note(e.Peers...)
	case InboundListed:
		for _, p := range e.Peers {
			note(p.Peer)
		}
	case Restored:
		for _, p := range e.Peers {
			note(p.Peer)
		}
	}
}

func (m *mock) tallies() tallies {
	c := m.core
	o, b := c.tot[kindOrdinary], c.tot[kindBig]
	return tallies{o.known, o.established, o.active, b.known, b.established, b.active, c.rootPeers(), c.known[classLocal],
		c.known[classBootstrap], c.trusted, c.n[kindOrdinary][connecting], c.sensitive(), c.onlyTrusted}
}

func (m *mock) isCut() bool {
	return slices.ContainsFunc(m.cut, func(s span) bool { return s.has(m.now) })
}

func (m *mock) chance(percent int) bool { return m.rnd.IntN(100) < percent }

// speed is exactly if m is exact, else usually.
func (m *mock) speed(exactly, usually time.Duration) time.Duration {
	if m.exact {
		return exactly
	}
	return usually
}

// explore makes m take another course with every seed: what happens at one instant comes in any order, and results of orders may come
// long after the connection has changed again. Reports of Watch are never late, for the shell hands them over first.
func (m *mock) explore(seed uint64, late time.Duration) {
	m.shuffle, m.late = rand.New(rand.NewPCG(seed, 2)), late
}

// result gives the core the result of an order.
func (m *mock) result(ev Event) {
	if m.late <= 0 || m.shuffle.IntN(2) == 0 {
		m.feed(ev)
		return
	}
	m.after(time.Duration(m.shuffle.Int64N(int64(m.late)+1)), func() { m.feed(ev) })
}

// around draws from 50 % to 150 % of d.
func (m *mock) around(d time.Duration) time.Duration {
	if m.exact {
		return d
	}
	return d/2 + time.Duration(m.rnd.Int64N(int64(d)+1))
}

var errNet = &Failure{Text: "refused"}

func (m *mock) carryOut(e Effect) {
	switch e.Kind {
	case Connect:
		m.connectPeer(e)
	case Activate:
		p := m.peers[e.Peer]
		m.after(m.around(p.latency)/m.speed(1, 4), func() { m.activatePeer(p, e.Job) })
	case Deactivate:
		p := m.peers[e.Peer]
		m.after(m.around(p.latency)*m.speed(0, 1), func() { m.deactivatePeer(p, e.Job) })
	case Disconnect:
		p := m.peers[e.Peer]
		if p == nil {
			return
		}
		conn := p.conn
		p.closing = conn + 1
		m.after(m.around(p.latency)*m.speed(0, 1)+p.lingers, func() {
			if p.conn == conn {
				m.report(p, Cold, -1, nil)
			}
			if e.Job != 0 {
				m.result(Disconnected{Job: e.Job, Peer: e.Peer})
			}
		})
	case AskForPeers:
		p := m.peers[e.Peer]
		m.asked[e.Peer] = m.now
		if m.chance(p.silent) || m.isCut() {
			return
		}
		m.after(p.answer, func() {
			if p.status < Warm {
				m.result(Answered{Job: e.Job, Peer: e.Peer, Failure: errNet})
				return
			}
			n := min(e.N, len(p.knows))
			answer := make([]netip.AddrPort, 0, n)
			for _, i := range m.rnd.Perm(len(p.knows))[:n] {
				answer = append(answer, p.knows[i])
			}
			m.result(Answered{Job: e.Job, Peer: e.Peer, Peers: answer})
		})
	case RequestRoots:
		s := &m.sources[e.Source]
		m.after(m.around(s.latency), func() { m.answerRoots(s, e) })
	case ListInbound:
		m.after(0, func() { m.result(InboundListed{Peers: m.inbound}) })
	case VerifySnapshot:
		m.after(0, func() { m.feed(SnapshotVerified{OK: true}) })
	}
}

func (m *mock) answerRoots(s *source, e Effect) {
	if m.isCut() || slices.ContainsFunc(s.fails, func(f span) bool { return f.has(m.now) }) {
		m.result(RootsAnswered{Job: e.Job, Failure: errNet})
		return
	}
	n := min(e.N, len(s.peers))
	if s.all {
		n = len(s.peers)
	}
	var out []RootPeer
	for _, i := range m.rnd.Perm(len(s.peers))[:n] {
		out = append(out, s.peers[i])
	}
	m.result(RootsAnswered{Job: e.Job, Peers: out, TTL: s.ttl})
}

// report changes the status of a connection and tells the core.
func (m *mock) report(p *mockPeer, to Temperature, retry time.Duration, cause *Failure) {
	if p.status == to {
		return
	}
	p.status = to
	if to == Cold {
		p.conn++
	}
	m.feed(StatusSeen{Peer: p.addr, Temperature: to, RetryAfter: retry, Cause: cause})
}

func (m *mock) connectPeer(e Effect) {
	p := m.peers[e.Peer]
	if p == nil {
		m.after(time.Second, func() { m.result(Connected{Job: e.Job, Peer: e.Peer, Failure: errNet}) })
		return
	}
	p.connect++
	called := slices.IndexFunc(p.calls, func(s span) bool { return s.has(m.now) })
	m.after(m.around(p.latency), func() {
		switch {
		case e.Options.InboundOnly && called < 0:
			m.result(Connected{Job: e.Job, Peer: e.Peer, Failure: &Failure{Text: "no inbound connection"}})
			return
		case p.status == Cooling, p.status >= Warm && p.closing == p.conn+1:
			m.result(Connected{Job: e.Job, Peer: e.Peer, Failure: &Failure{RetryAfter: 5 * time.Second, Text: "still closing"}})
			return
		case p.isDown(m.now), m.isCut():
			m.result(Connected{Job: e.Job, Peer: e.Peer, Failure: errNet})
			return
		case m.chance(p.failing):
			m.result(Connected{Job: e.Job, Peer: e.Peer, Failure: &Failure{Fault: p.fault, RetryAfter: p.retry, Text: "scripted"}})
			return
		}
		m.report(p, Warm, -1, nil)
		if e.Options.InboundOnly {
			conn := p.conn
			m.at(max(m.now, p.calls[called].to), func() { m.breakDown(p, conn) })
		}
		if p.breaks > 0 {
			conn := p.conn
			m.after(m.around(p.breaks), func() { m.breakDown(p, conn) })
		}
		m.nextTurn(p, p.conn)
		m.result(Connected{Job: e.Job, Peer: e.Peer, Shares: p.shares})
	})
}

// nextTurn takes the next step of the script of a peer's connections; the last one stays.
func (m *mock) nextTurn(p *mockPeer, conn int) {
	if len(p.turns) == 0 || p.turns[0].to == Hot {
		p.turns = p.turns[min(1, len(p.turns)):]
		return
	}
	t := p.turns[0]
	p.turns = p.turns[1:]
	m.after(t.after, func() {
		switch {
		case p.conn != conn:
		case t.to == Cold:
			m.report(p, Cold, 10*time.Second, nil)
		default:
			if t.to < p.status {
				m.report(p, t.to, 10*time.Second, nil)
			}
			m.nextTurn(p, conn)
		}
	})
}

// breakDown ends a connection with an error.
func (m *mock) breakDown(p *mockPeer, conn int) {
	if p.conn != conn || p.status < Warm {
		return
	}
	if p.lingers > 0 {
		m.report(p, Cooling, -1, errNet)
		m.after(p.lingers, func() {
			if p.conn == conn {
				m.report(p, Cold, 10*time.Second, errNet)
			}
		})
		return
	}
	m.report(p, Cold, 10*time.Second, errNet)
}

func (m *mock) activatePeer(p *mockPeer, job uint32) {
	if p.status != Warm || m.chance(p.badAct) {
		m.result(Activated{Job: job, Peer: p.addr, Failure: &Failure{Text: "not warm"}})
		return
	}
	m.report(p, Hot, -1, nil)
	if p.returns > 0 {
		conn := p.conn
		m.after(m.around(p.returns), func() {
			if p.conn == conn && p.status == Hot {
				m.report(p, Warm, p.backoff, nil)
			}
		})
	}
	m.result(Activated{Job: job, Peer: p.addr})
}

func (m *mock) deactivatePeer(p *mockPeer, job uint32) {
	switch {
	case p.status < Warm, m.chance(p.badDeact):
		conn := p.conn
		if p.status >= Warm {
			m.report(p, Cooling, -1, errNet)
			m.after(p.lingers, func() {
				if p.conn == conn {
					m.report(p, Cold, -1, errNet)
				}
			})
		}
		m.result(Deactivated{Job: job, Peer: p.addr, Failure: errNet})
		return
	case m.chance(p.hung):
		m.report(p, Cooling, -1, nil)
		m.report(p, Cold, -1, nil)
	default:
		m.report(p, Warm, -1, nil)
	}
	m.result(Deactivated{Job: job, Peer: p.addr})
}

// start tells the core how things stand.
func (m *mock) start() {
	m.at(0, func() { m.feed(Begin{m.ledger, m.settings, m.local}) })
	for _, s := range m.cut {
		m.at(s.from, func() {
			for _, p := range m.order {
				m.breakDown(p, p.conn)
			}
		})
	}
	for _, p := range m.order {
		for _, s := range p.down {
			m.at(s.from, func() { m.breakDown(p, p.conn) })
		}
	}
}

// ip makes an address: a.b.c.d:3001 of a number, spread over many prefixes.
func ip(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(50 + i%100), byte(i / 100), byte(i / 25600), 1}), 3001)
}
