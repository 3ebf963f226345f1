package artifact

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// bench is a Table with one view, looked at message by message.
type bench struct {
	t   testing.TB
	tab *Table
	v   *View
	now time.Duration
	n   int
}

func newBench(t testing.TB, slots int, kinds ...KindConfig) *bench {
	if len(kinds) == 0 {
		kinds = []KindConfig{{ID: 1, MaxSize: 1 << 20}}
	}
	cfg := Config{Slots: slots, Kinds: kinds}
	cfg = cfg.withDefaults()
	b := &bench{t: t, tab: newTable(&cfg, newKindTable(cfg.Kinds), [8]byte{1})}
	b.v = b.view(64, nil)
	b.next()
	return b
}

func (b *bench) view(window int, resume *resumeClaim) *View {
	n := len(b.tab.kinds.cfg)
	c := viewConfig{kinds: make([]bool, n), eager: make([]bool, n), window: window, reserve: 8, resume: resume}
	for i := range c.kinds {
		c.kinds[i] = true
	}
	v, _ := b.tab.newView(b.now, c)
	return v
}

// art makes a new artifact of a kind's index and class.
func (b *bench) art(kind int, class Class, size int) *Artifact {
	b.n++
	body := make([]byte, max(size, 4))
	copy(body, fmt.Sprintf("%04d", b.n))
	a, err := NewArtifact(b.tab.kinds.cfg[kind], body, nil, class)
	require.NoError(b.t, err)
	a.kind, a.slot = kind, -1
	return a
}

func (b *bench) publish(class Class) *Artifact {
	a := b.art(0, class, 2000)
	_, err := b.tab.Publish(b.now, a)
	require.NoError(b.t, err)
	return a
}

// next takes one answer with plenty of credit.
func (b *bench) next() []entry { return b.answer(b.v, 64, 1<<20) }

func (b *bench) answer(v *View, entries, inline int) []entry {
	a := v.next(b.now, entries, inline, true, nil)
	m, err := decodeFromProvider(appendOffers(nil, a.n, a.entries), 2048, nil)
	require.NoError(b.t, err)
	require.NoError(b.t, v.recount())
	return m.offers
}

func (b *bench) dispose(slot uint32, commit uint64, v Verdict) error {
	err := b.v.dispose(disposition{slot, commit, v})
	require.NoError(b.t, b.v.recount())
	return err
}

