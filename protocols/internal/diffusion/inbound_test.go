package diffusion

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// txs is tx-submission without its messages.
var txs = &Dialect{Window: 10, MaxItem: 65_540, Batch: 131_080, Sized: true}

// world is a network of peers that own transactions and one core that asks them, in virtual time. The rules of the owners are
// checked by an outbox of each.
type world struct {
	t     require.TestingT
	rnd   *rand.Rand
	in    *inbound
	now   time.Duration
	have  map[string]int // bytes, of what has been taken
	sent  map[string]int // bodies received, by id
	peers []*owner
	limit int
}

type owner struct {
	peer    *inPeer
	box     *outbox
	own     []string
	size    map[string]int
	next    int
	pending []request
	gone    bool
	lossy   bool // leaves out every second transaction
	spoilt  bool // what it sends is refused
}

func newWorld(t require.TestingT, seed uint64, l Limits, room int) *world {
	return &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), in: newInbound(txs, l), have: map[string]int{}, sent: map[string]int{}, limit: room}
}

func (w *world) add(own []string, size map[string]int) *owner {
	o := &owner{peer: w.in.join(), box: &outbox{window: txs.Window}, own: own, size: size}
	w.peers = append(w.peers, o)
	return o
}

func (w *world) room() int {
	room := w.limit
	for _, n := range w.have {
		room -= n
	}
	return room
}

// ask has the core speak to one owner as long as it has something to say.
func (w *world) ask(o *owner) (spoke bool) {
	for !o.gone {
		for _, id := range o.peer.open() {
			if _, ok := w.have[id]; ok {
				w.in.known(id)
			}
		}
		r, _ := w.in.next(o.peer, len(o.pending), w.room(), w.now)
		if r.kind == nothing {
			return spoke
		}
		spoke = true
		if r.blocking {
			require.Empty(w.t, o.pending, "a blocking request only with nothing unanswered")
		}
		o.pending = append(o.pending, r)
		w.check()
	}
	return spoke
}

// answer has an owner answer its oldest request; false if there is nothing to say.
func (w *world) answer(o *owner) bool {
	if o.gone || len(o.pending) == 0 {
		return false
	}
	r := o.pending[0]
	if r.kind == askIDs {
		if r.blocking && o.next == len(o.own) {
			require.Len(w.t, o.box.fifo, r.ack)
			return false // waits
		}
		require.NoError(w.t, o.box.acknowledge(r.blocking, uint16(r.ack), uint16(r.req)))
		var ids []Announced
		for len(ids) < r.req && o.next < len(o.own) {
			id := o.own[o.next]
			o.next++
			o.box.announce([]byte(id))
			ids = append(ids, Announced{[]byte(id), o.size[id]})
		}
		o.pending = o.pending[1:]
		w.in.announced(o.peer, ids, w.now)
	} else {
		raw := make([][]byte, len(r.ids))
		for i, id := range r.ids {
			raw[i] = []byte(id)
		}
		require.NoError(w.t, o.box.request(raw))
		o.pending = o.pending[1:]
		for i, id := range r.ids {
			if o.lossy && i%2 == 1 {
				continue
			}
			e, err := w.in.expected(o.peer, id, o.size[id], r.ids)
			require.NoError(w.t, err)
			v := accepted
			if _, ok := w.have[id]; ok {
				v = late
			} else if o.spoilt {
				v = refused
			} else {
				w.have[id] = o.size[id]
			}
			w.sent[id]++
			w.in.received(o.peer, e, v, w.now)
		}
		w.in.replied(o.peer, r.ids, w.now)
	}
	w.check()
	return true
}

