package artifact

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// P8: two kinds of equal weight share a saturated link evenly, within 5 % over 9 s.
func TestTwoKindsShareALinkEvenly(t *testing.T) {
	t.Parallel()
	s := newSimNet(t, 3)
	s.audit = 32
	s.cfg = func(int) Config {
		return Config{Slots: 1024, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20}, {ID: 2, MaxSize: 1 << 20}}}
	}
	a, b := s.addNode(), s.addNode()
	s.connect(a, b, 10*time.Millisecond, 1e6)
	s.run(time.Second)
	for i := range 560 { // one kind in large bodies, the other in small ones; enough of both for 11 s at 2 × 1 MB/s
		if i < 310 {
			a.publish(1, randomBody(s.rnd, 60000, Normal))
		}
		a.publish(2, randomBody(s.rnd, 20000, Normal))
	}
	s.run(1500 * time.Millisecond)
	bytes := func() (n [3]int) {
		for id := range b.got {
			x := b.disk[id]
			n[x.kind] += len(x.body)
		}
		return n
	}
	before := bytes()
	s.run(s.now + 9*time.Second)
	after := bytes()
	x, y := float64(after[1]-before[1]), float64(after[2]-before[2])
	require.InDelta(t, 0.5, x/(x+y), 0.05, "%v of %v", x, x+y)
}

// Four suppliers of equal rate are at least 3.6 times as fast as one.
func TestFourSuppliersAreFasterThanOne(t *testing.T) {
	t.Parallel()
	run := func(suppliers int) time.Duration {
		s := newSimNet(t, 4)
		s.cfg = func(int) Config {
			return Config{Slots: 64, BulkBearers: -1, Kinds: []KindConfig{{ID: 1, MaxSize: 16 << 20}}}
		}
		for range 5 {
			s.addNode()
		}
		body := randomBody(s.rnd, 12<<20, Bulk)
		for _, n := range s.nodes[1 : 1+suppliers] {
			n.publish(1, body)
		}
		s.run(time.Second)
		for _, n := range s.nodes[1 : 1+suppliers] {
			s.connect(s.nodes[0], n, 20*time.Millisecond, 1e6)
		}
		start := s.now
		id, err := NewArtifact(s.nodes[1].clients[1].k, body, nil, Bulk)
		require.NoError(t, err)
		require.True(t, s.runUntil(start+time.Minute, func() bool { return s.nodes[0].has(id.ID) }))
		return s.nodes[0].got[id.ID] - start
	}
	one, four := run(1), run(4)
	require.GreaterOrEqual(t, float64(one)/float64(four), 3.6, "%v, %v", one, four)
}

func urgentOf(e entry) entry { e.hint = 0; return e }

func TestFailOver(t *testing.T) {
	setup := func(class Class) (*world, *puppet, *puppet, Stream) {
		w := smallWorld(t)
		w.bouncer = func(uint32, ID, []byte) Interest { return Wants(class) }
		x, y := w.peer(true, true), w.peer(true, true)
		st := BulkOut
		if class == Urgent {
			st = UrgentOut
		}
		x.offers(offerOf(0, 1, []byte("x")))
		y.offers(offerOf(0, 1, []byte("x")))
		require.Len(t, x.fetches(st), 1)
		require.Empty(t, y.fetches(st))
		return w, x, y, st
	}
	t.Run("lost bearer", func(t *testing.T) {
		w, x, y, st := setup(Normal)
		w.core.RemovePeer(w.now, x.id)
		w.settle()
		require.Len(t, y.fetches(st), 1, "at once")
	})
	t.Run("withdrawn", func(t *testing.T) {
		_, x, y, st := setup(Normal)
		x.offers(entry{tag: entryWithdraw, slot: 0, commit: 1})
		require.Len(t, y.fetches(st), 1, "at once")
	})
	t.Run("busy, notFound, late", func(t *testing.T) {
		for _, status := range []uint64{statusBusy, statusNotFound, statusLate, statusTooLarge, statusOK} {
			_, x, y, st := setup(Normal)
			x.send(st, appendFetchDone(nil, 0, status, 0))
			require.Len(t, y.fetches(st), 1, "at once")
		}
	})
	t.Run("silent, top class", func(t *testing.T) {
		w, x, y, st := setup(Urgent)
		w.wait(deadlineMin + time.Millisecond)
		require.Len(t, y.fetches(st), 1, "hedged")
		y.serve(st, &msgFetch{id: 0, chunks: []span{{0, 1}}}, []byte("x"))
		cancelled := false
		for _, m := range x.controls() {
			cancelled = cancelled || m.tag == tagCancel && m.cancel[0] == 0
		}
		require.True(t, cancelled, "the loser is cancelled")
		w.accept()
		require.Equal(t, Delivered, x.verdicts()[0])
		require.Equal(t, Delivered, y.verdicts()[0])
		require.EqualValues(t, 1, w.core.Counters().Hedges)
	})
	t.Run("silent, other classes", func(t *testing.T) {
		w, _, y, st := setup(Normal)
		w.wait(4 * time.Second)
		require.Len(t, y.fetches(st), 1, "at the deadline of the first measurement")
	})
}

