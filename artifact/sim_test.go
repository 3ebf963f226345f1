package artifact

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The simulator runs whole networks of Cores on virtual time. Connections have latency, rate and streams ordered by rank, cut
// into SDUs like the mux does; they can be cut, fall silent, and come back. Nodes can be restarted. Every message is real
// bytes. After every step the invariants of the node it happened in are checked.

type simEvent struct {
	at  time.Duration
	seq uint64
	do  func()
}

type simHeap []*simEvent

func (h simHeap) Len() int { return len(h) }
func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)   { *h = append(*h, x.(*simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

type simNet struct {
	t      testing.TB
	now    time.Duration
	seq    uint64
	events simHeap
	nodes  []*simNode
	conns  []*simConn
	rnd    *rand.Rand
	cfg    func(i int) Config
	steps  int
	audit  int // full recount every so many steps of a node; 1: each
	// faults of honest peers that were noticed
	banned  []string
	onJudge func(by, of *simNode, score int, ban time.Duration, cause error)
}

func newSimNet(t testing.TB, seed uint64) *simNet {
	return &simNet{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), audit: 1}
}

func (s *simNet) at(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.events, &simEvent{max(d, s.now), s.seq, f})
}

func (s *simNet) after(d time.Duration, f func()) { s.at(s.now+d, f) }

// run processes events until the time.
func (s *simNet) run(until time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(*simEvent)
		s.now = e.at
		e.do()
	}
	s.now = until
}

// runUntil processes events until the condition holds, and reports whether it did by the limit.
func (s *simNet) runUntil(limit time.Duration, ok func() bool) bool {
	for s.now < limit {
		if ok() {
			return true
		}
		s.run(min(limit, s.now+100*time.Millisecond))
	}
	return ok()
}

// simMsg is an artifact's value: its bytes; attr is the first byte of a kind-2 body.
type simNode struct {
	net     *simNet
	ix      int
	id      PeerID
	addr    netip.Addr
	core    *Core
	life    int // incarnation
	clients map[uint32]*simClient
	conns   map[int]*simConn // by other node
	wakeAt  time.Duration
	steps   int
	inRate  float64 // bytes/s of an access link that all connections of the node share towards it, 0: unlimited
	inFree  time.Duration
	inBytes int64
	about   PeerID // peer of the present step
	// adversary hooks
	evil bool
	// mangle may change, drop (nil) or add messages on their way out
	mangle func(c *simConn, s Stream, msg []byte) [][]byte
	got    map[ID]time.Duration // validated at
	disk   map[ID]simStored     // what survives a restart
	delay  time.Duration        // of validation
}

type simStored struct {
	kind  uint32
	body  []byte
	class Class
}

// simClient is the layer above of one kind.
type simClient struct {
	n      *simNode
	k      KindConfig
	cl     *client[[]byte]
	due    bool
	judge  func(e Entry[[]byte]) Change[[]byte] // nil: move to validated
	bounce func(id ID, attr []byte) Interest
}

func (c *simClient) OnChange(r Reader[[]byte]) (out []Change[[]byte]) {
	for _, e := range r.Unvalidated() {
		if c.judge != nil {
			if ch := c.judge(e); ch.Op != AddToValidated {
				out = append(out, ch)
			}
			continue
		}
		out = append(out, Change[[]byte]{Op: MoveToValidated, ID: e.ID})
	}
	return out
}

func (c *simClient) Bouncer(Reader[[]byte]) func(ID, []byte) Interest {
	return func(id ID, attr []byte) Interest {
		if c.bounce != nil {
			return c.bounce(id, attr)
		}
		return c.n.classOf(attr)
	}
}

func (c *simClient) Quota(PeerID) int64 { return 0 }

// classOf: the attr's first byte is the class the honest client derives from the body.
func (n *simNode) classOf(attr []byte) Interest {
	if len(attr) == 0 || attr[0] > byte(Idle) {
		return Wants(Normal)
	}
	return Wants(Class(attr[0]))
}

// bodyAttr derives the attr from a body: its first byte modulo 4 is the class.
func bodyAttr(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return []byte{b[0] & 3}
}

