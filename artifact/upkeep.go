package artifact

import (
	"cmp"
	"slices"
	"time"
)

// everySecond is the consumer's share of the tick.
func (c *Consumer) everySecond() {
	for n := c.orphan.front(); n != nil; n = c.orphan.front() {
		if c.now-n.v.orphaned < keepPartial {
			break
		}
		c.abandon(n.v)
	}
	for _, p := range slices.Clone(c.peers) {
		c.tend(p)
		c.checks.expire(p.acct, c.now)
	}
	c.checks.expire(&c.checks.former, c.now)
	c.expireAccounts()
	var silent []*download
	for _, d := range c.downs {
		switch {
		case d.state == downJudge && d.isTaken && c.now-d.taken >= judgeLimit:
			silent = append(silent, d)
		case d.state == downWant && d.exhausted != 0 && c.now-d.exhausted >= exhaustedAfter:
			silent = append(silent, d)
		}
	}
	slices.SortFunc(silent, func(a, b *download) int { return cmp.Compare(a.seq, b.seq) })
	for _, d := range silent {
		if d.state == downJudge {
			c.park(d) // a validator that gives no answer is asked no more
		} else {
			c.abandon(d)
		}
	}
}

// tend looks after one provider.
func (c *Consumer) tend(p *peer) {
	s := &p.con
	if s.state != conRun {
		return
	}
	if n := &p.net.slow; n.tick(c.now) {
		c.fx = append(c.fx, Effect{What: EffectJudge, Peer: p.ID, p: p, Err: &SlowError{p.ID, int(n.lateSum + 0.5), int(n.askedSum)}})
	}
	// Churn beyond 20 windows a minute: credits are granted more slowly.
	s.churnSum = s.churnSum*59/60 + float64(s.churn)
	s.churn = 0
	s.slowed = s.churnSum > float64(20*c.cfg.Window) && c.wasteful(p)
	if s.slowed && !s.holdback {
		s.holdback = true
		c.timers.set(&s.grantT, c.now+time.Second)
	}
	var late, blocked []*offer
	if p.net.nfull > 0 {
		for n := p.net.full.front(); n != nil; n = p.net.full.after(n) {
			o := n.v
			if c.now-o.blocked >= noRoomAfter && s.byClass[o.class] >= c.limitOf(o.class)*3/4 {
				blocked = append(blocked, o)
			}
		}
	}
	for _, o := range s.held {
		if o.notFound != 0 && c.now-o.notFound >= 10*time.Second {
			late = append(late, o)
		}
	}
	slices.SortFunc(late, func(a, b *offer) int { return int(a.slot) - int(b.slot) })
	for _, o := range blocked {
		c.verdict(o, NoRoom)
	}
	for _, o := range late {
		o.notFound = 0
		if c.blame(p, NotFoundLong, errNotFoundLong) {
			return
		}
	}
	// What waits for a second to pass, or a minute.
	if len(s.disp) > 0 && s.disposeT.pos == 0 || !s.cmp && c.now >= s.cmpNext && (s.changed || s.retake > 0) || slices.Max(s.reoffer) > 0 {
		c.wake(p, ControlOut)
	}
}

// wasteful: most of what a provider shows never comes to anything, so its churn is not the traffic of a busy network.
func (c *Consumer) wasteful(p *peer) bool {
	return p.con.useful*4 < p.con.shown
}

// limitOf is the share of the window a class may fill, as at the provider.
func (c *Consumer) limitOf(cl Class) int {
	switch cl {
	case Urgent:
		return c.cfg.Window
	case Idle:
		return c.cfg.Window / 4
	}
	return c.cfg.Window / 2
}

// HeldOffer is an offer whose class may have changed; the bouncer is asked about it again.
type HeldOffer struct {
	ID     ID
	Attr   []byte
	p      *peer
	serial uint64
	slot   uint32
	commit uint64
	asked  time.Duration
	stash  bool
}

// Held lists the offers of a kind that are held without a body, and those of the stash, for a Refresh.
func (c *Core) Held(kind uint32) (out []HeldOffer) {
	ki, ok := c.kinds.index[kind]
	if !ok {
		return nil
	}
	for _, p := range c.peers {
		s := &p.con
		if s.state != conRun {
			continue
		}
		from := len(out)
		for _, o := range s.held {
			if o.kind == ki && o.d != nil && (o.d.state == downWant || o.d.state == downGrace) {
				out = append(out, HeldOffer{ID: o.id, Attr: o.attr, p: p, serial: p.serial, slot: o.slot, commit: o.commit, asked: c.now})
			}
		}
		slices.SortFunc(out[from:], func(a, b HeldOffer) int { return int(a.slot) - int(b.slot) })
		for _, slot := range s.stash.Keys() {
			if x, _ := s.stash.Peek(slot); x.kind == ki {
				out = append(out, HeldOffer{ID: x.id, Attr: x.attr, p: p, serial: p.serial, slot: slot, commit: x.commit, asked: c.now, stash: true})
			}
		}
	}
	return out
}

