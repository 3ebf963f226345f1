package artifact

import (
	"bytes"
	"slices"
	"time"
)

// hashOf says how the data of the next piece on a lane is hashed, so that the shell can do it before the step.
type hashOf struct {
	tag  string // "": plain SHA-256
	kind uint32
	skip bool // nobody wants it
}

// hashPlan returns it for the oldest open request of a lane.
func (s *Scheduler) hashPlan(p *peer, l *lane, m *piece) hashOf {
	if l.sent == 0 || l.open[0].d == nil {
		return hashOf{skip: true}
	}
	d := l.open[0].d
	kind := s.kinds.cfg[d.kind].ID
	switch {
	case m.tag == tagManifest && m.index == 0:
		return hashOf{tag: manifestTag, kind: kind}
	case m.tag == tagChunk && d.man == nil:
		return hashOf{tag: bodyTag, kind: kind}
	}
	return hashOf{}
}

func (h hashOf) sum(data []byte) (out ID) {
	switch {
	case h.skip:
		return out
	case h.tag != "":
		return taggedHash(h.tag, h.kind, data)
	}
	return plainSum(data)
}

// piece processes what a provider sends on one of our lanes. An unsolicited chunk is one outside the lane's oldest open
// request, or one that came already: exact, and needs no clock. errWrongHash is for wrongHash; any other error is certainly the
// peer's fault.
func (s *Scheduler) piece(p *peer, l *lane, m *piece, how hashOf, sum ID) error {
	if l.sent == 0 || l.open[0].id != m.request {
		return violation("a %d-byte answer to request %d, which is not the oldest open one", len(m.data), m.request)
	}
	r := l.open[0]
	l.last = s.now
	if m.tag == tagFetchDone {
		s.done(p, l, r, m)
		return nil
	}
	it := r.item(m)
	if it == nil || it.got {
		return violation("unsolicited piece %d of request %d", m.index, m.request)
	}
	if len(m.data) > max(it.n, 1) && it.i >= 0 {
		return violation("chunk %d of request %d has %d bytes, %d were asked for", m.index, m.request, len(m.data), it.n)
	}
	it.got = true
	r.left--
	n := int64(min(it.n, len(m.data)))
	if r.left == 0 {
		n = r.due
	}
	n = min(n, r.due)
	r.due -= n
	l.bytes -= n
	p.net.bytes -= n
	if r.class == Urgent {
		p.net.urgent -= n
	} else if !r.over {
		s.bulkBytes -= n
	}
	p.net.measure(s.now, l, len(m.data), r.sentAt)
	s.stat.BodyBytes += uint64(len(m.data))
	d := r.d
	if d == nil || how.skip {
		s.stat.DuplicateBytes += uint64(len(m.data))
		s.freed(p)
		return nil
	}
	s.speed(p, r, it)
	if s.con.verify(d, p, it, m.data, sum) {
		p.net.trust = maxRequests
	} else {
		p.net.trust = 1
		s.stat.DuplicateBytes += uint64(len(m.data))
		it.got = false
		s.fail(d, p)
		return errWrongHash
	}
	s.freed(p)
	return nil
}

func (r *request) item(m *piece) *item {
	for i := range r.items {
		it := &r.items[i]
		switch {
		case m.tag == tagChunk && it.i >= 0 && uint64(it.i) == m.index,
			m.tag == tagManifest && it.i == rootItem && m.index == 0,
			m.tag == tagManifest && it.i < rootItem && uint64(partOf(it.i))+1 == m.index:
			return it
		}
	}
	return nil
}