// P14: every cell of the table of artifact §6.2, Registers and views.
func TestEveryCellOfTheViewTable(t *testing.T) {
	// reach brings slot 0 into a state and returns its commit.
	reach := map[string]func(b *bench) *Artifact{
		"pending": func(b *bench) *Artifact { return b.publish(Normal) },
		"out":     func(b *bench) *Artifact { a := b.publish(Normal); b.next(); return a },
		"later": func(b *bench) *Artifact {
			a := b.publish(Normal)
			b.next()
			require.NoError(b.t, b.dispose(0, b.tab.commit, Later))
			return a
		},
		"noRoom": func(b *bench) *Artifact {
			a := b.publish(Normal)
			b.next()
			require.NoError(b.t, b.dispose(0, b.tab.commit, NoRoom))
			return a
		},
		"done": func(b *bench) *Artifact {
			a := b.publish(Normal)
			b.next()
			require.NoError(b.t, b.dispose(0, b.tab.commit, Delivered))
			return a
		},
	}
	want := map[string]slotState{"pending": slotFresh, "out": slotOut, "later": slotLater, "noRoom": slotNoRoom, "done": slotDone}
	in := func(name string, f func(t *testing.T, b *bench, a *Artifact)) {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 64)
			a := reach[name](b)
			require.Equal(t, want[name], b.v.state(0))
			f(t, b, a)
		})
	}
	require.Error(t, newBench(t, 64).dispose(0, 1, Have), "none: violation above the register")
	require.NoError(t, newBench(t, 64).dispose(0, 0, Have), "none: ignored at the register")

	in("pending", func(t *testing.T, b *bench, a *Artifact) {
		require.Error(t, b.dispose(0, b.tab.commit, Have), "never shown")
		b.v.repend(b.v.parked(3, 0))
		require.Equal(t, slotFresh, b.v.state(0), "reoffer does nothing")
		b.tab.Abort(b.now, a.ID)
		require.Equal(t, slotNone, b.v.state(0))
		require.Empty(t, b.next(), "nothing was shown, nothing is withdrawn")
		b.publish(Normal)
		require.Equal(t, slotFresh, b.v.state(0))
	})
	in("out", func(t *testing.T, b *bench, a *Artifact) {
		c := b.tab.commit
		b.v.repend(b.v.parked(3, 0))
		require.Equal(t, slotOut, b.v.state(0), "reoffer does nothing")
		require.NoError(t, b.dispose(0, c-1, Have), "stale")
		require.Equal(t, slotOut, b.v.state(0))
		require.Error(t, b.dispose(0, c+1, Have))
		b.tab.Abort(b.now, a.ID)
		require.Equal(t, slotNone, b.v.state(0))
		require.Equal(t, 1, b.v.nwait, "the place is not free before the withdraw goes out")
		es := b.next()
		require.Equal(t, entry{tag: entryWithdraw, slot: 0, commit: c}, es[0], "names what was withdrawn")
		require.Zero(t, b.v.nwait)
		require.NoError(t, b.dispose(0, c, Delivered), "crossing: stale")
	})
	in("out", func(t *testing.T, b *bench, a *Artifact) {
		b.tab.Abort(b.now, a.ID)
		b.publish(Normal)
		require.Equal(t, slotFresh, b.v.state(0))
		es := b.next()
		require.Len(t, es, 1, "both in the same answer: only the new offer")
		require.EqualValues(t, entryOffer, es[0].tag)
		require.Equal(t, 1, b.v.nwait)
	})
	for _, parked := range []string{"later", "noRoom"} {
		in(parked, func(t *testing.T, b *bench, a *Artifact) {
			require.NoError(t, b.dispose(0, b.tab.commit, Delivered))
			require.Equal(t, slotDone, b.v.state(0), "a terminal verdict frees it")
		})
		in(parked, func(t *testing.T, b *bench, a *Artifact) {
			other := reofferLater
			if parked == "later" {
				other = reofferNoRoom
			}
			b.v.repend(b.v.parked(other, 0))
			require.Equal(t, want[parked], b.v.state(0), "not named")
			b.v.repend(b.v.parked(3-other, 0))
			require.Equal(t, slotAgain, b.v.state(0))
			require.NoError(t, b.dispose(0, b.tab.commit, Delivered), "pending, but shown")
			require.Equal(t, slotDone, b.v.state(0))
			require.Empty(t, b.next())
		})
		in(parked, func(t *testing.T, b *bench, a *Artifact) {
			b.tab.Abort(b.now, a.ID)
			require.Equal(t, 1, b.v.ngone, "withdraw-1")
			b.publish(Normal)
			require.Equal(t, slotFresh, b.v.state(0))
		})
	}
	in("done", func(t *testing.T, b *bench, a *Artifact) {
		require.NoError(t, b.dispose(0, b.tab.commit, Later), "ignored")
		require.Equal(t, slotDone, b.v.state(0))
		b.v.repend(b.v.parked(3, 0))
		require.Equal(t, slotDone, b.v.state(0))
		b.tab.Abort(b.now, a.ID)
		require.Equal(t, slotNone, b.v.state(0))
		require.Equal(t, 1, b.v.ntail, "withdraw-2")
		require.Empty(t, func() []entry { a := b.v.next(b.now, 64, 0, false, nil); return make([]entry, a.n) }(), "last rank: not alone")
		require.Equal(t, []entry{{tag: entryWithdraw}}, b.next())
	})
	in("done", func(t *testing.T, b *bench, a *Artifact) {
		b.tab.Abort(b.now, a.ID)
		b.publish(Normal)
		es := b.next()
		require.Len(t, es, 1, "the offer went first, no withdraw-2")
		require.EqualValues(t, entryOffer, es[0].tag)
		require.Empty(t, b.next())
	})
}

