package governor

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// partitioned runs a relay-like node for 45 minutes with its own network out from the 20th to the 35th, and returns who was known
// before and is not any more, and the states at 35:00 + after.
func partitioned(t *testing.T, detect bool, after time.Duration) (lost int, now, before tallies) {
	cfg := Relay()
	cfg.Seed, cfg.NoOutageDetection = 3, !detect
	m := plenty(t, cfg, 250)
	for i, p := range m.order {
		p.latency = time.Duration(20+i%200) * time.Millisecond
		p.lingers = 0
	}
	m.local = []LocalRootGroup{{Hot: 1, Warm: 2, Members: []netip.AddrPort{ip(240), ip(243)}}}
	m.cut = []span{{20 * time.Minute, 35 * time.Minute}}
	m.check = func(m *mock, _ step) error { return m.core.Check() }
	m.start()
	m.run(20*time.Minute - time.Second)
	before = m.tallies()
	known := newOracle(m.core).known
	m.run(35*time.Minute - time.Second)
	lost = len(known.minus(newOracle(m.core).known))
	m.run(35*time.Minute + after)
	require.NoError(t, m.err)
	require.Equal(t, lost, max(lost, 0))
	return lost, m.tallies(), before
}

// TestOwnOutage is the property of governor §10.3: with detection off the outage must flush peers, or the test proves nothing; with
// it on nobody is forgotten, and the node is back at its targets within 60 s.
func TestOwnOutage(t *testing.T) {
	lost, _, before := partitioned(t, false, time.Minute)
	require.Positive(t, lost, "without detection nobody was forgotten: the test proves nothing")
	require.Equal(t, 30, before.established)
	require.Equal(t, 20, before.active)
	lost, now, _ := partitioned(t, true, time.Minute)
	require.Zero(t, lost)
	require.Equal(t, before.established, now.established)
	require.Equal(t, before.active, now.active)
	require.Equal(t, before.establishedBig, now.establishedBig)
	require.Equal(t, before.activeBig, now.activeBig)
}

// TestOutageForgetsTheDead: with detection on peers that are really dead are forgotten all the same, as long as others live.
func TestOutageForgetsTheDead(t *testing.T) {
	cfg := Relay()
	cfg.Seed, cfg.PeerSharing = 4, false
	m := plenty(t, cfg, 250)
	dead := map[netip.AddrPort]bool{}
	for i, p := range m.order {
		if i%2 == 0 {
			p.failing = 100
			dead[p.addr] = true
		} else {
			p.breaks = 10 * time.Minute
		}
	}
	m.start()
	m.run(time.Hour)
	require.False(t, m.core.Counters().Outage)
	forgotten := 0
	for _, s := range m.log {
		for _, tr := range s.trace {
			if tr.Note == "failed too often" {
				require.True(t, dead[tr.Peers[0]], "%v is not dead", tr.Peers)
				forgotten++
			}
		}
	}
	require.Greater(t, forgotten, 20)
}

// TestOutageThatIsNone: when the roots first name dead peers only, the node does not wait for them for ever.
func TestOutageThatIsNone(t *testing.T) {
	cfg := Config{Targets: Targets{Roots: 10, Known: 10, Established: 5, Active: 2}, Seed: 6}
	m := plenty(t, cfg, 40)
	var dead, good []RootPeer
	for i, p := range m.order {
		if i < 20 {
			p.failing = 100
			dead = append(dead, RootPeer{Peer: p.addr})
		} else {
			good = append(good, RootPeer{Peer: p.addr})
		}
	}
	m.sources[SourceLedger] = source{peers: dead, ttl: time.Minute}
	m.at(30*time.Minute, func() { m.sources[SourceLedger].peers = good })
	m.check = func(m *mock, _ step) error { return m.core.Check() }
	m.start()
	m.run(59 * time.Minute)
	require.True(t, m.core.Counters().Outage)
	m.run(2 * time.Hour)
	require.NoError(t, m.err)
	require.False(t, m.core.Counters().Outage)
	require.GreaterOrEqual(t, m.core.Counters().EstablishedPeers, 4)
}
