package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The rules for crossing messages of artifact §6.2, each a test.

func publishIn(t *testing.T, w *world, body []byte, class Class) *Artifact {
	a, err := NewArtifact(w.core.cfg.Kinds[0], body, nil, class)
	require.NoError(t, err)
	require.NoError(t, w.core.Publish(w.now, a))
	w.settle()
	return a
}

// entries decodes everything the core has sent on offer.
func (x *puppet) entries() (out []entry) {
	for _, b := range x.take(OfferIn) {
		m, err := decodeFromProvider(b, 2048, nil)
		require.NoError(x.t, err)
		out = append(out, m.offers...)
	}
	return out
}

func TestOfferOfAPendingIDBecomesKnown(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	a := publishIn(t, w, append(make([]byte, 2000), 1), Normal) // pending: no requestNext is open
	e := offerOf(0, 1, a.Bytes)
	x.offers(e)
	require.Equal(t, Have, x.verdicts()[0])
	x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	w.wait(time.Second)
	var known []entry
	for _, e := range x.entries() {
		require.NotEqualValues(t, entryOffer, e.tag, "not an offer")
		if e.tag == entryKnown {
			known = append(known, e)
		}
	}
	require.Len(t, known, 1, "not nothing")
}

// Two cut-through relays must not answer known to each other.
func TestPartialOfferIsNoKnown(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	a := publishIn(t, w, append(make([]byte, 2000), 1), Normal)
	e := offerOf(0, 1, a.Bytes)
	e.hint |= partialHint
	x.offers(e)
	x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	w.wait(time.Second)
	offered := false
	for _, e := range x.entries() {
		offered = offered || e.tag == entryOffer && e.id == a.ID
	}
	require.True(t, offered)
}

func TestHaveStopsTheBodyNeverTheOffer(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.send(OfferIn, msgRequestNext{64, 1 << 16}.append(nil))
	x.send(OfferIn, msgRequestNext{64, 1 << 16}.append(nil))
	x.entries()
	x.p.prov.view.urgentPush = eagerMax
	body := append(make([]byte, 100), 1)
	x.send(ControlIn, (&control{tag: tagHave, have: []ID{BodyID(1, body)}}).append(nil))
	publishIn(t, w, body, Urgent)
	es := x.entries()
	require.Len(t, es, 1)
	require.EqualValues(t, entryOffer, es[0].tag)
}

func TestCancel(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	a := publishIn(t, w, make([]byte, 300000), Bulk)
	x.send(ControlIn, (&control{tag: tagCancel, cancel: []uint64{77}}).append(nil))
	require.False(t, x.closed, "unknown: ignored")
	require.Len(t, x.take(ControlIn), 1)
	m := &msgFetch{id: 0, artifact: a.ID, chunks: []span{{0, 10}}, maxBytes: 1 << 20, class: Bulk, deadline: 1000}
	d := decoder{window: 64}
	msg, err := d.decode(BulkIn, m.append(nil), nil, nil)
	require.NoError(t, err)
	require.NoError(t, w.core.receive(w.now, x.p, &msg))
	o, ok := w.core.next(w.now, x.p, BulkIn, nil)
	require.True(t, ok)
	require.NotNil(t, o.Bytes)
	x.send(ControlIn, (&control{tag: tagCancel, cancel: []uint64{0}}).append(nil))
	rest := x.take(BulkIn)
	require.Len(t, rest, 1)
	p, err := decodePiece(rest[0])
	require.NoError(t, err)
	require.EqualValues(t, tagFetchDone, p.tag, "after the current chunk")
	require.EqualValues(t, statusCancelled, p.status)
}

