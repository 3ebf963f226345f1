package artifact

import (
	"fmt"
	"sync"
)

// check verifies the invariants of a node: those of the peer that the step was about always; full recounts everything that is
// kept as a counter, for all peers.
func (c *Core) check(about PeerID, full bool) error {
	bound := boundOf(c)
	for _, p := range c.peers {
		if !full && p.ID != about {
			continue
		}
		if u := c.usage(p); u.Total() > bound.Total() {
			return fmt.Errorf("peer %x: memory %+v above the bound %+v", p.ID[14:], u, bound)
		} else if err := within(u, bound); err != nil {
			return fmt.Errorf("peer %x: %w", p.ID[14:], err)
		}
		if p.con.held != nil && p.con.window() > c.cfg.Window && !p.gone {
			return fmt.Errorf("peer %x: %d offers outstanding", p.ID[14:], p.con.window())
		}
		if v := p.prov.view; v != nil && v.nwait > v.window {
			return fmt.Errorf("view of %x: %d outstanding", p.ID[14:], v.nwait)
		}
		if p.net.count > maxRequests || p.net.bytes > windowMax {
			return fmt.Errorf("peer %x: %d requests, %d bytes in flight", p.ID[14:], p.net.count, p.net.bytes)
		}
		if p.con.unacked > pipeControl || p.prov.acks > pipeControl || len(p.prov.requests) > pipeOffer {
			return fmt.Errorf("peer %x: pipelines %d %d %d", p.ID[14:], p.con.unacked, p.prov.acks, len(p.prov.requests))
		}
		if len(p.con.cancels) > maxRequests {
			return fmt.Errorf("peer %x: %d cancels", p.ID[14:], len(p.con.cancels))
		}
	}
	q := &c.con.quota
	if q.shared > q.cap/2 || q.total > q.cap || q.total < 0 {
		return fmt.Errorf("quota: %d shared, %d in all, cap %d", q.shared, q.total, q.cap)
	}
	if len(c.con.downs) > (len(c.peers)+1)*(c.cfg.Window*2+stashSize) {
		return fmt.Errorf("%d downloads for %d peers", len(c.con.downs), len(c.peers))
	}
	if full {
		if n := c.NodeUsage(); n > NodeBound(c.cfg, len(c.peers)) {
			return fmt.Errorf("node holds %d, bound %d", n, NodeBound(c.cfg, len(c.peers)))
		}
		return c.recount()
	}
	return nil
}

var bounds sync.Map // *Core → Memory

// boundOf is Bound, computed once a core.
func boundOf(c *Core) Memory {
	b, ok := bounds.Load(c)
	if !ok {
		b = Bound(c.cfg)
		bounds.Store(c, b)
	}
	return b.(Memory)
}

// within compares row by row.
func within(u, b Memory) error {
	rows := func(m Memory) [12]int64 {
		return [...]int64{m.View, m.Offers, m.Manifests, m.InlineCredit, m.Requested, m.Unvalidated, m.Checks, m.Stash, m.Resume, m.Serving,
			m.Streams, m.Requests}
	}
	x, y := rows(u), rows(b)
	for i := range x {
		if x[i] > y[i] {
			return fmt.Errorf("row %d: %d above the bound %d", i, x[i], y[i])
		}
	}
	return nil
}

func (c *Core) recount() error {
	for i, x := range c.timers.heap {
		if x.pos != i+1 || i > 0 && c.timers.less(i, (i-1)/2) {
			return fmt.Errorf("timer %d of kind %d: heap broken", i, x.what)
		}
	}
	t := c.table
	filled := 0
	for i := range t.regs {
		r := &t.regs[i]
		if r.art == nil {
			continue
		}
		filled++
		if t.byID[r.art.ID] != r.art || r.art.slot != i {
			return fmt.Errorf("slot %d: index broken", i)
		}
		if r.commit > t.commit {
			return fmt.Errorf("slot %d: commit %d above the counter %d", i, r.commit, t.commit)
		}
		waiting := int32(0)
		for _, v := range t.views {
			if !v.lagging && v.waits(i) {
				waiting++
			}
		}
		if waiting != r.waiting {
			return fmt.Errorf("slot %d: %d views wait, counted %d", i, waiting, r.waiting)
		}
		if waiting == 0 && r.art.Relayed && r.art.partial == nil && !r.queued {
			return fmt.Errorf("slot %d is settled everywhere but not reusable", i)
		}
	}
	for id, a := range t.byID {
		if d := a.partial; d != nil && (c.con.downs[id] != d || d.art != a || c.store[id] != nil) || d == nil && c.store[id] != a {
			return fmt.Errorf("table: what it has of %x is neither validated nor on its way", id[:4])
		}
	}
	if filled != len(t.byID) || filled+len(t.free) != len(t.regs) {
		return fmt.Errorf("table: %d filled, %d indexed, %d free", filled, len(t.byID), len(t.free))
	}
	for _, v := range t.views {
		if err := v.recount(); err != nil {
			return err
		}
	}
	return c.con.recount()
}

