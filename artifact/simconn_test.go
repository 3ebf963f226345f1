package artifact

import (
	"errors"
	"time"
)

// simConn is the connection between two nodes: the main bearer and up to four bulk ones.
type simConn struct {
	net     *simNet
	a, b    *simNode // a dials
	latency time.Duration
	rate    float64 // bytes/s, 0: unlimited
	up      bool
	silent  bool
	epoch   int // connection count
	pipes   [2][1 + maxBearers]*simPipe
	redial  time.Duration
	closed  bool // not redialled
	lives   [2]int
	noBulk  bool
	losses  int
	stalled time.Duration // nobody reads until then
	bytes   int64
}

// simPipe is one direction of one bearer.
type simPipe struct {
	c     *simConn
	from  *simNode
	to    *simNode
	ready uint32
	heads map[Stream]*simHead
	busy  bool
	turn  Stream
	dec   [streams]decoder
	last  time.Duration
	dead  bool
}

type simHead struct {
	rank uint8
	msg  []byte
	left int
}

func (s *simNet) connect(a, b *simNode, latency time.Duration, rate float64) *simConn {
	c := &simConn{net: s, a: a, b: b, latency: latency, rate: rate, redial: time.Second}
	a.conns[b.ix], b.conns[a.ix] = c, c
	s.conns = append(s.conns, c)
	s.after(2*latency, c.dial)
	return c
}

// dial brings the main bearer up, handshake done.
func (c *simConn) dial() {
	if c.up || c.closed {
		return
	}
	s := c.net
	if c.silent { // nothing gets through
		s.after(c.redial, c.dial)
		return
	}
	for i, n := range []*simNode{c.a, c.b} {
		o := c.b
		if i == 1 {
			o = c.a
		}
		err := n.core.AddPeer(s.now, PeerInfo{ID: o.id, Addr: o.addr, Dialler: i == 0, RTT: 2 * c.latency, Authenticated: true})
		if err != nil {
			if i == 1 {
				c.a.core.RemovePeer(s.now, c.b.id)
				c.a.settled()
			}
			var ban *BannedError
			if !errors.As(err, &ban) {
				s.t.Fatalf("connect %d-%d: %v", c.a.ix, c.b.ix, err)
			}
			s.after(ban.For, c.dial)
			return
		}
	}
	c.up = true
	c.epoch++
	c.lives = [2]int{c.a.life, c.b.life}
	for k := range c.pipes[0] {
		c.pipes[0][k] = c.newPipe(c.a, c.b)
		c.pipes[1][k] = c.newPipe(c.b, c.a)
	}
	for i, n := range []*simNode{c.a, c.b} {
		o := c.b
		if i == 1 {
			o = c.a
		}
		n.core.Start(s.now, o.id)
		n.settled()
	}
}

// replacePipes is a fresh bulk bearer: what was on the old one is gone.
func (c *simConn) replacePipes(i int) {
	for dir := range c.pipes {
		c.pipes[dir][1+i].dead = true
	}
	c.pipes[0][1+i], c.pipes[1][1+i] = c.newPipe(c.a, c.b), c.newPipe(c.b, c.a)
}

func (c *simConn) newPipe(from, to *simNode) *simPipe {
	p := &simPipe{c: c, from: from, to: to, heads: map[Stream]*simHead{}}
	for i := range p.dec {
		p.dec[i].window = to.core.cfg.Window
	}
	return p
}

// cut loses all bearers; both ends notice at once.
func (c *simConn) cut() {
	if !c.up {
		return
	}
	c.up = false
	c.losses++
	s := c.net
	for i, n := range []*simNode{c.a, c.b} {
		o := c.b
		if i == 1 {
			o = c.a
		}
		if c.lives[i] == n.life {
			n.core.RemovePeer(s.now, o.id)
			n.settled()
		}
	}
	if !c.closed {
		s.after(c.redial+2*c.latency, c.dial)
	}
}

// silence makes all bytes vanish for a while, after which the ends notice.
func (c *simConn) silence(d time.Duration) {
	if !c.up || c.silent {
		return
	}
	c.silent = true
	e := c.epoch
	c.net.after(d, func() {
		c.silent = false
		if c.epoch == e {
			c.cut()
		}
	})
}

// bearerOf splits a stream into its bearer and the stream the other end knows it by.
func bearerOf(s Stream) (bearer int, there Stream) {
	switch {
	case s < OfferIn:
		return 0, s + OfferIn
	case s < bearerOut:
		return 0, s - OfferIn
	case s < bearerIn:
		return 1 + int(s-bearerOut), s - bearerOut + bearerIn
	}
	return 1 + int(s-bearerIn), s - bearerIn + bearerOut
}

func (c *simConn) wake(from *simNode, s Stream) {
	if !c.up {
		return
	}
	k, _ := bearerOf(s)
	dir := 0
	if from == c.b {
		dir = 1
	}
	p := c.pipes[dir][k]
	if p == nil {
		return
	}
	p.ready |= 1 << s
	if !p.busy {
		p.busy = true
		e := c.epoch
		c.net.after(0, func() {
			if c.up && c.epoch == e && c.pipes[dir][k] == p {
				p.send()
			}
		})
	}
}