// Refresh applies the bouncer's new answers to what Held listed, in the same order, and puts deferred artifacts of the kind in
// front of the validator again. Where the stash has forgotten something the provider is asked to offer it anew; filter, which
// may be nil, is matched there against attr (artifact §6.5).
func (c *Core) Refresh(now time.Duration, kind uint32, held []HeldOffer, interests []Interest, filter []byte) {
	c.now = now
	ki, ok := c.kinds.index[kind]
	if !ok {
		return
	}
	for i, h := range held {
		if h.p.gone || h.p.serial != h.serial {
			continue
		}
		if h.stash {
			c.con.promote(h, interests[i])
			continue
		}
		if o := h.p.con.held[h.slot]; o != nil && o.commit == h.commit && o.d != nil {
			c.con.reclass(o, interests[i])
		}
	}
	var parked []*download
	for n := c.con.parked[ki].front(); n != nil; n = c.con.parked[ki].after(n) {
		parked = append(parked, n.v)
	}
	for _, d := range parked {
		c.con.unpark(d)
	}
	for _, p := range c.peers {
		if s := &p.con; s.state == conRun && s.overflow[ki] {
			s.overflow[ki] = false
			if s.reoffer[ki] == 0 {
				s.filters[ki] = filter
			} else if string(s.filters[ki]) != string(filter) {
				s.filters[ki] = nil
			}
			s.reoffer[ki] |= reofferLater
			c.wake(p, ControlOut)
		}
	}
	c.settle()
}

// reclass applies a bouncer's new answer to an offer that is being fetched or waits.
func (c *Consumer) reclass(o *offer, in Interest) {
	d := o.d
	if d.state != downWant && d.state != downGrace {
		return
	}
	switch {
	case in == NotWanted:
		c.verdict(o, Unwanted)
		return
	case in >= MaybeLater:
		c.later(o)
		return
	}
	if cl := Class(in); cl != o.class {
		c.setClass(o, cl)
		before := d.class
		d.class = classes - 1
		for _, x := range d.offers {
			d.class = min(d.class, x.class)
		}
		if d.class != before {
			for _, x := range d.offers {
				if !x.full {
					x.ready.remove()
				}
			}
			c.sched.again(d)
		}
	}
}

// promote takes an offer out of the stash.
func (c *Consumer) promote(h HeldOffer, in Interest) {
	s := &h.p.con
	x, ok := s.stash.Peek(h.slot)
	if !ok || x.commit != h.commit || s.state != conRun {
		return
	}
	quick := func(v Verdict) {
		c.unstash(h.p, h.slot)
		c.stat.Verdicts[v]++
		c.record(h.p, h.slot, h.commit, true)
		c.queueDisp(h.p, disposition{h.slot, h.commit, v}, false)
	}
	switch {
	case c.valid(x.id) != nil:
		quick(Have)
		return
	case in == NotWanted:
		quick(Unwanted)
		return
	case in >= MaybeLater:
		return
	}
	if d := c.downs[x.id]; d != nil && d.state == downParked {
		return // its verdict will settle it
	}
	if s.extras >= c.cfg.Window/4 || s.held[h.slot] != nil {
		return // next time
	}
	if _, queued := s.disp[h.slot]; queued {
		return // "later" has not been sent yet
	}
	c.unstash(h.p, h.slot)
	o := &offer{p: h.p, slot: h.slot, hint: x.hint, kind: x.kind, commit: x.commit, id: x.id, size: x.size, attr: x.attr,
		at: c.now, chunks: x.chunks, class: Class(in), wants: true, extra: true}
	s.extras++
	s.held[h.slot] = o
	s.byClass[o.class]++
	if ck := c.checks.get(o.id, c.now); ck != nil {
		if ck.verdict == Invalid {
			c.verdict(o, Invalid)
			return
		}
		if ck.since() > h.asked { // as in atOnce
			c.verdict(o, Have)
			return
		}
		c.checks.drop(ck)
	}
	c.attach(o, nil)
}
