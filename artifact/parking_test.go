package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// P11: W artifacts wait for the W+1st; it still arrives, and they with it.
func TestDeferredArtifactsDoNotHaltTheLink(t *testing.T) {
	s := newSimNet(t, 6)
	s.cfg = func(int) Config {
		return Config{Slots: 512, Window: 64, UrgentReserve: 8, Kinds: []KindConfig{{ID: 1, MaxSize: 4096, Quota: 1 << 20}}}
	}
	a, b := s.addNode(), s.addNode()
	s.connect(a, b, 10*time.Millisecond, 1e7)
	var key ID
	have := false
	b.clients[1].judge = func(e Entry[[]byte]) Change[[]byte] {
		if e.ID == key {
			have = true
			return Change[[]byte]{Op: MoveToValidated, ID: e.ID}
		}
		if !have {
			return Change[[]byte]{Op: Defer, ID: e.ID, DependsOn: []ID{key}}
		}
		return Change[[]byte]{Op: MoveToValidated, ID: e.ID}
	}
	last := append([]byte{2}, "the key"...) // bulk: shown last
	k, err := NewArtifact(a.clients[1].k, last, bodyAttr(last), Bulk)
	require.NoError(t, err)
	key = k.ID
	s.run(time.Second)
	var ids []ID
	for range 150 {
		ids = append(ids, a.publish(1, randomBody(s.rnd, 1500, Normal)))
	}
	ids = append(ids, a.publish(1, last))
	s.everywhere(20*time.Second, ids)
	require.True(t, have)
}

// Parked bodies take at most half of the quota; what is evicted comes back by timer.
func TestEvictedParkedBodiesComeBack(t *testing.T) {
	s := newSimNet(t, 7)
	s.cfg = func(int) Config {
		return Config{Slots: 512, Window: 64, UrgentReserve: 8, Kinds: []KindConfig{{ID: 1, MaxSize: 4096, Quota: 40000}}}
	}
	a, b := s.addNode(), s.addNode()
	s.connect(a, b, 10*time.Millisecond, 1e7)
	var key ID
	b.clients[1].judge = func(e Entry[[]byte]) Change[[]byte] {
		if e.ID != key && !b.has(key) {
			return Change[[]byte]{Op: Defer, ID: e.ID}
		}
		return Change[[]byte]{Op: MoveToValidated, ID: e.ID}
	}
	s.run(time.Second)
	var ids []ID
	for range 60 {
		ids = append(ids, a.publish(1, randomBody(s.rnd, 2000, Normal)))
	}
	s.run(5 * time.Second)
	require.Zero(t, b.core.con.accts[a.id].mem[0]/20001, "half of the quota")
	last := append([]byte{3}, "the key"...)
	k, err := NewArtifact(a.clients[1].k, last, bodyAttr(last), Idle)
	require.NoError(t, err)
	key = k.ID
	ids = append(ids, a.publish(1, last))
	s.everywhere(120*time.Second, ids)
}

// noRoom: a quota much smaller than what is offered; nothing is lost, the honest provider is never told "limit exceeded".
func TestQuotaSmallerThanTheOffer(t *testing.T) {
	s := newSimNet(t, 8)
	s.cfg = func(int) Config {
		return Config{Slots: 512, Window: 64, UrgentReserve: 8, Kinds: []KindConfig{{ID: 1, MaxSize: 65536, Quota: 131072}}}
	}
	a, b := s.addNode(), s.addNode()
	b.delay = 700 * time.Millisecond
	s.connect(a, b, 10*time.Millisecond, 1e7)
	var ids []ID
	for range 60 {
		ids = append(ids, a.publish(1, randomBody(s.rnd, 60000, Class(s.rnd.IntN(4)))))
	}
	s.everywhere(180*time.Second, ids)
	s.noFalseBlame()
}

// The stash: later turned wanted is fetched without being offered again; what the stash forgot is asked for.
func TestPriorityFromStashToFetch(t *testing.T) {
	for _, n := range []int{50, 1500} {
		s := newSimNet(t, 9)
		s.audit = 64
		s.cfg = func(int) Config { return Config{Slots: 2048, Kinds: []KindConfig{{ID: 1, MaxSize: 4096}}} }
		a, b := s.addNode(), s.addNode()
		s.connect(a, b, 10*time.Millisecond, 1e7)
		open := false
		b.clients[1].bounce = func(id ID, attr []byte) Interest {
			if !open {
				return MaybeLater
			}
			return Wants(Normal)
		}
		b.clients[1].cl.bounce()
		var ids []ID
		for range n {
			ids = append(ids, a.publish(1, randomBody(s.rnd, 1200, Normal)))
		}
		s.run(5 * time.Second)
		require.Empty(t, b.core.con.downs)
		require.LessOrEqual(t, b.core.byID[a.id].con.stash.Len(), stashSize)
		open = true
		again := a.core.Counters().OfferedAgain
		s.everywhere(60*time.Second, ids)
		if n == 50 {
			require.Equal(t, again, a.core.Counters().OfferedAgain, "from the stash")
		} else {
			require.Greater(t, a.core.Counters().OfferedAgain, again)
		}
	}
}

func TestPriorityFromStashToDrop(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(uint32, ID, []byte) Interest { return MaybeLater }
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	require.Equal(t, Later, x.verdicts()[0])
	held := w.core.Held(1)
	require.Len(t, held, 1)
	w.core.Refresh(w.now, 1, held, []Interest{NotWanted}, nil)
	w.settle()
	require.Equal(t, Unwanted, x.verdicts()[0])
}

func TestFetchToStashToFetch(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	require.Len(t, x.fetches(BulkOut), 1)
	held := w.core.Held(1)
	w.core.Refresh(w.now, 1, held, []Interest{MaybeLater}, nil)
	w.settle()
	require.Equal(t, Later, x.verdicts()[0])
	x.send(BulkOut, appendFetchDone(nil, 0, statusNotFound, 0))
	held = w.core.Held(1)
	require.Len(t, held, 1)
	w.core.Refresh(w.now, 1, held, []Interest{Wants(Normal)}, nil)
	w.settle()
	ms := x.fetches(BulkOut)
	require.Len(t, ms, 1)
	x.serve(BulkOut, ms[0], []byte("x"))
	w.accept()
	require.Equal(t, Delivered, x.verdicts()[0])
}
