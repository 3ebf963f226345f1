package artifact

import (
	"slices"
	"time"
)

// build chooses the pieces: the root before anything else, then parts, then chunks, urgent ones one at a time in index order.
func (s *Scheduler) build(d *download, o *offer, c Class) *request {
	r := &request{p: o.p, d: d, class: c}
	add := func(i, n int) {
		r.items = append(r.items, item{i: i, n: n})
		r.bytes += int64(n)
	}
	switch {
	case !d.known && o.size <= maxFlat:
		d.asked.set(0)
		add(0, int(o.size))
	case !d.known:
		d.rootOut = true
		add(rootItem, layoutOf(o.size, s.kinds.cfg[d.kind].ChunkSize).rootLen())
	case d.man == nil:
		d.asked.set(0)
		add(0, int(d.size))
	default:
		limit, most := min(batchBytes, int(o.p.net.spare())), perArtifact-s.underWay(d, o.p)
		if c == Urgent {
			limit, most = 1, 1
		}
		for d.partAt < d.man.parts && len(r.items) == 0 {
			if d.man.Parts[d.partAt] == nil && !d.parts.get(d.partAt) {
				d.parts.set(d.partAt)
				add(partItem(d.partAt), d.man.partLen(d.partAt))
			}
			d.partAt++
		}
		for (len(r.items) == 0 || r.items[0].i >= 0) && len(r.items) < most && len(r.items) < maxRanges && (len(r.items) == 0 || int(r.bytes) < limit) {
			i := d.nextChunk()
			if i < 0 {
				break
			}
			d.asked.set(i)
			d.cursor = i + 1
			add(i, d.man.chunkLen(i))
		}
		if len(r.items) > 1 && r.items[0].i >= 0 {
			slices.SortFunc(r.items, func(a, b item) int { return a.i - b.i })
		}
	}
	return r
}

// send puts a request on its lane.
func (s *Scheduler) send(r *request) {
	n := &r.p.net
	r.left, r.due = len(r.items), r.bytes
	r.l = n.laneFor(r.class)
	r.l.open = append(r.l.open, r)
	r.l.bytes += r.bytes
	r.ahead = r.l.bytes
	n.bytes += r.bytes
	n.count++
	n.slow.asked++
	if r.class == Urgent {
		n.urgent += r.bytes
		n.nurgent++
	} else {
		s.bulkBytes += r.bytes
		r.load = s.bulkBytes
	}
	r.d.inflight = append(r.d.inflight, r)
	r.deadline = timer{what: timerRequest, r: r}
	r.hedgeT = timer{what: timerHedge, r: r}
	// Also while it waits to be sent: a bearer that takes nothing must not hold an artifact up.
	s.timers.set(&r.deadline, s.now+s.limit(r))
	s.ingress.spend(s.now, r.bytes)
	s.stat.Requests++
	s.hedges.total += r.bytes
	s.wake(r.p, r.l.stream)
}

// message writes the next unsent request of a lane, when its turn has come.
func (s *Scheduler) message(p *peer, l *lane) []byte {
	if l.sent >= len(l.open) {
		return nil
	}
	r := l.open[l.sent]
	if l.sent == 0 {
		l.last = s.now
	}
	l.sent++
	r.sent, r.sentAt, r.mark, r.id = true, s.now, l.total, p.net.nextID
	p.net.nextID++
	limit := s.limit(r)
	s.timers.set(&r.deadline, s.now+limit)
	if r.class == Urgent && !r.hedge {
		s.timers.set(&r.hedgeT, s.now+s.hedgeAfter())
	}
	m := msgFetch{id: r.id, artifact: r.d.id, maxBytes: uint64(r.bytes), class: r.class, deadline: uint64(limit.Milliseconds())}
	for _, it := range r.items {
		to, first := &m.chunks, uint64(it.i)
		switch {
		case it.i == rootItem:
			to, first = &m.parts, 0
		case it.i < 0:
			to, first = &m.parts, uint64(partOf(it.i))+1
		}
		if n := len(*to); n > 0 && (*to)[n-1].first+(*to)[n-1].count == first {
			(*to)[n-1].count++
		} else {
			*to = append(*to, span{first, 1})
		}
	}
	return m.append(s.buf)
}

