package artifact

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Interest is a bouncer's answer: a class to fetch with, later, or never.
type Interest uint8

// MaybeLater and NotWanted are the answers beside Wants.
const (
	MaybeLater Interest = 100
	NotWanted  Interest = 101
)

// Wants is the answer to fetch with class c.
func Wants(c Class) Interest { return Interest(c) }

type conState uint8

const (
	conIdle     conState = iota
	conInit              // init is due
	conWait              // init sent
	conRun               // session
	conStop              // stop is due or sent; open answers are awaited
	conDone              // done is due
	conCtlDone           // done sent; acks are awaited, then ctlDone
	conFinished          // everything said
)

// conSession is our consumer direction towards one provider.
type conSession struct {
	state      conState
	since      time.Duration
	retries    int
	epoch      [8]byte
	slots      int
	answers    uint64
	answeredAt time.Duration // when the last came
	granted    []int         // inline bytes of every open requestNext, in order
	held       map[uint32]*offer
	byClass    [classes]int
	unsent     int // dispositions not sent whose place is still counted
	disp       map[uint32]queuedDisp
	order      []uint32 // slots of disp, first in first out; may name what has left it
	synced     bool
	stash      *simplelru.LRU[uint32, stashed]
	overflow   []bool // per kind: the stash has forgotten something
	filters    [][]byte
	noRoom     int // offers disposed noRoom and parked bodies evicted

	// control
	unacked  int
	ackAt    time.Duration // since when the oldest of them is waited for
	endAt    time.Duration // when an orderly end has taken too long
	sentSeq  int           // control messages sent
	ackSeq   int           // acked
	haves    []ID
	cancels  []uint64
	reoffer  []int // per kind: which
	lastAsk  []time.Duration
	stopped  bool
	cmp      bool // a compare is out
	cmpSeq   int
	cmpBlock int
	cmpNext  time.Duration
	changed  bool
	retake   int // records zeroed that were not offered anew yet
	extras   int // held offers that came from the stash: they take no place in the window
	shown    int // entries since the session began that are not ordinary, and offers that were delivered; both halved now and then
	useful   int
	churn    int // entries since the last tick, and their decaying sum
	churnSum float64
	slowed   bool // too much of it: fewer credits are open
	holdback bool // and none is granted for a second

	disposeT timer
	reofferT timer
	initT    timer
	grantT   timer
	backoff  time.Duration
}

// smoothed is a running mean and mean deviation.
type smoothed struct{ mean, dev time.Duration }

type queuedDisp struct {
	disposition
	counts bool // its place in the window is still counted here
}

// stashed is an offer that was disposed "later".
type stashed struct {
	commit uint64
	id     ID
	kind   int
	size   int64
	hint   uint8
	chunks chunking
	attr   []byte
}

// Consumer is what peers offer us: the offers held, the downloads, quotas, verdicts and dispositions of artifact §6.5. It is
// pure; its memory per peer is bounded by artifact §6.8 whatever that peer does.
type Consumer struct {
	*env
	epoch  [8]byte
	sched  *Scheduler
	downs  map[ID]*download
	seq    uint64
	quota  quotas
	checks *receiveCheck
	accts  map[PeerID]*account
	left   list[*account]
	queue  [][classes]list[*download] // per kind: waiting for the validator
	parked []list[*download]
	late   []int // per kind
	// lag is by how much a push comes after the first offer, per kind, smoothed; unpushed remembers when what was fetched
	// for want of a push was offered first.
	lag      []smoothed
	unpushed *simplelru.LRU[ID, time.Duration]
	rtts     []time.Duration // graceTime's own
	dispose  []disposition   // controlMessage's own
	orphan   list[*download]
	// valid is an artifact that is validated here, whole; nil: it is not.
	valid func(ID) *Artifact
	// offered tells the provider side that a peer holds id complete, with what valid says of it.
	offered func(*peer, ID, *Artifact)
	// dropped tells the provider side that a cut-through artifact will not arrive.
	dropped func(*download)
}

func newConsumer(e *env, epoch [8]byte) *Consumer {
	c := &Consumer{env: e, epoch: epoch, downs: map[ID]*download{}, checks: newReceiveCheck(), accts: map[PeerID]*account{}}
	c.quota = quotas{cap: e.cfg.UnvalidatedBytes, share: e.cfg.UnvalidatedBytes / 2 / int64(e.cfg.MaxPeers)}
	c.queue = make([][classes]list[*download], len(e.kinds.cfg))
	c.parked = make([]list[*download], len(e.kinds.cfg))
	c.late = make([]int, len(e.kinds.cfg))
	c.lag = make([]smoothed, len(e.kinds.cfg))
	c.unpushed, _ = simplelru.NewLRU[ID, time.Duration](256, nil)
	return c
}

