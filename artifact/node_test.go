package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // the simulations make much short-lived garbage
	goleak.VerifyTestMain(m)
}

// memLink is one end of an in-memory Link. It poisons what it handed out, so that a kept view is noticed.
type memLink struct {
	out, in chan []byte
	last    []byte
	done    chan struct{}
	delay   time.Duration
}

func memPair(done chan struct{}, delay time.Duration) (a, b *memLink) {
	x, y := make(chan []byte, 1), make(chan []byte, 1)
	return &memLink{out: x, in: y, done: done, delay: delay}, &memLink{out: y, in: x, done: done, delay: delay}
}

func (l *memLink) Send(ctx context.Context, _ uint8, msg []byte) error {
	if l.delay > 0 {
		t := time.NewTimer(l.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case l.out <- bytes.Clone(msg):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return io.EOF
	}
}

func (l *memLink) Recv(ctx context.Context) ([]byte, error) {
	for i := range l.last {
		l.last[i] = 0xee
	}
	select {
	case l.last = <-l.in:
		return l.last, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
		return nil, io.EOF
	}
}

// memBearers connects two Nodes.
type memBearers struct {
	self, peer *Node
	selfID     PeerID
	peerID     PeerID
	done       chan struct{}
	once       *sync.Once
	delay      time.Duration
	bulk       *atomic.Int32 // dialled so far
}

func (b *memBearers) RTT() time.Duration { return 2 * time.Millisecond }

func (b *memBearers) Close(error) { b.once.Do(func() { close(b.done) }) }

func (b *memBearers) Bulk(ctx context.Context, i int) (Link, error) {
	mine, theirs := memPair(b.done, b.delay)
	back, forth := memPair(b.done, b.delay) // the acceptor's own lane
	b.bulk.Add(1)
	go func() {
		// The acceptor sees one link on which join comes first and then its own lane; here the lane is spliced behind it.
		ix, err := b.peer.AcceptBulk(ctx, b.selfID, &spliced{first: theirs, then: back})
		if err != nil || ix != i {
			return
		}
		_ = b.peer.ServeBulk(ctx, b.selfID, ix, theirs)
		_ = b.self.ServeBulk(ctx, b.peerID, ix, forth)
	}()
	return mine, nil
}

// spliced takes join from one link, and all later messages from another.
type spliced struct {
	first, then *memLink
	joined      bool
}

func (s *spliced) Send(ctx context.Context, r uint8, m []byte) error {
	if !s.joined {
		s.joined = true
		return s.first.Send(ctx, r, m)
	}
	return s.then.Send(ctx, r, m)
}

func (s *spliced) Recv(ctx context.Context) ([]byte, error) {
	if !s.joined {
		return s.first.Recv(ctx)
	}
	return s.then.Recv(ctx)
}

// join connects a (dialler) and b.
func join(t *testing.T, a, b *Node, delay time.Duration) (close func(), bulk *atomic.Int32) {
	done, once, n := make(chan struct{}), &sync.Once{}, &atomic.Int32{}
	var la, lb Links
	pair := func(x, y *[2]Link) {
		for i := range 2 {
			p, q := memPair(done, delay)
			x[i], y[1-i] = p, q
		}
	}
	pair(&la.Offer, &lb.Offer)
	pair(&la.Control, &lb.Control)
	pair(&la.Urgent, &lb.Urgent)
	pair(&la.Bulk, &lb.Bulk)
	ida, idb := a.core.cfg.NodeID, b.core.cfg.NodeID
	ba := &memBearers{a, b, ida, idb, done, once, delay, n}
	bb := &memBearers{b, a, idb, ida, done, once, delay, n}
	require.NoError(t, a.Attach(PeerInfo{ID: idb, Addr: netip.MustParseAddr("10.0.0.2"), Dialler: true}, la, ba))
	require.NoError(t, b.Attach(PeerInfo{ID: ida, Addr: netip.MustParseAddr("10.0.0.1")}, lb, bb))
	a.Start(idb)
	b.Start(ida)
	return func() { ba.Close(nil) }, n
}

// keeper is a Client that validates everything.
type keeper struct {
	mu   sync.Mutex
	seen map[ID][]byte
	bad  func([]byte) bool
}

func (k *keeper) OnChange(r Reader[[]byte]) (out []Change[[]byte]) {
	for _, e := range r.Unvalidated() {
		if k.bad != nil && k.bad(e.Value) {
			out = append(out, Change[[]byte]{Op: HandleInvalid, ID: e.ID, Reason: errors.New("bad")})
			continue
		}
		k.mu.Lock()
		if k.seen == nil {
			k.seen = map[ID][]byte{}
		}
		k.seen[e.ID] = e.Value
		k.mu.Unlock()
		out = append(out, Change[[]byte]{Op: MoveToValidated, ID: e.ID})
	}
	return out
}
func (k *keeper) Bouncer(Reader[[]byte]) func(ID, []byte) Interest { return nil }
func (k *keeper) Quota(PeerID) int64                               { return 0 }
func (k *keeper) has(id ID) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen[id]
}

