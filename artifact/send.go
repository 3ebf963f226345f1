package artifact

import (
	"slices"
	"time"
)

// next is the next message of a stream, composed as late as possible, so that nothing is queued and what is most urgent goes
// first. It is put together in buf. Whether there is more, or something later, an EffectWake tells.
func (c *Core) next(now time.Duration, p *peer, s Stream, buf []byte) (Out, bool) {
	c.now, c.buf = now, buf[:0]
	p.wake &^= 1 << s
	if p.gone {
		return Out{}, false
	}
	var o Out
	ok := false
	switch {
	case s == OfferOut:
		o, ok = c.con.offerMessage(p)
	case s == ControlOut:
		o, ok = c.con.controlMessage(p)
	case s == OfferIn:
		o, ok = c.provide(p)
	case s == ControlIn:
		if p.prov.acks > 0 {
			p.prov.acks--
			o, ok = Out{Rank: RankControl, Head: append(c.buf, 0x81, tagCtlAck)}, true
			if p.prov.acks > 0 {
				c.wake(p, s)
			}
		}
	case s == UrgentIn || s == BulkIn || s >= bearerIn:
		if o, ok = c.srv.next(p, serveLaneOf(s)); ok {
			c.wake(p, s)
		}
	default:
		l := p.laneOf(s)
		if m := c.sched.message(p, l); m != nil {
			o, ok = Out{Rank: RankControl, Head: m}, true
			c.wake(p, s)
		} else if p.con.state >= conStop && p.con.state != conFinished && len(l.open) == 0 && !l.ended && l.up {
			l.ended = true
			o, ok = Out{Rank: RankControl, Head: appendFetchEnd(c.buf)}, true
			c.wake(p, ControlOut)
		}
	}
	c.settle()
	return o, ok
}

// provide is what the provider side has to say: initOk, initNo, or the answer to the oldest requestNext.
func (c *Core) provide(p *peer) (Out, bool) {
	s := &p.prov
	if s.initNo >= 0 {
		m := appendInitNo(c.buf, uint64(s.initNo))
		s.initNo = -1
		return Out{Rank: RankControl, Head: m}, true
	}
	if s.state == provInitOk {
		s.state = provRun
		m := msgInitOk{epoch: c.table.epoch, slots: c.cfg.Slots, resumed: s.resumed, bulk: s.bulk}
		return Out{Rank: RankControl, Head: m.append(c.buf)}, true
	}
	if s.state != provRun || len(s.requests) == 0 {
		return Out{}, false
	}
	r := s.requests[0]
	v := s.view
	tail := v.ntail > 0 && (s.stopping || c.now-v.tailAt >= tailDelay)
	if at := v.restsUntil(); !tail && !s.stopping && at > c.now {
		c.show(p)
		return Out{}, false
	}
	again := c.stat.OfferedAgain
	a := v.next(c.now, r.entries, r.inline, tail, c.scratch)
	if c.scratch = a.entries; cap(c.scratch) > scratchMax {
		c.scratch = nil
	}
	c.stat.OfferedAgain = again + uint64(a.again)
	c.stat.BodiesPushed += uint64(a.copies)
	if a.n == 0 && !s.stopping {
		c.tailDue(p)
		return Out{}, false
	}
	s.requests = s.requests[1:]
	if len(s.requests) == 0 {
		v.dry = max(c.now, 1)
	}
	rank := RankDefault
	if a.now {
		rank = RankNow
	}
	if v.ntail == 0 {
		c.timers.stop(&s.tailT)
	}
	c.show(p)
	return Out{Rank: rank, Head: appendOffers(c.buf, a.n, a.entries)}, true
}

// scratchMax is what a node keeps to make its answers in.
const scratchMax = 128 << 10

// offerMessage is what the consumer has to say on offer.
func (c *Consumer) offerMessage(p *peer) (Out, bool) {
	s := &p.con
	switch s.state {
	case conInit:
		return Out{Rank: RankControl, Head: c.initMessage(p)}, true
	case conRun:
		if m, ok := c.grant(p); ok {
			if c.mayGrant(p) {
				c.wake(p, OfferOut)
			}
			return Out{Rank: RankControl, Head: m.append(c.buf)}, true
		}
	case conDone:
		s.state = conCtlDone
		c.wake(p, ControlOut)
		return Out{Rank: RankControl, Head: appendDone(c.buf)}, true
	}
	return Out{}, false
}

