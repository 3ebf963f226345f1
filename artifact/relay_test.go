package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Two levels of manifest, without an inline root, from a supplier that answers in small steps.
func TestTwoLevelManifest(t *testing.T) {
	s := newSimNet(t, 11)
	s.audit = 64
	s.cfg = func(int) Config {
		return Config{Slots: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 10 << 20, ChunkSize: 4096}}}
	}
	for range 3 {
		s.addNode()
	}
	s.connect(s.nodes[0], s.nodes[1], 10*time.Millisecond, 1e7)
	s.connect(s.nodes[1], s.nodes[2], 10*time.Millisecond, 1e7)
	id := s.nodes[0].publish(1, randomBody(s.rnd, 2000*4096+17, Bulk))
	s.everywhere(60*time.Second, []ID{id})
	require.Equal(t, s.nodes[0].core.Get(id).Bytes, s.nodes[2].core.Get(id).Bytes)
}

// Cut-through: a relay offers what is still arriving.
func TestCutThroughRelay(t *testing.T) {
	latency := func(relay RelayPolicy) time.Duration {
		s := newSimNet(t, 12)
		s.cfg = func(int) Config {
			return Config{Slots: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096, Relay: relay}}}
		}
		for i := range 4 {
			s.addNode()
			if i > 0 {
				s.connect(s.nodes[i-1], s.nodes[i], 5*time.Millisecond, 1e5)
			}
		}
		s.run(time.Second)
		id := s.nodes[0].publish(1, randomBody(s.rnd, 200000, Normal))
		s.everywhere(60*time.Second, []ID{id})
		s.noFalseBlame()
		return s.nodes[3].got[id] - time.Second
	}
	whole, cut := latency(AfterValidation), latency(AfterHeader)
	require.Less(t, cut, whole*2/3, "%v against %v", cut, whole)
}

func TestRelayPolicies(t *testing.T) {
	for relay, want := range map[RelayPolicy]bool{AfterValidation: true, OriginOnly: false, Never: false} {
		s := newSimNet(t, 13)
		s.cfg = func(int) Config {
			return Config{Slots: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 1000, Relay: relay}}}
		}
		for i := range 3 {
			s.addNode()
			if i > 0 {
				s.connect(s.nodes[i-1], s.nodes[i], 5*time.Millisecond, 1e6)
			}
		}
		id := s.nodes[0].publish(1, []byte("abc"))
		s.run(5 * time.Second)
		require.True(t, s.nodes[1].has(id))
		require.Equal(t, want, s.nodes[2].has(id), relay)
	}
}
