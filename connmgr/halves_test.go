package connmgr

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A record can have two sockets for a while: the kernel has forgotten a broken connection whose owner has not noticed, and a fresh
// one has been accepted on the same 4-tuple; or a connection has come back to ourselves by a way that translates addresses.

// halves makes such a record, in the middle of both handshakes.
func halves(b *bench) (id RecordID, out, in sockID) {
	b.Helper()
	_, id = b.acquire(peerAddr(1))
	b.socks++
	out = b.socks
	b.do(event{kind: evDialled, id: id, sock: out, local: modelAddr[0]})
	same, in := b.accept(peerAddr(1), false)
	require.Equal(b, id, same)
	return id, out, in
}

// When the half that we use ends, the other one does not stay behind without an owner.
func TestUsedHalfTakesTheOtherWithIt(t *testing.T) {
	b := newBench(t, nil)
	id, out, in := halves(b)
	b.do(event{kind: evOutHandshake, id: id, sock: out, flow: Unidirectional})
	require.Equal(t, StateOutboundUni, b.state(id))
	b.do(event{kind: evEnded, id: id, sock: out, err: errModel})
	require.Equal(t, fxCloseReset, b.closed[in])
	b.do(event{kind: evEnded, id: id, sock: in})
	require.Equal(t, StateUnknown, b.state(id))
}

// When one half dies the responders of the other one still count, and their end is noticed.
func TestDeadHalfDoesNotStopTheCountOfTheOther(t *testing.T) {
	b := newBench(t, nil)
	id, out, in := halves(b)
	b.do(event{kind: evInHandshake, id: id, sock: in, flow: Duplex})
	b.do(event{kind: evOutHandshake, id: id, sock: out, flow: Duplex})
	b.do(event{kind: evResponderStarted, id: id, sock: in})
	b.do(event{kind: evResponderStarted, id: id, sock: out})
	require.Equal(t, StateDuplex, b.state(id))
	b.do(event{kind: evResponderEnded, id: id, sock: out, err: errModel})
	b.do(event{kind: evEnded, id: id, sock: out, err: errModel})
	require.Equal(t, StateDuplex, b.state(id))
	b.do(event{kind: evResponderEnded, id: id, sock: in})
	require.Equal(t, StateOutboundDupTicking, b.state(id))
	require.NotContains(t, b.closed, in)
}

// What the goroutines of a socket report after a fresh one has taken its place is not taken for the fresh one's.
func TestReportsOfAReplacedSocketDoNotCount(t *testing.T) {
	b := newBench(t, nil)
	id, old := b.inbound(peerAddr(1), Duplex)
	same, fresh := b.accept(peerAddr(1), false)
	require.Equal(t, id, same)
	require.Equal(t, fxCloseReset, b.closed[old])
	b.do(event{kind: evInHandshake, id: id, sock: fresh, flow: Duplex})
	b.do(event{kind: evResponderStarted, id: id, sock: old, hot: true})
	require.Equal(t, StateInboundIdleDup, b.state(id))
	b.do(event{kind: evResponderStarted, id: id, sock: fresh})
	b.do(event{kind: evResponderEnded, id: id, sock: old, err: errModel})
	b.do(event{kind: evResponderEnded, id: id, sock: fresh})
	require.Equal(t, StateInboundIdleDup, b.state(id))
}

// The idle timer of the accepted half may fire while we are about to close; a remote that then awakes is still seen.
func TestIdleTimerInOutboundIdleDoesNotForgetTheRemote(t *testing.T) {
	b := newBench(t, nil)
	id, out, in := halves(b)
	b.do(event{kind: evOutHandshake, id: id, sock: out, flow: Unidirectional})
	b.wait(b.core.cfg.RemoteIdle / 2)
	b.do(event{kind: evInHandshake, id: id, sock: in, flow: Unidirectional})
	b.wait(b.core.cfg.RemoteIdle / 2)
	b.release(id)
	b.wait(b.core.cfg.RemoteIdle * 3 / 4)
	require.Equal(t, StateOutboundIdleUni, b.state(id))
	require.Equal(t, RemoteIdle, b.core.records[id].inbound.state)
}