// speed learns from one chunk: the window of the peer, the node-wide window, the time an urgent chunk takes.
func (s *Scheduler) speed(p *peer, r *request, it *item) {
	n := &p.net
	took := s.now - r.sentAt
	if n.rtt == 0 || took < n.rtt {
		n.rtt = took
	} else {
		n.rtt += (took - n.rtt) / 64
	}
	n.grown += int64(it.n)
	if n.grown >= n.window {
		n.grown = 0
		n.window = min(n.window+int64(maxFlat), windowMax)
	}
	if r.class == Urgent {
		s.times[s.ntimes%len(s.times)] = took
		s.ntimes++
		if s.ntimes < 16 || s.ntimes%16 == 0 {
			sorted := slices.Clone(s.times[:min(s.ntimes, len(s.times))])
			slices.Sort(sorted)
			s.p95 = sorted[len(sorted)*95/100]
		}
		return
	}
	// Its own elders on the lane are no queue of the network, as long as they came as fast as this peer ever was.
	elders := r.l.total - r.mark - int64(it.n)
	if elders > 0 && n.best > 0 {
		took = max(0, took-time.Duration(float64(elders)/max(n.best, n.bestB)*float64(time.Second)))
	}
	more := n.chunkTime(s.now, took, elders == 0)
	// One throttled peer among fast ones says nothing about our own link, and neither does a chunk that was late while the window was
	// half empty: the queue is not ours then, or a packet was lost.
	if more > delaySignal && n.rate*4 >= s.fastest() {
		if float64(r.load) <= s.bulkWindow/2 {
			return
		}
		s.slowStart = false
		if s.now-s.shrunk >= max(n.srtt(p), 10*time.Millisecond) {
			s.shrunk = s.now
			s.bulkWindow = max(s.bulkWindow*0.85, bulkFloor)
		}
		return
	}
	step := float64(max(it.n, 1024))
	if !s.slowStart {
		step *= float64(maxFlat) / s.bulkWindow
	}
	if float64(s.bulkBytes) > s.bulkWindow/2 {
		s.bulkWindow = min(s.bulkWindow+step, bulkMax)
	}
}

// fastest is the rate of the fastest peer with something under way.
func (s *Scheduler) fastest() (rate float64) {
	for _, p := range s.peers {
		if p.net.bytes > 0 {
			rate = max(rate, p.net.rate)
		}
	}
	return rate
}

// fail is an advertiser that was tried in this round.
func (s *Scheduler) fail(d *download, p *peer) {
	for _, o := range d.offers {
		if o.p == p && !o.failed {
			o.failed = true
			o.retry = s.now + min(50*time.Millisecond<<min(o.fails, 7), 5*time.Second)
			o.fails++
			o.ready.remove()
		}
	}
}

// done is the end of a request.
func (s *Scheduler) done(p *peer, l *lane, r *request, m *piece) {
	l.open = slices.Delete(l.open, 0, 1)
	l.sent--
	p.con.cancels = slices.DeleteFunc(p.con.cancels, func(id uint64) bool { return id == r.id })
	if l.sent > 0 {
		l.last = s.now
	}
	s.finish(r)
	d := r.d
	if d == nil {
		s.wake(p, l.stream)
		return
	}
	complete := r.left == 0
	s.unlink(r)
	switch {
	case complete && m.status == statusOK:
	case m.status == statusNotFound:
		for _, o := range d.offers {
			if o.p == p && o.notFound == 0 {
				o.notFound = max(s.now, 1)
			}
		}
		s.fail(d, p)
	case m.status == statusBusy:
		s.fail(d, p)
		if m.retryMs > 0 {
			for _, o := range d.offers {
				if o.p == p {
					o.retry = s.now + time.Duration(min(m.retryMs, 5000))*time.Millisecond
				}
			}
		}
	default: // cancelled, tooLarge, late, or ok without having sent everything
		s.fail(d, p)
	}
	s.again(d)
	s.wake(p, l.stream)
}

