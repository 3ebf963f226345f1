package artifact

import (
	"bytes"
	"slices"
	"time"
)

// attach gives an offer its place in the artifact's download; body is that of a push.
func (c *Consumer) attach(o *offer, body []byte) {
	d := c.downs[o.id]
	if d == nil {
		c.seq++
		d = &download{id: o.id, kind: o.kind, class: o.class, seq: c.seq, size: o.size, since: c.now}
		d.offers, d.suppliers = d.first.offers[:0], d.first.suppliers[:0]
		d.oneChunk()
		d.retry = timer{what: timerRetry, d: d}
		d.grace = timer{what: timerGrace, d: d}
		d.state = downWant
		c.downs[o.id] = d
		if body == nil && c.expectsPush(o) {
			d.state, d.lazy = downGrace, o.p
			c.timers.set(&d.grace, c.now+c.graceTime(o.kind))
		} else if body == nil && o.size <= pushThreshold && o.class != Urgent && c.kinds.cfg[o.kind].Push == Tree {
			d.lazy = o.p
			c.countLate(d)
		}
	}
	o.d = d
	d.offers = append(d.offers, o)
	if d.orphaned != 0 {
		d.orphaned = 0
		d.judge.remove()
	}
	switch d.state {
	case downParked:
		c.parkOffer(d, o)
		return
	case downJudge:
		if o.class < d.class && !d.isTaken {
			d.judge.remove()
			d.class = o.class
			c.queue[d.kind][d.class].pushBack(&d.judge, d)
		}
		return
	}
	d.class = min(d.class, o.class)
	if !d.known && o.chunks.root != nil {
		c.rootArrived(d, o.chunks.root) // it was verified when the offer arrived
	}
	if body != nil && c.takePush(d, o, body) {
		return
	}
	if d.state == downGrace && d.class == Urgent {
		d.state = downWant
		c.timers.stop(&d.grace)
	}
	if d.state == downWant {
		c.sched.arrived(d, o)
	}
}

// expectsPush: grace is waited only for small bodies of a kind that has an eager link, never for urgent ones.
func (c *Consumer) expectsPush(o *offer) bool {
	return o.size <= pushThreshold && o.class != Urgent && c.kinds.cfg[o.kind].Push == Tree && c.hasParent(o.kind)
}

// graceTime is 2.5 × the median smoothed round trip, within 2 and 100 ms. Under load pushes come later than round trips tell, and
// to fetch what is on its way already costs a copy, and so more load: it is at least the lag that pushes have had lately, plus four
// deviations. The mean counts up to 100 ms only, or a parent that is always slow would never be found late.
func (c *Consumer) graceTime(kind int) time.Duration {
	rtts := c.rtts[:0]
	for _, p := range c.peers {
		r := p.net.srtt(p)
		if p.net.rtt > 0 {
			r = min(r, p.net.rtt) // the host's figure may be of the busy moment at which the bearer came up
		}
		if r > 0 {
			rtts = append(rtts, r)
		}
	}
	c.rtts = rtts
	if len(rtts) == 0 {
		return graceMax
	}
	slices.Sort(rtts)
	usual := min(max(rtts[len(rtts)/2]*5/2, graceMin), graceMax)
	lag := min(c.lag[kind].mean, graceMax) + min(4*c.lag[kind].dev, lagMax)
	if lag <= usual {
		return usual
	}
	// When a tree has come apart, many wait for the same push. If all lost patience at once, all would fetch, push to each other and
	// then prune: so some wait up to half as long again, and most of them are pushed what the first has fetched.
	return lag + time.Duration(c.rnd.Int64N(int64(lag/2)))
}

// pushLag takes note of a push that came after the first offer, at since.
func (c *Consumer) pushLag(kind int, since time.Duration) {
	l := &c.lag[kind]
	off := min(c.now-since, lagMax) - l.mean
	l.mean += off / 8
	l.dev += (max(off, -off) - l.dev) / 8
}

// countLate counts a body that a lazy peer offered and no eager one pushed; at 8 the link to the first offerer turns eager.
func (c *Consumer) countLate(d *download) {
	c.late[d.kind]++
	if c.late[d.kind] < lateGraft || d.lazy == nil || d.lazy.gone {
		return
	}
	c.late[d.kind] = 0
	l := &d.lazy.link
	if !l.on[d.kind] {
		c.stat.Grafts++
		l.on[d.kind], l.tell[d.kind] = true, tellOn
		l.first[d.kind], l.dup[d.kind] = 0, 0
		c.wake(d.lazy, ControlOut)
	}
}

