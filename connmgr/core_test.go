package connmgr

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unit_overwritten: an accepted socket takes over a pending dial of the same 4-tuple; the dial, which must fail then, waits for its
// handshake and reuses it.
func TestUnitOverwritten(t *testing.T) {
	b := newBench(t, nil)
	tk, id := b.acquire(peerAddr(1))
	in, s := b.accept(peerAddr(1), false)
	require.Equal(t, id, in)
	require.Equal(t, StateUnnegotiatedInbound, b.state(id))
	b.do(event{kind: evDialFailed, id: id, fail: dialBusy, err: syscall.EADDRNOTAVAIL})
	require.NotContains(t, b.replies, tk)
	b.do(event{kind: evInHandshake, id: id, sock: s, flow: Duplex})
	require.Equal(t, resConnected, b.replies[tk].res)
	require.Equal(t, s, b.replies[tk].sock)
	require.Equal(t, StateOutboundDupTicking, b.state(id))
}

// unit_timeoutExpired: an accepted duplex connection that we reuse keeps its idle timer.
func TestUnitTimeoutExpired(t *testing.T) {
	b := newBench(t, nil)
	id, _ := b.inbound(peerAddr(1), Duplex)
	b.wait(3 * time.Second)
	tk, _ := b.acquire(peerAddr(1))
	require.Equal(t, resConnected, b.replies[tk].res)
	require.Equal(t, StateOutboundDupTicking, b.state(id))
	b.wait(2 * time.Second)
	require.Equal(t, StateOutboundDupExpired, b.state(id))
	require.Equal(t, RemoteCounters{Cold: 1}, b.core.remote)
	tk = b.release(id)
	require.NotContains(t, b.replies, tk, "the release waits for the outbound idle timer")
	b.wait(5 * time.Second)
	require.Equal(t, resOK, b.replies[tk].res)
	require.Equal(t, StateTerminating, b.state(id))
}

// The whole life of an outbound duplex connection, with its times.
func TestLifeOfAnOutboundDuplexConnection(t *testing.T) {
	b := newBench(t, nil)
	id, s := b.outbound(peerAddr(1), Duplex)
	require.Equal(t, []sockID{s}, b.armed)
	b.do(event{kind: evResponderStarted, id: id})
	b.do(event{kind: evResponderStarted, id: id, hot: true})
	require.Equal(t, StateDuplex, b.state(id))
	b.release(id)
	require.Equal(t, StateInboundDup, b.state(id))
	b.do(event{kind: evResponderEnded, id: id, hot: true})
	b.do(event{kind: evResponderEnded, id: id})
	require.Equal(t, StateInboundIdleDup, b.state(id))
	b.wait(5 * time.Second)
	require.Equal(t, StateTerminating, b.state(id))
	require.Equal(t, fxCloseOrderly, b.closed[s])
	b.do(event{kind: evEnded, id: id, sock: s})
	b.wait(59 * time.Second)
	require.Equal(t, StateTerminating, b.state(id))
	b.wait(time.Second)
	require.Equal(t, StateUnknown, b.state(id))
	require.Equal(t, []RemoteState{RemoteIdle, RemoteWarm, RemoteHot, RemoteWarm, RemoteIdle, RemoteNone}, b.remotes)
	require.Zero(t, b.core.counters)
	var names []string
	for _, tr := range b.trail {
		if tr.Name != "" {
			names = append(names, tr.Name)
		}
	}
	require.Equal(t, []string{
		"Reserve", "Connected", "NegotiatedDuplexOutbound", "PromotedToWarmDuplexRemote", "DemotedToColdDuplexLocal", "DemotedToColdRemote", "Commit",
	}, names)
}

// The remote starts to use the connection while we are about to close it.
func TestAwakeDuplexRemoteCancelsOurClose(t *testing.T) {
	b := newBench(t, nil)
	id, _ := b.outbound(peerAddr(1), Duplex)
	b.wait(5 * time.Second)
	tk := b.release(id)
	require.Equal(t, StateOutboundIdleDup, b.state(id))
	b.do(event{kind: evResponderStarted, id: id})
	require.Equal(t, StateInboundDup, b.state(id))
	require.Equal(t, resUnsupported, b.replies[tk].res)
	b.wait(time.Hour)
	require.Equal(t, StateInboundDup, b.state(id))
}

