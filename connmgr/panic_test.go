package connmgr

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/protocols"
)

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A panic in any function that a host gives to a Manager costs the connection it was called for: the node lives, with its other
// connections, the panic is in the log with its stack, and when the function behaves again so does the peer.
func TestManagerSurvivesPanicsOfItsHost(t *testing.T) {
	dials := func(n, peer *node) { _, _ = n.m.Connect(bg, peer.addr, ConnectOptions{}) }
	answers := func(n, peer *node) { _, _ = peer.m.Connect(bg, n.addr, ConnectOptions{}) }
	uses := func(n, peer *node) {
		if _, err := n.m.Connect(bg, peer.addr, ConnectOptions{}); err == nil {
			_ = n.m.Activate(bg, peer.addr)
		}
	}
	used := func(n, peer *node) { uses(peer, n) }
	for on, act := range map[string]func(n, peer *node){
		"protected": answers, "banned": answers, "per connection": answers, "enabled": answers, "bearer": answers,
		"trace": answers, "trace remote": used, "respond": used, "step": used,
		"dial": dials, "bearer, dialling": dials, "watch": dials, "protected, dialling": dials, "initiate": uses,
		"refused": func(n, peer *node) {
			n.m.mu.Lock()
			n.m.core.cfg.Hard = 1
			n.m.mu.Unlock()
			answers(n, peer)
		},
	} {
		t.Run(on, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hostPanics(t, on, act) })
		})
	}
}

func hostPanics(t *testing.T, on string, act func(n, peer *node)) {
	var armed atomic.Bool
	boom := func(names ...string) {
		for _, name := range names {
			if name == on && armed.Load() {
				panic("boom: " + on)
			}
		}
	}
	log := &lockedBuffer{}
	network := memnet.New(memnet.Config{})
	seen := &echoes{}
	victim := nodeAddr(3)
	of := func(remote netip.AddrPort, name string) {
		if remote == victim {
			boom(name)
		}
	}
	n := newNode(t, network, 1, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		c.Protected = func(a netip.Addr) bool {
			if a == victim.Addr() {
				boom("protected", "protected, dialling")
			}
			return false
		}
		c.Banned = func(a netip.AddrPort) bool { of(a, "banned"); return false }
		c.Refused = func(*Refusal) { boom("refused") }
		dial := c.Dial
		c.Dial = func(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
			of(remote, "dial")
			return dial(ctx, local, remote)
		}
		c.Bearer = func(_ context.Context, socket net.Conn, dialled bool) (net.Conn, error) {
			boom(map[bool]string{true: "bearer, dialling", false: "bearer"}[dialled])
			return socket, nil
		}
		c.PerConnection = func(id ConnID, _ protocols.Negotiated) []*protocols.MiniProtocol {
			of(id.Remote, "per connection")
			return nil
		}
		hot := echo(102, protocols.Hot, time.Second, seen)
		hot.Enabled = func(protocols.Negotiated) bool { boom("enabled"); return true }
		initiate, respond := hot.Initiate, hot.Respond
		hot.Initiate = func(ctx context.Context, s *protocols.Session) error { boom("initiate"); return initiate(ctx, s) }
		hot.Respond = func(ctx context.Context, s *protocols.Session) error { boom("respond"); return respond(ctx, s) }
		event := echo(103, protocols.Hot, time.Second, seen)
		event.Initiate, event.Respond = nil, nil
		event.Step = func(*protocols.Session, protocols.Event) error { boom("step"); return nil }
		c.Protocols = []*protocols.MiniProtocol{hot, event}
	})
	// The observers, beside those that every node of the tests has.
	n.m.mu.Lock()
	trace, traceRemote := n.m.cfg.Trace, n.m.cfg.TraceRemote
	n.m.cfg.Trace = func(tr Transition) { trace(tr); of(tr.Conn.Remote, "trace") }
	n.m.cfg.TraceRemote = func(id ConnID, from, to RemoteState) { traceRemote(id, from, to); of(id.Remote, "trace remote") }
	n.m.mu.Unlock()
	n.m.Watch(func(peer netip.AddrPort, _ int, _ time.Duration, _ error) { of(peer, "watch") })
	plain := func(c *Config) {
		c.Protocols = []*protocols.MiniProtocol{echo(102, protocols.Hot, time.Second, seen), echo(103, protocols.Hot, time.Second, seen)}
	}
	honest, peer := newNode(t, network, 2, plain), newNode(t, network, 3, plain)
	_, err := honest.m.Connect(bg, n.addr, ConnectOptions{})
	require.NoError(t, err)
	synctest.Wait()

	armed.Store(true)
	act(n, peer)
	time.Sleep(30 * time.Second)
	require.Contains(t, log.String(), "boom: "+on)
	require.Contains(t, log.String(), "panic_test.go", "the stack")
	require.Positive(t, n.m.Counters().Panics)
	require.Zero(t, network.Pairs(n.addr.Addr(), peer.addr.Addr()), "the connection is over")
	require.Equal(t, 1, network.Pairs(n.addr.Addr(), honest.addr.Addr()), "the other one is not")
	require.Equal(t, StatusWarm, honest.peerStatus(n))

	armed.Store(false)
	if on != "refused" {
		_, err = peer.m.Connect(bg, n.addr, ConnectOptions{})
		require.NoError(t, err)
		require.Equal(t, 1, network.Pairs(n.addr.Addr(), peer.addr.Addr()))
	}
	for _, nd := range []*node{n, honest, peer} {
		nd.stop()
	}
}

// catchLog has what goes to the default log during the test.
func catchLog(t *testing.T) *lockedBuffer {
	log, old := &lockedBuffer{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	return log
}

// The same for what [Listener.Serve] tells its caller.
func TestServeSurvivesAPanicOfItsHost(t *testing.T) {
	log := catchLog(t)
	ctx, cancel := context.WithCancel(bg)
	ln, err := Listen(ctx, "127.0.0.1:0", Preview)
	require.NoError(t, err)
	served := make(chan error, 1)
	ends := make(chan error, 1)
	first := true
	go func() {
		served <- ln.Serve(ctx, func(c *Conn) {
			if first {
				first = false
				go func() { ends <- c.Wait(bg) }()
				panic("boom")
			}
		})
	}()
	c, err := Dial(bg, ln.Addr().String(), Preview)
	if err == nil { // the reset may come before the answer has been read
		require.Error(t, c.Wait(bg))
		require.NoError(t, c.Close())
	}
	var p *protocols.PanicError
	require.ErrorAs(t, <-ends, &p)
	require.Equal(t, FaultInternal, Classify(p).Fault)
	answered := make(chan struct{}, 100)
	c, err = Dial(bg, ln.Addr().String(), Preview, WithRoundTrip(func(time.Duration) { answered <- struct{}{} }))
	require.NoError(t, err)
	<-answered
	require.NoError(t, c.Close())
	cancel()
	require.NoError(t, <-served)
	require.NoError(t, ln.Close())
	require.Equal(t, 1, strings.Count(log.String(), "boom"))
	require.Contains(t, log.String(), "panic_test.go", "the stack")
}