func simKind(k KindConfig) Kind[[]byte] {
	return BytesKind(Kind[[]byte]{ID: k.ID, MaxSize: k.MaxSize, ChunkSize: k.ChunkSize, Weight: k.Weight, Push: k.Push, Relay: k.Relay,
		Ephemeral: k.Ephemeral, Quota: k.Quota, Attr: bodyAttr})
}

func (s *simNet) addNode() *simNode {
	i := len(s.nodes)
	n := &simNode{net: s, ix: i, conns: map[int]*simConn{}, got: map[ID]time.Duration{}, disk: map[ID]simStored{}, delay: time.Millisecond}
	n.id[0], n.id[14], n.id[15] = 1, byte(i>>8), byte(i)
	n.addr = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	s.nodes = append(s.nodes, n)
	n.boot()
	return n
}

// boot starts a node's process: what is on its disk is published again.
func (n *simNode) boot() {
	cfg := n.net.cfg(n.ix)
	cfg.NodeID = n.id
	cfg.Seed = uint64(n.ix+1)*1000 + uint64(n.life)
	core, err := NewCore(n.net.now, cfg)
	if err != nil {
		n.net.t.Fatal(err)
	}
	n.core = core
	n.life++
	n.wakeAt = 0
	n.clients = map[uint32]*simClient{}
	for _, k := range core.cfg.Kinds {
		sc := &simClient{n: n, k: k}
		life := n.life
		sc.cl = newClient(simKind(k), Client[[]byte](sc), func(f func(*Core, time.Duration)) {
			if n.life == life {
				f(n.core, n.net.now)
			}
		})
		n.clients[k.ID] = sc
		var tick func()
		tick = func() {
			if n.life != life {
				return
			}
			sc.cl.refresh(nil, nil)
			n.settled()
			n.net.after(time.Second, tick)
		}
		n.net.after(time.Second, tick)
	}
	var ids []ID
	for id := range n.disk {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		x := n.disk[id]
		if err := n.add(x.kind, x.body, x.class); err != nil && !errors.Is(err, ErrTableFull) {
			n.net.t.Fatal(err)
		}
	}
	n.settled()
}

func (n *simNode) add(kind uint32, body []byte, class Class) error {
	return n.clients[kind].cl.change([]Change[[]byte]{{Op: AddToValidated, Value: body, Class: class}})
}

// publish makes an artifact at this node.
func (n *simNode) publish(kind uint32, body []byte) ID {
	cl := Class(Normal)
	if len(body) > 0 {
		cl = Class(body[0] & 3)
	}
	if err := n.add(kind, body, cl); err != nil {
		n.net.t.Fatalf("node %d: %v at %v\n%s", n.ix, err, n.net.now, n.tableState())
	}
	a, err := NewArtifact(n.clients[kind].k, body, bodyAttr(body), cl)
	if err != nil {
		n.net.t.Fatal(err)
	}
	n.noteValid(a.ID, kind, body, cl)
	n.settled()
	return a.ID
}

// publishSoon is publish by a host that tries again while the table is full.
func (n *simNode) publishSoon(kind uint32, body []byte, done func(ID)) {
	cl := Class(body[0] & 3)
	switch err := n.add(kind, body, cl); {
	case errors.Is(err, ErrTableFull):
		n.net.after(200*time.Millisecond, func() { n.publishSoon(kind, body, done) })
		n.settled()
		return
	case err != nil:
		n.net.t.Fatalf("node %d: %v", n.ix, err)
	}
	a, err := NewArtifact(n.clients[kind].k, body, bodyAttr(body), cl)
	if err != nil {
		n.net.t.Fatal(err)
	}
	n.noteValid(a.ID, kind, body, cl)
	n.settled()
	done(a.ID)
}

func (n *simNode) noteValid(id ID, kind uint32, body []byte, class Class) {
	if _, ok := n.got[id]; !ok {
		n.got[id] = n.net.now
	}
	n.disk[id] = simStored{kind, body, class}
}

func (n *simNode) has(id ID) bool { return n.core.store[id] != nil }

// settled follows every step: effects are carried out, the next deadline is set, invariants are checked.
func (n *simNode) settled() {
	s := n.net
	for fx := n.core.Effects(); len(fx) > 0; fx = n.core.Effects() {
		for i := range fx {
			n.effect(&fx[i])
		}
	}
	if at := n.core.Deadline(); n.wakeAt == 0 || at < n.wakeAt || n.wakeAt <= s.now {
		n.wakeAt = at
		life := n.life
		s.at(at, func() {
			if n.life != life || n.wakeAt != at {
				return
			}
			n.wakeAt = 0
			n.core.Advance(s.now)
			n.settled()
		})
	}
	s.steps++
	n.steps++
	if err := n.core.check(n.about, n.steps%s.audit == 0); err != nil {
		s.t.Fatalf("node %d at %v: %v", n.ix, s.now, err)
	}
}

