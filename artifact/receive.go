package artifact

import "time"

// message is a decoded and hashed message: what decode made of the bytes outside the step.
type message struct {
	stream Stream
	prov   fromProvider
	js     []judged
	asked  time.Duration // when decode began, and so before the bouncer was asked; 0: now
	cons   toProvider
	ctl    control
	fetch  *msgFetch
	end    bool
	piece  piece
	how    hashOf
	sum    ID
}

// decoder turns bytes into messages; it reuses its memory, so one belongs to one stream.
type decoder struct {
	entries []entry
	js      []judged
	dispose []disposition
	window  int
}

// decode parses one message of a stream. bouncer is asked about every offer in it; plan is asked for the hash a piece needs.
// Views into b are valid as long as b is.
func (d *decoder) decode(s Stream, b []byte, bouncer func(kind uint32, id ID, attr []byte) Interest, plan func(*piece) hashOf) (m message, err error) {
	m.stream = s
	switch {
	case s == OfferOut:
		m.prov, err = decodeFromProvider(b, d.window, d.entries)
		if err != nil {
			return m, err
		}
		d.entries, d.js = m.prov.offers, d.js[:0]
		for i := range m.prov.offers {
			e := &m.prov.offers[i]
			j := judged{}
			if e.tag == entryOffer || e.tag == entryPush {
				j.interest = bouncer(e.kind, e.id, e.attr)
			}
			if e.tag == entryPush {
				j.sum = BodyID(e.kind, e.body)
			}
			d.js = append(d.js, j)
		}
		m.js = d.js
	case s == OfferIn:
		m.cons, err = decodeToProvider(b)
	case s == ControlOut:
		err = decodeCtlAck(b)
	case s == ControlIn:
		m.ctl, err = decodeControl(b, d.dispose)
		d.dispose = m.ctl.dispose
	case s == UrgentIn || s == BulkIn || s >= bearerIn:
		m.fetch, m.end, err = decodeFetch(b)
	default:
		m.piece, err = decodePiece(b)
		if err == nil && m.piece.tag != tagFetchDone {
			pc := m.piece // so that only a piece is put on the heap
			m.how = plan(&pc)
			m.sum = m.how.sum(m.piece.data)
		}
	}
	return m, err
}

// laneOf returns our lane of a stream.
func (p *peer) laneOf(s Stream) *lane {
	switch {
	case s == UrgentOut:
		return &p.net.lanes[laneUrgent]
	case s == BulkOut:
		return &p.net.lanes[laneMain]
	}
	return &p.net.lanes[laneBearer+int(s-bearerOut)]
}

// serveLaneOf returns the index of the lane a stream serves.
func serveLaneOf(s Stream) int {
	switch s {
	case UrgentIn:
		return 0
	case BulkIn:
		return 1
	}
	return 2 + int(s-bearerIn)
}

// receive is one message from a peer. A returned error is the peer's fault and has been acted upon.
func (c *Core) receive(now time.Duration, p *peer, m *message) error {
	c.now = now
	if p.gone {
		return nil
	}
	if m.asked == 0 {
		m.asked = now
	}
	err := c.dispatch(p, m)
	if err != nil {
		c.fail(p, err, true)
	}
	c.settle()
	return err
}

// malformed is a message that could not be decoded.
func (c *Core) malformed(now time.Duration, p *peer, err error) {
	c.now = now
	c.fail(p, err, true)
}

func (c *Core) dispatch(p *peer, m *message) error {
	s := &p.prov
	switch {
	case m.stream == OfferOut:
		switch m.prov.tag {
		case tagInitOk:
			if err := c.con.initOk(p, &m.prov.ok); err != nil {
				return err
			}
			c.sched.opened(p)
			c.dialBearers(p)
			return nil
		case tagInitNo:
			return c.con.initNo(p, m.prov.reason)
		}
		return c.con.offersMessage(p, m)
	case m.stream == OfferIn:
		switch m.cons.tag {
		case tagInit:
			return c.init(p, m.cons.init)
		case tagRequestNext:
			return c.requestNext(p, m.cons.next)
		}
		return c.done(p)
	case m.stream == ControlOut:
		if p.con.unacked == 0 {
			return violation("an ack for nothing")
		}
		p.con.unacked--
		p.con.ackAt = c.now
		p.con.ackSeq++
		if p.con.cmp && p.con.ackSeq >= p.con.cmpSeq {
			p.con.cmp, p.con.cmpNext = false, c.now+compareEvery
		}
		c.wake(p, ControlOut)
		return nil
	case m.stream == ControlIn:
		return c.control(p, &m.ctl)
	case m.stream == UrgentIn || m.stream == BulkIn || m.stream >= bearerIn:
		if !s.had {
			return violation("fetch before initOk")
		}
		l := &s.lanes[serveLaneOf(m.stream)]
		if m.end {
			if m.stream < bearerOut {
				s.ends[m.stream-UrgentIn] = true
				c.pendingInit(p)
			}
			return nil
		}
		if s.nextReq > 0 && m.fetch.id >= s.nextReq+lanes*pipeFetch {
			return violation("request id %d is too far ahead", m.fetch.id)
		}
		s.nextReq = max(s.nextReq, m.fetch.id+1)
		return c.srv.fetch(p, l, m.fetch)
	}
	err := c.sched.piece(p, p.laneOf(m.stream), &m.piece, m.how, m.sum)
	if err == errWrongHash {
		c.wrongHash(p, m.stream)
		return nil
	}
	return err
}