// check asserts the invariants of the core.
func (w *world) check() {
	bytes, count := 0, 0
	offers := map[string]int{}
	for _, p := range w.in.peers {
		require.LessOrEqual(w.t, len(p.queue)-p.acked+p.idsAsked, txs.Window)
		require.LessOrEqual(w.t, len(p.queue), 2*txs.Window)
		mine := 0
		for _, e := range p.queue {
			offers[e.id]++
			if e.sent {
				mine += e.size
				count++
			}
		}
		require.Equal(w.t, mine, p.bytes)
		require.LessOrEqual(w.t, p.bytes, w.in.limits.PeerBytes+txs.MaxItem)
		require.LessOrEqual(w.t, p.requests, w.in.limits.Requests)
		bytes += mine
	}
	require.Equal(w.t, bytes, w.in.bytes)
	require.Equal(w.t, count, w.in.count)
	require.LessOrEqual(w.t, count, w.in.limits.Txs)
	require.LessOrEqual(w.t, bytes, w.in.limits.Bytes+txs.MaxItem)
	require.Len(w.t, w.in.items, len(offers))
	for id, tx := range w.in.items {
		require.Equal(w.t, offers[id], tx.offers)
		require.LessOrEqual(w.t, tx.copies, w.in.limits.Copies)
	}
	require.LessOrEqual(w.t, bytes, max(w.room(), 0), "nothing is asked for that there is no room for")
}

// run goes on in random order until nothing moves, letting time pass when only time helps.
func (w *world) run() {
	pass := func(all bool) (moved bool) {
		for _, i := range w.rnd.Perm(len(w.peers)) {
			o := w.peers[i]
			moved = w.ask(o) || moved
			if all || w.rnd.IntN(3) > 0 {
				moved = w.answer(o) || moved
			}
		}
		return moved
	}
	for idle := 0; idle < 3; idle++ {
		for pass(false) || pass(true) {
			idle = 0
		}
		w.now += w.in.limits.Hedge
	}
}

func (w *world) leave(o *owner) {
	o.gone = true
	w.in.leave(o.peer)
	w.check()
}

func numbered(from, to int) (out []string, size map[string]int) {
	size = map[string]int{}
	for i := from; i < to; i++ {
		id := fmt.Sprintf("tx%04d", i)
		out = append(out, id)
		size[id] = 300 + i*37%16000
	}
	return out, size
}

// TestEveryTransactionArrivesOnce: several peers with overlapping mempools; each transaction is fetched, and from one peer.
func TestEveryTransactionArrivesOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, rapid.Uint64().Draw(rt, "seed"), Limits{}, 1<<30)
		n := rapid.IntRange(1, 6).Draw(rt, "peers")
		all, size := numbered(0, 60)
		wanted := map[string]bool{}
		for range n {
			lo := rapid.IntRange(0, 50).Draw(rt, "lo")
			hi := rapid.IntRange(lo, 60).Draw(rt, "hi")
			for _, id := range all[lo:hi] {
				wanted[id] = true
			}
			w.add(all[lo:hi], size)
		}
		w.run()
		require.Len(rt, w.have, len(wanted))
		for id, n := range w.sent {
			require.Equal(rt, 1, n, id)
		}
	})
}

// TestRetryFromAnotherAdvertiser: peers that leave transactions out, or go away in the middle, cost nothing as long as
// somebody else has them.
func TestRetryFromAnotherAdvertiser(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, rapid.Uint64().Draw(rt, "seed"), Limits{}, 1<<30)
		all, size := numbered(0, 40)
		lossy := w.add(all, size)
		lossy.lossy = true
		doomed := w.add(all, size)
		for range rapid.IntRange(0, 20).Draw(rt, "before") {
			for _, o := range w.peers {
				w.ask(o)
				w.answer(o)
			}
		}
		w.leave(doomed)
		w.add(all, size)
		w.run()
		require.Len(rt, w.have, len(all))
	})
}

// TestFullMempoolAsksForNothing: when there is no room nothing new is asked for, and nothing is lost when there is room again.
func TestFullMempoolAsksForNothing(t *testing.T) {
	all, size := numbered(0, 40)
	w := newWorld(t, 1, Limits{}, 20_000)
	o := w.add(all, size)
	w.run()
	require.Less(t, len(w.have), len(all))
	require.LessOrEqual(t, 0, w.room())
	before := o.next
	w.run()
	require.Equal(t, before, o.next, "no further ids were asked for")
	w.limit = 1 << 30
	w.run()
	require.Len(t, w.have, len(all))
}

