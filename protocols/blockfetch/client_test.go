package blockfetch_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var neg = protocols.Negotiated{Version: 15}

// blocks is a chain whose block i, from 1 on, has slot i.
type blocks struct {
	n      int
	fail   error // after half of a range
	lent   int   // blocks that were asked of the source
	hollow bool  // offers ranges without blocks
}

func point(i int) chainsync.Point {
	return chainsync.Point{Slot: uint64(i), Hash: [32]byte{1, byte(i)}}
}

func block(i int) []byte {
	b := append([]byte{0x82, 0x07, 0x59, 0x03, 0xe8}, make([]byte, 1000)...)
	b[5], b[6] = byte(i), byte(i>>8)
	return b
}

func (s *blocks) Range(from, to chainsync.Point) (iter.Seq2[[]byte, error], bool) {
	if from.Slot > to.Slot || to.Slot > uint64(s.n) {
		return nil, false
	}
	return func(yield func([]byte, error) bool) {
		for i := from.Slot; i <= to.Slot && !s.hollow; i++ {
			if s.fail != nil && i > (from.Slot+to.Slot)/2 {
				yield(nil, s.fail)
				return
			}
			s.lent++
			if !yield(block(int(i)), nil) {
				return
			}
		}
	}, true
}

func served(t *testing.T, src blockfetch.Source, f func(t *testing.T, c *blockfetch.Client, a, b *rig.End)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Pair(t, memnet.Link{Latency: 50 * time.Millisecond}, neg, blockfetch.NodeToNode())
		done := make(chan error, 1)
		go func() { done <- blockfetch.Serve(t.Context(), b, src) }()
		f(t, blockfetch.NewClient(a), a, b)
		a.Close()
		b.Close()
		<-done
		synctest.Wait()
	})
}

// puppet runs f with a client whose peer is played by the test: what it says lies there before it is asked.
func puppet(t *testing.T, say []byte, f func(t *testing.T, ctx context.Context, c *blockfetch.Client, a *rig.End)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		a := rig.Attach(t, x, neg, blockfetch.NodeToNode())
		if len(say) > 0 {
			require.NoError(t, mux.WriteSDU(y, mux.Header{Number: blockfetch.Number, From: mux.Responder}, say))
		}
		f(t, t.Context(), blockfetch.NewClient(a), a)
		a.Close()
		y.Close()
		synctest.Wait()
	})
}

// Any list of ranges, some of which the peer does not have, comes back complete and in order, however many are under way
// (prop_connect_pipelined).
func TestPropConnectPipelined(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inFlight := rapid.IntRange(1, 100).Draw(rt, "in flight")
		type span struct{ from, to int }
		var spans []span
		for range rapid.IntRange(0, 30).Draw(rt, "ranges") {
			from := rapid.IntRange(1, 120).Draw(rt, "from")
			spans = append(spans, span{from, from + rapid.IntRange(0, 12).Draw(rt, "more")})
		}
		leave := rapid.IntRange(0, 100).Draw(rt, "leave after")
		ok := false
		served(t, &blocks{n: 100}, func(t *testing.T, c *blockfetch.Client, a, b *rig.End) {
			c.SetInFlight(inFlight)
			ranges := func(yield func(blockfetch.Range) bool) {
				for _, s := range spans {
					if !yield(blockfetch.Range{From: point(s.from), To: point(s.to)}) {
						return
					}
				}
			}
			var want []int // 0: NoBlocks
			for _, s := range spans {
				if s.to > 100 {
					want = append(want, 0)
					continue
				}
				for i := s.from; i <= s.to; i++ {
					want = append(want, i)
				}
			}
			for round := range 2 { // the first may be left early: the client can be used again
				got := []int(nil)
				for b, err := range c.Ranges(t.Context(), ranges) {
					var none *blockfetch.NoBlocksError
					switch {
					case errors.As(err, &none):
						require.Equal(t, "benign", none.Fault())
						require.Greater(t, none.Range.To.Slot, uint64(100))
						got = append(got, 0)
					default:
						require.NoError(t, err)
						i := int(b.Range.From.Slot) + b.Index
						require.Equal(t, block(i), b.Bytes)
						got = append(got, i)
					}
					if round == 0 && len(got) > leave {
						break
					}
				}
				if round == 1 {
					require.Equal(t, want, got)
				}
			}
			require.NoError(t, c.Finish(t.Context()))
			require.NoError(t, a.Mux.Err())
			ok = true
		})
		if !ok {
			rt.Fatal("see above")
		}
	})
}

