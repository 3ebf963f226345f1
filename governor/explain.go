package governor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Explanation answers "why is this peer where it is".
type Explanation struct {
	Peer        netip.AddrPort
	Known       bool
	Temperature Temperature
	Since       time.Duration // of the temperature
	State       string        // the temperature and what has been ordered: "waiting to connect", "activating", …
	Source      Source
	Fails       int
	Tepid       bool
	Advertise   bool
	RTT         time.Duration
	Reports     int // by the application: good minus bad

	// Of the last 180 slots each: headers this peer announced first, blocks it delivered first and their bytes (governor §5). Who has the
	// least is demoted from hot first.
	Announced, Fetched int
	FetchedBytes       int64

	// The decision that last touched the peer, when, and its inputs; −1 where they do not apply.
	Decision                   Decision
	DecisionAt                 time.Duration
	Target, Actual, Candidates int

	// What stands between the peer and its next promotion, and when that changes by itself; Never when only an event changes it.
	Blocked string
	Until   time.Duration
}

// String is one line for people: what the peer is, what was last decided about it and from what, and what its next promotion waits for.
func (e Explanation) String() string {
	if !e.Known {
		return fmt.Sprintf("%v is not known: %s", e.Peer, e.Blocked)
	}
	s := fmt.Sprintf("%v is %v since %v (%s), from %v, %d failures", e.Peer, e.Temperature, e.Since.Round(time.Millisecond), e.State,
		e.Source, e.Fails)
	if e.Tepid {
		s += ", tepid"
	}
	if e.Announced+e.Fetched > 0 {
		s += fmt.Sprintf(", first with %d headers and %d blocks of %d bytes", e.Announced, e.Fetched, e.FetchedBytes)
	}
	s += fmt.Sprintf("; last touched by %v at %v", e.Decision, e.DecisionAt.Round(time.Millisecond))
	if e.Target >= 0 {
		s += fmt.Sprintf(" (target %d, actual %d", e.Target, e.Actual)
		if e.Candidates >= 0 {
			s += fmt.Sprintf(", %d candidates", e.Candidates)
		}
		s += ")"
	}
	s += "; " + e.Blocked
	if e.Until != Never {
		s += fmt.Sprintf(" until %v", e.Until.Round(time.Millisecond))
	}
	return s
}

// Explain explains a peer, as of the last Step.
func (c *Core) Explain(a netip.AddrPort) Explanation {
	p := c.find(a)
	if p == nil {
		e := Explanation{Peer: a, Until: Never, Decision: DecisionNone, Blocked: "no source named it, or it was forgotten"}
		if b, ok := c.bans.entries[a]; ok && c.now < b.until {
			e.Blocked, e.Until = "banned: "+b.why, b.until
		}
		return e
	}
	e := Explanation{Peer: a, Known: true, Temperature: p.place.temperature(), Since: p.since, State: p.place.String(), Source: p.source,
		Fails: int(p.fails), Tepid: p.has(tepid), Advertise: p.advertise == yes, RTT: microseconds(p.rtt), Reports: int(p.score),
		Decision: p.last.decision, DecisionAt: p.last.at, Target: int(p.last.target), Actual: int(p.last.actual),
		Candidates: int(p.last.candidates), Until: Never}
	if p.class != classPlain {
		e.Source = Source(p.class)
	}
	e.Announced = c.boards.Upstreamyness(a)
	e.Fetched, e.FetchedBytes = c.boards.Fetchyness(a)
	e.Blocked, e.Until = c.blocked(p)
	if c.lifted[p.id] > c.now && (p.place == coldReady || p.place == connecting) {
		e.Blocked = "it has connected to us, which is reused and not dialled: " + e.Blocked
	}
	return e
}

// Targets are those in force, which churn moves below the configured ones and back.
func (c *Core) Targets() Targets { return c.targets }

