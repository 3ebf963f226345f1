package governor

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Core is the governor without clock, goroutine or I/O: the state of governor §1.2, and Step. It is not safe for concurrent use.
type Core struct {
	cfg      Config
	now      time.Duration
	out      Output
	deciding Decision
	taken    [DecisionNone + 1]uint64 // decisions taken, by rule
	asking   asking
	lastJob  uint32
	pcg      *rand.PCG
	rnd      *rand.Rand

	table
	buckets [classes][places]bucket
	nextDue time.Duration // no peer stops waiting before this
	n       [kinds][places]int
	tot     [kinds]tally
	known   [classes]int
	groups  []group
	applied []LocalRootGroup // local roots as they are in force
	trusted int              // local roots in trustable groups

	// What was asked for and what is in force; the rules of governor §3.2 carry the one to the other.
	offered, targets  Targets
	localOffered      []LocalRootGroup
	localDirty        bool // applied may be out of date
	settings          RootSettings
	snapshot          RootSettings // whose snapshot point was last seen
	useBootstrap      bool
	bootstrapEmpty    bool
	liveTooOld        bool
	tooOld            bool
	bulkSync          bool
	onlyTrusted       bool // hasOnlyBootstrapPeers (governor §1.2)
	bootstrapDeadline time.Duration
	outboundTrusted   bool
	fatal             bool

	inbox    []Event // results of orders, in order of arrival
	changed  []change
	batch    []change          // scratch of the rule that looks at them
	early    map[uint32]change // reports that came before the result of the order; at most one for each running order
	restored []StoredPeer
	lifted   map[uint32]time.Duration // back-offs that inboundSeen lifted, by peer: until then it is not dialled; look-ups only

	roots      [2]rootRequest // 0 roots, 1 big ledger peers
	sharing    sharing
	salt       saltedTop
	churning   churning
	boards     Boards
	bans       banList
	outage     [2]outage // by scope: 0 public addresses, 1 private ones
	clearFails queue     // when failures are forgiven
	pauses     queue     // failed orders that wait: see pausing
	pauseCause map[uint32]*Failure
	prefixes   map[netip.Prefix]*tally // entries exist while a count is not zero
	tellers    tellers

	// Scratch.
	candidates []Candidate
	from       [][]uint32
	drawn      map[int]struct{}
	names      []netip.AddrPort
	picked     []*peer
	addressed  []netip.AddrPort
}

// tally counts the peers of one kind or one prefix.
type tally struct{ known, established, active int }

func (t *tally) add(d tally) {
	t.known, t.established, t.active = t.known+d.known, t.established+d.established, t.active+d.active
}

// change is a report of Watch that waits for its rule.
type change struct {
	id    uint32
	delay time.Duration // repromote delay, negative none
	cause *Failure
}

// NewCore returns a core at time zero, which knows nobody. The ledger state is taken to be too old, bootstrap peers are off and
// all targets are zero until the first Step (governor §1.2). It fails if the targets are out of order or a
// delay is longer than a year.
func NewCore(cfg Config) (*Core, error) {
	cfg = cfg.filled()
	if err := cfg.Timing.Validate(); err != nil {
		return nil, err
	}
	for _, t := range []Targets{cfg.Targets, cfg.SyncTargets} {
		if !t.sane() {
			return nil, t.Validate(Limits{Known: t.Known + t.KnownBigLedger, Established: t.Established + t.EstablishedBigLedger,
				Active: t.Active + t.ActiveBigLedger})
		}
	}
	c := &Core{
		cfg: cfg, pcg: rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15), table: newTable(), tooOld: true, liveTooOld: true,
		nextDue: Never, asking: asking{rules: everyRule}, bootstrapDeadline: Never, clearFails: newQueue(), pauses: newQueue(),
		pauseCause: map[uint32]*Failure{}, prefixes: map[netip.Prefix]*tally{},
		tellers: newTellers(), sharing: newSharing(), salt: newSaltedTop(), boards: NewBoards(), bans: newBanList(),
		drawn: map[int]struct{}{}, early: map[uint32]change{}, lifted: map[uint32]time.Duration{}, deciding: DecisionNone,
	}
	c.rnd = rand.New(c.pcg)
	for i := range c.outage {
		c.outage[i] = newOutage()
	}
	return c, nil
}

// Step takes an event at a time, takes all decisions that follow, one after the other, and returns the orders. Time never goes
// back; an earlier now counts as the present. A step costs O(log known) for each decision.
func (c *Core) Step(ev Event, now time.Duration) Output {
	c.now = max(c.now, now)
	c.out.Effects, c.out.Trace, c.out.Wake = c.out.Effects[:0], c.out.Trace[:0], Never
	if c.fatal {
		return c.out
	}
	c.deciding = DecisionNone
	c.turnDue()
	c.take(ev)
	for taken := 0; c.decide(); taken++ {
		if c.fatal || taken >= c.cfg.Limits.Decisions {
			c.out.Wake = c.now
			break
		}
	}
	c.outboundState()
	return c.out
}

