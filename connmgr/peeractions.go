package connmgr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/keepalive"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

// ConnectOptions are how a governor wants a peer connected: InitiatorOnly uses an ephemeral port and a unidirectional
// connection, InboundOnly reuses the peer's own connection or fails, never dials. Trustable and BigLedger are the governor's words for
// the host's mini-protocols.
type ConnectOptions = struct{ InitiatorOnly, InboundOnly, Trustable, BigLedger bool }

// managedPeer is the shell of one peer's machine.
type managedPeer struct {
	id        RecordID // in m.patience
	addr      netip.AddrPort
	machine   *peerMachine
	options   ConnectOptions
	protected bool
	rec       RecordID
	socket    *socket
	runs      []*initiatorRun
}

// initiatorRun is one initiator that the peer's temperature asks for.
type initiatorRun struct {
	bundle  temperature
	name    string
	session *protocols.Session
	over    bool
}

// Connect makes a peer warm: it opens a connection, or reuses the peer's, and starts the established and warm initiators. It
// returns when that is done, with the negotiated willingness to share peers. Errors: [*AcquireError], [*Refusal], those of the handshake
// and the network, [ErrNotCold]; some say when to retry. When ctx ends, what was begun is undone.
func (m *Manager) Connect(ctx context.Context, peer netip.AddrPort, o ConnectOptions) (sharesPeers bool, err error) {
	var p *managedPeer
	protected, err := m.protects(peer.Addr().Unmap())
	if err != nil {
		m.lock()
		m.panicked(peer, err)
		m.unlock()
		return false, err
	}
	err = m.call(ctx, peer, func(mp *managedPeer) peerEvent {
		p = mp
		if p.machine.status == StatusCold && p.machine.doing == opNone {
			p.options, p.protected = o, protected
		}
		return peerEvent{kind: peConnect}
	})
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.core.records[p.rec]
	return r != nil && r.inbound.shares, nil
}

// Activate makes a warm peer hot: it starts the hot initiators. Error: [ErrColdActivation].
func (m *Manager) Activate(ctx context.Context, peer netip.AddrPort) error {
	return m.call(ctx, peer, func(*managedPeer) peerEvent { return peerEvent{kind: peActivate} })
}

// Deactivate makes a hot peer warm: it asks the hot initiators to come to an end and waits for them. After 300 s it closes the
// connection instead and returns nil (connmgr §6.2). Errors: [ErrColdDeactivation], and what a hot initiator failed with.
func (m *Manager) Deactivate(ctx context.Context, peer netip.AddrPort) error {
	return m.call(ctx, peer, func(*managedPeer) peerEvent { return peerEvent{kind: peDeactivate} })
}

// Disconnect makes a peer cold: it asks all initiators to end, for at most 120 s, releases the connection and returns when our
// half of it is really gone, which takes the outbound idle time and TIME_WAIT unless the peer goes on using the connection.
func (m *Manager) Disconnect(ctx context.Context, peer netip.AddrPort) error {
	return m.call(ctx, peer, func(*managedPeer) peerEvent { return peerEvent{kind: peClose} })
}

// call hands a request to the peer's machine and waits for its answer.
func (m *Manager) call(ctx context.Context, peer netip.AddrPort, ask func(*managedPeer) peerEvent) error {
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	m.lock()
	if m.closed {
		m.unlock()
		return ErrClosed
	}
	p := m.peers[peer]
	if p == nil {
		p = &managedPeer{id: RecordID(m.name()), addr: peer, machine: newPeerMachine()}
		m.peers[peer] = p
	}
	t := ticket(m.name())
	answer := make(chan error, 1)
	m.calls[t] = answer
	e := ask(p)
	e.ticket = t
	m.peerStep(p, e)
	m.unlock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	m.lock()
	if m.calls[t] == nil { // the answer is on its way
		m.unlock()
		return <-answer
	}
	delete(m.calls, t)
	m.peerStep(p, peerEvent{kind: peCancel, ticket: t})
	m.unlock()
	return ctx.Err()
}

// peerStep runs one event through a peer's machine and takes its effects. Called with the lock held.
func (m *Manager) peerStep(p *managedPeer, e peerEvent) {
	for _, f := range p.machine.step(m.now(), e) {
		m.peerEffect(p, f)
	}
	if due := p.machine.due; due > 0 {
		m.patience.set(p.id, timerOutboundIdle, due)
	} else {
		m.patience.stop(p.id, timerOutboundIdle)
	}
	if p.machine.status == StatusCold && p.machine.doing == opNone && m.peers[p.addr] == p {
		delete(m.peers, p.addr)
	}
}

