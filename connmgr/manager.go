package connmgr

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/protocols"
)

// Manager opens, accepts, reuses and closes all connections of a node, and keeps them within their limits. It is the shell of
// the pure cores: it owns the sockets, one timer, one goroutine for each listener, and short-lived ones for dialling, handshaking
// and closing. An idle connection costs no goroutine of the manager.
//
// Its methods may be called from anywhere, from callbacks of connections too; only Close may not.
type Manager struct {
	cfg    Config
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc

	mu        sync.Mutex
	settled   sync.Cond // nothing runs any more
	core      *core
	limiter   *limiter
	peers     map[netip.AddrPort]*managedPeer
	sockets   map[sockID]*socket
	listeners []net.Listener
	tickets   map[ticket]func(effect)
	calls     map[ticket]chan error
	watchers  map[uint64]func(netip.AddrPort, int, time.Duration, error)
	onInbound map[uint64]func(netip.AddrPort)
	lastName  uint64        // of sockets, tickets, peers and watchers
	invented  atomic.Uint64 // addresses for remotes that have none
	closed    bool
	running   int // goroutines
	panics    int

	patience timers // of peers
	timer    *time.Timer
	firesAt  time.Duration

	check func(*core) // of a test: after every step

	out      []func() // to be called without the lock, in order
	draining bool
}

// socket is a bearer on its way through the manager.
type socket struct {
	id        sockID
	rec       RecordID
	id4       ConnID
	dialled   bool
	bearer    net.Conn
	conn      *Conn    // once negotiated
	whenUp    []func() // to be called with the lock held when conn is there
	orderly   bool     // closed because we wanted it to
	over      bool
	opened    time.Duration
	label     string                    // what the remote calls itself, where the address is invented
	release   func()                    // parked: what to do when the delay is over
	protocols []*protocols.MiniProtocol // of the connection
	answered  bool                      // the core knows how the handshake ended
}

// NewManager makes a manager that serves nothing yet.
func NewManager(cfg Config) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	if cfg.Dial == nil {
		cfg.Dial = dialTCP
	}
	m := &Manager{
		cfg: cfg, start: time.Now(), firesAt: -1,
		core:     newCore(cfg.core(), rand.New(rand.NewPCG(cfg.Seed, 0x6865617274680a))),
		limiter:  newLimiter(cfg.Limits),
		peers:    map[netip.AddrPort]*managedPeer{},
		sockets:  map[sockID]*socket{},
		tickets:  map[ticket]func(effect){},
		calls:    map[ticket]chan error{},
		watchers: map[uint64]func(netip.AddrPort, int, time.Duration, error){},
	}
	m.onInbound = map[uint64]func(netip.AddrPort){}
	m.settled.L = &m.mu
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// Close ends everything: listeners, handshakes, connections (each drained for at most 2 s, all at once). When it returns no
// goroutine of the manager is left. Calls that wait fail with [ErrClosed].
func (m *Manager) Close() error {
	m.lock()
	if !m.closed {
		m.closed = true
		m.closeListeners()
		m.step(event{kind: evShutdown})
		for _, s := range m.sockets {
			if s.rec == 0 || s.conn == nil {
				m.closeSocket(s, fxCloseReset, ErrClosed)
			}
		}
		m.later(m.cancel)
	}
	m.unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.running > 0 || m.draining || len(m.out) > 0 || len(m.sockets) > 0 {
		m.settled.Wait()
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	for t, ch := range m.calls {
		delete(m.calls, t)
		ch <- ErrClosed
	}
	return nil
}

// Shutdown is Close with a goodbye before it: nothing is accepted any more, every initiator is told to come to an end, which it does
// as soon as it may speak, and when all have, or ctx ends, everything is closed. Whoever opens connections should have stopped.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.lock()
	if !m.closed {
		m.closeListeners()
		peers := slices.SortedFunc(maps.Values(m.peers), func(a, b *managedPeer) int { return cmp.Compare(a.id, b.id) })
		for _, p := range peers {
			m.peerStep(p, peerEvent{kind: peClose})
		}
	}
	m.unlock()
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.settled.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	for !m.closed && ctx.Err() == nil && m.initiating() {
		m.settled.Wait()
	}
	m.mu.Unlock()
	return m.Close()
}

