package connmgr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peerBench writes down what a peer's machine does, one word an effect.
type peerBench struct {
	*testing.T
	m     *peerMachine
	now   time.Duration
	trail []string
}

func newPeerBench(t *testing.T) *peerBench { return &peerBench{T: t, m: newPeerMachine()} }

// do runs an event and returns its effects.
func (b *peerBench) do(e peerEvent) string {
	b.trail = nil
	for _, f := range b.m.step(b.now, e) {
		switch f.kind {
		case pfAcquire:
			b.note("acquire")
		case pfControl:
			b.note("%s:%v", [...]string{"est", "warm", "hot"}[f.bundle], f.control)
		case pfStart:
			n := map[temperature]int{bundleEstablished: 1, bundleHot: 2}[f.bundle]
			b.m.started(f.bundle, n)
			b.note("start-%s", [...]string{"est", "warm", "hot"}[f.bundle])
		case pfStop:
			b.note("stop")
		case pfRelease:
			b.note("release")
		case pfReply:
			b.note("reply%d=%v", f.ticket, f.err)
		case pfReport:
			b.note("%v(%v)", f.status, f.delay)
		}
	}
	return strings.Join(b.trail, " ")
}

func (b *peerBench) note(format string, args ...any) {
	b.trail = append(b.trail, fmt.Sprintf(format, args...))
}

func (b *peerBench) hot() {
	b.do(peerEvent{kind: peConnect, ticket: 1})
	b.do(peerEvent{kind: peConnected})
	b.do(peerEvent{kind: peActivate, ticket: 2})
	require.Equal(b, StatusHot, b.m.status)
}

func TestPeerOrderlyLife(t *testing.T) {
	b := newPeerBench(t)
	require.Equal(t, "acquire", b.do(peerEvent{kind: peConnect, ticket: 1}))
	require.Equal(t, "est:continue warm:continue hot:terminate start-warm start-est warm(-1ns) reply1=<nil>", b.do(peerEvent{kind: peConnected}))
	require.Equal(t, "hot:continue warm:quiesce hot(-1ns) start-hot reply2=<nil>", b.do(peerEvent{kind: peActivate, ticket: 2}))
	require.Equal(t, "hot:terminate warm:continue", b.do(peerEvent{kind: peDeactivate, ticket: 3}))
	require.Equal(t, StatusHot, b.m.status, "hot while it waits")
	require.Equal(t, "", b.do(peerEvent{kind: peFinished, bundle: bundleHot}))
	require.Equal(t, "warm(10s) reply3=<nil>", b.do(peerEvent{kind: peFinished, bundle: bundleHot}))
	require.Equal(t, "est:terminate warm:terminate cooling(-1ns)", b.do(peerEvent{kind: peClose, ticket: 4}))
	require.Equal(t, "", b.do(peerEvent{kind: peClose, ticket: 5}), "the second closer waits for the first")
	require.Equal(t, "release", b.do(peerEvent{kind: peFinished, bundle: bundleEstablished}))
	require.Equal(t, "cold(10s) reply4=<nil> reply5=<nil>", b.do(peerEvent{kind: peGone}))
}

func TestPeerCallsThatDoNotFit(t *testing.T) {
	b := newPeerBench(t)
	require.Contains(t, b.do(peerEvent{kind: peActivate, ticket: 1}), "not warm but cold")
	require.Contains(t, b.do(peerEvent{kind: peDeactivate, ticket: 1}), "not hot but cold")
	require.Equal(t, "reply1=<nil>", b.do(peerEvent{kind: peClose, ticket: 1}))
	b.hot()
	require.Contains(t, b.do(peerEvent{kind: peConnect, ticket: 5}), ErrNotCold.Error())
	require.Contains(t, b.do(peerEvent{kind: peActivate, ticket: 5}), "not warm but hot")
	b.do(peerEvent{kind: peDeactivate, ticket: 6})
	require.Equal(t, "", b.do(peerEvent{kind: peDeactivate, ticket: 7}))
	b.do(peerEvent{kind: peFinished, bundle: bundleHot})
	require.Equal(t, "warm(10s) reply6=<nil> reply7=<nil>", b.do(peerEvent{kind: peFinished, bundle: bundleHot}))
	require.Equal(t, "reply8=<nil>", b.do(peerEvent{kind: peDeactivate, ticket: 8}), "warm already: races are legal")
}

// connmgr §6.3, row by row: what finished by itself.
func TestPeerMonitoring(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		bundle temperature
		err    error
		want   string
	}{
		{bundleHot, boom, "cooling(-1ns) stop"},
		{bundleWarm, boom, "cooling(-1ns) stop"},
		{bundleEstablished, boom, "cooling(-1ns) stop"},
		{bundleHot, nil, "hot:terminate warm:continue"},
		{bundleEstablished, nil, "est:terminate warm:terminate hot:terminate cooling(-1ns)"},
	} {
		b := newPeerBench(t)
		b.hot()
		b.m.running[bundleWarm]++
		require.Equal(t, c.want, b.do(peerEvent{kind: peFinished, bundle: c.bundle, err: c.err}), "%v %v", c.bundle, c.err)
		if c.err != nil {
			require.Equal(t, "cold(10s)", b.do(peerEvent{kind: peGone, err: boom}))
		}
	}
}