// countPush counts bodies that came first and duplicates, per link; too many duplicates turn the link lazy.
func (c *Consumer) countPush(p *peer, kind int, e *entry, dup bool) {
	if dup {
		c.stat.DuplicateBodies++
		c.stat.DuplicateBytes += uint64(e.size)
	}
	if e.hint&3 == uint8(Urgent) || e.size > pushThreshold || c.kinds.cfg[kind].Push != Tree {
		return
	}
	l := &p.link
	if d := c.downs[e.id]; d != nil && d.lazy != nil {
		c.pushLag(kind, d.since)
	} else if since, ok := c.unpushed.Peek(e.id); ok {
		c.unpushed.Remove(e.id)
		c.pushLag(kind, since)
		return // not a second push, but a push that was not waited for
	}
	if dup {
		l.dup[kind]++
		// Said again if the peer still pushes on a link that is lazy for us.
		if l.dup[kind] > l.first[kind] && (l.on[kind] || l.tell[kind] == tellNothing && l.off[kind] <= p.con.ackSeq) {
			c.stat.Prunes++
			l.on[kind], l.tell[kind] = false, tellOff
			c.wake(p, ControlOut)
		}
	} else {
		l.first[kind]++
		c.late[kind] = max(0, c.late[kind]-1)
	}
	if l.first[kind]+l.dup[kind] >= 32 {
		l.first[kind] /= 2
		l.dup[kind] /= 2
	}
}

// takePush uses a pushed body if the pusher's quota has room; otherwise the push counts as an offer.
func (c *Consumer) takePush(d *download, o *offer, body []byte) bool {
	if !c.charge(d, o) {
		return false
	}
	c.sched.cancelAll(d, true)
	d.man, d.known, d.size = nil, true, int64(len(body))
	d.oneChunk()
	d.ndone = 1
	d.done.set(0)
	d.buf = bytes.Clone(body)
	if d.buf == nil {
		d.buf = []byte{}
	}
	d.supplied(o.p.ID)
	c.assembled(d)
	if d.class == Urgent && len(body) > pushThreshold {
		for _, p := range c.peers {
			if p != o.p && p.con.state == conRun && len(p.con.haves) < maxHave && !d.offeredBy(p) {
				p.con.haves = append(p.con.haves, d.id)
				c.wake(p, ControlOut)
			}
		}
	}
	return true
}

func (d *download) offeredBy(p *peer) bool {
	for _, o := range d.offers {
		if o.p == p {
			return true
		}
	}
	return false
}

// charge reserves what o claims against its peer, before the first request to it. A download that is charged enough already
// stays where it is; one that was charged by a smaller claim moves.
func (c *Consumer) charge(d *download, o *offer) bool {
	if !c.chargeTo(d, o.p.acct, o.size) {
		return false
	}
	if d.attr == nil {
		d.attr = o.attr
	}
	return true
}

func (c *Consumer) chargeTo(d *download, a *account, size int64) bool {
	k := &c.kinds.cfg[d.kind]
	mem, disk := k.need(size), int64(0)
	if k.Disk && size > maxFlat {
		disk = size
	}
	if d.charge != nil && d.mem >= mem && d.disk >= disk {
		return true
	}
	c.uncharge(d)
	if !c.quota.fits(a, k, d.kind, mem, disk, c.cfg.Window) {
		return false
	}
	c.quota.add(a, mem)
	a.mem[d.kind] += mem
	a.count[d.kind]++
	a.disk[d.kind] += disk
	d.charge, d.mem, d.disk = a, mem, disk
	return true
}

// uncharge gives the reservation back and lets those who waited for room try again.
func (c *Consumer) uncharge(d *download) {
	a := d.charge
	if a == nil {
		return
	}
	c.quota.add(a, -d.mem)
	a.mem[d.kind] -= d.mem
	a.parked[d.kind] -= d.parked
	a.count[d.kind]--
	a.disk[d.kind] -= d.disk
	d.charge, d.mem, d.disk, d.parked = nil, 0, 0, 0
	if !a.connected && a.total == 0 && a.node.in == nil {
		delete(c.accts, a.id)
	}
	c.roomReturned(a)
}

// roomReturned wakes the offers that wait for quota: those of the account, and when the shared half has room all others'.
func (c *Consumer) roomReturned(a *account) {
	for _, p := range c.peers {
		if p.net.nfull > 0 && (p.acct == a || c.quota.shared < c.quota.cap/2) {
			c.sched.roomFor(p)
		}
	}
}

