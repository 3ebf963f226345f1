package governor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// hostWorld is a host's side of the seams in memory: connections that take their time, and roots that can change.
type hostWorld struct {
	mu      sync.Mutex
	report  func(netip.AddrPort, int, time.Duration, error)
	temp    map[netip.AddrPort]int
	down    map[netip.AddrPort]error
	knows   []netip.AddrPort
	inbound map[netip.AddrPort]bool
	calls   map[string]int
	options map[netip.AddrPort]ConnectOptions

	groups   []LocalRootGroup
	changed  chan struct{}
	settings RootSettings
	setCh    chan struct{}
	public   map[netip.AddrPort]bool
	ledger   []netip.AddrPort
	boot     []netip.AddrPort

	tooOld   bool
	judgedCh chan struct{}
	bulk     bool
}

func newHostWorld() *hostWorld {
	return &hostWorld{temp: map[netip.AddrPort]int{}, down: map[netip.AddrPort]error{}, calls: map[string]int{},
		options: map[netip.AddrPort]ConnectOptions{}}
}

// enterBubble makes the channels anew: those of another bubble would hold up its time.
func (w *hostWorld) enterBubble() {
	w.changed, w.setCh, w.judgedCh = make(chan struct{}), make(chan struct{}), make(chan struct{})
}

func (w *hostWorld) note(call string) { w.mu.Lock(); w.calls[call]++; w.mu.Unlock() }

func (w *hostWorld) turn(peer netip.AddrPort, to int, retry time.Duration, cause error) {
	w.mu.Lock()
	w.temp[peer] = to
	report := w.report
	w.mu.Unlock()
	report(peer, to, retry, cause)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *hostWorld) Connect(ctx context.Context, peer netip.AddrPort, o ConnectOptions) (bool, error) {
	w.note("connect")
	if err := pauseFor(ctx, 50*time.Millisecond); err != nil {
		return false, err
	}
	w.mu.Lock()
	err := w.down[peer]
	w.options[peer] = o
	w.mu.Unlock()
	if err != nil {
		return false, err
	}
	w.turn(peer, 2, -1, nil)
	return true, nil
}

func (w *hostWorld) Activate(ctx context.Context, peer netip.AddrPort) error {
	w.turn(peer, 3, -1, nil)
	return nil
}

func (w *hostWorld) Deactivate(ctx context.Context, peer netip.AddrPort) error {
	if err := pauseFor(ctx, time.Second); err != nil {
		return err
	}
	w.turn(peer, 2, -1, nil)
	return nil
}

func (w *hostWorld) Disconnect(ctx context.Context, peer netip.AddrPort) error {
	w.note("disconnect")
	w.turn(peer, 1, -1, nil)
	if err := pauseFor(ctx, time.Second); err != nil {
		return err
	}
	w.turn(peer, 0, -1, nil)
	return nil
}

func (w *hostWorld) Watch(report func(netip.AddrPort, int, time.Duration, error)) func() {
	w.report = report
	return func() { w.note("stop") }
}

func (w *hostWorld) MatureInbound() map[netip.AddrPort]bool { return w.inbound }

func (w *hostWorld) AskForPeers(ctx context.Context, peer netip.AddrPort, n int) ([]netip.AddrPort, error) {
	w.note("ask")
	return w.knows[:min(n, len(w.knows))], pauseFor(ctx, 100*time.Millisecond)
}

func (w *hostWorld) LocalRoots() ([]LocalRootGroup, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.groups, w.changed
}

func (w *hostWorld) setLocalRoots(gs []LocalRootGroup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups = gs
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *hostWorld) PublicRoots(context.Context) (map[netip.AddrPort]bool, time.Duration, error) {
	w.note("public")
	return w.public, time.Minute, nil
}

func (w *hostWorld) BootstrapPeers(context.Context) ([]netip.AddrPort, time.Duration, error) {
	w.note("bootstrap")
	return w.boot, time.Minute, nil
}

func (w *hostWorld) LedgerPeers(ctx context.Context, n int, big bool) ([]netip.AddrPort, time.Duration, error) {
	w.note(fmt.Sprintf("ledger big=%v", big))
	return w.ledger[:min(n, len(w.ledger))], 5 * time.Second, nil
}

func (w *hostWorld) Settings() (RootSettings, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settings, w.setCh
}

func (w *hostWorld) Judgement() (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tooOld, w.judgedCh
}

