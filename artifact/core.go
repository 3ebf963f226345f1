package artifact

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Core is one whole node: table, consumer, scheduler and server, as one pure step machine. Every method is one step: it takes
// the time, changes state, and appends to the effects, which Effects hands over. It is not safe for concurrent use. Memory per
// peer is bounded by Bound whatever peers do.
type Core struct {
	*env
	table  *Table
	con    *Consumer
	sched  *Scheduler
	srv    *server
	byID   map[PeerID]*peer
	serial uint64
	store  map[ID]*Artifact // validated
	// relayed artifacts without a register: never shown, and displaced ones that somebody new may have to be shown
	unslotted, displaced list[*Artifact]
	relaysHeaders        bool // the table may hold what is not validated
	tick                 timer
	settling             bool
	showing              bool    // showAll is due when everything has settled
	holding              []*peer // of the last holders
	scratch              []byte  // of the last answer
}

// NewCore makes a node. now is the time of its start; cfg must pass Validate.
func NewCore(now time.Duration, cfg Config) (*Core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	e := &env{cfg: cfg, kinds: newKindTable(cfg.Kinds), rnd: rand.New(rand.NewPCG(cfg.Seed, 0x6172746966616374)), now: now, scores: newScores()}
	c := &Core{env: e, byID: map[PeerID]*peer{}, store: map[ID]*Artifact{}}
	c.table = newTable(&e.cfg, e.kinds, c.random8())
	c.con = newConsumer(e, c.random8())
	c.sched = newScheduler(e, c.con)
	c.con.sched = c.sched
	c.srv = &server{env: e, egress: bucket{rate: float64(cfg.EgressRate), at: now}, timer: timer{what: timerEgress}}
	c.sched.ingress.at = now
	c.srv.find = func(id ID) *Artifact {
		if a := c.store[id]; a != nil {
			return a
		}
		return c.table.byID[id] // cut-through
	}
	c.con.valid = func(id ID) *Artifact { return c.store[id] }
	c.con.offered = func(p *peer, id ID, a *Artifact) {
		if a == nil && c.relaysHeaders {
			a = c.table.byID[id]
		}
		if a != nil && a.slot >= 0 && p.prov.view != nil {
			p.prov.view.known(c.now, a.slot)
			c.tailDue(p)
		}
	}
	for i := range cfg.Kinds {
		c.relaysHeaders = c.relaysHeaders || cfg.Kinds[i].Relay == AfterHeader
	}
	c.con.dropped = func(d *download) { c.table.Abort(c.now, d.id); d.art = nil; c.showAll() }
	c.tick.what = timerTick
	c.timers.set(&c.tick, now+tickEvery)
	return c, nil
}

func (c *Core) random8() (b [8]byte) {
	v := c.rnd.Uint64()
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return b
}

// Errors of AddPeer.
var (
	ErrSelf      = errors.New("artifact: that peer is this node itself")
	ErrDuplicate = errors.New("artifact: there is a main bearer to that peer already")
)

// TooManyPeersError is AddPeer beyond MaxPeers.
type TooManyPeersError struct {
	Limit int
	Peer  PeerID
}

// Error names the limit and the peer, in hexadecimal digits.
func (e *TooManyPeersError) Error() string {
	return fmt.Sprintf("artifact: %d of %d peers, no room for %x", e.Limit, e.Limit, e.Peer)
}

// AddPeer is a main bearer that is up. The peer is idle until Start. Errors: ErrSelf, ErrDuplicate, *TooManyPeersError,
// *BannedError.
func (c *Core) AddPeer(now time.Duration, info PeerInfo) error {
	_, err := c.add(now, info)
	return err
}

func (c *Core) add(now time.Duration, info PeerInfo) (*peer, error) {
	c.now = now
	switch {
	case info.ID == c.cfg.NodeID:
		return nil, ErrSelf
	case c.byID[info.ID] != nil:
		return nil, ErrDuplicate
	case len(c.peers) >= c.cfg.MaxPeers:
		return nil, &TooManyPeersError{c.cfg.MaxPeers, info.ID}
	}
	if left := c.scores.Banned(info.Addr, info.ID, now); left > 0 {
		return nil, &BannedError{left}
	}
	c.serial++
	p := &peer{PeerInfo: info, serial: c.serial, link: newEagerLink(len(c.kinds.cfg)), net: newSupplier(len(c.kinds.cfg))}
	p.con.held, p.con.disp = map[uint32]*offer{}, map[uint32]queuedDisp{}
	p.prov = newProv(p)
	p.acct = c.con.account(p)
	c.byID[p.ID] = p
	c.peers = append(c.peers, p)
	c.pushTargets()
	return p, nil
}