// withdraw-1 must not wait for the new content of the slot.
func TestWithdrawDoesNotWaitForTheNewContent(t *testing.T) {
	b := newBench(t, 64)
	a := b.publish(Normal)
	b.next()
	c := b.tab.commit
	b.tab.Abort(b.now, a.ID)
	b.publish(Idle)
	for i := range b.v.limitOf(Idle) { // the window of the new content's class is full
		b.v.out[uint32(40+i)] = outRec{class: Idle}
		b.v.nout[Idle]++
		b.v.nwait++
	}
	got := b.v.next(b.now, 64, 0, false, nil)
	m, err := decodeFromProvider(appendOffers(nil, got.n, got.entries), 64, nil)
	require.NoError(t, err)
	require.Equal(t, []entry{{tag: entryWithdraw, slot: 0, commit: c}}, m.offers)
	require.True(t, got.now, "first rank")
}

func TestKnownInsteadOfAnOffer(t *testing.T) {
	b := newBench(t, 64)
	b.publish(Normal)
	b.v.known(b.now, 0)
	require.Equal(t, slotKnown, b.v.state(0))
	es := b.next()
	require.Equal(t, []entry{{tag: entryKnown, slot: 0, commit: b.tab.commit}}, es)
	require.Equal(t, slotDone, b.v.state(0))
	require.Zero(t, b.v.nwait, "uses no window")
	b.publish(Normal)
	b.next()
	b.v.known(b.now, 1)
	require.Equal(t, slotOut, b.v.state(1), "two offers that crossed stay offers")
}

// Named after the sender tests of artifact §7.1.
func TestSendSameAdvertTwice(t *testing.T) {
	b := newBench(t, 64)
	a := b.publish(Normal)
	c := b.tab.commit
	_, err := b.tab.Publish(b.now, a)
	require.NoError(t, err)
	require.Equal(t, c, b.tab.commit)
	require.Equal(t, 1, b.tab.Len())
}

func TestIncreasingCommitID(t *testing.T) {
	b := newBench(t, 64)
	a := b.publish(Normal)
	require.EqualValues(t, 1, b.tab.commit)
	b.publish(Normal)
	b.tab.Abort(b.now, a.ID)
	require.EqualValues(t, 3, b.tab.commit, "+1 at every insert and every clear")
	b.publish(Normal)
	require.EqualValues(t, 4, b.tab.commit)
	require.EqualValues(t, 4, b.tab.regs[0].commit, "last freed is reused first")
}

func TestSlotTableLimitIsToldToTheCaller(t *testing.T) {
	b := newBench(t, 64)
	for range 56 {
		b.publish(Normal)
	}
	var full *TableFullError
	_, err := b.tab.Publish(b.now, b.art(0, Normal, 10))
	require.ErrorAs(t, err, &full)
	require.ErrorIs(t, err, ErrTableFull)
	require.Equal(t, 56, full.Used)
	for range 8 {
		b.publish(Urgent) // an eighth is kept for them
	}
	_, err = b.tab.Publish(b.now, b.art(0, Urgent, 10))
	require.ErrorIs(t, err, ErrTableFull)
}

func TestFullTableReusesWhatIsSettledEverywhere(t *testing.T) {
	b := newBench(t, 64)
	for range 56 {
		a := b.art(0, Normal, 2000)
		a.Relayed = true
		_, err := b.tab.Publish(b.now, a)
		require.NoError(t, err)
	}
	x := b.art(0, Normal, 10)
	_, err := b.tab.Publish(b.now, x)
	require.Error(t, err, "nobody has settled anything")
	es := b.next()
	for _, i := range []int{3, 1, 2} {
		require.NoError(t, b.dispose(es[i].slot, es[i].commit, Have))
	}
	gone, err := b.tab.Publish(b.now, x)
	require.NoError(t, err)
	require.Equal(t, es[3].id, gone.ID, "the one settled first")
	require.False(t, b.tab.Holds(gone.ID))
}

// A consumer that never disposes, or never asks, cannot freeze the table.
func TestConsumerThatNeverDisposesDoesNotFreezeTheTable(t *testing.T) {
	b := newBench(t, 64)
	b.v.dry = 0
	for range 56 {
		a := b.art(0, Normal, 2000)
		a.Relayed = true
		_, err := b.tab.Publish(b.now, a)
		require.NoError(t, err)
	}
	b.next()
	b.now = 9 * time.Second
	b.tab.Tick(b.now)
	_, err := b.tab.Publish(b.now, b.art(0, Normal, 10))
	require.Error(t, err)
	b.now = 11 * time.Second
	b.tab.Tick(b.now)
	require.True(t, b.v.lagging)
	gen := b.tab.gen
	_, err = b.tab.Publish(b.now, b.art(0, Normal, 10))
	require.NoError(t, err)
	for slot, o := range b.v.out {
		require.NoError(t, b.v.dispose(disposition{slot, o.commit, Have}))
	}
	b.next() // what was displaced is withdrawn
	b.tab.Tick(b.now)
	require.False(t, b.v.lagging)
	require.Greater(t, b.tab.gen, gen, "what was displaced meanwhile is shown again")
}

