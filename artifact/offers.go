package artifact

import (
	"slices"
	"time"
)

// offersMessage processes one answer.
func (c *Consumer) offersMessage(p *peer, msg *message) error {
	s, m := &p.con, &msg.prov
	if s.state < conRun || len(s.granted) == 0 {
		return violation("offers without a requestNext")
	}
	if m.bodies > s.granted[0] {
		return violation("%d bytes of bodies, %d were granted", m.bodies, s.granted[0])
	}
	if len(m.offers) == 0 && s.state == conRun {
		return violation("empty offers without a stop")
	}
	s.granted = s.granted[1:]
	s.answers++
	s.changed = true
	for i := range m.offers {
		if err := c.entry(p, &m.offers[i], msg.js[i], msg.asked); err != nil {
			return err
		}
		if p.gone {
			return nil
		}
	}
	c.askForMore(p)
	if s.state == conStop && s.stopped && len(s.granted) == 0 {
		s.state = conDone
	}
	return nil
}

// askForMore has requestNext made, three of which share an SDU. Where answers are rare they rest, as one is open still: what has come is
// passed on first.
func (c *Consumer) askForMore(p *peer) {
	s := &p.con
	open := len(s.granted)
	switch busy := c.now-s.answeredAt < requestRest; {
	case s.state != conRun || open == 0 || open < pipeOffer/2 && busy:
		c.wake(p, OfferOut)
	case open < pipeOffer/2 && s.grantT.pos == 0:
		c.timers.set(&s.grantT, onGrid(c.now+requestRest, restGrid))
	}
	s.answeredAt = c.now
}

// entry processes one offer, push, withdraw, known or synced. The bouncer has been asked since asked.
func (c *Consumer) entry(p *peer, e *entry, j judged, asked time.Duration) error {
	s, a := &p.con, p.acct
	if e.tag == entrySynced {
		if s.synced {
			return violation("synced twice")
		}
		s.synced = true
		c.fx = append(c.fx, Effect{What: EffectSynced, Peer: p.ID, p: p})
		return nil
	}
	if int(e.slot) >= s.slots {
		return violation("slot %d of %d", e.slot, s.slots)
	}
	i := int(e.slot)
	seen := uint64(0)
	if i < len(a.seen) {
		seen = a.seen[i] &^ settledBit
	} else if o := s.held[e.slot]; o != nil {
		seen = o.commit
	}
	s.churn++
	if !c.ordinary(p, e) {
		if s.shown++; s.shown > 1<<12 {
			s.shown, s.useful = s.shown/2, s.useful/2
		}
	}
	switch e.tag {
	case entryWithdraw:
		if e.commit != 0 && e.commit < seen {
			return nil // it shows something newer already
		}
		c.unrecord(p, e.slot)
		return nil
	case entryKnown:
		if e.commit < seen {
			return violation("slot %d: commit %d after %d", e.slot, e.commit, seen)
		}
		c.unrecord(p, e.slot)
		c.record(p, e.slot, e.commit, true)
		return nil
	}
	if e.commit < seen {
		return violation("slot %d: commit %d after %d", e.slot, e.commit, seen)
	}
	ki, ok := c.kinds.index[e.kind]
	if !ok {
		return violation("an offer of kind %d, which we did not ask for", e.kind)
	}
	k := &c.kinds.cfg[ki]
	if e.size > k.MaxSize {
		return violation("kind %d: size %d is over the maximum of %d", e.kind, e.size, k.MaxSize)
	}
	if e.chunks.count > 0 {
		l := layoutOf(e.size, k.ChunkSize)
		if e.chunks.size != k.ChunkSize || e.chunks.count != uint64(l.chunks) {
			return violation("kind %d: chunking %d × %d for %d bytes", e.kind, e.chunks.count, e.chunks.size, e.size)
		}
		if root := e.chunks.root; root != nil {
			m, err := ParseRoot(root, k.MaxSize, k.ChunkSize)
			if err != nil || RootID(e.kind, root) != e.id || m.size != e.size {
				return violation("kind %d: inline manifest does not match the offer", e.kind)
			}
		}
	}
	if e.tag == entryPush {
		c.stat.PushesReceived++
		c.stat.BodiesReceived++
		c.stat.BodyBytes += uint64(len(e.body))
		if j.sum != e.id {
			return violation("a pushed body does not have its id")
		}
	} else {
		c.stat.OffersReceived++
	}
	c.unrecord(p, e.slot)
	if s.window() >= c.cfg.Window {
		return violation("more than %d offers outstanding", c.cfg.Window)
	}
	c.record(p, e.slot, e.commit, false)
	if s.state != conRun {
		return nil // on the way out: it will be offered anew
	}
	whole := c.valid(e.id)
	if !e.partial() {
		c.offered(p, e.id, whole)
	}
	var ck *check
	if whole == nil {
		ck = c.checks.get(e.id, c.now)
	}
	v, at := atOnce(whole, ck, j.interest, asked)
	if e.tag == entryPush {
		c.countPush(p, ki, e, whole != nil || ck != nil || c.holdsBody(e.id))
	}
	if at { // most offers of a busy network are of what is here already
		c.answer(p, e.slot, e.commit, v, true)
		return nil
	}
	o := &offer{p: p, slot: e.slot, hint: e.hint, kind: ki, commit: e.commit, id: e.id, size: e.size,
		attr: slices.Clone(e.attr), at: c.now, chunks: chunking{size: e.chunks.size, count: e.chunks.count}, pushed: e.tag == entryPush}
	if e.chunks.root != nil {
		o.chunks.root = slices.Clone(e.chunks.root)
	}
	s.held[e.slot] = o
	o.class = Class(e.hint & 3)
	s.byClass[o.class]++
	switch {
	case j.interest >= MaybeLater:
		c.later(o)
		return nil
	case ck != nil: // purged, and wanted again
		c.checks.drop(ck)
	}
	c.setClass(o, Class(j.interest))
	o.wants = true
	c.attach(o, e.body)
	return nil
}

