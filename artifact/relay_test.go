package artifact

import (
	"bytes"
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

// What is passed on while it arrives, and then published by this node itself, is whole and its own: what the table shows of it stays
// the same register, and nobody is told any more that it is in part.
func TestOwnProductUnderCutThrough(t *testing.T) {
	w := newWorld(t, Config{Slots: 128, Window: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, ChunkSize: 4096, Relay: AfterHeader}, {ID: 2, MaxSize: 1000}}})
	x, y := w.peer(true, true), w.peer(true, true)
	body := bytes.Repeat([]byte("own"), 30_000)
	y.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	x.offers(offerOf(0, 1, body))
	own, err := NewArtifact(w.core.kinds.cfg[0], body, nil, Normal)
	require.NoError(t, err)
	for w.core.con.downs[own.ID].header != headerAsked {
		m := x.fetches(BulkOut)
		require.NotEmpty(t, m)
		x.serve(BulkOut, m[0], body)
	}
	w.core.Header(w.now, own.ID, true)
	w.settle()
	cut := w.core.table.byID[own.ID]
	require.NotNil(t, cut)
	require.True(t, cut.partial != nil)
	slot := cut.slot
	require.Len(t, y.take(OfferIn), 1, "offered while it arrives")

	require.NoError(t, w.core.Publish(w.now, own))
	w.settle()
	r := &w.core.table.regs[slot]
	require.NotNil(t, r.art)
	require.True(t, r.art.partial == nil)
	require.False(t, r.art.Relayed)
	require.Same(t, r.art, w.core.Get(own.ID))
	require.Equal(t, Have, x.verdicts()[0])
	y.send(BulkIn, (&msgFetch{id: 0, artifact: own.ID, class: Normal, deadline: 10_000, maxBytes: 1 << 20,
		chunks: []span{{0, uint64(own.Manifest.chunks)}}}).append(nil))
	out := y.take(BulkIn)
	require.Len(t, out, own.Manifest.chunks+1, "all of it is served")
	z := w.peer(true, true)
	z.send(OfferIn, msgRequestNext{64, 0}.append(nil))
	w.wait(time.Second)
	offered := z.take(OfferIn)
	require.Len(t, offered, 1)
	p, err := decodeFromProvider(offered[0], 64, nil)
	require.NoError(t, err)
	require.Equal(t, own.ID, p.offers[0].id)
	require.False(t, p.offers[0].partial())

	require.True(t, w.core.Remove(w.now, own.ID))
	w.settle()
	require.Zero(t, w.core.table.Len())
}