// Visit shows every established peer and its temperature until visit returns false, in an order that is a function of the
// history alone. A simulator follows connections with it.
func (c *Core) Visit(visit func(peer netip.AddrPort, t Temperature) bool) {
	for pl := warmReady; pl < places; pl++ {
		for cl := range c.buckets {
			for _, id := range c.buckets[cl][pl].ids {
				if !visit(c.at(id).addr, pl.temperature()) {
					return
				}
			}
		}
	}
}

// Peers explains at most limit peers, established ones first, then the order of learning; limit ≤ 0 is all. Its cost is linear in the
// known peers.
func (c *Core) Peers(limit int) []Explanation {
	var out []Explanation
	for _, established := range [...]bool{true, false} {
		for id := range c.pos {
			if limit > 0 && len(out) >= limit {
				return out
			}
			if p := c.at(uint32(id)); p.addr.IsValid() && p.place.established() == established {
				out = append(out, c.Explain(p.addr))
			}
		}
	}
	return out
}

// blocked says why the next promotion does not happen now.
func (c *Core) blocked(p *peer) (string, time.Duration) {
	if p.has(condemned) {
		return "misbehaved: it is forgotten when it is cold", Never
	}
	if p.has(pausing) {
		at, _ := c.pauses.get(p.id)
		return "its order failed: " + c.pauseCause[p.id].text(), at
	}
	switch p.place {
	case coldWait:
		why := "back-off after a failure"
		if p.fails == 0 {
			why = "its last attempt said when to come back"
		}
		if c.lifted[p.id] == c.dueOf(p) {
			why = "its own connection to us was gone; the rest of the back-off"
		}
		if p.has(unblamed) {
			why = "it failed too often; it is forgotten at the next sign of life of another peer"
		}
		if c.outage[p.scope()].on {
			why = "our own network is out"
		}
		return why, c.dueOf(p)
	case warmWait:
		return "it ended its hot protocols; the exit policy's delay", c.dueOf(p)
	case connecting, activating, closing, deactivating:
		return "an order runs: " + p.place.String(), Never
	case cooling:
		return "its connection is being torn down", Never
	case hot:
		return "it is hot, and nothing is above that", Never
	case coldReady:
		if p.group >= 0 {
			g := &c.groups[p.group]
			return fmt.Sprintf("its group has %d established and %d connecting for a warm valency of %d", g.established(), g.n[connecting], g.Warm), Never
		}
		if p.class == classBig {
			if c.sensitive() {
				return "sensitive: only bootstrap peers and trusted local roots are used", Never
			}
			return fmt.Sprintf("%d established and %d connecting for a target of %d", c.tot[kindBig].established, c.n[kindBig][connecting], c.targets.EstablishedBigLedger), Never
		}
		return fmt.Sprintf("%d established and %d connecting for a target of %d", c.tot[kindOrdinary].established, c.n[kindOrdinary][connecting], c.targets.Established), Never
	}
	if p.group >= 0 {
		g := &c.groups[p.group]
		return fmt.Sprintf("its group has %d hot and %d activating for a hot valency of %d", g.active(), g.n[activating], g.Hot), Never
	}
	if p.class == classBig {
		return fmt.Sprintf("%d hot and %d activating for a target of %d", c.tot[kindBig].active, c.n[kindBig][activating], c.targets.ActiveBigLedger), Never
	}
	return fmt.Sprintf("%d hot and %d activating for a target of %d", c.tot[kindOrdinary].active, c.n[kindOrdinary][activating], c.targets.Active), Never
}

// TargetExplanation answers "why is this count below or above its target".
type TargetExplanation struct {
	Name           string // the field of Targets
	Target, Actual int
	Configured     int    // the target when churn is not at work
	Why            string // empty when the target is met
	Until          time.Duration
}