func TestSecondPeerIsAskedWhenTheFirstIsSlow(t *testing.T) {
	all, size := numbered(0, 1)
	w := newWorld(t, 1, Limits{}, 1<<30)
	a, b := w.add(all, size), w.add(all, size)
	for _, o := range []*owner{a, b} {
		w.ask(o)
		require.True(t, w.answer(o))
	}
	require.True(t, w.ask(a), "the first one is asked for it")
	require.True(t, w.ask(b))
	require.Len(t, b.pending, 1)
	require.Equal(t, askIDs, b.pending[0].kind, "the second one is not")
	require.True(t, w.answer(b))
	_, later := w.in.next(b.peer, 0, 1<<30, w.now)
	require.Equal(t, askAgain, later, "for news, until it is time")
	w.now += w.in.limits.Hedge
	require.True(t, w.ask(b))
	require.Equal(t, 2, w.in.items[all[0]].copies)
	require.True(t, w.answer(b))
	for w.answer(a) {
	}
	require.Equal(t, 1.0, a.peer.scoreAt(w.now), "late")
	require.Zero(t, b.peer.scoreAt(w.now))
}

// TestNewsDoesNotWaitForAnotherPeersAnswer: an item that a slow peer was asked for stands unacknowledged in a fast peer's queue, where
// it forbids a request that waits for news. What the fast peer announces meanwhile is heard of all the same.
func TestNewsDoesNotWaitForAnotherPeersAnswer(t *testing.T) {
	all, size := numbered(0, 2)
	w := newWorld(t, 1, Limits{}, 1<<30)
	slow, fast := w.add(all[:1], size), w.add(all[:1], size)
	for _, o := range []*owner{slow, fast} {
		w.ask(o)
		require.True(t, w.answer(o))
	}
	w.ask(slow)
	w.ask(fast)
	require.True(t, w.answer(fast), "no news")
	require.False(t, w.ask(fast))
	fast.own = all
	r, later := w.in.next(fast.peer, 0, 1<<30, w.now)
	require.Equal(t, nothing, r.kind)
	require.Equal(t, askAgain, later)
	w.now += later
	require.True(t, w.ask(fast))
	require.True(t, w.answer(fast))
	w.ask(fast)
	require.True(t, w.answer(fast))
	require.Contains(t, w.have, all[1])
	require.NotContains(t, w.have, all[0])
	require.Less(t, w.now, w.in.limits.Hedge)
}

func TestUselessPeerIsAskedLast(t *testing.T) {
	all, size := numbered(0, 2)
	w := newWorld(t, 1, Limits{Useless: 5}, 1<<30)
	bad, good := w.add(all, size), w.add(all[:1], size)
	bad.peer.score = 6
	for _, o := range []*owner{bad, good} {
		w.ask(o)
		require.True(t, w.answer(o))
	}
	require.True(t, w.ask(bad))
	require.Equal(t, all[1:], bad.pending[0].ids, "only what nobody else offers")
	w.now = 20 * time.Second // forgiven
	require.True(t, w.ask(bad))
	require.Equal(t, all[:1], bad.pending[len(bad.pending)-1].ids)
}

// TestAnnouncedTwiceIsAskedOnce: two places in the queue, one request, two acknowledgements.
func TestAnnouncedTwiceIsAskedOnce(t *testing.T) {
	w := newWorld(t, 1, Limits{}, 1<<30)
	o := w.add([]string{"a", "a", "b"}, map[string]int{"a": 100, "b": 100})
	w.run()
	require.Equal(t, map[string]int{"a": 1, "b": 1}, w.sent)
	require.Len(t, o.box.fifo, 2, "a blocking request that acknowledges the rest is unanswered")
	require.Equal(t, request{kind: askIDs, blocking: true, ack: 2, req: 10}, o.pending[0])
}

func TestUnaskedAndMisstatedTransactions(t *testing.T) {
	all, size := numbered(0, 3)
	w := newWorld(t, 1, Limits{}, 1<<30)
	o := w.add(all, size)
	w.ask(o)
	w.answer(o)
	w.ask(o)
	asked := o.pending[0].ids
	require.Equal(t, all, asked)
	_, err := w.in.expected(o.peer, "other", 300, asked)
	require.ErrorIs(t, err, ErrNotRequested)
	for d, want := range map[int]error{0: nil, SizeTolerance: nil, -SizeTolerance: nil, SizeTolerance + 1: ErrSize, -SizeTolerance - 1: ErrSize} {
		_, err := w.in.expected(o.peer, all[0], size[all[0]]+d, asked)
		require.ErrorIs(t, err, want, d)
	}
	e, err := w.in.expected(o.peer, all[0], size[all[0]], asked)
	require.NoError(t, err)
	w.in.received(o.peer, e, accepted, 0)
	_, err = w.in.expected(o.peer, all[0], size[all[0]], asked)
	require.ErrorIs(t, err, ErrNotRequested, "the same one twice")
}