// Acquiring what is on its way out says when to come back, and is no failure.
func TestAcquireOfAnEndingConnectionSaysWhenToRetry(t *testing.T) {
	b := newBench(t, nil)
	id, s := b.outbound(peerAddr(1), Unidirectional)
	b.release(id)
	b.wait(2 * time.Second)
	tk, _ := b.acquire(peerAddr(1))
	require.ErrorIs(t, b.replies[tk].err, ErrForbiddenOperation)
	require.Equal(t, 63*time.Second, retryAfter(b.replies[tk].err), "the rest of the idle timer and TIME_WAIT")
	b.wait(3 * time.Second)
	b.do(event{kind: evEnded, id: id, sock: s})
	b.wait(20 * time.Second)
	tk, _ = b.acquire(peerAddr(1))
	require.ErrorIs(t, b.replies[tk].err, ErrConnectionTerminating)
	require.Equal(t, 40*time.Second, retryAfter(b.replies[tk].err))
	require.Equal(t, FaultBenign, fault(b.replies[tk].err))
	// Accepting the same 4-tuple is allowed meanwhile, with a new record.
	in, _ := b.accept(peerAddr(1), false)
	require.NotEqual(t, id, in)
	require.Equal(t, StateUnknown, b.state(id))
}

// Several records of one remote: what can be reused goes before what is terminating.
func TestAcquirePrefersWhatCanBeReused(t *testing.T) {
	for seed := range 20 {
		b := newBench(t, nil)
		b.core.rnd = rand.New(rand.NewPCG(uint64(seed), 0))
		old, _ := b.inbound(peerAddr(1), Duplex)
		b.wait(5 * time.Second)
		require.Equal(t, StateTerminating, b.state(old))
		b.socks++
		_, id := b.do(event{kind: evAccepted, sock: b.socks, local: modelAddr[1], remote: peerAddr(1)})
		b.do(event{kind: evInHandshake, id: id, sock: b.socks, flow: Duplex})
		tk, got := b.acquire(peerAddr(1))
		require.Equal(t, resConnected, b.replies[tk].res)
		require.Equal(t, id, got)
	}
}

// connmgr §11 item 20: no exit leaves the reservation behind.
func TestReservationIsReleasedOnEveryExit(t *testing.T) {
	for _, exit := range []func(b *bench, id RecordID){
		func(b *bench, id RecordID) {
			b.do(event{kind: evDialFailed, id: id, fail: dialSocket, err: syscall.EMFILE})
		},
		func(b *bench, id RecordID) {
			b.do(event{kind: evDialFailed, id: id, fail: dialConnect, err: syscall.ECONNREFUSED})
		},
		func(b *bench, id RecordID) {
			b.do(event{kind: evDialFailed, id: id, fail: dialBusy, err: syscall.EADDRINUSE})
		},
		func(b *bench, id RecordID) { b.wait(10 * time.Second) },
		func(b *bench, id RecordID) { b.do(event{kind: evShutdown}) },
	} {
		b := newBench(t, nil)
		tk, id := b.acquire(peerAddr(1))
		exit(b, id)
		b.wait(time.Second)
		require.Error(t, b.replies[tk].err)
		require.Empty(t, b.core.records)
		require.Empty(t, b.core.byRemote)
		res, _ := b.do(event{kind: evDialled, id: id, sock: 9, local: modelAddr[0]})
		require.Equal(t, resDisconnected, res, "a late connect finds nothing")
	}
	b := newBench(t, nil)
	tk, id := b.acquire(peerAddr(1))
	b.do(event{kind: evDialFailed, id: id, fail: dialSocket, err: syscall.EMFILE})
	require.Equal(t, FaultInternal, fault(b.replies[tk].err))
	require.Equal(t, time.Second, retryAfter(b.replies[tk].err))
	require.ErrorIs(t, b.replies[tk].err, syscall.EMFILE)
}

// EADDRNOTAVAIL: the peer's own connection is about to be accepted.
func TestBusyTupleWaitsForTheAcceptedConnection(t *testing.T) {
	b := newBench(t, nil)
	tk, id := b.acquire(peerAddr(1))
	b.do(event{kind: evDialFailed, id: id, fail: dialBusy, err: syscall.EADDRNOTAVAIL})
	b.wait(900 * time.Millisecond)
	in, _ := b.inbound(peerAddr(1), Duplex)
	require.Equal(t, resConnected, b.replies[tk].res)
	require.Equal(t, StateOutboundDupTicking, b.state(in))

	tk, id = b.acquire(peerAddr(2))
	b.do(event{kind: evDialFailed, id: id, fail: dialBusy, err: syscall.EADDRNOTAVAIL})
	b.wait(time.Second)
	require.ErrorIs(t, b.replies[tk].err, syscall.EADDRNOTAVAIL)
	require.Equal(t, FaultNetwork, fault(b.replies[tk].err))
}

