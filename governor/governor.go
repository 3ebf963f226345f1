package governor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	eventQueue   = 1024             // events that wait for the loop; whoever reports more waits with them
	rootsLimit   = time.Minute      // an answer of a root source
	storeEvery   = 5 * time.Minute  // the peer store is written
	verifyLimit  = 10 * time.Minute // a look-up in the immutable chain
	inboundLimit = maxInboundList
)

// ErrBootstrapTimeout ends Run: with bootstrap peers on and the ledger state too old, no state with trusted peers only was reached in
// time; the host should restart (governor §7).
var ErrBootstrapTimeout error = fatalError("governor: no clean state with bootstrap peers in time")

// CaughtUp is the [Ledger] of hosts that have none: young enough and caught up.
type CaughtUp struct{}

// Judgement implements [Ledger].
func (CaughtUp) Judgement() (bool, <-chan struct{}) { return false, nil }

// BulkSync implements [Ledger].
func (CaughtUp) BulkSync() bool { return false }

// Governor is the shell around a [Core]: one goroutine steps it, one more for each order that runs. At most 1,024 events wait. All
// methods may be called from any goroutine, before, while and after Run runs; a Policy must not call them.
type Governor struct {
	cfg     Config
	actions PeerActions
	roots   Roots
	ledger  Ledger
	log     *slog.Logger

	start  time.Time
	events chan Event
	done   chan struct{} // closed when Run has returned

	mu       sync.Mutex // owns core and what follows; nothing is called out to under it
	core     *Core
	recorder *Recorder
	trusted  chan struct{} // closed when OutboundTrusted changes
	ran      bool

	sightMu   sync.Mutex // owns what follows
	headers   board
	blocks    board
	sightings chan struct{} // holds one when there are any
}

