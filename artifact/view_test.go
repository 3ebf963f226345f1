package artifact

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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
		b.v.kout[Idle][0]++
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

// A kind of large bodies is slower to be fetched, so its offers stay longer: it must not fill the window with them while another kind
// waits, or that one is left with whatever is disposed of in between. Alone a kind may have all of the class's places.
func TestKindsShareTheWindow(t *testing.T) {
	b := newBench(t, 1024, KindConfig{ID: 1, MaxSize: 1 << 20}, KindConfig{ID: 2, MaxSize: 1 << 20})
	const large, small = 500_000, 40_000
	publish := func(kind, n, size int) {
		for range n {
			_, err := b.tab.Publish(b.now, b.art(kind, Bulk, size))
			require.NoError(t, err)
		}
	}
	publish(0, 100, large)
	require.Len(t, b.next(), 32, "alone")
	publish(1, 700, small)
	took := [3]int{}
	for range 50 { // the consumer fetches as many bytes of each kind, if it has been shown enough
		left := [3]int{0, large, large}
		for i := range uint32(1024) {
			o, ok := b.v.out[i]
			if !ok {
				continue
			}
			a := b.tab.regs[i].art
			if n := int(a.Size); n <= left[a.Kind] {
				left[a.Kind] -= n
				took[a.Kind] += n
				require.NoError(t, b.dispose(i, o.commit, Delivered))
			}
		}
		b.next()
	}
	require.InDelta(t, 0.5, float64(took[2])/float64(took[1]+took[2]), 0.05, took)
}