// timedOut is a request past its deadline: somebody else is asked now; what still comes is used.
func (s *Scheduler) timedOut(r *request) {
	if r.over || r.d == nil {
		return
	}
	d, p := r.d, r.p
	s.stat.Timeouts++
	p.net.slow.late++
	if r.sent {
		r.over = true
		if r.class != Urgent {
			s.bulkBytes -= r.due
		}
	}
	p.net.window = max(p.net.window/2, maxFlat)
	if r.sent {
		p.net.rate /= 2 // it was thought too fast, or is not so any more; deadlines that stay too short would feed themselves
	}
	s.fail(d, p)
	if r.sent {
		s.putBack(d, r)
		r.cancelled = true
		p.con.cancels = append(p.con.cancels, r.id)
		s.wake(p, ControlOut)
	} else {
		s.cancel(r)
	}
	// A bearer that falls silent makes everything on it time out at once, and a slow machine for hours: one step of the score a
	// minute, as much as it recovers, or an honest peer would be banned. *SlowError tells whoever may do without it.
	if p.net.blamed == 0 || s.now-p.net.blamed >= time.Minute {
		p.net.blamed = max(s.now, 1)
		s.blame(p, TimedOut, errTimeout)
	}
	s.again(d)
}

// hedge starts a second advertiser for an urgent chunk that takes long. At most 5 % of the bytes of ten seconds may be hedges,
// but one at a time is always allowed.
func (s *Scheduler) hedge(r *request) {
	d := r.d
	if d == nil || r.hedged || r.left == 0 {
		return
	}
	h := &s.hedges
	if s.now-h.at > 10*time.Second {
		h.at, h.bytes, h.total = s.now, 0, 0
	}
	if h.open > 0 && (h.bytes+r.due)*20 > h.total {
		s.timers.set(&r.hedgeT, s.now+s.hedgeAfter())
		return
	}
	var best *offer
	for _, o := range d.offers {
		if o.p == r.p || o.failed || !o.wants || !s.room(o.p, Urgent) || s.underWay(d, o.p) > 0 {
			continue
		}
		if best == nil || s.cost(o, d) < s.cost(best, d) {
			best = o
		}
	}
	if best == nil {
		return
	}
	x := &request{p: best.p, d: d, class: Urgent, hedge: true}
	for _, it := range r.items {
		if !it.got {
			x.items = append(x.items, item{i: it.i, n: it.n})
			x.bytes += int64(it.n)
		}
	}
	r.hedged = true
	h.open++
	h.bytes += x.bytes
	s.stat.Hedges++
	s.stat.HedgeBytes += uint64(x.bytes)
	s.send(x)
}

// verify checks a piece by its hash and puts it where it belongs. False: the supplier sent something wrong.
func (c *Consumer) verify(d *download, p *peer, it *item, data []byte, sum ID) bool {
	if d.state != downWant && d.state != downGrace {
		return true
	}
	k := &c.kinds.cfg[d.kind]
	switch {
	case it.i == rootItem:
		if sum != d.id {
			return false
		}
		if _, err := ParseRoot(data, k.MaxSize, k.ChunkSize); err != nil {
			return false
		}
		if !d.known {
			c.rootArrived(d, bytes.Clone(data))
		}
	case it.i < 0:
		i := partOf(it.i)
		if d.man.Parts[i] != nil {
			return true
		}
		if d.man.AddPart(i, bytes.Clone(data)) != nil {
			return false
		}
		d.nparts++
		c.shapeKnown(d)
	case d.man == nil:
		if sum != d.id {
			return false
		}
		if d.ndone == 0 {
			if !c.chargeTo(d, p.acct, int64(len(data))) {
				return true // there is no room for it after all; it will be asked for again
			}
			d.known, d.size = true, int64(len(data))
			if d.buf = bytes.Clone(data); d.buf == nil {
				d.buf = []byte{}
			}
			d.done.set(0)
			d.ndone = 1
			d.supplied(p.ID)
			c.pieceDone(d, it.i)
		}
	default:
		if sum != d.man.ChunkSum(it.i) {
			return false
		}
		if d.done.get(it.i) {
			c.stat.DuplicateBytes += uint64(len(data))
			return true
		}
		d.done.set(it.i)
		d.asked.set(it.i)
		d.supplied(p.ID)
		if k.Disk {
			c.fx = append(c.fx, Effect{What: EffectWrite, Kind: k.ID, ID: d.id, Index: it.i,
				Offset: int64(it.i) * int64(k.ChunkSize), Data: bytes.Clone(data)})
			return true // counted when it is written
		}
		if d.buf == nil {
			d.buf = make([]byte, d.size)
		}
		copy(d.buf[int64(it.i)*int64(k.ChunkSize):], data)
		d.ndone++
		c.pieceDone(d, it.i)
	}
	return true
}