// ordinary entries are of no use in themselves, but come with the traffic of any busy link, and say nothing about whether it is worth
// its credits: the withdrawal of what was settled, and known, which answers an offer of ours and so cannot come more often.
func (c *Consumer) ordinary(p *peer, e *entry) bool {
	switch e.tag {
	case entryWithdraw:
		i := int(e.slot)
		return i < len(p.acct.seen) && p.acct.seen[i]&settledBit != 0
	case entryKnown:
		if v := p.prov.view; v != nil && v.knowns < v.showings {
			v.knowns++
			return true
		}
	}
	return false
}

// atOnce is the verdict on an offer that needs no body: a is what is here under its id, ck the verdict it once had, and the bouncer has
// been asked since asked. False: there is none yet.
func atOnce(a *Artifact, ck *check, in Interest, asked time.Duration) (v Verdict, ok bool) {
	switch {
	case a != nil:
		return Have, true
	case ck != nil && ck.verdict == Invalid:
		return Invalid, true
	case ck != nil && ck.since() > asked: // it has come, been judged and left while the bouncer spoke
		return Have, true
	case ck != nil && in >= MaybeLater:
		return Unwanted, true
	}
	return Unwanted, in == NotWanted
}

func (c *Consumer) setClass(o *offer, cl Class) {
	s := &o.p.con
	s.byClass[o.class]--
	o.class = cl
	s.byClass[cl]++
}

// holdsBody reports whether the body of id is here and unjudged.
func (c *Consumer) holdsBody(id ID) bool {
	d := c.downs[id]
	return d != nil && (d.state == downJudge || d.state == downParked)
}

// record notes the commit of a slot; beyond PeerSlots nothing is remembered.
func (c *Consumer) record(p *peer, slot uint32, commit uint64, settled bool) {
	a := p.acct
	if commit > a.highest {
		a.highest = commit
	}
	if int(slot) >= len(a.seen) {
		return
	}
	if settled {
		commit |= settledBit
	}
	a.seen[slot] = commit
	p.con.changed = true
}

