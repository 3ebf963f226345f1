package mux

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// registered are the streams of the multiplexer that bad input is fed to: 2 in both roles, 3 only as the initiator, 4 only as
// the responder.
func registered(t testing.TB, m *Mux, limit int) {
	for _, c := range []StreamConfig{{Number: 2, Role: Initiator}, {Number: 2, Role: Responder}, {Number: 3, Role: Initiator}, {Number: 4, Role: Responder}} {
		c.IngressLimit = limit
		_, err := m.Register(c)
		require.NoError(t, err)
	}
}

// endedBy returns the error that ends a multiplexer which is fed these bytes, and checks that its peer sees the end and that
// all streams report the same error. configure may change the multiplexer before it starts.
func endedBy(t testing.TB, configure func(*Mux), segments ...[]byte) *Error {
	t.Helper()
	x, y := tcpPair(t)
	m := New(x, Config{})
	registered(t, m, 16_384)
	if configure != nil {
		configure(m)
	}
	m.Start()
	var reset error
	for _, p := range segments {
		if _, reset = y.Write(p); reset != nil { // the rest comes too late
			break
		}
	}
	ctx := background(t)
	err := m.Wait(ctx)
	var e *Error
	require.ErrorAs(t, err, &e)
	for _, s := range *m.streams.Load() {
		require.Same(t, e, s.Send(ctx, []byte{1}))
		_, werr := s.Wait(ctx, 0)
		require.Same(t, e, werr)
	}
	require.Zero(t, m.Unread())
	if reset == nil {
		_, reset = io.Copy(io.Discard, y)
	}
	require.Error(t, reset, "a reset, not an orderly end")
	return e
}

// TestDemuxSDU is prop_demux_sdu: SDUs of four kinds, valid, of an unknown number, with a declared length that does not match
// what is sent, and too large for what the stream may hold, under both ingress limits that the reference tests with. Each has
// exactly one outcome.
func TestDemuxSDU(t *testing.T) {
	for _, limit := range []int{3_000_000, 16_384} {
		for _, direction := range []Role{Initiator, Responder} {
			name := fmt.Sprintf("%d/from the %s", limit, direction)
			start := func(t *testing.T) (*Mux, *memConn) {
				x, y := memPair(8 << 20)
				m := New(x, Config{})
				registered(t, m, limit)
				m.Start()
				return m, y
			}
			role := direction.Peer()
			t.Run("valid/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, y := start(t)
					for _, n := range []int{1, 2, 12_288, 16_384, min(limit, MaxPayload)} {
						p := patterned(uint16(n), n)
						mustWrite(t, y, sdu(2, direction, n, p))
						got, err := readFull(t.Context(), m.Stream(2, role), n)
						require.NoError(t, err)
						require.Equal(t, p, got)
					}
					require.NoError(t, m.Err())
					m.Abort(nil)
					m.Close()
				})
			})
			t.Run("valid up to the limit/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // equality is fine
					m, y := start(t)
					for rest := limit; rest > 0; {
						n := min(rest, MaxPayload)
						mustWrite(t, y, sdu(2, direction, n, make([]byte, n)))
						rest -= n
					}
					synctest.Wait()
					require.NoError(t, m.Err())
					require.Equal(t, limit, m.Unread())
					require.Len(t, m.Stream(2, role).Unread(), limit)
					m.Abort(nil)
					m.Close()
				})
			})
			t.Run("unknown/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, y := start(t)
					mustWrite(t, y, sdu(77, direction, 3, []byte("abc")))
					err := m.Wait(t.Context())
					require.Equal(t, &Error{Kind: UnknownProtocol, Protocol: 77, Role: role}, err)
					require.Equal(t, "adversarial", err.(*Error).Fault())
				})
			})
			t.Run("declared longer than sent/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // and then the peer closes
					m, y := start(t)
					mustWrite(t, y, sdu(2, direction, 100, make([]byte, 99)))
					require.NoError(t, y.CloseWrite())
					err := m.Wait(t.Context())
					require.Equal(t, &Error{Kind: BadSDU, Protocol: 2, Role: role, Size: 100, Queued: 99, Err: io.ErrUnexpectedEOF}, err)
					require.Equal(t, "network", err.(*Error).Fault())
				})
				synctest.Test(t, func(t *testing.T) { // and then it is silent
					m, y := start(t)
					began := time.Now()
					mustWrite(t, y, sdu(2, direction, 100, make([]byte, 99)))
					err := m.Wait(t.Context())
					require.Equal(t, 30*time.Second, time.Since(began))
					require.Equal(t, ReadTimeout, err.(*Error).Kind)
					require.Equal(t, uint16(2), err.(*Error).Protocol)
					require.Equal(t, role, err.(*Error).Role)
					require.Equal(t, "network", err.(*Error).Fault())
					require.Contains(t, err.Error(), "99 of 100 bytes")
				})
			})
			t.Run("declared shorter than sent/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // what is too much is taken for a header: here, of length 0
					m, y := start(t)
					mustWrite(t, y, sdu(2, direction, 92, make([]byte, 100)))
					err := m.Wait(t.Context())
					require.Equal(t, BadSDU, err.(*Error).Kind)
					require.Equal(t, "adversarial", err.(*Error).Fault())
				})
			})
			t.Run("too large/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, y := start(t)
					queued := 0
					for queued+20_000 <= limit {
						mustWrite(t, y, sdu(2, direction, 20_000, make([]byte, 20_000)))
						queued += 20_000
					}
					mustWrite(t, y, sdu(2, direction, 20_000, make([]byte, 20_000)))
					err := m.Wait(t.Context())
					require.Equal(t, &Error{Kind: IngressOverrun, Protocol: 2, Role: role, Size: 20_000, Queued: queued, Limit: limit}, err)
					require.Equal(t, "adversarial", err.(*Error).Fault())
					require.Contains(t, err.Error(), fmt.Sprintf("protocol 2, %s here: %d bytes queued, 20000 more, limit %d", role, queued, limit))
				})
			})
		}
	}
}

