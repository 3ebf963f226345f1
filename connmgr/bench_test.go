package connmgr

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bench is one core under a well-behaved shell, driven by hand.
type bench struct {
	*testing.T
	core    *core
	now     time.Duration
	tickets ticket
	socks   sockID
	replies map[ticket]effect
	closed  map[sockID]fx
	armed   []sockID
	dials   []RecordID
	trail   []Transition
	remotes []RemoteState
}

func newBench(t *testing.T, change func(*coreConfig)) *bench {
	cfg := coreConfig{
		Hard: 10, Responders: true,
		RemoteIdle: 5 * time.Second, OutboundIdle: 5 * time.Second, TimeWait: 60 * time.Second, Maturity: 900 * time.Second,
		Connect: 10 * time.Second, Handshake: 20 * time.Second, TupleBusy: time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	return &bench{T: t, core: newCore(cfg, rand.New(rand.NewPCG(1, 1))), replies: map[ticket]effect{}, closed: map[sockID]fx{}}
}

func (b *bench) do(e event) (result, RecordID) {
	b.Helper()
	if r := b.core.records[e.id]; r != nil && e.sock == 0 && (e.kind == evResponderStarted || e.kind == evResponderEnded) {
		e.sock = r.handle
	}
	res, id, effects := b.core.step(b.now, e)
	for _, f := range effects {
		switch f.kind {
		case effReply:
			require.NotContains(b, b.replies, f.ticket)
			b.replies[f.ticket] = f
		case effClose:
			b.closed[f.sock] = f.how
		case effArm:
			b.armed = append(b.armed, f.sock)
		case effDial:
			b.dials = append(b.dials, f.id)
		case effTrace:
			require.True(b, f.trace.Unexpected || LegalTransition(f.trace.From, f.trace.To), "%+v", f.trace)
			b.trail = append(b.trail, f.trace)
		case effRemote:
			require.True(b, LegalRemoteTransition(f.remoteFrom, f.remoteTo))
			b.remotes = append(b.remotes, f.remoteTo)
		}
	}
	checkCore(b.core, func(format string, args ...any) { b.Helper(); b.Fatalf(format, args...) })
	return res, id
}

// wait lets time pass, timer by timer.
func (b *bench) wait(d time.Duration) {
	b.Helper()
	until := b.now + d
	for {
		due, ok := b.core.nextTimer()
		if !ok || due > until {
			break
		}
		b.now = max(b.now, due)
		b.do(event{kind: evTimers})
	}
	b.now = until
}

func (b *bench) acquire(remote netip.AddrPort) (ticket, RecordID) {
	b.Helper()
	b.tickets++
	_, id := b.do(event{kind: evAcquire, ticket: b.tickets, remote: remote, bound: modelAddr[0]})
	return b.tickets, id
}

// outbound makes a negotiated outbound connection.
func (b *bench) outbound(remote netip.AddrPort, flow DataFlow) (RecordID, sockID) {
	b.Helper()
	t, id := b.acquire(remote)
	b.socks++
	res, _ := b.do(event{kind: evDialled, id: id, sock: b.socks, local: modelAddr[0]})
	require.Equal(b, resProceed, res)
	b.do(event{kind: evOutHandshake, id: id, sock: b.socks, flow: flow})
	require.Equal(b, resConnected, b.replies[t].res)
	return id, b.socks
}

func (b *bench) accept(remote netip.AddrPort, protected bool) (RecordID, sockID) {
	b.Helper()
	b.socks++
	res, id := b.do(event{kind: evAccepted, sock: b.socks, local: modelAddr[0], remote: remote, protected: protected})
	require.Equal(b, resProceed, res)
	return id, b.socks
}

// inbound makes a negotiated inbound connection.
func (b *bench) inbound(remote netip.AddrPort, flow DataFlow) (RecordID, sockID) {
	b.Helper()
	id, s := b.accept(remote, false)
	res, _ := b.do(event{kind: evInHandshake, id: id, sock: s, flow: flow})
	require.Equal(b, resConnected, res)
	return id, s
}

func (b *bench) release(id RecordID) ticket {
	b.Helper()
	b.tickets++
	b.do(event{kind: evRelease, id: id, ticket: b.tickets})
	return b.tickets
}

func (b *bench) state(id RecordID) State {
	if r := b.core.records[id]; r != nil {
		return r.state
	}
	return StateUnknown
}

func peerAddr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(1 + n/250), byte(n % 250), 1}), 3001)
}

func retryAfter(err error) time.Duration {
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &r) {
		return r.RetryAfter()
	}
	return 0
}

func fault(err error) string {
	var f interface{ Fault() string }
	if errors.As(err, &f) {
		return f.Fault()
	}
	return ""
}
