package artifact

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testPool() (*Pool[[]byte], *Kind[[]byte]) {
	k := BytesKind(Kind[[]byte]{ID: 1, MaxSize: 1000, Attr: bodyAttr})
	return NewPool(&k), &k
}

func TestPoolChanges(t *testing.T) {
	p, _ := testPool()
	ops := func(ts []Transmit) (out []Op) {
		for _, x := range ts {
			out = append(out, x.Op)
		}
		return out
	}
	apply := func(cs ...Change[[]byte]) []Transmit {
		t.Helper()
		ts, err := p.Apply(cs)
		require.NoError(t, err)
		return ts
	}
	ids := []ID{{1}, {2}, {3}, {4}, {5}}
	for i, id := range ids {
		p.Insert(Entry[[]byte]{ID: id, Attr: []byte{byte(i)}, Value: []byte{byte(i)}})
	}
	require.Len(t, p.Unvalidated(), 5)
	_, ok := p.Get(ids[0])
	require.False(t, ok, "only the validated section is served")
	ts := apply(Change[[]byte]{Op: MoveToValidated, ID: ids[0]}, Change[[]byte]{Op: HandleInvalid, ID: ids[1]},
		Change[[]byte]{Op: RemoveFromUnvalidated, ID: ids[2]}, Change[[]byte]{Op: Defer, ID: ids[3], DependsOn: []ID{ids[4]}},
		Change[[]byte]{Op: MoveToValidated, ID: ID{99}})
	require.Equal(t, []Op{MoveToValidated, HandleInvalid, RemoveFromUnvalidated, Defer}, ops(ts), "in order, unknown ids left out")
	e, ok := p.Get(ids[0])
	require.True(t, ok)
	require.Equal(t, []byte{0}, e.Value)
	_, ok = p.Pending(ids[3])
	require.True(t, ok, "deferred ones stay")
	ts = apply(Change[[]byte]{Op: MoveToValidated, ID: ids[4]})
	require.Equal(t, []ID{ids[3]}, ts[0].Requeue, "a named dependency")
	// an id added and removed in the same list produces nothing
	a, err := NewArtifact(p.kind.config(), []byte("own"), nil, Normal)
	require.NoError(t, err)
	require.Empty(t, apply(Change[[]byte]{Op: AddToValidated, Value: []byte("own")}, Change[[]byte]{Op: RemoveFromValidated, ID: a.ID}))
	ts = apply(Change[[]byte]{Op: AddToValidated, Value: []byte("own"), Class: Urgent})
	require.Equal(t, a.ID, ts[0].Artifact.ID)
	require.Equal(t, Urgent, ts[0].Artifact.Class)
	require.Empty(t, apply(Change[[]byte]{Op: AddToValidated, Value: []byte("own")}), "twice")
	// purge: validated ones are aborted, unvalidated ones unwanted
	p.Insert(Entry[[]byte]{ID: ID{7}, Attr: []byte{7}})
	ts = apply(Change[[]byte]{Op: PurgeBelow, Purge: func(_ ID, attr []byte) bool { return attr[0] < 1 || attr[0] == 7 }})
	require.Equal(t, []Op{RemoveFromUnvalidated, RemoveFromValidated}, ops(ts))
	require.Len(t, p.Snapshot(), 2)
	_, err = p.Apply([]Change[[]byte]{{Op: AddToValidated, Value: make([]byte, 1001)}, {Op: MoveToValidated, ID: ids[3]}})
	require.Error(t, err)
	_, ok = p.Get(ids[3])
	require.True(t, ok, "the others are carried out")
}

func TestPoolForgetsDependenciesNobodyWaitsFor(t *testing.T) {
	p, _ := testPool()
	for i := range 100 {
		id := ID{byte(i)}
		p.Insert(Entry[[]byte]{ID: id})
		for range 3 {
			_, err := p.Apply([]Change[[]byte]{{Op: Defer, ID: id, DependsOn: []ID{{0xff, byte(i)}}}})
			require.NoError(t, err)
		}
		p.Remove(id)
	}
	p.sweep()
	require.Empty(t, p.deps)
	require.Empty(t, p.deferred)
}

func TestConfigReportsEveryProblemAtOnce(t *testing.T) {
	c := Config{Slots: 100, Window: 10, InlineBytes: 1, UnvalidatedBytes: 1000, MaxPeers: 10, EgressRate: -1,
		Kinds: []KindConfig{{ID: 2, MaxSize: 1 << 20, Quota: 1 << 20}, {ID: 1, MaxSize: 10, ChunkSize: 5000}, {ID: 3, MaxSize: 1 << 60}}}
	err := c.Validate()
	require.Error(t, err)
	for _, want := range []string{"multiple of 64", "Window", "InlineBytes", "rate is negative", "ascending", "power of two", "MaxSize",
		"twice the largest", "guarantees a peer"} {
		require.ErrorContains(t, err, want)
	}
	require.Error(t, (&Config{}).Validate(), "no kinds")
	require.NoError(t, (&Config{Kinds: []KindConfig{{ID: 1, MaxSize: 100}}}).Validate())
	_, err = NewCore(0, c)
	require.Error(t, err)
	_, err = NewNode(Config{}, nil, Register(Kind[[]byte]{ID: 1, MaxSize: 10}, Client[[]byte](&keeper{})))
	require.ErrorContains(t, err, "no codec")
}

