package handshake_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/connmgr/memnet"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
	"github.com/hearthnet/hearth/protocols/internal/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func offer(magic uint32, versions ...uint16) handshake.Proposal {
	return handshake.Proposal{Versions: versions, Data: handshake.Data{Magic: magic}}
}

type outcome struct {
	res handshake.Result
	neg protocols.Negotiated
	err error
}

// meet runs both sides over an in-memory connection.
func meet(t *testing.T, a, b handshake.Proposal) (client, server outcome) {
	x, y := rig.Conns(t, memnet.Link{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.neg, server.err = handshake.Respond(t.Context(), y, b)
		if server.err != nil {
			y.Close()
		}
	}()
	client.res, client.err = handshake.Initiate(t.Context(), x, a)
	if client.err != nil || client.res.Supported != nil {
		x.Close()
	}
	<-done
	x.Close()
	y.Close()
	return client, server
}

func drawProposal(rt *rapid.T, name string, ntc bool) handshake.Proposal {
	lo, hi := 14, 16
	if ntc {
		lo, hi = 16, 23
	}
	vs := rapid.SliceOfNDistinct(rapid.Uint16Range(uint16(lo), uint16(hi)), 1, -1, rapid.ID).Draw(rt, name+" versions")
	return handshake.Proposal{NodeToClient: ntc, Versions: vs, Data: handshake.Data{
		Magic:         rapid.Uint32Range(1, 2).Draw(rt, name+" magic"),
		InitiatorOnly: rapid.Bool().Draw(rt, name+" initiator only"),
		PeerSharing:   rapid.Bool().Draw(rt, name+" peer sharing"),
		Peras:         rapid.Bool().Draw(rt, name+" peras"),
	}}
}

// The two ends never disagree: both come to the same parameters or both fail, also when the sides are swapped
// (prop_channel, prop_acceptable_symmetric, prop_acceptOrRefuse_symmetric, prop_peerSharing_symmetric).
func TestPropChannelAndSymmetry(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ntc := rapid.Bool().Draw(rt, "node-to-client")
		a, b := drawProposal(rt, "a", ntc), drawProposal(rt, "b", ntc)
		ok := false
		synctest.Test(t, func(t *testing.T) {
			c1, s1 := meet(t, a, b)
			c2, s2 := meet(t, b, a)
			require.Equal(t, c1.err == nil, s1.err == nil, "%v and %v", c1.err, s1.err)
			require.Equal(t, c1.err == nil, c2.err == nil, "%v and %v", c1.err, c2.err)
			if c1.err == nil {
				require.Equal(t, c1.res.Negotiated, s1.neg)
				require.Equal(t, s1.neg, s2.neg)
				require.Equal(t, c1.res.Negotiated, c2.res.Negotiated)
				require.Equal(t, !ntc && a.Data.PeerSharing && b.Data.PeerSharing, s1.neg.PeerSharing)
				require.Equal(t, ntc || a.Data.InitiatorOnly || b.Data.InitiatorOnly, s1.neg.InitiatorOnly || ntc)
			} else {
				var mine, theirs *handshake.Refusal
				require.ErrorAs(t, c1.err, &mine, "a refusal is delivered")
				require.ErrorAs(t, s1.err, &theirs)
				require.Equal(t, theirs.Reason, mine.Reason)
				require.Equal(t, theirs.Versions, mine.Versions)
			}
			ok = true
		})
		if !ok {
			rt.Fatal("see above")
		}
	})
}