func (v *View) recount() error {
	gone, tail := v.gone.count(), v.tail.count()
	if gone != v.ngone || tail != v.ntail {
		return fmt.Errorf("view: %d/%d gone, %d/%d tail", gone, v.ngone, tail, v.ntail)
	}
	var nout [classes]int
	var kout [classes]int
	for _, o := range v.out {
		nout[o.class]++
	}
	for c := range kout {
		for _, n := range v.kout[c] {
			kout[c] += n
		}
	}
	if kout != nout {
		return fmt.Errorf("view: out %v, by kinds %v", nout, kout)
	}
	if nout != v.nout || len(v.out) != v.nwait {
		return fmt.Errorf("view: out %v, counted %v", nout, v.nout)
	}
	var pend [classes]int
	outs := 0
	for i := range v.t.regs {
		s := v.state(i)
		a := v.t.regs[i].art
		if a == nil && s != slotNone {
			return fmt.Errorf("view: empty slot %d in state %d", i, s)
		}
		if s.pending() {
			pend[a.Class]++
			if !v.pend[a.Class][a.kind].get(i) {
				return fmt.Errorf("view: slot %d is not in its pending bitmap", i)
			}
		}
		if s == slotOut {
			outs++
			if o, ok := v.out[uint32(i)]; !ok || o.commit != v.t.regs[i].commit {
				return fmt.Errorf("view: slot %d out without a record", i)
			}
		}
		if s == slotKnown && !v.tail.get(i) {
			return fmt.Errorf("view: slot %d known but not due", i)
		}
		if v.gone.get(i) && v.tail.get(i) {
			return fmt.Errorf("view: slot %d is withdrawn twice", i)
		}
		if (s == slotOut || s == slotLater || s == slotNoRoom) && !v.shown.get(i) {
			return fmt.Errorf("view: slot %d in state %d was never shown", i, s)
		}
	}
	for c := range v.npend {
		n := 0
		for k := range v.npend[c] {
			n += v.npend[c][k]
		}
		if n != pend[c] {
			return fmt.Errorf("view: %d pending of class %d, counted %d", pend[c], c, n)
		}
	}
	if v.initial != nil && v.initial.count() != v.ninit {
		return fmt.Errorf("view: initial %d, counted %d", v.initial.count(), v.ninit)
	}
	if outs > v.nwait {
		return fmt.Errorf("view: %d out, %d places", outs, v.nwait)
	}
	return nil
}

func (c *Consumer) recount() error {
	total := int64(0)
	mem := map[*account][]int64{}
	count := map[*account][]int{}
	for id, d := range c.downs {
		if d.id != id || d.state == downGone {
			return fmt.Errorf("download %x: index broken", id[:4])
		}
		if d.charge != nil {
			if mem[d.charge] == nil {
				mem[d.charge] = make([]int64, len(c.kinds.cfg))
				count[d.charge] = make([]int, len(c.kinds.cfg))
			}
			mem[d.charge][d.kind] += d.mem
			count[d.charge][d.kind]++
			total += d.mem
		}
		if int64(len(d.buf)) > 0 && d.charge == nil {
			return fmt.Errorf("download %x: %d bytes, charged to nobody", id[:4], len(d.buf))
		}
		if int64(len(d.buf)) > d.mem {
			return fmt.Errorf("download %x: %d bytes, charged %d", id[:4], len(d.buf), d.mem)
		}
		for _, o := range d.offers {
			if o.d != d || o.p.con.held[o.slot] != o || o.p.gone && c.now > 0 && !contains(c.peers, o.p) {
				return fmt.Errorf("download %x: stale offer of slot %d", id[:4], o.slot)
			}
		}
		for _, r := range d.inflight {
			if r.d != d {
				return fmt.Errorf("download %x: stale request", id[:4])
			}
		}
		switch d.state {
		case downWant, downGrace:
			if len(d.offers) == 0 && d.orphaned == 0 {
				return fmt.Errorf("download %x: no advertiser, not orphaned", id[:4])
			}
		case downJudge:
			if d.judge.in == nil && !d.isTaken {
				return fmt.Errorf("download %x: assembled, but nobody will judge it", id[:4])
			}
		}
	}
	if total != c.quota.total {
		return fmt.Errorf("quota: %d charged, counted %d", total, c.quota.total)
	}
	shared := int64(0)
	for _, a := range c.accts {
		shared += c.quota.sharedOf(a, a.total)
		for k := range a.mem {
			want, n := int64(0), 0
			if mem[a] != nil {
				want, n = mem[a][k], count[a][k]
			}
			if a.mem[k] != want || a.count[k] != n {
				return fmt.Errorf("account: kind %d: %d bytes of %d, counted %d of %d", k, want, n, a.mem[k], a.count[k])
			}
		}
	}
	if shared != c.quota.shared {
		return fmt.Errorf("quota: %d shared, counted %d", shared, c.quota.shared)
	}
	bulk := int64(0)
	for _, p := range c.peers {
		s := &p.con
		counts, extras := 0, 0
		for _, q := range s.disp {
			if q.counts {
				counts++
			}
		}
		var class [classes]int
		for _, o := range s.held {
			class[o.class]++
			if o.extra {
				extras++
			}
			if o.d == nil {
				return fmt.Errorf("offer of slot %d is held by nothing", o.slot)
			}
		}
		if counts != s.unsent || extras != s.extras || class != s.byClass {
			return fmt.Errorf("consumer: unsent %d/%d extras %d/%d classes %v/%v", counts, s.unsent, extras, s.extras, class, s.byClass)
		}
		bytes, n := int64(0), 0
		for i := range p.net.lanes {
			l := &p.net.lanes[i]
			lb := int64(0)
			for _, r := range l.open {
				lb += r.due
				n++
				if r.class != Urgent && !r.over {
					bulk += r.due
				}
			}
			if lb != l.bytes {
				return fmt.Errorf("lane %d: %d bytes, counted %d", i, lb, l.bytes)
			}
			bytes += lb
		}
		if bytes != p.net.bytes || n != p.net.count {
			return fmt.Errorf("supplier: %d bytes in %d requests, counted %d in %d", bytes, n, p.net.bytes, p.net.count)
		}
	}
	if bulk != c.sched.bulkBytes {
		return fmt.Errorf("scheduler: %d bulk bytes, counted %d", bulk, c.sched.bulkBytes)
	}
	return nil
}

func contains(ps []*peer, p *peer) bool {
	for _, x := range ps {
		if x == p {
			return true
		}
	}
	return false
}