// The figures of artifact §6.8.
func TestMemoryBoundFigures(t *testing.T) {
	four := Config{}
	for i := range 4 {
		four.Kinds = append(four.Kinds, KindConfig{ID: uint32(i), MaxSize: 1 << 20, Quota: 4 << 20})
	}
	require.InDelta(t, 21, float64(Bound(four).Total())/(1<<20), 1)
	one := Config{Kinds: []KindConfig{{ID: 1, MaxSize: 400 << 10, Quota: 1 << 20}}}
	require.InDelta(t, 6, float64(Bound(one).Total())/(1<<20), 1)
	b := Bound(four)
	require.EqualValues(t, 57<<10+256+512, b.View)
	require.EqualValues(t, 128<<10, b.Offers)
	require.EqualValues(t, 256<<10, b.Manifests)
	require.EqualValues(t, 280000, b.Checks)
	require.EqualValues(t, 320<<10, b.Stash)
	require.EqualValues(t, 32<<10, b.Resume)
	require.EqualValues(t, 896<<10, b.Serving)
	require.InDelta(t, 352<<10, b.Streams, 1<<10)
	require.InDelta(t, 124<<10, b.Requests, 1<<10)
	require.Greater(t, NodeBound(four, 10), 9*(b.Total()-b.Unvalidated))
}

// Half of the cap is shared, the other half guaranteed: no peer can take what another is promised.
func TestQuotaHogLeavesTheOthersTheirShare(t *testing.T) {
	k := KindConfig{ID: 1, MaxSize: 65536, Quota: 10 << 20}
	q := quotas{cap: 8 << 20, share: 1 << 20}
	mk := func() *account {
		return &account{connected: true, mem: make([]int64, 1), count: make([]int, 1), disk: make([]int64, 1), quota: make([]int64, 1)}
	}
	hog := mk()
	for q.fits(hog, &k, 0, 65536, 0, 1<<20) {
		q.add(hog, 65536)
		hog.mem[0] += 65536
	}
	require.EqualValues(t, 5<<20, hog.total, "its share and the shared half")
	for range 3 {
		a := mk()
		for range 16 {
			require.True(t, q.fits(a, &k, 0, 65536, 0, 1<<20))
			q.add(a, 65536)
			a.mem[0] += 65536
		}
		require.False(t, q.fits(a, &k, 0, 65536, 0, 1<<20))
	}
	require.LessOrEqual(t, q.total, q.cap)
}

func TestTokenBucket(t *testing.T) {
	b := bucket{rate: 1000}
	now, sent := time.Duration(0), 0
	for ; now < 10*time.Second; now += time.Millisecond {
		if b.ok(now) {
			b.spend(now, 100)
			sent += 100
		}
	}
	require.InDelta(t, 10000, sent, 250)
	require.LessOrEqual(t, b.ready(now)-now, 200*time.Millisecond)
	require.True(t, (&bucket{}).ok(0), "no rate, no limit")
	b.tokens = -50
	require.False(t, b.ok(now))
	require.True(t, b.borrow(now), "urgent may take 100 ms of the rate in advance")
	b.spend(now, 100)
	require.False(t, b.borrow(now))
}

// Egress and ingress limits are kept, and urgent things pass.
func TestRatesAreKept(t *testing.T) {
	for _, c := range []Config{{EgressRate: 200_000}, {IngressRate: 200_000}} {
		s := newSimNet(t, 21)
		s.audit = 64
		s.cfg = func(i int) Config {
			k := Config{Slots: 256, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20}}}
			if i == 0 {
				k.EgressRate = c.EgressRate
			} else {
				k.IngressRate = c.IngressRate
			}
			return k
		}
		a := s.addNode()
		var others []*simNode
		for range 3 {
			n := s.addNode()
			others = append(others, n)
			s.connect(a, n, 10*time.Millisecond, 1e7)
		}
		s.run(time.Second)
		var ids []ID
		for range 30 {
			ids = append(ids, a.publish(1, randomBody(s.rnd, 60000, Normal)))
		}
		s.run(9 * time.Second)
		served := a.core.Counters().BytesServed
		limit := 8 * 200_000.0
		if c.IngressRate > 0 {
			limit *= 3
		}
		require.Less(t, float64(served), limit*1.05+200_000)
		require.Greater(t, float64(served), limit*0.85)
		least, most := 1<<30, 0
		for _, n := range others {
			least, most = min(least, len(n.got)), max(most, len(n.got))
		}
		require.LessOrEqual(t, most-least, 3, "no hungry peer starves the others")
		at := s.now
		id := a.publish(1, randomBody(s.rnd, 900, Urgent))
		s.everywhere(5*time.Second, []ID{id})
		require.Less(t, s.now-at, 300*time.Millisecond)
		s.everywhere(120*time.Second, ids)
	}
}

