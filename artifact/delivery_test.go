package artifact

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func randomBody(rnd *rand.Rand, n int, class Class) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	if n > 0 {
		b[0] = b[0]&^3 | byte(class)
	}
	return b
}

func oneKind(i int) Config {
	return Config{Slots: 256, Kinds: []KindConfig{{ID: 1, MaxSize: 256 << 10, ChunkSize: 4096}}}
}

func TestTwoNodes(t *testing.T) {
	for _, size := range []int{0, 1, 200, 1024, 1025, 16 << 10, 65536, 65537, 200 << 10} {
		s := newSimNet(t, 1)
		s.cfg = oneKind
		a, b := s.addNode(), s.addNode()
		s.connect(a, b, 10*time.Millisecond, 1e6)
		s.run(time.Second)
		id := a.publish(1, randomBody(s.rnd, size, Normal))
		s.everywhere(5*time.Second, []ID{id})
		require.Equal(t, a.core.Get(id).Bytes, b.core.Get(id).Bytes)
		s.noFalseBlame()
	}
}

// The delivery argument of artifact §6.10, with everything that is allowed to go wrong.
func TestEverythingReachesEveryone(t *testing.T) {
	pure(t)
	t.Parallel()
	s := newSimNet(t, 2)
	s.cfg = oneKind
	for range 12 {
		s.addNode()
	}
	s.graph(4, func() time.Duration { return time.Duration(10+s.rnd.IntN(90)) * time.Millisecond }, 2e6)
	var ids []ID
	for i := range 70 {
		s.at(time.Second+time.Duration(i)*50*time.Millisecond, func() {
			n := s.nodes[s.rnd.IntN(len(s.nodes))]
			sizes := []int{10, 300, 1024, 3000, 20000, 70000}
			ids = append(ids, n.publish(1, randomBody(s.rnd, sizes[s.rnd.IntN(len(sizes))], Class(s.rnd.IntN(4)))))
		})
	}
	s.run(8 * time.Second)
	s.everywhere(60*time.Second, ids)
	s.noFalseBlame()
}

// chaos breaks what may break among honest nodes: connections are cut or fall silent, bulk bearers are lost, processes restart.
func (s *simNet) chaos(until time.Duration, every time.Duration) {
	var hit func()
	hit = func() {
		if s.now >= until {
			return
		}
		switch s.rnd.IntN(8) {
		case 0, 1:
			s.conns[s.rnd.IntN(len(s.conns))].cut()
		case 2:
			s.conns[s.rnd.IntN(len(s.conns))].silence(time.Duration(1+s.rnd.IntN(9)) * time.Second)
		case 3, 4:
			s.conns[s.rnd.IntN(len(s.conns))].bearerLost(s.rnd.IntN(2))
		case 5:
			s.nodes[s.rnd.IntN(len(s.nodes))].restart()
		case 6: // a slow validator
			n := s.nodes[s.rnd.IntN(len(s.nodes))]
			n.delay = time.Duration(s.rnd.IntN(1500)) * time.Millisecond
		case 7: // hot → warm → hot
			c := s.conns[s.rnd.IntN(len(s.conns))]
			if c.up {
				c.a.core.Stop(s.now, c.b.id)
				c.a.settled()
				var again func()
				again = func() {
					if !c.up {
						return
					}
					if !c.a.core.Stopped(c.b.id) {
						s.after(time.Second, again)
						return
					}
					c.a.core.Start(s.now, c.b.id)
					c.a.settled()
				}
				s.after(time.Second, again)
			}
		}
		s.after(time.Duration(s.rnd.Int64N(int64(2*every))), hit)
	}
	s.after(every, hit)
}