func TestBehindAFirewallIsNeverDialled(t *testing.T) {
	b := newBench(t, nil)
	b.do(event{kind: evAcquire, ticket: 1, remote: peerAddr(1), reuseOnly: true})
	require.ErrorIs(t, b.replies[1].err, ErrInboundConnectionNotFound)
	require.Empty(t, b.dials)
	id, _ := b.inbound(peerAddr(1), Duplex)
	b.do(event{kind: evAcquire, ticket: 2, remote: peerAddr(1), reuseOnly: true})
	require.Equal(t, resConnected, b.replies[2].res)
	require.Equal(t, StateOutboundDupTicking, b.state(id))
}

func TestSelfConnectionIsPermanent(t *testing.T) {
	b := newBench(t, nil)
	tk, id := b.acquire(modelAddr[0])
	res, _ := b.do(event{kind: evDialled, id: id, sock: 1, local: modelAddr[0]})
	require.Equal(t, resSelf, res)
	require.ErrorIs(t, b.replies[tk].err, ErrSelfConnection)
	tk, _ = b.acquire(modelAddr[0])
	require.ErrorIs(t, b.replies[tk].err, ErrSelfConnection)
	require.Len(t, b.dials, 1)
	require.Empty(t, b.core.records)
}

// §4.4: the limit is tested in the step in which the handshake succeeds, with the reserve for local roots.
func TestLimitIsTestedWhenTheHandshakeSucceeds(t *testing.T) {
	b := newBench(t, func(c *coreConfig) { c.Hard, c.Reserve = 5, 2 })
	var pending []RecordID
	var socks []sockID
	for i := range 8 {
		id, s := b.accept(peerAddr(i), i >= 5)
		pending, socks = append(pending, id), append(socks, s)
	}
	require.Equal(t, 8, b.core.counters.UnnegotiatedInbound)
	require.Zero(t, b.core.counters.Inbound)
	var got []result
	for i := range pending {
		res, _ := b.do(event{kind: evInHandshake, id: pending[i], sock: socks[i], flow: Duplex})
		got = append(got, res)
	}
	ok, no := resConnected, resDisconnected
	require.Equal(t, []result{ok, ok, ok, no, no, ok, ok, no}, got)
	require.Equal(t, 5, b.core.counters.Inbound)
	var refusal *Refusal
	require.ErrorAs(t, b.core.records[pending[3]].err, &refusal)
	require.Equal(t, Refusal{Scope: "inbound connections", Limit: 3, InUse: 3, Remote: peerAddr(3)}, *refusal)
}

// connmgr §11 item 1: who survives the pruning on release-outbound still moves to InboundIdle.
func TestPruneOnReleaseMovesTheSurvivor(t *testing.T) {
	b := newBench(t, func(c *coreConfig) { c.Hard = 1 })
	in, s := b.inbound(peerAddr(1), Unidirectional)
	out, _ := b.outbound(peerAddr(2), Duplex)
	b.release(out)
	states := []State{b.state(in), b.state(out)}
	require.Equal(t, []State{StateTerminated, StateInboundIdleDup}, states, "equally idle and alone in their prefixes")
	require.Equal(t, fxCloseReset, b.closed[s])
}

func TestPruneWhenTheRemoteAwakes(t *testing.T) {
	b := newBench(t, func(c *coreConfig) { c.Hard = 2 })
	a, _ := b.inbound(peerAddr(1), Duplex)
	c, _ := b.inbound(peerAddr(2), Duplex)
	b.do(event{kind: evResponderStarted, id: c})
	out, _ := b.outbound(peerAddr(3), Duplex)
	b.do(event{kind: evResponderStarted, id: out})
	require.Equal(t, []State{StateTerminated, StateInboundDup, StateDuplex}, []State{b.state(a), b.state(c), b.state(out)})
	var refusal *Refusal
	require.ErrorAs(t, b.core.records[a].err, &refusal)
	require.ErrorIs(t, refusal, ErrPruned)
}

// Maturation is by connection: of two connections with one remote, the end of one leaves the other on offer (§11 item 22).
func TestMaturedPeers(t *testing.T) {
	b := newBench(t, nil)
	first, s := b.outbound(peerAddr(1), Duplex)
	b.socks++
	_, second := b.do(event{kind: evAccepted, sock: b.socks, local: modelAddr[1], remote: peerAddr(1)})
	b.do(event{kind: evInHandshake, id: second, sock: b.socks, flow: Duplex, shares: true})
	b.do(event{kind: evResponderStarted, id: second})
	uni, _ := b.inbound(peerAddr(2), Unidirectional)
	b.do(event{kind: evResponderStarted, id: uni})
	b.wait(899 * time.Second)
	require.Empty(t, b.core.matureInbound())
	b.wait(time.Second)
	require.Equal(t, map[netip.AddrPort]bool{peerAddr(1): true}, b.core.matureInbound())
	b.do(event{kind: evEnded, id: first, sock: s})
	require.Equal(t, map[netip.AddrPort]bool{peerAddr(1): true}, b.core.matureInbound())
	b.do(event{kind: evEnded, id: second, sock: b.socks - 1})
	require.Equal(t, StateUnknown, b.state(first))
	require.Empty(t, b.core.matureInbound())
}

