package memnet

import (
	"net/netip"
	"syscall"
	"time"
)

// kind of a packet.
type kind uint8

const (
	kindSYN kind = iota
	kindSYNACK
	kindACK  // third step of opening
	kindData // also the only kind with bytes
	kindFIN
	kindCut // a reset that takes effect in order, from CutReset
	kindRST
	kindChallenge // "who are you?": the answer to a SYN for a connection that exists
	kindLate      // a duplicate of data for a later connection
)

// packet travels from one end to the other. src and dst are the ends' identities, which stand for sequence numbers: what
// belongs to another connection of the same 4-tuple is recognised.
type packet struct {
	kind     kind
	from, to netip.AddrPort
	src, dst uint64
	num      uint64 // position among the numbered packets of its direction
	data     []byte
	holder   *Conn // whose retransmission timer runs while the packet is held back
	held     bool
}

// numbered packets are delivered in order and survive a partition.
func (k kind) numbered() bool { return k == kindACK || k == kindData || k == kindFIN || k == kindCut }

// send puts a packet on the way.
func (c *Conn) send(k kind, data []byte) {
	n := c.net
	p := &packet{kind: k, from: c.key.local, to: c.key.remote, src: c.id, dst: c.peer, data: data, holder: c}
	l := n.link(p.from.Addr(), p.to.Addr())
	at := n.now()
	if k.numbered() {
		p.num = c.nextNum
		c.nextNum++
		at = max(at, c.free)
		if l.Bandwidth > 0 && len(data) > 0 {
			at += transmission(len(data), l.Bandwidth)
			c.free = at
		}
		if l.Jitter > 0 && k != kindACK {
			at += time.Duration(c.rnd().Int64N(int64(l.Jitter)))
		}
	}
	at += l.Latency
	n.at(at, p, nil)
	if k == kindData && c.faults.Late > 0 {
		late := *p
		late.kind = kindLate
		n.at(at+c.faults.Late, &late, nil)
	}
}

func transmission(bytes int, bandwidth int64) time.Duration {
	return time.Duration(float64(bytes) / float64(bandwidth) * float64(time.Second))
}

// sendSYN sends the first packet, and again with doubled waits as kernels do.
func (c *Conn) sendSYN(again time.Duration) {
	n := c.net
	p := &packet{kind: kindSYN, from: c.key.local, to: c.key.remote, src: c.id, holder: c}
	n.at(n.now()+n.link(p.from.Addr(), p.to.Addr()).Latency+c.bearer.Delay, p, nil)
	n.at(n.now()+again, nil, func() {
		if c.state == synSent {
			c.sendSYN(min(2*again, 64*time.Second))
		}
	})
}

// answer sends a reset to whoever sent p.
func (n *Network) answer(p *packet) {
	r := &packet{kind: kindRST, from: p.to, to: p.from, src: p.dst, dst: p.src}
	n.at(n.now()+n.link(r.from.Addr(), r.to.Addr()).Latency, r, nil)
}

// arrive is the receiving kernel.
func (n *Network) arrive(p *packet) {
	direction := pair{p.from.Addr(), p.to.Addr()}
	if n.blocked(direction) {
		if p.kind.numbered() {
			n.hold(direction, p)
		}
		return
	}
	p.held = false
	host := n.byAddr[p.to.Addr()]
	if host == nil || p.kind == kindRST && n.link(direction.from, direction.to).LoseReset {
		return
	}
	c := n.conns[tuple{p.to, p.from}]
	switch p.kind {
	case kindSYN:
		n.arriveSYN(host, c, p)
	case kindSYNACK:
		n.arriveSYNACK(c, p)
	case kindRST:
		if c != nil && c.id == p.dst && (c.peer == p.src || c.peer == 0) {
			c.arriveRST()
		}
	case kindChallenge:
		if c == nil || c.id != p.dst {
			n.answer(p)
		}
	case kindLate:
		if c != nil && c.id != p.dst && c.state == established && !c.orphan {
			c.chunks = append(c.chunks, chunk{data: p.data, foreign: true})
			c.cond.Broadcast()
		}
	default:
		if c == nil || c.id != p.dst || c.peer != p.src {
			n.answer(p)
			return
		}
		if c.state == synReceived {
			c.establish()
		}
		c.enqueue(p)
	}
}

// hold keeps a packet that would be retransmitted until the direction heals or its sender gives up.
func (n *Network) hold(direction pair, p *packet) {
	n.held[direction] = append(n.held[direction], p)
	p.held = true
	n.at(n.now()+n.cfg.RetransmitTimeout, nil, func() {
		if p.held && n.conns[p.holder.key] == p.holder {
			p.holder.fail(syscall.ETIMEDOUT)
		}
	})
}

