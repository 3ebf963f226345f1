package artifact

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Link is one mini-protocol instance of one peer, in one direction: whole messages (artifact §6.13). Bytes from Recv are valid
// until the next Recv; Send has taken what it needs when it returns. One goroutine is in Send and one in Recv at a time. A
// cancelled Send may have cut part of its message: the Link is dead then.
type Link interface {
	Send(ctx context.Context, rank uint8, msg []byte) error // returns when the last SDU of msg was cut
	Recv(ctx context.Context) ([]byte, error)
}

// Deliverer is a Link that hands over what arrives instead of being asked for it, so that receiving needs no goroutine of its own.
type Deliverer interface {
	Link
	// Deliver has f called with every message from now on, one at a time, and once with the error that has ended the link, which
	// the end of ctx does too; Recv is not called any more. f runs where the bearer is read, and nothing more is read there until it
	// returns: it must not wait for the peer. A message is valid until f returns. The end may be told while f is at work on a message.
	Deliver(ctx context.Context, f func(msg []byte, err error))
}

// Gatherer is a Link that can take messages without waiting: small ones then share what carries them, a body
// need not be copied behind its head, and who has something to say can say it at once, while nothing else waits to be cut.
type Gatherer interface {
	Link
	// Put takes a message, in two parts of which the second may be nil, without letting it leave. It blocks only while more than 64 KiB
	// wait to be cut.
	Put(ctx context.Context, rank uint8, head, body []byte) error
	// Flush lets what was put leave. It does not wait.
	Flush() error
	// WaitCut is Flush that returns when nothing waits to be cut.
	WaitCut(ctx context.Context) error
	// Uncut is how many bytes wait to be cut.
	Uncut() int
}

// Bearers is what a host provides for one peer.
type Bearers interface {
	// Bulk dials a fresh bulk bearer, handshake done, join still to come. It is called by the dialler of the main bearer
	// only. ctx ends the bearer, not only the dialling. The responder direction of the bearer goes to Node.ServeBulk.
	Bulk(ctx context.Context, index int) (Link, error)
	RTT() time.Duration // smoothed, from keep-alive of the main bearer; 0: not known yet
	Close(blame error)  // all bearers of the peer; nil: an orderly end
}

// Judge is told every step of the misbehaviour table: score ≤ 0, ban 0 for none; and with neither, of a *SlowError. It is told where the
// peer's bearer is read, so it must not wait for the end of a bearer, the node or its network.
type Judge interface {
	// Misbehaved is called without a lock held; cause is what the peer did.
	Misbehaved(peer PeerID, score int, ban time.Duration, cause error)
}

// Links are the eight streams of a main bearer: [0] as initiator, [1] as responder.
type Links struct{ Offer, Control, Urgent, Bulk [2]Link }

func (l *Links) stream(s Stream) Link {
	return [...][2]Link{l.Offer, l.Control, l.Urgent, l.Bulk}[s%4][s/4]
}

