package connmgr

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

func TestMain(m *testing.M) {
	if !helperProcess() {
		goleak.VerifyTestMain(m)
	}
}

// echoSpec is the smallest request-response protocol. Like all real ones it has a limit in every state, without which the server
// of a half-open connection would wait for ever.
func echoSpec(name string) *protocols.Spec {
	return &protocols.Spec{
		Name: name,
		States: []protocols.StateSpec{
			{Name: "Idle", Agency: protocols.Client, Bytes: 100, Timeout: protocols.Within(10 * time.Minute)},
			{Name: "Busy", Agency: protocols.Server, Bytes: 100, Timeout: protocols.Within(60 * time.Second)},
			{Name: "Done"},
		},
		Transitions: []protocols.Transition{
			{Message: "Ping", Tag: 0, Len: 1, From: 0, To: 1},
			{Message: "Pong", Tag: 1, Len: 1, From: 1, To: 0},
			{Message: "Done", Tag: 2, Len: 1, From: 0, To: 2},
		},
	}
}

var (
	msgPing = cbor.AppendMessage(nil, 1, 0)
	msgPong = cbor.AppendMessage(nil, 1, 1)
	msgDone = cbor.AppendMessage(nil, 1, 2)
)

// echoes counts answers, by the mini-protocol's bundle.
type echoes struct {
	mu sync.Mutex
	n  [3]int
}

func (e *echoes) add(b protocols.Bundle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n[b]++
}

func (e *echoes) count() [3]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// echo is a mini-protocol that asks every interval until it is told to terminate.
func echo(number uint16, bundle protocols.Bundle, every time.Duration, seen *echoes) *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: echoSpec("echo-" + bundle.String()), Number: number, Bundle: bundle, Start: mux.OnDemand, Ingress: [2]int{4096, 4096},
		Initiate: func(ctx context.Context, s *protocols.Session) error {
			for {
				control, changed := s.Control()
				switch control {
				case protocols.Terminate:
					return s.Send(ctx, msgDone)
				case protocols.Continue:
					if err := s.Send(ctx, msgPing); err != nil {
						return err
					}
					if _, err := s.Recv(ctx); err != nil {
						return err
					}
					seen.add(bundle)
				}
				wait := time.NewTimer(every)
				select {
				case <-changed:
				case <-wait.C:
				case <-s.Done():
				case <-ctx.Done():
				}
				wait.Stop()
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		},
		Respond: func(ctx context.Context, s *protocols.Session) error {
			for {
				msg, err := s.Recv(ctx)
				if err != nil {
					return err
				}
				if msg.Tag == 2 {
					return nil
				}
				if err := s.Send(ctx, msgPong); err != nil {
					return err
				}
			}
		},
	}
}

// node is a manager on a host of its own.
type node struct {
	m     *Manager
	host  *memnet.Host
	addr  netip.AddrPort
	audit *auditor
	seen  *echoes

	mu     sync.Mutex
	status map[netip.AddrPort]Status
	events []string
}

func nodeAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 1}), 3001)
}

type failer interface {
	Errorf(format string, args ...any)
	FailNow()
}

func newNode(t failer, n *memnet.Network, i int, change func(*Config)) *node {
	nd := &node{addr: nodeAddr(i), seen: &echoes{}, status: map[netip.AddrPort]Status{}}
	nd.host = n.Host(nd.addr.Addr())
	cfg := Config{
		Network: 42, Local: []netip.AddrPort{nd.addr}, Seed: uint64(i), Dial: nd.host.DialFrom,
		Protocols: []*protocols.MiniProtocol{
			echo(100, protocols.Established, time.Second, nd.seen),
			echo(101, protocols.Warm, time.Second, nd.seen),
			echo(102, protocols.Hot, time.Second, nd.seen),
		},
	}
	if change != nil {
		change(&cfg)
	}
	nd.start(t, cfg)
	return nd
}

func (nd *node) start(t failer, cfg Config) {
	nd.audit = newAuditor(cfg.Timeouts, func(format string, args ...any) { t.Errorf("node %v: %s", nd.addr, fmt.Sprintf(format, args...)) })
	cfg.Trace, cfg.TraceRemote = nd.audit.transition, nd.audit.remoteTransition
	var err error
	nd.m, err = NewManager(cfg)
	require.NoError(t, err)
	nd.m.check = func(c *core) {
		checkCore(c, func(format string, args ...any) { t.Errorf("node %v: %s", nd.addr, fmt.Sprintf(format, args...)) })
	}
	nd.m.Watch(func(peer netip.AddrPort, temperature int, after time.Duration, cause error) {
		nd.mu.Lock()
		defer nd.mu.Unlock()
		nd.status[peer] = Status(temperature)
		nd.events = append(nd.events, fmt.Sprintf("%v %v(%v) %v", peer, Status(temperature), after, cause))
	})
	if !cfg.InitiatorOnly {
		ln, err := nd.host.Listen(nd.addr)
		require.NoError(t, err)
		require.NoError(t, nd.m.Serve(ln))
	}
}

func (nd *node) peerStatus(o *node) Status {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	return nd.status[o.addr]
}

func (nd *node) states() []State {
	var all []State
	for _, i := range nd.m.Connections() {
		all = append(all, i.State)
	}
	return all
}

func (nd *node) stop() {
	_ = nd.m.Close() // always nil
	nd.audit.atRest()
}

// inBubble runs a test with two nodes in virtual time and checks that nothing is left of them.
func inBubble(t *testing.T, cfg memnet.Config, change func(*Config), f func(n *memnet.Network, a, b *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(cfg)
		a, b := newNode(t, n, 1, change), newNode(t, n, 2, change)
		defer func() { // also when f gives up
			a.stop()
			b.stop()
		}()
		f(n, a, b)
		a.stop()
		b.stop()
		time.Sleep(10 * time.Second)
		require.NoError(t, n.Check())
	})
}

var bg = context.Background()
