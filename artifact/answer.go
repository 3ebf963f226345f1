package artifact

import "time"

// entryRoom is more than any entry takes beside a pushed body.
const entryRoom = 1400

// answer is one offers message.
type answer struct {
	entries []byte // encoded
	n       int
	shown   int  // offers and pushes
	now     bool // has a withdraw-1 or something urgent in it: rank 2
	copies  int  // bodies pushed
	bodies  int  // their bytes
	again   int  // shown once more
}

// next composes the answer to one requestNext: withdraw-1 first, then classes from urgent down, inside a class the kinds in
// turn by weight, inside a kind the next pending slot from a rotating cursor; withdraw-2 and known fill what room is left. An
// empty answer means that there is nothing to say yet. tail adds withdraw-2 and known even if they are all there is.
func (v *View) next(now time.Duration, entries, inline int, tail bool, buf []byte) answer {
	a := answer{entries: buf[:0]}
	var gone []int
	if v.ngone > 0 {
		for i := v.gone.next(0); i >= 0 && len(gone) < maxWithdraw; i = v.gone.next(i + 1) {
			gone = append(gone, i)
		}
	}
	// The places of what will be withdrawn in this answer can be used in it; the commits are needed for the withdrawals.
	commits := make([]uint64, len(gone))
	for n, i := range gone {
		commits[n] = v.out[uint32(i)].commit // 0: whatever it showed
		v.freePlace(i)
	}
	shownFrom := len(a.entries)
	for c := Urgent; c < classes; c++ {
		for entries > 0 && len(a.entries)-a.bodies < MaxOffers-entryRoom-len(gone)*16 && v.room(c) {
			i := v.pick(c)
			if i < 0 {
				break
			}
			body := v.show(now, i, inline, &a)
			inline -= body
			entries--
			a.shown++
			a.now = a.now || c == Urgent
		}
	}
	if len(gone) > 0 {
		// They go first in the message; what was replaced in this very answer needs no withdrawal.
		var w []byte
		for n, i := range gone {
			if !v.gone.get(i) {
				continue
			}
			v.clearGone(i)
			w = v.withdraw(i, commits[n], w)
			a.n++
			a.now = true
		}
		if len(w) > 0 {
			rest := append([]byte(nil), a.entries[shownFrom:]...)
			a.entries = append(append(a.entries[:shownFrom], w...), rest...)
		}
	}
	if v.initial != nil && v.ninit == 0 {
		v.initial = nil
		a.entries = append(a.entries, 0x81, entrySynced)
		a.n++
	}
	if v.ntail > 0 && (tail || a.n > 0) {
		withdrawn := len(gone)
		for i := v.tail.next(0); i >= 0 && withdrawn < maxWithdraw && len(a.entries)-a.bodies < MaxOffers-entryRoom; i = v.tail.next(i + 1) {
			if v.state(i) == slotKnown {
				if entries == 0 {
					continue
				}
				entries--
				v.clearTail(i)
				e := entry{tag: entryKnown, slot: uint32(i), commit: v.t.regs[i].commit}
				a.entries = e.append(a.entries)
				v.shown.set(i)
				v.touch(i)
				v.move(i, slotDone)
			} else {
				withdrawn++
				v.clearTail(i)
				a.entries = v.withdraw(i, 0, a.entries)
			}
			a.n++
		}
	}
	if a.n > 0 {
		v.answers++
	}
	if a.shown > 0 {
		v.gap += (min((now-v.saidAt)/time.Duration(a.shown), 20*busyGap) - v.gap) / 8
		v.saidAt, v.pushDue, v.offerDue, v.repairDue = now, false, false, 0
	}
	return a
}

func (v *View) withdraw(i int, commit uint64, b []byte) []byte {
	e := entry{tag: entryWithdraw, slot: uint32(i), commit: commit}
	v.shown.clear(i)
	v.touch(i)
	return e.append(b)
}

// touch notes that the answer being made says something about the slot's block.
func (v *View) touch(i int) { v.last[i/blockSlots] = uint32(v.answers + 1) }

// showQuantum is what a kind may show in its turn, bytes of body.
const showQuantum = 4 << 10

// pick returns the slot of class c that is shown next, -1 when nothing is pending. Kinds share by bytes of body: sharing by entries
// would let the kind with the larger bodies take the link. And they share the places of the window: what is large is fetched slowly,
// and stays.
func (v *View) pick(c Class) int {
	any := false
	for _, n := range v.npend[c] {
		any = any || n > 0
	}
	for any {
		k := v.turn[c]
		if v.npend[c][k] > 0 && v.deficit[c][k] > 0 && !v.crowds(c, k) {
			b := v.pend[c][k]
			i := b.next(v.cursor[c][k])
			if i < 0 {
				i = b.next(0)
			}
			v.cursor[c][k] = i + 1
			v.deficit[c][k] -= min(v.t.regs[i].art.Size, maxFlat) + 64
			return i
		}
		if v.npend[c][k] == 0 {
			v.deficit[c][k] = min(v.deficit[c][k], 0)
		}
		k = (k + 1) % len(v.kinds)
		v.turn[c] = k
		if v.npend[c][k] > 0 && !v.crowds(c, k) {
			v.deficit[c][k] += showQuantum * int64(v.t.kinds.cfg[k].Weight)
		}
	}
	return -1
}