// TestSpoiltCopyDoesNotKeepTheGoodOneAway: an id does not cover the whole transaction, so whoever sends a refused copy first must
// not be believed for all.
func TestSpoiltCopyDoesNotKeepTheGoodOneAway(t *testing.T) {
	all, size := numbered(0, 3)
	w := newWorld(t, 1, Limits{}, 1<<30)
	bad := w.add(all, size)
	bad.spoilt = true
	w.ask(bad)
	for w.answer(bad) {
		w.ask(bad)
	}
	require.Empty(t, w.have)
	require.Equal(t, 3.0, bad.peer.scoreAt(w.now))
	w.add(all, size)
	w.run()
	require.Len(t, w.have, 3)
}

// TestWhatIsLargerThanAnyIsPassedOver: an announced size that no transaction has does not stop the peer's queue, whatever room
// there is.
func TestWhatIsLargerThanAnyIsPassedOver(t *testing.T) {
	w := newWorld(t, 1, Limits{}, 1<<20)
	o := w.add([]string{"huge", "a"}, map[string]int{"huge": 4 << 30, "a": 100})
	w.run()
	require.Equal(t, map[string]int{"a": 1}, w.sent)
	require.Len(t, o.box.fifo, 1, "the huge one is acknowledged")
	require.Equal(t, request{kind: askIDs, blocking: true, ack: 1, req: 10}, o.pending[0])
}

// TestLeftOutTwiceAnnounced: what a peer has left out it is not asked for again under its second announcement.
func TestLeftOutTwiceAnnounced(t *testing.T) {
	w := newWorld(t, 1, Limits{}, 1<<20)
	o := w.add([]string{"b", "a", "a"}, map[string]int{"a": 100, "b": 100})
	o.lossy = true
	w.run()
	require.Equal(t, map[string]int{"b": 1}, w.sent)
	require.Equal(t, request{kind: askIDs, blocking: true, ack: 1, req: 10}, o.pending[0])
	require.Positive(t, o.peer.scoreAt(w.now))
}

// TestIDsOfARoundTrip: while a peer has more to announce, every round trip brings as many ids as the protocol allows, the window but for
// the one that must stay unacknowledged, and their transactions with the next.
func TestIDsOfARoundTrip(t *testing.T) {
	const rounds = 10
	all, size := numbered(0, 9*rounds+1)
	for id := range size {
		size[id] = 300
	}
	w := newWorld(t, 1, Limits{}, 1<<30)
	o := w.add(all, size)
	for range rounds { // all that was said reaches the other end, then all answers come back
		w.ask(o)
		for range len(o.pending) {
			require.True(t, w.answer(o))
		}
	}
	require.Equal(t, 9*rounds+1, o.next)
	require.Len(t, w.have, 9*(rounds-1)+1)
	w.run()
	require.Len(t, w.have, len(all))
}

// TestWindowOfVotes: the arithmetic holds with another window and without sizes.
func TestWindowOfVotes(t *testing.T) {
	d := &Dialect{Window: 50, MaxItem: 1000, Batch: 50_000}
	in := newInbound(d, Limits{IDs: 100, PeerBytes: 50_000})
	p := in.join()
	r, _ := in.next(p, 0, 1<<20, 0)
	require.Equal(t, request{kind: askIDs, blocking: true, req: 50}, r)
	var ids []Announced
	for i := range 50 {
		ids = append(ids, Announced{[]byte{byte(i)}, d.MaxItem})
	}
	in.announced(p, ids, 0)
	asked := 0
	for n := 0; ; n++ {
		r, _ := in.next(p, n, 1<<20, 0)
		if r.kind != askItems {
			require.Equal(t, request{kind: askIDs, ack: 49, req: 49}, r)
			break
		}
		asked += len(r.ids)
		for _, id := range r.ids {
			_, err := in.expected(p, id, 1, r.ids)
			require.NoError(t, err, "any size")
		}
	}
	require.Equal(t, 50, asked)
	require.LessOrEqual(t, p.bytes, in.limits.PeerBytes)
}
