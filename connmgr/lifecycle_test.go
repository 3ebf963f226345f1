package connmgr

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// memNode is a listening node in an in-memory network, inside a bubble.
type memNode struct {
	*testing.T
	net     *memnet.Network
	host    *memnet.Host
	clients *memnet.Host
	at      netip.AddrPort
	ln      *Listener
	conns   chan *Conn
	stop    func()
}

// inNode runs f in virtual time with a node that listens.
func inNode(t *testing.T, link memnet.Link, f func(n *memNode), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &memNode{T: t, net: memnet.New(memnet.Config{Seed: 1, Link: link}), at: netip.MustParseAddrPort("10.0.0.2:3001"), conns: make(chan *Conn, 100)}
		n.host, n.clients = n.net.Host(n.at.Addr()), n.net.Host(netip.MustParseAddr("10.0.0.1"))
		ln, err := n.host.Listen(n.at)
		require.NoError(t, err)
		n.ln = NewListener(ln, Preview, false, opts...)
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- n.ln.Serve(ctx, func(c *Conn) { n.conns <- c }) }()
		n.stop = func() {
			cancel()
			require.NoError(t, <-served)
			n.ln.Close()
		}
		f(n)
		n.stop()
		synctest.Wait()
	})
}

func (n *memNode) dialBearer() net.Conn {
	n.Helper()
	c, err := n.clients.Dial(n.Context(), netip.AddrPort{}, n.at)
	require.NoError(n, err)
	return c
}

// dial makes an honest connection, and returns the node's end of it too.
func (n *memNode) dial(opts ...Option) (ours, nodes *Conn) {
	n.Helper()
	ours, err := Attach(n.Context(), n.dialBearer(), Preview, false, opts...)
	require.NoError(n, err)
	return ours, <-n.conns
}

// dialRaw makes a connection that the test plays from the handshake on.
func (n *memNode) dialRaw() (net.Conn, *Conn) {
	n.Helper()
	raw := n.dialBearer()
	_, err := handshake.Initiate(n.Context(), raw, Options{Duplex: true}.proposal(Preview, false, true))
	require.NoError(n, err)
	return raw, <-n.conns
}

// letter is a mini-protocol whose initiator sends one text and says goodbye, and whose responder receives it.
func letter(respond func(ctx context.Context, s *protocols.Session) error) *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: &protocols.Spec{
			Name:   "letter",
			States: []protocols.StateSpec{{Name: "Idle", Agency: protocols.Client}, {Name: "Busy", Agency: protocols.Server}, {Name: "Done"}},
			Transitions: []protocols.Transition{
				{Message: "Text", Tag: 0, Len: 2, From: 0, To: 1},
				{Message: "Thanks", Tag: 1, Len: 2, From: 1, To: 0},
				{Message: "Bye", Tag: 2, Len: 1, From: 0, To: 2},
			},
		},
		Number: 500, Start: mux.OnDemand, Ingress: [2]int{1 << 20, 1 << 20},
		Respond: respond,
	}
}

func text(tag uint64, size int) []byte {
	return cbor.AppendBytes(cbor.AppendUint(cbor.AppendArray(nil, 2), tag), make([]byte, size))
}

// What was sent before Close arrives, also when the peer's requests go on arriving meanwhile, which can no longer be answered.
func TestCloseDeliversLastWords(t *testing.T) {
	var got int
	link := memnet.Link{Latency: 20 * time.Millisecond, Bandwidth: 400_000}
	inNode(t, link, func(n *memNode) {
		ours, nodes := n.dial(WithDuplex(), WithKeepAlive(50*time.Millisecond), Serve(letter(nil)))
		s, err := ours.Open(letter(nil), mux.Initiator)
		require.NoError(n, err)
		require.NoError(n, s.Send(n.Context(), text(0, 250_000)))
		require.NoError(n, ours.Close())
		require.NoError(n, nodes.Wait(n.Context()).(*mux.Error).Err)
		require.ErrorIs(n, nodes.Err(), mux.ErrBearerClosed)
		require.Equal(n, 250_000+7, got)
	}, WithKeepAlive(50*time.Millisecond), Serve(letter(func(ctx context.Context, s *protocols.Session) error {
		m, err := s.Recv(ctx)
		got = len(m.Raw)
		if err != nil {
			return err
		}
		return s.Send(ctx, text(1, 10))
	})))
}