func (w *hostWorld) judge(tooOld bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tooOld = tooOld
	close(w.judgedCh)
	w.judgedCh = make(chan struct{})
}

func (w *hostWorld) BulkSync() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.bulk }

func (w *hostWorld) VerifySnapshot(context.Context, uint64, [32]byte) (bool, error) { return true, nil }

// warnings keeps what the shell logs.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (l *warnings) Enabled(context.Context, slog.Level) bool { return true }
func (l *warnings) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Level.String()+" "+r.Message)
	return nil
}
func (l *warnings) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *warnings) WithGroup(string) slog.Handler      { return l }

func (l *warnings) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.lines, "\n"), s)
}

// governed runs a governor in a bubble of virtual time.
func governed(t *testing.T, cfg Config, w *hostWorld, test func(g *Governor)) error {
	var result error
	synctest.Test(t, func(t *testing.T) {
		if cfg.Seed == 0 {
			cfg.Seed = 1
		}
		if cfg.Log == nil {
			cfg.Log = slog.New(&warnings{})
		}
		w.enterBubble()
		g, err := New(cfg, w, w, w)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		test(g)
		cancel()
		result = <-done
		require.Error(t, g.Run(t.Context()), "Run runs once")
		require.Equal(t, 1, w.calls["stop"])
	})
	return result
}

func relayWorld() *hostWorld {
	w := newHostWorld()
	w.settings.UseLedger = true
	w.public = map[netip.AddrPort]bool{}
	for i := range 40 {
		w.ledger = append(w.ledger, ip(i))
		w.knows = append(w.knows, ip(100+i))
	}
	w.groups = []LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(500)}, Trustable: true, InitiatorOnly: true}}
	return w
}

func TestGovernorReachesTargets(t *testing.T) {
	w := relayWorld()
	cfg := Relay()
	cfg.Targets = Targets{Roots: 10, Known: 30, Established: 8, Active: 4}
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		k := g.Counters()
		require.Equal(t, 8, k.EstablishedPeers)
		require.Equal(t, 4, k.ActivePeers)
		require.Equal(t, 30, k.KnownPeers)
		require.Equal(t, ConnectOptions{InitiatorOnly: true, Trustable: true}, w.options[ip(500)])
		require.Equal(t, Hot, g.Explain(ip(500)).Temperature)
		require.Equal(t, cfg.Targets, g.Targets())
		require.Len(t, g.Peers(5), 5)

		// A peer that breaks is replaced.
		var victim netip.AddrPort
		for _, e := range g.Peers(0) {
			if e.Temperature == Hot && e.Source != SourceLocal {
				victim = e.Peer
			}
		}
		w.turn(victim, 0, 10*time.Second, errors.New("reset"))
		synctest.Wait()
		require.Equal(t, Cold, g.Explain(victim).Temperature)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 4, g.Counters().ActivePeers)

		// The application reports proof: the peer is cut and banned, and others are told about nobody banned.
		for _, e := range g.Peers(0) {
			if e.Temperature == Hot && e.Source != SourceLocal {
				victim = e.Peer
			}
		}
		g.ReportBad(victim, "an invalid block")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.True(t, g.Banned(victim))
		require.False(t, g.Explain(victim).Known)
		g.ReportBad(ip(500), "local roots are never banned")
		synctest.Wait()
		require.False(t, g.Banned(ip(500)))
		time.Sleep(11 * time.Minute)
		require.False(t, g.Banned(victim))

		// Another topology.
		w.setLocalRoots([]LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(501)}}})
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, Hot, g.Explain(ip(501)).Temperature)

		// Other targets: refused with the field's name, or done.
		err := g.SetTargets(Targets{Active: 2})
		require.ErrorContains(t, err, "Active = 2 is above Established = 0")
		require.NotEmpty(t, g.WhatIf(TargetsSet{Targets: Targets{Roots: 5, Known: 20, Established: 5, Active: 2}}).Trace)
		require.NoError(t, g.SetTargets(Targets{Roots: 5, Known: 20, Established: 5, Active: 2}))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 2, g.Counters().ActivePeers)
		require.Equal(t, 5, g.Counters().EstablishedPeers)
		require.LessOrEqual(t, len(g.Shareable(200)), 10)
	}))
	require.Positive(t, w.calls["ask"])
	require.Positive(t, w.calls["ledger big=false"])
}

