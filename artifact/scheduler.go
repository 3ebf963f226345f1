package artifact

import "time"

// Scheduler decides which chunk is asked of whom and when (artifact §6.5): classes strictly, but the lower ones keep an eighth;
// inside a class deficit round robin over kinds; inside a kind the oldest offer; the less loaded of two advertisers. It is
// event driven: whatever frees room or brings work leads to pump. It is pure.
type Scheduler struct {
	*env
	con     *Consumer
	ring    [classes][]list[*peer] // per kind: peers with something ready and perhaps room
	deficit [classes][]int64
	turn    [classes]int
	low     int64 // bytes owed to the lower classes

	bulkBytes  int64 // in flight, all classes but urgent
	bulkWindow float64
	slowStart  bool
	shrunk     time.Duration

	times  [64]time.Duration // of urgent chunks, most recent
	ntimes int
	p95    time.Duration
	hedges struct {
		open  int
		bytes int64 // hedged since at
		total int64
		at    time.Duration
	}
	ingress  bucket
	ingressT timer
}

const (
	quantum    = 16 << 10
	bulkFloor  = 2 * maxFlat
	bulkStart  = 8 * maxFlat
	bulkMax    = 64 << 20
	batchBytes = maxFlat // of one bulk request, unless a single piece is larger
	laneFloor  = 4 * maxFlat
)

func newScheduler(e *env, c *Consumer) *Scheduler {
	s := &Scheduler{env: e, con: c, bulkWindow: bulkStart, slowStart: true, ingress: bucket{rate: float64(e.cfg.IngressRate)}}
	s.ingressT.what = timerIngress
	for cl := range s.ring {
		s.ring[cl] = make([]list[*peer], len(e.kinds.cfg))
		s.deficit[cl] = make([]int64, len(e.kinds.cfg))
	}
	return s
}

// arrived is a new advertiser: whoever waits for the next round need not.
func (s *Scheduler) arrived(d *download, o *offer) {
	s.timers.stop(&d.retry)
	d.exhausted = 0
	s.enqueue(d, o)
}

// again puts all eligible offers of a download that has work into their peers' queues; when none is eligible and nothing is
// under way, the next round is set.
func (s *Scheduler) again(d *download) {
	if d.state != downWant || !d.wantsWork(&s.kinds.cfg[d.kind]) {
		return
	}
	eligible := false
	for _, o := range d.offers {
		if o.failed && o.retry <= s.now && len(d.inflight) > 0 {
			o.failed = false // others made progress meanwhile
		}
		if !o.failed {
			eligible = true
			s.enqueue(d, o)
		}
	}
	if eligible || d.retry.pos != 0 || len(d.offers) == 0 {
		return
	}
	if len(d.inflight) > 0 && !allOver(d.inflight) {
		return // its end decides
	}
	// Every current advertiser has been tried.
	wait := min(50*time.Millisecond<<min(d.round, 7), 5*time.Second)
	d.round++
	if d.exhausted == 0 {
		d.exhausted = max(s.now, 1)
	}
	s.timers.set(&d.retry, s.now+wait)
}

func allOver(rs []*request) bool {
	for _, r := range rs {
		if !r.over {
			return false
		}
	}
	return true
}

// nextRound lets everybody be tried again.
func (s *Scheduler) nextRound(d *download) {
	for _, o := range d.offers {
		o.failed = false
	}
	s.again(d)
}

func (s *Scheduler) enqueue(d *download, o *offer) {
	if o.failed || o.ready.in != nil || !o.p.net.isOpen {
		return
	}
	n := &o.p.net
	n.ready[d.class][d.kind].pushBack(&o.ready, o)
	s.ring[d.class][d.kind].pushBack(&n.ring[d.class][d.kind], o.p)
}

// unready takes an offer out of every queue.
func (s *Scheduler) unready(o *offer) {
	if o.full {
		o.full = false
		o.p.net.nfull--
	}
	o.blocked = 0
	o.ready.remove()
}

