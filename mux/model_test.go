package mux

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// choppy is a bearer that delivers what it has in pieces of random sizes.
type choppy struct {
	*memConn
	rnd *rand.Rand
	max int
}

func (c *choppy) Read(p []byte) (int, error) {
	return c.memConn.Read(p[:min(len(p), 1+c.rnd.IntN(c.max))])
}

// TestModel: whatever is appended, flushed, waited for and discarded in whatever order, over a bearer that cuts everything into
// pieces, each stream is a queue of bytes, and the accounts are right after every step.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		x, y := memPair(rapid.IntRange(1, 50_000).Draw(rt, "bearer"))
		seed := rapid.Uint64().Draw(rt, "seed")
		pieces := rapid.SampledFrom([]int{1, 7, 300, 1 << 17}).Draw(rt, "pieces")
		budget := NewBudget(1 << 30)
		cfg := Config{
			SDUSize:     rapid.SampledFrom([]int{1, 13, 1000, 12_288, 65_535}).Draw(rt, "SDU"),
			BatchBytes:  rapid.SampledFrom([]int{1, 5000, 131_072}).Draw(rt, "batch"),
			EgressLimit: rapid.SampledFrom([]int{1, 100, 262_143}).Draw(rt, "limit"),
			Budget:      budget,
		}
		a := New(&choppy{x, rand.New(rand.NewPCG(seed, 1)), pieces}, cfg)
		b := New(&choppy{y, rand.New(rand.NewPCG(seed, 2)), pieces}, cfg)
		type end struct {
			out, in *Stream
			sent    []byte // and not discarded
			view    []byte // the front of it, as lent by the stream
		}
		var ends []*end
		for n := range uint16(2) {
			for _, r := range []Role{Initiator, Responder} {
				out, err := a.Register(StreamConfig{Number: n, Role: r})
				require.NoError(rt, err)
				in, err := b.Register(StreamConfig{Number: n, Role: r.Peer(), IngressLimit: 1 << 24})
				require.NoError(rt, err)
				ends = append(ends, &end{out: out, in: in})
			}
		}
		a.Start()
		b.Start()
		defer func() {
			a.Abort(nil)
			a.Close()
			b.Close()
			require.Zero(rt, budget.Used())
		}()
		// quiet waits until all that was sent has arrived, and checks the accounts.
		quiet := func() {
			total := 0
			for _, e := range ends {
				require.NoError(rt, e.out.WaitCut(ctx))
				for e.in.Buffered() < len(e.sent) && ctx.Err() == nil {
					runtime.Gosched()
				}
				require.Equal(rt, len(e.sent), e.in.Buffered())
				in := e.in.in.Load()
				require.Equal(rt, len(e.sent) == 0, in == nil || in.b == nil, "an empty stream holds no buffer")
				total += len(e.sent)
			}
			require.Equal(rt, total, b.Unread())
			require.Equal(rt, total, budget.Used())
		}
		fill := byte(0)
		one := rapid.IntRange(0, len(ends)-1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				e := ends[one.Draw(rt, "end")]
				fill++
				p := bytes.Repeat([]byte{fill}, rapid.IntRange(1, 800).Draw(rt, "bytes"))
				require.NoError(rt, e.out.Append(ctx, uint8(rapid.IntRange(0, 9).Draw(rt, "rank")), p))
				e.sent = append(e.sent, p...)
				clear(p) // it is the caller's again
			},
			"try": func(rt *rapid.T) {
				e := ends[one.Draw(rt, "end")]
				fill++
				p := bytes.Repeat([]byte{fill}, rapid.IntRange(1, 800).Draw(rt, "bytes"))
				if err := e.out.TryAppend(DefaultRank, p); err == nil {
					e.sent = append(e.sent, p...)
				} else {
					require.Equal(rt, EgressFull, err.(*Error).Kind)
				}
			},
			"flush": func(rt *rapid.T) { require.NoError(rt, ends[one.Draw(rt, "end")].out.Flush()) },
			"look": func(rt *rapid.T) {
				quiet()
				e := ends[one.Draw(rt, "end")]
				e.view = e.in.Unread()
				require.True(rt, bytes.Equal(e.sent, e.view), "%d bytes, want %d", len(e.view), len(e.sent))
			},
			"wait": func(rt *rapid.T) {
				e := ends[one.Draw(rt, "end")]
				require.NoError(rt, e.out.Flush())
				if seen := len(e.view); len(e.sent) > seen {
					view, err := e.in.Wait(ctx, seen)
					require.NoError(rt, err)
					require.Greater(rt, len(view), seen)
					e.view = view
					return
				}
				gone, cancel := context.WithCancel(ctx)
				cancel()
				_, err := e.in.Wait(gone, len(e.view))
				require.ErrorIs(rt, err, context.Canceled)
				e.view = nil
			},
			"discard": func(rt *rapid.T) {
				e := ends[one.Draw(rt, "end")]
				n := rapid.IntRange(0, len(e.view)).Draw(rt, "bytes")
				e.in.Discard(n)
				e.view, e.sent = e.view[n:], e.sent[n:]
			},
			"": func(rt *rapid.T) {
				for _, e := range ends {
					require.True(rt, bytes.HasPrefix(e.sent, e.view), "a lent view has changed")
				}
			},
		})
		quiet()
		for _, e := range ends {
			require.True(rt, bytes.Equal(e.sent, e.in.Unread()))
			require.Equal(rt, e.out.Counters().BytesOut, e.in.Counters().BytesIn)
			require.Equal(rt, e.out.Counters().SDUsOut, e.in.Counters().SDUsIn)
		}
		require.NoError(rt, errors.Join(a.Err(), b.Err()))
	})
}