// controlMessage is what the consumer has to say on control, at most 16 messages without an ack.
func (c *Consumer) controlMessage(p *peer) (Out, bool) {
	s := &p.con
	if s.state < conRun || s.state == conFinished || s.unacked >= pipeControl {
		return Out{}, false
	}
	send := func(m *control) (Out, bool) {
		if m.tag != tagCtlDone {
			if s.unacked == 0 {
				s.ackAt = c.now
			}
			s.unacked++
			s.sentSeq++
		}
		c.wake(p, ControlOut) // there may be more
		return Out{Rank: RankControl, Head: m.append(c.buf)}, true
	}
	if len(s.cancels) > 0 {
		n := min(len(s.cancels), 256)
		m := &control{tag: tagCancel, cancel: s.cancels[:n]}
		s.cancels = append([]uint64(nil), s.cancels[n:]...)
		return send(m)
	}
	if s.state >= conStop {
		if !s.stopped {
			s.stopped = true
			if len(s.granted) == 0 {
				s.state = conDone
				c.wake(p, OfferOut)
			}
			return send(&control{tag: tagStop})
		}
		if s.state == conCtlDone && s.unacked == 0 && c.lanesEnded(p) {
			s.state = conFinished
			return Out{Rank: RankControl, Head: (&control{tag: tagCtlDone}).append(c.buf)}, true
		}
		return Out{}, false
	}
	if m := c.eagerMessage(p); m != nil {
		return send(m)
	}
	if len(s.haves) > 0 {
		m := &control{tag: tagHave, have: s.haves}
		s.haves = nil
		return send(m)
	}
	if len(s.disp) > 0 && (s.disposeT.pos == 0 || c.crowded(p)) {
		c.timers.stop(&s.disposeT)
		m := &control{tag: tagDispose, dispose: c.dispose[:0]}
		i := 0
		for ; i < len(s.order) && len(m.dispose) < maxDispose; i++ {
			q, ok := s.disp[s.order[i]]
			if !ok {
				continue
			}
			delete(s.disp, s.order[i])
			if q.counts {
				s.unsent--
			}
			m.dispose = append(m.dispose, q.disposition)
		}
		s.order = append(s.order[:0], s.order[i:]...)
		c.dispose = m.dispose
		return send(m)
	}
	if m := c.reofferMessage(p); m != nil {
		return send(m)
	}
	if m := c.compareMessage(p); m != nil {
		return send(m)
	}
	return Out{}, false
}

func (c *Consumer) lanesEnded(p *peer) bool {
	for i := range p.net.lanes {
		if l := &p.net.lanes[i]; i < laneBearer && l.up && !l.ended {
			return false
		}
	}
	return true
}

func (c *Consumer) eagerMessage(p *peer) *control {
	var m *control
	for i, t := range p.link.tell {
		if t == tellNothing {
			continue
		}
		if m == nil {
			m = &control{tag: tagEager}
		}
		m.eager = append(m.eager, kindWish{c.kinds.cfg[i].ID, t == tellOn})
		p.link.tell[i] = tellNothing
		if t == tellOff {
			p.link.off[i] = p.con.sentSeq + 1
		}
	}
	return m
}

// reofferMessage asks for parked offers: at most once a second per kind.
func (c *Consumer) reofferMessage(p *peer) *control {
	s := &p.con
	var m *control
	for i, which := range s.reoffer {
		if which == 0 || s.lastAsk[i] != 0 && c.now-s.lastAsk[i] < time.Second || m != nil && (m.which != which || s.filters[i] != nil) {
			continue
		}
		if m == nil {
			m = &control{tag: tagReoffer, which: which}
		}
		s.lastAsk[i], s.reoffer[i] = max(c.now, 1), 0
		m.reoffer = append(m.reoffer, reofferKind{c.kinds.cfg[i].ID, s.filters[i]})
		s.filters[i] = nil
		if len(m.reoffer[0].filter) > 0 {
			break // filters are long; one a message
		}
	}
	return m
}

// reofferDue is the timer of artifact §6.5: while something was disposed noRoom or evicted, it is asked for in any case, after
// 1 s, doubling to 60 s.
func (c *Consumer) reofferDue(p *peer) {
	s := &p.con
	if s.noRoom == 0 || s.state != conRun {
		return
	}
	s.noRoom = 0
	for i := range s.reoffer {
		s.reoffer[i] |= reofferLater | reofferNoRoom
		s.filters[i] = nil
	}
	s.backoff = min(2*s.backoff, time.Minute)
	c.timers.set(&s.reofferT, c.now+s.backoff)
	c.wake(p, ControlOut)
}

// compareMessage is anti-entropy: at most once a minute per block, and only if something has changed since.
func (c *Consumer) compareMessage(p *peer) *control {
	s, a := &p.con, p.acct
	if s.cmp || c.now < s.cmpNext || !s.changed && s.retake == 0 || s.cmpBlock == 0 && !s.synced {
		return nil
	}
	blocks := len(a.seen) / blockSlots
	if blocks == 0 {
		return nil
	}
	if s.cmpBlock == 0 {
		s.changed = false
	}
	m := &control{tag: tagCompare, answers: uint64(s.answers), first: s.cmpBlock}
	for b := s.cmpBlock; b < blocks && len(m.digests) < maxCompare; b++ {
		m.digests = append(m.digests, blockDigest(a.settled, b*blockSlots))
	}
	s.cmpBlock += len(m.digests)
	if s.cmpBlock >= blocks {
		s.cmpBlock = 0
		s.cmp, s.cmpSeq = true, s.sentSeq+1
		s.retake = max(0, s.retake-1)
	}
	return m
}

// stop ends our consumer direction in order: no new fetch, stop, done, fetchEnds, ctlDone (artifact §6.2, Clean ends).
func (c *Consumer) stop(p *peer) {
	s := &p.con
	switch s.state {
	case conRun:
	case conInit:
		s.state = conFinished
		return
	default:
		return
	}
	s.state, s.endAt = conStop, c.now+stopLimit
	var slots []uint32
	for slot := range s.held {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	for _, slot := range slots {
		o := s.held[slot]
		c.release(o)
		c.detach(o)
	}
	for i := range p.net.lanes {
		l := &p.net.lanes[i]
		for _, r := range append([]*request(nil), l.open...) {
			c.sched.cancel(r)
		}
		if l.up {
			c.wake(p, l.stream)
		}
	}
	s.disp, s.order, s.unsent = map[uint32]queuedDisp{}, nil, 0
	for _, t := range []*timer{&s.disposeT, &s.reofferT, &s.grantT} {
		c.timers.stop(t)
	}
	a := p.acct
	for i, v := range a.seen {
		if v&settledBit == 0 {
			a.seen[i] = 0
		}
	}
	c.wake(p, ControlOut)
}
