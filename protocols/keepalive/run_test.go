package keepalive_test

import (
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rig"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var neg = protocols.Negotiated{Version: 15}

// puppet is a peer that the test plays.
type puppet struct {
	*testing.T
	conn net.Conn
	end  *rig.End
	s    *protocols.Session
}

// play runs f with mp in event form and a peer that the test plays.
func play(t *testing.T, mp *protocols.MiniProtocol, role mux.Role, f func(p *puppet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		p := &puppet{T: t, conn: y, end: rig.Attach(t, x, neg, mp)}
		s, err := p.end.Open(mp, role)
		require.NoError(t, err)
		p.s = s
		s.RunEvents()
		f(p)
		y.Close()
		p.end.Close()
		synctest.Wait()
	})
}

func (p *puppet) say(from mux.Role, b ...byte) {
	p.Helper()
	require.NoError(p, mux.WriteSDU(p.conn, mux.Header{Number: keepalive.Number, From: from}, b))
}

func (p *puppet) hear() []byte {
	p.Helper()
	_, b, err := mux.ReadSDU(p.conn, mux.MaxPayload)
	require.NoError(p, err)
	return b
}

func (p *puppet) cookie() uint16 {
	p.Helper()
	c, err := keepalive.DecodeKeepAlive(p.hear())
	require.NoError(p, err)
	return c
}

func (p *puppet) broken(kind protocols.ErrorKind, state string) {
	p.Helper()
	e, err := p.end.Err()
	require.NoError(p, err)
	require.Equal(p, kind, e.Kind, "%v", e)
	require.Equal(p, state, e.State)
	require.False(p, e.Local)
}

// prop_connect and the interval: a request at once, then each a whole interval after the response, with cookies that change.
func TestPropConnect(t *testing.T) {
	var l keepalive.Latency
	var sampled []time.Duration
	l.Sampled = func(d time.Duration) { sampled = append(sampled, d) }
	play(t, keepalive.Client(10*time.Second, &l), mux.Initiator, func(p *puppet) {
		began := time.Now()
		cookies := map[uint16]bool{}
		for i := range 20 {
			c := p.cookie()
			cookies[c] = true
			require.Equal(p, time.Duration(i)*13*time.Second, time.Since(began))
			time.Sleep(3 * time.Second)
			p.say(mux.Responder, keepalive.AppendResponse(nil, c)...)
		}
		synctest.Wait()
		require.Greater(p, len(cookies), 10)
		require.Len(p, sampled, 20)
		_, rtt, ok := l.Read()
		require.True(p, ok)
		require.Equal(p, 3*time.Second, rtt)
	})
}

func TestServerEchoes(t *testing.T) {
	play(t, keepalive.Server(), mux.Responder, func(p *puppet) {
		for c := range uint16(300) {
			p.say(mux.Initiator, keepalive.AppendKeepAlive(nil, c*217)...)
			got, err := keepalive.DecodeResponse(p.hear())
			require.NoError(p, err)
			require.Equal(p, c*217, got)
		}
		p.say(mux.Initiator, 0x81, 2)
		synctest.Wait()
		require.True(p, p.s.Finished())
	})
}

// N14: the response has another cookie than the request.
func TestN14CookieMismatch(t *testing.T) {
	play(t, keepalive.Client(0, new(keepalive.Latency)), mux.Initiator, func(p *puppet) {
		c := p.cookie()
		p.say(mux.Responder, keepalive.AppendResponse(nil, c^1)...)
		p.broken(protocols.Violation, "Server")
		require.ErrorIs(p, p.end.Mux.Err(), keepalive.ErrCookie)
	})
}

// N15, the control case: a response in two SDUs is legal.
func TestN15SplitResponse(t *testing.T) {
	play(t, keepalive.Client(time.Second, new(keepalive.Latency)), mux.Initiator, func(p *puppet) {
		for range 5 {
			msg := keepalive.AppendResponse(nil, p.cookie())
			p.say(mux.Responder, msg[:2]...)
			time.Sleep(time.Second)
			p.say(mux.Responder, msg[2:]...)
		}
		p.cookie()
		require.NoError(p, p.end.Mux.Err())
	})
}

// A response that nobody asked for waits for the next request, which it does not fit.
func TestUnsolicitedResponse(t *testing.T) {
	play(t, keepalive.Client(time.Second, new(keepalive.Latency)), mux.Initiator, func(p *puppet) {
		msg := keepalive.AppendResponse(nil, p.cookie())
		for c := range uint16(3) { // the first by chance fits once in 65,536 runs
			msg = keepalive.AppendResponse(msg, c)
		}
		p.say(mux.Responder, msg...)
		synctest.Wait()
		require.NoError(p, p.end.Mux.Err())
		p.broken(protocols.Violation, "Server")
	})
}