func (n *simNode) effect(e *Effect) {
	s := n.net
	switch e.What {
	case EffectWake:
		if c := n.connOf(e.Peer); c != nil {
			c.wake(n, e.Stream)
		}
	case EffectClose:
		if c := n.connOf(e.Peer); c != nil {
			s.after(0, func() { c.cut() })
		}
	case EffectBearer:
		if c := n.connOf(e.Peer); c != nil {
			c.bearerLost(e.Index)
		}
	case EffectJudge:
		of := s.byID(e.Peer)
		if s.onJudge != nil {
			s.onJudge(n, of, e.Score, e.Ban, e.Err)
		}
		if e.Ban > 0 && !of.evil && !n.evil {
			s.banned = append(s.banned, fmt.Sprintf("%v: node %d banned honest node %d: %v", s.now, n.ix, of.ix, e.Err))
		}
	case EffectWork:
		sc := n.clients[e.Kind]
		if sc.due {
			return
		}
		sc.due = true
		life := n.life
		s.after(n.delay, func() {
			sc.due = false
			if n.life == life {
				n.work(sc)
			}
		})
	case EffectDial:
		if c := n.connOf(e.Peer); c != nil {
			c.dialBulk(n, e.Index)
		}
	case EffectDrop:
		n.clients[e.Kind].cl.dropped(e.ID)
	case EffectMatch:
		ps := n.clients[e.Kind].cl.matched(e.Attr, e.parked)
		n.core.matched(s.now, e.p, ps)
	case EffectHeader:
		n.core.Header(s.now, e.ID, true)
	}
}

// work runs the client, and notes what became valid.
func (n *simNode) work(sc *simClient) {
	more, err := sc.cl.step()
	if err != nil && !errors.Is(err, ErrTableFull) {
		n.net.t.Fatal(err)
	}
	for x := sc.cl.pool.validated.list.root.prev; x != nil && x != &sc.cl.pool.validated.list.root; x = x.prev {
		if _, ok := n.got[x.v.ID]; ok {
			break // older ones were noted before
		}
		n.noteValid(x.v.ID, sc.k.ID, x.v.Value, x.v.Class)
	}
	n.settled()
	if more {
		n.net.after(0, func() { n.work(sc) })
	}
}

func (s *simNet) byID(id PeerID) *simNode {
	return s.nodes[int(id[14])<<8|int(id[15])]
}

