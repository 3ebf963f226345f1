package artifact

import (
	"crypto/hmac"
	"time"
)

// joinState is the state of the bulk bearers of one peer (artifact §6.2, Join). Memory is one number per index.
type joinState struct {
	// dialler
	key     [16]byte
	bearers int // 0: none were offered
	attempt [maxBearers]uint64
	state   [maxBearers]bearerState
	tries   [maxBearers]int
	stale   [maxBearers]bool // a joinNo(stale) was answered with the next attempt already
	timer   [maxBearers]timer
	// acceptor
	accepted [maxBearers]uint64
}

type bearerState uint8

const (
	bearerDown bearerState = iota
	bearerDialling
	bearerUp
	bearerNever // not dialled again in this session
)

// granted takes the offer of an initOk.
func (j *joinState) granted(b *bulkOffer) {
	j.key, j.bearers = b.key, b.bearers
}

// dialBearers dials what is offered and down.
func (c *Core) dialBearers(p *peer) {
	j := &p.join
	for i := 0; i < j.bearers; i++ {
		if j.state[i] == bearerDown && j.timer[i].pos == 0 {
			j.state[i] = bearerDialling
			c.fx = append(c.fx, Effect{What: EffectDial, Peer: p.ID, p: p, Index: i})
		}
	}
}

// joinMessage is the first message on a fresh bulk bearer, nil when the session it was dialled for is over.
func (c *Core) joinMessage(p *peer, i int) []byte {
	j := &p.join
	if p.gone || i >= j.bearers || j.state[i] != bearerDialling {
		return nil
	}
	j.attempt[i]++
	s := sessionOf(&j.key)
	m := msgJoin{session: s, bearer: uint64(i), attempt: j.attempt[i], mac: joinMAC(&j.key, "join", s, uint64(i), j.attempt[i])}
	return m.append(nil)
}

// joinReply processes the acceptor's answer. up: the bearer carries our lane and the peer's from now on; again: dial once
// more at once. Otherwise the bearer is closed.
func (c *Core) joinReply(p *peer, i int, msg []byte) (up, again bool, err error) {
	j := &p.join
	if p.gone || i >= j.bearers || j.state[i] != bearerDialling {
		return false, false, nil
	}
	ok, mac, reason, err := decodeJoinReply(msg)
	if err != nil {
		c.bearerDown(p, i)
		return false, false, err
	}
	if !ok {
		if reason == joinStale && !j.stale[i] {
			j.stale[i] = true
			return false, true, nil
		}
		j.state[i] = bearerNever
		return false, false, nil
	}
	want := joinMAC(&j.key, "joined", sessionOf(&j.key), uint64(i), j.attempt[i])
	if !hmac.Equal(want[:], mac[:]) {
		j.state[i] = bearerNever
		return false, false, violation("joinOk without the key")
	}
	j.tries[i], j.stale[i] = 0, false
	c.bearerUp(p, i)
	return true, false, nil
}

// acceptJoin answers the join of a bulk bearer whose handshake named the peer id; nothing was allocated for it before. ok says
// that it carries lanes from now on, under the index returned; a bearer that was there under the same index is replaced.
func (c *Core) acceptJoin(id PeerID, msg []byte) (reply []byte, p *peer, index int, ok bool) {
	m, err := decodeJoin(msg)
	if err != nil {
		return nil, nil, 0, false
	}
	no := func(reason uint64) ([]byte, *peer, int, bool) { return appendJoinNo(nil, reason), nil, 0, false }
	p = c.byID[id]
	if p == nil || p.gone || p.prov.bulk == nil || p.prov.state != provRun || sessionOf(&p.prov.bulk.key) != m.session {
		return no(joinUnknown)
	}
	key := &p.prov.bulk.key
	want := joinMAC(key, "join", m.session, m.bearer, m.attempt)
	if !hmac.Equal(want[:], m.mac[:]) {
		return no(joinBadMAC)
	}
	if m.bearer >= uint64(p.prov.bulk.bearers) {
		return no(joinIndex)
	}
	i := int(m.bearer)
	if m.attempt <= p.join.accepted[i] {
		return no(joinStale)
	}
	p.join.accepted[i] = m.attempt
	if p.net.lanes[laneBearer+i].up {
		c.laneLost(p, i)
	}
	c.bearerUp(p, i)
	return appendJoinOk(nil, joinMAC(key, "joined", m.session, m.bearer, m.attempt)), p, i, true
}

func (c *Core) bearerUp(p *peer, i int) {
	p.join.state[i] = bearerUp
	l := &p.net.lanes[laneBearer+i]
	l.up, l.ended, l.last = true, false, c.now
	p.prov.lanes[2+i] = serveLane{stream: bearerIn + Stream(i), up: true, last: -1}
	c.sched.opened(p)
}

// bearerDown is a bulk bearer that was lost or could not be dialled: its requests are asked of others at once, and its dialler
// tries again after 1 s × 2ⁿ ≤ 60 s.
func (c *Core) bearerDown(p *peer, i int) {
	j := &p.join
	if p.gone {
		return
	}
	c.laneLost(p, i)
	if j.state[i] == bearerNever {
		return
	}
	j.state[i] = bearerDown
	if p.Dialler && i < j.bearers {
		j.timer[i].what, j.timer[i].p = timerJoin, p
		c.timers.set(&j.timer[i], c.now+min(time.Second<<min(j.tries[i], 6), time.Minute))
		j.tries[i]++
	}
}

// laneLost requeues everything that was asked for on a bulk bearer.
func (c *Core) laneLost(p *peer, i int) {
	l := &p.net.lanes[laneBearer+i]
	l.up = false
	c.sched.dropLane(p, l)
	p.prov.lanes[2+i] = serveLane{stream: bearerIn + Stream(i), last: -1}
	c.srv.leave(laneRef{p, 2 + i})
}

// dropLane forgets all requests of a lane and asks others.
func (s *Scheduler) dropLane(p *peer, l *lane) {
	open := l.open
	l.open, l.sent = nil, 0
	for _, r := range open {
		s.finish(r)
		if d := r.d; d != nil {
			s.unlink(r)
			s.again(d)
		}
	}
	l.bytes = 0
}

// closeBearers ends all bulk bearers of a peer.
func (c *Core) closeBearers(p *peer) {
	for i := range p.join.timer {
		c.timers.stop(&p.join.timer[i])
		if p.join.state[i] == bearerUp || p.join.state[i] == bearerDialling {
			c.laneLost(p, i)
			c.fx = append(c.fx, Effect{What: EffectBearer, Peer: p.ID, p: p, Index: i})
		}
		p.join.state[i], p.join.attempt[i], p.join.accepted[i], p.join.tries[i], p.join.stale[i] = bearerDown, 0, 0, 0, false
	}
	p.join.bearers = 0
}