// TestIngressCounting: bytes that the owner has looked at are not counted against the limit (a read takes everything queued),
// bytes it has not looked at are, header bytes never.
func TestIngressCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 20)
		m := New(x, Config{})
		registered(t, m, 1000)
		m.Start()
		s := m.Stream(2, Responder)
		mustWrite(t, y, sdu(2, Initiator, 1000, make([]byte, 1000)))
		synctest.Wait()
		p, err := s.Wait(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, p, 1000)
		mustWrite(t, y, bytes.Repeat(sdu(2, Initiator, 1, []byte{7}), 1000))
		synctest.Wait()
		require.NoError(t, m.Err())
		s.Discard(1000)
		require.Equal(t, 1000, m.Unread())
		mustWrite(t, y, sdu(2, Initiator, 1, []byte{7}))
		err = m.Wait(t.Context())
		require.Equal(t, &Error{Kind: IngressOverrun, Protocol: 2, Role: Responder, Size: 1, Queued: 1000, Limit: 1000}, err)
	})
}

// TestWrongDirection: a registered number in the role that this end does not play, both ways round.
func TestWrongDirection(t *testing.T) {
	require.Equal(t, &Error{Kind: WrongDirection, Protocol: 3, Role: Responder}, endedBy(t, nil, sdu(3, Initiator, 1, []byte{1})))
	require.Equal(t, &Error{Kind: WrongDirection, Protocol: 4, Role: Initiator}, endedBy(t, nil, sdu(4, Responder, 1, []byte{1})))
	e := endedBy(t, nil, sdu(4, Responder, 1, []byte{1}))
	require.Equal(t, "adversarial", e.Fault())
	require.ErrorIs(t, e, &Error{Kind: WrongDirection})
	require.NotErrorIs(t, e, &Error{Kind: UnknownProtocol})
	require.Contains(t, e.Error(), "wrong direction (protocol 4, initiator here)")
}

// TestBadInputOverTCP: the other kinds of bad input, over a real socket, in one piece and in one-byte segments.
func TestBadInputOverTCP(t *testing.T) {
	good := sdu(2, Initiator, 5, []byte("hello"))
	for _, c := range []struct {
		name  string
		bytes []byte
		want  Kind
		fault string
	}{
		{"unknown number", append(bytes.Clone(good), sdu(0, Initiator, 1, []byte{0})...), UnknownProtocol, "adversarial"},
		{"unknown number with a huge length", sdu(0x7fff, Responder, MaxPayload, nil), UnknownProtocol, "adversarial"},
		{"zero length", append(bytes.Clone(good), sdu(2, Initiator, 0, nil)...), BadSDU, "adversarial"},
		{"oversize", sdu(2, Initiator, MaxPayload, nil), IngressOverrun, "adversarial"},
		{"overflow by many", bytes.Repeat(sdu(2, Responder, 4096, make([]byte, 4096)), 5), IngressOverrun, "adversarial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []*Error{endedBy(t, nil, c.bytes), endedBy(t, nil, slices.Collect(slices.Chunk(c.bytes, max(1, len(c.bytes)/2000)))...)} {
				require.Equal(t, c.want, e.Kind)
				require.Equal(t, c.fault, e.Fault())
				require.False(t, e.Local)
			}
		})
	}
}

