package artifact

import (
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// slotState is what a view knows of a slot. The two pending states differ in one thing: only a fresh one may be pushed.
type slotState uint8

const (
	slotNone   slotState = iota
	slotFresh            // pending, never shown since it was published in this session
	slotAgain            // pending, once more: resume, rewind, reoffer, compare
	slotOut              // shown, no verdict yet; uses window
	slotLater            // parked by the consumer
	slotNoRoom           // parked by the consumer
	slotDone             // settled
	slotKnown            // pending, but only to be told that it is known: the consumer offered it to us, complete
)

func (s slotState) pending() bool { return s == slotFresh || s == slotAgain }

// outRec is one outstanding offer.
type outRec struct {
	commit uint64
	at     time.Duration
	class  Class
	kind   int
}

// View is what one consumer has been shown of a Table: state 3 bits a slot, three more bitmaps, pending bitmaps per class and
// kind, at most W outstanding offers (artifact §6.2 Registers and views, §6.4).
type View struct {
	t      *Table
	kinds  []bool // accepted by the consumer, per kind index
	window int
	// reserve places are only for urgent ones.
	reserve int

	states  [][3]uint64 // three bits a slot, 64 slots in an element
	shown   bitmap      // the consumer may hold a record of the slot
	gone    bitmap      // withdraw-1 due: the consumer is working on something that no longer exists
	tail    bitmap      // withdraw-2 due, or a known
	ngone   int
	ntail   int
	pend    [classes][]bitmap // per kind
	npend   [classes][]int
	cursor  [classes][]int
	turn    [classes]int // kind whose turn it is
	deficit [classes][]int64
	initial bitmap // was pending at initOk and has not been shown; nil after synced
	ninit   int
	start   uint64 // commit at initOk: what is older is never pushed
	answers uint64
	// showings is how many offers and pushes were shown, knowns how many of them the consumer has answered with a known of its own.
	showings, knowns uint64
	last             []uint32 // answer that last touched a block
	out              map[uint32]outRec
	nout             [classes]int
	kout             [classes][]int // of them per kind
	nwait            int            // out places in use
	lagging          bool
	dry              time.Duration // without a requestNext since, 0: has one
	have             *simplelru.LRU[ID, struct{}]
	tailAt           time.Duration // when the oldest of tail became due
	saidAt           time.Duration // when the last answer was made, 0: none yet
	gap              time.Duration // between entries, smoothed
	pushDue          bool          // something that will be pushed has become pending since
	yields           bool          // to offers of the other end, which dialled
	offerDue         bool          // something that will be fetched has
	repairDue        time.Duration // when something that others push has, 0: nothing
	mendedAt         time.Duration // when the consumer last fetched something that others push

	eager      []bool // per kind, shared with the link
	urgentPush int    // largest urgent body pushed to this peer beside eager links, bytes
}

// viewConfig is what the consumer's init asked for, already cut to our own maxima.
type viewConfig struct {
	kinds   []bool
	eager   []bool
	window  int
	reserve int
	yields  bool
	resume  *resumeClaim
}

// newView attaches a view. resumed says whether the consumer's resume was used.
func (t *Table) newView(now time.Duration, c viewConfig) (v *View, resumed bool) {
	n := len(t.regs)
	v = &View{t: t, kinds: c.kinds, eager: c.eager, window: c.window, reserve: c.reserve, yields: c.yields, start: t.commit,
		shown: newBitmap(n), gone: newBitmap(n), tail: newBitmap(n), initial: newBitmap(n),
		last: make([]uint32, n/blockSlots), out: map[uint32]outRec{}}
	v.dry, v.gap, v.mendedAt = max(now, 1), 20*busyGap, now
	v.have, _ = simplelru.NewLRU[ID, struct{}](haveSize, nil)
	v.states = make([][3]uint64, n/blockSlots)
	for c := range v.pend {
		v.pend[c] = make([]bitmap, len(v.kinds))
		v.npend[c] = make([]int, len(v.kinds))
		v.cursor[c] = make([]int, len(v.kinds))
		v.deficit[c] = make([]int64, len(v.kinds))
		v.kout[c] = make([]int, len(v.kinds))
	}
	t.views = append(t.views, v)
	t.gen++
	resumed = c.resume != nil && c.resume.epoch == t.epoch && len(c.resume.digests) == n/blockSlots && c.resume.highest <= t.commit
	for b := 0; b < n/blockSlots; b++ {
		equal := resumed && c.resume.digests[b] == blockDigest(func(i int) uint64 { return t.digestValue(v, i) }, b*blockSlots)
		for i := b * blockSlots; i < (b+1)*blockSlots; i++ {
			filled := t.digestValue(v, i) != 0
			switch {
			case filled && equal:
				v.shown.set(i)
				v.setState(i, slotDone)
			case filled:
				v.shown.put(i, resumed)
				t.regs[i].waiting++
				v.setState(i, slotAgain)
				v.initial.set(i)
				v.ninit++
			case resumed && !equal:
				v.shown.set(i)
				v.setTail(now, i)
			}
		}
	}
	return v, resumed
}

// dropView detaches a view.
func (t *Table) dropView(v *View) {
	for i := range t.views {
		if t.views[i] == v {
			t.views = append(t.views[:i], t.views[i+1:]...)
			break
		}
	}
	if v.lagging {
		return
	}
	for i := range t.regs {
		if t.regs[i].art != nil && v.waits(i) {
			t.regs[i].waiting--
			t.settledCheck(uint32(i))
		}
	}
}

func (v *View) state(i int) slotState {
	w, b := &v.states[i>>6], i&63
	return slotState(w[0]>>b&1 | w[1]>>b&1<<1 | w[2]>>b&1<<2)
}

// waits reports whether the content of a slot is not settled in this view. A slot that the consumer will never be shown does
// not wait.
func (v *View) waits(i int) bool {
	s := v.state(i)
	return s != slotDone && s != slotNone
}

// setState moves a slot, keeping the pending bitmaps and the register's count of unsettled views in step.
func (v *View) setState(i int, s slotState) {
	old := v.state(i)
	w, b := &v.states[i>>6], i&63
	for p := range w {
		w[p] = w[p]&^(1<<b) | uint64(s>>p&1)<<b
	}
	r := &v.t.regs[i]
	if old.pending() != s.pending() {
		c, k := r.art.Class, r.art.kind
		if s.pending() {
			if v.pend[c][k] == nil {
				v.pend[c][k] = newBitmap(len(v.t.regs))
			}
			v.pend[c][k].set(i)
			v.npend[c][k]++
		} else {
			v.pend[c][k].clear(i)
			v.npend[c][k]--
			if v.initial != nil && v.initial.get(i) {
				v.initial.clear(i)
				v.ninit--
			}
		}
	}
}

// move is setState for a slot with content whose settledness may change.
func (v *View) move(i int, s slotState) {
	before := v.waits(i)
	v.setState(i, s)
	if after := v.waits(i); after != before && !v.lagging {
		if after {
			v.t.regs[i].waiting++
		} else {
			v.t.regs[i].waiting--
			v.t.settledCheck(uint32(i))
		}
	}
}

func (v *View) setTail(now time.Duration, i int) {
	if !v.tail.get(i) {
		if v.ntail == 0 {
			v.tailAt = now
		}
		v.tail.set(i)
		v.ntail++
	}
}

func (v *View) clearTail(i int) {
	if v.tail.get(i) {
		v.tail.clear(i)
		v.ntail--
	}
}

func (v *View) setGone(i int) {
	if !v.gone.get(i) {
		v.gone.set(i)
		v.ngone++
	}
}

func (v *View) clearGone(i int) {
	if v.gone.get(i) {
		v.gone.clear(i)
		v.ngone--
	}
}

// freePlace gives the window place of a slot back.
func (v *View) freePlace(i int) {
	if o, ok := v.out[uint32(i)]; ok {
		delete(v.out, uint32(i))
		v.nout[o.class]--
		v.kout[o.class][o.kind]--
		v.nwait--
	}
}

// filled is the register getting new content (it was empty).
func (v *View) filled(now time.Duration, i int) {
	r := &v.t.regs[i]
	if !v.kinds[r.art.kind] {
		return
	}
	if !v.anyPending() { // what waited has become known
		v.pushDue, v.offerDue, v.repairDue = false, false, 0
	}
	v.move(i, slotFresh)
	switch {
	case v.pushes(r):
		v.pushDue = true
	case !v.repairs(r):
		v.offerDue = true
	case v.repairDue == 0:
		v.repairDue = max(now, 1)
	}
}

// repairs reports whether an offer of what is in a register would only repair the push tree: the body is pushed to the consumer by
// somebody else.
func (v *View) repairs(r *register) bool {
	x := r.art
	return v.t.kinds.cfg[x.kind].Push == Tree && x.Class != Urgent && x.Bytes != nil && len(x.Bytes) <= pushThreshold && !v.eager[x.kind]
}

// fetched notes that the consumer fetches a body.
func (v *View) fetched(now time.Duration, a *Artifact) {
	if a.slot >= 0 && v.repairs(&v.t.regs[a.slot]) {
		v.mendedAt = now
	}
}

// cleared is the register losing its content; the artifact is still there for the bookkeeping.
func (v *View) cleared(now time.Duration, i int) {
	switch v.state(i) {
	case slotOut, slotLater, slotNoRoom:
		v.setGone(i)
		v.clearTail(i)
	case slotDone:
		v.setTail(now, i)
	case slotKnown:
		v.clearTail(i)
		if v.shown.get(i) {
			v.setTail(now, i)
		}
	case slotFresh, slotAgain:
		if v.shown.get(i) && !v.gone.get(i) {
			v.setTail(now, i)
		}
	}
	v.move(i, slotNone)
}

// known records that the consumer offered us the artifact in slot i, complete: what is pending becomes a known.
func (v *View) known(now time.Duration, i int) {
	if v.state(i).pending() && !v.gone.get(i) {
		v.move(i, slotKnown)
		v.setTail(now, i)
	}
}

// ProtocolError is a peer that broke a rule of artifact §6.2, beyond the grammar of single messages. It is certainly the
// peer's fault.
type ProtocolError struct{ What string }

// Error says which rule was broken.
func (e *ProtocolError) Error() string { return "artifact: protocol violation: " + e.What }

// Fault tells the connection manager that the remote end broke the protocol.
func (e *ProtocolError) Fault() string { return "adversarial" }

func violation(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// dispose applies one disposition (the table of artifact §6.2).
func (v *View) dispose(d disposition) error {
	i := int(d.slot)
	if i >= len(v.t.regs) {
		return violation("disposition of slot %d of %d", i, len(v.t.regs))
	}
	r := &v.t.regs[i]
	if d.commit > r.commit {
		return violation("disposition of slot %d at commit %d, which is at %d", i, d.commit, r.commit)
	}
	if d.commit < r.commit {
		return nil // stale
	}
	switch v.state(i) {
	case slotFresh, slotAgain:
		if !v.shown.get(i) {
			return violation("disposition of slot %d, which was never shown", i)
		}
	case slotOut, slotLater, slotNoRoom:
	default:
		return nil
	}
	v.freePlace(i)
	switch d.verdict {
	case Later:
		v.move(i, slotLater)
	case NoRoom:
		v.move(i, slotNoRoom)
	default:
		v.move(i, slotDone)
	}
	return nil
}

// parkedSlot is one offer the consumer parked, for the kind's Match to look at.
type parkedSlot struct {
	slot   int
	commit uint64
	attr   []byte
}

// parked lists what a reoffer of that kind may bring back.
func (v *View) parked(which, kind int) (out []parkedSlot) {
	for i := range v.t.regs {
		a := v.t.regs[i].art
		if a == nil || a.kind != kind {
			continue
		}
		if s := v.state(i); s == slotLater && which&reofferLater != 0 || s == slotNoRoom && which&reofferNoRoom != 0 {
			out = append(out, parkedSlot{i, v.t.regs[i].commit, a.Attr})
		}
	}
	return out
}

// repend makes parked slots pending again if they still show what they showed.
func (v *View) repend(ps []parkedSlot) {
	for _, p := range ps {
		if s := v.state(p.slot); (s == slotLater || s == slotNoRoom) && v.t.regs[p.slot].commit == p.commit {
			v.move(p.slot, slotAgain)
		}
	}
}

// compare answers one block of the consumer's digests. It reports whether the block was looked at: a block with something on
// its way, or touched by an answer the consumer had not processed, is skipped.
func (v *View) compare(now time.Duration, block int, d digest, answers uint64) bool {
	first := block * blockSlots
	if first >= len(v.t.regs) || uint64(v.last[block]) > answers {
		return false
	}
	if v.gone[block]|v.tail[block] != 0 {
		return false
	}
	for i := first; i < first+blockSlots; i++ {
		if s := v.state(i); s.pending() || s == slotOut {
			return false
		}
	}
	equal := d == blockDigest(func(i int) uint64 {
		if s := v.state(i); s == slotLater || s == slotNoRoom {
			return 0
		}
		return v.t.digestValue(v, i)
	}, first)
	if equal {
		return true
	}
	for i := first; i < first+blockSlots; i++ {
		switch v.state(i) {
		case slotDone:
			v.move(i, slotAgain)
		case slotNone:
			if v.t.digestValue(v, i) == 0 {
				v.shown.set(i)
				v.setTail(now, i)
			}
		}
	}
	return true
}

// limitOf is the number of window places class c may fill.
func (v *View) limitOf(c Class) int {
	switch c {
	case Urgent:
		return v.window
	case Idle:
		return v.window / 4
	}
	return v.window / 2
}

func (v *View) room(c Class) bool {
	total := v.window
	if c != Urgent {
		total -= v.reserve
	}
	return v.nwait < total && v.nout[c] < v.limitOf(c)
}

// memory is what the view holds, in the terms of artifact §6.8.
func (v *View) memory() int64 {
	n := int64(len(v.last))*4 + int64(len(v.out))*24 + int64(v.have.Len())*40
	n += int64(len(v.states)) * 24
	for _, b := range [...]bitmap{v.shown, v.gone, v.tail} {
		n += b.bytes()
	}
	n += v.initial.bytes()
	for c := range v.pend {
		for _, b := range v.pend[c] {
			n += b.bytes()
		}
	}
	return n
}
