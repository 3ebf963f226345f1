package connmgr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/peersharing"
)

// bareClient negotiates from a host and does nothing more.
func bareClient(h *memnet.Host, to netip.AddrPort) (*Conn, error) {
	bearer, err := h.DialFrom(bg, netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	return Attach(bg, bearer, 42, false, WithKeepAlive(-1))
}

// With the default numbers the delay of the n-th connection is the formula's, and who comes from 496 on is reset.
func TestAcceptDelayFollowsTheFormula(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		root := netip.MustParseAddr("10.9.0.1")
		var refusals []string
		server := newNode(t, n, 1, func(c *Config) {
			c.Timeouts.RemoteIdle = -1
			c.Refused = func(r *Refusal) { refusals = append(refusals, r.Error()) } // one at a time
			c.Protected = func(a netip.Addr) bool { return a == root }
		})
		server.m.check = nil // its cost is quadratic here; the limit is looked at below
		h, local := n.Host(netip.MustParseAddr("10.8.0.1")), n.Host(root)
		var open []*Conn
		connect := func(h *memnet.Host) (time.Duration, error) {
			begin := time.Now()
			c, err := bareClient(h, server.addr)
			if err == nil {
				open = append(open, c)
			}
			return time.Since(begin), err
		}
		for i := range 496 {
			took, err := connect(h)
			require.NoError(t, err, i)
			require.Equal(t, defaultLimits().softDelay(i), took, i)
		}
		_, err := connect(h)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		for i := range 16 {
			took, err := connect(local)
			require.NoError(t, err, i)
			require.Zero(t, took, "local roots do not wait")
		}
		_, err = connect(local)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		c := server.m.Counters()
		require.Equal(t, 512, c.Inbound)
		require.Equal(t, 111, c.Accept.Delayed)
		require.Equal(t, 2, c.Accept.Refused)
		synctest.Wait()
		require.Len(t, refusals, 2)
		require.Regexp(t, `^connmgr: refused 10\.8\.0\.1:\d+: inbound connections, limit 496, in use 496$`, refusals[0])
		require.Regexp(t, `^connmgr: refused 10\.9\.0\.1:\d+: inbound connections, limit 512, in use 512$`, refusals[1])
		for _, c := range open {
			c.Abort(nil)
			c.Close()
		}
		server.stop()
	})
}

// 10,000 silent sockets from many prefixes at 1,000 a second do not keep out a peer with a round trip of 50 ms.
func TestSilentFloodInVirtualTime(t *testing.T) {
	floods := 10_000
	if raceEnabled {
		floods = 2000
	}
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{Link: memnet.Link{Latency: 25 * time.Millisecond}})
		server := newNode(t, n, 1, nil)
		server.m.check = nil
		honest := newNode(t, n, 2, nil)
		var hosts []*memnet.Host
		for i := range 200 {
			hosts = append(hosts, n.Host(netip.AddrFrom4([4]byte{172, 16, byte(i), 1})))
		}
		var flood sync.WaitGroup
		flood.Go(func() {
			for i := range floods {
				time.Sleep(time.Millisecond)
				flood.Go(func() {
					c, err := hosts[i%len(hosts)].Dial(bg, netip.AddrPort{}, server.addr)
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1)) // until it is evicted
					c.Close()
				})
			}
		})
		for range 5 {
			time.Sleep(time.Duration(floods/8) * time.Millisecond)
			begin := time.Now()
			_, err := honest.m.Connect(bg, server.addr, ConnectOptions{InitiatorOnly: true})
			require.NoError(t, err)
			require.Less(t, time.Since(begin), time.Second)
			require.LessOrEqual(t, server.m.Counters().Accept.Unnegotiated, 256)
			require.NoError(t, honest.m.Disconnect(bg, server.addr))
		}
		flood.Wait()
		honest.stop()
		server.stop()
	})
}

