package artifact

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Lanes wait in line for the tokens of a limited egress. Whoever has nothing to send any more, whatever became of it, must not hold up
// those behind it.
func TestNobodyStandsInTheEgressLineForNothing(t *testing.T) {
	for name, leave := range map[string]func(w *world, y *puppet){
		"cancelled": func(w *world, y *puppet) {
			y.send(ControlIn, (&control{tag: tagCancel, cancel: []uint64{0}}).append(nil))
		},
		"late":      func(w *world, y *puppet) {}, // its deadline is short
		"withdrawn": func(w *world, y *puppet) { w.core.Remove(w.now, BodyID(1, []byte("y"))); w.settle() },
		"gone":      func(w *world, y *puppet) { w.core.RemovePeer(w.now, y.id); w.settle() },
		"stop": func(w *world, y *puppet) {
			y.send(ControlIn, (&control{tag: tagStop}).append(nil))
			y.send(OfferIn, appendDone(nil))
		},
		"another session": func(w *world, y *puppet) {
			y.send(OfferIn, (&msgInit{version: 1, epoch: [8]byte{9}, window: 64, kinds: []kindWish{{1, false}}}).append(nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{Slots: 128, Window: 64, EgressRate: 100_000, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20}}})
			x, y, z := w.peer(true, true), w.peer(true, true), w.peer(true, true)
			big := publishIn(t, w, make([]byte, 65536), Normal)
			small := publishIn(t, w, []byte("y"), Normal)
			ask := func(p *puppet, id ID, deadline uint64) {
				p.send(BulkIn, (&msgFetch{id: 0, artifact: id, chunks: []span{{0, 1}}, maxBytes: 1 << 20, class: Bulk, deadline: deadline}).append(nil))
			}
			ask(x, big.ID, 10_000)
			require.Len(t, x.take(BulkIn), 2, "chunk and fetchDone")
			deadline := uint64(10_000)
			if name == "late" {
				deadline = 10
			}
			ask(y, small.ID, deadline)
			require.Empty(t, y.take(BulkIn), "no tokens")
			ask(z, big.ID, 10_000)
			require.Empty(t, z.take(BulkIn), "in line")
			leave(w, y)
			w.wait(2 * time.Second)
			require.Len(t, z.take(BulkIn), 2, "its turn")
		})
	}
}

// A supplier that serves slowly, and now and then quickly at first, is not to blame: its deadlines follow what it does, so it is hardly
// ever late, and nobody bans it.
func TestThrottledSupplierIsNotBlamed(t *testing.T) {
	for _, rate := range []int64{100_000, 60_000} {
		s := newSimNet(t, 22)
		s.audit = 64
		s.cfg = func(i int) Config {
			c := Config{Slots: 256, Kinds: []KindConfig{{ID: 1, MaxSize: 1 << 20}}}
			if i == 0 {
				c.EgressRate = rate
			}
			return c
		}
		score := 0
		s.onJudge = func(_, _ *simNode, step int, _ time.Duration, _ error) { score += step }
		a := s.addNode()
		var others []*simNode
		for range 3 {
			n := s.addNode()
			others = append(others, n)
			s.connect(a, n, time.Millisecond, 1e8)
		}
		s.run(time.Second)
		var ids []ID
		for range 20 {
			ids = append(ids, a.publish(1, randomBody(s.rnd, 300_000, Bulk)))
		}
		s.run(300 * time.Second)
		bytes, timeouts := uint64(0), uint64(0)
		for _, n := range others {
			bytes += n.core.Counters().BodyBytes
			timeouts += n.core.Counters().Timeouts
		}
		t.Logf("%d B/s: %d bytes, %d time-outs, score %d", rate, bytes, timeouts, score)
		require.Greater(t, float64(bytes), 0.9*float64(min(rate*299, 3*20*300_000)))
		require.LessOrEqual(t, timeouts, uint64(30))
		require.Greater(t, score, -50, "of three who judge")
		s.noFalseBlame()
		s.everywhere(20*time.Minute, ids)
	}
}
