package chainsync_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/rig"
)

var neg = protocols.Negotiated{Version: 15, Magic: 1}

// served runs f with a client whose peer serves src.
func served(t *testing.T, link memnet.Link, src chainsync.Source, f func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Pair(t, link, neg, chainsync.NodeToNode())
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- chainsync.Serve(ctx, b, src) }()
		f(t, ctx, chainsync.NewClient(a), a, b)
		a.Close()
		b.Close()
		<-done
		synctest.Wait()
	})
}

// propChainSync: whatever the chain does meanwhile, the client ends with the server's chain, and never has more requests under
// way than the high mark.
func propChainSync(t *testing.T, marks func(rt *rapid.T) (low, high int)) {
	rapid.Check(t, func(rt *rapid.T) {
		low, high := marks(rt)
		seed := rapid.Uint64().Draw(rt, "seed")
		n := rapid.IntRange(0, 500).Draw(rt, "blocks")
		latency := time.Duration(rapid.IntRange(0, 300).Draw(rt, "latency")) * time.Millisecond
		changes := rapid.SliceOfN(rapid.IntRange(0, 30), 0, 12).Draw(rt, "changes")
		opaque := rapid.Bool().Draw(rt, "opaque")
		ok := false
		chain := newChain(seed, n)
		chain.opaque = opaque
		served(t, memnet.Link{Latency: latency}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
			c.SetMarks(low, high)
			changed := make(chan struct{})
			go func() {
				defer close(changed)
				rnd := rand.New(rand.NewPCG(seed, 9))
				for _, k := range changes {
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
					chain.change(rnd.IntN(k+1), k)
				}
			}()
			f := &follower{}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() { // a while after the last change everything has arrived
				<-changed
				time.Sleep(10 * time.Minute)
				cancel()
			}()
			for ev, err := range c.Follow(ctx, nil) {
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					break
				}
				f.take(t, ev, chainsync.Headers)
				require.LessOrEqual(t, chainsync.Outstanding(c), high)
			}
			require.True(t, slices.Equal(chain.snapshot(), f.points), "%d blocks of %d", len(f.points), len(chain.snapshot()))
			ok = true
		})
		if !ok {
			rt.Fatal("see above")
		}
	})
}

func TestPropChainSyncPipelinedMin(t *testing.T) {
	propChainSync(t, func(*rapid.T) (int, int) { return 1, 1 })
}

func TestPropChainSyncPipelinedMax(t *testing.T) {
	propChainSync(t, func(rt *rapid.T) (int, int) {
		n := rapid.IntRange(1, 300).Draw(rt, "max")
		return n, n
	})
}

func TestPropChainSyncPipelinedLowHigh(t *testing.T) {
	propChainSync(t, func(rt *rapid.T) (int, int) {
		low := rapid.IntRange(1, 200).Draw(rt, "low")
		return low, rapid.IntRange(low, 300).Draw(rt, "high")
	})
}

// At the peer's tip there is exactly one request under way, wherever the client started, and whatever it has been through.
func TestOneRequestAtTheTip(t *testing.T) {
	for _, behind := range []int{0, 1, 3, 150, 400, 1000} {
		t.Run(fmt.Sprint(behind, " behind"), func(t *testing.T) {
			chain := newChain(1, 1000)
			served(t, memnet.Link{Latency: 10 * time.Millisecond}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
				from := chainsync.Origin
				if behind < 1000 {
					from = chain.snapshot()[999-behind]
				}
				_, _, err := c.FindIntersect(ctx, []chainsync.Point{from})
				require.NoError(t, err)
				f := &follower{points: slices.Clone(chain.snapshot()[:1000-behind])}
				reach := func() {
					t.Helper()
					for !slices.Equal(f.points, chain.snapshot()) || f.rollbacks == 0 {
						ev, err := c.Next(ctx)
						require.NoError(t, err)
						f.take(t, ev, chainsync.Headers)
					}
					soon, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					_, err := c.Next(soon)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, 1, chainsync.Outstanding(c))
				}
				reach()
				for range 5 {
					chain.change(0, 1)
					reach()
				}
				chain.change(5, 8)
				reach()
				chain.change(0, 50)
				reach()
			})
		})
	}
}