// send takes the head message of the lowest rank and sends one SDU of it.
func (p *simPipe) send() {
	s := p.c.net
	e := p.c.epoch
	if s.now < p.c.stalled {
		s.at(p.c.stalled, func() {
			if p.c.up && p.c.epoch == e && !p.dead {
				p.send()
			}
		})
		return
	}
	for {
		for st := Stream(0); st < streams; st++ {
			if p.ready>>st&1 == 0 || p.heads[st] != nil {
				continue
			}
			peer := p.from.core.byID[p.to.id]
			if peer == nil {
				return
			}
			p.from.about = p.to.id
			p.ready &^= 1 << st // an effect tells if there is more
			o, ok := p.from.core.next(s.now, peer, st, nil)
			if !ok {
				p.from.settled()
				if !p.c.up || p.c.epoch != e || p.dead {
					return
				}
				continue
			}
			msg := append(o.Head, o.Bytes...)
			if o.At != nil {
				b := make([]byte, o.N)
				if _, err := o.At.ReadAt(b, o.Off); err != nil {
					s.t.Fatal(err)
				}
				msg = append(msg, b...)
			}
			p.heads[st] = &simHead{o.Rank, msg, len(msg)}
			p.from.settled()
			if !p.c.up || p.c.epoch != e || p.dead {
				return
			}
		}
		best := Stream(streams)
		for i := Stream(0); i < streams; i++ {
			st := (p.turn + i) % streams
			if h := p.heads[st]; h != nil && (best == streams || h.rank < p.heads[best].rank) {
				best = st
			}
		}
		if best == streams {
			p.busy = false
			return
		}
		p.turn = best + 1
		h := p.heads[best]
		n := min(h.left, 12288)
		h.left -= n
		p.c.bytes += int64(n) + 8
		var tx time.Duration
		if p.c.rate > 0 {
			tx = time.Duration(float64(n+8) / p.c.rate * float64(time.Second))
		}
		if h.left == 0 {
			delete(p.heads, best)
			msgs := [][]byte{h.msg}
			if p.from.mangle != nil {
				msgs = p.from.mangle(p.c, best, h.msg)
			}
			_, there := bearerOf(best)
			for _, m := range msgs {
				p.deliver(there, m, s.now+tx+p.c.latency)
			}
		}
		if tx > 0 {
			s.after(tx, func() {
				if p.c.up && p.c.epoch == e && !p.dead {
					p.send()
				}
			})
			return
		}
	}
}

// deliver hands a message over when it has arrived; what was sent into silence has not.
func (p *simPipe) deliver(st Stream, msg []byte, at time.Duration) {
	s, e := p.c.net, p.c.epoch
	if p.c.silent {
		return
	}
	at = max(at, p.last)
	p.last = at
	if r := p.to.inRate; r > 0 { // one queue in front of the shared link, first in first out
		s.at(at, func() {
			p.to.inFree = max(p.to.inFree, s.now) + time.Duration(float64(len(msg)+8)/r*1e9)
			p.to.inBytes += int64(len(msg))
			p.arrive(st, msg, p.to.inFree, e)
		})
		return
	}
	p.arrive(st, msg, at, e)
}

func (p *simPipe) arrive(st Stream, msg []byte, at time.Duration, e int) {
	s := p.c.net
	s.at(at, func() {
		if !p.c.up || p.c.epoch != e || p.c.silent || p.dead {
			return
		}
		p.to.receive(p, st, msg)
	})
}

// dialBulk dials a bulk bearer and joins it.
func (c *simConn) dialBulk(from *simNode, i int) {
	s, e := c.net, c.epoch
	live := func() bool { return c.up && c.epoch == e }
	s.after(2*c.latency, func() {
		if !live() {
			return
		}
		if c.noBulk || c.silent {
			from.core.now = s.now
			from.core.bearerDown(from.core.byID[c.b.id], i)
			from.settled()
			return
		}
		msg := from.core.joinMessage(from.core.byID[c.b.id], i)
		if msg == nil {
			return
		}
		s.after(c.latency, func() {
			if !live() {
				return
			}
			c.b.core.now = s.now
			reply, _, ix, ok := c.b.core.acceptJoin(c.a.id, msg)
			if ok && ix != i {
				s.t.Fatalf("joined %d as %d", i, ix)
			}
			if ok {
				c.replacePipes(i)
			}
			// the acceptor's lane opens when joinOk is cut; the reply travels first
			s.after(c.latency, func() {
				if !live() {
					return
				}
				from.core.now = s.now
				_, again, err := from.core.joinReply(from.core.byID[c.b.id], i, reply)
				if err != nil {
					s.t.Fatal(err)
				}
				if again {
					c.dialBulk(from, i)
				}
				from.core.settle()
				from.settled()
			})
			c.b.core.settle()
			c.b.settled()
		})
	})
}

// bearerLost loses one bulk bearer at both ends.
func (c *simConn) bearerLost(i int) {
	if !c.up {
		return
	}
	s := c.net
	c.replacePipes(i)
	for k, n := range []*simNode{c.a, c.b} {
		o := c.b
		if k == 1 {
			o = c.a
		}
		if p := n.core.byID[o.id]; p != nil && c.lives[k] == n.life {
			n := n
			s.after(0, func() {
				if q := n.core.byID[o.id]; q == p {
					n.core.now = s.now
					n.core.bearerDown(p, i)
					n.core.settle()
					n.settled()
				}
			})
		}
	}
}
