package artifact

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// adversary writes messages that are well formed, mostly possible, and chosen by chance.
type adversary struct {
	x      *puppet
	rnd    *rand.Rand
	commit uint64
	id     uint64
	bodies [][]byte
}

func (a *adversary) body() []byte { return a.bodies[a.rnd.IntN(len(a.bodies))] }

func (a *adversary) entry() entry {
	a.commit++
	e := offerOf(uint32(a.rnd.IntN(128)), a.commit, a.body())
	e.hint = uint8(a.rnd.IntN(8))
	if a.rnd.IntN(3) == 0 {
		e.attr = make([]byte, a.rnd.IntN(maxAttr+1))
	}
	switch a.rnd.IntN(8) {
	case 0:
		return entry{tag: entryWithdraw, slot: e.slot, commit: a.commit}
	case 1:
		if e.size <= eagerMax {
			e.tag, e.body, e.hint = entryPush, a.body(), e.hint&3
			e.id, e.chunks = BodyID(1, e.body), chunking{}
			e.size = int64(len(e.body))
		}
	case 2: // a liar's size
		if e.chunks.count == 0 {
			e.size = a.rnd.Int64N(maxFlat + 1)
		}
	case 3:
		return entry{tag: entryKnown, slot: e.slot, commit: a.commit}
	}
	return e
}

// step sends one message.
func (a *adversary) step() {
	x := a.x
	ids := func() (out []ID) {
		for range 1 + a.rnd.IntN(maxHave) {
			out = append(out, fill32(byte(a.rnd.IntN(256))))
		}
		return out
	}
	ctl := func(m *control) { x.send(ControlIn, m.append(nil)) }
	switch a.rnd.IntN(16) {
	case 0, 1, 2, 3:
		es := make([]entry, 1+a.rnd.IntN(20))
		for i := range es {
			es[i] = a.entry()
		}
		if len(x.p.con.granted) > 0 {
			x.offers(es...)
		}
	case 4, 5: // answers to what was asked, true or not
		for s := UrgentOut; s <= BulkOut; s++ {
			for _, m := range x.fetches(s) {
				switch a.rnd.IntN(4) {
				case 0:
					x.send(s, appendFetchDone(nil, m.id, uint64(a.rnd.IntN(6)), 0))
				case 1:
					for _, b := range a.bodies {
						if offerOf(0, 1, b).id == m.artifact && (len(m.parts) == 0 || len(b) > maxFlat) {
							x.serve(s, m, b)
							break
						}
					}
				}
			}
		}
	case 6:
		x.send(ControlOut, (&control{tag: tagCtlAck}).append(nil))
	case 7:
		x.send(OfferIn, msgRequestNext{1 + a.rnd.IntN(64), a.rnd.IntN(1 << 18)}.append(nil))
	case 8:
		var d []disposition
		for range 1 + a.rnd.IntN(20) {
			d = append(d, disposition{uint32(a.rnd.IntN(128)), uint64(a.rnd.IntN(30)), Verdict(a.rnd.IntN(6))})
		}
		ctl(&control{tag: tagDispose, dispose: d})
	case 9:
		ctl(&control{tag: tagHave, have: ids()})
	case 10:
		ctl(&control{tag: tagReoffer, which: 1 + a.rnd.IntN(3), reoffer: []reofferKind{{1, make([]byte, a.rnd.IntN(100))}}})
	case 11:
		ctl(&control{tag: tagCompare, answers: a.rnd.Uint64N(100), digests: []digest{{byte(a.rnd.IntN(3))}, {1}}})
	case 12:
		ctl(&control{tag: tagEager, eager: []kindWish{{1, a.rnd.IntN(2) == 0}}})
	case 13: // fetches of what there is and is not
		for range 1 + a.rnd.IntN(6) {
			m := &msgFetch{id: a.id, artifact: fill32(byte(a.rnd.IntN(9))), chunks: []span{{uint64(a.rnd.IntN(100)), 1}}, maxBytes: 1 << 20, class: Bulk, deadline: 500}
			if b := a.body(); a.rnd.IntN(2) == 0 {
				m.artifact = offerOf(0, 1, b).id
			}
			a.id++
			x.send(BulkIn, m.append(nil))
		}
	case 14:
		if a.rnd.IntN(10) == 0 {
			ctl(&control{tag: tagStop})
		}
	case 15:
		x.w.wait(time.Duration(a.rnd.IntN(3000)) * time.Millisecond)
	}
}

