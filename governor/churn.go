package governor

import "time"

// Churn: every hour or so, twelve steps take the targets down a little and up again, so that peers nobody chose for good reasons make
// room for others (governor §4). It is part of the core: one more source of decisions. Each step writes one target, computed
// from the configured targets and never from the present ones, or they would decay; then it waits for the counter to follow,
// or for a time-out, which reverts nothing. Local roots go by their valencies and are never churned.

// regime is read anew before every step.
type regime uint8

const (
	regimeDefault regime = iota
	regimePraosSync
	regimeBootstrapPraosSync
)

func (c *Core) regime() regime {
	switch {
	case !c.bulk():
		return regimeDefault
	case c.settings.UseBootstrap:
		return regimeBootstrapPraosSync
	}
	return regimePraosSync
}

// churnPhase is what churn waits for.
type churnPhase uint8

const (
	churnStart churnPhase = iota
	churnHead             // local roots have their head start
	churnSleep            // until the next round
	churnStep             // for a counter
)

// churning is the state of churn. It holds the twelve results and nothing that grows.
type churning struct {
	begun   bool // targets have been offered: until then target updates are ignored
	phase   churnPhase
	until   time.Duration // when the phase ends at the latest
	round   time.Duration // beginning of the round
	step    int
	began   time.Duration // of the step
	before  int           // its counter then
	results [12]int       // |counter after − before|
	bulk    bool          // fetch mode at the beginning of the round: what hot demotions go by
	rounds  int
	stats   [12]churnStat
}

type churnStat struct {
	duration time.Duration
	delta    int
}

// decrease takes a fifth away, at least one and at least m (dec and dec_m of governor §4.3).
func decrease(v, m int) int { return max(0, v-max(m, 1, v/5)) }

// churnStepDef is one of the twelve steps.
type churnStepDef struct {
	action string
	limit  func(*Timing) time.Duration
	// write sets one target (two for 10 and 11) in t, from base b; m is the result of the step before in the chain.
	write func(c *Core, t *Targets, b Targets, m int, r regime)
	chain int // whose result is m, −1 none
	count func(c *Core) int
	done  func(c *Core, t Targets) bool
}

var churnSteps = [12]churnStepDef{
	{"DecreasedActiveBigLedgerPeers", deactivateLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		if t.ActiveBigLedger = min(1, b.ActiveBigLedger); r == regimeDefault {
			t.ActiveBigLedger = decrease(b.ActiveBigLedger, 0)
		}
	}, -1, activeBig, func(c *Core, t Targets) bool { return activeBig(c) <= t.ActiveBigLedger }},
	{"IncreasedActiveBigLedgerPeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		if t.ActiveBigLedger = min(1, b.ActiveBigLedger); r == regimeDefault {
			t.ActiveBigLedger = b.ActiveBigLedger
		}
	}, -1, activeBig, func(c *Core, t Targets) bool { return activeBig(c) >= t.ActiveBigLedger }},
	{"DecreasedEstablishedBigLedgerPeers", closeLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.EstablishedBigLedger = b.ActiveBigLedger + decrease(b.EstablishedBigLedger-b.ActiveBigLedger, m)
	}, 0, establishedBig, func(c *Core, t Targets) bool { return establishedBig(c) <= t.EstablishedBigLedger }},
	{"DecreasedKnownBigLedgerPeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.KnownBigLedger = b.EstablishedBigLedger + decrease(b.KnownBigLedger-b.EstablishedBigLedger, m)
	}, 2, knownBig, func(c *Core, t Targets) bool { return knownBig(c) <= t.KnownBigLedger }},
	{"IncreasedKnownBigLedgerPeers", knownLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.KnownBigLedger = b.KnownBigLedger
	}, -1, knownBig, func(c *Core, t Targets) bool { return knownBig(c) >= t.KnownBigLedger }},
	{"IncreasedEstablishedBigLedgerPeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.EstablishedBigLedger = b.EstablishedBigLedger
	}, -1, establishedBig, func(c *Core, t Targets) bool { return establishedBig(c) >= t.EstablishedBigLedger }},
	{"DecreasedActivePeers", deactivateLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		if t.Active = max(0, min(max(1, c.localHot()), b.Active-1)); r == regimeDefault {
			t.Active = decrease(b.Active, 0)
		}
	}, -1, active, func(c *Core, t Targets) bool { return active(c) <= t.Active }},
	{"IncreasedActivePeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		// One more than the local roots want, or a node whose trusted local roots take all slots never leaves bootstrap.
		if t.Active = min(max(1, c.localHot())+1, b.Active); r == regimeDefault {
			t.Active = b.Active
		}
	}, -1, active, func(c *Core, t Targets) bool { return active(c) >= t.Active }},
	{"DecreasedEstablishedPeers", closeLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		if t.Established = b.Active + decrease(b.Established-b.Active, m); r == regimeBootstrapPraosSync {
			t.Established = max(0, min(t.Active, b.Established-1))
		}
	}, 6, established, func(c *Core, t Targets) bool { return established(c) <= t.Established }},
	{"DecreasedKnownPeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.Known = b.Established + decrease(b.Known-b.Established, m)
		// Clamped from above: the root target may be below the established one.
		t.Roots = min(b.Roots, b.Established+decrease(b.Roots-b.Established, 0))
		t.Roots = min(t.Roots, t.Known)
	}, 8, known, func(c *Core, t Targets) bool { return known(c) <= t.Known }},
	{"IncreasedKnownPeers", knownLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		t.Known, t.Roots = b.Known, b.Roots
	}, -1, known, func(c *Core, t Targets) bool { return known(c) >= t.Known && c.rootPeers() >= t.Roots }},
	{"IncreasedEstablishedPeers", shortLimit, func(c *Core, t *Targets, b Targets, m int, r regime) {
		if t.Established = b.Established; r == regimeBootstrapPraosSync {
			t.Established = min(t.Active+1, b.Established)
		}
	}, -1, established, func(c *Core, t Targets) bool { return established(c) >= t.Established }},
}

