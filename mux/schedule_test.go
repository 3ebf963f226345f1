package mux

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// order sends what prepare appends, before anything may leave, and returns the SDUs as they leave.
func order(t *testing.T, cfg Config, streams int, prepare func(m *Mux, stream func(i int) *Stream)) (got []Header, payloads [][]byte) {
	t.Helper()
	x, y := memPair(8 << 20)
	cfg.EgressLimit = 1 << 20
	m := New(x, cfg)
	for i := range streams {
		_, err := m.Register(StreamConfig{Number: uint16(i), Role: Initiator})
		require.NoError(t, err)
	}
	prepare(m, func(i int) *Stream { return m.Stream(uint16(i), Initiator) })
	m.Start()
	synctest.Wait()
	for len(y.in.buf) > 0 {
		h, p, err := ReadSDU(y, MaxPayload)
		require.NoError(t, err)
		got = append(got, h)
		payloads = append(payloads, p)
	}
	m.Abort(nil)
	m.Close()
	return got, payloads
}

func numbers(hs []Header) []int {
	out := make([]int, len(hs))
	for i, h := range hs {
		out[i] = int(h.Number)
	}
	return out
}

// TestRoundRobin: streams that name no rank take turns, one SDU each, in the order in which they came, whatever their sizes.
func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := order(t, Config{SDUSize: 100}, 3, func(_ *Mux, s func(int) *Stream) {
			require.NoError(t, s(2).Send(t.Context(), make([]byte, 250)))
			require.NoError(t, s(0).Send(t.Context(), make([]byte, 500)))
			require.NoError(t, s(1).Send(t.Context(), make([]byte, 100)))
		})
		require.Equal(t, []int{2, 0, 1, 2, 0, 2, 0, 0, 0}, numbers(got))
	})
}

// TestRanks: a better rank overtakes; of those that wait behind it every eighth SDU is one, the longest waiting first
// (artifact §6.7); inside a rank it stays round robin.
func TestRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := order(t, Config{SDUSize: 100}, 5, func(_ *Mux, s func(int) *Stream) {
			append := func(i int, rank uint8, sdus int) {
				require.NoError(t, s(i).Append(t.Context(), rank, make([]byte, 100*sdus)))
			}
			append(4, 7, 2) // waits longest
			append(0, 5, 2)
			append(1, 3, 10)
			append(2, 3, 10)
			append(3, 5, 2)
		})
		require.Equal(t, []int{
			1, 2, 1, 2, 1, 2, 1, 4, // seven of rank 3, then whoever has waited longest
			2, 1, 2, 1, 2, 1, 2, 0,
			1, 2, 1, 2, 1, 2, // 20 of rank 3 are through
			3, // rank 5 is the best now: 3 has waited longer than 0, whose turn has been; it is the seventh in a row
			4, 0, 3,
		}, numbers(got))
	})
	synctest.Test(t, func(t *testing.T) { // two ranks, far more of the better one
		got, _ := order(t, Config{SDUSize: 10}, 2, func(_ *Mux, s func(int) *Stream) {
			require.NoError(t, s(0).Append(t.Context(), 6, make([]byte, 10*20)))
			require.NoError(t, s(1).Append(t.Context(), 1, make([]byte, 10*140)))
		})
		for i, n := range numbers(got) {
			want := 1
			if i%8 == 7 {
				want = 0
			}
			require.Equal(t, want, n, "SDU %d", i)
		}
	})
}

// TestRankOfTheHead: a stream's rank is that of the message at its head, and SDUs do not mix ranks.
func TestRankOfTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, payloads := order(t, Config{SDUSize: 100}, 2, func(_ *Mux, s func(int) *Stream) {
			a := s(0)
			require.NoError(t, a.Append(t.Context(), 5, []byte("bulk ")))
			require.NoError(t, a.Append(t.Context(), 5, []byte("bulk")))
			require.NoError(t, a.Append(t.Context(), 1, []byte("urgent ")))
			require.NoError(t, a.Append(t.Context(), 1, []byte("urgent")))
			require.NoError(t, a.Append(t.Context(), 200, []byte("last")))
			require.NoError(t, a.Flush())
			require.NoError(t, s(1).Send(t.Context(), []byte("middle"))) // rank 4
		})
		require.Equal(t, []int{1, 0, 0, 0}, numbers(got))
		var texts []string
		for _, p := range payloads {
			texts = append(texts, string(p))
		}
		require.Equal(t, []string{"middle", "bulk bulk", "urgent urgent", "last"}, texts)
	})
	synctest.Test(t, func(t *testing.T) { // an urgent head overtakes, the bulk behind it does not come along
		_, payloads := order(t, Config{SDUSize: 100}, 2, func(_ *Mux, s func(int) *Stream) {
			require.NoError(t, s(0).Send(t.Context(), []byte("middle")))
			require.NoError(t, s(1).Append(t.Context(), 1, []byte("urgent")))
			require.NoError(t, s(1).Append(t.Context(), 5, []byte("bulk")))
			require.NoError(t, s(1).Flush())
		})
		var texts []string
		for _, p := range payloads {
			texts = append(texts, string(p))
		}
		require.Equal(t, []string{"urgent", "middle", "bulk"}, texts)
	})
}