// P7: memory per peer stays within the closed formula, and the node's within its own, after every step, whatever a peer chooses to say.
// The check itself is in puppet.send and world.settle.
func TestMemoryUnderAnAdversaryWhoChoosesEveryMessage(t *testing.T) {
	seeds := uint64(12)
	if soak() {
		seeds = 1000
	}
	for seed := range seeds {
		w := smallWorld(t)
		rnd := rand.New(rand.NewPCG(seed, 9))
		w.bouncer = func(uint32, ID, []byte) Interest {
			return []Interest{Wants(Urgent), Wants(Normal), Wants(Bulk), MaybeLater, NotWanted}[rnd.IntN(5)]
		}
		var bodies [][]byte
		for i := range 40 {
			bodies = append(bodies, randomBody(rnd, []int{0, 1, 100, 1000, 5000, 60000, 70000, 150000}[i%8], Normal))
		}
		for i := range 20 {
			publishIn(t, w, append([]byte{byte(i)}, bodies[i]...), Class(i%4))
		}
		var as [3]*adversary
		bans := 0
		for range 250 {
			i := rnd.IntN(len(as))
			if as[i] == nil || as[i].x.closed {
				if as[i] != nil {
					bans++
				}
				as[i] = &adversary{x: w.peer(true, rnd.IntN(2) == 0), rnd: rnd, bodies: bodies}
			}
			as[i].step()
			switch rnd.IntN(12) {
			case 0:
				w.judge(func(u Unjudged) {
					switch rnd.IntN(4) {
					case 0:
						w.core.Reject(w.now, u.ID, true)
					case 1:
						w.core.Defer(w.now, u.ID)
					case 2:
						w.core.Validate(w.now, u.ID, u.Attr, nil)
					}
				})
			case 1:
				if !as[i].x.closed && rnd.IntN(3) == 0 {
					w.core.RemovePeer(w.now, as[i].x.id)
					w.settle()
					as[i].x.closed = true
				}
			}
		}
		require.Less(t, bans, 240, "most messages are no violation")
	}
}

// P4: every offer gets a disposition, or was withdrawn or replaced before; nothing is held for ever, whatever becomes of the body.
func TestDispositionForEveryOffer(t *testing.T) {
	for seed := range uint64(6) {
		w := smallWorld(t)
		rnd := rand.New(rand.NewPCG(seed, 4))
		w.bouncer = func(uint32, ID, []byte) Interest {
			return []Interest{Wants(Urgent), Wants(Normal), Wants(Idle), MaybeLater, NotWanted}[rnd.IntN(5)]
		}
		x := w.peer(true, true)
		due := map[uint32]uint64{} // slot → commit
		settle := func() {
			for _, m := range x.controls() {
				for _, d := range m.dispose {
					if due[d.slot] == d.commit {
						delete(due, d.slot)
					}
				}
			}
		}
		bodies := map[ID][]byte{}
		var open [streams][]*msgFetch // answered in order, or not at all
		for n := range 120 {
			if len(x.p.con.granted) == 0 || x.p.con.window() > 20 {
				w.wait(100 * time.Millisecond)
			} else {
				b := randomBody(rnd, []int{10, 1200, 9000, 70000}[rnd.IntN(4)], Normal)
				e := offerOf(uint32(rnd.IntN(128)), uint64(n+1), b)
				bodies[e.id] = b
				x.offers(e)
				due[e.slot] = e.commit
				if rnd.IntN(5) == 0 {
					x.offers(entry{tag: entryWithdraw, slot: e.slot, commit: e.commit})
					delete(due, e.slot)
				}
			}
			for s := UrgentOut; s <= BulkOut; s++ {
				open[s] = append(open[s], x.fetches(s)...)
				for len(open[s]) > 0 && rnd.IntN(3) > 0 {
					m := open[s][0]
					open[s] = open[s][1:]
					if rnd.IntN(2) == 0 {
						x.send(s, appendFetchDone(nil, m.id, statusNotFound, 0))
					} else {
						x.serve(s, m, bodies[m.artifact])
					}
				}
			}
			w.judge(func(u Unjudged) {
				switch rnd.IntN(4) {
				case 0:
					w.core.Validate(w.now, u.ID, u.Attr, nil)
				case 1:
					w.core.Defer(w.now, u.ID)
				case 2:
					w.core.Reject(w.now, u.ID, false)
				}
			})
			settle()
			require.False(t, x.closed, "%v", x.cause)
		}
		for range 100 { // in the end it serves what it offers
			w.wait(time.Second)
			for s := UrgentOut; s <= BulkOut; s++ {
				for _, m := range append(open[s], x.fetches(s)...) {
					x.serve(s, m, bodies[m.artifact])
				}
				open[s] = nil
			}
			w.accept()
			settle()
		}
		require.Empty(t, due, "seed %d", seed)
		require.Zero(t, x.p.con.window())
	}
}