// Taking back a terminal verdict: what was lost comes back by comparison.
func TestTakeBack(t *testing.T) {
	s := newSimNet(t, 22)
	s.cfg = oneKind
	a, b := s.addNode(), s.addNode()
	s.connect(a, b, 10*time.Millisecond, 1e6)
	s.run(time.Second)
	var ids []ID
	for range 100 {
		ids = append(ids, a.publish(1, randomBody(s.rnd, 500, Normal)))
	}
	s.everywhere(10*time.Second, ids)
	s.run(s.now + 70*time.Second)
	quiet := a.core.Counters().OfferedAgain
	require.Zero(t, quiet, "comparison in a quiet state re-offers nothing")
	for _, id := range ids[:10] { // the pool lost them
		b.core.Remove(s.now, id)
		b.core.con.checks.forget(id)
		b.clients[1].cl.pool.validated.remove(id)
	}
	b.core.TakeBack(s.now)
	b.settled()
	s.everywhere(150*time.Second, ids)
	s.noFalseBlame()
}

func TestRefusalsNameTheirLimit(t *testing.T) {
	w := newWorld(t, Config{Slots: 64, MaxPeers: 1, Kinds: []KindConfig{{ID: 1, MaxSize: 10}}})
	require.ErrorIs(t, w.core.AddPeer(0, PeerInfo{ID: PeerID{0xff}}), ErrSelf)
	require.NoError(t, w.core.AddPeer(0, PeerInfo{ID: PeerID{1}}))
	require.ErrorIs(t, w.core.AddPeer(0, PeerInfo{ID: PeerID{1}}), ErrDuplicate)
	var many *TooManyPeersError
	require.ErrorAs(t, w.core.AddPeer(0, PeerInfo{ID: PeerID{2}}), &many)
	require.Equal(t, 1, many.Limit)
	var kind *UnknownKindError
	require.ErrorAs(t, w.core.Publish(0, &Artifact{Kind: 9}), &kind)
	_, err := NewArtifact(KindConfig{ID: 1, MaxSize: 10}, make([]byte, 11), nil, Normal)
	require.Error(t, err)
	_, err = NewArtifact(KindConfig{ID: 1, MaxSize: 10}, nil, make([]byte, 257), Normal)
	require.Error(t, err)
	var fault interface{ Fault() string }
	require.True(t, errors.As(violation("x"), &fault))
	require.Equal(t, "adversarial", fault.Fault())
}

// P17 and its like: limits of the consumer's own waiting.
func TestPeerThatStopsAcking(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(uint32, ID, []byte) Interest { return NotWanted }
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	w.wait(2 * disposeDelay)
	require.Len(t, x.take(ControlOut), 1)
	w.wait(119 * time.Second)
	require.False(t, x.closed)
	w.wait(3 * time.Second)
	require.True(t, x.closed)
	require.Zero(t, x.ban, "closed, not banned")
}

// What peers leave behind is bounded, however many come and go.
func TestPeersThatComeAndGo(t *testing.T) {
	w := smallWorld(t)
	for i := range 2000 {
		id := PeerID{3, byte(i), byte(i >> 8)}
		x := &puppet{t: t, w: w, id: id, epoch: [8]byte{1}, slots: 128}
		w.puppets = []*puppet{x}
		x.attach(true)
		x.send(OfferOut, (&msgInitOk{epoch: x.epoch, slots: 65536}).append(nil)) // a claim makes nobody allocate
		x.offers(offerOf(0, 1, []byte{byte(i), byte(i >> 8)}))
		for _, m := range x.fetches(BulkOut) {
			x.serve(BulkOut, m, []byte{byte(i), byte(i >> 8)})
		}
		if i%2 == 0 {
			w.accept()
		} else {
			w.judge(func(u Unjudged) { w.core.Reject(w.now, u.ID, true) })
		}
		w.core.RemovePeer(w.now, id)
		w.settle()
		w.now += time.Second
	}
	require.LessOrEqual(t, len(w.core.con.accts), resumePeers+1)
	require.LessOrEqual(t, w.core.con.checks.former.checks.n, receiveChecks)
	require.LessOrEqual(t, w.core.NodeUsage(), NodeBound(w.core.cfg, 0))
	require.Zero(t, w.core.con.quota.total)
}