// recharge moves a charge to an advertiser that is left, if its quota has room.
func (c *Consumer) recharge(d *download) {
	a := d.charge
	for _, o := range d.offers {
		if o.p.acct == a {
			return
		}
	}
	for _, o := range d.offers {
		k := &c.kinds.cfg[d.kind]
		if d.parked == 0 && c.quota.fits(o.p.acct, k, d.kind, d.mem, d.disk, c.cfg.Window) {
			mem, disk := d.mem, d.disk
			c.uncharge(d)
			b := o.p.acct
			c.quota.add(b, mem)
			b.mem[d.kind] += mem
			b.count[d.kind]++
			b.disk[d.kind] += disk
			d.charge, d.mem, d.disk = b, mem, disk
			return
		}
	}
}

// detach takes an advertiser away from its download.
func (c *Consumer) detach(o *offer) {
	d := o.d
	if d == nil {
		return
	}
	o.d = nil
	d.offers = slices.DeleteFunc(d.offers, func(x *offer) bool { return x == o })
	if d.state != downWant && d.state != downGrace {
		if d.charge == o.p.acct {
			c.recharge(d)
		}
		return
	}
	if !d.offeredBy(o.p) {
		c.sched.cancelFrom(d, o.p)
	}
	if len(d.offers) > 0 {
		d.class = classes - 1
		for _, x := range d.offers {
			d.class = min(d.class, x.class)
		}
		if d.charge == o.p.acct {
			c.recharge(d)
		}
		c.sched.again(d)
		return
	}
	c.timers.stop(&d.retry)
	c.timers.stop(&d.grace)
	if d.ndone == 0 && d.nparts == 0 {
		c.abandon(d)
		return
	}
	d.orphaned = max(c.now, 1)
	c.orphan.pushBack(&d.judge, d)
}

// abandon forgets a download. Offers that are left are told noRoom.
func (c *Consumer) abandon(d *download) {
	if d.state == downGone {
		return
	}
	offers := d.offers
	d.offers = nil
	c.sched.cancelAll(d, false)
	seen := d.state == downJudge || d.state == downParked || c.kinds.cfg[d.kind].Disk && d.known
	d.state = downGone
	d.judge.remove()
	c.timers.stop(&d.retry)
	c.timers.stop(&d.grace)
	delete(c.downs, d.id)
	for _, o := range offers {
		o.d = nil
		c.verdict(o, NoRoom)
	}
	if seen {
		c.fx = append(c.fx, Effect{What: EffectDrop, Kind: c.kinds.cfg[d.kind].ID, ID: d.id})
	}
	if d.art != nil {
		c.dropped(d)
	}
	c.uncharge(d)
}

// assembled is a download whose body is whole: it waits for its verdict.
func (c *Consumer) assembled(d *download) {
	c.timers.stop(&d.grace)
	c.timers.stop(&d.retry)
	d.state = downJudge
	if d.orphaned != 0 { // its last chunk was written when its last advertiser had gone
		d.orphaned = 0
		d.judge.remove()
	}
	for _, o := range d.offers {
		c.sched.unready(o)
	}
	// Whoever claimed another size or shape lied; the verified body decides.
	for i := 0; i < len(d.offers); {
		o := d.offers[i]
		if o.size == d.size {
			i++
			continue
		}
		c.verdict(o, Invalid) // which takes it out
		c.blame(o.p, ClaimForged, errForgedClaim)
	}
	c.queue[d.kind][d.class].pushBack(&d.judge, d)
	c.fx = append(c.fx, Effect{What: EffectWork, Kind: c.kinds.cfg[d.kind].ID})
}

// Unjudged is an assembled artifact that waits for its verdict.
type Unjudged struct {
	ID    ID
	Kind  uint32
	Class Class
	Attr  []byte // the claim of one advertiser: re-derive and compare
	Size  int64
	Body  []byte // nil for a Disk kind
}