// prop_server_accept_error: whatever accept fails with, it serves on; only the end of the listener ends it.
func TestServerAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		server, client := newNode(t, n, 1, nil), newNode(t, n, 2, nil)
		ln, err := server.host.Listen(netip.AddrPortFrom(server.addr.Addr(), 4000))
		require.NoError(t, err)
		require.NoError(t, server.m.Serve(ln))
		ln.FailAccept(syscall.ECONNABORTED, syscall.EMFILE, syscall.ENOBUFS, errors.New("odd"), syscall.EPROTO)
		ln.AbortAccept(syscall.ECONNABORTED)
		at := netip.AddrPortFrom(server.addr.Addr(), 4000)
		_, err = client.m.Connect(bg, at, ConnectOptions{})
		require.Error(t, err, "its connection is the aborted one")
		begin := time.Now()
		_, err = client.m.Connect(bg, at, ConnectOptions{})
		require.NoError(t, err)
		require.Less(t, time.Since(begin), time.Second)
		require.Equal(t, 6, server.m.Counters().Accept.AcceptErrors)

		// Dialling without a descriptor is our own fault, and says when to come back.
		client.host.FailSockets(syscall.EMFILE)
		_, err = client.m.Connect(bg, server.addr, ConnectOptions{})
		require.ErrorIs(t, err, syscall.EMFILE)
		require.Equal(t, FaultInternal, fault(err))
		require.Equal(t, time.Second, retryAfter(err))
		client.stop()
		server.stop()
	})
}

// [OURS] connmgr §6.2: a hot mini-protocol that cannot stop, because it is the server's turn, costs the connection after 300 s, and
// nobody the blame.
func TestDeactivateTimeoutClosesWithoutBlame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		a := newNode(t, n, 1, func(c *Config) {
			mp := *c.Protocols[2]
			spec := echoSpec("patient")
			spec.States[1].Timeout = protocols.TimeLimit{}
			mp.Spec = spec
			mp.Initiate = func(ctx context.Context, s *protocols.Session) error {
				if err := s.Send(ctx, msgPing); err != nil {
					return err
				}
				_, err := s.Recv(ctx) // for ever
				return err
			}
			c.Protocols[2] = &mp
		})
		b := newNode(t, n, 2, func(c *Config) {
			mp := *c.Protocols[2]
			mp.Respond = func(ctx context.Context, s *protocols.Session) error {
				<-ctx.Done()
				return ctx.Err()
			}
			c.Protocols[2] = &mp
		})
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		require.NoError(t, a.m.Activate(bg, b.addr))
		time.Sleep(time.Second)
		begin := time.Now()
		require.NoError(t, a.m.Deactivate(bg, b.addr))
		require.Equal(t, 300*time.Second, time.Since(begin))
		a.mu.Lock()
		require.Equal(t, fmt.Sprintf("%v cold(-1ns) <nil>", b.addr), a.events[len(a.events)-1])
		a.mu.Unlock()
		require.Empty(t, a.states())
		a.stop()
		b.stop()
	})
}

// sharer answers every request with fixed addresses.
func sharer(peers ...netip.AddrPort) *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: peersharing.Spec(), Number: peersharing.Number, Bundle: protocols.Established, Start: mux.OnDemand,
		Ingress: [2]int{peersharing.IngressLimit, peersharing.IngressLimit},
		Enabled: func(n protocols.Negotiated) bool { return n.PeerSharing },
		Respond: func(ctx context.Context, s *protocols.Session) error {
			for {
				msg, err := s.Recv(ctx)
				if err != nil || msg.Tag == peersharing.TagDone {
					return err
				}
				amount, err := peersharing.DecodeShareRequest(msg.Raw)
				if err != nil {
					return s.Fail(err)
				}
				if err := s.Send(ctx, peersharing.AppendSharePeers(nil, peers[:min(int(amount), len(peers))])); err != nil {
					return err
				}
			}
		},
	}
}

// Peers are asked over the connection that is there, as often as one likes; willingness is what the handshake has settled. Mature duplex
// peers are on offer, with their willingness.
func TestPeerSharingAndMaturity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		known := []netip.AddrPort{peerAddr(5), peerAddr(6), peerAddr(7)}
		sharing := func(c *Config) {
			c.PeerSharing = true
			c.Protocols = append(c.Protocols, sharer(known...))
		}
		a, b, shy := newNode(t, n, 1, sharing), newNode(t, n, 2, sharing), newNode(t, n, 3, nil)
		_, err := a.m.AskForPeers(bg, b.addr, 2)
		require.ErrorContains(t, err, "not connected")
		shares, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		require.True(t, shares)
		shares, err = a.m.Connect(bg, shy.addr, ConnectOptions{})
		require.NoError(t, err)
		require.False(t, shares)
		for _, ask := range []int{2, 3, 1} {
			got, err := a.m.AskForPeers(bg, b.addr, ask)
			require.NoError(t, err)
			require.Equal(t, known[:ask], got)
		}
		_, err = a.m.AskForPeers(bg, shy.addr, 2)
		require.ErrorIs(t, err, errNotSharing)
		time.Sleep(899 * time.Second)
		require.Empty(t, a.m.MatureInbound())
		time.Sleep(2 * time.Second)
		require.Equal(t, map[netip.AddrPort]bool{b.addr: true, shy.addr: false}, a.m.MatureInbound())
		require.Equal(t, map[netip.AddrPort]bool{a.addr: true}, b.m.MatureInbound())
		require.Empty(t, shy.m.MatureInbound(), "it takes no part")
		for _, nd := range []*node{a, b, shy} {
			nd.stop()
		}
	})
}