// take enters an event into the state, for the rules to find.
func (c *Core) take(ev Event) {
	switch e := ev.(type) {
	case Begin:
		c.settings, c.snapshot = e.Settings, e.Settings
		c.liveTooOld, c.bulkSync = e.Ledger.TooOld, e.Ledger.BulkSync
		c.localOffered, c.localDirty = cloneGroups(e.LocalRoots), true
	case TargetsSet:
		c.setTargets(e)
	case LocalRootsSet:
		c.localOffered, c.localDirty = cloneGroups(e.Groups), true
	case SettingsSet:
		c.settings = e.Settings
	case LedgerSet:
		c.liveTooOld, c.bulkSync = e.TooOld, e.BulkSync
	case StatusSeen:
		c.statusSeen(e)
		return
	case InboundSeen:
		c.inboundSeen(e)
		return
	case Connected, Activated, Deactivated, Disconnected, Answered, RootsAnswered, InboundListed, SnapshotVerified:
		c.inbox = append(c.inbox, ev)
		c.asking.rules |= 1 << OrderFinished
		return
	case Reported:
		c.reported(e)
	case Measured:
		if p := c.find(e.Peer); p != nil {
			p.rtt = uint32(min(e.RTT.Microseconds(), 1<<32-1))
			c.alive(p)
		}
		return
	case MetricsSeen:
		c.metricsSeen(e)
		return
	case Restored:
		c.restored = append(c.restored, e.Peers...)
		c.restored = c.restored[:min(len(c.restored), maxStored)]
	}
	c.asking.rules = everyRule // it may concern any
}

// turnDue moves the due entries of the time queues (governor §3.1).
func (c *Core) turnDue() {
	c.asking.turnDue(c.now)
	if c.nextDue <= c.now {
		c.turnWaiting()
	}
	for id, ok := c.clearFails.due(c.now); ok; id, ok = c.clearFails.due(c.now) {
		p := c.at(id)
		p.fails = 0
		c.salt.update(p)
	}
	for id, ok := c.pauses.due(c.now); ok; id, ok = c.pauses.due(c.now) {
		c.deciding = OrderFinished
		c.pauseOver(c.at(id))
		c.deciding = DecisionNone
	}
	c.sharing.turnDue(c)
}

// turnWaiting makes peers ready whose waiting is over.
func (c *Core) turnWaiting() {
	c.nextDue = Never
	for cl := range c.buckets {
		for _, w := range [...]struct{ from, to place }{{coldWait, coldReady}, {warmWait, warmReady}} {
			b := &c.buckets[cl][w.from]
			for len(b.ids) > 0 && b.due[0] <= c.now {
				c.move(c.at(b.ids[0]), w.to, 0)
			}
			if len(b.ids) > 0 {
				c.nextDue = min(c.nextDue, b.due[0])
			}
		}
	}
}

// nextTimer is the earliest of the timers that nothing but time can bring forward. The clearing of fail counts is not among
// them: it is done when something else happens (governor §3.5).
func (c *Core) nextTimer() time.Duration {
	return min(c.pauses.next(), c.sharing.nextPhase(), c.bootstrapDeadline)
}

// waiting is the earliest due time of the peers of a kind that wait in w.
func (c *Core) waiting(k kind, w place) time.Duration {
	t := Never
	for _, cl := range classesOf[k] {
		if b := &c.buckets[cl][w]; len(b.ids) > 0 {
			t = min(t, b.due[0])
		}
	}
	return t
}

// dueOf is when a waiting peer stops waiting, 0 if it does not wait.
func (c *Core) dueOf(p *peer) time.Duration {
	if !timed(p.place) {
		return 0
	}
	return c.buckets[p.class][p.place].due[c.pos[p.id]]
}

// all counts the peers in a place, of whatever kind.
func (c *Core) all(in place) int { return c.n[kindOrdinary][in] + c.n[kindBig][in] }

// rootPeers is what the root target counts: local ∪ public ∪ bootstrap ∪ ledger ∪ big ledger peers (governor §1.3).
func (c *Core) rootPeers() int { return c.table.count - c.known[classPlain] }

// move is the only way a peer gets from one place to another. due is for the places where peers wait.
func (c *Core) move(p *peer, to place, due time.Duration) {
	from := p.place
	c.lift(p)
	p.place = to
	if to != coldWait {
		p.clear(backedOff)
	}
	c.put(p, due)
	c.book(p, from, to)
	if a, b := from.temperature(), to.temperature(); a != b {
		t := c.tell("StatusChanged", turns[a][b], p.addr)
		if a == Hot {
			t.Delay = c.now - p.since // hot duration
		}
		p.since = c.now
	}
	if to.established() != from.established() || (to == cooling) != (from == cooling) {
		c.sharing.update(c, p)
	}
	if p.has(pausing) {
		p.clear(pausing)
		c.pauses.drop(p.id)
		delete(c.pauseCause, p.id)
	}
}

