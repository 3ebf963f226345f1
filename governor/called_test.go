package governor

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCallsMakeNobodyDial: a local root that cannot be dialled and connects to us every 100 ms, but is gone whenever it is wanted, is
// dialled exactly when it would have been without that.
func TestCallsMakeNobodyDial(t *testing.T) {
	dials := func(calls bool) (at []time.Duration, reuses int) {
		cfg := Config{Targets: Targets{Roots: 1, Known: 1, Established: 1, Active: 1}, NoChurn: true, Seed: 1}
		cfg.Timing.BackoffFuzz = 1 // the seed's draws differ
		m := newMock(t, cfg, 1)
		m.add(&mockPeer{addr: ip(1), failing: 100})
		m.local = []LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(1)}}}
		m.start()
		for t := time.Duration(0); calls && t < time.Hour; t += 100 * time.Millisecond {
			m.at(t, func() { m.feed(InboundSeen{ip(1)}) })
		}
		m.run(time.Hour)
		for _, s := range m.log {
			for _, e := range s.effects {
				if e.Kind == Connect && e.Options.InboundOnly {
					reuses++
				} else if e.Kind == Connect {
					at = append(at, s.at.Round(time.Microsecond))
				}
			}
		}
		return at, reuses
	}
	want, _ := dials(false)
	got, reuses := dials(true)
	require.Greater(t, len(want), 20)
	require.Equal(t, want, got)
	require.InDelta(t, len(got), reuses, 1, "one a back-off")
}

// TestHintsAreBounded: who connects to us faster than we look is not kept in mind; reports of our own connections always are.
func TestHintsAreBounded(t *testing.T) {
	r := &run{reported: make(chan struct{}, 1)}
	for range 3 * eventQueue {
		r.noteStatus(InboundSeen{ip(1)})
	}
	r.noteStatus(StatusSeen{Peer: ip(2)})
	require.Len(t, r.takeReports(), eventQueue+1)
}