// pieceDone follows a verified chunk: duplicates of it are cancelled, and a whole body goes to its validator.
func (c *Consumer) pieceDone(d *download, i int) {
	for i := 0; i < len(d.inflight); {
		r := d.inflight[i]
		if r.left == 0 || !r.hedge && !r.hedged && !r.over || !d.covers(r) {
			i++
			continue
		}
		c.sched.cancel(r) // which takes it out
	}
	if i == 0 && c.kinds.cfg[d.kind].Relay == AfterHeader && d.header == headerNone && d.man != nil {
		d.header = headerAsked
		c.fx = append(c.fx, Effect{What: EffectHeader, Kind: c.kinds.cfg[d.kind].ID, ID: d.id, Attr: d.attr,
			Data: d.buf[:d.man.chunkLen(0)]})
	}
	if d.complete() {
		c.stat.BodiesReceived++
		// A request that has delivered everything only lacks its fetchDone; others are given up.
		for len(d.inflight) > 0 {
			if r := d.inflight[0]; r.left > 0 {
				c.sched.cancel(r)
			} else {
				c.sched.unlink(r)
			}
		}
		c.assembled(d)
	}
}

// covers reports whether everything r still lacks has arrived from others.
func (d *download) covers(r *request) bool {
	for _, it := range r.items {
		if !it.got && (it.i < 0 || !d.done.get(it.i)) {
			return false
		}
	}
	return true
}

// rootArrived takes a verified root: the shape is known now, and whoever claimed another lied.
func (c *Consumer) rootArrived(d *download, root []byte) {
	k := &c.kinds.cfg[d.kind]
	m, err := ParseRoot(root, k.MaxSize, k.ChunkSize)
	if err != nil {
		return // parsed before
	}
	d.man, d.known, d.size, d.rootOut = m, true, m.size, false
	d.done, d.asked, d.parts = newBitmap(m.chunks), newBitmap(m.chunks), newBitmap(m.parts)
	if d.class != Urgent {
		d.cursor = c.rnd.IntN(m.chunks) // nodes start at different places
	}
	for _, o := range slices.Clone(d.offers) {
		if o.size != m.size {
			c.verdict(o, Invalid)
			c.blame(o.p, ClaimForged, errForgedClaim)
		}
	}
	if d.charge != nil && d.mem != k.need(m.size) {
		// Charged by a liar's claim. An honest advertiser pays now, or nothing is kept.
		c.uncharge(d)
		charged := false
		for _, o := range d.offers {
			charged = charged || c.charge(d, o)
		}
		if !charged {
			d.man, d.known = nil, false
			d.oneChunk()
			d.parts = nil
			c.sched.again(d)
			return
		}
	}
	c.shapeKnown(d)
	c.sched.again(d)
}

// shapeKnown opens the sink of a Disk kind once all hashes are there.
func (c *Consumer) shapeKnown(d *download) {
	k := &c.kinds.cfg[d.kind]
	if k.Disk && d.sink == sinkNone && d.nparts == d.man.parts {
		d.sink = sinkAsked
		c.fx = append(c.fx, Effect{What: EffectSink, Kind: k.ID, ID: d.id, Size: d.size})
	}
}