// Who has connected to us over a duplex connection is told, and can be reused there and then; who cannot be is not, nor whom we dial.
func TestWatchInbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		a, b, late := newNode(t, n, 1, nil), newNode(t, n, 2, nil), newNode(t, n, 3, nil)
		shy := newNode(t, n, 4, func(c *Config) { c.InitiatorOnly = true })
		var told []netip.AddrPort
		stop := a.m.WatchInbound(func(peer netip.AddrPort) {
			told = append(told, peer) // one at a time
			go a.m.Connect(bg, peer, ConnectOptions{InboundOnly: true})
		})
		for _, c := range [][2]*node{{shy, a}, {b, a}, {a, newNode(t, n, 5, nil)}, {late, a}} {
			if c[0] == late {
				stop()
			}
			_, err := c[0].m.Connect(bg, c[1].addr, ConnectOptions{})
			require.NoError(t, err)
			synctest.Wait()
			defer c[0].stop()
			defer c[1].stop()
		}
		require.Equal(t, []netip.AddrPort{b.addr}, told)
		require.Equal(t, StatusWarm, a.peerStatus(b))
	})
}

func TestBannedRemotesAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		var banned atomic.Bool
		a := newNode(t, n, 1, nil)
		b := newNode(t, n, 2, func(c *Config) { c.Banned = func(r netip.AddrPort) bool { return banned.Load() && r == a.addr } })
		banned.Store(true)
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = a.m.Connect(bg, b.addr, ConnectOptions{InitiatorOnly: true})
		require.NoError(t, err, "another port is another remote")
		a.stop()
		b.stop()
	})
}

// Local clients over a Unix socket: no idle time-out, addresses invented, one label each.
func TestNodeToClientManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.socket")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	m, err := NewManager(Config{Network: 42, NodeToClient: true})
	require.NoError(t, err)
	require.NoError(t, m.Serve(ln))
	var conns []*Conn
	for range 3 {
		c, err := DialLocal(bg, path, 42)
		require.NoError(t, err)
		conns = append(conns, c)
	}
	require.Eventually(t, func() bool { return m.Counters().Inbound == 3 }, 10*time.Second, time.Millisecond)
	labels := map[string]bool{}
	for _, i := range m.Connections() {
		require.Equal(t, StateInboundIdleUni, i.State)
		require.Empty(t, i.Timer)
		labels[i.Label] = true
	}
	require.Len(t, labels, 3)
	conns[0].Close()
	require.Eventually(t, func() bool { return m.Counters().Inbound == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, m.Close())
	for _, c := range conns {
		c.Close()
	}
	require.ErrorIs(t, m.Serve(ln), ErrClosed)
	_, err = m.Connect(bg, peerAddr(1), ConnectOptions{})
	require.ErrorIs(t, err, ErrClosed)
}

// An error of the host that calls for the end of the node is told; what a remote does never is.
func TestFatalErrorsOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		fatal := make(chan error, 4)
		broken := hostError{fault: FaultInternal, fatal: true}
		a := newNode(t, n, 1, func(c *Config) {
			c.Fatal = func(err error) { fatal <- err }
			mp := *c.Protocols[2]
			mp.Initiate = func(context.Context, *protocols.Session) error { return broken }
			c.Protocols[2] = &mp
		})
		b := newNode(t, n, 2, func(c *Config) { c.Fatal = func(err error) { fatal <- err } })
		_, err := a.m.Connect(bg, b.addr, ConnectOptions{})
		require.NoError(t, err)
		require.NoError(t, a.m.Activate(bg, b.addr))
		time.Sleep(time.Second)
		require.Len(t, fatal, 1)
		require.ErrorIs(t, <-fatal, broken)
		a.stop()
		b.stop()
	})
}