// A proposal and an answer that come in any two segments, or one byte at a time, mean the same (prop_channel over every segmentation).
func TestPropChannelEverySegmentation(t *testing.T) {
	a, b := offer(2, 14, 15), offer(2, 14, 15, 16)
	proposal := a.Append(nil)
	reply, err := handshake.Negotiate(b, proposal)
	require.NoError(t, err)
	split := func(msg []byte, at int) [][]byte {
		if at > 0 && at < len(msg) {
			return [][]byte{msg[:at], msg[at:]}
		}
		var each [][]byte
		for i := range msg {
			each = append(each, msg[i:i+1])
		}
		return each
	}
	for at := range len(proposal) {
		x, y := net.Pipe()
		go func() {
			for _, p := range split(proposal, at) {
				_ = mux.WriteSDU(x, mux.Header{}, p)
			}
			_, _, _ = mux.ReadSDU(x, mux.MaxPayload)
		}()
		neg, err := handshake.Respond(t.Context(), y, b)
		require.NoError(t, err, "split at %d", at)
		require.Equal(t, uint16(15), neg.Version)
		x.Close()
		y.Close()
	}
	for at := range len(reply.Message) {
		x, y := net.Pipe()
		go func() {
			_, _, _ = mux.ReadSDU(x, mux.MaxPayload)
			for i, p := range split(reply.Message, at) {
				_ = mux.WriteSDU(x, mux.Header{From: mux.Role(i&1 ^ 1)}, p) // in Confirm both directions are right
			}
		}()
		res, err := handshake.Initiate(t.Context(), y, a)
		require.NoError(t, err, "split at %d", at)
		require.Equal(t, uint16(15), res.Negotiated.Version)
		x.Close()
		y.Close()
	}
}

// Nothing behind the answer is read: it is the multiplexer's.
func TestNothingIsReadBeyondTheHandshake(t *testing.T) {
	x, y := rig.Conns(t, memnet.Link{})
	defer x.Close()
	defer y.Close()
	p := offer(2, 15)
	require.NoError(t, mux.WriteSDU(x, mux.Header{}, p.Append(nil)))
	_, err := x.Write([]byte("what follows"))
	require.NoError(t, err)
	_, err = handshake.Respond(t.Context(), y, p)
	require.NoError(t, err)
	rest := make([]byte, 12)
	_, err = io.ReadFull(y, rest)
	require.NoError(t, err)
	require.Equal(t, "what follows", string(rest))
}

// Both ends dial: both propose, and both pick the same (prop_channel_simultaneous_open).
func TestPropSimultaneousOpen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawProposal(rt, "a", false), drawProposal(rt, "b", false)
		a.Data.Query = rapid.Bool().Draw(rt, "query") // ignored on this path
		ok := false
		synctest.Test(t, func(t *testing.T) {
			x, y := rig.Conns(t, memnet.Link{})
			done := make(chan outcome)
			go func() {
				res, err := handshake.Initiate(t.Context(), y, b)
				done <- outcome{res: res, err: err}
			}()
			res, err := handshake.Initiate(t.Context(), x, a)
			other := <-done
			require.Equal(t, err == nil, other.err == nil, "%v and %v", err, other.err)
			if err == nil {
				require.True(t, res.Simultaneous && other.res.Simultaneous)
				require.Equal(t, res.Negotiated, other.res.Negotiated)
			}
			x.Close()
			y.Close()
			ok = true
		})
		if !ok {
			rt.Fatal("see above")
		}
	})
}

// prop_query_version: the whole table comes back, and the responder waits for the other side to close.
func TestPropQueryVersion(t *testing.T) {
	for _, ntc := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			all := handshake.NodeToNodeVersions()
			if ntc {
				all = handshake.NodeToClientVersions()
			}
			b := handshake.Proposal{NodeToClient: ntc, Versions: all, Data: handshake.Data{Magic: 2, PeerSharing: true}}
			a := handshake.Proposal{NodeToClient: ntc, Versions: all[:1], Data: handshake.Data{Magic: 2, Query: true}}
			began := time.Now()
			client, server := meet(t, a, b)
			require.NoError(t, client.err)
			require.Len(t, client.res.Supported, len(all))
			require.ErrorIs(t, server.err, handshake.ErrQueried)
			require.Zero(t, time.Since(began), "the client has closed")
			a.Data.Magic = 3
			client, server = meet(t, a, b)
			var r *handshake.Refusal
			require.ErrorAs(t, client.err, &r, "a query of another network is refused")
			require.ErrorAs(t, server.err, &r)
		})
	}
}