// newEpochs draws the epochs anew, from the system: a process that starts again must not be taken for the one before, even if it has
// the same seed.
func (c *Core) newEpochs() {
	_, _ = crand.Read(c.table.epoch[:]) // never fails
	_, _ = crand.Read(c.con.epoch[:])
}

// Start makes the peer hot: our consumer direction begins. The other direction begins with the peer's init.
func (c *Core) Start(now time.Duration, id PeerID) {
	c.now = now
	if p := c.byID[id]; p != nil {
		c.con.start(p)
	}
}

// Stop ends our consumer direction towards a peer in order, hot → warm; the other direction goes on. Start begins a new session,
// once Stopped.
func (c *Core) Stop(now time.Duration, id PeerID) {
	c.now = now
	if p := c.byID[id]; p != nil {
		c.con.stop(p)
		c.settle()
	}
}

// Stopped reports whether our consumer direction towards a peer is not running.
func (c *Core) Stopped(id PeerID) bool {
	p := c.byID[id]
	return p == nil || p.con.state == conIdle || p.con.state == conFinished
}

// RemovePeer is the loss of the main bearer, or its end: both directions end, bulk bearers are closed.
func (c *Core) RemovePeer(now time.Duration, id PeerID) {
	c.now = now
	p := c.byID[id]
	if p == nil {
		return
	}
	p.gone = true
	c.closeBearers(p)
	for i := range p.net.lanes {
		l := &p.net.lanes[i]
		l.up = false
		c.sched.dropLane(p, l)
	}
	p.net.isOpen = false
	c.con.lost(p)
	for i := range c.peers {
		if c.peers[i] == p {
			c.peers = append(c.peers[:i], c.peers[i+1:]...)
			break
		}
	}
	delete(c.byID, id)
	for cl := range p.net.ring {
		for k := range p.net.ring[cl] {
			p.net.ring[cl][k].remove()
		}
	}
	if v := p.prov.view; v != nil {
		c.table.dropView(v)
		p.prov.view = nil
	}
	c.timers.stop(&p.prov.merged)
	c.timers.stop(&p.prov.tailT)
	c.timers.stop(&p.prov.restT)
	c.srv.gone(p)
	c.con.depart(p)
	c.pushTargets()
	c.settle()
}

// SetRTT tells the smoothed round trip of a peer.
func (c *Core) SetRTT(id PeerID, rtt time.Duration) {
	if p := c.byID[id]; p != nil {
		p.RTT = rtt
	}
}

// SetQuota lowers what one peer may have under way or unjudged of a kind, in bytes. It cannot fall below twice the largest
// artifact, or something could never be admitted; nor rise above the kind's.
func (c *Core) SetQuota(id PeerID, kind uint32, bytes int64) {
	p := c.byID[id]
	i, ok := c.kinds.index[kind]
	if p == nil || !ok {
		return
	}
	k := &c.kinds.cfg[i]
	p.acct.quota[i] = min(max(bytes, 2*k.largest()), k.Quota)
}

// pushTargets chooses who gets urgent bodies whole beside the eager links: up to 8 peers, the nearest, one of them at random,
// for bodies of at most 1 KiB; the two nearest up to 16 KiB.
func (c *Core) pushTargets() {
	var vs []*peer
	for _, p := range c.peers {
		if p.prov.view != nil {
			vs = append(vs, p)
			p.prov.view.urgentPush = 0
		}
	}
	// insertion sort: few peers, and stable
	for i := 1; i < len(vs); i++ {
		for j := i; j > 0 && vs[j].net.srtt(vs[j]) < vs[j-1].net.srtt(vs[j-1]); j-- {
			vs[j], vs[j-1] = vs[j-1], vs[j]
		}
	}
	if len(vs) > urgentFanout {
		j := urgentFanout - 1 + c.rnd.IntN(len(vs)-urgentFanout+1)
		vs[urgentFanout-1], vs[j] = vs[j], vs[urgentFanout-1]
		vs = vs[:urgentFanout]
	}
	for i, p := range vs {
		p.prov.view.urgentPush = pushThreshold
		if i < 2 {
			p.prov.view.urgentPush = eagerMax
		}
	}
}

// Deadline is when Advance must be called next.
func (c *Core) Deadline() time.Duration { return c.timers.heap[0].at }

// Advance runs everything that is due.
func (c *Core) Advance(now time.Duration) {
	c.now = now
	for t := c.timers.due(now); t != nil; t = c.timers.due(now) {
		c.fire(t)
	}
	c.settle()
}

