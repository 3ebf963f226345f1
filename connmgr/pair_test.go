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

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/protocols"
)

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