// A mini-protocol's outcome decides when the peer may be promoted again.
func TestPeerOutcomes(t *testing.T) {
	b := newPeerBench(t)
	b.hot()
	b.do(peerEvent{kind: peFinished, bundle: bundleHot, err: fmt.Errorf("chain-sync: %w", RolledBackPastIntersection)})
	require.Equal(t, "warm(3m0s)", b.do(peerEvent{kind: peFinished, bundle: bundleHot}))
	require.Equal(t, "hot:continue warm:quiesce hot(-1ns) start-hot reply9=<nil>", b.do(peerEvent{kind: peActivate, ticket: 9}), "an old delay is over with the promotion")
}

// [OURS] connmgr §6.2: the deactivate timeout is a close, not an error of the peer.
func TestPeerDeactivateTimeoutIsAClose(t *testing.T) {
	b := newPeerBench(t)
	b.hot()
	b.do(peerEvent{kind: peDeactivate, ticket: 3})
	b.do(peerEvent{kind: peFinished, bundle: bundleHot})
	b.now = 300*time.Second - 1
	require.Equal(t, "", b.do(peerEvent{kind: peTimer}))
	b.now++
	require.Equal(t, "cooling(-1ns) stop", b.do(peerEvent{kind: peTimer}))
	b.do(peerEvent{kind: peFinished, bundle: bundleHot, err: io.ErrUnexpectedEOF})
	require.Equal(t, "cold(-1ns) reply3=<nil>", b.do(peerEvent{kind: peGone}))
}

func TestPeerCloseTimeoutStopsTheConnection(t *testing.T) {
	b := newPeerBench(t)
	b.hot()
	b.do(peerEvent{kind: peClose, ticket: 3})
	b.now = 120 * time.Second
	require.Equal(t, "stop", b.do(peerEvent{kind: peTimer}))
	require.Equal(t, "cold(-1ns) reply3=<nil>", b.do(peerEvent{kind: peGone}))
}

// A failed demotion reports only when the peer is cold, with the error.
func TestPeerErrorWhileClosing(t *testing.T) {
	b := newPeerBench(t)
	b.hot()
	b.do(peerEvent{kind: peClose, ticket: 3})
	require.Equal(t, "stop", b.do(peerEvent{kind: peFinished, bundle: bundleHot, err: syscall.ECONNRESET}))
	require.Contains(t, b.do(peerEvent{kind: peGone}), "reply3=connection reset by peer")
}

func TestPeerConnectionLost(t *testing.T) {
	b := newPeerBench(t)
	b.hot()
	b.do(peerEvent{kind: peDeactivate, ticket: 3})
	require.Equal(t, "cooling(-1ns) cold(10s) reply3=connection reset by peer", b.do(peerEvent{kind: peGone, err: syscall.ECONNRESET}))
	require.Equal(t, "", b.do(peerEvent{kind: peFinished, bundle: bundleHot, err: syscall.ECONNRESET}))
	require.Equal(t, "acquire", b.do(peerEvent{kind: peConnect, ticket: 4}))
}

// Who stops waiting for a connection does not get one behind his back.
func TestPeerAbandonedConnect(t *testing.T) {
	b := newPeerBench(t)
	b.do(peerEvent{kind: peConnect, ticket: 1})
	b.do(peerEvent{kind: peCancel, ticket: 1})
	require.Equal(t, "release", b.do(peerEvent{kind: peConnected}))
	require.Equal(t, "", b.do(peerEvent{kind: peClose, ticket: 2}))
	require.Equal(t, "reply2=<nil>", b.do(peerEvent{kind: peGone}))
	b.do(peerEvent{kind: peConnect, ticket: 3})
	require.Equal(t, "reply3=boom", b.do(peerEvent{kind: peFailed, err: errors.New("boom")}))
}