func (c *Core) fire(t *timer) {
	p := t.p
	switch t.what {
	case timerTick:
		c.everySecond()
		c.timers.set(&c.tick, c.now+tickEvery)
	case timerRequest:
		c.sched.timedOut(t.r)
	case timerHedge:
		c.sched.hedge(t.r)
	case timerRetry:
		c.sched.nextRound(t.d)
	case timerGrace:
		if t.d.state == downGrace {
			t.d.state = downWant
			c.con.countLate(t.d)
			c.con.unpushed.Add(t.d.id, t.d.since)
			c.sched.again(t.d)
		}
	case timerDispose:
		c.wake(p, ControlOut)
	case timerTail, timerRest:
		c.wake(p, OfferIn)
	case timerReoffer:
		c.con.reofferDue(p)
	case timerMerged:
		c.mergedReoffer(p)
	case timerInit:
		c.initDue(p)
	case timerJoin:
		c.dialBearers(p)
	case timerEgress:
		c.srv.filled()
	case timerGrant:
		p.con.holdback = false
		c.wake(p, OfferOut)
	}
}

// initDue: the provider did not answer within 10 s, or may be asked again after initNo.
func (c *Core) initDue(p *peer) {
	if p.con.state == conWait {
		c.fail(p, violation("no answer to init within 10 s"), false)
		return
	}
	if p.con.state == conFinished || p.con.state == conIdle {
		c.con.start(p)
	}
}

// fail ends a peer: certain blame bans it.
func (c *Core) fail(p *peer, err error, certain bool) {
	if p.gone {
		return
	}
	if certain {
		c.blame(p, Violation, err)
		return
	}
	c.fx = append(c.fx, Effect{What: EffectClose, Peer: p.ID, p: p, Err: err})
	p.gone = true
}

// settle ends every step: requests go out, registers that are free are filled, views with news are woken.
func (c *Core) settle() {
	if c.settling {
		return
	}
	c.settling = true
	c.sched.pump()
	c.fillSlots()
	c.settling = false
	if c.showing {
		c.showing = false
		c.showAll()
	}
}

// together runs several steps as one: what follows from all of them is done once.
func (c *Core) together(f func()) {
	c.settling = true
	f()
	c.settling = false
	c.settle()
}

// Effects hands over what the steps since the last call ask for, in order. The slice is the caller's until the next call.
func (c *Core) Effects() []Effect {
	fx := c.fx
	c.fx = nil
	return fx
}

// Counters returns a snapshot.
func (c *Core) Counters() Counters { return c.stat }

// showAll wakes the offer stream of every view that has something to say and a requestNext to say it in.
func (c *Core) showAll() {
	if c.settling {
		c.showing = true
		return
	}
	for _, p := range c.peers {
		c.show(p)
	}
}

func (c *Core) show(p *peer) {
	s := &p.prov
	if s.view == nil || len(s.requests) == 0 {
		return
	}
	switch busy := s.view.busy(false); {
	case s.stopping || busy && s.view.restsUntil() <= c.now:
		c.wake(p, OfferIn)
	case busy:
		if at := onGrid(s.view.restsUntil(), restGrid); s.restT.pos == 0 || s.restT.at != at {
			c.timers.set(&s.restT, at)
		}
	default:
		c.tailDue(p)
	}
}

// tailDue sets the time when withdraw-2 and known go out even alone.
func (c *Core) tailDue(p *peer) {
	if v := p.prov.view; v != nil && v.ntail > 0 && p.prov.tailT.pos == 0 {
		c.timers.set(&p.prov.tailT, onGrid(v.tailAt+tailDelay, tailGrid))
	}
}

// everySecond is the tick.
func (c *Core) everySecond() {
	c.table.Tick(c.now)
	c.con.everySecond()
	c.pushTargets()
	for _, p := range append([]*peer(nil), c.peers...) {
		if s := &p.con; s.unacked > 0 && c.now-s.ackAt > ackLimit {
			c.fail(p, violation("a control message was not acked within %v", ackLimit), false)
		} else if s.state >= conStop && s.state < conFinished && c.now > s.endAt {
			c.fail(p, violation("an orderly end took more than %v", stopLimit), false)
		}
		for i := range p.net.lanes {
			c.watchLane(p, i)
		}
	}
}

// watchLane: a lane that owes something and is silent for 60 s, or slower than 4 KiB/s over 60 s, is dead.
func (c *Core) watchLane(p *peer, i int) {
	l := &p.net.lanes[i]
	if l.sent == 0 {
		return
	}
	r := l.open[0]
	age := c.now - r.sentAt
	slow := age >= time.Minute && float64(l.total-r.mark) < 4096*age.Seconds()
	if c.now-l.last < time.Minute && !slow {
		return
	}
	if i < laneBearer {
		c.fail(p, errDripping, false)
		return
	}
	c.fx = append(c.fx, Effect{What: EffectBearer, Peer: p.ID, p: p, Index: i - laneBearer, Err: errDripping})
	c.bearerDown(p, i-laneBearer)
}