type testNode struct {
	*Node
	k *keeper
	h *Handle[[]byte]
}

func newTestNode(t *testing.T, i byte, kind Kind[[]byte], cfg Config) *testNode {
	x := &testNode{k: &keeper{}}
	x.h = Register(BytesKind(kind), Client[[]byte](x.k))
	cfg.NodeID, cfg.Seed = PeerID{i}, uint64(i)
	n, err := NewNode(cfg, nil, x.h)
	require.NoError(t, err)
	x.Node = n
	return x
}

func TestNodesOverLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		var ns []*testNode
		for i := range 5 {
			ns = append(ns, newTestNode(t, byte(i+1), Kind[[]byte]{ID: 7, MaxSize: 1 << 20}, Config{Slots: 256}))
		}
		var cut []func()
		for i := range ns {
			c, _ := join(t, ns[i].Node, ns[(i+1)%len(ns)].Node, time.Millisecond)
			cut = append(cut, c)
		}
		time.Sleep(time.Second)
		want := map[ID][]byte{}
		for i := range 60 {
			body := make([]byte, []int{0, 100, 1024, 5000, 65536, 65537, 300000}[i%7])
			for j := range body {
				body[j] = byte(rnd.Uint32())
			}
			if len(body) == 0 && i > 7 {
				continue
			}
			id, err := ns[i%len(ns)].h.Publish(body, Class(i%4))
			require.NoError(t, err)
			want[id] = body
			ns[i%len(ns)].k.mu.Lock()
			if ns[i%len(ns)].k.seen == nil {
				ns[i%len(ns)].k.seen = map[ID][]byte{}
			}
			ns[i%len(ns)].k.seen[id] = body
			ns[i%len(ns)].k.mu.Unlock()
		}
		time.Sleep(200 * time.Millisecond)
		cut[0]() // the ring stays connected
		time.Sleep(20 * time.Second)
		for id, body := range want {
			for i, n := range ns {
				require.True(t, bytes.Equal(body, n.k.has(id)), "node %d, %d bytes", i, len(body))
			}
		}
		for _, n := range ns {
			require.Zero(t, n.Counters().Violations)
			require.NoError(t, n.h.Read(t.Context(), func(r Reader[[]byte]) { require.Len(t, r.Snapshot(), len(want)) }))
			require.NoError(t, n.Close())
			require.ErrorIs(t, n.Close(), ErrClosed)
		}
	})
}

// memSink is a sink in memory that may hold something from before.
type memSink struct {
	mu sync.Mutex
	b  []byte
	n  int // chunks written
}

func (s *memSink) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return copy(s.b[off:], p), nil
}

func (s *memSink) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copy(p, s.b[off:]), nil
}

func TestSinkResumesByVerifiedChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := make([]byte, 20<<20)
		for i := range body {
			body[i] = byte(i >> 9)
		}
		sinks := [3]*memSink{}
		kind := func(i int) Kind[[]byte] {
			return Kind[[]byte]{ID: 7, MaxSize: 64 << 20, Quota: 4 << 20,
				Sink: func(_ ID, size int64) (io.WriterAt, error) {
					sinks[i] = &memSink{b: make([]byte, size)}
					if i == 2 { // three quarters are there already, one of the chunks damaged
						copy(sinks[i].b, body[:15<<20])
						sinks[i].b[70000] ^= 1
					}
					return sinks[i], nil
				}}
		}
		var ns []*testNode
		for i := range 3 {
			ns = append(ns, newTestNode(t, byte(i+1), kind(i), Config{Slots: 64}))
		}
		c1, b1 := join(t, ns[0].Node, ns[1].Node, 0)
		c2, _ := join(t, ns[1].Node, ns[2].Node, 0)
		defer c1()
		defer c2()
		time.Sleep(time.Second)
		id, err := ns[0].h.PublishFile(nil, bytes.NewReader(body), int64(len(body)), Bulk)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		for i := 1; i < 3; i++ {
			require.NotNil(t, sinks[i])
			require.True(t, bytes.Equal(body, sinks[i].b), i)
			require.NoError(t, ns[i].h.Read(t.Context(), func(r Reader[[]byte]) {
				_, ok := r.Get(id)
				require.True(t, ok)
			}))
		}
		require.Equal(t, 320, sinks[1].n)
		require.Equal(t, 81, sinks[2].n, "a quarter and the damaged one")
		require.EqualValues(t, 2, b1.Load(), "two bulk bearers were dialled")
		require.LessOrEqual(t, ns[2].Usage(PeerID{2}).Total(), Bound(ns[2].core.cfg).Total())
		for _, n := range ns {
			require.NoError(t, n.Close())
		}
	})
}

func TestStopAndStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestNode(t, 1, Kind[[]byte]{ID: 7, MaxSize: 1 << 20}, Config{Slots: 64})
		b := newTestNode(t, 2, Kind[[]byte]{ID: 7, MaxSize: 1 << 20}, Config{Slots: 64})
		cut, _ := join(t, a.Node, b.Node, time.Millisecond)
		defer cut()
		time.Sleep(time.Second)
		for i := range 5 {
			b.Stop(PeerID{1})
			time.Sleep(time.Second)
			require.True(t, b.Stopped(PeerID{1}))
			id, err := a.h.Publish([]byte{byte(i)}, Normal)
			require.NoError(t, err)
			time.Sleep(time.Second)
			require.Nil(t, b.k.has(id))
			b.Start(PeerID{1})
			time.Sleep(time.Second)
			require.NotNil(t, b.k.has(id))
		}
		require.EqualValues(t, 5, b.Counters().Resumed)
		require.Zero(t, a.Counters().Violations+b.Counters().Violations)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestClosedNodeRefusesPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestNode(t, 1, Kind[[]byte]{ID: 7, MaxSize: 100}, Config{Slots: 64})
		require.NoError(t, a.Close())
		require.ErrorIs(t, a.Attach(PeerInfo{ID: PeerID{2}}, Links{}, &memBearers{}), ErrClosed)
	})
}

// Two main bearers between two nodes: both ends keep the one dialled by the smaller id; a restart of the same dialler replaces its
// older one when that has been quiet.
func TestDuplicateMainBearers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestNode(t, 1, Kind[[]byte]{ID: 7, MaxSize: 1 << 20}, Config{Slots: 64})
		info := PeerInfo{ID: PeerID{2}, Addr: netip.MustParseAddr("10.0.0.2")}
		attach := func(info PeerInfo) (chan struct{}, error) {
			done := make(chan struct{})
			var l, other Links
			for _, p := range [][2]*[2]Link{{&l.Offer, &other.Offer}, {&l.Control, &other.Control}, {&l.Urgent, &other.Urgent}, {&l.Bulk, &other.Bulk}} {
				for i := range 2 {
					p[0][i], p[1][1-i] = memPair(done, 0)
				}
			}
			return done, a.Attach(info, l, &memBearers{done: done, once: &sync.Once{}})
		}
		gone := func(done chan struct{}) bool {
			synctest.Wait()
			select {
			case <-done:
				return true
			default:
				return false
			}
		}
		theirs, err := attach(info)
		require.NoError(t, err)
		info.Dialler = true
		ours, err := attach(info)
		require.NoError(t, err, "ours is the smaller id")
		require.True(t, gone(theirs))
		info.Dialler = false
		_, err = attach(info)
		require.ErrorIs(t, err, ErrDuplicate)
		require.False(t, gone(ours))
		require.NoError(t, a.Close())
		require.True(t, gone(ours))
	})
}
