package chainsync_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/rig"
)

// A server bears 300 queued requests and answers strictly in order (wire §6).
func TestQueuedRequestsAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := newChain(1, 250)
		x, y := rig.Conns(t, memnet.Link{})
		b := rig.Attach(t, y, neg, chainsync.NodeToNode())
		done := make(chan error, 1)
		go func() { done <- chainsync.Serve(t.Context(), b, chain) }()
		require.NoError(t, mux.WriteSDU(x, mux.Header{Number: chainsync.Number}, bytes.Repeat([]byte{0x81, 0}, 300)))
		go func() {
			for range 49 { // as many again as the chain has not had
				time.Sleep(time.Second)
				chain.change(0, 1)
			}
		}()
		var got []byte
		var scan cbor.Scanner
		answers, awaits := 0, 0
		for answers < 300 {
			_, p, err := mux.ReadSDU(x, mux.MaxPayload)
			require.NoError(t, err)
			got = append(got, p...)
			for {
				n, whole, err := scan.Next(got)
				require.NoError(t, err)
				if !whole {
					break
				}
				switch msg := got[:n]; msg[1] {
				case chainsync.TagAwaitReply:
					awaits++
				case chainsync.TagRollBackward:
					require.Zero(t, answers)
					answers++
				default:
					payload, _, err := chainsync.DecodeRollForward(msg)
					require.NoError(t, err)
					p, number, err := pointOf(payload, chainsync.Headers)
					require.NoError(t, err)
					require.Equal(t, uint64(answers), number)
					require.Equal(t, chain.snapshot()[answers-1], p)
					answers++
				}
				got = got[n:]
			}
		}
		require.Equal(t, 49, awaits, "one for each request at the tip")
		require.NoError(t, mux.WriteSDU(x, mux.Header{Number: chainsync.Number}, []byte{0x81, 7}))
		require.NoError(t, <-done)
		x.Close()
		b.Close()
		synctest.Wait()
	})
}

// Silence in every state: the server's patience in Idle, the client's in the others (wire §5.1).
func TestTimeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		b := rig.Attach(t, y, neg, chainsync.NodeToNode())
		began := time.Now()
		require.ErrorIs(t, chainsync.Serve(t.Context(), b, newChain(1, 3)), protocols.ErrTimedOut)
		e, err := b.Err()
		require.NoError(t, err)
		require.Equal(t, "Idle", e.State)
		require.Equal(t, 3373*time.Second, time.Since(began))
		x.Close()
		b.Close()
	})
	for _, c := range []struct {
		state    string
		say      []byte
		ask      func(ctx context.Context, c *chainsync.Client) error
		min, max time.Duration
		trusted  bool
	}{
		{state: "Next/CanAwait", min: 10 * time.Second, max: 10 * time.Second},
		{state: "Next/MustReply", say: []byte{0x81, 1}, min: 601 * time.Second, max: 911 * time.Second},
		{state: "Intersect", min: 10 * time.Second, max: 10 * time.Second,
			ask: func(ctx context.Context, c *chainsync.Client) error { _, err := c.Tip(ctx); return err }},
		{state: "Next/CanAwait", trusted: true, min: 10 * time.Second, max: 10 * time.Second},
	} {
		t.Run(c.state, func(t *testing.T) {
			far(t, 1, 1, func(t *testing.T, ctx context.Context, client *chainsync.Client, peer *puppet) {
				client.SetTrusted(c.trusted)
				if c.ask == nil {
					c.ask = func(ctx context.Context, c *chainsync.Client) error { _, err := c.Next(ctx); return err }
				}
				if c.say != nil {
					peer.say(c.say)
				}
				began := time.Now()
				var e *protocols.Error
				require.ErrorAs(t, c.ask(ctx, client), &e)
				require.Equal(t, protocols.TimedOut, e.Kind)
				require.Equal(t, c.state, e.State)
				require.Equal(t, "network", e.Fault())
				require.GreaterOrEqual(t, time.Since(began), c.min)
				require.LessOrEqual(t, time.Since(began), c.max)
			})
		})
	}
}

// The wait at the tip is drawn anew each time, over the whole range; for a trusted peer it has no limit.
func TestMustReplyLimit(t *testing.T) {
	early, late := false, false
	for range 40 {
		far(t, 1, 1, func(t *testing.T, ctx context.Context, client *chainsync.Client, peer *puppet) {
			peer.say([]byte{0x81, 1})
			began := time.Now()
			_, err := client.Next(ctx)
			require.ErrorIs(t, err, protocols.ErrTimedOut)
			early = early || time.Since(began) < 756*time.Second
			late = late || time.Since(began) > 756*time.Second
		})
	}
	require.True(t, early && late)
	far(t, 1, 1, func(t *testing.T, ctx context.Context, client *chainsync.Client, peer *puppet) {
		client.SetTrusted(true)
		peer.say([]byte{0x81, 1})
		ctx, cancel := context.WithTimeout(ctx, 24*time.Hour)
		defer cancel()
		_, err := client.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A message of exactly 65,535 bytes is fine in every state, one byte more is not.
func TestByteLimits(t *testing.T) {
	payload := func(size int) []byte { // of a RollForward that has size bytes in all
		tip := chainsync.Tip{}
		inner := size - 2 - 3 - 3
		p := append([]byte{0x59, byte(inner >> 8), byte(inner)}, make([]byte, inner)...)
		msg := chainsync.AppendRollForward(nil, p, tip)
		if len(msg) != size {
			panic(len(msg))
		}
		return msg
	}
	for _, prefix := range [][]byte{nil, {0x81, 1}} {
		for size, ok := range map[int]bool{65_535: true, 65_536: false} {
			far(t, 1, 1, func(t *testing.T, ctx context.Context, client *chainsync.Client, peer *puppet) {
				p := append(prefix[:len(prefix):len(prefix)], payload(size)...)
				peer.say(p[:40_000])
				peer.say(p[40_000:])
				ev, err := client.Next(ctx)
				if ok {
					require.NoError(t, err)
					require.Equal(t, chainsync.Forward, ev.Kind)
				} else {
					require.ErrorIs(t, err, protocols.ErrTooLarge)
				}
			})
		}
	}
}

// Node-to-client: whole blocks on number 5, without limits of time.
func TestNodeToClientForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := protocols.Negotiated{Version: 23, NodeToClient: true}
		a, b := rig.Pair(t, memnet.Link{}, local, chainsync.NodeToClient())
		chain := newChain(2, 500)
		done := make(chan error, 1)
		go func() { done <- chainsync.Serve(t.Context(), b, chain) }()
		c := chainsync.NewClient(a)
		f := &follower{}
		for len(f.points) < 500 {
			ev, err := c.Next(t.Context())
			require.NoError(t, err)
			f.take(t, ev, chainsync.Blocks)
		}
		time.AfterFunc(24*time.Hour, func() { chain.change(3, 4) })
		for len(f.points) != 501 {
			ev, err := c.Next(t.Context())
			require.NoError(t, err)
			f.take(t, ev, chainsync.Blocks)
		}
		require.LessOrEqual(t, chainsync.Outstanding(c), 1)
		require.NoError(t, a.Mux.Err())
		a.Close()
		b.Close()
		<-done
		synctest.Wait()
	})
}