func TestServingAnswers(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	body := make([]byte, 300000)
	a := publishIn(t, w, body, Bulk)
	small := publishIn(t, w, []byte("abc"), Bulk)
	id := uint64(0)
	ask := func(m msgFetch) (pieces int, status uint64) {
		m.id, m.class = id, Bulk
		id++
		if m.deadline == 0 {
			m.deadline = 1000
		}
		x.send(BulkIn, m.append(nil))
		for _, b := range x.take(BulkIn) {
			p, err := decodePiece(b)
			require.NoError(t, err)
			require.Equal(t, m.id, p.request)
			if p.tag == tagFetchDone {
				return pieces, p.status
			}
			pieces++
		}
		t.Fatal("no fetchDone")
		return
	}
	n, st := ask(msgFetch{artifact: a.ID, parts: []span{{0, 1}}, chunks: []span{{0, 2}, {73, 1}}, maxBytes: 1 << 20})
	require.Equal(t, 4, n)
	require.EqualValues(t, statusOK, st)
	n, st = ask(msgFetch{artifact: a.ID, chunks: []span{{74, 1}}, maxBytes: 1 << 20})
	require.Zero(t, n)
	require.EqualValues(t, statusNotFound, st, "an index it does not have")
	_, st = ask(msgFetch{artifact: a.ID, parts: []span{{1, 1}}, maxBytes: 1 << 20})
	require.EqualValues(t, statusNotFound, st)
	_, st = ask(msgFetch{artifact: small.ID, parts: []span{{0, 1}}, maxBytes: 1 << 20})
	require.EqualValues(t, statusNotFound, st, "a part of something without a manifest")
	n, st = ask(msgFetch{artifact: a.ID, chunks: []span{{0, 3}}, maxBytes: 2*4096 + 1})
	require.Equal(t, 2, n, "what would go beyond is not sent")
	require.EqualValues(t, statusTooLarge, st)
	_, st = ask(msgFetch{artifact: fill32(9), chunks: []span{{0, 1}}, maxBytes: 100})
	require.EqualValues(t, statusNotFound, st)
	// not started within its deadline
	d := decoder{window: 64}
	m := &msgFetch{id: id, artifact: a.ID, chunks: []span{{0, 1}}, maxBytes: 1 << 20, class: Bulk, deadline: 5}
	msg, err := d.decode(BulkIn, m.append(nil), nil, nil)
	require.NoError(t, err)
	require.NoError(t, w.core.receive(w.now, x.p, &msg))
	o, ok := w.core.next(w.now+6*time.Millisecond, x.p, BulkIn, nil)
	require.True(t, ok)
	p, err := decodePiece(o.Head)
	require.NoError(t, err)
	require.EqualValues(t, statusLate, p.status)
}

func TestEagerOffWinsOverACrossingOn(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	on := func(v bool) {
		x.send(ControlIn, (&control{tag: tagEager, eager: []kindWish{{1, v}}}).append(nil))
	}
	on(true)
	require.True(t, x.p.link.on[0])
	on(false)
	require.False(t, x.p.link.on[0])
	on(true)
	// a duplicate push makes us say off; the peer's on crosses it
	body := []byte("x")
	e := offerOf(0, 1, body)
	e.tag, e.body = entryPush, body
	x.offers(e)
	w.accept()
	for slot := uint32(1); x.p.link.on[0] && slot < 5; slot++ {
		e.slot, e.commit = slot, uint64(slot+1)
		x.offers(e)
	}
	require.False(t, x.p.link.on[0])
	on(true)
	require.False(t, x.p.link.on[0], "crossing: off wins")
	said := false
	for _, m := range x.controls() {
		said = said || m.tag == tagEager && !m.eager[0].eager
	}
	require.True(t, said)
	on(true)
	require.True(t, x.p.link.on[0], "after the ack it counts")
}

// A withdraw takes the advertiser away; a body that is assembled stays until its verdict, and the offer of another still gets one.
func TestWithdrawWhileTheBodyIsJudged(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	x.serve(BulkOut, x.fetches(BulkOut)[0], []byte("x"))
	x.offers(entry{tag: entryWithdraw, slot: 0, commit: 1})
	require.Positive(t, w.core.con.quota.total, "still charged")
	y.offers(e)
	w.accept()
	require.NotNil(t, w.core.Get(e.id))
	require.Empty(t, x.verdicts())
	require.Equal(t, Delivered, y.verdicts()[0])
	require.Zero(t, w.core.con.quota.total)
}