// initiating tells whether an initiator runs that a peer's temperature has asked for. Called with the lock held.
func (m *Manager) initiating() bool {
	for _, p := range m.peers {
		if len(p.runs) > 0 {
			return true
		}
	}
	return false
}

// closeListeners is called with the lock held.
func (m *Manager) closeListeners() {
	for _, l := range m.listeners {
		m.later(func() { _ = l.Close() }) // it was ours; an error cannot matter any more
	}
	m.listeners = nil
}

// now is the time that the cores see.
func (m *Manager) now() time.Duration { return time.Since(m.start) }

func (m *Manager) lock() { m.mu.Lock() }

// unlock arms the timer, has what has been decided carried out, and releases the lock. Nothing is called with the lock held, and
// what is called is called in the order in which it was decided, by one goroutine at a time.
func (m *Manager) unlock() {
	m.armTimer()
	if len(m.out) > 0 && !m.draining {
		m.draining = true
		go m.drain()
	}
	m.mu.Unlock()
}

// later queues a call that must not happen under the lock.
func (m *Manager) later(f func()) { m.out = append(m.out, f) }

func (m *Manager) drain() {
	m.mu.Lock()
	for len(m.out) > 0 {
		calls := m.out
		m.out = nil
		m.mu.Unlock()
		for _, f := range calls {
			f()
		}
		m.mu.Lock()
	}
	m.draining = false
	m.settled.Broadcast()
	m.mu.Unlock()
}

// spawn runs f on a goroutine that Close waits for. Called with the lock held.
func (m *Manager) spawn(f func()) {
	m.running++
	go func() {
		f()
		m.mu.Lock()
		m.running--
		m.settled.Broadcast()
		m.mu.Unlock()
	}()
}

// name returns a fresh number for a socket, ticket, peer or watcher.
func (m *Manager) name() uint64 {
	m.lastName++
	return m.lastName
}

// expect returns a ticket whose answer, from the core, is handed to f under the lock.
func (m *Manager) expect(f func(effect)) ticket {
	t := ticket(m.name())
	m.tickets[t] = f
	return t
}

// step runs one event through the core and takes its effects. Called with the lock held.
func (m *Manager) step(e event) (result, RecordID) {
	res, id, effects := m.core.step(m.now(), e)
	if m.check != nil {
		m.check(m.core)
	}
	if len(effects) == 0 {
		return res, id
	}
	// An effect may lead to another step, which reuses the slice.
	for _, f := range append([]effect(nil), effects...) {
		m.effect(f)
	}
	return res, id
}

func (m *Manager) effect(f effect) {
	switch f.kind {
	case effDial:
		m.spawn(func() { m.dial(f.id, f.conn.Remote) })
	case effReply:
		if answer := m.tickets[f.ticket]; answer != nil {
			delete(m.tickets, f.ticket)
			answer(f)
		}
	case effClose:
		if s := m.sockets[f.sock]; s != nil {
			m.closeSocket(s, f.how, f.err)
		}
	case effArm:
		// Responders are armed when the connection is made, which the entry of the inbound governor has just come before.
	case effTrace:
		if trace := m.cfg.Trace; trace != nil {
			m.later(func() { m.observe(f.trace.Record, func() { trace(f.trace) }) })
		}
	case effRemote:
		if trace := m.cfg.TraceRemote; trace != nil {
			m.later(func() { m.observe(f.id, func() { trace(f.conn, f.remoteFrom, f.remoteTo) }) })
		}
	}
}

