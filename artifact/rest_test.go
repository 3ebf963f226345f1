package artifact

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What is offered while little happens goes at once; what follows within 10 ms waits and shares a message; what is urgent does not wait.
func TestOffersRestWhileMuchHappens(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	for range 3 {
		x.send(OfferIn, msgRequestNext{entries: 64, inline: 1 << 16}.append(nil))
	}
	publish := func(b byte, c Class) {
		a, err := NewArtifact(w.core.cfg.Kinds[0], append(make([]byte, 2000), b), nil, c)
		require.NoError(t, err)
		require.NoError(t, w.core.Publish(w.now, a))
		w.settle()
	}
	entries := func() (n int) {
		for _, m := range x.take(OfferIn) {
			d, err := decodeFromProvider(m, 64, nil)
			require.NoError(t, err)
			n += len(d.offers)
		}
		return n
	}
	w.wait(time.Second) // what a new session has to say has been said
	entries()
	publish(1, Normal)
	require.Equal(t, 1, entries(), "at once")
	publish(2, Normal)
	publish(3, Normal)
	w.wait(offerRest - time.Millisecond)
	require.Zero(t, entries(), "not yet")
	w.wait(2 * time.Millisecond)
	require.Equal(t, 2, entries(), "together")
	x.send(OfferIn, msgRequestNext{entries: 64, inline: 1 << 16}.append(nil))
	publish(4, Normal)
	publish(5, Urgent)
	require.Equal(t, 2, entries(), "urgent, and what waits with it")
}

// What will be pushed does not wait, and takes what rests along.
func TestPushesDoNotRest(t *testing.T) {
	b := newBench(t, 64)
	b.v.eager[0] = true
	b.now = time.Second
	push := func() {
		_, err := b.tab.Publish(b.now, b.art(0, Normal, 100))
		require.NoError(t, err)
	}
	require.Zero(t, b.v.restsUntil(), "nothing has been said yet")
	push()
	require.Len(t, b.next(), 1)
	b.publish(Normal)
	require.Equal(t, b.now+offerRest, b.v.restsUntil())
	push()
	require.Zero(t, b.v.restsUntil())
	require.Len(t, b.next(), 2)
	b.publish(Normal)
	require.Equal(t, b.now+offerRest, b.v.restsUntil(), "the push has been said")
	a := b.publish(Normal)
	require.Len(t, b.next(), 2)
	b.tab.Abort(b.now, a.ID)
	require.Zero(t, b.v.restsUntil(), "withdraw-1 does not wait")
}

// An offer of what somebody else pushes gives way to the pushes even if nothing else happens; one that will be fetched does not.
func TestOffersGiveWayToPushes(t *testing.T) {
	b := newBench(t, 64)
	b.now = time.Second
	offer := func(size int) *Artifact {
		a := b.art(0, Normal, size)
		_, err := b.tab.Publish(b.now, a)
		require.NoError(t, err)
		return a
	}
	offer(100)
	require.Len(t, b.next(), 1, "the first of all")
	b.now += time.Second
	b.v.mendedAt = b.now
	offer(100)
	require.Equal(t, b.now+repairRest, b.v.restsUntil())
	offer(pushThreshold + 1)
	require.LessOrEqual(t, b.v.restsUntil(), b.now)
	require.Len(t, b.next(), 2, "together")
	b.now += time.Second
	b.v.mendedAt = b.now
	offer(100)
	b.now += repairRest / 2
	a := offer(100)
	require.Equal(t, b.now+repairRest/2, b.v.restsUntil(), "since the first")
	b.v.yields = true
	require.Equal(t, b.now+repairRest*3/2, b.v.restsUntil(), "the end that was dialled waits for the other's offer")
	b.v.yields = false

	// All that waited is known: what comes next waits for itself.
	for _, r := range b.tab.regs {
		if r.art != nil && b.v.state(r.art.slot).pending() {
			b.v.known(b.now, r.art.slot)
		}
	}
	require.NotEqual(t, slotFresh, b.v.state(a.slot))
	b.now += time.Second
	b.v.mendedAt = b.now
	offer(100)
	require.Equal(t, b.now+repairRest, b.v.restsUntil())
}