// A validator that gives no answer is asked no more after 2 s; the offer is disposed later, the body kept.
func TestSilentValidator(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	x.serve(BulkOut, x.fetches(BulkOut)[0], []byte("x"))
	w.judge(func(Unjudged) {})
	w.wait(4 * time.Second)
	require.Equal(t, Later, x.verdicts()[0])
	require.Positive(t, w.core.con.quota.total)
	w.core.Refresh(w.now, 1, nil, nil, nil)
	w.settle()
	w.accept()
	require.Equal(t, Delivered, x.verdicts()[0], "for the same slot and commit")
}

// The hint's class is only a hint: our own bouncer decides.
func TestClaimedClassDecidesNothing(t *testing.T) {
	w := smallWorld(t)
	w.bouncer = func(uint32, ID, []byte) Interest { return Wants(Idle) }
	x := w.peer(true, true)
	x.offers(urgentOf(offerOf(0, 1, append(make([]byte, 2000), 1))))
	require.Empty(t, x.fetches(UrgentOut))
	m := x.fetches(BulkOut)
	require.Len(t, m, 1)
	require.Equal(t, Idle, m[0].class)
}

// A pushed body that comes while the fetch runs is used, the fetch is cancelled.
func TestPushWhileTheFetchRuns(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	body := append(make([]byte, 3000), 1)
	e := offerOf(0, 1, body)
	x.offers(e)
	require.Len(t, x.fetches(BulkOut), 1)
	e.tag, e.body = entryPush, body
	y.offers(e)
	cancelled := false
	for _, m := range x.controls() {
		cancelled = cancelled || m.tag == tagCancel
	}
	require.True(t, cancelled)
	w.accept()
	require.Equal(t, Delivered, x.verdicts()[0])
	require.Equal(t, Delivered, y.verdicts()[0])
}

// comesAndGoes has the peer deliver a body, which is found valid and purged.
func (x *puppet) comesAndGoes(e entry, body []byte) {
	x.w.wait(time.Millisecond)
	x.offers(e)
	x.serve(BulkOut, x.fetches(BulkOut)[0], body)
	x.w.accept()
	x.w.wait(time.Millisecond)
	require.True(x.t, x.w.core.Remove(x.w.now, e.id))
	x.w.settle()
}

// What the bouncer said of an offer counts as of when it was asked: meanwhile the artifact may have come another way, been judged and
// purged, and must not be fetched again. Asked afterwards, it may want what was purged.
func TestOfferOfWhatWasPurgedMeanwhile(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	body := []byte("x")
	e := offerOf(0, 1, body)
	d := decoder{window: 64}
	w.wait(time.Millisecond)
	m, err := d.decode(OfferOut, appendOffers(nil, 1, e.append(nil)), w.bouncer, nil)
	require.NoError(t, err)
	m.asked = w.now

	y.comesAndGoes(e, body)

	w.wait(time.Millisecond)
	require.NoError(t, w.core.receive(w.now, x.p, &m))
	w.settle()
	require.Empty(t, x.fetches(BulkOut))
	require.Equal(t, map[uint32]Verdict{0: Have}, x.verdicts())

	e.slot, e.commit = 1, 2
	x.offers(e)
	require.Len(t, x.fetches(BulkOut), 1, "wanted again")
}

// The same of offers that wait in the stash.
func TestStashedOfferOfWhatWasPurgedMeanwhile(t *testing.T) {
	w := smallWorld(t)
	x, y := w.peer(true, true), w.peer(true, true)
	body := []byte("x")
	e := offerOf(0, 1, body)
	wants := w.bouncer
	w.bouncer = func(uint32, ID, []byte) Interest { return MaybeLater }
	x.offers(e)
	require.Equal(t, map[uint32]Verdict{0: Later}, x.verdicts())
	w.bouncer = wants
	held := w.core.Held(1)
	require.Len(t, held, 1)

	y.comesAndGoes(e, body)
	w.core.Refresh(w.now, 1, held, []Interest{Wants(Normal)}, nil)
	w.settle()
	require.Empty(t, x.fetches(BulkOut))
	require.Equal(t, map[uint32]Verdict{0: Have}, x.verdicts())
}