// TestGovernorBootstraps: too old, bootstrap peers; young, ledger peers.
func TestGovernorBootstraps(t *testing.T) {
	w := relayWorld()
	w.tooOld, w.settings.UseBootstrap, w.boot = true, true, []netip.AddrPort{ip(700), ip(701)}
	cfg := Relay()
	cfg.Targets = Targets{Roots: 10, Known: 30, Established: 8, Active: 4}
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		trusted, changed := g.OutboundTrusted()
		require.False(t, trusted)
		<-changed
		trusted, changed = g.OutboundTrusted()
		require.True(t, trusted)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 3, g.Counters().KnownPeers)
		require.Zero(t, w.calls["ledger big=false"])
		require.Equal(t, Unrestricted, g.Association())
		w.judge(false)
		<-changed
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, 30, g.Counters().KnownPeers)
		require.Equal(t, 8, g.Counters().EstablishedPeers)
	}))
}

// TestGovernorGivesUp: no clean state in fifteen minutes is an error the host must act on.
func TestGovernorGivesUp(t *testing.T) {
	w := relayWorld()
	w.groups = nil
	w.settings.UseBootstrap = true
	cfg := Relay()
	stuck := stuckActions{w}
	synctest.Test(t, func(t *testing.T) {
		cfg.Log = slog.New(&warnings{})
		w.enterBubble()
		g, err := New(cfg, stuck, w, w)
		require.NoError(t, err)
		time.AfterFunc(time.Minute, func() { w.judge(true) })
		began := time.Now()
		require.ErrorIs(t, g.Run(t.Context()), ErrBootstrapTimeout)
		require.Equal(t, 16*time.Minute, time.Since(began).Truncate(time.Minute))
	})
}

// stuckActions never get rid of a connection.
type stuckActions struct{ *hostWorld }

func (s stuckActions) Disconnect(ctx context.Context, _ netip.AddrPort) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestGovernorScores: what chain-sync and block-fetch report reaches the boards, first come first credited.
func TestGovernorScores(t *testing.T) {
	w := relayWorld()
	cfg := Relay()
	cfg.Targets = Targets{Roots: 4, Known: 4, Established: 4, Active: 4}
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		for slot := range uint64(500) {
			g.Announced(ip(1), slot)
			g.Announced(ip(2), slot)
			g.Fetched(ip(2), slot, 100)
		}
		g.Measured(ip(1), 30*time.Millisecond)
		g.ReportGood(ip(1))
		time.Sleep(time.Minute)
		synctest.Wait()
		first, second := g.Explain(ip(1)), g.Explain(ip(2))
		require.Equal(t, 180, first.Announced)
		require.Zero(t, first.Fetched)
		require.Zero(t, second.Announced)
		require.Equal(t, 180, second.Fetched)
		require.EqualValues(t, 18_000, second.FetchedBytes)
		require.Contains(t, second.String(), "first with 0 headers and 180 blocks of 18000 bytes")
	}))
}

// TestGovernorRecords: the shell's recording replays to the same counters.
func TestGovernorRecords(t *testing.T) {
	w := relayWorld()
	w.down[ip(3)] = &fault{"network", 0}
	w.down[ip(4)] = &fault{"adversarial", 0}
	w.down[ip(5)] = &fault{"internal", time.Minute}
	cfg := Relay()
	cfg.Targets = Targets{Roots: 20, Known: 30, Established: 20, Active: 4}
	var rec bytes.Buffer
	cfg.Record = &rec
	var want Counters
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(70 * time.Minute)
		synctest.Wait()
		want = g.Counters()
		require.Positive(t, want.Churn["DecreasedActivePeers"].Delta)
	}))
	var got Counters
	require.NoError(t, Replay(&rec, nil, func(_ Event, _ time.Duration, c *Core, _ Output) error {
		got = c.Counters()
		return c.Check()
	}))
	require.Equal(t, want, got)
}

type fault struct {
	name  string
	retry time.Duration
}

func (f *fault) Error() string             { return f.name }
func (f *fault) Fault() string             { return f.name }
func (f *fault) RetryAfter() time.Duration { return f.retry }