// far runs f with a client that is far from the tip of a peer that the test plays: its requests arrive in asked.
func far(t *testing.T, low, high int, f func(t *testing.T, ctx context.Context, c *chainsync.Client, peer *puppet)) {
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		a := rig.Attach(t, x, neg, chainsync.NodeToNode())
		peer := &puppet{T: t, conn: y}
		go peer.read()
		c := chainsync.NewClient(a)
		c.SetMarks(low, high)
		f(t, t.Context(), c, peer)
		y.Close()
		a.Close()
		synctest.Wait()
	})
}

// puppet is a peer played by the test.
type puppet struct {
	*testing.T
	conn   net.Conn
	got    []byte
	asked  int // RequestNext received
	cursor testCursor
}

func (p *puppet) read() {
	for {
		_, b, err := mux.ReadSDU(p.conn, mux.MaxPayload)
		if err != nil {
			return
		}
		p.got = append(p.got, b...)
		p.asked = len(p.got) / 2
	}
}

func (p *puppet) say(msg []byte) {
	p.Helper()
	require.NoError(p, mux.WriteSDU(p.conn, mux.Header{Number: chainsync.Number, From: mux.Responder}, msg))
}

func (p *puppet) forward(number uint64, tip uint64) {
	p.Helper()
	p.cursor.c = &testChain{}
	pt := chainsync.Point{Slot: number, Hash: [32]byte{1}}
	p.say(chainsync.AppendRollForward(nil, p.cursor.payload(number, pt), chainsync.Tip{Point: chainsync.Point{Slot: tip, Hash: [32]byte{2}}, Block: tip}))
}

// Sliding, not bursty: while the peer is far ahead, what it has been asked for and not answered never falls below the low
// mark, as it sees it, nor rises above the high one; also while the client works through answers that have arrived together.
func TestPipelineSlides(t *testing.T) {
	for _, marks := range [][2]int{{200, 300}, {1, 1}, {1, 10}, {10, 10}, {5, 6}} {
		low, high := marks[0], marks[1]
		t.Run(fmt.Sprint(low, high), func(t *testing.T) {
			far(t, low, high, func(t *testing.T, ctx context.Context, c *chainsync.Client, peer *puppet) {
				sent := 0
				answer := func(n int) {
					for range n {
						sent++
						peer.forward(uint64(sent), 1_000_000)
					}
				}
				next := func() {
					_, err := c.Next(ctx)
					require.NoError(t, err)
				}
				first := make(chan struct{})
				go func() { next(); close(first) }()
				synctest.Wait()
				require.Equal(t, 1, peer.asked, "nothing is known of the peer yet")
				answer(1)
				<-first
				for taken := 1; taken < 3000; {
					second := make(chan struct{})
					go func() { next(); close(second) }()
					synctest.Wait()
					require.LessOrEqual(t, peer.asked-taken, high)
					require.GreaterOrEqual(t, peer.asked-taken, low)
					batch := max(1, (peer.asked-sent)/2)
					answer(batch)
					<-second
					taken++
					synctest.Wait()
					for range batch - 1 { // these lie there
						next()
						taken++
						synctest.Wait()
						require.LessOrEqual(t, peer.asked-taken, high)
						require.GreaterOrEqual(t, peer.asked-taken, low-1, "after %d", taken) // the next call makes up for it
					}
				}
			})
		})
	}
}

// A server that answers as it is asked, with a client that takes its time: the server always has requests to go on with.
func TestPeerNeverStarves(t *testing.T) {
	far(t, 20, 30, func(t *testing.T, ctx context.Context, c *chainsync.Client, peer *puppet) {
		first := make(chan error, 1)
		go func() { _, err := c.Next(ctx); first <- err }()
		synctest.Wait()
		peer.forward(1, 1_000_000)
		require.NoError(t, <-first)
		go func() { _, err := c.Next(ctx); first <- err }()
		synctest.Wait()
		peer.forward(2, 1_000_000)
		require.NoError(t, <-first)
		sent := 2
		for range 200 {
			for sent < peer.asked {
				sent++
				peer.forward(uint64(sent), 1_000_000)
			}
			synctest.Wait()
			before := peer.asked
			for range 15 { // the marks' distance and a half: it must have asked again meanwhile
				_, err := c.Next(ctx)
				require.NoError(t, err)
				synctest.Wait()
			}
			require.Greater(t, peer.asked, before)
		}
	})
}