// wrongHash blames for a chunk or manifest that does not have its hash: the peer where the bearer proves who it is. Elsewhere
// somebody on the path may have done it, so the bearer it came on is closed, and the peer is banned at the third time only.
func (c *Core) wrongHash(p *peer, s Stream) {
	if p.Authenticated {
		c.blame(p, Violation, errWrongHash)
		return
	}
	if c.blame(p, WrongHash, errWrongHash) {
		return
	}
	if s < bearerOut {
		c.fail(p, errWrongHash, false)
		return
	}
	i := int(s - bearerOut)
	c.fx = append(c.fx, Effect{What: EffectBearer, Peer: p.ID, p: p, Index: i, Err: errWrongHash})
	c.bearerDown(p, i)
}

// init opens the consumer's session; while the old one has not been ended by the consumer, the answer waits.
func (c *Core) init(p *peer, m *msgInit) error {
	s := &p.prov
	if m.version != 1 {
		s.initNo = initNoVersion
		c.wake(p, OfferIn)
		return nil
	}
	if s.state != provIdle {
		// A second session of the same consumer replaces the first.
		c.endProvider(p)
		s.ends = [3]bool{true, true, true}
	}
	s.waiting = m
	c.pendingInit(p)
	return nil
}

// pendingInit answers an init once ctlDone and the fetchEnds of the old session have been read.
func (c *Core) pendingInit(p *peer) {
	s := &p.prov
	m := s.waiting
	if m == nil || s.had && s.ends != [3]bool{true, true, true} {
		return
	}
	lanes := s.lanes
	acks := s.acks
	*s = newProv(p)
	s.acks = acks
	for i := 2; i < len(lanes); i++ {
		s.lanes[i] = lanes[i]
		s.lanes[i].last = -1
	}
	s.had = true
	v := viewConfig{kinds: make([]bool, len(c.kinds.cfg)), eager: p.link.on, window: min(m.window, c.cfg.Window),
		reserve: min(m.reserve, min(m.window, c.cfg.Window)/2), yields: !p.Dialler, resume: m.resume}
	s.claimed = m.window
	for _, k := range m.kinds {
		if i, ok := c.kinds.index[k.kind]; ok {
			v.kinds[i] = true
			p.link.peerWish[i] = wishOf(k.eager)
			p.link.agree(i)
		}
	}
	s.view, s.resumed = c.table.newView(c.now, v)
	if m.resume != nil && m.resume.epoch == c.table.epoch && m.resume.highest > c.table.commit {
		// A counter in our future: this process is a clone or was rolled back. It draws a new epoch instead of blaming.
		c.table.epoch = c.random8()
	}
	s.state = provInitOk
	s.compared = make([]time.Duration, c.cfg.Slots/blockSlots)
	s.reoffers = make([]reofferState, len(c.kinds.cfg))
	if !p.Dialler && c.cfg.BulkBearers > 0 {
		s.bulk = &bulkOffer{bearers: c.cfg.BulkBearers}
		a, b := c.random8(), c.random8()
		copy(s.bulk.key[:8], a[:])
		copy(s.bulk.key[8:], b[:])
	}
	c.pushTargets()
	c.wake(p, OfferIn)
}

func (c *Core) requestNext(p *peer, m msgRequestNext) error {
	s := &p.prov
	if s.state != provRun {
		return violation("requestNext outside a session")
	}
	if m.entries < 1 || m.entries > s.claimed || len(s.requests) == pipeOffer {
		return violation("requestNext of %d entries, %d open", m.entries, len(s.requests))
	}
	s.requests = append(s.requests, m)
	s.view.dry = 0
	c.show(p)
	return nil
}

// done is the consumer's end of the offer protocol.
func (c *Core) done(p *peer) error {
	s := &p.prov
	if s.state != provRun || len(s.requests) > 0 {
		return violation("done out of turn")
	}
	c.endProvider(p)
	return nil
}

