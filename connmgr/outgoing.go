package connmgr

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
)

// dialTCP is the default of Config.Dial. The socket may share its port with our listener, and goes away without TIME_WAIT.
func dialTCP(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: shareAddress}
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	return d.DialContext(ctx, "tcp", remote.String())
}

// ListenTCP listens on an address that outgoing connections may share; what [Manager.Serve] wants on TCP. The backlog is the system's
// (connmgr §4.4 asks for 128 or more). It fails when somebody listens there already: sockets that share a port would both get
// connections otherwise.
func ListenTCP(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	network := "tcp6"
	if at.Addr().Unmap().Is4() {
		network = "tcp4"
	}
	if at.Port() != 0 {
		taken, err := (&net.ListenConfig{}).Listen(ctx, network, at.String()) // shares its port with no other listener
		if err != nil {
			return nil, err
		}
		if err := taken.Close(); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{KeepAlive: -1, Control: shareAddress}
	return lc.Listen(ctx, network, at.String())
}

// dial opens a bearer and negotiates. It is one goroutine for one record, and ends when the connection is up.
func (m *Manager) dial(rec RecordID, remote netip.AddrPort) {
	m.mu.Lock()
	p := m.peers[remote]
	o := ConnectOptions{}
	if p != nil {
		o = p.options
	}
	bound := m.bound(remote, o)
	m.mu.Unlock()

	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.Timeouts.Connect)
	var bearer net.Conn
	var err error
	if failed := guard(func() { bearer, err = m.cfg.Dial(ctx, bound, remote) }); failed != nil {
		err = failed
	}
	cancel()
	var local netip.AddrPort
	if err == nil {
		local, _ = m.addrPort(bearer.LocalAddr())
	}
	m.lock()
	if err != nil {
		m.panicked(remote, err)
		m.step(event{kind: evDialFailed, id: rec, fail: dialFailureOf(err), err: err})
		m.unlock()
		return
	}
	s := m.newSocket(bearer, true)
	s.id4 = ConnID{local, remote}
	s.rec = rec
	if res, _ := m.step(event{kind: evDialled, id: rec, sock: s.id, local: local}); res != resProceed {
		s.rec = 0
		m.unlock()
		m.drop(s, net.ErrClosed)
		return
	}
	m.unlock()

	res, err := m.propose(s, o)
	m.lock()
	if err != nil {
		m.step(event{kind: evOutHandshake, id: rec, sock: s.id, outcome: outcomeOf(err), err: err})
		m.unlock()
		m.drop(s, err)
		return
	}
	got, _ := m.step(event{kind: evOutHandshake, id: rec, sock: s.id, flow: flowOf(res.Negotiated), shares: res.Negotiated.PeerSharing})
	m.unlock()
	if got != resConnected {
		m.drop(s, ErrDisconnected)
		return
	}
	m.bringUp(s, res.Negotiated)
}

// bound is where an outgoing connection binds.
func (m *Manager) bound(remote netip.AddrPort, o ConnectOptions) netip.AddrPort {
	if m.cfg.InitiatorOnly || o.InitiatorOnly {
		return netip.AddrPort{}
	}
	return m.cfg.bind(remote)
}

func (m *Manager) propose(s *socket, o ConnectOptions) (handshake.Result, error) {
	ctx, cancel := context.WithTimeout(m.ctx, handshakeLimit)
	defer cancel()
	bearer, err := m.wrapBearer(s, func(socket net.Conn) (net.Conn, error) { return m.cfg.Bearer(ctx, socket, true) })
	if err != nil {
		return handshake.Result{}, err
	}
	opts := m.options()
	opts.Duplex = !m.cfg.InitiatorOnly && !o.InitiatorOnly
	return handshake.Initiate(ctx, bearer, opts.proposal(m.cfg.Network, m.cfg.NodeToClient, true))
}

