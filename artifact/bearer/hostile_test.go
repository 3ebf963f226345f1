package bearer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
)

// stranger is a raw connection to a node, handshake done if it was asked for.
type stranger struct {
	t    *testing.T
	conn net.Conn
}

func (w *world) stranger(from, to byte) *stranger {
	c, err := w.host(from).Dial(w.t.Context(), netip.AddrPort{}, netip.AddrPortFrom(ip(to), 3001))
	require.NoError(w.t, err)
	return &stranger{w.t, c}
}

func (s *stranger) shake(v artifact.VersionData) *stranger {
	_, _, err := propose(s.t.Context(), s.conn, v)
	require.NoError(s.t, err)
	return s
}

func (s *stranger) send(number uint16, from mux.Role, b []byte) {
	require.NoError(s.t, mux.WriteSDU(s.conn, mux.Header{Number: number, From: from}, b))
}

// recv returns the next answer on a mini-protocol, throwing everything else away.
func (s *stranger) recv(number uint16) ([]byte, error) {
	for {
		h, b, err := mux.ReadSDU(s.conn, mux.MaxPayload)
		if err != nil || h.Number == number && h.From == mux.Responder {
			return b, err
		}
	}
}

// ends waits for the node to close the connection and returns how long that took.
func (s *stranger) ends() time.Duration {
	began := time.Now()
	_, err := io.Copy(io.Discard, s.conn)
	_ = err // an end or a reset
	s.conn.Close()
	return time.Since(began)
}

func as(id byte) artifact.VersionData {
	return artifact.VersionData{Network: 42, NodeID: artifact.PeerID{id}}
}

func TestHostileHandshakes(t *testing.T) {
	sdu := func(number uint16, from mux.Role, b []byte) func(*stranger) {
		return func(s *stranger) { s.send(number, from, b) }
	}
	good := appendPropose(nil, as(9))
	for name, c := range map[string]struct {
		do   func(*stranger)
		most time.Duration
	}{
		"silence":                     {func(*stranger) {}, handshakeLimit},
		"half a header":               {func(s *stranger) { _, _ = s.conn.Write([]byte{0, 0, 0}) }, handshakeLimit},
		"one byte a second":           {drip(good), handshakeLimit},
		"garbage":                     {sdu(0, mux.Initiator, []byte("GET / HTTP/1.1")), 0},
		"not CBOR":                    {sdu(0, mux.Initiator, []byte{0xff, 0xff}), 0},
		"another mini-protocol":       {sdu(artifact.NumOffer, mux.Initiator, good), 0},
		"the responder's direction":   {sdu(0, mux.Responder, good), 0},
		"more than a message":         {sdu(0, mux.Initiator, append(append([]byte{}, good...), 0)), 0},
		"too large":                   {sdu(0, mux.Initiator, make([]byte, MaxMessage+1)), 0},
		"without end":                 {endless, 0},
		"another network":             {sdu(0, mux.Initiator, appendPropose(nil, artifact.VersionData{Network: 1, NodeID: artifact.PeerID{9}})), refuseLinger},
		"the node itself":             {sdu(0, mux.Initiator, appendPropose(nil, as(1))), refuseLinger},
		"a Cardano node":              {sdu(0, mux.Initiator, []byte{0x82, 0, 0xa1, 0x0e, 0x84, 0x18, 0x2a, 0xf4, 0, 0xf4}), refuseLinger},
		"an SDU without payload":      {func(s *stranger) { _, _ = s.conn.Write(make([]byte, 8)) }, 0},
		"join on a main bearer":       {func(s *stranger) { s.shake(as(9)).send(artifact.NumJoin, mux.Initiator, good) }, time.Second},
		"an unknown mini-protocol":    {func(s *stranger) { s.shake(as(9)).send(2, mux.Initiator, good) }, time.Second},
		"malformed CBOR behind it":    {func(s *stranger) { s.shake(as(9)).send(artifact.NumOffer, mux.Initiator, []byte{0xff}) }, time.Second},
		"a fetch before initOk":       {func(s *stranger) { s.shake(as(9)).send(artifact.NumBulk, mux.Initiator, []byte{0x81, 4}) }, 10 * time.Second},
		"too long a message":          {func(s *stranger) { s.shake(as(9)).send(artifact.NumControl, mux.Initiator, long(5000)) }, time.Second},
		"a flood of one stream":       {flood, time.Second},
		"silence behind it":           {func(s *stranger) { s.shake(as(9)) }, 97 * time.Second},
		"lanes on a bulk bearer":      {func(s *stranger) { s.shake(bulk(as(9))).send(artifact.NumBulk, mux.Initiator, []byte{0x81, 4}) }, 0},
		"no join on a bulk bearer":    {func(s *stranger) { s.shake(bulk(as(9))) }, 5 * time.Second},
		"65 bytes instead of a join":  {func(s *stranger) { s.shake(bulk(as(9))).send(artifact.NumJoin, mux.Initiator, long(70)) }, 0},
		"joins of an unknown session": {func(s *stranger) { s.joinNo(0, joinBytes([16]byte{}, 0, 1)) }, joinNoLinger},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, time.Millisecond)
				a := w.node(1, artifact.Config{}, Config{})
				s := w.stranger(2, 1)
				s.t = t
				c.do(s)
				require.LessOrEqual(t, s.ends(), c.most+200*time.Millisecond)
				// an honest peer is served as ever
				b := w.node(3, artifact.Config{}, Config{}, 1)
				time.Sleep(time.Second)
				id := a.publish(t, []byte("still here"), artifact.Normal)
				time.Sleep(time.Second)
				require.NotNil(t, b.k.has(id))
				a.close(t)
				b.close(t)
			})
		})
	}
}

