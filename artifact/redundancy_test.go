package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// P3: after an abort nothing but what was on its way already is sent.
func TestAbortStopsTheBytes(t *testing.T) {
	s := newSimNet(t, 14)
	s.cfg = func(int) Config {
		return Config{Slots: 64, Kinds: []KindConfig{{ID: 1, MaxSize: 8 << 20}}}
	}
	a, b := s.addNode(), s.addNode()
	c := s.connect(a, b, 10*time.Millisecond, 1e6)
	s.run(time.Second)
	require.True(t, c.up)
	id := a.publish(1, randomBody(s.rnd, 6<<20, Bulk))
	s.run(4 * time.Second)
	served := a.core.Counters().BytesServed
	require.Greater(t, served, uint64(1<<20))
	_ = a.clients[1].cl.change([]Change[[]byte]{{Op: RemoveFromValidated, ID: id}})
	a.settled()
	s.run(20 * time.Second)
	require.LessOrEqual(t, a.core.Counters().BytesServed-served, uint64(2*maxFlat*len(c.pipes[0])))
	require.Less(t, len(b.core.con.downs), 1+1, "kept for a minute at most")
	s.run(90 * time.Second)
	require.Empty(t, b.core.con.downs)
	require.False(t, b.has(id))
}

// A flapping connection causes no duplicate downloads, and a quiet reconnect re-offers nothing.
func TestFlappingConnectionCausesNoDuplicateDownloads(t *testing.T) {
	s := newSimNet(t, 15)
	s.cfg = oneKind
	a, b := s.addNode(), s.addNode()
	c := s.connect(a, b, 10*time.Millisecond, 1e6)
	s.run(time.Second)
	var ids []ID
	for range 100 {
		ids = append(ids, a.publish(1, randomBody(s.rnd, 500, Normal)))
	}
	s.everywhere(10*time.Second, ids)
	s.run(s.now + 2*disposeDelay) // the last dispositions
	got, offers, again := b.core.Counters().BodiesReceived, b.core.Counters().OffersReceived, a.core.Counters().OfferedAgain
	for range 10 {
		before := c.bytes
		c.cut()
		s.run(s.now + 3*time.Second)
		require.True(t, c.up)
		require.Less(t, c.bytes-before, int64(1500), "handshakes, inits and digests only")
	}
	require.Equal(t, got, b.core.Counters().BodiesReceived)
	require.Equal(t, offers, b.core.Counters().OffersReceived)
	require.Equal(t, again, a.core.Counters().OfferedAgain)
	require.EqualValues(t, 10, b.core.Counters().Resumed)
	// one change costs its block of ids, no body twice
	a.publish(1, randomBody(s.rnd, 500, Normal))
	c.cut()
	s.run(s.now + 3*time.Second)
	require.Equal(t, got+1, b.core.Counters().BodiesReceived)
	require.LessOrEqual(t, b.core.Counters().OffersReceived-offers, uint64(64))
}

// copies runs 16 nodes of degree 6 to 8 and returns bodies received per body needed, over the last n artifacts, and bytes received
// per byte of payload over all of them.
func copies(t *testing.T, push PushMode, size, warm, n int, class Class, every time.Duration) (bodies, first, bytes float64) {
	s := newSimNet(t, 16)
	s.audit = 1 << 20
	s.cfg = func(int) Config {
		return Config{Slots: 4096, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20, Push: push}}}
	}
	for range 16 {
		s.addNode()
	}
	s.graph(6, func() time.Duration { return time.Duration(10+s.rnd.IntN(20)) * time.Millisecond }, 1.25e8)
	s.run(2 * time.Second)
	received := func() (n uint64) {
		for _, x := range s.nodes {
			n += x.core.Counters().BodiesReceived
		}
		return n
	}
	wire := func() (n int64) {
		for _, c := range s.conns {
			n += c.bytes
		}
		return n
	}
	var ids []ID
	phase := func(k int) float64 {
		before := received()
		for range k {
			node := s.nodes[len(ids)%16]
			ids = append(ids, node.publish(1, randomBody(s.rnd, size, class)))
			s.run(s.now + every)
		}
		s.everywhere(10*time.Second, ids[len(ids)-k:])
		s.run(s.now + time.Second)
		return float64(received()-before) / float64(15*k)
	}
	if warm > 0 {
		first = phase(warm)
	}
	b := wire()
	bodies = phase(n)
	bytes = float64(wire()-b) / float64(15*n*size)
	s.noFalseBlame()
	return bodies, first, bytes
}

// P12 and the redundancy marks of artifact §9, on the simulator.
func TestBodyCopies(t *testing.T) {
	pure(t)
	t.Parallel()
	warm, n := 200, 150
	if soak() {
		warm, n = 500, 2000
	}
	bodies, first, bytes := copies(t, Tree, 256, warm, n, Normal, 20*time.Millisecond)
	t.Logf("256 B, tree: %.3f copies, %.3f while it settles, %.2f bytes", bodies, first, bytes)
	require.LessOrEqual(t, bodies, 1.15)
	require.LessOrEqual(t, first, 1.5)
	bodies, _, bytes = copies(t, None, 256, 0, 50, Normal, 20*time.Millisecond)
	t.Logf("256 B, adverts only: %.3f copies, %.2f bytes", bodies, bytes)
	require.Equal(t, 1.0, bodies)
	bodies, _, bytes = copies(t, Tree, 16<<10, 0, 30, Normal, 20*time.Millisecond)
	t.Logf("16 KiB: %.3f copies, %.3f bytes", bodies, bytes)
	require.LessOrEqual(t, bodies, 1.01)
	require.LessOrEqual(t, bytes, 1.06)
	bodies, _, bytes = copies(t, Tree, 256<<10, 0, 6, Bulk, 200*time.Millisecond)
	t.Logf("256 KiB: %.3f copies, %.4f bytes", bodies, bytes)
	require.LessOrEqual(t, bodies, 1.01)
	require.LessOrEqual(t, bytes, 1.03)
	bodies, _, _ = copies(t, Tree, 64, 0, 30, Urgent, 20*time.Millisecond)
	t.Logf("64 B, urgent: %.3f copies", bodies)
	require.LessOrEqual(t, bodies, 8.0)
}