// options are those of every connection; initiators, keep-alive too, are started by the peer's temperature.
func (m *Manager) options() Options {
	return Options{
		PeerSharing: m.cfg.PeerSharing, Peras: m.cfg.Peras, Versions: m.cfg.Versions, Protocols: m.cfg.Protocols, KeepAlive: -1, Mux: m.cfg.Mux,
		log: m.cfg.Log,
	}
}

// bringUp makes the connection of a negotiated socket.
func (m *Manager) bringUp(s *socket, neg protocols.Negotiated) {
	if err := guard(func() { s.protocols = m.carried(s.id4, neg) }); err != nil {
		m.drop(s, err)
		return
	}
	o := m.options()
	o.Protocols = s.protocols
	if told := m.cfg.RoundTrip; told != nil {
		remote := s.id4.Remote
		o.RoundTrip = func(d time.Duration) { told(remote, d) }
	}
	hostEnded := o.Mux.Ended
	o.Mux.Ended = func(err error) {
		m.lock()
		m.ended(s, err)
		m.unlock()
		if hostEnded != nil {
			hostEnded(err)
		}
	}
	o.responder = func(mp *protocols.MiniProtocol, starts bool, err error) {
		kind := evResponderEnded
		if starts {
			kind = evResponderStarted
		}
		m.lock()
		defer m.unlock()
		m.step(event{kind: kind, id: s.rec, sock: s.id, hot: mp.Bundle == protocols.Hot, err: err})
	}
	conn, err := newConn(s.bearer, neg, s.dialled, o)
	m.lock()
	defer m.unlock()
	if err != nil {
		m.ended(s, err)
		return
	}
	s.conn = conn
	if s.over {
		m.spawn(func() { _ = conn.Close() }) // it has ended already
		return
	}
	for _, f := range s.whenUp {
		f()
	}
	s.whenUp = nil
	if r := m.core.records[s.rec]; r != nil && r.in == s.id && (r.state == StateInboundIdleDup || r.state == StateInboundDup) {
		tellWatchers(m, m.onInbound, s.rec, func(report func(netip.AddrPort)) { report(s.id4.Remote) })
	}
	if m.closed {
		m.closeSocket(s, fxCloseOrderly, nil)
	}
}

// carried returns the host's mini-protocols that a connection carries.
func (m *Manager) carried(id ConnID, neg protocols.Negotiated) []*protocols.MiniProtocol {
	all := m.cfg.Protocols
	if m.cfg.PerConnection != nil {
		all = append(all[:len(all):len(all)], m.cfg.PerConnection(id, neg)...)
	}
	without := func(mp *protocols.MiniProtocol) bool { return mp.Enabled != nil && !mp.Enabled(neg) }
	if slices.ContainsFunc(all, without) { // seldom; otherwise all connections share one list
		all = slices.DeleteFunc(slices.Clone(all), without)
	}
	return all
}

// drop resets a socket that came to nothing.
func (m *Manager) drop(s *socket, err error) {
	m.mu.Lock()
	bearer := s.bearer
	m.mu.Unlock()
	_ = abandon(bearer, nil)
	m.lock()
	defer m.unlock()
	m.ended(s, err)
}

// dialFailureOf sorts the errors of connect (connmgr §1.4 B, N).
func dialFailureOf(err error) dialFailure {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return dialSocket
		}
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) {
		return dialBusy
	}
	return dialConnect
}

// outcomeOf sorts the errors of a handshake (connmgr §2.2): polite refusals, queries, and everything else.
func outcomeOf(err error) outcome {
	var refusal *handshake.Refusal
	switch {
	case errors.Is(err, handshake.ErrQueried):
		return handshakeQuery
	case errors.As(err, &refusal):
		return handshakeRefused
	}
	return handshakeViolation
}

func flowOf(n protocols.Negotiated) DataFlow {
	if n.Duplex() {
		return Duplex
	}
	return Unidirectional
}
