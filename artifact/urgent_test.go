package artifact

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Urgent messages overtake bulk that saturates the link.
func TestUrgentBesideBulk(t *testing.T) {
	t.Parallel()
	s := newSimNet(t, 17)
	s.audit = 256
	s.cfg = func(int) Config {
		return Config{Slots: 1024, Kinds: []KindConfig{{ID: 1, MaxSize: 4 << 20}}}
	}
	a, b := s.addNode(), s.addNode()
	const latency, rate = 10 * time.Millisecond, 1.25e6
	s.connect(a, b, latency, rate)
	s.run(time.Second)
	for range 12 {
		a.publish(1, randomBody(s.rnd, 1<<20, Bulk))
	}
	s.run(2 * time.Second)
	var took []time.Duration
	for range 60 {
		at := s.now
		id := a.publish(1, randomBody(s.rnd, 64, Urgent))
		s.run(s.now + 60*time.Millisecond)
		require.True(t, b.has(id))
		took = append(took, b.got[id]-at)
	}
	slices.Sort(took)
	// pushed: half a round trip, an SDU in the way, one of its own, and the validator's millisecond
	limit := latency + 2*time.Duration(12296.0/rate*1e9) + 2*time.Millisecond
	require.LessOrEqual(t, took[len(took)*99/100], limit, fmt.Sprint(took))
}

// Seven suppliers saturate one 50 Mbit/s access link: with per-peer windows alone the network's own queue would hold urgent
// messages for seconds. The node-wide window, limited by delay, keeps it short.
func TestSharedAccessLink(t *testing.T) {
	pure(t)
	t.Parallel()
	s := newSimNet(t, 18)
	s.audit = 1 << 10
	s.cfg = func(int) Config {
		return Config{Slots: 1024, BulkBearers: 1, Kinds: []KindConfig{{ID: 1, MaxSize: 4 << 20}}}
	}
	for range 8 {
		s.addNode()
	}
	me := s.nodes[0]
	me.inRate = 6.25e6
	for i := range 36 {
		body := randomBody(rand.New(rand.NewPCG(uint64(i), 5)), 2<<20, Bulk)
		for _, n := range s.nodes[1:] {
			n.publish(1, body)
		}
	}
	for _, n := range s.nodes[1:] {
		s.connect(me, n, 50*time.Millisecond, 5e7)
	}
	s.run(3 * time.Second)
	var took []time.Duration
	start, before := s.now, me.inBytes
	for i := range 80 {
		at := s.now
		id := s.nodes[1+i%7].publish(1, randomBody(s.rnd, 64, Urgent))
		require.True(t, s.runUntil(at+5*time.Second, func() bool { return me.has(id) }))
		took = append(took, me.got[id]-at)
	}
	share := float64(me.inBytes-before) / (s.now - start).Seconds() / me.inRate
	slices.Sort(took)
	t.Logf("urgent p50 %v p99 %v at %.2f of the link; window %.0f", took[40], took[78], share, me.core.sched.bulkWindow)
	chunk := time.Duration(65536 / 6.25e6 * 1e9)
	require.LessOrEqual(t, took[78], 50*time.Millisecond+5*time.Millisecond+50*time.Millisecond+chunk)
	require.GreaterOrEqual(t, share, 0.9)
}

// What is urgent is judged by itself, however much else waits, and before it.
func TestUrgentIsJudgedAlone(t *testing.T) {
	w := smallWorld(t)
	x := w.peer(true, true)
	urgent := false
	w.bouncer = func(uint32, ID, []byte) Interest {
		if urgent {
			return Wants(Urgent)
		}
		return Wants(Normal)
	}
	for i := range 6 {
		b := append(make([]byte, 100), byte(i))
		e := offerOf(uint32(i), uint64(i+1), b)
		e.tag, e.body = entryPush, b
		urgent = i%3 == 2
		x.offers(e)
	}
	var sizes []int
	for more := true; more; {
		var us []Unjudged
		us, more = w.core.con.Take(1, 3)
		sizes = append(sizes, len(us))
		for _, u := range us {
			require.Equal(t, len(sizes) == 1, u.Class == Urgent)
		}
	}
	require.Equal(t, []int{2, 3, 1}, sizes)
}