// closeSocket ends a socket, in the manner that §1.9 has for its reason. Called with the lock held.
func (m *Manager) closeSocket(s *socket, how fx, err error) {
	if err == nil {
		err = net.ErrClosed
	}
	var refusal *Refusal
	if tell := m.cfg.Refused; tell != nil && errors.As(err, &refusal) {
		m.later(func() { m.observe(0, func() { tell(refusal) }) })
	}
	switch {
	case how == fxCloseRefused || how == fxCloseQuery:
		return // the handshake itself waits for the other end
	case how == fxCloseOrderly && s.conn != nil:
		s.orderly = true
		m.spawn(func() { _ = s.conn.Close() }) // always nil
	case s.conn != nil:
		m.later(func() { s.conn.Abort(err) })
	default:
		m.later(func() { _ = abandon(s.bearer, nil) })
		if s.release != nil { // parked: no goroutine will notice
			s.release = nil
			m.ended(s, err)
		}
	}
}

// ended takes a socket that is closed off the books. Called with the lock held.
func (m *Manager) ended(s *socket, err error) {
	if s.over {
		return
	}
	s.over = true
	if s.orderly {
		err = nil
	}
	delete(m.sockets, s.id)
	m.limiter.gone(s.id)
	m.panicked(s.id4.Remote, err)
	if s.rec != 0 {
		m.step(event{kind: evEnded, id: s.rec, sock: s.id, err: err})
	}
	if s.conn != nil {
		m.spawn(func() { _ = s.conn.Close() }) // waits for what the connection still runs
	}
	if fatal := m.cfg.Fatal; fatal != nil && err != nil && Classify(err).Fatal {
		m.later(func() { m.observe(0, func() { fatal(err) }) })
	}
	m.settled.Broadcast()
}

// newSocket puts a bearer on the books. Called with the lock held.
func (m *Manager) newSocket(bearer net.Conn, dialled bool) *socket {
	s := &socket{id: sockID(m.name()), bearer: bearer, dialled: dialled, opened: m.now()}
	m.sockets[s.id] = s
	return s
}

// armTimer sets the one timer to the earliest thing that is due. Called with the lock held.
func (m *Manager) armTimer() {
	next := time.Duration(-1)
	for _, f := range []func() (time.Duration, bool){m.core.nextTimer, m.limiter.nextTimer, m.patience.next} {
		if at, ok := f(); ok && (next < 0 || at < next) {
			next = at
		}
	}
	if next < 0 || m.firesAt >= 0 && m.firesAt <= next {
		return
	}
	m.firesAt = next
	wait := max(next-m.now(), 0)
	if m.timer == nil {
		m.timer = time.AfterFunc(wait, m.fire)
	} else {
		m.timer.Reset(wait)
	}
}

func (m *Manager) fire() {
	m.lock()
	defer m.unlock()
	m.firesAt = -1
	now := m.now()
	m.step(event{kind: evTimers})
	for {
		id, a, ok := m.limiter.release(now, m.core.counters.Inbound)
		if !ok {
			break
		}
		m.unpark(id, a)
	}
	for {
		key, ok := m.patience.pop(now)
		if !ok {
			break
		}
		for _, p := range m.peers {
			if p.id == key.id {
				m.peerStep(p, peerEvent{kind: peTimer})
				break
			}
		}
	}
}

// ManagerCounters are the numbers of a manager.
type ManagerCounters struct {
	Counters                // connections by state
	Remote   RemoteCounters // by the remote's use
	Accept   LimiterCounters
	Panics   int // of functions of the host, since start
}

// Counters returns a snapshot; O(1).
func (m *Manager) Counters() ManagerCounters {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ManagerCounters{m.core.counters, m.core.remote, m.limiter.counters, m.panics}
}

// addrPort returns the address of one end. Ends without an IP address (Unix sockets) get one invented, unique in this process, and a
// label.
func (m *Manager) addrPort(a net.Addr) (at netip.AddrPort, label string) {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ""
	}
	n := m.invented.Add(1)
	ip := [16]byte{0xfd, 'h', 'e', 'a', 'r', 't', 'h'}
	binary.BigEndian.PutUint64(ip[8:], n)
	return netip.AddrPortFrom(netip.AddrFrom16(ip), 0), fmt.Sprintf("%v@%d", a, n)
}