// After a refusal the responder waits 2 s, after a query 20 s, for a client that does not close; a context cuts that short.
func TestLinger(t *testing.T) {
	for _, c := range []struct {
		query bool
		magic uint32
		wait  time.Duration
	}{{false, 3, 2 * time.Second}, {true, 2, 20 * time.Second}} {
		for _, cut := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				x, y := rig.Conns(t, memnet.Link{})
				a := offer(c.magic, 15)
				a.Data.Query = c.query
				require.NoError(t, mux.WriteSDU(x, mux.Header{}, a.Append(nil)))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				want := c.wait
				if cut {
					want = time.Second
					time.AfterFunc(time.Second, cancel)
				}
				began := time.Now()
				_, err := handshake.Respond(ctx, y, offer(2, 15))
				require.Error(t, err)
				require.NotErrorIs(t, err, context.Canceled)
				require.Equal(t, want, time.Since(began))
				_, p, err := mux.ReadSDU(x, mux.MaxPayload)
				require.NoError(t, err)
				require.NotEmpty(t, p)
				_, err = x.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
				x.Close()
				y.Close()
				synctest.Wait()
			})
		}
	}
}

// Silence for 10 s in either state ends a handshake of either family; a context ends it at once.
func TestTimeLimits(t *testing.T) {
	for _, ntc := range []bool{false, true} {
		p := handshake.Proposal{NodeToClient: ntc, Versions: []uint16{16}, Data: handshake.Data{Magic: 2}}
		sides := map[string]func(ctx context.Context, conn net.Conn) error{
			"Propose": func(ctx context.Context, conn net.Conn) error { _, err := handshake.Respond(ctx, conn, p); return err },
			"Confirm": func(ctx context.Context, conn net.Conn) error { _, err := handshake.Initiate(ctx, conn, p); return err },
		}
		for state, side := range sides {
			for _, partial := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					x, y := rig.Conns(t, memnet.Link{})
					if partial {
						require.NoError(t, mux.WriteSDU(x, mux.Header{From: mux.Initiator}, []byte{0x82}))
					}
					began := time.Now()
					err := side(t.Context(), y)
					var e *protocols.Error
					require.ErrorAs(t, err, &e)
					require.Equal(t, protocols.TimedOut, e.Kind)
					require.Equal(t, state, e.State)
					require.Equal(t, "network", e.Fault())
					require.Equal(t, 10*time.Second, time.Since(began))

					ctx, cancel := context.WithCancelCause(t.Context())
					enough := errors.New("enough")
					time.AfterFunc(3*time.Second, func() { cancel(enough) })
					began = time.Now()
					require.ErrorIs(t, side(ctx, y), enough)
					require.Equal(t, 3*time.Second, time.Since(began))
					x.Close()
					y.Close()
					synctest.Wait()
				})
			}
		}
	}
}

// A peer that hangs up in the middle, or resets as the reference does after a refusal, is an ordinary failure.
func TestResetInConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := rig.Conns(t, memnet.Link{})
		time.AfterFunc(time.Second, func() { x.(*memnet.Conn).Reset() })
		_, err := handshake.Initiate(t.Context(), y, offer(2, 15))
		var e *mux.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, mux.BearerFailed, e.Kind)
		require.Equal(t, "network", e.Fault())
		y.Close()
		x, y = rig.Conns(t, memnet.Link{})
		go mux.ReadSDU(x, mux.MaxPayload) // unread bytes would make the close a reset
		time.AfterFunc(time.Second, func() { x.Close() })
		_, err = handshake.Initiate(t.Context(), y, offer(2, 15))
		require.ErrorIs(t, err, mux.ErrBearerClosed)
		require.ErrorIs(t, err, io.EOF)
		y.Close()
	})
}