func (m *Manager) peerEffect(p *managedPeer, f peerEffect) {
	switch f.kind {
	case pfAcquire:
		m.acquire(p)
	case pfControl:
		var sessions []*protocols.Session
		for _, r := range p.runs {
			if r.bundle == f.bundle && r.session != nil && !r.over {
				sessions = append(sessions, r.session)
			}
		}
		if len(sessions) > 0 {
			m.later(func() {
				for _, s := range sessions {
					s.SetControl(controlOf(f.control))
				}
			})
		}
	case pfStart:
		m.startBundle(p, f.bundle)
	case pfStop:
		if s := p.socket; s != nil && !s.over {
			m.closeSocket(s, fxCloseReset, f.err)
		}
	case pfRelease:
		m.step(event{kind: evRelease, id: p.rec, ticket: m.expect(func(effect) {})})
	case pfReply:
		if answer := m.calls[f.ticket]; answer != nil {
			delete(m.calls, f.ticket)
			m.later(func() { answer <- f.err }) // after the reports that led to it
		}
	case pfReport:
		m.report(p, f)
	}
}

func controlOf(c controlWord) protocols.Control {
	return [...]protocols.Control{protocols.Continue, protocols.Quiesce, protocols.Terminate}[c]
}

func bundleOf(b protocols.Bundle) temperature {
	return [...]temperature{bundleEstablished, bundleWarm, bundleHot}[b]
}

// acquire asks the core for a connection, and then to be told when our half of it is over.
func (m *Manager) acquire(p *managedPeer) {
	m.step(event{
		kind: evAcquire, remote: p.addr, reuseOnly: p.options.InboundOnly, protected: p.protected, bound: m.bound(p.addr, p.options),
		ticket: m.expect(func(f effect) {
			if f.res != resConnected {
				m.peerStep(p, peerEvent{kind: peFailed, err: f.err})
				return
			}
			m.acquired(p, f.id, m.sockets[f.sock])
		}),
	})
}

// acquired goes on when the connection is up, which is a moment after it has negotiated.
func (m *Manager) acquired(p *managedPeer, rec RecordID, s *socket) {
	p.rec, p.socket, p.runs = rec, s, nil
	up, gone := false, false
	m.step(event{kind: evWatch, id: rec, ticket: m.expect(func(w effect) {
		gone = true
		err := w.err
		if err == nil && s != nil && s.conn != nil && !s.orderly {
			err = s.conn.Err()
		}
		for _, r := range p.runs {
			r.over = true
		}
		p.runs = nil
		if up {
			m.peerStep(p, peerEvent{kind: peGone, err: err})
		} else {
			m.peerStep(p, peerEvent{kind: peFailed, err: &AcquireError{Reason: ErrDisconnected, Remote: p.addr, State: StateTerminated, Cause: err}})
		}
	})})
	connected := func() {
		if !gone {
			up = true
			m.peerStep(p, peerEvent{kind: peConnected})
		}
	}
	switch {
	case gone || s == nil: // the watch has said so, or will
	case s.conn != nil:
		connected()
	default:
		s.whenUp = append(s.whenUp, connected)
	}
}

// startBundle starts the initiators of a temperature.
func (m *Manager) startBundle(p *managedPeer, b temperature) {
	s := p.socket
	all := m.initiators(b, s)
	p.machine.started(b, len(all))
	for _, mp := range all {
		r := &initiatorRun{bundle: b, name: mp.Spec.Name}
		p.runs = append(p.runs, r)
		m.later(func() { m.initiate(p, s, r, mp) })
	}
}

// initiators returns what a bundle runs on a connection. Called with the lock held.
func (m *Manager) initiators(b temperature, s *socket) []*protocols.MiniProtocol {
	if !s.conn.runs(mux.Initiator) {
		return nil
	}
	var all []*protocols.MiniProtocol
	for _, mp := range s.protocols {
		if bundleOf(mp.Bundle) == b && mp.Initiate != nil {
			all = append(all, mp)
		}
	}
	if b == bundleEstablished && m.cfg.KeepAlive >= 0 && !m.cfg.NodeToClient {
		all = append(all, keepalive.Client(m.cfg.KeepAlive, &s.conn.latency))
	}
	return all
}