func (n *simNode) connOf(id PeerID) *simConn { return n.conns[n.net.byID(id).ix] }

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
			o, ok := p.from.core.next(s.now, peer, st)
			if !ok {
				p.ready &^= 1 << st
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

func (n *simNode) receive(p *simPipe, st Stream, msg []byte) {
	s := n.net
	n.about = p.from.id
	peer := n.core.byID[p.from.id]
	if peer == nil {
		return
	}
	d := &p.dec[st]
	m, err := d.decode(st, msg, func(kind uint32, id ID, attr []byte) Interest {
		if sc := n.clients[kind]; sc != nil {
			return sc.cl.bouncer(id, attr)
		}
		return NotWanted
	}, func(pc *piece) hashOf { return n.core.sched.hashPlan(peer, peer.laneOf(st), pc) })
	if err != nil {
		n.core.malformed(s.now, peer, err)
	} else {
		_ = n.core.receive(s.now, peer, &m)
	}
	n.settled()
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

// restart kills a node's process and starts it again from disk.
func (n *simNode) restart() {
	for _, c := range n.net.conns {
		if c.a == n || c.b == n {
			c.cut()
		}
	}
	n.boot()
}

// graph connects the nodes in a ring plus random chords up to the degree.
func (s *simNet) graph(degree int, latency func() time.Duration, rate float64) {
	n := len(s.nodes)
	deg := make([]int, n)
	link := func(i, j int) {
		a, b := s.nodes[i], s.nodes[j]
		if i == j || a.conns[j] != nil || deg[i] >= degree+1 || deg[j] >= degree+1 {
			return
		}
		deg[i]++
		deg[j]++
		if s.rnd.IntN(2) == 0 {
			a, b = b, a
		}
		s.connect(a, b, latency(), rate)
	}
	for i := range n {
		link(i, (i+1)%n)
	}
	for i := range n {
		for tries := 0; deg[i] < degree && tries < 50; tries++ {
			link(i, s.rnd.IntN(n))
		}
	}
}

// missing lists (node, artifact) pairs of honest nodes that lack one.
func (s *simNet) missing(ids []ID) (out []string) {
	for _, n := range s.nodes {
		if n.evil {
			continue
		}
		for i, id := range ids {
			if !n.has(id) {
				out = append(out, fmt.Sprintf("node %d lacks artifact %d (%x)", n.ix, i, id[:4]))
			}
		}
	}
	return out
}

// everywhere runs until every honest node has every artifact.
func (s *simNet) everywhere(limit time.Duration, ids []ID) {
	s.t.Helper()
	if !s.runUntil(s.now+limit, func() bool {
		for _, n := range s.nodes {
			if n.evil {
				continue
			}
			for _, id := range ids {
				if !n.has(id) {
					return false
				}
			}
		}
		return true
	}) {
		m := s.missing(ids)
		for _, n := range s.nodes {
			if !n.evil {
				for _, id := range ids {
					if !n.has(id) {
						s.t.Log(n.describe(id))
					}
				}
			}
		}
		s.t.Fatalf("%d missing after %v, e.g. %v", len(m), limit, m[0])
	}
}

// describe says what a node knows of an artifact, for failures.
func (n *simNode) describe(id ID) string {
	out := fmt.Sprintf("node %d: ", n.ix)
	if d := n.core.con.downs[id]; d != nil {
		out += fmt.Sprintf("state %d class %v offers %d inflight %d known %v done %d charged %v exhausted %v retry %v; ", d.state, d.class, len(d.offers),
			len(d.inflight), d.known, d.ndone, d.charge != nil, d.exhausted, d.retry.pos)
		for _, o := range d.offers {
			out += fmt.Sprintf("[from %d slot %d failed %v full %v ready %v open %v room %v] ", n.net.byID(o.p.ID).ix, o.slot, o.failed, o.full, o.ready.in != nil, o.p.net.isOpen, n.core.sched.room(o.p, d.class))
		}
	}
	for _, p := range n.core.peers {
		o := n.net.byID(p.ID)
		a := o.core.table.byID[id]
		switch {
		case o.core.store[id] == nil:
		case a == nil:
			out += fmt.Sprintf("| %d has it unslotted ", o.ix)
		default:
			q := o.core.byID[n.id]
			if q == nil || q.prov.view == nil {
				out += fmt.Sprintf("| %d has it, no view ", o.ix)
				continue
			}
			v := q.prov.view
			out += fmt.Sprintf("| %d has it in slot %d commit %d: state %d shown %v out %d requests %d; we: con %d granted %d seen %x held %d unsent %d disp %d unacked %d ", o.ix, a.slot, o.core.table.regs[a.slot].commit,
				v.state(a.slot), v.shown.get(a.slot), len(v.out), len(q.prov.requests), p.con.state, len(p.con.granted), p.acct.seen[a.slot], len(p.con.held), p.con.unsent, len(p.con.disp), p.con.unacked)
		}
	}
	return out
}

func (s *simNet) noFalseBlame() {
	s.t.Helper()
	if len(s.banned) > 0 {
		s.t.Fatalf("%d false violations, e.g. %s", len(s.banned), s.banned[0])
	}
}

// tableState says what every view of a node's table is in, for failures.
func (n *simNode) tableState() string {
	out := fmt.Sprintf("free %d reusable %d\n", len(n.core.table.free), len(n.core.table.reuse))
	for _, p := range n.core.peers {
		if v := p.prov.view; v != nil {
			var st [8]int
			for i := range n.core.table.regs {
				st[v.state(i)]++
			}
			out += fmt.Sprintf("  peer %d lagging %v states %v out %d requests %d tail %d\n", n.net.byID(p.ID).ix, v.lagging, st, len(v.out), len(p.prov.requests), v.ntail)
		}
	}
	return out
}