// New returns a governor that does nothing until Run. actions and roots must not be nil; a nil ledger is [CaughtUp].
func New(cfg Config, actions PeerActions, roots Roots, ledger Ledger) (*Governor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if actions == nil || roots == nil {
		return nil, errors.New("governor: New needs peer actions and roots")
	}
	if ledger == nil {
		ledger = CaughtUp{}
	}
	for cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	core, err := NewCore(cfg)
	if err != nil {
		return nil, err
	}
	g := &Governor{cfg: core.cfg, actions: actions, roots: roots, ledger: ledger, log: cfg.Log, start: time.Now(), core: core,
		events: make(chan Event, eventQueue), done: make(chan struct{}), trusted: make(chan struct{}), sightings: make(chan struct{}, 1),
		headers: newBoard(), blocks: newBoard()}
	if g.log == nil {
		g.log = slog.Default()
	}
	if cfg.Record != nil {
		if g.recorder, err = NewRecorder(cfg.Record, cfg); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// now is the time of the core.
func (g *Governor) now() time.Duration { return time.Since(g.start) }

// Run governs until ctx ends, then it returns nil; or until it cannot go on, which is an error that the whole node has to stop for
// (governor §11): [ErrBootstrapTimeout], a *[BreachError], or a *[PanicError] of Watch, without which it would be blind. Any other
// panic in a function of the host is logged and costs no more than what it was called for. Run returns when every goroutine it
// started has ended. It can be called once.
func (g *Governor) Run(ctx context.Context) error {
	g.mu.Lock()
	ran := g.ran
	g.ran = true
	g.mu.Unlock()
	if ran {
		return errors.New("governor: Run was called before")
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{Governor: g, ctx: ctx, reported: make(chan struct{}, 1)}
	defer close(g.done)
	var stop func()
	err := g.host("Watch", func() {
		stop = g.actions.Watch(func(peer netip.AddrPort, temperature int, retryAfter time.Duration, cause error) {
			r.noteStatus(StatusSeen{Peer: peer, Temperature: Temperature(max(0, min(temperature, int(Hot)))), RetryAfter: retryAfter,
				Cause: failureOf(cause)})
		})
	})
	stopInbound := func() {}
	if w, ok := g.actions.(InboundWatcher); ok && err == nil {
		_ = g.host("WatchInbound", func() { // it is in the log
			stopInbound = w.WatchInbound(func(peer netip.AddrPort) { r.noteStatus(InboundSeen{peer}) })
		})
	}
	if err == nil {
		err = r.loop()
	}
	cancel()
	_ = g.host("WatchInbound's stop", stopInbound)
	if stop != nil {
		_ = g.host("Watch's stop", stop) // it is in the log
	}
	r.jobs.Wait()
	if breach := (*BreachError)(nil); !errors.As(err, &breach) {
		g.saveStore()
	}
	return err
}

// run is one Run: what its goroutine alone touches.
type run struct {
	*Governor
	ctx  context.Context
	jobs sync.WaitGroup

	// What the host said last.
	tooOld, bulkSync bool
	bulkAgain        time.Duration // BulkSync is not asked before
	settings         RootSettings
	groups           []LocalRootGroup

	// Reports of Watch and WatchInbound, in order: of the former a handful for each connection at most, for nothing goes up without an
	// order of ours; the latter are hints, which are dropped while eventQueue reports wait.
	reports  []Event
	reportMu sync.Mutex    // owns reports
	reported chan struct{} // holds one when there are any
}

// noteStatus takes a report of Watch or WatchInbound. It never waits.
func (r *run) noteStatus(ev Event) {
	_, hint := ev.(InboundSeen)
	r.reportMu.Lock()
	if !hint || len(r.reports) < eventQueue {
		r.reports = append(r.reports, ev)
	}
	r.reportMu.Unlock()
	select {
	case r.reported <- struct{}{}:
	default:
	}
}

func (r *run) takeReports() []Event {
	r.reportMu.Lock()
	defer r.reportMu.Unlock()
	reports := r.reports
	r.reports = nil
	return reports
}

// loop owns the core: events come in, one Step each, orders go out.
func (r *run) loop() error {
	ledgerChanged, settingsChanged, localChanged := r.judgement(), r.rootSettings(), r.localRoots()
	r.askBulkSync()
	first := []Event{Begin{LedgerSet{r.tooOld, r.bulkSync}, r.settings, r.groups}}
	if r.cfg.StorePath != "" {
		peers, err := LoadPeers(r.cfg.StorePath)
		if err != nil {
			r.log.Warn("the peer store is not usable, starting without it", "path", r.cfg.StorePath, "error", err)
		}
		if len(peers) > 0 {
			first = append(first, Restored{peers})
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	store := time.NewTicker(storeEvery)
	defer store.Stop()

	wake := Never
	step := func(ev Event) (err error) {
		// Reports come before the results of the orders that caused them.
		for _, report := range r.takeReports() {
			if wake, err = r.step(report); err != nil {
				return err
			}
		}
		if ev == nil {
			return nil
		}
		if r.askBulkSync() {
			if _, err = r.step(LedgerSet{r.tooOld, r.bulkSync}); err != nil {
				return err
			}
		}
		wake, err = r.step(ev)
		return err
	}
	for _, ev := range first {
		if err := step(ev); err != nil {
			return err
		}
	}
	for {
		if wake == Never {
			timer.Stop()
		} else {
			timer.Reset(wake - r.now())
		}
		var ev Event
		select {
		case <-r.ctx.Done():
			return nil
		case ev = <-r.events:
		case <-r.reported:
		case <-timer.C:
			ev = Tick{}
		case <-ledgerChanged:
			ledgerChanged = r.judgement()
			r.askBulkSync()
			ev = LedgerSet{r.tooOld, r.bulkSync}
		case <-settingsChanged:
			settingsChanged = r.rootSettings()
			ev = SettingsSet{r.settings}
		case <-localChanged:
			localChanged = r.localRoots()
			ev = LocalRootsSet{r.groups}
		case <-r.Governor.sightings:
			ev = r.takeSightings()
		case <-store.C:
			r.save()
			continue
		}
		if err := step(ev); err != nil {
			return err
		}
	}
}

// judgement, rootSettings and localRoots ask the host how things stand, and return what is closed when that is out of date. A host that
// panics is taken by its last word and asked again a little later.
func (r *run) judgement() (changed <-chan struct{}) {
	if r.host("Judgement", func() { r.tooOld, changed = r.ledger.Judgement() }) != nil {
		return later()
	}
	return changed
}

func (r *run) rootSettings() (changed <-chan struct{}) {
	if r.host("Settings", func() { r.settings, changed = r.roots.Settings() }) != nil {
		return later()
	}
	return changed
}

func (r *run) localRoots() (changed <-chan struct{}) {
	if r.host("LocalRoots", func() { r.groups, changed = r.roots.LocalRoots() }) != nil {
		return later()
	}
	return changed
}

// askBulkSync asks for the fetch mode and tells whether it is another one.
func (r *run) askBulkSync() bool {
	before, now := r.bulkSync, r.now()
	if now >= r.bulkAgain && r.host("BulkSync", func() { r.bulkSync = r.ledger.BulkSync() }) != nil {
		r.bulkAgain = now + askAgain
	}
	return r.bulkSync != before
}

// step runs one Step and what it orders, and returns when the next is due.
func (r *run) step(ev Event) (time.Duration, error) {
	out, recordErr, err := r.stepCore(ev)
	if recordErr != nil {
		_ = r.host("log", func() { r.log.Warn("the recording ends here", "error", recordErr) })
	}
	if err != nil {
		return Never, err
	}
	_ = r.host("log", func() {
		for _, t := range out.Trace {
			if level := t.Severity(); r.log.Enabled(r.ctx, level) {
				r.log.LogAttrs(r.ctx, level, t.Name, t.attrs()...)
			}
		}
	})
	for _, e := range out.Effects {
		if e.Kind == Fatal {
			return Never, ErrBootstrapTimeout
		}
		r.carryOut(e)
	}
	return out.Wake, nil
}

// stepCore runs one Step. What it returns is a copy.
func (r *run) stepCore(ev Event) (out Output, recordErr, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.recorder != nil {
		if failed := guard("Record", func() { recordErr = r.recorder.Record(ev, now) }); failed != nil {
			recordErr = failed
		}
		if recordErr != nil {
			r.recorder = nil
		}
	}
	broken := guard("Step", func() { out = r.core.Step(ev, now) })
	if broken == nil && r.cfg.CheckInvariants {
		broken = r.core.Check()
	}
	if broken != nil {
		return out, recordErr, &BreachError{ev, broken}
	}
	out.Effects, out.Trace = append([]Effect(nil), out.Effects...), append([]Trace(nil), out.Trace...)
	for _, e := range out.Effects {
		if e.Kind == Outbound {
			close(r.trusted)
			r.trusted = make(chan struct{})
		}
	}
	return out, recordErr, nil
}

// post hands an event to the loop; it waits while too many wait, which slows down whoever reports.
func (g *Governor) post(ctx context.Context, ev Event) {
	select {
	case g.events <- ev:
	case <-ctx.Done():
	case <-g.done:
	}
}

func (r *run) post(ev Event) { r.Governor.post(r.ctx, ev) }

// Explain explains a peer: where it is and why, and what its next promotion waits for.
func (g *Governor) Explain(peer netip.AddrPort) Explanation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Explain(peer)
}

// ExplainTargets explains every target and every local root group.
func (g *Governor) ExplainTargets() []TargetExplanation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.ExplainTargets()
}

// WhatIf returns the decisions that would follow from an event now, typically [TargetsSet], [LocalRootsSet] or [SettingsSet], without
// taking them.
func (g *Governor) WhatIf(ev Event) Output {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.WhatIf(ev)
}

// Peers lists what is known about at most limit peers, established ones first; limit ≤ 0 is all.
func (g *Governor) Peers(limit int) []Explanation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Peers(limit)
}

// Counters takes a snapshot.
func (g *Governor) Counters() Counters {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Counters()
}

// Targets returns the targets in force, which churn moves below the configured ones and back.
func (g *Governor) Targets() Targets {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Targets()
}

// SetTargets replaces the configured targets. It fails, and the old ones stay, if they break the order or a limit.
func (g *Governor) SetTargets(t Targets) error {
	if err := t.Validate(g.cfg.Limits); err != nil {
		return err
	}
	g.mu.Lock()
	sync := g.core.cfg.SyncTargets
	g.mu.Unlock()
	g.post(context.Background(), TargetsSet{t, sync})
	return nil
}

// Shareable returns at most n, and at most ten, peers that others may be told about: what a peer-sharing server answers. Without
// PeerSharing there are none.
func (g *Governor) Shareable(n int) []netip.AddrPort {
	if !g.cfg.PeerSharing {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Shareable(n, g.now())
}

// Banned reports whether a peer is banned now, by its address and port. Local roots never are.
func (g *Governor) Banned(peer netip.AddrPort) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.core.find(peer)
	return (p == nil || p.class != classLocal) && g.core.bans.has(peer, g.now())
}

// ReportBad is proof of misbehaviour found by the application: the peer is disconnected, forgotten and banned for ten minutes or more
// (governor §11). Local roots are only backed off.
func (g *Governor) ReportBad(peer netip.AddrPort, reason string) {
	g.post(context.Background(), Reported{Peer: peer, Reason: reason})
}

// ReportGood says that the application was served well.
func (g *Governor) ReportGood(peer netip.AddrPort) {
	g.post(context.Background(), Reported{Peer: peer, Good: true})
}

// Measured tells the round-trip time of a peer, for policies that care.
func (g *Governor) Measured(peer netip.AddrPort, rtt time.Duration) {
	g.post(context.Background(), Measured{Peer: peer, RTT: rtt})
}

// Announced tells that a peer announced the header of a slot. Chain-sync calls it for every header: it is cheap and never waits.
func (g *Governor) Announced(peer netip.AddrPort, slot uint64) {
	g.sight(&g.headers, Sighting{Peer: peer, Slot: slot, At: g.now()})
}

// Fetched tells that a peer delivered the block of a slot.
func (g *Governor) Fetched(peer netip.AddrPort, slot uint64, bytes int) {
	g.sight(&g.blocks, Sighting{Peer: peer, Slot: slot, Bytes: bytes, At: g.now()})
}

// sight keeps the best 180 slots until the loop takes them, as the boards of the core would.
func (g *Governor) sight(b *board, s Sighting) {
	g.sightMu.Lock()
	b.insert(entry{s.Slot, s.Peer, s.At, s.Bytes})
	g.sightMu.Unlock()
	select {
	case g.sightings <- struct{}{}:
	default:
	}
}

func (g *Governor) takeSightings() Event {
	g.sightMu.Lock()
	defer g.sightMu.Unlock()
	var ev MetricsSeen
	for _, e := range g.headers.slots {
		ev.Headers = append(ev.Headers, Sighting{Peer: e.peer, Slot: e.slot, At: e.at})
	}
	for _, e := range g.blocks.slots {
		ev.Blocks = append(ev.Blocks, Sighting{Peer: e.peer, Slot: e.slot, Bytes: e.bytes, At: e.at})
	}
	g.headers, g.blocks = newBoard(), newBoard()
	return ev
}

// OutboundTrusted says whether consensus may trust that the outbound connections reach external peers, with a channel that is
// closed when that changes (governor §7).
func (g *Governor) OutboundTrusted() (trusted bool, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.outboundTrusted, g.trusted
}

// Association says how far our connections reach.
func (g *Governor) Association() Association {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Association()
}