// opened lets a peer's offers be scheduled: a new session, or a lane that came up.
func (s *Scheduler) opened(p *peer) {
	for c := range p.net.ready {
		for k := range p.net.ready[c] {
			if p.net.ready[c][k].n > 0 {
				s.ring[c][k].pushBack(&p.net.ring[c][k], p)
			}
		}
	}
}

// roomFor puts what waited for quota back.
func (s *Scheduler) roomFor(p *peer) {
	for n := p.net.full.front(); n != nil; n = p.net.full.front() {
		o := n.v
		since := o.blocked
		s.unready(o)
		o.blocked = since
		if o.d != nil && o.d.state == downWant {
			s.enqueue(o.d, o)
		}
	}
}

// pump sends requests out until nothing more can be.
func (s *Scheduler) pump() {
	for s.step() {
	}
}

func (s *Scheduler) step() bool {
	top := classes
	for c := Urgent; c < classes; c++ {
		if s.hasWork(c) {
			top = c
			break
		}
	}
	if top == classes {
		return false
	}
	if !s.ingress.ok(s.now) {
		s.timers.set(&s.ingressT, s.ingress.ready(s.now))
		return top == Urgent && s.ingress.borrow(s.now) && s.tryClass(Urgent) > 0
	}
	if s.low >= quantum {
		for c := top + 1; c < classes; c++ {
			if sent := s.tryClass(c); sent > 0 {
				s.low = max(0, s.low-sent)
				return true
			}
		}
	}
	for c := top; c < classes; c++ {
		if sent := s.tryClass(c); sent > 0 {
			if c == top && s.lowerWork(c) {
				s.low += sent / 7 // the lower classes are owed an eighth of all
			} else {
				s.low = 0
			}
			return true
		}
	}
	return false
}

func (s *Scheduler) hasWork(c Class) bool {
	for k := range s.ring[c] {
		if s.ring[c][k].n > 0 {
			return true
		}
	}
	return false
}

func (s *Scheduler) lowerWork(c Class) bool {
	for c++; c < classes; c++ {
		if s.hasWork(c) {
			return true
		}
	}
	return false
}

// tryClass issues one request of class c, kinds by deficit round robin, and returns its bytes, 0 if it could not.
func (s *Scheduler) tryClass(c Class) int64 {
	if c != Urgent && float64(s.bulkBytes) >= s.bulkWindow {
		return 0
	}
	// Only kinds of which something could be asked now take part: no turn or deficit is lost while nobody has room.
	live, n := uint64(0), len(s.ring[c])
	for k := range s.ring[c] {
		switch {
		case s.can(c, k):
			live |= 1 << k
		case s.ring[c][k].n == 0:
			s.deficit[c][k] = min(s.deficit[c][k], 0)
		}
	}
	for live != 0 {
		k := s.turn[c]
		if live>>k&1 != 0 && s.deficit[c][k] > 0 {
			if sent := s.tryKind(c, k); sent > 0 {
				s.deficit[c][k] -= sent
				return sent
			}
			live &^= 1 << k
		}
		k = (k + 1) % n
		s.turn[c] = k
		if live>>k&1 != 0 {
			s.deficit[c][k] += quantum * int64(s.kinds.cfg[k].Weight)
		}
	}
	return 0
}

// can reports whether some peer with room has something of (c, k) ready; peers that have not leave the ring until they do.
func (s *Scheduler) can(c Class, k int) bool {
	ring := &s.ring[c][k]
	for n := ring.front(); n != nil; n = ring.front() {
		if n.v.net.ready[c][k].n > 0 && s.room(n.v, c) {
			return true
		}
		n.remove()
	}
	return false
}

// tryKind issues one request of (c, k) and returns its bytes, at least 1; 0 when nothing can be issued.
func (s *Scheduler) tryKind(c Class, k int) int64 {
	ring := &s.ring[c][k]
	for n := ring.front(); n != nil; n = ring.front() {
		p := n.v
		o := p.net.ready[c][k].front()
		if o == nil || !s.room(p, c) {
			n.remove() // back when there is room, or something ready
			continue
		}
		if sent := s.issue(o.v, c); sent > 0 {
			if n.in != nil {
				n.remove()
				ring.pushBack(n, p)
			}
			return sent
		}
	}
	return 0
}