// initiate starts one initiator; its end comes back to the peer's machine exactly once.
func (m *Manager) initiate(p *managedPeer, s *socket, r *initiatorRun, mp *protocols.MiniProtocol) {
	finished := func(err error) {
		m.lock()
		defer m.unlock()
		if r.over {
			return
		}
		r.over = true
		p.runs = slices.DeleteFunc(p.runs, func(o *initiatorRun) bool { return o == r })
		m.peerStep(p, peerEvent{kind: peFinished, bundle: r.bundle, err: err})
		m.settled.Broadcast() // Shutdown may wait for it
	}
	session, err := s.conn.initiate(mp, finished)
	if err != nil {
		finished(err)
		return
	}
	m.lock()
	r.session = session
	control := controlOf(p.machine.control[r.bundle])
	over := r.over
	m.unlock()
	if !over && control != protocols.Continue {
		session.SetControl(control)
	}
}

func (m *Manager) report(p *managedPeer, f peerEffect) {
	tellWatchers(m, m.watchers, p.rec, func(report func(netip.AddrPort, int, time.Duration, error)) {
		report(p.addr, int(f.status), f.delay, f.err)
	})
}

// tellWatchers has the watchers told something about a record, the oldest first. Called with the lock held.
func tellWatchers[F any](m *Manager, watchers map[uint64]F, rec RecordID, tell func(F)) {
	for _, id := range slices.Sorted(maps.Keys(watchers)) {
		m.later(func() {
			m.mu.Lock()
			report, watches := watchers[id]
			m.mu.Unlock()
			if watches {
				m.observe(rec, func() { tell(report) })
			}
		})
	}
}

// watch adds a watcher.
func watch[F any](m *Manager, watchers map[uint64]F, report F) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.name()
	watchers[id] = report
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(watchers, id)
	}
}

// Watch has report called for every change of every peer's status, ordered or not: 0 cold, 1 cooling, 2 warm, 3 hot; retryAfter is the
// re-promote delay of the exit policy, negative when there is none; cause is nil for orderly changes. Calls come one at a time, in order, and
// must not block. After stop has returned no new call begins.
func (m *Manager) Watch(report func(peer netip.AddrPort, temperature int, retryAfter time.Duration, cause error)) (stop func()) {
	return watch(m, m.watchers, report)
}

// WatchInbound has report called with the remote of every accepted duplex connection, when it is up and Connect would reuse it (connmgr
// §1.4 A). Calls come in order with those of Watch, and must not block either. After stop has returned no new call begins.
func (m *Manager) WatchInbound(report func(peer netip.AddrPort)) (stop func()) {
	return watch(m, m.onInbound, report)
}

// MatureInbound returns the remotes of duplex connections that are old enough to be offered as peers (connmgr §5.6), and whether they
// share peers. It is empty unless we share peers ourselves.
func (m *Manager) MatureInbound() map[netip.AddrPort]bool {
	if !m.cfg.PeerSharing {
		return map[netip.AddrPort]bool{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.core.matureInbound()
}

// Connection returns the connection of a peer that is warm or hot, nil for others; for mini-protocols that the host runs itself.
func (m *Manager) Connection(peer netip.AddrPort) *Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[peer]; p != nil && p.machine.status >= StatusWarm && p.socket != nil {
		return p.socket.conn
	}
	return nil
}

var errNotSharing = errors.New("connmgr: the peer does not share peers")

// AskForPeers asks a warm or hot peer for at most n addresses (wire §11); n is cut to 255.
func (m *Manager) AskForPeers(ctx context.Context, peer netip.AddrPort, n int) ([]netip.AddrPort, error) {
	conn := m.Connection(peer)
	if conn == nil {
		return nil, fmt.Errorf("connmgr: ask %v for peers: not connected", peer)
	}
	if !conn.neg.PeerSharing {
		return nil, fmt.Errorf("%v: %w", peer, errNotSharing)
	}
	n = min(max(n, 0), 255)
	s, err := conn.Open(&protocols.MiniProtocol{
		Spec: peersharing.Spec(), Number: peersharing.Number, Bundle: protocols.Established,
		Ingress: [2]int{peersharing.IngressLimit, peersharing.IngressLimit},
	}, mux.Initiator)
	if err != nil {
		return nil, err
	}
	var peers []netip.AddrPort
	err = s.Run(ctx, func(ctx context.Context, s *protocols.Session) error {
		if err := s.Send(ctx, peersharing.AppendShareRequest(nil, uint8(n))); err != nil {
			return err
		}
		msg, err := s.Recv(ctx)
		if err != nil {
			return err
		}
		if peers, err = peersharing.DecodeSharePeers(nil, msg.Raw, n); err != nil {
			return s.Fail(err)
		}
		return s.Send(ctx, peersharing.AppendDone(nil))
	})
	if err != nil {
		s.Abort(err) // a run that is given up in the middle leaves a stream that nobody can use
		return nil, err
	}
	return peers, nil
}