func (n *Network) arriveSYN(host *Host, c *Conn, p *packet) {
	switch {
	case c == nil:
	case c.state == timeWait:
		c.remove()
	case c.peer == p.src: // a duplicate: our answer was lost
		if c.state == synReceived {
			c.send(kindSYNACK, nil)
		}
		return
	case c.state == synSent: // simultaneous open, or a connection to itself
		c.peer = p.src
		c.state = synReceived
		c.send(kindSYNACK, nil)
		return
	case c.state == synReceived && c.listener != nil: // its sender has given up and tries again
		c.discard(false)
	case c.state == synReceived:
		return
	default:
		c.send(kindChallenge, nil)
		return
	}
	l := host.listener(p.to)
	if l == nil {
		n.answer(p)
		return
	}
	if len(l.queue)+l.pending >= n.cfg.Backlog {
		return
	}
	bearer := p.holder.bearer
	c = n.newConn(host, tuple{p.to, p.from}, synReceived, bearer, &bearer.Accepting)
	c.peer = p.src
	c.listener = l
	l.pending++
	c.send(kindSYNACK, nil)
	n.at(n.now()+63*time.Second, nil, func() {
		if c.state == synReceived {
			c.discard(false)
		}
	})
}

func (n *Network) arriveSYNACK(c *Conn, p *packet) {
	if c == nil || c.id != p.dst {
		n.answer(p)
		return
	}
	switch {
	case c.state == synSent:
		c.peer = p.src
		fallthrough
	case c.state == synReceived && c.peer == p.src:
		c.establish()
		c.send(kindACK, nil)
	case c.peer != p.src:
		n.answer(p)
	}
}

func (c *Conn) arriveRST() {
	switch {
	case c.state == timeWait:
	case c.state == synSent:
		c.fail(syscall.ECONNREFUSED)
	default:
		c.fail(syscall.ECONNRESET)
	}
}

// establish ends the opening of a connection, at either end.
func (c *Conn) establish() {
	c.state = established
	c.since = c.net.now()
	if l := c.listener; l != nil {
		l.pending--
		l.queue = append(l.queue, c)
		l.cond.Broadcast()
	}
	c.cond.Broadcast()
}

// enqueue puts a numbered packet in its place and handles what is in order.
func (c *Conn) enqueue(p *packet) {
	if p.num < c.expect {
		return
	}
	if c.early == nil {
		c.early = map[uint64]*packet{}
	}
	c.early[p.num] = p
	c.pump()
}

// pump handles the packets that are next, at the speed the phases of this end allow.
func (c *Conn) pump() {
	n := c.net
	for n.conns[c.key] == c {
		p := c.early[c.expect]
		if p == nil {
			return
		}
		if wait := c.attenuation(len(p.data)); wait != 0 {
			if wait > 0 && !c.pumping {
				c.pumping = true
				n.at(n.now()+wait, nil, func() {
					c.pumping = false
					c.pump()
				})
			}
			return
		}
		delete(c.early, c.expect)
		c.expect++
		c.charged = false
		c.deliver(p)
	}
}

// attenuation returns how long the next packet has to wait, 0 for not at all, negative for ever.
func (c *Conn) attenuation(bytes int) time.Duration {
	now := c.net.now()
	age := now - c.since
	for _, p := range c.faults.Phases {
		if !p.contains(age) {
			continue
		}
		if p.Stall {
			if p.Until == 0 {
				return -1
			}
			return p.Until - age
		}
		if p.Bandwidth > 0 && bytes > 0 && !c.charged {
			c.charged = true
			c.inFree = max(c.inFree, now) + transmission(bytes, p.Bandwidth)
		}
	}
	return max(c.inFree-now, 0)
}

func (c *Conn) deliver(p *packet) {
	switch p.kind {
	case kindData:
		if c.orphan || c.state == timeWait {
			c.net.answer(p)
			c.remove()
			return
		}
		c.chunks = append(c.chunks, chunk{data: p.data})
		c.unread += len(p.data)
	case kindFIN:
		c.eof = true
		if c.orphan {
			c.waitTime()
		}
	case kindCut:
		c.fail(syscall.ECONNRESET)
	}
	c.cond.Broadcast()
}

// waitTime enters TIME_WAIT: the 4-tuple stays taken here, a new SYN from the other side is welcome.
func (c *Conn) waitTime() {
	c.state = timeWait
	c.net.at(c.net.now()+c.net.cfg.TimeWait, nil, c.remove)
}