// endProvider drops the view; window, offers held and bulk key end with it.
func (c *Core) endProvider(p *peer) {
	s := &p.prov
	if s.view != nil {
		c.table.dropView(s.view)
	}
	s.view, s.state, s.requests, s.stopping = nil, provIdle, nil, true
	c.timers.stop(&s.merged)
	c.timers.stop(&s.tailT)
	c.timers.stop(&s.restT)
	if s.bulk != nil {
		s.bulk = nil
		c.closeBearers(p)
	}
	c.pushTargets()
}

// control processes what the consumer says. Every message is acked as soon as it is read, also one that has no effect.
func (c *Core) control(p *peer, m *control) error {
	s := &p.prov
	if !s.had || s.state == provInitOk {
		return violation("control before initOk")
	}
	if m.tag == tagCtlDone {
		if s.state == provRun {
			s.earlyDone = true // streams are not ordered among each other: done is on its way
		}
		s.ends[2] = true
		c.pendingInit(p)
		return nil
	}
	if s.acks >= pipeControl {
		return violation("more than %d control messages without an ack", pipeControl)
	}
	s.acks++
	c.wake(p, ControlIn)
	if m.tag == tagEager {
		c.eager(p, m.eager)
		return nil
	}
	if s.view == nil {
		return nil
	}
	switch m.tag {
	case tagDispose:
		for _, d := range m.dispose {
			if err := s.view.dispose(d); err != nil {
				return err
			}
		}
	case tagHave:
		for _, id := range m.have {
			s.view.have.Add(id, struct{}{})
		}
	case tagReoffer:
		c.reoffer(p, m)
	case tagCancel:
		c.srv.cancel(p, m.cancel)
	case tagStop:
		s.stopping = true
	case tagCompare:
		for i, d := range m.digests {
			b := m.first + i
			if b >= len(s.compared) || s.compared[b] != 0 && c.now-(s.compared[b]-1) < compareEvery {
				continue
			}
			s.compared[b] = c.now + 1
			s.view.compare(c.now, b, d, m.answers)
		}
	}
	c.show(p)
	return nil
}

// eager is the peer turning our link eager or lazy, both ways. An off of ours that is not acked yet wins over a crossing on.
func (c *Core) eager(p *peer, ks []kindWish) {
	for _, k := range ks {
		i, ok := c.kinds.index[k.kind]
		if !ok {
			continue
		}
		if k.eager && (p.link.tell[i] == tellOff || p.link.off[i] > p.con.ackSeq) {
			continue
		}
		p.link.on[i] = k.eager
		if !k.eager && p.link.tell[i] == tellOn {
			p.link.tell[i] = tellNothing
		}
	}
}

// reoffer is honoured once a second per kind, a sooner one is merged and honoured when the second is over.
func (c *Core) reoffer(p *peer, m *control) {
	s := &p.prov
	one := func(i int, filter []byte) {
		r := &s.reoffers[i]
		if r.which != 0 && (r.all || filter == nil || string(r.filter) != string(filter)) {
			r.all, r.filter = true, nil
		} else {
			r.all, r.filter = filter == nil, append([]byte(nil), filter...)
		}
		r.which |= m.which
	}
	if len(m.reoffer) == 0 {
		for i := range s.reoffers {
			one(i, nil)
		}
	}
	for _, k := range m.reoffer {
		if i, ok := c.kinds.index[k.kind]; ok {
			one(i, k.filter)
		}
	}
	c.mergedReoffer(p)
}

func (c *Core) mergedReoffer(p *peer) {
	s := &p.prov
	if s.view == nil {
		return
	}
	next := time.Duration(-1)
	for i := range s.reoffers {
		r := &s.reoffers[i]
		if r.which == 0 {
			continue
		}
		if at := r.at - 1 + time.Second; r.at != 0 && c.now < at {
			if next < 0 || at < next {
				next = at
			}
			continue
		}
		parked := s.view.parked(r.which, i)
		if r.all || r.filter == nil {
			s.view.repend(parked)
		} else if len(parked) > 0 {
			c.fx = append(c.fx, Effect{What: EffectMatch, Peer: p.ID, p: p, Kind: c.kinds.cfg[i].ID, Attr: r.filter, parked: parked})
		}
		*r = reofferState{at: c.now + 1}
	}
	if next >= 0 {
		c.timers.set(&s.merged, next)
	}
	c.show(p)
}

// matched is the answer to EffectMatch: the parked offers whose attr matched.
func (c *Core) matched(now time.Duration, p *peer, ps []parkedSlot) {
	c.now = now
	if v := p.prov.view; v != nil && !p.gone {
		v.repend(ps)
		c.show(p)
	}
}