// The error of a connection says whose fault it was, not only that this end closed it.
func TestErrorOfConnectionTellsWhoseFault(t *testing.T) {
	inNode(t, memnet.Link{}, func(n *memNode) {
		raw, nodes := n.dialRaw()
		require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: 8}, []byte{0x82, 7, 7}))
		err := nodes.Wait(n.Context())
		var f interface{ Fault() string }
		require.ErrorAs(n, err, &f)
		require.Equal(n, "adversarial", f.Fault())
		require.Equal(n, err, nodes.Err())
		var e *protocols.Error
		require.ErrorAs(n, err, &e)
		require.Equal(n, "keep-alive", e.Protocol)
		synctest.Wait()
		require.Equal(n, e, context.Cause(nodes.ctx))
		_, err = nodes.Open(letter(nil), mux.Initiator)
		require.ErrorAs(n, err, &f)
		require.Equal(n, "adversarial", f.Fault())
		raw.Close()
	})
}

// A peer that says Done over and over restarts the responder each time, on a stack that does not grow.
func TestRestartsDoNotNest(t *testing.T) {
	runs, deepest := 0, 0
	mp := letter(nil)
	mp.Step = func(s *protocols.Session, ev protocols.Event) error {
		if ev.Kind == protocols.OnStart {
			runs++
			deepest = max(deepest, runtime.Callers(0, make([]uintptr, 10_000)))
		}
		return nil
	}
	const n = 20_000
	inNode(t, memnet.Link{}, func(node *memNode) {
		raw, nodes := node.dialRaw()
		var p []byte
		for range n {
			p = append(p, 0x81, 2)
		}
		require.NoError(node, mux.WriteSDU(raw, mux.Header{Number: mp.Number}, p))
		synctest.Wait()
		require.NoError(node, nodes.Err())
		raw.Close()
	}, Serve(mp))
	require.Equal(t, n, runs)
	require.Less(t, deepest, 100)
}

func TestRespondersAreArmedAgain(t *testing.T) {
	runs := 0
	mp := letter(func(ctx context.Context, s *protocols.Session) error {
		runs++
		for {
			m, err := s.Recv(ctx)
			if err != nil || m.Tag == 2 {
				return err
			}
			if err := s.Send(ctx, text(1, 3)); err != nil {
				return err
			}
		}
	})
	inNode(t, memnet.Link{}, func(n *memNode) {
		ours, nodes := n.dial(Serve(letter(nil)))
		for range 5 {
			s, err := ours.Open(letter(nil), mux.Initiator)
			require.NoError(n, err)
			_, err = ours.Open(letter(nil), mux.Initiator)
			require.ErrorIs(n, err, protocols.ErrAlreadyRunning)
			require.NoError(n, s.Send(n.Context(), text(0, 30)))
			_, err = s.Recv(n.Context())
			require.NoError(n, err)
			require.NoError(n, s.Send(n.Context(), []byte{0x81, 2}))
			s.End()
		}
		synctest.Wait()
		require.Equal(n, 5, runs)
		require.NoError(n, nodes.Err())
		_, err := nodes.Open(letter(nil), mux.Responder)
		require.ErrorIs(n, err, protocols.ErrAlreadyRunning)
		_, err = ours.Open(letter(nil), mux.Responder)
		require.ErrorIs(n, err, protocols.ErrUnsupported, "this end is initiator-only")
	}, Serve(mp))
}

// Bytes behind a responder's last message start its next run.
func TestBytesBehindTheLastMessageStartTheNextRun(t *testing.T) {
	var got []int
	mp := letter(func(ctx context.Context, s *protocols.Session) error {
		m, err := s.Recv(ctx)
		for err == nil && m.Tag == 0 {
			got = append(got, len(m.Raw))
			if err = s.Send(ctx, text(1, 1)); err == nil {
				m, err = s.Recv(ctx)
			}
		}
		return err
	})
	inNode(t, memnet.Link{}, func(n *memNode) {
		raw, nodes := n.dialRaw()
		p := append(text(0, 10), 0x81, 2)
		p = append(append(append(p, text(0, 20)...), 0x81, 2), text(0, 21)[:5]...)
		require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: mp.Number}, p))
		synctest.Wait()
		require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: mp.Number}, text(0, 21)[5:]))
		synctest.Wait()
		require.NoError(n, nodes.Err())
		require.Equal(n, []int{13, 23, 24}, got)
		raw.Close()
	}, Serve(mp))
}

