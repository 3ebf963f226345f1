// Package rawpeer is what the tests of the mini-protocols talk to: real connections over loopback sockets, and peers that do the
// handshake and then say whatever a test has them say.
package rawpeer

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
)

// Network is the network of all tests.
const Network = connmgr.Preview

// Context returns a context that ends long after any test here should.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// listen listens on loopback, or on a Unix socket for local connections.
func listen(t testing.TB, local bool) net.Listener {
	t.Helper()
	kind, addr := "tcp", "127.0.0.1:0"
	if local {
		kind, addr = "unix", filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(kind, addr)
	require.NoError(t, err)
	return ln
}

// Serve runs a listener of ours for the test's time: node-to-client on a Unix socket if local.
func Serve(t testing.TB, local bool, opts ...connmgr.Option) (addr string, conns <-chan *connmgr.Conn) {
	t.Helper()
	l := connmgr.NewListener(listen(t, local), Network, local, opts...)
	accepted := make(chan *connmgr.Conn, 256)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, func(c *connmgr.Conn) { accepted <- c }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, l.Close())
	})
	return l.Addr().String(), accepted
}

// Dial connects to a node for the test's time.
func Dial(t testing.TB, addr string, local bool, opts ...connmgr.Option) *connmgr.Conn {
	t.Helper()
	dial := connmgr.Dial
	if local {
		dial = connmgr.DialLocal
	}
	c, err := dial(Context(t), addr, Network, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Peer is a peer that keeps to no rules, on one mini-protocol.
type Peer struct {
	testing.TB
	Conn   net.Conn
	Number uint16
	Role   mux.Role // its own
	got    []byte
}

func proposal(local bool) handshake.Proposal {
	p := handshake.Proposal{NodeToClient: local, Versions: handshake.NodeToNodeVersions()}
	if local {
		p.Versions = handshake.NodeToClientVersions()
	}
	p.Data = handshake.Data{Magic: uint32(Network), PeerSharing: true, Peras: true}
	return p
}

// Connect has such a peer connect to a node.
func Connect(t testing.TB, addr string, local bool, number uint16) *Peer {
	t.Helper()
	kind := "tcp"
	if local {
		kind = "unix"
	}
	c, err := net.Dial(kind, addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = handshake.Initiate(Context(t), c, proposal(local))
	require.NoError(t, err)
	return &Peer{TB: t, Conn: c, Number: number, Role: mux.Initiator}
}

// Accept has such a peer wait for a connection of ours, made by dialling addr, and returns both ends.
func Accept(t testing.TB, local bool, number uint16, opts ...connmgr.Option) (*Peer, *connmgr.Conn) {
	t.Helper()
	ln := listen(t, local)
	defer ln.Close()
	p := &Peer{TB: t, Number: number, Role: mux.Responder}
	shaken := make(chan error, 1)
	go func() {
		var err error
		if p.Conn, err = ln.Accept(); err == nil {
			_, err = handshake.Respond(Context(t), p.Conn, proposal(local))
		}
		shaken <- err
	}()
	c := Dial(t, ln.Addr().String(), local, opts...)
	require.NoError(t, <-shaken)
	t.Cleanup(func() { p.Conn.Close() })
	return p, c
}

// Say sends messages, or any bytes. It does not mind that the node has hung up.
func (p *Peer) Say(messages ...[]byte) {
	for _, m := range messages {
		for len(m) > 0 {
			n := min(len(m), mux.MaxPayload)
			if mux.WriteSDU(p.Conn, mux.Header{Number: p.Number, From: p.Role}, m[:n]) != nil {
				return
			}
			m = m[n:]
		}
	}
}

// Hear returns the node's next message; nil when it has hung up. What it says on other mini-protocols is passed over.
func (p *Peer) Hear() []byte {
	p.Helper()
	for {
		n, err := cbor.Item(p.got)
		if err == nil && n > 0 {
			m := p.got[:n:n]
			p.got = p.got[n:]
			return m
		}
		h, b, err := mux.ReadSDU(p.Conn, mux.MaxPayload)
		if err != nil {
			return nil
		}
		if h.Number == p.Number && h.From == p.Role.Peer() {
			p.got = append(p.got, b...)
		}
	}
}

// Violated checks that a connection has ended with a typed error that blames the peer.
func Violated(t testing.TB, c *connmgr.Conn, kind protocols.ErrorKind, cause error) {
	t.Helper()
	err := c.Wait(Context(t))
	var e *protocols.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, "adversarial", e.Fault(), "%v", err)
	if cause != nil {
		require.ErrorIs(t, err, cause)
	}
}

// Alive checks that a connection has not ended.
func Alive(t testing.TB, c *connmgr.Conn) {
	t.Helper()
	require.NoError(t, c.Err())
}

// Closed reports whether an error is of a connection that this end has closed.
func Closed(err error) bool {
	return errors.Is(err, mux.ErrStopped) || errors.Is(err, context.Canceled)
}