// 10,000 duplicates: what we hold is settled at once, costs nothing, and flushes nothing out of any memory.
func TestTenThousandDuplicates(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	e := offerOf(0, 1, []byte("x"))
	x.offers(e)
	x.serve(BulkOut, x.fetches(BulkOut)[0], []byte("x"))
	w.accept()
	before := w.core.NodeUsage()
	for i := range 10000 {
		e.slot, e.commit = uint32(i%128), uint64(i+2)
		x.offers(e)
		if i%30 == 29 {
			for _, v := range x.verdicts() {
				require.Contains(t, []Verdict{Have, Delivered}, v)
			}
		}
	}
	require.Empty(t, x.fetches(BulkOut))
	require.False(t, x.closed)
	require.InDelta(t, before, w.core.NodeUsage(), 64<<10)
}

// Ghosts: what a provider showed before it was started anew is dropped at its initOk; a resume that was not claimed is a violation.
func TestGhostEpoch(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	x.offers(offerOf(0, 1, append(make([]byte, 2000), 1)), offerOf(1, 2, append(make([]byte, 2000), 2)))
	require.Len(t, w.core.con.downs, 2)
	w.core.RemovePeer(w.now, x.id)
	w.settle()
	x.out = [streams][][]byte{}
	x.epoch[7]++
	x.attach(true)
	x.session()
	require.Empty(t, w.core.con.downs, "the old epoch's slots say nothing any more")
	require.Empty(t, x.p.con.held)
	x.offers(offerOf(0, 1, append(make([]byte, 2000), 3)))
	require.False(t, x.closed, "commits begin anew")

	y := w.peer(false, true)
	y.take(OfferOut)
	y.send(OfferOut, (&msgInitOk{epoch: y.epoch, slots: 128, resumed: true}).append(nil))
	y.banned("resumed what nobody claimed")
}

// A consumer that claims commits of our future has seen another process of this id, or this one rolled back: nobody is blamed, all is
// shown, and the epoch is new.
func TestResumeFromTheFuture(t *testing.T) {
	w := smallWorld(t)
	publishIn(t, w, append(make([]byte, 2000), 1), Normal)
	x := w.peer(false, true)
	epoch := w.core.table.epoch
	x.send(OfferIn, (&msgInit{version: 1, window: 64, kinds: []kindWish{{1, false}}, resume: &resumeClaim{epoch: epoch, highest: 1000, digests: make([]digest, 2)}}).append(nil))
	ok, err := decodeFromProvider(x.take(OfferIn)[0], 64, nil)
	require.NoError(t, err)
	require.False(t, ok.ok.resumed)
	require.NotEqual(t, epoch, w.core.table.epoch)
	require.False(t, x.closed)
	x.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	shown := 0
	for _, e := range x.entries() {
		if e.tag == entryOffer {
			shown++
		}
	}
	require.Equal(t, 1, shown)
}