func TestFirstAnswerIsARollBack(t *testing.T) {
	chain := newChain(3, 20)
	served(t, memnet.Link{}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		ev, err := c.Next(ctx) // without FindIntersect: to the origin
		require.NoError(t, err)
		require.Equal(t, chainsync.Backward, ev.Kind)
		require.True(t, ev.Point.IsOrigin())
		require.Equal(t, chain.tip(), ev.Tip)
		pts := chain.snapshot()
		at, tip, err := c.FindIntersect(ctx, []chainsync.Point{{Slot: 5, Hash: [32]byte{9}}, pts[12], pts[15], chainsync.Origin})
		require.NoError(t, err)
		require.Equal(t, pts[12], at, "the first of the list that is on the chain")
		require.Equal(t, chain.tip(), tip)
		ev, err = c.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, chainsync.Backward, ev.Kind)
		require.Equal(t, pts[12], ev.Point)
		ev, err = c.Next(ctx)
		require.NoError(t, err)
		p, number, err := pointOf(ev.Payload, chainsync.Headers)
		require.NoError(t, err)
		require.Equal(t, pts[13], p)
		require.Equal(t, uint64(14), number)
	})
}

// IntersectNotFound and the tip probe leave the client where it was, with nothing lost, even when requests were under way.
func TestProbesChangeNothing(t *testing.T) {
	chain := newChain(4, 700)
	served(t, memnet.Link{Latency: time.Millisecond}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		tip, err := c.Tip(ctx)
		require.NoError(t, err)
		require.Equal(t, chain.tip(), tip)
		f := &follower{}
		for i := 0; len(f.points) < 700; i++ {
			ev, err := c.Next(ctx)
			require.NoError(t, err)
			f.take(t, ev, chainsync.Headers)
			switch {
			case len(f.points) > 690: // few enough that it would be the chain's next change that answers
			case i%50 == 3:
				tip, err = c.Tip(ctx)
				require.NoError(t, err)
				require.Equal(t, chain.tip(), tip)
			case i%50 == 30:
				_, tip, err = c.FindIntersect(ctx, []chainsync.Point{{Slot: 77, Hash: [32]byte{1}}})
				var none *chainsync.NoIntersectionError
				require.ErrorAs(t, err, &none)
				require.Equal(t, chain.tip(), none.Tip)
				require.Equal(t, "benign", none.Fault())
				_ = tip
			}
		}
		require.True(t, slices.Equal(chain.snapshot(), f.points))
	})
}

// Leaving the loop and following again starts at the new point.
func TestFollowAgain(t *testing.T) {
	chain := newChain(5, 900)
	served(t, memnet.Link{Latency: time.Millisecond}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		for _, from := range []int{0, 500, 100, 880} {
			want := chain.snapshot()[from]
			i := 0
			for ev, err := range c.Follow(ctx, []chainsync.Point{want}) {
				require.NoError(t, err)
				if i == 0 {
					require.Equal(t, want, ev.Point)
				} else {
					p, _, err := pointOf(ev.Payload, chainsync.Headers)
					require.NoError(t, err)
					require.Equal(t, chain.snapshot()[from+i], p)
				}
				if i++; i == 10 {
					break
				}
			}
		}
	})
}

func TestRollBackIsReported(t *testing.T) {
	chain := newChain(6, 30)
	served(t, memnet.Link{}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		f := &follower{}
		for ev, err := range c.Follow(ctx, nil) {
			require.NoError(t, err)
			f.take(t, ev, chainsync.Headers)
			if len(f.points) == 30 && f.rollbacks == 1 {
				chain.change(5, 6)
			}
			if f.rollbacks == 2 && ev.Kind == chainsync.Backward {
				require.Equal(t, chain.snapshot()[24], ev.Point)
				require.Equal(t, chain.tip(), ev.Tip)
			}
			if len(f.points) == 31 {
				break
			}
		}
		require.True(t, slices.Equal(chain.snapshot(), f.points))
	})
}

// A point that a server says it found and that was not asked for is a lie.
func TestIntersectionThatWasNotAskedFor(t *testing.T) {
	far(t, 1, 1, func(t *testing.T, ctx context.Context, c *chainsync.Client, peer *puppet) {
		peer.say(chainsync.AppendIntersectFound(nil, chainsync.Point{Slot: 3, Hash: [32]byte{3}}, chainsync.Tip{}))
		_, _, err := c.FindIntersect(ctx, []chainsync.Point{{Slot: 3, Hash: [32]byte{4}}})
		require.ErrorIs(t, err, protocols.ErrViolation)
		require.ErrorContains(t, err, "was not asked for")
	})
}