func drip(b []byte) func(*stranger) {
	return func(s *stranger) {
		go func() {
			for _, c := range append([]byte{0, 0, 0, 0, 0, 0, 0, byte(len(b))}, b...) {
				time.Sleep(time.Second)
				if _, err := s.conn.Write([]byte{c}); err != nil {
					return
				}
			}
		}()
	}
}

func endless(s *stranger) {
	s.send(0, mux.Initiator, []byte{0x9f})
	for range MaxMessage {
		if mux.WriteSDU(s.conn, mux.Header{}, []byte{0}) != nil {
			return
		}
	}
}

// long is the head of a byte string that goes on for n bytes.
func long(n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x82, 0, 0x5a, 0, 0xff, 0xff, 0xff})
	return b
}

func flood(s *stranger) {
	s.shake(as(9))
	for range 200 {
		if mux.WriteSDU(s.conn, mux.Header{Number: artifact.NumOffer}, long(12288)) != nil {
			return
		}
	}
}

func joinBytes(key [16]byte, bearer, attempt uint64) []byte {
	sum := sha256.Sum256(key[:])
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte("join"))
	m.Write(sum[:8])
	m.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, bearer), attempt))
	b := append([]byte{0x85, 0, 0x48}, sum[:8]...)
	b = append(b, byte(bearer), byte(attempt), 0x50)
	return append(b, m.Sum(nil)[:16]...)
}

// joinNo joins and is refused for a reason.
func (s *stranger) joinNo(reason byte, join []byte) {
	require.Equal(s.t, []byte{0x82, 2, reason}, s.join(join))
}

func (s *stranger) join(join []byte) []byte {
	s.shake(bulk(as(9))).send(artifact.NumJoin, mux.Initiator, join)
	reply, err := s.recv(artifact.NumJoin)
	require.NoError(s.t, err)
	return reply
}