// Rounds: every current advertiser is asked once; the next round begins after a pause, or at a new advertiser. An advertiser
// that was tried and left must not stall the rest (artifact §2.6, 3).
func TestSingleChunkTimeoutMovesFromAdvertiserToAdvertiser(t *testing.T) {
	w := smallWorld(t)
	var xs []*puppet
	for range 4 {
		x := w.peer(true, true)
		xs = append(xs, x)
		x.offers(offerOf(0, 1, []byte("x")))
	}
	asked := func() (out []int) {
		for i, x := range xs {
			if !x.closed {
				for range x.fetches(BulkOut) {
					out = append(out, i)
				}
			}
		}
		return out
	}
	got := asked()
	for len(got) < 4 {
		i := got[len(got)-1]
		x := xs[i]
		x.send(BulkOut, appendFetchDone(nil, 0, statusNotFound, 0))
		now := asked()
		require.Len(t, now, 1, "the next one, at once")
		require.NotContains(t, got, now[0])
		got = append(got, now...)
		if len(got) == 3 { // one that was tried leaves
			xs[i].offers(entry{tag: entryWithdraw, slot: 0, commit: 1})
		}
	}
	xs[got[3]].send(BulkOut, appendFetchDone(nil, 0, statusNotFound, 0))
	require.Empty(t, asked(), "never at once")
	w.wait(51 * time.Millisecond)
	require.Len(t, asked(), 1, "next round")
}

func TestNewAdvertiserEndsThePause(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	x.offers(offerOf(0, 1, []byte("x")))
	x.fetches(BulkOut)
	x.send(BulkOut, appendFetchDone(nil, 0, statusBusy, 0))
	y.offers(offerOf(0, 1, []byte("x")))
	require.Len(t, y.fetches(BulkOut), 1)
}

// Four of the 32 requests are kept for the top class.
func TestReservedUrgentSlots(t *testing.T) {
	w := newWorld(t, Config{Slots: 128, Window: 256, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096}}})
	x := w.peer(true, true)
	x.p.net.window = 1 << 20
	x.p.net.lanes[laneBearer].up, x.p.net.lanes[laneBearer+1].up = true, true
	x.slots = 128
	for i := range 60 {
		if i == 30 {
			require.Equal(t, unprovenRequests, x.p.net.count, "until it has sent something right")
			x.p.net.trust = maxRequests
		}
		x.offers(offerOf(uint32(i), uint64(i+1), append(make([]byte, 2000), byte(i))))
	}
	require.Equal(t, maxRequests-urgentRequests, x.p.net.count)
	w.bouncer = func(uint32, ID, []byte) Interest { return Wants(Urgent) }
	for i := 60; i < 70; i++ {
		x.offers(urgentOf(offerOf(uint32(i), uint64(i+1), []byte{byte(i)})))
	}
	require.Equal(t, maxRequests, x.p.net.count)
	require.Len(t, x.fetches(UrgentOut), 4)
}

// One bulk artifact is spread over its advertisers, each is asked for different chunks.
func TestMultiChunkedArtifactsAreStriped(t *testing.T) {
	w := smallWorld(t)
	xs := []*puppet{w.peer(true, true), w.peer(true, true)}
	body := randomBody(rand.New(rand.NewPCG(1, 1)), 80*4096, Normal)
	for _, x := range xs {
		x.p.net.window = 1 << 20
		x.offers(offerOf(0, 1, body))
	}
	seen := map[uint64]int{}
	for round := 0; len(seen) < 80 && round < 100; round++ {
		for _, x := range xs {
			for _, m := range x.fetches(BulkOut) {
				for _, sp := range m.chunks {
					for i := range sp.count {
						seen[sp.first+i]++
					}
				}
				x.serve(BulkOut, m, body)
			}
		}
	}
	require.Len(t, seen, 80)
	for i, n := range seen {
		require.Equal(t, 1, n, "chunk %d", i)
	}
	w.accept()
	require.Equal(t, Delivered, xs[0].verdicts()[0])
	require.Equal(t, Delivered, xs[1].verdicts()[0])
	require.Zero(t, w.core.Counters().DuplicateBytes)
}