// Several ranges are under way at once: ten round trips cost one.
func TestRangesArePipelined(t *testing.T) {
	served(t, &blocks{n: 100}, func(t *testing.T, c *blockfetch.Client, a, b *rig.End) {
		c.SetInFlight(10)
		began := time.Now()
		n := 0
		for _, err := range c.Ranges(t.Context(), func(yield func(blockfetch.Range) bool) {
			for i := 1; i <= 10 && yield(blockfetch.Range{From: point(i), To: point(i)}); i++ {
			}
		}) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 10, n)
		require.Less(t, time.Since(began), 200*time.Millisecond)
	})
}

// N13: the batch ends before it has begun.
func TestN13TooFewBlocks(t *testing.T) {
	puppet(t, []byte{0x81, 2, 0x81, 5}, func(t *testing.T, ctx context.Context, c *blockfetch.Client, a *rig.End) {
		for _, err := range c.Range(ctx, point(1), point(3)) {
			require.ErrorIs(t, err, blockfetch.ErrTooFewBlocks)
			require.ErrorIs(t, err, protocols.ErrViolation)
		}
		e, err := a.Err()
		require.NoError(t, err)
		require.Equal(t, "Streaming", e.State)
		require.Equal(t, "adversarial", e.Fault())
	})
}

func TestTooManyBlocks(t *testing.T) {
	say := blockfetch.AppendBlock(blockfetch.AppendBlock([]byte{0x81, 2}, block(1)), block(2))
	puppet(t, say, func(t *testing.T, ctx context.Context, c *blockfetch.Client, a *rig.End) {
		n := 0
		for _, err := range c.Range(ctx, point(1), point(1)) {
			if n++; n == 2 {
				require.ErrorIs(t, err, blockfetch.ErrTooManyBlocks)
			}
		}
		require.Equal(t, 2, n)
	})
}

// The host's check condemns the peer.
func TestCheck(t *testing.T) {
	wrong := errors.New("wrong block")
	puppet(t, blockfetch.AppendBlock([]byte{0x81, 2}, block(9)), func(t *testing.T, ctx context.Context, c *blockfetch.Client, a *rig.End) {
		c.SetCheck(func(r blockfetch.Range, i int, b []byte) error {
			require.Equal(t, block(9), b)
			return wrong
		})
		for _, err := range c.Range(ctx, point(1), point(1)) {
			require.ErrorIs(t, err, wrong)
		}
		e, err := a.Err()
		require.NoError(t, err)
		require.Equal(t, "adversarial", e.Fault())
	})
}

func TestOriginIsNotAskedFor(t *testing.T) {
	served(t, &blocks{n: 10}, func(t *testing.T, c *blockfetch.Client, a, b *rig.End) {
		for _, err := range c.Range(t.Context(), chainsync.Origin, point(1)) {
			require.ErrorIs(t, err, blockfetch.ErrOrigin)
		}
		require.NoError(t, a.Mux.Err())
	})
}

// An error of the source ends the connection, and is the server's own fault.
func TestSourceErrors(t *testing.T) {
	disk := errors.New("disk on fire")
	for _, src := range []*blocks{{n: 10, fail: disk}, {n: 10, hollow: true}} {
		served(t, src, func(t *testing.T, c *blockfetch.Client, a, b *rig.End) {
			var last error
			for _, last = range c.Range(t.Context(), point(1), point(10)) {
			}
			require.Error(t, last)
			e, err := b.Err()
			require.NoError(t, err)
			require.True(t, e.Local)
			require.Equal(t, "block-fetch", e.Protocol)
			require.Equal(t, "Streaming", e.State)
			if src.fail != nil {
				require.ErrorIs(t, e, disk)
			}
		})
	}
}

