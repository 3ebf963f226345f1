package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

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

// restart kills a node's process and starts it again from disk.
func (n *simNode) restart() {
	for _, c := range n.net.conns {
		if c.a == n || c.b == n {
			c.cut()
		}
	}
	n.boot()
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