// P6, P10, P13: nothing is lost under any sequence of cuts, restarts, bearer losses and slow validators, and no schedule of
// honest peers leads to a violation.
func TestNothingIsLostUnderChaos(t *testing.T) {
	pure(t)
	t.Parallel()
	for seed := uint64(1); seed <= chaosSeeds(); seed++ {
		s := newSimNet(t, seed)
		s.cfg = func(i int) Config {
			c := oneKind(i)
			if seed%2 == 0 {
				c.BulkBearers = -1
			}
			return c
		}
		for range 10 {
			s.addNode()
		}
		s.graph(4, func() time.Duration { return time.Duration(5+s.rnd.IntN(100)) * time.Millisecond }, 1e6)
		var ids []ID
		for i := range 70 {
			s.at(time.Second+time.Duration(i)*280*time.Millisecond, func() {
				n := s.nodes[s.rnd.IntN(len(s.nodes))]
				sizes := []int{10, 300, 1024, 3000, 20000, 70000, 200000}
				ids = append(ids, n.publish(1, randomBody(s.rnd, sizes[s.rnd.IntN(len(sizes))], Class(s.rnd.IntN(4)))))
			})
		}
		s.chaos(22*time.Second, 300*time.Millisecond)
		s.run(22 * time.Second)
		for _, n := range s.nodes {
			n.delay = time.Millisecond
		}
		s.everywhere(120*time.Second, ids)
		s.noFalseBlame()
	}
}

// soak reports whether the long versions were asked for.
// pure marks long simulations: they run on one goroutine, so the race detector, which makes them ten times as long, has nothing to see.
func pure(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("skipped: nothing here runs beside anything else")
	}
}

func soak() bool { return os.Getenv("HEARTH_SOAK") == "1" }

func chaosSeeds() uint64 {
	if soak() {
		return 60
	}
	return 2
}

// P17: on a line of 8 KiB/s whose ends stop reading for up to 30 s now and then, no limit of honest ends runs out and everything
// arrives.
func TestVerySlowLineThatStalls(t *testing.T) {
	for _, bulk := range []int{-1, 2} {
		s := newSimNet(t, 31)
		s.cfg = func(int) Config {
			c := oneKind(0)
			c.BulkBearers = bulk
			return c
		}
		a, b := s.addNode(), s.addNode()
		c := s.connect(a, b, 300*time.Millisecond, 8192)
		s.run(3 * time.Second)
		var ids []ID
		for i := range 30 {
			s.at(time.Duration(3+i*10)*time.Second, func() {
				n := s.nodes[i%2]
				ids = append(ids, n.publish(1, randomBody(s.rnd, []int{50, 900, 3000, 20000}[i%4], Class(i%4))))
			})
			if i%5 == 4 {
				s.at(time.Duration(i*10)*time.Second, func() { c.stalled = s.now + time.Duration(s.rnd.IntN(30))*time.Second })
			}
		}
		s.run(310 * time.Second)
		s.everywhere(300*time.Second, ids)
		s.noFalseBlame()
		require.Zero(t, c.losses, "no bearer was given up")
	}
}

// The same seed gives the same run, to the last message: neither map order nor anything else outside the seed reaches a decision.
func TestSameSeedSameRun(t *testing.T) {
	t.Parallel()
	run := func() (steps int, bytes int64, took time.Duration) {
		s := newSimNet(t, 77)
		s.audit = 1 << 20
		s.cfg = oneKind
		for range 8 {
			s.addNode()
		}
		s.graph(4, func() time.Duration { return time.Duration(5+s.rnd.IntN(50)) * time.Millisecond }, 1e6)
		for i := range 60 {
			s.at(time.Second+time.Duration(i)*70*time.Millisecond, func() {
				n := s.nodes[s.rnd.IntN(len(s.nodes))]
				n.publish(1, randomBody(s.rnd, []int{40, 700, 9000, 80000}[s.rnd.IntN(4)], Class(s.rnd.IntN(4))))
			})
		}
		s.chaos(6*time.Second, 200*time.Millisecond)
		s.run(20 * time.Second)
		for _, c := range s.conns {
			bytes += c.bytes
		}
		for _, n := range s.nodes {
			for _, at := range n.got {
				took += at
			}
		}
		return s.steps, bytes, took
	}
	a, b, c := run()
	for range 2 {
		x, y, z := run()
		require.Equal(t, a, x)
		require.Equal(t, b, y)
		require.Equal(t, c, z)
	}
}