// TestJoins goes through what an acceptor says to joins, in the order of its checks.
func TestJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a := w.node(1, artifact.Config{}, Config{})
		main := w.stranger(2, 1).shake(as(9))
		// init for kind 7, window 256
		main.send(artifact.NumOffer, mux.Initiator, []byte{0x85, 0, 1, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 0x84, 0x19, 1, 0, 0x18, 32, 0x1a, 0, 4, 0, 0, 0x81, 0x82, 7, 0xf5, 0xf6})
		initOk, err := main.recv(artifact.NumOffer)
		require.NoError(t, err)
		require.Equal(t, []byte{0x85, 1}, initOk[:2])
		key := [16]byte(initOk[len(initOk)-16:])
		next := func() *stranger { return w.stranger(2, 1) }
		bad := joinBytes(key, 0, 1)
		bad[len(bad)-1] ^= 1
		next().joinNo(1, bad)
		next().joinNo(0, joinBytes([16]byte{1}, 0, 1))
		next().joinNo(3, joinBytes(key, 3, 1))
		first := next()
		require.Equal(t, []byte{0x82, 1, 0x50}, first.join(joinBytes(key, 0, 1))[:3])
		next().joinNo(2, joinBytes(key, 0, 1)) // recorded and replayed
		other := next()
		other.shake(bulk(as(8))).send(artifact.NumJoin, mux.Initiator, joinBytes(key, 0, 2))
		reply, err := other.recv(artifact.NumJoin)
		require.NoError(t, err)
		require.Equal(t, []byte{0x82, 2, 0}, reply, "another node's session")
		second := next()
		require.Equal(t, []byte{0x82, 1, 0x50}, second.join(joinBytes(key, 0, 2))[:3])
		require.Less(t, first.ends(), time.Second, "the old bearer of the index is replaced")
		_, bulks := a.net.Bearers()
		require.Equal(t, 1, bulks)
		second.send(artifact.NumJoin, mux.Initiator, []byte{0x82, 0, 0})
		require.Less(t, second.ends(), time.Second, "no other number after join")
		time.Sleep(10 * time.Millisecond)
		mains, bulks := a.net.Bearers()
		require.Equal(t, 1, mains, "the session goes on")
		require.Zero(t, bulks)
		time.Sleep(10 * time.Second) // the refused ones are closed
		a.net.mu.Lock()
		require.Empty(t, a.net.door)
		a.net.mu.Unlock()
		main.conn.Close()
		time.Sleep(5 * time.Second)
		a.close(t)
	})
}

// TestDuplicateIsTold: an init on the main bearer that is not kept is answered initNo(2).
func TestDuplicateIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a := w.node(1, artifact.Config{}, Config{}, 3)
		c := w.node(3, artifact.Config{}, Config{})
		time.Sleep(time.Second)
		s := w.stranger(2, 1).shake(as(3)) // claims to be 3, whose bearer was dialled by the smaller id
		s.send(artifact.NumOffer, mux.Initiator, []byte{0x85, 0, 1, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 0x84, 0x19, 1, 0, 0x18, 32, 0x1a, 0, 4, 0, 0, 0x81, 0x82, 7, 0xf5, 0xf6})
		reply, err := s.recv(artifact.NumOffer)
		require.NoError(t, err)
		require.Equal(t, []byte{0x82, 6, 2}, reply)
		require.LessOrEqual(t, s.ends(), handshakeLimit+time.Second)
		require.Equal(t, 1, a.count(Duplicate))
		require.Zero(t, a.count(PeerDown), "the living peer stays")
		a.close(t)
		c.close(t)
	})
}

// TestSilentSockets: those that say nothing make room for those that do, and never cost more than the limit.
func TestSilentSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a := w.node(1, artifact.Config{}, Config{MaxHandshakes: 16})
		var silent []*stranger
		for range 100 {
			silent = append(silent, w.stranger(2, 1))
		}
		time.Sleep(10 * time.Millisecond)
		a.net.mu.Lock()
		require.Len(t, a.net.door, 16)
		a.net.mu.Unlock()
		b := w.node(3, artifact.Config{}, Config{}, 1)
		time.Sleep(time.Second)
		require.Equal(t, 1, b.count(PeerUp))
		time.Sleep(handshakeLimit)
		for _, s := range silent {
			require.Less(t, s.ends(), time.Second)
		}
		a.close(t)
		b.close(t)
	})
}

func TestAcceptSurvivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		ln, err := w.host(1).Listen(netip.AddrPortFrom(ip(1), 3001))
		require.NoError(t, err)
		ln.FailAccept(errors.New("too many open files"), errors.New("too many open files"))
		a := newTestNode(t, 1, artifact.Config{}, Config{Listener: ln, Dial: w.host(1).DialContext})
		b := w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, b.count(PeerUp))
		a.close(t)
		b.close(t)
	})
}

