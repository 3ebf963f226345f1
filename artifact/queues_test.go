package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestQueuesByClass: what waits at each end of a slow link is counted by class, and nothing is left when all is delivered.
func TestQueuesByClass(t *testing.T) {
	s := newSimNet(t, 4)
	s.cfg = oneKind
	a, b := s.addNode(), s.addNode()
	s.connect(a, b, 20*time.Millisecond, 200e3)
	s.run(time.Second)
	var ids []ID
	for class := Urgent; class < classes; class++ {
		for range 3 {
			ids = append(ids, a.publish(1, randomBody(s.rnd, 40_000, class)))
		}
	}
	for class, q := range a.core.Queues() {
		require.Equal(t, Queue{Pending: 3}, q, Class(class))
	}
	seen := Queues{}
	for range 400 {
		s.run(s.now + 10*time.Millisecond)
		for class, q := range a.core.Queues() {
			seen[class].Shown = max(seen[class].Shown, q.Shown)
			seen[class].Serving = max(seen[class].Serving, q.Serving)
		}
		for class, q := range b.core.Queues() {
			require.GreaterOrEqual(t, q.Held, q.Wanted+q.Unjudged, "one provider: each under way is an offer that is held")
			seen[class].Held = max(seen[class].Held, q.Held)
			seen[class].Wanted = max(seen[class].Wanted, q.Wanted)
			seen[class].Requested = max(seen[class].Requested, q.Requested)
		}
	}
	for class, q := range seen {
		require.Equal(t, 3, q.Held, Class(class))
		require.Equal(t, 3, q.Wanted, Class(class))
		require.Positive(t, q.Shown, Class(class))
		require.Positive(t, q.Serving, Class(class))
		require.Positive(t, q.Requested, Class(class))
	}
	s.everywhere(10*time.Second, ids)
	s.run(s.now + time.Second)
	require.Equal(t, Queues{}, a.core.Queues())
	require.Equal(t, Queues{}, b.core.Queues())
	n := b.core.Counters()
	require.Equal(t, [classes]uint64{3, 3, 3, 3}, n.Delivered)
	require.Less(t, n.DeliveryTime[Urgent], n.DeliveryTime[Idle])
	require.Positive(t, n.DeliveryTime[Urgent])
}