func TestEphemeralKindsLeaveAFullTable(t *testing.T) {
	b := newBench(t, 64, KindConfig{ID: 1, MaxSize: 1 << 20}, KindConfig{ID: 2, MaxSize: 1 << 20, Ephemeral: true})
	var first *Artifact
	for i := range 56 {
		a := b.art(i%2, Normal, 2000)
		a.Relayed = true
		if i == 1 {
			a.Class = Idle
			first = a
		}
		_, err := b.tab.Publish(b.now, a)
		require.NoError(t, err)
	}
	gone, err := b.tab.Publish(b.now, b.art(0, Normal, 10))
	require.NoError(t, err)
	require.Equal(t, first, gone, "lowest class, oldest")
}

func TestWindowSharesOfClasses(t *testing.T) {
	b := newBench(t, 256)
	for c, want := range map[Class]int{Idle: 16, Bulk: 32, Normal: 32} {
		b := newBench(t, 256)
		for range 100 {
			b.publish(c)
		}
		require.Len(t, b.next(), want, c)
	}
	for range 60 {
		b.publish(Normal)
		b.publish(Bulk)
	}
	require.Len(t, b.next(), 56, "the last 8 places are for urgent")
	for range 20 {
		b.publish(Urgent)
	}
	require.Len(t, b.next(), 8)
	require.Equal(t, 64, b.v.nwait)
}