// ExplainTargets explains every target and every local root group.
func (c *Core) ExplainTargets() []TargetExplanation {
	base := c.base()
	o, b := c.tot[kindOrdinary], c.tot[kindBig]
	return append([]TargetExplanation{
		c.whyRoots("Roots", c.targets.Roots, c.rootPeers(), base.Roots, &c.roots[0]),
		c.whyKnown(c.targets.Known, o.known, base.Known),
		c.whyEstablished("Established", c.targets.Established, o.established, base.Established, kindOrdinary, kindOther),
		c.whyActive("Active", c.targets.Active, o.active, base.Active, kindOrdinary, kindOther),
		c.whyRoots("KnownBigLedger", c.targets.KnownBigLedger, b.known, base.KnownBigLedger, &c.roots[1]),
		c.whyEstablished("EstablishedBigLedger", c.targets.EstablishedBigLedger, b.established, base.EstablishedBigLedger, kindBig, kindBig),
		c.whyActive("ActiveBigLedger", c.targets.ActiveBigLedger, b.active, base.ActiveBigLedger, kindBig, kindBig),
	}, c.whyGroups()...)
}

func (c *Core) whyRoots(name string, target, actual, base int, r *rootRequest) TargetExplanation {
	e := TargetExplanation{Name: name, Target: target, Actual: actual, Configured: base, Until: Never}
	switch {
	case actual > target && name != "Roots":
		e.Why = "above: none of them is cold, so none can be forgotten"
	case actual >= target:
	case r.running:
		e.Why = fmt.Sprintf("a request to the %v source is under way", r.source)
	case c.now < r.retry:
		e.Why, e.Until = fmt.Sprintf("the last %d requests brought nobody new", max(r.backoff, -r.backoff)), r.retry
	case c.sensitive():
		e.Why = "sensitive: only bootstrap peers are asked for"
	}
	return e
}

func (c *Core) whyKnown(target, actual, base int) TargetExplanation {
	e := TargetExplanation{Name: "Known", Target: target, Actual: actual, Configured: base, Until: Never}
	switch {
	case actual > target:
		e.Why = "above: local roots, connected peers and roots that are wanted are not forgotten"
	case actual == target:
	case c.sensitive():
		e.Why = "sensitive: no peers are learnt from others"
	case !c.cfg.PeerSharing:
		e.Why = "peer sharing is off: only roots bring peers"
	case c.sharing.running > 0:
		e.Why = fmt.Sprintf("%d share requests are under way", c.sharing.running)
	default:
		e.Why, e.Until = "nobody can be asked for peers yet", min(c.sharing.waiting.next(), max(c.now, c.sharing.inboundRetry))
	}
	return e
}

func (c *Core) whyEstablished(name string, target, actual, base int, counted, from kind) TargetExplanation {
	e := TargetExplanation{Name: name, Target: target, Actual: actual, Configured: base, Until: Never}
	switch {
	case actual > target:
		e.Why = fmt.Sprintf("above: %d are closing, the others are hot or local roots", c.n[counted][closing])
	case actual == target:
	case c.n[from][coldReady] > 0:
		e.Why = fmt.Sprintf("%d are connecting", c.n[counted][connecting])
	default:
		e.Why = fmt.Sprintf("%d are connecting, nobody else is available, %d wait", c.n[counted][connecting], c.n[from][coldWait])
		e.Until = c.waiting(from, coldWait)
	}
	return e
}

func (c *Core) whyActive(name string, target, actual, base int, counted, from kind) TargetExplanation {
	e := TargetExplanation{Name: name, Target: target, Actual: actual, Configured: base, Until: Never}
	switch {
	case actual > target:
		e.Why = fmt.Sprintf("above: %d are being deactivated, the others are local roots", c.n[counted][deactivating])
	case actual == target:
	case c.n[from][warmReady] > 0:
		e.Why = fmt.Sprintf("%d are being activated", c.n[counted][activating])
	default:
		e.Why = fmt.Sprintf("%d are being activated, nobody else is warm and ready, %d wait", c.n[counted][activating], c.n[from][warmWait])
		e.Until = c.waiting(from, warmWait)
	}
	return e
}