// More points than a message has room for are refused here, not by the peer.
func TestTooManyPoints(t *testing.T) {
	chain := newChain(6, 30)
	served(t, memnet.Link{}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		many := make([]chainsync.Point, 2000)
		for i := range many {
			many[i] = chainsync.Point{Slot: 1 << 40, Hash: [32]byte{1, byte(i), byte(i >> 8)}}
		}
		_, _, err := c.FindIntersect(ctx, many)
		require.ErrorIs(t, err, protocols.ErrTooLarge)
		_, _, err = c.FindIntersect(ctx, make([]chainsync.Point, chainsync.MaxPoints+1))
		require.Error(t, err)
		_, _, err = c.FindIntersect(ctx, many[:1000])
		var none *chainsync.NoIntersectionError
		require.ErrorAs(t, err, &none)
	})
}

// N12: a second AwaitReply in a row.
func TestN12SecondAwaitReply(t *testing.T) {
	far(t, 1, 1, func(t *testing.T, ctx context.Context, c *chainsync.Client, peer *puppet) {
		peer.say([]byte{0x81, 0x01, 0x81, 0x01})
		_, err := c.Next(ctx)
		var e *protocols.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, protocols.Unexpected, e.Kind)
		require.Equal(t, "Next/MustReply", e.State)
		require.Equal(t, "adversarial", e.Fault())
	})
}

// A caller that gives up at the tip and comes back asks for nothing more.
func TestNextAgainAfterItsContextEnded(t *testing.T) {
	chain := newChain(8, 40)
	served(t, memnet.Link{}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		f := &follower{}
		for len(f.points) < 40 {
			ev, err := c.Next(ctx)
			require.NoError(t, err)
			f.take(t, ev, chainsync.Headers)
		}
		for range 5 {
			soon, cancel := context.WithTimeout(ctx, time.Second)
			_, err := c.Next(soon)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 1, chainsync.Outstanding(c))
		}
		chain.change(0, 1)
		ev, err := c.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, chain.tip(), ev.Tip)
	})
}

func TestFinish(t *testing.T) {
	chain := newChain(9, 400)
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Pair(t, memnet.Link{}, neg, chainsync.NodeToNode())
		for run := range 3 { // the stream can be used again, by both ends
			done := make(chan error, 1)
			go func() { done <- chainsync.Serve(t.Context(), b, chain) }()
			c := chainsync.NewClient(a)
			require.NoError(t, c.Finish(t.Context()), "never used")
			for range 50 {
				_, err := c.Next(t.Context())
				require.NoError(t, err)
			}
			require.NoError(t, c.Finish(t.Context()))
			require.NoError(t, <-done)
			require.Equal(t, run+1, chain.closed)
		}
		require.NoError(t, a.Mux.Err())
		a.Close()
		b.Close()
		synctest.Wait()
	})
}

// The form that a host starts on promotion: it sees Terminate and says Done.
func TestInitiatorTerminates(t *testing.T) {
	chain := newChain(10, 100)
	synctest.Test(t, func(t *testing.T) {
		a, b := rig.Pair(t, memnet.Link{}, neg, chainsync.NodeToNode())
		done := make(chan error, 2)
		go func() { done <- chainsync.Serve(t.Context(), b, chain) }()
		mp := chainsync.Initiator(func(ctx context.Context, c *chainsync.Client) error {
			for range 30 {
				if _, err := c.Next(ctx); err != nil {
					return err
				}
			}
			if err := c.Finish(ctx); err != nil {
				return err
			}
			_, err := c.Next(ctx)
			require.Error(t, err, "it has been finished")
			return nil
		})
		s, err := a.Open(mp, mux.Initiator)
		require.NoError(t, err)
		require.NoError(t, s.Run(t.Context(), mp.Initiate))
		require.NoError(t, <-done)
		a.Close()
		b.Close()
		synctest.Wait()
	})
}

func TestSourceErrorEndsTheConnection(t *testing.T) {
	chain := newChain(11, 5)
	chain.broken = errors.New("disk on fire")
	served(t, memnet.Link{}, chain, func(t *testing.T, ctx context.Context, c *chainsync.Client, a, b *rig.End) {
		for range 6 {
			_, err := c.Next(ctx)
			require.NoError(t, err)
		}
		_, err := c.Next(ctx)
		require.Error(t, err)
		e, err := b.Err()
		require.NoError(t, err)
		require.ErrorIs(t, e, chain.broken)
		require.Equal(t, "chain-sync", e.Protocol)
		require.True(t, e.Local)
	})
}
