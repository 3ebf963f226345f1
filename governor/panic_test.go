package governor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// panicky is a host some of whose functions panic, for a while.
type panicky struct {
	*hostWorld
	in    map[string]bool
	until time.Time
}

func (p *panicky) maybe(in string) {
	if p.in[in] && time.Now().Before(p.until) {
		p.note("panic")
		panic(fmt.Errorf("%s: index out of range", in))
	}
}

func (p *panicky) Connect(ctx context.Context, peer netip.AddrPort, o ConnectOptions) (bool, error) {
	p.maybe("connect")
	return p.hostWorld.Connect(ctx, peer, o)
}

func (p *panicky) Activate(ctx context.Context, peer netip.AddrPort) error {
	p.maybe("activate")
	return p.hostWorld.Activate(ctx, peer)
}

func (p *panicky) Deactivate(ctx context.Context, peer netip.AddrPort) error {
	p.maybe("deactivate")
	return p.hostWorld.Deactivate(ctx, peer)
}

func (p *panicky) Disconnect(ctx context.Context, peer netip.AddrPort) error {
	p.maybe("disconnect")
	return p.hostWorld.Disconnect(ctx, peer)
}

func (p *panicky) AskForPeers(ctx context.Context, peer netip.AddrPort, n int) ([]netip.AddrPort, error) {
	p.maybe("ask-for-peers")
	return p.hostWorld.AskForPeers(ctx, peer, n)
}

func (p *panicky) MatureInbound() map[netip.AddrPort]bool {
	p.maybe("list-inbound")
	return p.hostWorld.MatureInbound()
}

func (p *panicky) PublicRoots(ctx context.Context) (map[netip.AddrPort]bool, time.Duration, error) {
	p.maybe("public")
	return p.hostWorld.PublicRoots(ctx)
}

func (p *panicky) LedgerPeers(ctx context.Context, n int, big bool) ([]netip.AddrPort, time.Duration, error) {
	p.maybe("request-roots")
	return p.hostWorld.LedgerPeers(ctx, n, big)
}

func (p *panicky) LocalRoots() ([]LocalRootGroup, <-chan struct{}) {
	p.maybe("LocalRoots")
	return p.hostWorld.LocalRoots()
}

func (p *panicky) Settings() (RootSettings, <-chan struct{}) {
	p.maybe("Settings")
	return p.hostWorld.Settings()
}

func (p *panicky) Judgement() (bool, <-chan struct{}) {
	p.maybe("Judgement")
	return p.hostWorld.Judgement()
}

func (p *panicky) BulkSync() bool {
	p.maybe("BulkSync")
	return p.hostWorld.BulkSync()
}

func (p *panicky) VerifySnapshot(context.Context, uint64, [32]byte) (bool, error) {
	p.maybe("verify-snapshot")
	return true, nil
}

func (p *panicky) Pick(kind PickKind, cs []Candidate, n int, rnd *rand.Rand) []netip.AddrPort {
	p.maybe("policy")
	return SimplePolicy{}.Pick(kind, cs, n, rnd)
}

func (p *panicky) Sample(kind PickKind, n int) int {
	p.maybe("policy")
	return 0
}

func (p *panicky) Write(b []byte) (int, error) {
	p.maybe("Record")
	return len(b), nil
}

// panickyLog is a log handler of such a host.
type panickyLog struct {
	*warnings
	p *panicky
}