// crowds reports whether a kind has its share of the class's places, or more, while another that has something to show has less.
func (v *View) crowds(c Class, kind int) bool {
	if v.share(c, kind) > v.kout[c][kind] {
		return false
	}
	for k, n := range v.npend[c] {
		if n > 0 && k != kind && v.kout[c][k] < v.share(c, k) {
			return true
		}
	}
	return false
}

// share is what a kind may have of the class's places while others want theirs, by weight, at least one.
func (v *View) share(c Class, kind int) int {
	all := 0
	for k, yes := range v.kinds {
		if yes {
			all += v.t.kinds.cfg[k].Weight
		}
	}
	return max(1, v.limitOf(c)*v.t.kinds.cfg[kind].Weight/max(all, 1))
}

// show writes slot i into the answer, as a push if the rules of artifact §6.4 and the inline credit allow it, and returns the
// bytes of body used.
func (v *View) show(now time.Duration, i, inline int, a *answer) (body int) {
	r := &v.t.regs[i]
	x := r.art
	e := entry{tag: entryOffer, slot: uint32(i), commit: r.commit, kind: x.Kind, id: x.ID, size: x.Size, hint: x.hint(), attr: x.Attr}
	if v.state(i) == slotAgain {
		a.again++
	}
	if v.state(i) == slotFresh && int64(inline) >= x.Size && v.pushes(r) {
		e.tag, e.body = entryPush, x.Bytes
		body = len(x.Bytes)
		a.copies++
		a.bodies += body
	} else if x.Manifest != nil {
		e.chunks = chunking{size: x.Manifest.chunkSize, count: uint64(x.Manifest.chunks)}
		if len(x.Manifest.Root) <= maxInline {
			e.chunks.root = x.Manifest.Root
		}
	}
	a.entries = e.append(a.entries)
	a.n++
	v.clearGone(i)
	v.clearTail(i)
	v.freePlace(i)
	v.out[uint32(i)] = outRec{r.commit, now, x.Class, x.kind}
	v.nout[x.Class]++
	v.kout[x.Class][x.kind]++
	v.nwait++
	v.shown.set(i)
	v.showings++
	v.touch(i)
	v.move(i, slotOut)
	return body
}

// pushes applies the table of artifact §6.4.
func (v *View) pushes(r *register) bool {
	x := r.art
	if x.Manifest != nil || x.partial != nil || x.Bytes == nil || r.commit <= v.start || v.have.Contains(x.ID) {
		return false
	}
	k := &v.t.kinds.cfg[x.kind]
	n := len(x.Bytes)
	switch {
	case k.Push == None || n > eagerMax:
		return false
	case k.Push == All && n <= pushThreshold:
		return true
	case x.Class == Urgent:
		return n <= v.urgentPush || n > pushThreshold && v.eager[x.kind]
	case n > pushThreshold:
		return false
	}
	return v.eager[x.kind]
}

// busy reports whether there is something to say now; tail as in next.
func (v *View) busy(tail bool) bool {
	if v.ngone > 0 || tail && v.ntail > 0 || v.initial != nil && v.ninit == 0 {
		return true
	}
	for c := Urgent; c < classes; c++ {
		if v.room(c) {
			for _, n := range v.npend[c] {
				if n > 0 {
					return true
				}
			}
		}
	}
	return false
}

// restsUntil is when what is pending may be said: at once, unless something was said a moment ago. While little happens nothing
// waits; when much does, offers share messages, each of which costs both ends more than what is in it, and they rest longer on a
// busy link. What is pushed does not wait: each hop would add to what the whole tree takes.
//
// Offers of what others push give way to the pushes, even if nothing else happens. Those that come first make the consumer wait for
// the push, and fetch what is on its way already, which makes the next push later: so they rest the longer the longer the consumer has
// fetched nothing of that kind, and not long when the tree is broken. At the end of a link that was dialled they also wait for those of
// the other end: a known in answer is cheaper than offers that cross.
//
// What is urgent, withdraw-1, and a new session do not wait.
func (v *View) restsUntil() time.Duration {
	if v.saidAt == 0 || v.ngone > 0 || v.initial != nil || v.pushDue {
		return 0
	}
	for _, n := range v.npend[Urgent] {
		if n > 0 {
			return 0
		}
	}
	offer, calm := offerRest, calmRest
	if v.gap < busyGap {
		offer, calm = busyOfferRest, busyCalmRest
	}
	if v.offerDue || v.repairDue == 0 {
		return v.saidAt + offer
	}
	repair := min(max(v.repairDue-v.mendedAt, repairRest), calm)
	if v.yields {
		offer, repair = 2*offer, 2*repair
	}
	return max(v.saidAt+offer, v.repairDue+repair)
}

func (v *View) anyPending() bool {
	for c := range v.npend {
		for _, n := range v.npend[c] {
			if n > 0 {
				return true
			}
		}
	}
	return false
}
