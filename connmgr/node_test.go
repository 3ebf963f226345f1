package connmgr

import (
	"context"
	"errors"
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

// auditor checks a manager's transitions as they come.
type auditor struct {
	mu       sync.Mutex
	fail     func(format string, args ...any)
	last     map[RecordID]State
	since    map[RecordID]time.Duration
	remote   map[ConnID]RemoteState
	seen     map[[2]State]int
	bounds   [numStates]time.Duration
	notUsual int
	pruned   int
	ended    chan error // if set, gets the errors of connections that end
}

func newAuditor(t Timeouts, fail func(format string, args ...any)) *auditor {
	t = t.withDefaults()
	a := &auditor{fail: fail, last: map[RecordID]State{}, since: map[RecordID]time.Duration{}, remote: map[ConnID]RemoteState{}, seen: map[[2]State]int{}}
	a.bounds[StateReservedOutbound] = t.Connect + time.Second
	a.bounds[StateUnnegotiatedInbound], a.bounds[StateUnnegotiatedOutbound] = handshakeLimit, handshakeLimit
	a.bounds[StateInboundIdleUni], a.bounds[StateInboundIdleDup], a.bounds[StateOutboundDupTicking] = t.RemoteIdle, t.RemoteIdle, t.RemoteIdle
	a.bounds[StateOutboundIdleUni], a.bounds[StateOutboundIdleDup] = t.OutboundIdle, t.OutboundIdle
	a.bounds[StateTerminating] = t.TimeWait + drain
	return a
}

// prop_connection_manager_valid_transitions, _valid_transition_order, _no_invalid_traces, prop_timeouts_enforced.
func (a *auditor) transition(t Transition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[[2]State{t.From, t.To}]++
	if a.last[t.Record] != t.From {
		a.fail("record %d: %v does not follow %v", t.Record, t, a.last[t.Record])
	}
	if t.Unexpected && t.Row != "E6" {
		a.fail("unexpected: %+v", t)
	}
	if t.Unexpected {
		a.notUsual++
	} else if !LegalTransition(t.From, t.To) {
		a.fail("illegal: %+v", t)
	}
	if t.Row == "P1" {
		a.pruned++
	}
	begin, timed := a.since[t.Record], a.bounds[t.From]
	if timed > 0 && t.At-begin > timed+timed/10 {
		a.fail("record %d was in %v for %v", t.Record, t.From, t.At-begin)
	}
	// The remote's idle timer goes on across InboundIdle ⇄ OutboundDup(Ticking).
	ticking := func(s State) bool { return s == StateInboundIdleDup || s == StateOutboundDupTicking }
	if !ticking(t.From) || !ticking(t.To) {
		a.since[t.Record] = t.At
	}
	a.last[t.Record] = t.To
	if a.ended != nil && t.Err != nil {
		a.ended <- t.Err
	}
	if t.To == StateUnknown {
		delete(a.last, t.Record)
		delete(a.since, t.Record)
	}
}

func (a *auditor) remoteTransition(id ConnID, from, to RemoteState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.remote[id] != from || !LegalRemoteTransition(from, to) {
		a.fail("remote of %v: %v → %v after %v", id, from, to, a.remote[id])
	}
	a.remote[id] = to
	if to == RemoteNone {
		delete(a.remote, id)
	}
}

func (a *auditor) atRest() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.last) > 0 {
		a.fail("records that do not end in Unknown: %v", a.last)
	}
	if len(a.remote) > 0 {
		a.fail("remote states that do not end: %v", a.remote)
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

// prop_unidirectional_Sim.
func TestUnidirectional(t *testing.T) {
	inBubble(t, memnet.Config{Link: memnet.Link{Latency: 20 * time.Millisecond}}, nil, func(n *memnet.Network, a, b *node) {
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{InitiatorOnly: true})
		require.NoError(t, err)
		require.NoError(t, a.m.Activate(bg, b.addr))
		time.Sleep(10 * time.Second)
		require.Equal(t, []State{StateOutboundUni}, a.states())
		require.Equal(t, []State{StateInboundUni}, b.states())
		got := a.seen.count()
		require.Positive(t, got[protocols.Established])
		require.Positive(t, got[protocols.Hot])
		require.Zero(t, b.seen.count())
		require.NoError(t, a.m.Deactivate(bg, b.addr))
		require.Equal(t, StatusWarm, a.peerStatus(b))
		begin := time.Now()
		require.NoError(t, a.m.Disconnect(bg, b.addr))
		require.Equal(t, StatusCold, a.peerStatus(b))
		require.InDelta(t, 65, time.Since(begin).Seconds(), 3, "idle, then TIME_WAIT")
		require.Empty(t, a.states())
	})
}