// TestHostileAcceptors: what a dialler finds behind an address may be anything.
func TestHostileAcceptors(t *testing.T) {
	accept := appendAccept(nil, as(9))
	for name, serve := range map[string]func(net.Conn){
		"silence":               func(net.Conn) {},
		"garbage":               func(c net.Conn) { _, _ = c.Write([]byte("220 smtp ready and waiting\r\n")) },
		"closes":                func(c net.Conn) { c.Close() },
		"accepts a bulk bearer": func(c net.Conn) { _ = writeMessage(c, mux.Responder, appendAccept(nil, bulk(as(9)))) },
		"another network": func(c net.Conn) {
			_ = writeMessage(c, mux.Responder, appendAccept(nil, artifact.VersionData{NodeID: artifact.PeerID{9}}))
		},
		"refuses": func(c net.Conn) {
			_ = writeMessage(c, mux.Responder, appendRefuse(nil, &RefusalError{Reason: Refused, Text: "no"}))
		},
		"another mini-protocol":  func(c net.Conn) { _ = mux.WriteSDU(c, mux.Header{Number: 3, From: mux.Responder}, accept) },
		"accepts, then silence":  func(c net.Conn) { _ = writeMessage(c, mux.Responder, accept) },
		"accepts, then closes":   func(c net.Conn) { _ = writeMessage(c, mux.Responder, accept); c.Close() },
		"accepts, then nonsense": func(c net.Conn) { _ = writeMessage(c, mux.Responder, accept); _, _ = c.Write(make([]byte, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, time.Millisecond)
				ln, err := w.host(2).Listen(netip.AddrPortFrom(ip(2), 3001))
				require.NoError(t, err)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						c, err := ln.Accept()
						if err != nil {
							return
						}
						if _, _, err := mux.ReadSDU(c, MaxMessage); err == nil {
							serve(c)
						}
					}
				}()
				good := w.node(3, artifact.Config{}, Config{})
				a := w.node(1, artifact.Config{}, Config{}, 2, 3)
				time.Sleep(5 * time.Minute)
				require.NotZero(t, a.count(DialFailed)+a.count(PeerDown))
				require.Less(t, a.count(DialFailed)+a.count(PeerDown), 60, "it backs off")
				require.Equal(t, 1, good.count(PeerUp))
				a.close(t)
				good.close(t)
				ln.Close()
				<-done
			})
		})
	}
}

// TestBudgetOfAPeer: all bearers of a peer share one ingress budget, and it is gone with the last of them.
func TestBudgetOfAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		a, b := w.node(1, artifact.Config{}, Config{}), w.node(2, artifact.Config{}, Config{}, 1)
		time.Sleep(time.Second)
		a.net.mu.Lock()
		require.Len(t, a.net.budgets, 1)
		require.Equal(t, 3, a.net.budgets[b.id].users)
		a.net.mu.Unlock()
		b.close(t)
		time.Sleep(time.Second)
		a.net.mu.Lock()
		require.Empty(t, a.net.budgets)
		a.net.mu.Unlock()
		a.close(t)
	})
}

// TestIdentify: where the connection proves an id, a claim that differs is not let in, either way.
func TestIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		prove := func(id byte) func(net.Conn) (artifact.PeerID, error) {
			return func(net.Conn) (artifact.PeerID, error) { return artifact.PeerID{id}, nil }
		}
		a := w.node(1, artifact.Config{}, Config{Identify: prove(2)})
		b := w.node(2, artifact.Config{}, Config{Identify: prove(1)}, 1)
		c := w.node(3, artifact.Config{}, Config{Identify: prove(9)}, 1)
		time.Sleep(10 * time.Second)
		require.Equal(t, 1, b.count(PeerUp))
		require.Zero(t, c.count(PeerUp))
		require.Error(t, a.lastError(Rejected))
		require.Error(t, c.lastError(DialFailed))
		_, bulks := a.net.Bearers()
		require.Equal(t, 2, bulks)
		for _, x := range []*testNode{a, b, c} {
			x.close(t)
		}
	})
}

// TestLinkOverrun: a message that is too long is handed up to where it can be judged, and never buffered beyond the limit.
func TestLinkOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Config{})
		ln, err := n.Host(ip(1)).Listen(netip.AddrPortFrom(ip(1), 1))
		require.NoError(t, err)
		x, err := n.Host(ip(2)).Dial(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(ip(1), 1))
		require.NoError(t, err)
		y, err := ln.Accept()
		require.NoError(t, err)
		m := mux.New(y, mux.Config{})
		s, err := m.Register(mux.StreamConfig{Number: 5, Role: mux.Responder, IngressLimit: 1000})
		require.NoError(t, err)
		m.Start()
		l := &link{s: s, max: 100}
		require.NoError(t, mux.WriteSDU(x, mux.Header{Number: 5}, append([]byte{0x81, 4, 0x58, 0xff}, make([]byte, 200)...)))
		b, err := l.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, []byte{0x81, 4}, b)
		b, err = l.Recv(t.Context())
		require.NoError(t, err)
		require.Len(t, b, 100, "cut, so that nobody can decode it")
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = l.Recv(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, m.Close())
		x.Close()
		ln.Close()
	})
}