// A responder that failed stops the counting: the connection is dying and must not be promoted any more.
func TestFailedResponderStopsCounting(t *testing.T) {
	b := newBench(t, nil)
	id, s := b.inbound(peerAddr(1), Duplex)
	b.do(event{kind: evResponderStarted, id: id, hot: true})
	b.do(event{kind: evResponderEnded, id: id, hot: true, err: errors.New("boom")})
	b.do(event{kind: evResponderStarted, id: id})
	require.Equal(t, RemoteCounters{Hot: 1}, b.core.remote)
	b.do(event{kind: evEnded, id: id, sock: s, err: errors.New("boom")})
	require.Zero(t, b.core.remote)
	require.Empty(t, b.core.records, "no TIME_WAIT after an error")
}

func TestWatchAnswersWhenOurHalfIsOver(t *testing.T) {
	b := newBench(t, nil)
	id, s := b.outbound(peerAddr(1), Duplex)
	b.do(event{kind: evWatch, id: id, ticket: 100})
	b.wait(5 * time.Second)
	b.release(id)
	b.wait(5 * time.Second)
	require.Equal(t, StateTerminating, b.state(id))
	b.do(event{kind: evEnded, id: id, sock: s})
	require.NotContains(t, b.replies, ticket(100), "cooling until TIME_WAIT is over")
	b.wait(60 * time.Second)
	require.Contains(t, b.replies, ticket(100))
	b.do(event{kind: evWatch, id: id, ticket: 101})
	require.Contains(t, b.replies, ticket(101), "what is gone is cold")
}

func TestVictimsAreIdleCrowdedAndYoung(t *testing.T) {
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	all := []pruneCandidate{
		{id: 1, remote: at("192.0.2.1"), age: 9},
		{id: 2, remote: at("192.0.2.2"), age: 8},
		{id: 3, remote: at("198.51.100.1"), age: 1},
		{id: 4, remote: at("203.0.113.1"), age: 9, idle: true},
		{id: 5, remote: at("203.0.113.9"), age: 1, upstream: true},
		{id: 6, remote: at("192.0.2.3"), age: 1, protected: true, idle: true},
		{id: 7, remote: at("203.0.114.1"), age: 2, idle: true},
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	require.Equal(t, []RecordID{4, 7, 2, 1, 3, 5}, chooseVictims(all, 6, rnd), "203.0.113.0/24 is the more crowded of the idle ones'")
	require.Equal(t, []RecordID{4, 7, 2, 1, 3, 5}, chooseVictims(all, 7, rnd), "never a protected one")
	all[5].trigger = true
	require.Equal(t, []RecordID{4, 7, 2, 1, 3, 5, 6}, chooseVictims(all, 7, rnd), "unless it is the one that came last")
	require.Equal(t, prefixOf(at("::ffff:192.0.2.7")), prefixOf(at("192.0.2.200")))
}

// Ties are broken at random: no position in the map is safer than another.
func TestVictimsAreRandomAmongEquals(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	hits := map[RecordID]int{}
	for range 1000 {
		var all []pruneCandidate
		for i := range 10 {
			all = append(all, pruneCandidate{id: RecordID(i), remote: peerAddr(i).Addr(), age: time.Minute})
		}
		for _, v := range chooseVictims(all, 1, rnd) {
			hits[v]++
		}
	}
	require.Len(t, hits, 10)
	counts := []int{}
	for _, n := range hits {
		counts = append(counts, n)
	}
	require.Greater(t, slices.Min(counts), 50)
}

func BenchmarkAcquireRelease(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(map[int]string{10: "10", 10_000: "10000"}[n], func(b *testing.B) {
			c := newCore(coreConfig{
				Hard: 1 << 20, Responders: true, RemoteIdle: 5 * time.Second, OutboundIdle: 5 * time.Second, TimeWait: time.Minute,
				Maturity: 900 * time.Second, Connect: time.Second, Handshake: time.Second,
			}, rand.New(rand.NewPCG(1, 1)))
			for i := range n {
				remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 3001)
				_, id, _ := c.step(0, event{kind: evAccepted, sock: sockID(i + 1), local: modelAddr[0], remote: remote})
				c.step(0, event{kind: evInHandshake, id: id, sock: sockID(i + 1), flow: Duplex})
			}
			remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 5}), 3001)
			b.ReportAllocs()
			for b.Loop() {
				_, id, _ := c.step(0, event{kind: evAcquire, ticket: 1, remote: remote})
				c.step(0, event{kind: evRelease, ticket: 2, id: id})
			}
		})
	}
}