// Take hands out up to n artifacts of a kind that wait for their verdict, urgent ones by themselves, so that no other's verdict is in
// their way. more: others wait. Each needs a verdict; one that gets none within 2 s is parked.
func (c *Consumer) Take(kind uint32, n int) (out []Unjudged, more bool) {
	ki, ok := c.kinds.index[kind]
	if !ok {
		return nil, false
	}
	waiting := 0
	for cl := range c.queue[ki] {
		waiting += c.queue[ki][cl].n
	}
	if u := c.queue[ki][Urgent].n; u > 0 {
		n = min(n, u)
	}
	out = make([]Unjudged, 0, min(waiting, n))
	for cl := range c.queue[ki] {
		for len(out) < n {
			x := c.queue[ki][cl].front()
			if x == nil {
				break
			}
			d := x.v
			d.judge.remove()
			d.taken, d.isTaken = c.now, true
			u := Unjudged{ID: d.id, Kind: kind, Class: d.class, Attr: d.attr, Size: d.size, Body: d.buf}
			out = append(out, u)
		}
	}
	return out, waiting > len(out)
}

// settle gives all offers of a download its verdict, also those that were parked, and forgets the download.
func (c *Consumer) settle(d *download, v Verdict) {
	offers := d.offers
	d.offers = nil
	c.sched.cancelAll(d, true)
	d.state = downGone
	d.judge.remove()
	c.timers.stop(&d.retry)
	c.timers.stop(&d.grace)
	delete(c.downs, d.id)
	for _, o := range offers {
		o.d = nil
		c.verdict(o, v)
	}
	for _, r := range d.parkRefs {
		if x, ok := c.stillParked(r); ok && x.id == d.id {
			c.stat.Verdicts[v]++
			c.unstash(r.p, r.slot)
			c.record(r.p, r.slot, r.commit, true)
			c.queueDisp(r.p, disposition{r.slot, r.commit, v}, false)
		}
	}
	c.uncharge(d)
}

func (c *Consumer) stillParked(r parkRef) (stashed, bool) {
	if r.p.gone || r.p.serial != r.serial || r.p.con.stash == nil {
		return stashed{}, false
	}
	x, ok := r.p.con.stash.Peek(r.slot)
	return x, ok && x.commit == r.commit
}

// unstash forgets a stashed offer without counting it as an overflow.
func (c *Consumer) unstash(p *peer, slot uint32) {
	if x, ok := p.con.stash.Peek(slot); ok {
		over := p.con.overflow[x.kind]
		p.con.stash.Remove(slot)
		p.con.overflow[x.kind] = over
	}
}

// park keeps a body that cannot be judged yet, at most half of its (peer, kind) quota; the oldest of the lowest class goes first.
func (c *Consumer) park(d *download) {
	d.judge.remove()
	d.state, d.isTaken = downParked, false
	for _, o := range slices.Clone(d.offers) {
		c.parkOffer(d, o)
	}
	c.parked[d.kind].pushBack(&d.judge, d)
	a := d.charge
	d.parked = d.mem
	a.parked[d.kind] += d.parked
	for a.parked[d.kind] > c.kinds.cfg[d.kind].Quota/2 {
		var victim *download
		for n := c.parked[d.kind].front(); n != nil; n = c.parked[d.kind].after(n) {
			if n.v.charge == a && (victim == nil || n.v.class > victim.class) {
				victim = n.v
			}
		}
		c.evict(victim)
	}
}

// evict drops a parked body; its offers are asked for again by timer.
func (c *Consumer) evict(d *download) {
	for _, r := range d.parkRefs {
		if _, ok := c.stillParked(r); ok {
			c.unstash(r.p, r.slot)
			c.missed(r.p)
		}
	}
	c.abandon(d)
}

// parkOffer disposes of an offer as later, while the body is kept.
func (c *Consumer) parkOffer(d *download, o *offer) {
	o.d = nil
	d.offers = slices.DeleteFunc(d.offers, func(x *offer) bool { return x == o })
	ref := parkRef{o.p, o.p.serial, o.slot, o.commit}
	c.later(o)
	for i := range d.parkRefs {
		if d.parkRefs[i].p.ID == o.p.ID {
			d.parkRefs[i] = ref // another slot of the same peer comes back from the stash
			return
		}
	}
	if len(d.parkRefs) < c.cfg.MaxPeers {
		d.parkRefs = append(d.parkRefs, ref)
	}
}

// unpark puts a parked artifact back in front of the validator.
func (c *Consumer) unpark(d *download) {
	d.judge.remove()
	d.charge.parked[d.kind] -= d.parked
	d.parked = 0
	d.state = downJudge
	c.queue[d.kind][d.class].pushBack(&d.judge, d)
	c.fx = append(c.fx, Effect{What: EffectWork, Kind: c.kinds.cfg[d.kind].ID})
}