func (l panickyLog) Handle(ctx context.Context, r slog.Record) error {
	l.p.maybe("log")
	return l.warnings.Handle(ctx, r)
}
func (l panickyLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// TestPanicsOfTheHost: a panic in any function of the host, for 20 minutes, ends nothing, is nobody's fault, and is in the log; as soon
// as it is over the targets are met.
func TestPanicsOfTheHost(t *testing.T) {
	silent := slog.Default()
	slog.SetDefault(slog.New(&warnings{})) // where panics of the log itself go
	defer slog.SetDefault(silent)
	for _, in := range []string{"connect", "activate", "deactivate", "disconnect", "ask-for-peers", "list-inbound", "request-roots",
		"LocalRoots", "Settings", "Judgement", "BulkSync", "verify-snapshot", "policy", "Record", "log"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &panicky{hostWorld: relayWorld(), in: map[string]bool{in: true}, until: time.Now().Add(20 * time.Minute)}
				p.enterBubble()
				p.settings.SnapshotSlot = 7
				said := &warnings{}
				cfg := Relay()
				cfg.Targets = Targets{Roots: 10, Known: 30, Established: 8, Active: 4}
				cfg.SyncTargets = cfg.Targets
				cfg.SyncTargets.ActiveBigLedger, cfg.SyncTargets.EstablishedBigLedger, cfg.SyncTargets.KnownBigLedger = 6, 6, 6
				cfg.Genesis, cfg.Policy, cfg.Seed, cfg.CheckInvariants = true, p, 1, true
				cfg.Log = slog.New(panickyLog{said, p})
				began := time.Now()
				g, err := New(cfg, p, p, p)
				require.NoError(t, err)
				if in == "Record" {
					g.recorder = &Recorder{w: p}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error)
				go func() { done <- g.Run(ctx) }()
				// Something for every function to do: fewer hot and warm peers, another judgement, other roots.
				time.Sleep(6 * time.Minute)
				low := cfg.Targets
				low.Known, low.Established, low.Active, low.Roots = 20, 3, 2, 5
				require.NoError(t, g.SetTargets(low))
				time.Sleep(time.Minute)
				p.judge(true)
				time.Sleep(time.Minute)
				p.judge(false)
				p.setLocalRoots([]LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(501)}}})
				require.NoError(t, g.SetTargets(cfg.Targets))
				time.Sleep(time.Until(began.Add(19 * time.Minute)))
				for _, e := range g.Peers(0) {
					require.Zero(t, e.Fails, "%v is blamed for it", e)
					require.False(t, g.Banned(e.Peer))
				}
				time.Sleep(15 * time.Minute)
				synctest.Wait()
				require.Equal(t, 8, g.Counters().EstablishedPeers)
				require.Equal(t, 4, g.Counters().ActivePeers)
				require.Equal(t, Hot, g.Explain(ip(501)).Temperature, "the local roots are the new ones")
				cancel()
				require.NoError(t, <-done)
				require.Positive(t, p.calls["panic"])
				switch in {
				case "policy":
					require.True(t, said.has("WARN PolicyViolation"))
				case "Record":
					require.True(t, said.has("WARN the recording ends here"))
				case "log":
				default:
					require.True(t, said.has("ERROR a function of the host panicked"))
				}
			})
		})
	}
}

// TestBreachEndsRun: a core that is not sound any more is an error of a type that a host can tell, whether the look at the invariants
// finds it or a step runs into it; the peer store is left alone.
func TestBreachEndsRun(t *testing.T) {
	for name, damage := range map[string]func(c *Core){
		"invariant": func(c *Core) { c.n[kindOther][hot]++ },
		"panic":     func(c *Core) { c.changed = append(c.changed, change{id: 1 << 30}) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Relay()
			cfg.CheckInvariants = true
			cfg.StorePath = t.TempDir() + "/peers"
			err := governed(t, cfg, relayWorld(), func(g *Governor) {
				time.Sleep(time.Minute)
				synctest.Wait()
				g.mu.Lock()
				damage(g.core)
				g.mu.Unlock()
				time.Sleep(time.Minute)
			})
			var breach *BreachError
			require.ErrorAs(t, err, &breach)
			require.True(t, breach.Fatal())
			require.Equal(t, "internal", breach.Fault())
			require.ErrorContains(t, err, "an invariant is broken after")
			require.NoFileExists(t, cfg.StorePath)
			var p *PanicError
			require.Equal(t, name == "panic", errors.As(err, &p))
		})
	}
}

// blindActions cannot be watched.
type blindActions struct{ *hostWorld }

func (blindActions) Watch(func(netip.AddrPort, int, time.Duration, error)) func() { panic("no") }

// TestFatalErrors: those that end Run say so in a way that any supervisor can ask for.
func TestFatalErrors(t *testing.T) {
	w := newHostWorld()
	g, err := New(Config{Log: slog.New(&warnings{})}, blindActions{w}, w, nil)
	require.NoError(t, err)
	var p *PanicError
	require.ErrorAs(t, g.Run(t.Context()), &p)
	require.Equal(t, "governor: Watch panicked: no", p.Error())
	require.NotEmpty(t, p.Stack)
	var fatal interface{ Fatal() bool }
	require.ErrorAs(t, ErrBootstrapTimeout, &fatal)
	require.True(t, fatal.Fatal())
	require.Equal(t, FaultInternal, failureOf(ErrBootstrapTimeout).Fault)
	require.True(t, failureOf(p).ours(), "never a peer's")
}