// Random events: reports follow a legal order, every ticket is answered exactly once, and the machine comes to rest cold.
func TestPeerMachineAlwaysAnswers(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		m := newPeerMachine()
		now := time.Duration(0)
		answered := map[ticket]int{}
		asked := ticket(0)
		acquiring, connected, releasing := false, false, false
		reported := StatusCold
		run := func(e peerEvent) {
			for _, f := range append([]peerEffect(nil), m.step(now, e)...) {
				switch f.kind {
				case pfAcquire:
					require.False(t, acquiring || connected)
					acquiring = true
				case pfStart:
					m.started(f.bundle, 1)
				case pfRelease, pfStop:
					require.True(t, connected)
					releasing = true
				case pfReply:
					answered[f.ticket]++
				case pfReport:
					require.Contains(t, map[Status][]Status{
						StatusCold: {StatusWarm}, StatusWarm: {StatusHot, StatusCooling}, StatusHot: {StatusWarm, StatusCooling}, StatusCooling: {StatusCold},
					}[reported], f.status, "seed %d: %v → %v", seed, reported, f.status)
					reported = f.status
				}
			}
		}
		event := func() {
			asked++
			switch rnd.IntN(9) {
			case 0:
				run(peerEvent{kind: peConnect, ticket: asked})
			case 1:
				run(peerEvent{kind: peActivate, ticket: asked})
			case 2:
				run(peerEvent{kind: peDeactivate, ticket: asked})
			case 3:
				run(peerEvent{kind: peClose, ticket: asked})
			case 4:
				asked--
				if acquiring {
					acquiring = false
					connected = rnd.IntN(3) > 0
					if connected {
						run(peerEvent{kind: peConnected})
					} else {
						run(peerEvent{kind: peFailed, err: errModel})
					}
				}
			case 5, 6:
				asked--
				if b := temperature(rnd.IntN(3)); connected && m.running[b] > 0 {
					run(peerEvent{kind: peFinished, bundle: b, err: []error{nil, nil, ForkTooDeep, errModel}[rnd.IntN(4)]})
				}
			case 7:
				asked--
				if connected && (releasing || rnd.IntN(4) == 0) {
					connected, releasing = false, false
					run(peerEvent{kind: peGone, err: []error{nil, errModel}[rnd.IntN(2)]})
				}
			case 8:
				asked--
				now += time.Duration(rnd.IntN(200)) * time.Second
				run(peerEvent{kind: peTimer})
			}
		}
		for range 60 {
			event()
		}
		asked++
		run(peerEvent{kind: peClose, ticket: asked})
		for range 20 {
			now += 400 * time.Second
			run(peerEvent{kind: peTimer})
			if acquiring {
				acquiring, connected = false, true
				run(peerEvent{kind: peConnected})
			}
			if connected && (releasing || m.status == StatusCooling) {
				connected, releasing = false, false
				run(peerEvent{kind: peGone})
			}
			if connected {
				asked++
				run(peerEvent{kind: peClose, ticket: asked})
			}
		}
		require.Equal(t, StatusCold, m.status, "seed %d", seed)
		for tk := ticket(1); tk <= asked; tk++ {
			require.Equal(t, 1, answered[tk], "seed %d: ticket %d", seed, tk)
		}
	}
}

type hostError struct {
	fault   string
	fatal   bool
	timeout bool
}

func (e hostError) Error() string { return "host" }
func (e hostError) Fault() string { return e.fault }
func (e hostError) Fatal() bool   { return e.fatal }
func (e hostError) Timeout() bool { return e.timeout }

// The table of governor §11.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want Class
	}{
		{"storage error of the host", fmt.Errorf("chain: %w", hostError{fault: FaultInternal, fatal: true}), Class{Fault: FaultInternal, Fatal: true, Delay: errorDelay}},
		{"misuse", hostError{fault: FaultInternal}, Class{Fault: FaultInternal, Delay: errorDelay}},
		{"reset", syscall.ECONNRESET, Class{Fault: FaultNetwork, Delay: errorDelay}},
		{"end of file", io.EOF, Class{Fault: FaultNetwork, Delay: errorDelay}},
		{"unclassified", errors.New("?"), Class{Fault: FaultNetwork, Delay: errorDelay}},
		{"codec", hostError{fault: FaultAdversarial}, Class{Fault: FaultAdversarial, Proof: true, Delay: errorDelay}},
		{"time-out in a protocol state", hostError{fault: FaultAdversarial, timeout: true}, Class{Fault: FaultAdversarial, Delay: errorDelay}},
		{"fork too deep", ForkTooDeep, Class{Fault: FaultBenign, Delay: 120 * time.Second}},
		{"rolled back past intersection", RolledBackPastIntersection, Class{Fault: FaultBenign, Delay: 180 * time.Second}},
		{"our shutdown", context.Canceled, Class{Fault: FaultBenign, Delay: errorDelay}},
		{"limit", &Refusal{}, Class{Fault: FaultBenign, Delay: errorDelay}},
		{"retry-after", faultError(FaultBenign, 7*time.Second, ErrConnectionTerminating), Class{Fault: FaultBenign, Delay: 7 * time.Second}},
		{"nothing", nil, Class{Fault: FaultBenign, Delay: errorDelay}},
		{"joined", errors.Join(syscall.ECONNRESET, hostError{fault: FaultAdversarial}), Class{Fault: FaultAdversarial, Proof: true, Delay: errorDelay}},
		{"joined fatal", errors.Join(hostError{fault: FaultAdversarial}, hostError{fault: FaultInternal, fatal: true}), Class{Fault: FaultInternal, Fatal: true, Proof: true, Delay: errorDelay}},
	} {
		require.Equal(t, c.want, Classify(c.err), c.name)
	}
}