// prop_bidirectional_Sim: one connection, both directions, either end lets go first.
func TestBidirectional(t *testing.T) {
	inBubble(t, memnet.Config{Link: memnet.Link{Latency: 20 * time.Millisecond}}, nil, func(n *memnet.Network, a, b *node) {
		for _, x := range [][2]*node{{a, b}, {b, a}} {
			_, err := x[0].m.Connect(bg, x[1].addr, ConnectOptions{})
			require.NoError(t, err)
			require.NoError(t, x[0].m.Activate(bg, x[1].addr))
		}
		time.Sleep(10 * time.Second)
		require.Equal(t, []State{StateDuplex}, a.states())
		require.Equal(t, []State{StateDuplex}, b.states())
		require.Equal(t, 1, n.Pairs(a.addr.Addr(), b.addr.Addr()))
		for _, nd := range []*node{a, b} {
			require.Positive(t, nd.seen.count()[protocols.Established])
			require.Positive(t, nd.seen.count()[protocols.Hot])
		}
		require.Equal(t, RemoteCounters{Hot: 1}, a.m.Counters().Remote)
		begin := time.Now()
		require.NoError(t, a.m.Disconnect(bg, b.addr), "the dialling end lets go; the other goes on")
		require.Less(t, time.Since(begin), 5*time.Second)
		require.Equal(t, []State{StateInboundDup}, a.states())
		require.Equal(t, StatusHot, b.peerStatus(a))
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{InboundOnly: true})
		require.NoError(t, err)
		require.Equal(t, []State{StateDuplex}, a.states())
		require.NoError(t, b.m.Disconnect(bg, a.addr))
		require.NoError(t, a.m.Disconnect(bg, b.addr))
		time.Sleep(70 * time.Second)
		require.Empty(t, a.states(), "%v", a.m.Connections())
		require.Empty(t, b.states())
	})
}

// One connection per pair under simultaneous open, whatever the offset of the two dials.
func TestSimultaneousOpenEndsWithOneConnection(t *testing.T) {
	for offset := range 12 {
		inBubble(t, memnet.Config{Link: memnet.Link{Latency: 10 * time.Millisecond}}, nil, func(n *memnet.Network, a, b *node) {
			var wg sync.WaitGroup
			for i, x := range [][2]*node{{a, b}, {b, a}} {
				wg.Go(func() {
					time.Sleep(time.Duration(i*offset) * 4 * time.Millisecond)
					_, err := x[0].m.Connect(bg, x[1].addr, ConnectOptions{})
					require.NoError(t, err, "offset %d", offset)
					require.NoError(t, x[0].m.Activate(bg, x[1].addr))
				})
			}
			wg.Wait()
			time.Sleep(3 * time.Second)
			require.Equal(t, []State{StateDuplex}, a.states(), "offset %d", offset)
			require.Equal(t, []State{StateDuplex}, b.states(), "offset %d", offset)
			require.Equal(t, 1, n.Pairs(a.addr.Addr(), b.addr.Addr()))
		})
	}
}

// unit_connection_terminated_when_negotiating.
func TestConnectionTerminatedWhenNegotiating(t *testing.T) {
	inBubble(t, memnet.Config{}, nil, func(n *memnet.Network, a, b *node) {
		n.Script(a.addr.Addr(), b.addr.Addr(), memnet.Bearer{Dialling: memnet.End{FailWrite: 1}},
			memnet.Bearer{Accepting: memnet.End{FailWrite: 1}}, memnet.Bearer{Dialling: memnet.End{CutAfter: 5}}, memnet.Bearer{})
		for range 3 {
			_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
			require.Error(t, err)
			require.Equal(t, FaultNetwork, Classify(err).Fault, err)
			synctest.Wait()
			time.Sleep(time.Millisecond)
			require.Empty(t, a.states())
			require.Empty(t, b.states(), "no slot is kept for it")
		}
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
	})
}

// A silent server costs the handshake's 10 s, a silent client too.
func TestSilentHandshake(t *testing.T) {
	inBubble(t, memnet.Config{}, nil, func(n *memnet.Network, a, b *node) {
		silent := n.Host(nodeAddr(3).Addr())
		ln, err := silent.Listen(nodeAddr(3))
		require.NoError(t, err)
		begin := time.Now()
		_, err = a.m.Connect(bg, nodeAddr(3), ConnectOptions{})
		require.ErrorIs(t, err, protocols.ErrTimedOut)
		require.Equal(t, 10*time.Second, time.Since(begin))
		ln.Close()

		c, err := a.host.Dial(bg, netip.AddrPort{}, b.addr)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, b.m.Counters().UnnegotiatedInbound)
		require.Zero(t, b.m.Counters().Inbound)
		begin = time.Now()
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err)
		require.Equal(t, 10*time.Second, time.Since(begin))
		c.Close()
		synctest.Wait()
		require.Equal(t, ManagerCounters{Accept: LimiterCounters{Accepted: 1}}, b.m.Counters())
	})
}

// A refused handshake reaches the dialler with its reason, leaves no record and no TIME_WAIT.
func TestRefusedHandshake(t *testing.T) {
	inBubble(t, memnet.Config{Link: memnet.Link{Latency: 10 * time.Millisecond}}, nil, func(n *memnet.Network, a, b *node) {
		c := newNode(t, n, 3, func(c *Config) { c.Network = 43 })
		_, err := a.m.Connect(bg, c.addr, ConnectOptions{})
		require.ErrorContains(t, err, "magic")
		time.Sleep(time.Second)
		require.Empty(t, a.states())
		require.Empty(t, c.states())
		require.Zero(t, c.m.Counters().Accept.Unnegotiated)
		c.stop()
	})
}