func deactivateLimit(t *Timing) time.Duration { return t.ChurnDeactivate }
func closeLimit(t *Timing) time.Duration      { return t.ChurnClose }
func shortLimit(t *Timing) time.Duration      { return t.ChurnShort }
func knownLimit(t *Timing) time.Duration      { return t.ChurnKnown }

func activeBig(c *Core) int      { return c.tot[kindBig].active }
func establishedBig(c *Core) int { return c.tot[kindBig].established }
func knownBig(c *Core) int       { return c.tot[kindBig].known }
func active(c *Core) int         { return c.tot[kindOrdinary].active }
func established(c *Core) int    { return c.tot[kindOrdinary].established }
func known(c *Core) int          { return c.tot[kindOrdinary].known }

// localHot is the sum of the hot valencies of the resolved local roots.
func (c *Core) localHot() int {
	n := 0
	for i := range c.groups {
		n += c.groups[i].Hot
	}
	return n
}

// churn goes one step on.
func (c *Core) churn() verdict {
	s := &c.churning
	switch {
	case c.cfg.NoChurn:
		if s.begun && c.offered == c.base() {
			return skip
		}
		s.begun, c.offered, s.bulk = true, c.base(), c.bulk()
		return did
	case s.phase == churnStart:
		s.begun, s.phase, s.round, s.bulk = true, churnHead, c.now, c.bulk()
		s.until = c.now + c.cfg.Timing.ChurnHeadStart
		c.offered = c.startTargets()
		return did
	case s.phase == churnStep:
		def := &churnSteps[s.step]
		done := def.done(c, c.offered)
		if !done && c.now < s.until {
			return skipUntil(s.until)
		}
		s.end(c, def, done)
		return did
	case c.now < s.until:
		return skipUntil(s.until)
	case s.phase == churnHead:
		if c.regime() != regimeBootstrapPraosSync {
			c.offered = c.base()
		}
		s.sleep(c)
		return did
	}
	s.round, s.bulk = c.now, c.bulk()
	s.rounds++
	s.begin(c, 0)
	return did
}

// startTargets are the targets of the first seconds: no public roots yet, so that local roots and big ledger peers have a head
// start; with bootstrap peers in bulk sync, hardly anybody active.
func (c *Core) startTargets() Targets {
	t := c.base()
	if c.cfg.Genesis {
		return t
	}
	if c.regime() == regimeBootstrapPraosSync {
		t.Active = min(max(1, c.localHot())+1, t.Active)
		t.ActiveBigLedger = min(1, t.ActiveBigLedger)
	} else {
		t.Roots = 0
	}
	return t
}

// begin writes the target of a step.
func (s *churning) begin(c *Core, step int) {
	def := &churnSteps[step]
	s.phase, s.step, s.began, s.before = churnStep, step, c.now, def.count(c)
	s.until = c.now + def.limit(&c.cfg.Timing)
	m := 0
	if def.chain >= 0 {
		m = s.results[def.chain]
	}
	t := c.offered
	def.write(c, &t, c.base(), m, c.regime())
	c.offered = ordered(t)
}

// ordered keeps the order of the targets when the configured ones changed in the middle of a round, or a regime did: a step moves
// one target, and the others may be of another round.
func ordered(t Targets) Targets {
	t.Established = max(t.Established, t.Active)
	t.Known = max(t.Known, t.Established, t.Roots)
	t.EstablishedBigLedger = max(t.EstablishedBigLedger, t.ActiveBigLedger)
	t.KnownBigLedger = max(t.KnownBigLedger, t.EstablishedBigLedger)
	return t
}

// end notes the result of a step and begins the next, or sleeps.
func (s *churning) end(c *Core, def *churnStepDef, done bool) {
	after := def.count(c)
	s.results[s.step] = max(after-s.before, s.before-after)
	s.stats[s.step] = churnStat{c.now - s.began, s.results[s.step]}
	name := "ChurnAction"
	if !done {
		name = "ChurnTimeout"
	}
	c.trace(name, -1, after, -1, def.action).Delay = c.now - s.began
	if s.step+1 < len(churnSteps) {
		s.begin(c, s.step+1)
		return
	}
	if c.regime() == regimeDefault {
		// What the steps have written already, when the configured targets or the judgement that chooses between them changed in
		// the middle of the round, would else be in force until the next one.
		c.offered = c.base()
	}
	s.sleep(c)
}

// sleep waits for the next round: the interval less what this one took.
func (s *churning) sleep(c *Core) {
	interval := c.cfg.Timing.ChurnLong
	if !c.cfg.Genesis && c.bulkSync {
		interval = c.cfg.Timing.ChurnFast
	}
	s.phase = churnSleep
	s.until = max(c.now, s.round+interval[0]+c.uniform(0, interval[1]))
	c.tell("ChurnWait", "").Delay = s.until - c.now
}

// retarget follows a change of the configured targets at once, unless a step is under way: the next one will.
func (s *churning) retarget(c *Core) {
	switch {
	case !s.begun, s.phase == churnStep:
	case s.phase == churnHead, c.regime() == regimeBootstrapPraosSync:
		c.offered = c.startTargets()
	default:
		c.offered = c.base()
	}
}