func TestFailureOf(t *testing.T) {
	require.Nil(t, failureOf(nil))
	require.Equal(t, FaultNetwork, failureOf(errors.New("x")).Fault)
	require.True(t, failureOf(fmt.Errorf("wrapped: %w", context.DeadlineExceeded)).Timeout)
	f := failureOf(fmt.Errorf("wrapped: %w", &fault{"adversarial", 0}))
	require.True(t, f.proof())
	f = failureOf(&fault{"internal", time.Second})
	require.True(t, f.ours())
	require.Equal(t, time.Second, f.RetryAfter)
}

// TestGovernorRestarts: known peers survive in the store; a damaged store is a warning and a fresh start.
func TestGovernorRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers")
	w := relayWorld()
	cfg := Relay()
	cfg.Targets = Targets{Roots: 20, Known: 30, Established: 8, Active: 4}
	cfg.StorePath = path
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(10 * time.Minute)
		synctest.Wait()
	}))
	stored, err := LoadPeers(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(stored), 20)

	// Nobody else to ask: the store alone makes the node reach its targets.
	w = newHostWorld()
	cfg.Targets.Roots = 0
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 8, g.Counters().EstablishedPeers)
	}))

	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	log := &warnings{}
	cfg.Log = slog.New(log)
	w = newHostWorld()
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, g.Counters().KnownPeers)
	}))
	require.True(t, log.has("the peer store is not usable"))
}

func TestNewRefuses(t *testing.T) {
	w := newHostWorld()
	_, err := New(Config{Targets: Targets{Known: 20_000}}, w, w, nil)
	require.ErrorContains(t, err, "Limits.Known")
	_, err = New(Config{}, nil, w, nil)
	require.Error(t, err)
	g, err := New(Config{}, w, w, nil)
	require.NoError(t, err)
	require.Nil(t, g.Shareable(3))
	require.False(t, g.Explain(ip(1)).Known)
	require.NotEmpty(t, g.ExplainTargets())
}

// TestGovernorWithPublicRoots: without the ledger configured public roots and inbound peers are what there is; what may be
// advertised is shared, and the mode of the connections is the preset's.
func TestGovernorWithPublicRoots(t *testing.T) {
	w := newHostWorld()
	w.public = map[netip.AddrPort]bool{ip(1): true, ip(2): false, ip(3): true}
	w.inbound = map[netip.AddrPort]bool{ip(11): true, ip(12): false}
	cfg := Config{Targets: Targets{Roots: 3, Known: 8, Established: 5, Active: 2}, PeerSharing: true, NoChurn: true}
	require.NoError(t, governed(t, cfg, w, func(g *Governor) {
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, 5, g.Counters().KnownPeers)
		require.Equal(t, 5, g.Counters().EstablishedPeers)
		shared := map[netip.AddrPort]bool{}
		for _, a := range g.Shareable(10) {
			shared[a] = true
		}
		require.Equal(t, map[netip.AddrPort]bool{ip(1): true, ip(3): true, ip(11): true, ip(12): true}, shared)
		hot, warm := 0, 0
		g.mu.Lock()
		g.core.Visit(func(_ netip.AddrPort, temperature Temperature) bool {
			if temperature == Hot {
				hot++
			} else {
				warm++
			}
			return true
		})
		g.mu.Unlock()
		require.Equal(t, 2, hot)
		require.Equal(t, 3, warm)
	}))
	require.Positive(t, w.calls["public"])
	require.Zero(t, w.calls["bootstrap"])
}

// TestAnswersAreSorted: no map's order reaches the core.
func TestAnswersAreSorted(t *testing.T) {
	w := newHostWorld()
	w.public, w.inbound = map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for i := range 50 {
		w.public[ip(i)], w.inbound[ip(i)] = i%2 == 0, i%3 == 0
	}
	g, err := New(Config{}, w, w, w)
	require.NoError(t, err)
	r := &run{Governor: g, ctx: t.Context()}
	answer := r.askRoots(t.Context(), Effect{Kind: RequestRoots, Source: SourcePublic}).(RootsAnswered)
	require.Len(t, answer.Peers, 50)
	require.True(t, slices.IsSortedFunc(answer.Peers, func(a, b RootPeer) int { return a.Peer.Compare(b.Peer) }))
	for _, p := range answer.Peers {
		require.Equal(t, w.public[p.Peer], p.Advertise)
	}
	listed := r.listInbound().(InboundListed).Peers
	require.Len(t, listed, 50)
	require.True(t, slices.IsSortedFunc(listed, func(a, b InboundPeer) int { return a.Peer.Compare(b.Peer) }))
}