// Offers that only repair the tree rest the longer the longer nothing had to be repaired, longest on a busy link.
func TestRepairsRestWhileNothingIsBroken(t *testing.T) {
	b := newBench(t, 256)
	b.now = time.Second
	offer := func() (*Artifact, time.Duration) {
		a := b.art(0, Normal, 100)
		_, err := b.tab.Publish(b.now, a)
		require.NoError(t, err)
		return a, b.v.restsUntil() - b.now
	}
	offer()
	b.next()
	b.now += time.Second
	_, rest := offer()
	require.Equal(t, calmRest, rest)
	b.next()
	b.now += time.Second
	a, _ := offer()
	b.v.fetched(b.now-5*time.Millisecond, a)
	require.Equal(t, 5*time.Millisecond, b.v.restsUntil()-b.now, "mended a moment ago")
	b.v.fetched(b.now, a)
	require.Equal(t, repairRest, b.v.restsUntil()-b.now)
	b.next()
	b.now += time.Second
	large := b.publish(Normal)
	b.v.fetched(b.now, large)
	b.next()
	b.now += 20 * time.Millisecond
	_, rest = offer()
	require.Equal(t, calmRest, rest, "what would not be pushed mends nothing")
	b.next()

	for range 60 {
		b.now += time.Millisecond
		a, _ := offer()
		for _, e := range b.next() {
			if e.tag == entryOffer {
				require.NoError(t, b.dispose(e.slot, e.commit, Have))
			}
		}
		b.tab.Abort(b.now, a.ID)
	}
	_, rest = offer()
	require.Equal(t, busyCalmRest, rest, "busy")
	b.v.mendedAt = b.now - 30*time.Millisecond
	require.Equal(t, b.v.saidAt+30*time.Millisecond, b.v.restsUntil())
	b.v.mendedAt = b.now
	require.Equal(t, b.v.saidAt+busyOfferRest, b.v.restsUntil())
}

// On a busy link offers rest longer, so that more of them share a message; at a moderate rate they do not.
func TestBusyLinksRestLonger(t *testing.T) {
	b := newBench(t, 64)
	b.now = time.Second
	every := func(gap time.Duration) {
		for range 60 {
			b.now += gap
			a := b.publish(Normal)
			for _, e := range b.next() {
				if e.tag == entryOffer || e.tag == entryPush {
					require.NoError(t, b.dispose(e.slot, e.commit, Have))
				}
			}
			b.tab.Abort(b.now, a.ID)
		}
		b.publish(Normal)
	}
	every(20 * time.Millisecond)
	require.Equal(t, b.v.saidAt+offerRest, b.v.restsUntil())
	every(2 * time.Millisecond)
	require.Equal(t, b.v.saidAt+busyOfferRest, b.v.restsUntil())
	every(20 * time.Millisecond)
	require.Equal(t, b.v.saidAt+offerRest, b.v.restsUntil())
}

// While two requests are open no more are made; then three leave together, each of which woke the stream for the next. At once when answers
// follow each other, or none is open; else they rest.
func TestRequestsLeaveTogether(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	commit := uint64(0)
	answered := func() int {
		commit++
		x.offers(offerOf(uint32(commit), commit, []byte{byte(commit)}))
		return len(x.take(OfferOut))
	}
	w.wait(time.Second)
	require.Len(t, x.p.con.granted, pipeOffer)
	for i := range 9 {
		want := 0
		if i%3 == 2 {
			want = 3
		}
		require.Equal(t, want, answered(), "answer %d", i)
	}
	for range 3 {
		w.wait(time.Second)
		require.Zero(t, answered())
	}
	w.wait(requestRest - time.Millisecond)
	require.Empty(t, x.take(OfferOut))
	w.wait(restGrid)
	require.Len(t, x.take(OfferOut), 3)
	for range 2 {
		require.Zero(t, answered())
	}
	w.wait(time.Second)
	require.Zero(t, answered())
	require.Equal(t, pipeOffer, answered(), "none was open")
	require.Len(t, x.p.con.granted, pipeOffer)
	require.Zero(t, answered())
	w.wait(requestRest + restGrid)
	require.Empty(t, x.take(OfferOut), "what rested has gone, and nothing goes alone")
}

// Control messages that were read one after the other are all acked.
func TestAcksLeaveTogether(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	for range 3 {
		d := decoder{window: 64}
		m, err := d.decode(ControlIn, (&control{tag: tagHave, have: []ID{{1}}}).append(nil), nil, nil)
		require.NoError(t, err)
		require.NoError(t, w.core.receive(w.now, x.p, &m))
	}
	w.settle()
	require.Len(t, x.take(ControlIn), 3)
}

// gatherLink is a Gatherer that notes what left together.
type gatherLink struct {
	mu    sync.Mutex
	held  []int   // sizes of messages
	left  [][]int // by flush
	stuck bool    // nothing is cut
	hook  func()  // once, at the next flush
}

func (g *gatherLink) Recv(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (g *gatherLink) Send(ctx context.Context, rank uint8, msg []byte) error {
	_ = g.Put(ctx, rank, msg, nil)
	return g.WaitCut(ctx)
}

func (g *gatherLink) Put(_ context.Context, _ uint8, head, body []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, len(head)+len(body))
	return nil
}