// unrecord is a slot whose content was withdrawn or replaced: the advertiser is gone, nothing is settled any more.
func (c *Consumer) unrecord(p *peer, slot uint32) {
	s := &p.con
	if int(slot) < len(p.acct.seen) {
		p.acct.seen[slot] &^= settledBit
		s.changed = true
	}
	if q, ok := s.disp[slot]; ok {
		delete(s.disp, slot)
		if q.counts {
			s.unsent--
		}
	}
	if x, ok := s.stash.Peek(slot); ok {
		over := s.overflow[x.kind]
		s.stash.Remove(slot)
		s.overflow[x.kind] = over
	}
	if o := s.held[slot]; o != nil {
		c.release(o)
		c.detach(o)
	}
}

// release takes an offer out of the held ones.
func (c *Consumer) release(o *offer) {
	s := &o.p.con
	if s.held[o.slot] == o {
		delete(s.held, o.slot)
		s.byClass[o.class]--
		if o.extra {
			s.extras--
		}
	}
	o.ready.remove()
}

// verdict disposes of an offer that is held.
func (c *Consumer) verdict(o *offer, v Verdict) {
	p := o.p
	if p.con.held[o.slot] != o {
		return
	}
	c.release(o)
	c.detach(o)
	c.answer(p, o.slot, o.commit, v, !o.extra)
}

// answer disposes of what a slot shows; counts says that it has a place in the window.
func (c *Consumer) answer(p *peer, slot uint32, commit uint64, v Verdict, counts bool) {
	c.stat.Verdicts[v]++
	if v == NoRoom {
		c.stat.NoRoom++
		c.missed(p)
	}
	if v.terminal() {
		c.record(p, slot, commit, true)
	}
	if v == Delivered || v == Have {
		p.con.useful++
	}
	c.queueDisp(p, disposition{slot, commit, v}, counts)
}

// missed counts something that must be asked for again by timer: a quiet network would never bring it back.
func (c *Consumer) missed(p *peer) {
	p.con.noRoom++
	if p.con.reofferT.pos == 0 {
		p.con.backoff = time.Second
		c.timers.set(&p.con.reofferT, c.now+time.Second)
	}
}

// later parks an offer that the bouncer may want some day.
func (c *Consumer) later(o *offer) {
	s := &o.p.con
	x := stashed{o.commit, o.id, o.kind, o.size, o.hint, chunking{size: o.chunks.size, count: o.chunks.count}, o.attr}
	c.verdict(o, Later)
	s.stash.Add(o.slot, x)
}

func (c *Consumer) queueDisp(p *peer, d disposition, counts bool) {
	s := &p.con
	if old, ok := s.disp[d.slot]; ok {
		counts = counts || old.counts
		if old.counts {
			s.unsent--
		}
	} else {
		s.order = append(s.order, d.slot)
	}
	s.disp[d.slot] = queuedDisp{d, counts}
	if counts {
		s.unsent++
	}
	if len(s.order) > 2*len(s.disp)+64 {
		keep := s.order[:0]
		seen := map[uint32]bool{}
		for _, slot := range s.order {
			if _, ok := s.disp[slot]; ok && !seen[slot] {
				seen[slot] = true
				keep = append(keep, slot)
			}
		}
		s.order = keep
	}
	// A while lets dispositions share a message, unless places or registers get tight.
	if c.crowded(p) || s.state != conRun {
		c.wake(p, ControlOut)
	} else if s.disposeT.pos == 0 {
		c.timers.set(&s.disposeT, onGrid(c.now+disposeDelay, tailGrid))
	}
}

// crowded reports whether the dispositions of a peer should not wait: they are a message full, or an eighth of the window or of the
// provider's table.
func (c *Consumer) crowded(p *peer) bool {
	return len(p.con.disp) >= min(c.cfg.Window/8, len(p.acct.seen)/8, maxDispose)
}
