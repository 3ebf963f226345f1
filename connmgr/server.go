package connmgr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
)

// Serve accepts connections from a listener, which the manager owns from then on, until either is closed. It returns at once. On TCP
// the listener has to share its address with outgoing connections: see [ListenTCP].
func (m *Manager) Serve(ln net.Listener) error {
	m.lock()
	defer m.unlock()
	if m.closed {
		return ErrClosed
	}
	if m.cfg.InitiatorOnly {
		return errors.New("connmgr: an initiator-only manager serves nobody")
	}
	m.listeners = append(m.listeners, ln)
	m.spawn(func() { m.acceptLoop(ln) })
	return nil
}

// acceptLoop accepts at once, always; what happens to a socket is decided afterwards (connmgr §4.4). Only the end of the listener
// ends it.
func (m *Manager) acceptLoop(ln net.Listener) {
	defer ln.Close()
	var backoff acceptBackoff
	for {
		bearer, err := ln.Accept()
		if err == nil {
			backoff.succeeded()
			m.admit(bearer)
			continue
		}
		pause, fatal := backoff.failed(err)
		m.mu.Lock()
		m.limiter.counters.AcceptErrors++
		m.mu.Unlock()
		if fatal || m.ctx.Err() != nil {
			m.lock()
			defer m.unlock()
			if owned := slices.Index(m.listeners, ln); owned >= 0 { // nobody has closed it
				m.listeners = slices.Delete(m.listeners, owned, owned+1)
				if m.cfg.Fatal != nil {
					m.later(func() { m.observe(0, func() { m.cfg.Fatal(fmt.Errorf("connmgr: listener %v: %w", ln.Addr(), err)) }) })
				}
			}
			return
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-m.ctx.Done():
			wait.Stop()
			return
		}
	}
}

// protects asks the host whether an address is a local root's. Called without the lock.
func (m *Manager) protects(a netip.Addr) (protected bool, err error) {
	if m.cfg.Protected != nil {
		err = guard(func() { protected = m.cfg.Protected(a) })
	}
	return protected, err
}

// admit classifies an accepted socket: handshake, parking or reset.
func (m *Manager) admit(bearer net.Conn) {
	remote, label := m.addrPort(bearer.RemoteAddr())
	local, _ := m.addrPort(bearer.LocalAddr())
	protected, failed := m.protects(remote.Addr())
	banned := false
	if failed == nil && m.cfg.Banned != nil {
		failed = guard(func() { banned = m.cfg.Banned(remote) })
	}
	m.lock()
	defer m.unlock()
	s := m.newSocket(bearer, false)
	s.id4, s.label = ConnID{local, remote}, label
	switch {
	case m.closed:
		s.release = func() {}
		m.closeSocket(s, fxCloseReset, ErrClosed)
		return
	case failed != nil:
		s.release = func() {}
		m.closeSocket(s, fxCloseReset, failed)
		return
	case banned:
		s.release = func() {}
		m.closeSocket(s, fxCloseReset, &Refusal{Scope: "banned peers", Remote: remote})
		return
	}
	a := m.limiter.accept(m.now(), s.id, remote, protected, m.core.counters.Inbound)
	if v := m.sockets[a.evict]; v != nil {
		m.closeSocket(v, fxCloseReset, a.evicted)
	}
	switch a.verdict {
	case verdictReset:
		s.release = func() {}
		m.closeSocket(s, fxCloseReset, a.refusal)
	case verdictPark:
		// A descriptor and a timer: nothing is read, and the handshake's clock has not begun.
		s.release = func() { m.spawn(func() { m.answer(s, protected) }) }
	case verdictHandshake:
		m.spawn(func() { m.answer(s, protected) })
	}
}

// unpark goes on with a socket whose delay is over. Called with the lock held.
func (m *Manager) unpark(id sockID, a admission) {
	s := m.sockets[id]
	if s == nil || s.release == nil {
		return
	}
	if a.verdict == verdictReset {
		m.closeSocket(s, fxCloseReset, a.refusal)
		return
	}
	release := s.release
	s.release = nil
	release()
}

// answer does the handshake of an accepted socket, on a goroutine that lasts as long.
func (m *Manager) answer(s *socket, protected bool) {
	m.lock()
	if m.closed || s.over {
		m.unlock()
		m.drop(s, ErrClosed)
		return
	}
	res, rec := m.step(event{kind: evAccepted, sock: s.id, local: s.id4.Local, remote: s.id4.Remote, protected: protected})
	if res == resProceed {
		s.rec = rec
	}
	m.unlock()
	if res != resProceed {
		m.drop(s, ErrClosed)
		return
	}
	neg, err := m.respond(s)
	if err != nil {
		m.lock()
		if !s.answered {
			s.answered = true
			m.step(event{kind: evInHandshake, id: rec, sock: s.id, outcome: outcomeOf(err), err: err})
		}
		m.unlock()
		m.drop(s, err)
		return
	}
	m.bringUp(s, neg)
}

func (m *Manager) respond(s *socket) (protocols.Negotiated, error) {
	ctx := m.ctx
	bearer, err := m.wrapBearer(s, func(socket net.Conn) (net.Conn, error) {
		limited, cancel := context.WithTimeout(ctx, handshakeLimit)
		defer cancel()
		return m.cfg.Bearer(limited, socket, false)
	})
	if err != nil {
		return protocols.Negotiated{}, err
	}
	p := m.options().proposal(m.cfg.Network, m.cfg.NodeToClient, false)
	p.Data.InitiatorOnly = false
	return handshake.RespondIf(ctx, bearer, p, func(r handshake.Reply) error { return m.decide(s, r) })
}

// decide runs when a complete proposal has been answered, before the answer is written: here the inbound limit is tested, in the same
// step in which the connection begins to count.
func (m *Manager) decide(s *socket, r handshake.Reply) error {
	m.lock()
	defer m.unlock()
	m.limiter.proposed(s.id)
	s.answered = true
	switch {
	case r.Refusal != nil:
		m.limiter.closing(s.id, m.now()+handshake.RefuseLinger)
		m.step(event{kind: evInHandshake, id: s.rec, sock: s.id, outcome: handshakeRefused, err: r.Refusal})
		return nil
	case r.Queried:
		m.limiter.closing(s.id, m.now()+handshake.QueryLinger)
		m.step(event{kind: evInHandshake, id: s.rec, sock: s.id, outcome: handshakeQuery, err: ErrHandshakeQuery})
		return nil
	}
	record := m.core.records[s.rec]
	res, _ := m.step(event{kind: evInHandshake, id: s.rec, sock: s.id, flow: flowOf(r.Negotiated), shares: r.Negotiated.PeerSharing})
	if res != resConnected {
		if record != nil && record.err != nil {
			return record.err
		}
		return ErrDisconnected
	}
	m.limiter.gone(s.id)
	return nil
}
