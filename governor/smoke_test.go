package governor

import (
	"testing"
	"time"
)

func TestRelayReachesItsTargets(t *testing.T) {
	cfg := Relay()
	cfg.Seed = 7
	m := newMock(t, cfg, 7)
	var ledger, big []RootPeer
	for i := range 300 {
		m.add(&mockPeer{addr: ip(i), latency: 100 * time.Millisecond, shares: true, answer: time.Second})
		if i < 100 {
			ledger = append(ledger, RootPeer{Peer: ip(i)})
		} else if i < 120 {
			big = append(big, RootPeer{Peer: ip(i)})
		}
	}
	for _, p := range m.order {
		for range 20 {
			p.knows = append(p.knows, ip(m.rnd.IntN(300)))
		}
	}
	m.sources[SourceLedger] = source{peers: ledger, ttl: 5 * time.Second, latency: 50 * time.Millisecond}
	m.sources[SourceBigLedger] = source{peers: big, ttl: 5 * time.Second, latency: 50 * time.Millisecond}
	m.settings.UseLedger = true
	m.check = func(m *mock, s step) error { return m.core.Check() }
	m.start()
	m.run(50 * time.Minute)
	if m.err != nil {
		t.Fatal(m.err)
	}
	k := m.core.Counters()
	if k.KnownPeers != 150 || k.EstablishedPeers != 30 || k.ActivePeers != 20 || k.RootPeers < 60 || k.KnownBigLedgerPeers != 15 ||
		k.EstablishedBigLedgerPeers != 10 || k.ActiveBigLedgerPeers != 5 {
		t.Errorf("%+v\n%v", k, m.core.ExplainTargets())
	}
	t.Log(len(m.log), "steps")
}