// Node is the shell: it owns the goroutines and runs a Core over Links. Each Link that is no Deliverer costs one goroutine that
// receives; sending goroutines exist only while there is something to send. All methods may be called from any goroutine.
type Node struct {
	mu     sync.Mutex // the core, peers, armed
	core   *Core
	peers  map[PeerID]*attached
	armed  time.Duration
	closed bool

	start  time.Time
	rttAt  time.Duration // of the goroutine that keeps time
	judge  Judge
	kinds  map[uint32]runner
	timer  *time.Timer
	soon   chan todo // of doSoon
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Registration binds a Kind to its Client; it comes from Register.
type Registration interface{ runner() runner }

// runner is the untyped face of a kind's client.
type runner interface {
	config() KindConfig
	check() error
	attach(n *Node)
	interest(id ID, attr []byte) Interest
	wake()
	perform(e *Effect)
	run(ctx context.Context)
	quota(peer PeerID) int64
}

// ErrClosed is a Node that was closed.
var ErrClosed = errors.New("artifact: node is closed")

// NewNode makes a node for the kinds registered. cfg.Kinds is filled in from them. Close ends it.
func NewNode(cfg Config, judge Judge, kinds ...Registration) (*Node, error) {
	n := &Node{judge: judge, kinds: map[uint32]runner{}, peers: map[PeerID]*attached{}, start: time.Now()}
	cfg.Kinds = nil
	var errs []error
	for _, k := range kinds {
		r := k.runner()
		errs = append(errs, r.check())
		cfg.Kinds = append(cfg.Kinds, r.config())
		n.kinds[r.config().ID] = r
	}
	slices.SortFunc(cfg.Kinds, func(a, b KindConfig) int { return int(int64(a.ID) - int64(b.ID)) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	core, err := NewCore(0, cfg)
	if err != nil {
		return nil, err
	}
	core.newEpochs()
	n.core = core
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.armed = core.Deadline()
	n.timer = time.NewTimer(n.armed)
	n.soon = make(chan todo, 16)
	n.wg.Go(n.keepTime)
	for _, k := range cfg.Kinds {
		r := n.kinds[k.ID]
		r.attach(n)
		n.wg.Go(func() { r.run(n.ctx) })
	}
	return n, nil
}

// Close ends everything: peers are told an orderly end, all goroutines are waited for.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return ErrClosed
	}
	n.closed = true
	all := make([]*attached, 0, len(n.peers))
	for _, a := range n.peers {
		all = append(all, a)
	}
	n.mu.Unlock()
	for _, a := range all {
		a.end(nil)
	}
	n.cancel()
	n.timer.Stop()
	n.wg.Wait()
	return nil
}

// Config returns what the node was made with, defaults filled in.
func (n *Node) Config() Config { return n.core.cfg }

// Counters returns a snapshot of the core's counters.
func (n *Node) Counters() (c Counters) {
	n.do(func(core *Core, _ time.Duration) { c = core.Counters() })
	return c
}

// Usage is what a peer makes us hold, in the rows of Bound.
func (n *Node) Usage(id PeerID) (m Memory) {
	n.do(func(core *Core, _ time.Duration) { m = core.Usage(id) })
	return m
}

// do runs one step of the core and carries out its effects, with no lock held.
func (n *Node) do(f func(*Core, time.Duration)) {
	n.mu.Lock()
	f(n.core, time.Since(n.start))
	t := n.finish()
	n.mu.Unlock()
	n.carryOut(t)
}

// doSoon is do for callers who are somebody else: what is to be said is said by the goroutine that keeps time, whose stack has grown to it.
func (n *Node) doSoon(f func(*Core, time.Duration)) {
	n.mu.Lock()
	f(n.core, time.Since(n.start))
	t := n.finish()
	if t.first != nil {
		select {
		case n.soon <- t: // with the lock held, so that none comes after Close
		default:
			go t.say()
		}
	}
	n.mu.Unlock()
	n.perform(t.fx)
}

// todo is what a step leaves to be done when the lock is free: effects, and senders that have something to say.
type todo struct {
	fx          []Effect
	first, last *sender
}

func (t *todo) add(x *sender) {
	if t.first == nil {
		t.first = x
	} else {
		t.last.behind = x
	}
	t.last = x
}

// finish takes the effects of a step and arms the timer; the lock is held. Most effects wake somebody, which is done here.
func (n *Node) finish() (t todo) {
	if at := n.core.Deadline(); at < n.armed {
		n.armed = at
		n.timer.Reset(at - time.Since(n.start))
	}
	fx := n.core.fx
	for i := range fx {
		switch e := &fx[i]; e.What {
		case EffectWake:
			a := n.peers[e.Peer]
			if a == nil || a.p != e.p {
				continue
			}
			if x := a.senders[e.Stream]; x == nil {
				a.p.wake &^= 1 << e.Stream
			} else if !n.closed && x.begin() {
				n.wg.Add(1)
				t.add(x)
			}
		case EffectWork:
			if r := n.kinds[e.Kind]; r != nil {
				r.wake()
			}
		default:
			t.fx = append(t.fx, *e)
		}
	}
	clear(fx)
	n.core.fx = fx[:0]
	return t
}

// carryOut does what a step has left, on the goroutine that has made it. It does not wait: senders that have more than a little to
// say go on by themselves.
func (n *Node) carryOut(t todo) {
	n.perform(t.fx)
	t.say()
}

// say has the senders say what they can without waiting.
func (t *todo) say() {
	for x := t.first; x != nil; {
		next := x.behind
		x.behind = nil
		x.now()
		x = next
	}
}

// keepTime advances the core when its time has come, and says what doSoon leaves.
func (n *Node) keepTime() {
	for {
		select {
		case <-n.ctx.Done():
			for len(n.soon) > 0 {
				t := <-n.soon
				t.say()
			}
			return
		case t := <-n.soon:
			t.say()
			continue
		case <-n.timer.C:
		}
		n.measureRTT()
		n.mu.Lock()
		n.core.Advance(time.Since(n.start))
		n.armed = 1<<63 - 1
		t := n.finish()
		n.mu.Unlock()
		n.carryOut(t)
	}
}

// measureRTT asks the bearers, about once a second, with no lock held.
func (n *Node) measureRTT() {
	if now := time.Since(n.start); now-n.rttAt < time.Second {
		return
	}
	n.rttAt = time.Since(n.start)
	n.mu.Lock()
	all := make([]*attached, 0, len(n.peers))
	for _, a := range n.peers {
		all = append(all, a)
	}
	n.mu.Unlock()
	rtts := make([]time.Duration, len(all))
	for i, a := range all {
		rtts[i] = a.bearers.RTT()
	}
	n.mu.Lock()
	for i, a := range all {
		if rtts[i] > 0 {
			a.p.RTT = rtts[i]
		}
	}
	n.mu.Unlock()
}

// perform carries out effects, in order.
func (n *Node) perform(fx []Effect) {
	for i := range fx {
		e := &fx[i]
		switch e.What {
		case EffectClose, EffectBearer, EffectDial:
			if a := n.of(e.p); a != nil {
				a.perform(e)
			}
		case EffectJudge:
			if n.judge != nil {
				n.judge.Misbehaved(e.Peer, e.Score, e.Ban, e.Err)
			}
		case EffectSynced:
		default:
			if r := n.kinds[e.Kind]; r != nil {
				r.perform(e)
			}
		}
	}
}

func (n *Node) of(p *peer) *attached {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.peers[p.ID]; a != nil && a.p == p {
		return a
	}
	return nil
}

// Attach adds a peer whose main bearer is up, handshake done. The peer stays warm until Start; its own init is answered at any
// time. Of two main bearers to one peer KeepNew's is kept: the error is ErrDuplicate for the one that is not. Other errors:
// ErrSelf, *TooManyPeersError, *BannedError, ErrClosed.
func (n *Node) Attach(info PeerInfo, links Links, b Bearers) error {
	info.RTT = b.RTT()
	quotas := map[uint32]int64{}
	for id, r := range n.kinds {
		if q := r.quota(info.ID); q > 0 {
			quotas[id] = q
		}
	}
	n.mu.Lock()
	old := n.peers[info.ID]
	n.mu.Unlock()
	if old != nil {
		sameAddr := old.p.Addr == info.Addr
		if !KeepNew(n.core.cfg.NodeID, info.ID, old.p.Dialler, info.Dialler, info.Authenticated, sameAddr, old.quiet()) {
			return ErrDuplicate
		}
		old.end(ErrDuplicate)
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return ErrClosed
	}
	p, err := n.core.add(time.Since(n.start), info)
	if err != nil {
		n.mu.Unlock()
		return err
	}
	a := &attached{n: n, p: p, links: links, bearers: b}
	a.read = time.Since(n.start)
	a.ctx, a.cancel = context.WithCancel(n.ctx)
	n.peers[info.ID] = a
	for id, q := range quotas {
		n.core.SetQuota(info.ID, id, q)
	}
	for s := OfferOut; s <= BulkIn; s++ {
		a.senders[s] = newSender(a, a.ctx, s, links.stream(s))
	}
	t := n.finish()
	n.wg.Add(1) // until all streams are received
	n.mu.Unlock()
	defer n.wg.Done()
	n.carryOut(t)
	for s := OfferOut; s <= BulkIn; s++ {
		a.receive(a.ctx, s, links.stream(s), func() {})
	}
	return nil
}

// Synced reports whether all of a peer's table has been shown to us once in this session.
func (n *Node) Synced(id PeerID) (synced bool) {
	n.do(func(c *Core, _ time.Duration) { synced = c.byID[id] != nil && c.byID[id].con.synced })
	return synced
}

// Start makes a peer hot: we ask for its offers.
func (n *Node) Start(id PeerID) { n.do(func(c *Core, now time.Duration) { c.Start(now, id) }) }

// SetRTT tells the smoothed round trip of a peer, for a host that knows it before Bearers.RTT is asked again, about once a second. Until
// one is known, bodies that others push are waited for as long as on the slowest link.
func (n *Node) SetRTT(id PeerID, rtt time.Duration) {
	n.do(func(c *Core, _ time.Duration) { c.SetRTT(id, rtt) })
}

// Stop ends our consumer direction in order, hot → warm. Stopped tells when it is over.
func (n *Node) Stop(id PeerID) { n.do(func(c *Core, now time.Duration) { c.Stop(now, id) }) }

// Stopped reports whether our consumer direction towards a peer is not running.
func (n *Node) Stopped(id PeerID) (stopped bool) {
	n.do(func(c *Core, _ time.Duration) { stopped = c.Stopped(id) })
	return stopped
}

// Detach removes a peer; its bearers are closed.
func (n *Node) Detach(id PeerID) {
	n.mu.Lock()
	a := n.peers[id]
	n.mu.Unlock()
	if a != nil {
		a.end(nil)
	}
}

// Banned returns how long an address and id may not connect, 0 if they may.
func (n *Node) Banned(info PeerInfo) (left time.Duration) {
	n.do(func(c *Core, now time.Duration) { left = c.scores.Banned(info.Addr, info.ID, now) })
	return left
}