// Silence in every state of the server: 60 s, anew for every message.
func TestTimeLimits(t *testing.T) {
	for state, say := range map[string][]byte{"Busy": nil, "Streaming": {0x81, 2}} {
		puppet(t, say, func(t *testing.T, ctx context.Context, c *blockfetch.Client, a *rig.End) {
			began := time.Now()
			for _, err := range c.Range(ctx, point(1), point(2)) {
				require.ErrorIs(t, err, protocols.ErrTimedOut)
			}
			e, err := a.Err()
			require.NoError(t, err)
			require.Equal(t, state, e.State)
			require.Equal(t, "network", e.Fault())
			require.Equal(t, time.Minute, time.Since(began))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		a := rig.Attach(t, x, neg, blockfetch.NodeToNode())
		go func() {
			_ = mux.WriteSDU(y, mux.Header{Number: blockfetch.Number, From: mux.Responder}, []byte{0x81, 2})
			for i := range 5 {
				time.Sleep(59 * time.Second)
				_ = mux.WriteSDU(y, mux.Header{Number: blockfetch.Number, From: mux.Responder}, blockfetch.AppendBlock(nil, block(i)))
			}
		}()
		n := 0
		for _, err := range blockfetch.NewClient(a).Range(t.Context(), point(1), point(9)) {
			if err != nil {
				require.ErrorIs(t, err, protocols.ErrTimedOut)
				break
			}
			n++
		}
		require.Equal(t, 5, n)
		a.Close()
		y.Close()
		synctest.Wait()
	})
}

// Byte limits: an answer in Busy has 65,535 bytes, a block with its framing 2,500,000.
func TestByteLimits(t *testing.T) {
	for _, c := range []struct {
		size int
		ok   bool
	}{{2_500_000, true}, {2_500_001, false}} {
		synctest.Test(t, func(t *testing.T) {
			x, y := rig.Conns(t, memnet.Link{})
			a := rig.Attach(t, x, neg, blockfetch.NodeToNode())
			inner := c.size - 9 - 5 // heads of the message and of the block's own string
			b := append([]byte{0x5a, byte(inner >> 24), byte(inner >> 16), byte(inner >> 8), byte(inner)}, make([]byte, inner)...)
			msg := blockfetch.AppendBlock(nil, b)
			require.Len(t, msg, c.size)
			go func() {
				p := append([]byte{0x81, 2}, msg...)
				for len(p) > 0 {
					n := min(len(p), 60_000)
					if mux.WriteSDU(y, mux.Header{Number: blockfetch.Number, From: mux.Responder}, p[:n]) != nil {
						return
					}
					p = p[n:]
				}
			}()
			for got, err := range blockfetch.NewClient(a).Range(t.Context(), point(1), point(2)) {
				if !c.ok {
					require.ErrorIs(t, err, protocols.ErrTooLarge)
					break
				}
				require.NoError(t, err)
				require.Len(t, got, inner+5)
				break
			}
			a.Close()
			y.Close()
			synctest.Wait()
		})
	}
}

// The stream can be used again after Done, by both ends; the server keeps one block of a batch at a time.
func TestFinishAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Pair(t, memnet.Link{}, neg, blockfetch.NodeToNode())
		for range 3 {
			done := make(chan error, 1)
			go func() { done <- blockfetch.Serve(t.Context(), b, &blocks{n: 10}) }()
			c := blockfetch.NewClient(a)
			n := 0
			for _, err := range c.Range(t.Context(), point(1), point(10)) {
				require.NoError(t, err)
				if n++; n == 3 {
					break
				}
			}
			require.NoError(t, c.Finish(t.Context()))
			require.NoError(t, <-done)
		}
		a.Close()
		b.Close()
		synctest.Wait()
	})
}

// The form that a host starts on promotion.
func TestInitiator(t *testing.T) {
	served(t, &blocks{n: 10}, func(t *testing.T, _ *blockfetch.Client, a, b *rig.End) {
		mp := blockfetch.Initiator(func(ctx context.Context, c *blockfetch.Client) error {
			for _, err := range c.Range(ctx, point(1), point(10)) {
				require.NoError(t, err)
			}
			require.NoError(t, c.Finish(ctx))
			for _, err := range c.Range(ctx, point(1), point(10)) {
				require.Error(t, err, "it has been finished")
			}
			return nil
		})
		s, err := a.Open(mp, mux.Initiator)
		require.NoError(t, err)
		require.NoError(t, s.Run(t.Context(), mp.Initiate))
	})
}