// Silence: 97 s for the client's turn, 60 s for the server's.
func TestTimeLimits(t *testing.T) {
	play(t, keepalive.Server(), mux.Responder, func(p *puppet) {
		began := time.Now()
		for range 3 {
			time.Sleep(96 * time.Second)
			p.say(mux.Initiator, keepalive.AppendKeepAlive(nil, 1)...)
			p.hear()
		}
		p.broken(protocols.TimedOut, "Client")
		require.Equal(p, (3*96+97)*time.Second, time.Since(began))
	})
	play(t, keepalive.Client(0, new(keepalive.Latency)), mux.Initiator, func(p *puppet) {
		began := time.Now()
		p.cookie()
		p.broken(protocols.TimedOut, "Server")
		require.Equal(p, time.Minute, time.Since(began))
	})
}

// prop_byteLimits: what fits the ingress limit is far below the message limit, so that the multiplexer stops a flood first.
func TestPropByteLimits(t *testing.T) {
	for _, st := range keepalive.Spec().States[:2] {
		require.Equal(t, 65_535, st.Bytes)
	}
	play(t, keepalive.Server(), mux.Responder, func(p *puppet) {
		p.say(mux.Initiator, append([]byte{0x82, 0, 0x59, 0xff, 0xff}, make([]byte, 1408-5)...)...) // exactly the ingress limit
		synctest.Wait()
		require.NoError(p, p.end.Mux.Err())
	})
}

// Terminate is obeyed at once between exchanges, and after the response within one.
func TestTerminate(t *testing.T) {
	for _, within := range []bool{false, true} {
		play(t, keepalive.Client(time.Second, new(keepalive.Latency)), mux.Initiator, func(p *puppet) {
			c := p.cookie()
			if within {
				p.s.SetControl(protocols.Terminate)
			}
			p.say(mux.Responder, keepalive.AppendResponse(nil, c)...)
			if !within {
				synctest.Wait()
				p.s.SetControl(protocols.Terminate)
			}
			require.Equal(p, []byte{0x81, 2}, p.hear())
			require.True(p, p.s.Finished())
			time.Sleep(time.Hour)
			require.NoError(p, p.end.Mux.Err())
		})
	}
}

// prop_keepAlive_convergence: G moves to the round trip's half, never past it, and the first sample replaces the dummy.
func TestPropKeepAliveConvergence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		first := time.Duration(rapid.Int64Range(1e5, 5e9).Draw(rt, "first"))
		rtt := time.Duration(rapid.Int64Range(1e5, 5e9).Draw(rt, "rtt"))
		every := time.Duration(rapid.Int64Range(1e8, 100e9).Draw(rt, "every"))
		g := keepalive.DefaultGSV().Sample(first, 0, true)
		if g.Out.G != first/2 || g.In.G != first/2 {
			rt.Fatalf("the first sample is taken as it is: %v", g)
		}
		at, want := first/2, rtt/2
		for range 10 * int(1000*time.Second/every+1) {
			g = g.Sample(rtt, every, false)
			if (g.Out.G-want).Abs() > (at-want).Abs() || g.Out.G != g.In.G {
				rt.Fatalf("%v is farther from %v than %v", g.Out.G, want, at)
			}
			at = g.Out.G
		}
		// α steps leave (1-α)^n of the distance, at most e^-10, and truncation a nanosecond or so a step
		left := math.Exp(-10)*float64((first/2-want).Abs()) + 1/min(1, every.Seconds()/1000) + 1
		if float64((at - want).Abs()) > left {
			rt.Fatalf("%v has not converged to %v", at, want)
		}
		if g.Out.S != 2*time.Microsecond || g.Out.V != 0 {
			rt.Fatal("S and V are not measured")
		}
	})
	var l keepalive.Latency
	gsv, _, ok := l.Read()
	require.False(t, ok)
	require.Equal(t, keepalive.DefaultGSV(), gsv)
	require.Equal(t, 500*time.Millisecond+100*2*time.Microsecond+500*time.Millisecond+200*2*time.Microsecond, gsv.Expected(100, 200))
	now := time.Now()
	l.Add(100*time.Millisecond, now)
	l.Add(300*time.Millisecond, now.Add(500*time.Second))
	gsv, rtt, ok := l.Read()
	require.True(t, ok)
	require.Equal(t, 300*time.Millisecond, rtt)
	require.Equal(t, 100*time.Millisecond, gsv.Out.G)
}

// Nearer first; within 5 % the salted hashes decide; an active peer counts as a fifth nearer.
func TestRanking(t *testing.T) {
	at := func(d time.Duration) keepalive.GSV { return keepalive.DefaultGSV().Sample(d, 0, true) }
	require.True(t, keepalive.Less(at(100e6), at(200e6), false, false, 9, 1))
	require.False(t, keepalive.Less(at(100e6), at(104e6), false, false, 9, 1))
	require.True(t, keepalive.Less(at(104e6), at(100e6), false, false, 1, 9))
	require.True(t, keepalive.Less(at(110e6), at(100e6), true, false, 9, 1))
}
