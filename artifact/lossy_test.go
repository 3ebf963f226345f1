package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A far supplier whose chunks are late now and then, as a lost packet makes them, is no sign that our own link is full while next to
// nothing is under way: the node-wide window stays open, and what a near supplier offers does not wait for the far one.
func TestLateChunksOfAFarSupplierLeaveTheWindowOpen(t *testing.T) {
	t.Parallel()
	s := newSimNet(t, 23)
	s.cfg = func(int) Config {
		return Config{Slots: 1024, BulkBearers: 2, Kinds: []KindConfig{{ID: 1, MaxSize: 4 << 20}}}
	}
	me, far, near := s.addNode(), s.addNode(), s.addNode()
	const distance = 125 * time.Millisecond
	way := s.connect(me, far, distance, 2.5e6)
	s.connect(me, near, 2500*time.Microsecond, 1.25e7)
	s.run(2 * time.Second)
	for i := range 100 {
		way.latency = distance
		if i%3 == 2 {
			way.latency = 3 * distance // sent again
		}
		far.publish(1, randomBody(s.rnd, 20_000, Bulk))
		s.run(s.now + time.Second)
	}
	require.GreaterOrEqual(t, me.core.sched.bulkWindow, float64(bulkStart))

	way.latency = distance
	for range 4 {
		far.publish(1, randomBody(s.rnd, 64<<10, Bulk))
	}
	s.run(s.now + 2*distance + 50*time.Millisecond)
	require.Positive(t, me.core.byID[far.id].net.bytes, "the far one was asked")
	way.silent = true // and is heard of no more for now
	at := s.now
	id := near.publish(1, randomBody(s.rnd, 20_000, Bulk))
	require.True(t, s.runUntil(at+5*time.Second, func() bool { return me.has(id) }))
	require.Less(t, me.got[id]-at, 100*time.Millisecond)
}