// A failing mini-protocol at either end makes the peer cold at once, with the cause, and costs the other direction too.
func TestFailingMiniProtocol(t *testing.T) {
	boom := errors.New("boom")
	for _, responder := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New(memnet.Config{})
			fails := func(c *Config) {
				mp := *c.Protocols[2]
				f := func(context.Context, *protocols.Session) error { return boom }
				if responder {
					mp.Respond = f
				} else {
					mp.Initiate = f
				}
				c.Protocols[2] = &mp
			}
			var a, b *node
			if responder {
				a, b = newNode(t, n, 1, nil), newNode(t, n, 2, fails)
			} else {
				a, b = newNode(t, n, 1, fails), newNode(t, n, 2, nil)
			}
			_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
			require.NoError(t, err)
			require.NoError(t, a.m.Activate(bg, b.addr))
			time.Sleep(time.Second)
			require.Equal(t, StatusCold, a.peerStatus(b))
			require.Empty(t, a.states())
			require.Empty(t, b.states())
			a.mu.Lock()
			require.Contains(t, a.events[len(a.events)-1], "cold(10s)")
			a.mu.Unlock()
			a.stop()
			b.stop()
		})
	}
}

// The outcome of a mini-protocol takes the peer from hot to warm, with its delay; the connection stays.
func TestOutcomeDemotesToWarm(t *testing.T) {
	finish := make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		finish = make(chan struct{})
		n := memnet.New(memnet.Config{})
		a := newNode(t, n, 1, func(c *Config) {
			mp := *c.Protocols[2]
			mp.Initiate = func(ctx context.Context, s *protocols.Session) error {
				if err := s.Send(ctx, msgPing); err != nil {
					return err
				}
				if _, err := s.Recv(ctx); err != nil {
					return err
				}
				select {
				case <-finish:
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := s.Send(ctx, msgDone); err != nil {
					return err
				}
				return fmt.Errorf("echo: %w", ForkTooDeep)
			}
			c.Protocols[2] = &mp
		})
		b := newNode(t, n, 2, nil)
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		require.NoError(t, a.m.Activate(bg, b.addr))
		time.Sleep(time.Second)
		close(finish)
		time.Sleep(time.Second)
		require.Equal(t, StatusWarm, a.peerStatus(b))
		a.mu.Lock()
		require.Contains(t, a.events[len(a.events)-1], "warm(2m0s)")
		a.mu.Unlock()
		require.Equal(t, []State{StateOutboundDupExpired}, func() []State { time.Sleep(5 * time.Second); return a.states() }())
		a.stop()
		b.stop()
	})
}

// connmgr §1.4 N: behind a firewall, self connection, occupied.
func TestAcquireErrorsReachTheCaller(t *testing.T) {
	inBubble(t, memnet.Config{}, nil, func(n *memnet.Network, a, b *node) {
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{InboundOnly: true})
		require.ErrorIs(t, err, ErrInboundConnectionNotFound)
		_, err = a.m.Connect(bg, a.addr, ConnectOptions{})
		require.ErrorIs(t, err, ErrSelfConnection)
		_, err = a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		_, err = a.m.Connect(bg, b.addr, ConnectOptions{})
		require.ErrorIs(t, err, ErrNotCold)
		require.ErrorIs(t, a.m.Deactivate(bg, nodeAddr(9)), ErrColdDeactivation)
		require.ErrorIs(t, a.m.Activate(bg, nodeAddr(9)), ErrColdActivation)
		require.NoError(t, a.m.Disconnect(bg, nodeAddr(9)))
		require.Empty(t, a.m.MatureInbound())
	})
}

// A cancelled Connect leaves nothing behind, whenever it is cancelled.
func TestCancelledConnect(t *testing.T) {
	for ms := range 10 {
		inBubble(t, memnet.Config{Link: memnet.Link{Latency: 10 * time.Millisecond}}, nil, func(n *memnet.Network, a, b *node) {
			ctx, cancel := context.WithTimeout(bg, time.Duration(ms*10)*time.Millisecond+time.Microsecond)
			defer cancel()
			_, err := a.m.Connect(ctx, b.addr, ConnectOptions{})
			if ms < 4 {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				time.Sleep(2 * time.Minute)
				require.Empty(t, a.states())
				require.Empty(t, b.states())
				_, err = a.m.Connect(bg, b.addr, ConnectOptions{})
			}
			require.NoError(t, err)
		})
	}
}

// The peer's machine loses power: keep-alive finds out, and the peer may be dialled again.
func TestHalfOpenIsFoundByKeepAlive(t *testing.T) {
	inBubble(t, memnet.Config{}, nil, func(n *memnet.Network, a, b *node) {
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		b.host.PowerOff()
		_ = b.m.Close() // nobody hears of it
		time.Sleep(2 * time.Minute)
		require.Equal(t, StatusCold, a.peerStatus(b))
		require.Empty(t, a.states())
		b.host.PowerOn()
		b.start(t, b.m.cfg)
		_, err = a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
	})
}