// limit is the deadline of a request: four times what its peer should need for everything up to it on the lane.
func (s *Scheduler) limit(r *request) time.Duration {
	return min(max(4*r.p.net.estimate(r.p, r.ahead), deadlineMin), deadlineMax)
}

// hedgeAfter is twice the 95th percentile of the recent urgent chunk times; 250 ms before there are any.
func (s *Scheduler) hedgeAfter() time.Duration {
	if s.ntimes == 0 {
		return deadlineMin
	}
	return max(2*s.p95, time.Millisecond)
}

// cancel gives a request up. What it asked for can be asked for again at once.
func (s *Scheduler) cancel(r *request) {
	s.unlink(r)
	if r.cancelled {
		return
	}
	r.cancelled = true
	s.timers.stop(&r.deadline)
	s.timers.stop(&r.hedgeT)
	s.stat.AbortedBytes += uint64(r.due)
	if !r.sent {
		l := r.l
		l.open = slices.DeleteFunc(l.open, func(x *request) bool { return x == r })
		s.finish(r)
		return
	}
	r.p.con.cancels = append(r.p.con.cancels, r.id)
	s.wake(r.p, ControlOut)
}

// unlink separates a request from its download and puts the pieces that did not come back.
func (s *Scheduler) unlink(r *request) {
	d := r.d
	if d == nil {
		return
	}
	r.d = nil
	d.inflight = slices.DeleteFunc(d.inflight, func(x *request) bool { return x == r })
	s.putBack(d, r)
}

// putBack marks the pieces of r that did not come as wanted again, unless a duplicate is still under way for them.
func (s *Scheduler) putBack(d *download, r *request) {
	for _, it := range r.items {
		if it.got || s.askedElsewhere(d, r, it.i) {
			continue
		}
		switch {
		case it.i == rootItem:
			d.rootOut = false
		case it.i < 0:
			i := partOf(it.i)
			d.parts.clear(i)
			d.partAt = min(d.partAt, i)
		case d.man != nil || it.i == 0:
			if !d.done.get(it.i) {
				d.asked.clear(it.i)
			}
		}
	}
}

func (s *Scheduler) askedElsewhere(d *download, r *request, i int) bool {
	for _, x := range d.inflight {
		if x == r || x.over {
			continue
		}
		for _, it := range x.items {
			if it.i == i && !it.got {
				return true
			}
		}
	}
	return false
}

// finish is the end of a request's record: nothing of it is under way any more.
func (s *Scheduler) finish(r *request) {
	n := &r.p.net
	s.timers.stop(&r.deadline)
	s.timers.stop(&r.hedgeT)
	n.bytes -= r.due
	r.l.bytes -= r.due
	n.count--
	if r.class == Urgent {
		n.urgent -= r.due
		n.nurgent--
	} else if !r.over {
		s.bulkBytes -= r.due
	}
	r.due = 0
	if r.hedge {
		s.hedges.open--
		r.hedge = false
	}
	s.freed(r.p)
}

// freed is a peer that may have room again.
func (s *Scheduler) freed(p *peer) { s.opened(p) }

func (s *Scheduler) cancelAll(d *download, quiet bool) {
	for len(d.inflight) > 0 {
		s.cancel(d.inflight[0])
	}
	if quiet {
		for _, o := range d.offers {
			s.unready(o)
		}
	}
}

func (s *Scheduler) cancelFrom(d *download, p *peer) {
	for _, r := range slices.Clone(d.inflight) {
		if r.p == p {
			s.cancel(r)
		}
	}
}