// TestReset: a peer that resets the connection, between SDUs or inside one.
func TestReset(t *testing.T) {
	for _, p := range [][]byte{sdu(2, Initiator, 1, []byte{1}), sdu(2, Initiator, 2, []byte{1})} {
		x, y := tcpPair(t)
		m := New(x, Config{})
		registered(t, m, 1000)
		m.Start()
		mustWrite(t, y, p)
		waitFor(t, func() bool { return m.Unread() == 1 })
		require.NoError(t, y.(*net.TCPConn).SetLinger(0))
		require.NoError(t, y.Close())
		err := m.Wait(background(t))
		require.ErrorIs(t, err, &Error{Kind: BearerFailed})
		require.Equal(t, "network", err.(*Error).Fault())
		m.Close()
	}
}

// TestStalledStreamDelaysNobody: streams that nobody reads, sent to and sent on, leave every other stream alone, and memory
// stays within the bound of the package documentation.
func TestStalledStreamDelaysNobody(t *testing.T) {
	x, y := tcpPair(t)
	m := New(x, Config{EgressLimit: 100_000})
	peer := New(y, Config{})
	const limit = 500_000
	for _, n := range []uint16{1, 2, 8} {
		for _, r := range []Role{Initiator, Responder} {
			_, err := m.Register(StreamConfig{Number: n, Role: r, IngressLimit: limit})
			require.NoError(t, err)
			_, err = peer.Register(StreamConfig{Number: n, Role: r, IngressLimit: 1 << 30})
			require.NoError(t, err)
		}
	}
	m.Start()
	peer.Start()
	defer m.Close()
	defer peer.Abort(nil)
	ctx := background(t)
	require.NoError(t, peer.Stream(1, Initiator).Send(ctx, make([]byte, limit))) // never read here
	waitFor(t, func() bool { return m.Unread() == limit })
	for i := range 1000 { // the others run as if nothing were
		msg := patterned(uint16(i), 100)
		require.NoError(t, peer.Stream(8, Initiator).Send(ctx, msg))
		got, err := readFull(ctx, m.Stream(8, Responder), 100)
		require.NoError(t, err)
		require.Equal(t, msg, got)
		require.NoError(t, m.Stream(8, Responder).Send(ctx, got))
		got, err = readFull(ctx, peer.Stream(8, Initiator), 100)
		require.NoError(t, err)
		require.Equal(t, msg, got)
	}
	in := m.Stream(1, Responder).receiving()
	require.LessOrEqual(t, cap(in.b.buf), 2*limit)
	require.Nil(t, in.old)
	require.NoError(t, m.Err())
	require.NoError(t, peer.Stream(1, Initiator).Send(ctx, []byte{1})) // and one byte more is the peer's fault
	err := m.Wait(ctx)
	require.Equal(t, &Error{Kind: IngressOverrun, Protocol: 1, Role: Responder, Size: 1, Queued: limit, Limit: limit}, err)
}

// TestPeerThatNeverReads: it blocks the sender once its egress limit is full and no sooner than that, never the reader, and is
// ended by the write limit.
func TestPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(10_000)
		m := New(x, Config{EgressLimit: 50_000, SDUSize: 1000, BatchBytes: 8_000})
		registered(t, m, 1000)
		m.Start()
		began := time.Now()
		sent := make(chan error, 1)
		s := m.Stream(2, Initiator)
		go func() { sent <- s.Send(t.Context(), make([]byte, 1<<20)) }()
		synctest.Wait()
		s.sending().mu.Lock()
		buffered, held := s.sending().buffered, 0
		for b := s.sending().head; b != nil; b = b.next {
			held += cap(b.buf)
		}
		s.sending().mu.Unlock()
		require.Equal(t, 50_000-2*8_000, buffered, "two batches are with the bearer")
		require.LessOrEqual(t, held, 50_000+2*m.egressBlock)
		require.NoError(t, s.TryAppend(4, make([]byte, 20_000)), "whole, as long as the limit is not reached")
		full := &Error{Kind: EgressFull, Protocol: 2, Local: true, Queued: 54_000, Size: 1, Limit: 50_000}
		require.Equal(t, full, s.TryAppend(4, []byte{1}))
		require.Contains(t, full.Error(), "54000 bytes queued, 1 more, limit 50000")

		mustWrite(t, y, sdu(2, Initiator, 4, []byte("read"))) // the other direction works
		got, err := readFull(t.Context(), m.Stream(2, Responder), 4)
		require.NoError(t, err)
		require.Equal(t, "read", string(got))
		require.NoError(t, m.Stream(3, Initiator).Send(t.Context(), []byte("another sender is not blocked")))

		require.ErrorIs(t, <-sent, &Error{Kind: WriteTimeout})
		require.Equal(t, 8*30*time.Second, time.Since(began), "8 SDUs of 1,008 bytes a batch, 30 s each, measured from its start")
		require.Equal(t, "network", muxErr(m).Fault())
		m.Close()
	})
}