// account finds or makes what we remember of a peer.
func (c *Consumer) account(p *peer) *account {
	a := c.accts[p.ID]
	if a == nil {
		n := len(c.kinds.cfg)
		a = &account{id: p.ID, mem: make([]int64, n), parked: make([]int64, n), count: make([]int, n), disk: make([]int64, n), quota: make([]int64, n)}
		c.accts[p.ID] = a
	}
	a.node.remove()
	c.checks.open(a)
	c.quota.setConnected(a, true)
	return a
}

// start begins the consumer direction: init, with resume when we remember the provider.
func (c *Consumer) start(p *peer) {
	s := &p.con
	if s.state != conIdle && s.state != conFinished {
		return
	}
	c.stopTimers(p)
	n := len(c.kinds.cfg)
	timerOf := func(k timerKind) timer { return timer{what: k, p: p} }
	*s = conSession{state: conInit, since: c.now, held: map[uint32]*offer{}, disp: map[uint32]queuedDisp{},
		overflow: make([]bool, n), filters: make([][]byte, n), reoffer: make([]int, n), lastAsk: make([]time.Duration, n),
		disposeT: timerOf(timerDispose), reofferT: timerOf(timerReoffer), initT: timerOf(timerInit), grantT: timerOf(timerGrant),
		backoff: s.backoff, retries: s.retries}
	s.stash, _ = simplelru.NewLRU(stashSize-c.cfg.Window/4, func(_ uint32, x stashed) { s.overflow[x.kind] = true })
	a := p.acct
	if a.known && (c.now-a.left > resumeLife && a.left > 0 || a.plain && a.addr != p.Addr) {
		c.forget(a)
	}
	c.wake(p, OfferOut)
}

// stopTimers takes the session's timers out of the heap, before the session is made anew.
func (c *Consumer) stopTimers(p *peer) {
	s := &p.con
	for _, t := range []*timer{&s.disposeT, &s.reofferT, &s.initT, &s.grantT} {
		c.timers.stop(t)
	}
}

func (c *Consumer) forget(a *account) {
	a.known, a.highest, a.seen = false, 0, nil
}

// initMessage is our init.
func (c *Consumer) initMessage(p *peer) []byte {
	m := msgInit{version: 1, epoch: c.epoch, window: c.cfg.Window, reserve: c.cfg.UrgentReserve, inline: c.cfg.InlineBytes}
	for i := range c.kinds.cfg {
		eager := c.kinds.cfg[i].Push == Tree && (p.link.on[i] || c.provenLinks(i) < eagerWanted)
		p.link.wish[i] = wishOf(eager)
		p.link.agree(i)
		m.kinds = append(m.kinds, kindWish{c.kinds.cfg[i].ID, eager})
	}
	if a := p.acct; a.known {
		m.resume = &resumeClaim{epoch: a.epoch, highest: a.highest}
		for b := 0; b < len(a.seen)/blockSlots; b++ {
			m.resume.digests = append(m.resume.digests, blockDigest(a.settled, b*blockSlots))
		}
	}
	p.con.state, p.con.since = conWait, c.now
	c.timers.set(&p.con.initT, c.now+10*time.Second)
	return m.append(c.buf)
}

// settled is the digest value of a slot: its commit if it is settled for good, else 0.
func (a *account) settled(i int) uint64 {
	if i < len(a.seen) && a.seen[i]&settledBit != 0 {
		return a.seen[i] &^ settledBit
	}
	return 0
}

// provenLinks counts the eager links that bodies of a kind have come over first. Others are not counted: a node that begins wants all
// its links to push, and prunes. With a few of them, of which the other ends want a few of theirs, the tree would begin in pieces, and
// pieces grow together slowly.
func (c *Consumer) provenLinks(kind int) (n int) {
	for _, p := range c.peers {
		if p.link.on[kind] && p.link.first[kind] > 0 {
			n++
		}
	}
	return n
}

// hasParent reports whether a link pushes bodies of a kind to us.
func (c *Consumer) hasParent(kind int) bool {
	return slices.ContainsFunc(c.peers, func(p *peer) bool { return p.link.on[kind] })
}

// initOk begins the session.
func (c *Consumer) initOk(p *peer, m *msgInitOk) error {
	s, a := &p.con, p.acct
	if s.state != conWait {
		return violation("initOk out of turn")
	}
	c.timers.stop(&s.initT)
	resumed := m.resumed
	if resumed && (!a.known || a.epoch != m.epoch || len(a.seen) != m.slots) {
		return violation("resumed what we did not claim")
	}
	if m.bulk != nil && !p.Dialler {
		return violation("bulk bearers offered by the dialler")
	}
	s.state, s.epoch, s.slots, s.retries, s.backoff = conRun, m.epoch, m.slots, 0, 0
	if resumed {
		c.stat.Resumed++
		for i, v := range a.seen { // what was not settled is shown anew
			if v&settledBit == 0 {
				a.seen[i] = 0
			}
		}
	} else {
		c.stat.NotResumed++
		a.highest = 0
		// The table a provider claims decides nothing about our memory: beyond PeerSlots settlement is not remembered.
		a.seen = make([]uint64, min(m.slots, c.cfg.PeerSlots))
	}
	a.known, a.epoch, a.addr, a.plain, a.left = len(a.seen) == m.slots, m.epoch, p.Addr, !p.Authenticated, 0
	s.cmpNext = c.now + compareEvery
	if m.bulk != nil {
		p.join.granted(m.bulk)
	}
	p.net.open()
	c.wake(p, OfferOut)
	return nil
}