func TestClassesInOrderAndKindsInTurn(t *testing.T) {
	b := newBench(t, 256, KindConfig{ID: 1, MaxSize: 1 << 20, Weight: 1}, KindConfig{ID: 2, MaxSize: 1 << 20, Weight: 3})
	for i := range 40 {
		for _, c := range []Class{Normal, Urgent} {
			if _, err := b.tab.Publish(b.now, b.art(i%2, c, 2000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	es := b.answer(b.v, 24, 0)
	count := map[uint32]int{}
	for _, e := range es {
		require.EqualValues(t, Urgent, e.hint&3)
		count[e.kind]++
	}
	require.InDelta(t, 18, count[2], 2, "by weight")
	require.InDelta(t, 6, count[1], 2)
}

func TestOnlyWhatIsFreshIsPushed(t *testing.T) {
	push := func(b *bench, size int, class Class) bool {
		a := b.art(0, class, size)
		_, err := b.tab.Publish(b.now, a)
		require.NoError(b.t, err)
		es := b.next()
		require.Len(b.t, es, 1)
		return es[0].tag == entryPush
	}
	b := newBench(t, 64)
	require.False(t, push(b, 100, Normal), "lazy link")
	b.v.eager[0] = true
	require.True(t, push(b, 1024, Normal))
	require.False(t, push(b, 1025, Normal))
	require.True(t, push(b, 16<<10, Urgent), "urgent, eager link")
	require.False(t, push(b, 16<<10+1, Urgent))
	b.v.eager[0] = false
	require.False(t, push(b, 100, Urgent), "not in the view set")
	b.v.urgentPush = pushThreshold
	require.True(t, push(b, 1024, Urgent))
	require.False(t, push(b, 1025, Urgent))
	b.v.urgentPush = eagerMax
	require.True(t, push(b, 16<<10, Urgent))
	b.v.eager[0] = true
	a := b.art(0, Normal, 100)
	b.v.have.Add(a.ID, struct{}{})
	_, err := b.tab.Publish(b.now, a)
	require.NoError(t, err)
	es := b.next()
	require.EqualValues(t, entryOffer, es[0].tag, "have stops the body, never the offer")
	// once more: never a body
	require.NoError(t, b.dispose(es[0].slot, es[0].commit, Later))
	b.v.have.Remove(a.ID)
	b.v.repend(b.v.parked(3, 0))
	require.EqualValues(t, entryOffer, b.next()[0].tag, "never pushed twice")
	_, err = b.tab.Publish(b.now, b.art(0, Normal, 500))
	require.NoError(t, err)
	require.EqualValues(t, entryOffer, b.answer(b.v, 10, 499)[0].tag, "beyond the inline credit it becomes an offer")
	// a new session: ids only
	late := b.view(64, nil)
	late.eager[0] = true
	for _, e := range b.answer(late, 64, 1<<20) {
		require.NotEqualValues(t, entryPush, e.tag)
	}
}

func TestSyncedOnceWhenAllWasShown(t *testing.T) {
	b := newBench(t, 256)
	for range 70 {
		b.publish(Urgent)
	}
	v := b.view(64, nil)
	es := b.answer(v, 64, 0)
	require.Len(t, es, 64)
	for _, e := range es {
		require.NoError(t, v.dispose(disposition{e.slot, e.commit, Have}))
	}
	es = b.answer(v, 64, 0)
	require.Len(t, es, 7)
	require.EqualValues(t, entrySynced, es[6].tag)
	require.Empty(t, b.answer(v, 64, 0))
	require.EqualValues(t, entrySynced, b.answer(newBench(t, 64).view(64, nil), 1, 0)[0].tag, "an empty table at once")
}

func TestKindsNotAskedForAreNeverOffered(t *testing.T) {
	b := newBench(t, 64, KindConfig{ID: 1, MaxSize: 1 << 20}, KindConfig{ID: 2, MaxSize: 1 << 20})
	v, _ := b.tab.newView(0, viewConfig{kinds: []bool{true, false}, eager: make([]bool, 2), window: 64, reserve: 8})
	for i := range 10 {
		_, err := b.tab.Publish(0, b.art(i%2, Normal, 10))
		require.NoError(t, err)
	}
	for _, e := range b.answer(v, 64, 0) {
		if e.tag == entryOffer {
			require.EqualValues(t, 1, e.kind)
		}
	}
	require.NoError(t, v.recount())
}

// model is the consumer end of one link: its record of every slot, and what it holds.
type model struct {
	seen    map[uint32]uint64
	settled map[uint32]bool
	held    map[uint32]entry
	answers uint64
	window  int
}

func (m *model) digests(blocks int) (out []digest, highest uint64) {
	for b := range blocks {
		out = append(out, blockDigest(func(i int) uint64 {
			if m.settled[uint32(i)] {
				return m.seen[uint32(i)]
			}
			return 0
		}, b*blockSlots))
	}
	for _, c := range m.seen {
		highest = max(highest, c)
	}
	return out, highest
}

func (m *model) read(t *rapid.T, es []entry) {
	m.answers++
	for _, e := range es {
		switch e.tag {
		case entryWithdraw:
			if e.commit == 0 || e.commit >= m.seen[e.slot] {
				m.settled[e.slot] = false
				delete(m.held, e.slot)
			}
		case entryKnown:
			m.seen[e.slot], m.settled[e.slot] = e.commit, true
		case entryOffer, entryPush:
			if e.commit < m.seen[e.slot] {
				t.Fatalf("slot %d: commit %d after %d", e.slot, e.commit, m.seen[e.slot])
			}
			m.seen[e.slot], m.settled[e.slot] = e.commit, false
			m.held[e.slot] = e
			if len(m.held) > m.window {
				t.Fatalf("%d outstanding", len(m.held))
			}
		}
	}
}

// P1, P2, P5, P9: the model of one link of artifact §6.11: random publish, clear, reuse, verdicts, cuts, comparisons and messages
// that cross. After quiescence the consumer has settled exactly what the table shows, every digest is equal, and a reconnect
// re-offers nothing.
func TestOneLinkModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 2))
		cfg := Config{Slots: 128, Kinds: []KindConfig{{ID: 1, MaxSize: 1000}}}
		cfg = cfg.withDefaults()
		tab := newTable(&cfg, newKindTable(cfg.Kinds), [8]byte{1})
		m := &model{seen: map[uint32]uint64{}, settled: map[uint32]bool{}, held: map[uint32]entry{}, window: 64}
		vc := func(r *resumeClaim) viewConfig {
			return viewConfig{kinds: []bool{true}, eager: []bool{rnd.IntN(2) == 0}, window: 64, reserve: 8, resume: r}
		}
		v, _ := tab.newView(0, vc(nil))
		var toConsumer [][]entry
		var toProvider []func() error
		n := 0
		var ids []ID
		now := time.Duration(0)
		read := func(i int) []entry {
			out := v.next(now, 1+rnd.IntN(64), rnd.IntN(4000), true, nil)
			d, err := decodeFromProvider(appendOffers(nil, out.n, out.entries), 2048, nil)
			if err != nil {
				t.Fatal(err)
			}
			return d.offers
		}
		say := func(slot uint32, e entry, verdict Verdict) {
			if m.held[slot].commit != e.commit {
				return
			}
			delete(m.held, slot)
			if verdict.terminal() {
				m.settled[slot] = true
			}
			vv := v
			toProvider = append(toProvider, func() error {
				if vv != v {
					return nil // of a session that was cut
				}
				return v.dispose(disposition{slot, e.commit, verdict})
			})
		}
		deliver := func(all bool) {
			for len(toConsumer) > 0 && (all || rnd.IntN(3) > 0) {
				m.read(t, toConsumer[0])
				toConsumer = toConsumer[1:]
			}
			for len(toProvider) > 0 && (all || rnd.IntN(3) > 0) {
				if err := toProvider[0](); err != nil {
					t.Fatalf("false violation: %v", err)
				}
				toProvider = toProvider[1:]
			}
		}
		cut := func() {
			toConsumer, toProvider = nil, nil
			tab.dropView(v)
			m.held = map[uint32]entry{}
			for s := range m.seen {
				if !m.settled[s] {
					delete(m.seen, s)
				}
			}
			m.answers = 0
			ds, h := m.digests(2)
			var ok bool
			v, ok = tab.newView(now, vc(&resumeClaim{epoch: tab.epoch, highest: h, digests: ds}))
			if !ok {
				t.Fatal("not resumed")
			}
		}
		for range 400 {
			now += time.Duration(rnd.IntN(50)) * time.Millisecond
			switch rnd.IntN(12) {
			case 0, 1, 2:
				n++
				a, _ := NewArtifact(cfg.Kinds[0], []byte(fmt.Sprint(seed, n)), nil, Class(rnd.IntN(4)))
				if _, err := tab.Publish(now, a); err == nil {
					ids = append(ids, a.ID)
				}
			case 3, 4:
				if len(ids) > 0 {
					i := rnd.IntN(len(ids))
					tab.Abort(now, ids[i])
					ids = append(ids[:i], ids[i+1:]...)
				}
			case 5, 6:
				toConsumer = append(toConsumer, read(0))
			case 7, 8:
				deliver(false)
			case 9:
				for i := range uint32(128) {
					if e, ok := m.held[i]; ok && rnd.IntN(2) == 0 {
						say(i, e, Verdict(rnd.IntN(6)))
					}
				}
			case 10:
				v.repend(v.parked(1+rnd.IntN(3), 0))
				ds, _ := m.digests(2)
				answers := m.answers
				vv := v
				toProvider = append(toProvider, func() error {
					if vv == v {
						for b, d := range ds {
							v.compare(now, b, d, answers)
						}
					}
					return nil
				})
			case 11:
				if rnd.IntN(10) == 0 {
					cut()
				}
			}
			if err := v.recount(); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 { // quiescence
			toConsumer = append(toConsumer, read(0))
			deliver(true)
			for i := range uint32(128) {
				if e, ok := m.held[i]; ok {
					say(i, e, Delivered)
				}
			}
			deliver(true)
			v.repend(v.parked(3, 0))
		}
		for i := range tab.regs {
			want := tab.digestValue(v, i)
			got := uint64(0)
			if m.settled[uint32(i)] {
				got = m.seen[uint32(i)]
			}
			if got != want {
				t.Fatalf("slot %d: consumer settled %d, table shows %d, state %d", i, got, want, v.state(i))
			}
		}
		cut()
		es := read(0)
		if len(es) != 1 || es[0].tag != entrySynced {
			t.Fatalf("a quiet reconnect re-offers %v", es)
		}
	})
}
