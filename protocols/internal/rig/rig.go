// Package rig connects the two ends of mini-protocols in memory, for the tests of the packages beside it.
package rig

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// End is one end of a connection that carries some mini-protocols in both directions. It is a [protocols.Opener].
type End struct {
	Mux *mux.Mux
	Neg protocols.Negotiated

	mu   sync.Mutex
	open map[*mux.Stream]*protocols.Session
}

// Conns returns two ends of an in-memory connection.
func Conns(t testing.TB, link memnet.Link) (a, b net.Conn) {
	t.Helper()
	n := memnet.New(memnet.Config{Seed: 1, Link: link})
	at := netip.MustParseAddrPort("10.0.0.2:3001")
	from, to := n.Host(netip.MustParseAddr("10.0.0.1")), n.Host(at.Addr())
	l, err := to.Listen(at)
	must(t, err)
	a, err = from.Dial(context.Background(), netip.AddrPort{}, at)
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	must(t, l.Close())
	return a, b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Attach makes an end of a bearer and starts it.
func Attach(t testing.TB, bearer net.Conn, neg protocols.Negotiated, mps ...*protocols.MiniProtocol) *End {
	t.Helper()
	e := &End{Mux: mux.New(bearer, mux.Config{}), Neg: neg, open: map[*mux.Stream]*protocols.Session{}}
	for _, mp := range mps {
		for _, role := range [...]mux.Role{mux.Initiator, mux.Responder} {
			_, err := e.Mux.Register(mux.StreamConfig{Number: mp.Number, Role: role, IngressLimit: mp.Ingress[role], EgressLimit: mp.Egress})
			must(t, err)
		}
	}
	e.Mux.Start()
	return e
}

// Pair returns two connected ends.
func Pair(t testing.TB, link memnet.Link, neg protocols.Negotiated, mps ...*protocols.MiniProtocol) (a, b *End) {
	t.Helper()
	x, y := Conns(t, link)
	return Attach(t, x, neg, mps...), Attach(t, y, neg, mps...)
}

// Open implements [protocols.Opener].
func (e *End) Open(mp *protocols.MiniProtocol, role mux.Role) (*protocols.Session, error) {
	s := e.Mux.Stream(mp.Number, role)
	if s == nil {
		return nil, &protocols.Error{Kind: protocols.Unsupported, Protocol: mp.Spec.Name, Number: mp.Number, Role: role, Local: true}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[s] != nil {
		return nil, &protocols.Error{Kind: protocols.AlreadyRunning, Protocol: mp.Spec.Name, Number: mp.Number, Role: role, Local: true}
	}
	e.open[s] = protocols.NewSession(mp, s, e.Neg, func(*protocols.Session) {
		e.mu.Lock()
		delete(e.open, s)
		e.mu.Unlock()
	})
	return e.open[s], nil
}

// Negotiated implements [protocols.Opener].
func (e *End) Negotiated() protocols.Negotiated { return e.Neg }

// Err waits up to a day for the end of the connection and returns the error of a mini-protocol that it ended with.
func (e *End) Err() (*protocols.Error, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	err := e.Mux.Wait(ctx)
	if pe, ok := protocols.Cause(err).(*protocols.Error); ok {
		return pe, nil
	}
	return nil, fmt.Errorf("not ended by a mini-protocol: %w", err)
}

// Close ends the connection and the timers of its sessions.
func (e *End) Close() {
	e.Mux.Abort(nil)
	e.mu.Lock()
	open := e.open
	e.open = map[*mux.Stream]*protocols.Session{}
	e.mu.Unlock()
	for _, s := range open {
		s.Cancel()
	}
	e.Mux.Close()
}
