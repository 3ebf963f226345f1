package artifact

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