func (g *gatherLink) Flush() error {
	g.mu.Lock()
	hook := g.hook
	g.hook = nil
	g.mu.Unlock()
	if hook != nil {
		hook()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) > 0 && !g.stuck {
		g.left, g.held = append(g.left, g.held), nil
	}
	return nil
}

func (g *gatherLink) WaitCut(ctx context.Context) error {
	for g.Flush() == nil && g.Uncut() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (g *gatherLink) Uncut() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.held {
		n += k
	}
	return n
}

// The fetchDone behind the last piece leaves with it, and so do small answers that are ready one after the other. While something
// waits to be cut nothing more is composed.
func TestAnswersLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Register(BytesKind(Kind[[]byte]{ID: 1, MaxSize: 1 << 20}), Client[[]byte](counter{&ignored}))
		n, err := NewNode(Config{NodeID: PeerID{1}}, nil, h)
		require.NoError(t, err)
		defer n.Close()
		body := make([]byte, 100_000) // two chunks
		id, err := h.Publish(body, Normal)
		require.NoError(t, err)
		small, err := h.Publish([]byte("small"), Normal)
		require.NoError(t, err)

		g := &gatherLink{}
		var links Links
		for i := range 2 {
			links.Offer[i], links.Control[i], links.Urgent[i], links.Bulk[i] = &gatherLink{}, &gatherLink{}, &gatherLink{}, &gatherLink{}
		}
		links.Bulk[1] = g
		require.NoError(t, n.Attach(PeerInfo{ID: PeerID{2}}, links, nopBearers{}))
		p := n.core.byID[PeerID{2}]
		n.SetRTT(PeerID{2}, 3*time.Millisecond)
		require.Equal(t, 3*time.Millisecond, p.RTT)
		ask := func(ms ...*msgFetch) {
			n.do(func(c *Core, now time.Duration) {
				c.now = now
				p.prov.state = provRun
				for _, m := range ms {
					require.NoError(t, c.srv.fetch(p, &p.prov.lanes[1], m))
				}
			})
			synctest.Wait()
		}
		fetch := func(i uint64, id ID, chunks uint64) *msgFetch {
			return &msgFetch{id: i, artifact: id, chunks: []span{{0, chunks}}, maxBytes: 1 << 20, class: Normal, deadline: 60_000}
		}
		ask(fetch(0, id, 2))
		require.Len(t, g.left, 2)
		require.Len(t, g.left[0], 1, "a chunk")
		require.Len(t, g.left[1], 2, "a chunk and its fetchDone")
		require.Greater(t, g.left[1][0], 100_000-maxFlat)
		g.left = nil
		ask(fetch(1, small, 1), fetch(2, small, 1))
		require.Len(t, g.left, 1, "all at once")
		require.Len(t, g.left[0], 4)

		g.left, g.stuck = nil, true
		g.hook = func() { ask(fetch(5, small, 1)) } // somebody wakes the sender while it flushes
		ask(fetch(3, small, 1))
		require.Len(t, g.held, 2)
		ask(fetch(6, id, 1))
		require.Len(t, g.held, 2, "nothing is composed while something waits")
		g.mu.Lock()
		g.stuck = false
		g.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Len(t, g.left, 2)
	})
}

var ignored atomic.Int64

type nopBearers struct{}

func (nopBearers) Bulk(context.Context, int) (Link, error) { return nil, ErrClosed }
func (nopBearers) RTT() time.Duration                      { return 0 }
func (nopBearers) Close(error)                             {}

// The receive check of one peer holds 5,000 verdicts; the oldest goes first, and what a peer leaves behind is kept apart.
func TestReceiveCheckIsBounded(t *testing.T) {
	r := newReceiveCheck()
	a, b := &account{}, &account{}
	r.open(a)
	r.open(b)
	name := func(i int) (id ID) { id[0], id[1], id[2] = byte(i), byte(i>>8), byte(i>>16); return id }
	r.put(b, name(1<<20), Invalid, time.Hour)
	for i := range receiveChecks + 10 {
		r.put(a, name(i), Delivered, time.Hour)
	}
	require.Equal(t, receiveChecks, a.checks.n)
	require.Len(t, r.byID, receiveChecks+1)
	require.Nil(t, r.get(name(9), 0))
	require.NotNil(t, r.get(name(10), 0))
	require.NotNil(t, r.get(name(1<<20), 0), "another's is not flushed")
	r.put(a, name(10), Invalid, time.Hour) // again: the youngest now
	r.put(a, name(-1), Delivered, time.Hour)
	require.Nil(t, r.get(name(11), 0))
	require.Equal(t, Invalid, r.get(name(10), 0).verdict)
	r.leave(a)
	require.Zero(t, a.checks.n)
	require.Equal(t, receiveChecks, r.former.checks.n)
	require.NotNil(t, r.get(name(10), 0))
	require.Nil(t, r.get(name(10), time.Hour+checkLife), "expired")
}