func (c *Core) whyGroups() []TargetExplanation {
	var out []TargetExplanation
	for i := range c.groups {
		g := &c.groups[i]
		w := TargetExplanation{Name: fmt.Sprintf("LocalRoots[%d].Warm", i), Target: g.Warm, Actual: g.established(), Configured: g.Warm, Until: Never}
		if w.Actual < w.Target {
			w.Why, w.Until = fmt.Sprintf("%d are connecting, %d wait", g.n[connecting], g.n[coldWait]), c.groupWaiting(g, coldWait)
		}
		h := TargetExplanation{Name: fmt.Sprintf("LocalRoots[%d].Hot", i), Target: g.Hot, Actual: g.active(), Configured: g.Hot, Until: Never}
		if h.Actual != h.Target {
			h.Why, h.Until = fmt.Sprintf("%d are being activated, %d wait, %d are being deactivated", g.n[activating], g.n[warmWait],
				g.n[deactivating]), c.groupWaiting(g, warmWait)
		}
		out = append(out, w, h)
	}
	return out
}

// WhatIf returns the decisions that would follow from an event now — other targets, another topology — without taking them: the
// traces and orders of a Step on a copy. Its cost is linear in the known peers.
func (c *Core) WhatIf(ev Event) Output {
	d := c.clone()
	if e, ok := ev.(TargetsSet); ok && e.Targets.sane() && e.Sync.sane() {
		d.cfg.Targets, d.cfg.SyncTargets = e.Targets, e.Sync
		d.offered = d.base() // at once, whatever churn is doing
	}
	out := d.Step(ev, d.now)
	return Output{slices.Clone(out.Effects), slices.Clone(out.Trace), out.Wake}
}

// clone copies the core; policies keep no state, so they are shared.
func (c *Core) clone() *Core {
	d := *c
	pcg := *c.pcg
	d.pcg = &pcg
	d.rnd = rand.New(d.pcg)
	d.out = Output{}
	d.table = c.table.clone()
	for i := range c.buckets {
		for j := range c.buckets[i] {
			d.buckets[i][j] = c.buckets[i][j].clone()
		}
	}
	d.groups = slices.Clone(c.groups)
	for i := range d.groups {
		d.groups[i].ids = slices.Clone(c.groups[i].ids)
	}
	d.inbox, d.changed, d.restored = slices.Clone(c.inbox), slices.Clone(c.changed), slices.Clone(c.restored)
	d.sharing.askable, d.sharing.waiting = c.sharing.askable.clone(), c.sharing.waiting.clone()
	d.sharing.next = maps.Clone(c.sharing.next)
	d.sharing.batches = slices.Clone(c.sharing.batches)
	for i := range d.sharing.batches {
		b := &d.sharing.batches[i]
		b.asked, b.got = slices.Clone(b.asked), slices.Clone(b.got)
	}
	d.salt.members, d.salt.top = c.salt.members.clone(), slices.Clone(c.salt.top)
	d.boards, d.bans = c.boards.clone(), c.bans.clone()
	for i := range d.outage {
		d.outage[i] = c.outage[i].clone()
	}
	d.clearFails, d.pauses = c.clearFails.clone(), c.pauses.clone()
	d.pauseCause, d.early, d.lifted = maps.Clone(c.pauseCause), maps.Clone(c.early), maps.Clone(c.lifted)
	d.prefixes = make(map[netip.Prefix]*tally, len(c.prefixes))
	for p, w := range c.prefixes { // a copy: the order shows nowhere
		n := *w
		d.prefixes[p] = &n
	}
	d.tellers = tellers{slices.Clone(c.tellers.list), slices.Clone(c.tellers.free), maps.Clone(c.tellers.index)}
	d.candidates, d.from, d.drawn, d.names = nil, nil, map[int]struct{}{}, nil
	d.batch, d.picked, d.addressed = nil, nil, nil
	return &d
}