// initNo ends the attempt; a busy provider is asked again later.
func (c *Consumer) initNo(p *peer, reason uint64) error {
	s := &p.con
	if s.state != conWait {
		return violation("initNo out of turn")
	}
	s.state = conFinished
	switch reason {
	case initNoVersion:
		c.timers.stop(&s.initT)
		if p.Dialler {
			c.fx = append(c.fx, Effect{What: EffectClose, Peer: p.ID, p: p})
		}
	default:
		wait := min(30*time.Second<<min(s.retries, 5), 10*time.Minute)
		s.retries++
		c.timers.set(&s.initT, c.now+wait)
	}
	return nil
}

// mayGrant reports whether a requestNext may be sent now, and is not one too many.
func (c *Consumer) mayGrant(p *peer) bool {
	s := &p.con
	return s.state == conRun && !s.holdback && len(s.granted) < pipeOffer && (!s.slowed || len(s.granted) < pipeOffer/2)
}

// grant returns the next requestNext.
func (c *Consumer) grant(p *peer) (msgRequestNext, bool) {
	s := &p.con
	if !c.mayGrant(p) {
		return msgRequestNext{}, false
	}
	c.timers.stop(&s.grantT)
	inline := min(c.cfg.InlineBytes/pipeOffer, 256<<10)
	s.granted = append(s.granted, inline)
	return msgRequestNext{c.cfg.Window, inline}, true
}

// window is what the consumer counts as outstanding: offers held, and dispositions the provider cannot have read.
func (s *conSession) window() int { return len(s.held) - s.extras + s.unsent }

// judged is an entry with what was found out about it outside the core: the bouncer's answer and, for a push, the id its body
// really has.
type judged struct {
	interest Interest
	sum      ID
}

// lost ends the session: the provider is taken off all downloads, held offers and stash are forgotten, settled records kept.
func (c *Consumer) lost(p *peer) {
	s := &p.con
	c.stopTimers(p)
	slots := make([]uint32, 0, len(s.held))
	for slot := range s.held {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	for _, slot := range slots {
		o := s.held[slot]
		c.release(o)
		c.detach(o)
	}
	if a := p.acct; a.known && s.state >= conRun {
		for i, v := range a.seen {
			if v&settledBit == 0 {
				a.seen[i] = 0
			}
		}
	}
	retries, backoff := s.retries, s.backoff
	*s = conSession{state: conIdle, retries: retries, backoff: backoff, held: map[uint32]*offer{}, disp: map[uint32]queuedDisp{}}
	s.initT = timer{what: timerInit, p: p}
}

// depart is lost for good: the peer's account is kept for a while.
func (c *Consumer) depart(p *peer) {
	a := p.acct
	c.checks.leave(a)
	a.left = max(c.now, 1)
	c.quota.setConnected(a, false)
	c.left.pushBack(&a.node, a)
	// What the peer still holds of the shared half must fit there.
	for c.quota.shared > c.quota.cap/2 {
		n := c.orphan.front()
		if n == nil {
			break
		}
		c.abandon(n.v)
	}
	c.expireAccounts()
}

// expireAccounts forgets who left long ago, or longest ago when there are too many.
func (c *Consumer) expireAccounts() {
	for n := c.left.front(); n != nil; n = c.left.front() {
		a := n.v
		if c.left.n <= resumePeers && c.now-a.left <= resumeLife {
			return
		}
		a.node.remove()
		if a.total == 0 && !hasDisk(a) {
			delete(c.accts, a.id)
			continue
		}
		// Charged still: remember nothing else of it, look again when it is free.
		c.forget(a)
		a.left = c.now
		if c.left.n > resumePeers {
			continue // deleted by uncharge
		}
		c.left.pushBack(&a.node, a)
	}
}

func hasDisk(a *account) bool {
	for _, d := range a.disk {
		if d > 0 {
			return true
		}
	}
	return false
}

// takeBack zeroes the records that settled id for good, so that a comparison brings it back (artifact §6.2, Digests). Slots
// are not known by id any more; all settled records of all providers are zeroed.
func (c *Consumer) takeBack() {
	for _, p := range c.peers {
		for i, v := range p.acct.seen {
			if v&settledBit != 0 {
				p.acct.seen[i] = v &^ settledBit
				p.con.retake++
			}
		}
		p.con.changed = true
	}
}