// room reports whether p may be asked for one more piece of class c.
func (s *Scheduler) room(p *peer, c Class) bool {
	n := &p.net
	if !n.isOpen || p.con.state != conRun || p.gone {
		return false
	}
	l := n.laneFor(c)
	if !l.up || l.ended || len(l.open) >= pipeFetch {
		return false
	}
	if c == Urgent {
		return n.count < maxRequests && (n.urgent < urgentBytes || n.spare() > 0)
	}
	if n.count-n.nurgent >= n.trust {
		return false // whoever sends wrong bytes wastes little
	}
	if n.count >= maxRequests || n.count-n.nurgent >= maxRequests-urgentRequests || n.spare() <= 0 {
		return false
	}
	if l.stream == BulkOut && l.bytes > 0 {
		return l.bytes < max(mainBulkBytes, int64(n.rate*n.srtt(p).Seconds()))-maxFlat/2
	}
	// A cheaper class waiting behind its own elders waits no longer than two bandwidth-delay products, or for what a slow lane brings
	// in a quarter of the longest deadline: behind more it would be late however regular the lane is. Two requests keep a lane busy,
	// and only a busy lane tells its rate.
	floor := int64(laneFloor)
	if n.rate > 0 {
		floor = min(floor, max(maxFlat+1, int64(n.rate*deadlineMax.Seconds()/4)-maxFlat))
	}
	return l.bytes < max(floor, int64(2*n.rate*n.srtt(p).Seconds()))
}

// issue asks for something of o's artifact, of the better of two advertisers. 0: o is out of the queue.
func (s *Scheduler) issue(o *offer, c Class) int64 {
	d := o.d
	if d == nil || !d.wantsWork(&s.kinds.cfg[d.kind]) {
		s.unready(o)
		return 0
	}
	for {
		x := s.choose(d, c)
		if x == nil {
			s.unready(o)
			return 0
		}
		if !s.con.charge(d, x) {
			s.waitForQuota(x)
			if x == o {
				return 0
			}
			continue
		}
		x.blocked = 0
		r := s.build(d, x, c)
		if len(r.items) == 0 {
			s.unready(o)
			return 0
		}
		s.send(r)
		return max(r.bytes, 1)
	}
}

func (s *Scheduler) waitForQuota(o *offer) {
	o.ready.remove()
	if o.blocked == 0 {
		o.blocked = max(s.now, 1)
	}
	if !o.full {
		o.full = true
		o.p.net.nfull++
		o.p.net.full.pushBack(&o.ready, o)
	}
}

// choose samples two of the advertisers that are not tried in this round and have room, and takes the one that would be done
// first.
func (s *Scheduler) choose(d *download, c Class) *offer {
	n := 0
	var a, b *offer
	for _, o := range d.offers {
		if !o.wants || o.failed || o.full || !s.room(o.p, c) || s.underWay(d, o.p) >= perArtifact {
			continue
		}
		n++
		// reservoir of two
		switch {
		case a == nil:
			a = o
		case b == nil:
			b = o
		default:
			switch s.rnd.IntN(n) {
			case 0:
				a = o
			case 1:
				b = o
			}
		}
	}
	if b == nil {
		return a
	}
	if s.cost(b, d) < s.cost(a, d) {
		return b
	}
	return a
}

func (s *Scheduler) underWay(d *download, p *peer) (n int) {
	for _, r := range d.inflight {
		if r.p == p {
			n += r.left
		}
	}
	return n
}

func (s *Scheduler) cost(o *offer, d *download) time.Duration {
	return o.p.net.estimate(o.p, o.p.net.bytes+min(d.size, int64(s.kinds.cfg[d.kind].ChunkSize)))
}