// TestScheduleAgainstRule checks every pick of random schedules against the rule, stated naively.
func TestScheduleAgainstRule(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		q := &rankedRoundRobin{}
		type entry struct {
			s    *Stream
			rank uint8
		}
		var waiting []entry // in order of arrival
		overtaking := 0
		for range 500 {
			if rnd.IntN(2) == 0 || len(waiting) == 0 {
				e := entry{&Stream{}, uint8(rnd.IntN(10))}
				e.s.out.Store(&egress{})
				q.push(e.s, e.rank)
				e.rank = min(e.rank, 7)
				waiting = append(waiting, e)
				continue
			}
			best, longest := 0, -1
			for i, e := range waiting {
				if e.rank < waiting[best].rank {
					best = i
				}
			}
			for i, e := range waiting {
				if longest < 0 && e.rank > waiting[best].rank {
					longest = i
				}
			}
			pick := best
			switch {
			case longest < 0:
				overtaking = 0
			case overtaking == 7:
				pick, overtaking = longest, 0
			default:
				overtaking++
			}
			require.Same(t, waiting[pick].s, q.pop(), "seed %d", seed)
			waiting = append(waiting[:pick], waiting[pick+1:]...)
			require.Equal(t, len(waiting) == 0, q.empty())
		}
	}
	require.Nil(t, (&rankedRoundRobin{}).pop())
}

// TestManyRankChanges: a stream whose every byte has another rank than the one before costs its bytes, not their square, and
// keeps nothing.
func TestManyRankChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50_000
		x, y := memPair(8 << 20)
		m := New(x, Config{EgressLimit: n})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		for i := range n {
			require.NoError(t, s.Append(t.Context(), uint8(i%2), []byte{byte(i)}))
		}
		m.Start()
		require.NoError(t, s.WaitCut(t.Context()))
		synctest.Wait()
		require.Equal(t, uint64(n), s.Counters().SDUsOut)
		require.Equal(t, 9*n, len(y.in.buf))
		require.Empty(t, s.sending().runs)
		m.Abort(nil)
		m.Close()
	})
}

// TestAppendWaitsForFlush: small messages wait for company until they fill an SDU or are flushed, Send lets them leave.
func TestAppendWaitsForFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(1 << 20)
		m := New(x, Config{SDUSize: 1000})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		m.Start()
		for range 9 {
			require.NoError(t, s.TryAppend(DefaultRank, make([]byte, 100)))
		}
		synctest.Wait()
		require.Zero(t, len(y.in.buf))
		require.NoError(t, s.TryAppend(DefaultRank, make([]byte, 100)))
		synctest.Wait()
		require.Equal(t, StreamCounters{Number: 1, BytesOut: 1000, SDUsOut: s.Counters().SDUsOut}, s.Counters())
		require.LessOrEqual(t, s.Counters().SDUsOut, uint64(2), "a stream that has been idle begins with a small buffer")
		require.NoError(t, s.TryAppend(DefaultRank, make([]byte, 100)))
		require.NoError(t, s.TryAppend(DefaultRank, nil))
		require.NoError(t, s.Flush())
		synctest.Wait()
		require.Equal(t, uint64(1100), s.Counters().BytesOut)
		sdus := s.Counters().SDUsOut
		require.NoError(t, s.Flush(), "nothing to do")
		require.NoError(t, s.Send(t.Context(), nil))
		synctest.Wait()
		require.Equal(t, sdus, s.Counters().SDUsOut, "no empty SDU")
		require.Equal(t, 1100+HeaderSize*int(sdus), len(y.in.buf))
		m.Abort(nil)
		m.Close()
	})
}

// TestWaitCut: it returns when the stream's last byte has been cut, not before, while at most a batch is with the bearer.
func TestWaitCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := memPair(5_000)
		m := New(x, Config{SDUSize: 1000, BatchBytes: 4000})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		m.Start()
		require.NoError(t, s.WaitCut(t.Context()), "nothing to wait for")
		require.NoError(t, s.Append(t.Context(), DefaultRank, make([]byte, 20_500)))
		cut := make(chan error, 1)
		go func() { cut <- s.WaitCut(t.Context()) }()
		for range 16 { // of 21 SDUs; the last is a batch of its own, cut once the 20 before are with the bearer
			synctest.Wait()
			require.Empty(t, cut)
			_, _, err := ReadSDU(y, 1000)
			require.NoError(t, err)
		}
		require.NoError(t, <-cut)
		require.Equal(t, uint64(20_500), s.Counters().BytesOut)

		require.NoError(t, s.Append(t.Context(), DefaultRank, make([]byte, 20_500)))
		go func() { cut <- s.WaitCut(t.Context()) }()
		synctest.Wait()
		m.Abort(nil)
		require.ErrorIs(t, <-cut, ErrStopped)
		m.Close()
	})
}

// TestEgressInterval: once the queue has run empty, the next batch leaves no sooner than the interval after the last began, and
// what was sent meanwhile shares it; a busy writer does not pause.
func TestEgressInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := memPair(1 << 16)
		began := time.Now()
		c := &capture{memConn: x, clock: func() time.Duration { return time.Since(began) }}
		m := New(c, Config{EgressInterval: 93 * time.Millisecond})
		s, err := m.Register(StreamConfig{Number: 1})
		require.NoError(t, err)
		m.Start()
		for range 25 {
			require.NoError(t, s.Send(t.Context(), []byte("0123456789")))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		writes := c.take()
		require.Len(t, writes, 3)
		for i, size := range []int{HeaderSize + 10, HeaderSize + 90, HeaderSize + 90} {
			require.Equal(t, time.Duration(i)*93*time.Millisecond, writes[i].at)
			require.Len(t, writes[i].bytes, size)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, c.take(), 1, "the rest of the above")
		require.NoError(t, s.Send(t.Context(), make([]byte, 262_000))) // more than one batch
		synctest.Wait()
		total := 0
		writes = c.take()
		for _, w := range writes {
			require.Equal(t, writes[0].at, w.at)
			total += len(w.bytes)
		}
		require.Greater(t, total, 262_000)
		m.Abort(nil)
		m.Close()
	})
}