// Slow drip: a lane that owes something and says nothing for a minute ends its bearer; nobody is banned for a line.
func TestRowSlowDrip(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	body := randomBody(rand.New(rand.NewPCG(1, 1)), 20*4096, Normal)
	x.offers(offerOf(0, 1, body))
	m := x.fetches(BulkOut)
	require.NotEmpty(t, m)
	i := m[0].chunks[0].first
	for range 3 { // a chunk every 20 s: never silent for a minute, but slower than 4 KiB/s
		w.wait(20 * time.Second)
		if !x.closed {
			x.send(BulkOut, append(appendPieceHead(nil, tagChunk, m[0].id, i, 4096), body[i*4096:(i+1)*4096]...))
			i++
		}
	}
	w.wait(5 * time.Second)
	require.True(t, x.closed)
	require.ErrorIs(t, x.cause, errDripping)
	require.Zero(t, x.ban)
}

// Under cut-through a relay has not judged what it passes on, so it is not blamed for it.
func TestRowCutThroughIsNotBlamed(t *testing.T) {
	w := newWorld(t, Config{Slots: 128, Window: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096, Relay: AfterHeader}}})
	x := w.peer(true, true)
	for i := range 3 {
		b := []byte{byte(i)}
		x.offers(offerOf(uint32(i), uint64(i+1), b))
		for _, m := range x.fetches(BulkOut) {
			x.serve(BulkOut, m, b)
		}
		w.judge(func(u Unjudged) { w.core.Reject(w.now, u.ID, true) })
		require.Equal(t, Invalid, x.verdicts()[uint32(i)])
	}
	require.Zero(t, x.score)
	require.False(t, x.closed)
}

// Named after download_manager_compute_work_basic and add_adverts of artifact §7.1: as many requests as the limit allows, the oldest
// offers first, and a thousand offers are taken in as the window lets them.
func TestRequestsAreFirstInFirstOut(t *testing.T) {
	w := newWorld(t, Config{Slots: 1024, Window: 2048, PeerSlots: 1024, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096}}})
	x := w.peer(false, true)
	x.slots = 1024
	x.session()
	x.p.net.window = 2 << 20
	var want []ID
	for i := range 1000 {
		e := offerOf(uint32(i), uint64(i+1), append(make([]byte, 2000), byte(i), byte(i>>8)))
		want = append(want, e.id)
		x.offers(e)
	}
	require.Len(t, w.core.con.downs, 1000)
	var got []ID
	for len(got) < 1000 {
		ms := x.fetches(BulkOut)
		require.NotEmpty(t, ms)
		require.LessOrEqual(t, len(ms), pipeFetch)
		for _, m := range ms {
			got = append(got, m.artifact)
			i := slices.Index(want, m.artifact)
			x.serve(BulkOut, m, append(make([]byte, 2000), byte(i), byte(i>>8)))
		}
		w.accept()
		x.controls()
	}
	require.Equal(t, want, got)
}

// Named after update_priority_queues of artifact §7.1: ten of one class become four, three and three.
func TestRefreshMovesBetweenClasses(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	for i := range 10 {
		x.offers(offerOf(uint32(i), uint64(i+1), append(make([]byte, 3000), byte(i))))
	}
	held := w.core.Held(1)
	require.Len(t, held, 10)
	var in []Interest
	for i := range held {
		in = append(in, []Interest{Wants(Normal), Wants(Bulk), Wants(Idle)}[i%3])
	}
	w.core.Refresh(w.now, 1, held, in, nil)
	w.settle()
	require.Equal(t, [classes]int{Normal: 4, Bulk: 3, Idle: 3}, x.p.con.byClass)
	for i := range in {
		in[i] = NotWanted
	}
	w.core.Refresh(w.now, 1, w.core.Held(1), in, nil) // drop_all
	w.settle()
	require.Empty(t, w.core.con.downs)
	require.Len(t, x.verdicts(), 10)
}