// reclass moves a peer from one root set to another.
func (c *Core) reclass(p *peer, cl class) {
	due := c.dueOf(p)
	c.leave(p)
	p.class = cl
	c.enter(p, due)
}

// enter and leave are for peers that begin or cease to be known, or that change their root set.
func (c *Core) enter(p *peer, due time.Duration) {
	c.put(p, due)
	c.known[p.class]++
	c.book(p, nowhere, p.place)
}

func (c *Core) leave(p *peer) {
	c.lift(p)
	c.known[p.class]--
	c.book(p, p.place, nowhere)
}

// put and lift keep the sets of peers by place.
func (c *Core) put(p *peer, due time.Duration) {
	waits := timed(p.place)
	if waits {
		c.nextDue = min(c.nextDue, due)
	}
	c.buckets[p.class][p.place].add(&c.table, p.id, due, waits)
	c.count(p, 1)
}

func (c *Core) lift(p *peer) {
	c.buckets[p.class][p.place].remove(&c.table, p.id, timed(p.place))
	c.count(p, -1)
}

func (c *Core) count(p *peer, d int) {
	k := p.kind()
	c.n[k][p.place] += d
	if k != kindBig {
		c.n[kindOrdinary][p.place] += d
	}
	if p.group >= 0 {
		c.groups[p.group].n[p.place] += d
	}
}

// book keeps the counts of what peers are, which change less often than their places, and has the rules asked that the change
// concerns.
func (c *Core) book(p *peer, from, to place) {
	k, turn := p.kind(), &passages[from][to]
	c.asking.rules |= turn.concerns[k]
	if turn.same {
		return
	}
	if turn.live != 0 {
		c.outage[p.scope()].live += turn.live
	}
	c.tot[k].add(turn.tally)
	if k != kindBig {
		c.tot[kindOrdinary].add(turn.tally)
	}
	d := turn.tally
	if c.cfg.Diversity.PerPrefix <= 0 {
		d.known = 0
	}
	if d == (tally{}) {
		return
	}
	pre := c.prefix(p.addr)
	w := c.prefixes[pre]
	if w == nil {
		w = new(tally)
		c.prefixes[pre] = w
	}
	if w.add(d); *w == (tally{}) {
		delete(c.prefixes, pre)
	}
}

func (c *Core) prefix(a netip.AddrPort) netip.Prefix {
	bits := c.cfg.Diversity.V6Bits
	addr := a.Addr().Unmap()
	if addr.Is4() {
		bits = c.cfg.Diversity.V4Bits
	}
	p, _ := addr.Prefix(bits)
	return p
}

// learn adds a peer to the known set; the caller has made sure that it is not there.
func (c *Core) learn(a netip.AddrPort, cl class, src Source, adv answer) *peer {
	p := c.insert(a)
	p.class, p.source, p.advertise, p.since = cl, src, adv, c.now
	c.touch(p, -1, -1, -1)
	c.enter(p, 0)
	return p
}

// forget removes a cold peer from the known set and from all root sets.
func (c *Core) forget(p *peer) {
	c.leave(p)
	c.salt.drop(p)
	c.clearFails.drop(p.id)
	c.pauses.drop(p.id)
	delete(c.pauseCause, p.id)
	delete(c.early, p.id)
	delete(c.lifted, p.id)
	c.sharing.drop(p)
	c.tellers.drop(p.teller)
	c.table.remove(p)
}

// touch notes the decision that touched a peer, for Explain.
func (c *Core) touch(p *peer, target, actual, candidates int) {
	p.last = inputs{c.now, int32(target), int32(actual), int32(candidates), c.deciding}
}

// changes notes that a connection changed without being told, for the rule that looks at it.
func (c *Core) changes(ch change) {
	c.changed = append(c.changed, ch)
	c.asking.rules |= 1 << WentByThemselves
}

// order starts an order for a peer.
func (c *Core) order(k EffectKind, p *peer, o ConnectOptions) {
	p.job = c.newJob()
	p.clear(sawUp)
	c.expect(p)
	delete(c.early, p.id)
	c.out.Effects = append(c.out.Effects, Effect{Kind: k, Job: p.job, Peer: p.addr, Options: o})
}

// newJob never returns 0, which means that nobody waits.
func (c *Core) newJob() uint32 {
	c.lastJob++
	if c.lastJob == 0 {
		c.lastJob = 1
	}
	return c.lastJob
}

// uniform draws from [a, b).
func (c *Core) uniform(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(c.rnd.Int64N(int64(b-a)))
}

// fuzz draws from ± d.
func (c *Core) fuzz(d time.Duration) time.Duration { return c.uniform(-d, d) }