// A panic in any function of the host costs the connection it happened on, not the process and not another connection.
func TestPanicCostsOneConnection(t *testing.T) {
	boom := func(on string, at *atomic.Value) {
		if on == at.Load() {
			panic(on)
		}
	}
	log := catchLog(t)
	var at atomic.Value // the callback that panics
	mp := letter(func(ctx context.Context, s *protocols.Session) error { boom("respond", &at); return nil })
	mp.Enabled = func(protocols.Negotiated) bool { boom("enabled", &at); return true }
	event := letter(nil)
	event.Number = 501
	event.Step = func(*protocols.Session, protocols.Event) error { boom("step", &at); return nil }
	opts := []Option{
		WithRoundTrip(func(time.Duration) { boom("round trip", &at) }),
		WithMux(mux.Config{Arrived: func(uint32, time.Duration, int) { boom("arrived", &at) }, Ended: func(error) { boom("ended", &at) }}),
		Serve(mp, event),
	}
	for number, on := range map[uint16]string{500: "respond", 501: "step", 8: "round trip", 3: "arrived", 4: "ended"} {
		t.Run(on, func(t *testing.T) {
			at.Store("")
			inNode(t, memnet.Link{}, func(n *memNode) {
				honest, _ := n.dial(WithDuplex())
				raw, nodes := n.dialRaw()
				synctest.Wait()
				at.Store(on)
				switch number {
				case 8: // answer the node's keep-alive request
					for {
						h, p, err := mux.ReadSDU(raw, mux.MaxPayload)
						require.NoError(n, err)
						if h.Number == 8 && h.From == mux.Initiator {
							p[1] = 1
							require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: 8, From: mux.Responder}, p))
							break
						}
					}
				case 4:
					raw.Close()
				default:
					require.NoError(n, mux.WriteSDU(raw, mux.Header{Number: number}, text(0, 1)))
				}
				err := nodes.Wait(n.Context())
				if on != "ended" {
					var p *protocols.PanicError
					require.ErrorAs(n, err, &p, "%v", err)
					require.Equal(n, on, p.Value)
				}
				at.Store("")
				raw.Close()
				synctest.Wait()
				require.NoError(n, honest.Err())
				require.Equal(n, 1, strings.Count(log.String(), "panic: "+on))
			}, opts...)
		})
	}
	t.Run("enabled", func(t *testing.T) {
		at.Store("")
		inNode(t, memnet.Link{}, func(n *memNode) {
			honest, _ := n.dial()
			at.Store("enabled")
			_, err := Attach(n.Context(), n.dialBearer(), Preview, false)
			if err == nil {
				synctest.Wait()
			}
			at.Store("")
			_, _ = n.dial()
			require.NoError(n, honest.Err())
		}, opts...)
	})
}

// Close returns when everything has gone, whoever ended the connection, and at whatever moment.
func TestCloseWaitsForEverything(t *testing.T) {
	for range 300 {
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() {
			neg, err := handshake.Respond(context.Background(), b, Options{}.proposal(Preview, false, false))
			if err == nil {
				_ = neg
			}
			done <- err
		}()
		c, err := Attach(context.Background(), a, Preview, false)
		require.NoError(t, err)
		require.NoError(t, <-done)
		go c.Abort(errors.New("enough"))
		require.NoError(t, c.Close())
		require.Error(t, c.ctx.Err(), "the teardown has happened")
		b.Close()
	}
}

// A listener that is told to stop while connections come in.
func TestServeStoppedWhileAccepting(t *testing.T) {
	for range 200 {
		n := memnet.New(memnet.Config{Seed: 1})
		at := netip.MustParseAddrPort("10.0.0.2:3001")
		inner, err := n.Host(at.Addr()).Listen(at)
		require.NoError(t, err)
		ln := NewListener(inner, Preview, false)
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- ln.Serve(ctx, func(*Conn) { cancel() }) }()
		bearer, err := n.Host(netip.MustParseAddr("10.0.0.1")).Dial(ctx, netip.AddrPort{}, at)
		require.NoError(t, err)
		c, err := Attach(context.Background(), bearer, Preview, false)
		if err == nil {
			defer c.Close()
		}
		require.NoError(t, <-served)
		ln.Close()
		if c != nil {
			c.Abort(nil)
		}
	}
}

func TestKeepAliveTerminates(t *testing.T) {
	inNode(t, memnet.Link{Latency: 30 * time.Millisecond}, func(n *memNode) {
		ours, nodes := n.dial(WithKeepAlive(-1))
		var l keepalive.Latency
		s, err := ours.start(keepalive.Client(time.Second, &l), mux.Initiator)
		require.NoError(n, err)
		time.Sleep(10*time.Second + 10*time.Millisecond)
		_, rtt, ok := l.Read()
		require.True(n, ok)
		require.Equal(n, 60*time.Millisecond, rtt)
		s.SetControl(protocols.Terminate)
		time.Sleep(time.Second)
		require.True(n, s.Finished())
		require.NoError(n, ours.Err())
		time.Sleep(time.Hour) // nobody misses it: the responder waits for its next run
		require.NoError(n, nodes.Err())
		_, err = ours.start(keepalive.Client(time.Second, &l), mux.Initiator)
		require.NoError(n, err)
		time.Sleep(10 * time.Second)
		require.NoError(n, ours.Err())
	}, WithKeepAlive(-1))
}

func memAddr(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }

// memPort is a port of host i; of host 0 it is none.
func memPort(i byte) netip.AddrPort {
	if i == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(memAddr(i), 3001)
}
