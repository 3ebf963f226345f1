package localstatequery_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	lsq "github.com/hearthnet/hearth/protocols/localstatequery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger holds states at even slots and tells them, and counts those that are held.
type ledger struct{ held atomic.Int64 }

var (
	errGone = errors.New("ledger is gone")
	goneAt  = chainsync.Point{Slot: 1000, Hash: [32]byte{1}}
)

func at(slot uint64) lsq.Target { return lsq.At(chainsync.Point{Slot: slot, Hash: [32]byte{2}}) }

func (l *ledger) Acquire(_ context.Context, t lsq.Target) (lsq.State, error) {
	s := &state{l: l, slot: t.Point.Slot}
	switch {
	case t.Kind == lsq.Volatile:
		s.slot = 900
	case t.Kind == lsq.Immutable:
		s.slot = 800
	case t.Point == goneAt:
		return nil, errGone
	case t.Point.Slot < 10:
		return nil, lsq.PointTooOld
	case t.Point.Slot%2 == 1:
		return nil, lsq.PointNotOnChain
	}
	l.held.Add(1)
	return s, nil
}

type state struct {
	l        *ledger
	slot     uint64
	released bool
}

func (s *state) Release() {
	if s.released {
		panic("released twice")
	}
	s.released = true
	s.l.held.Add(-1)
}

// Query answers [slot, query].
func (s *state) Query(_ context.Context, query []byte) ([]byte, error) {
	if s.released {
		return nil, errors.New("asked after its release")
	}
	return append(cbor.AppendUint(cbor.AppendArray(nil, 2), s.slot), query...), nil
}

func serve(t *testing.T) (l *ledger, addr string, conns <-chan *connmgr.Conn) {
	l = &ledger{}
	addr, conns = rawpeer.Serve(t, true, connmgr.Serve(lsq.Responder(l)))
	return l, addr, conns
}

// TestEveryTarget: acquired, asked, re-acquired, refused, released; a state is held exactly as long as it should be.
func TestEveryTarget(t *testing.T) {
	l, addr, _ := serve(t)
	conn := rawpeer.Dial(t, addr, true)
	ctx := rawpeer.Context(t)
	query := []byte{0x81, 7}
	for range 2 { // Done in between
		c := lsq.NewClient(conn)
		for target, want := range map[lsq.Target]uint64{{}: 900, {Kind: lsq.Immutable}: 800, at(20): 20} {
			require.NoError(t, c.Acquire(ctx, target)) // the second and third are ReAcquire
			got, err := c.Query(ctx, query)
			require.NoError(t, err)
			require.Equal(t, append(cbor.AppendUint(cbor.AppendArray(nil, 2), want), query...), got)
			require.Equal(t, int64(1), l.held.Load())
		}
		require.ErrorIs(t, c.Acquire(ctx, at(21)), lsq.PointNotOnChain)
		require.Zero(t, l.held.Load(), "a failed ReAcquire is a Release")
		_, err := c.Query(ctx, query)
		require.Error(t, err, "nothing is held")
		require.ErrorIs(t, c.Acquire(ctx, at(2)), lsq.PointTooOld)
		require.NoError(t, c.Acquire(ctx, at(22)))
		require.NoError(t, c.Release(ctx))
		require.NoError(t, c.Acquire(ctx, lsq.Target{}))
		require.NoError(t, c.Finish(ctx), "releases")
	}
	rawpeer.Alive(t, conn)
	require.NoError(t, conn.Close())
}

// TestReleasedWhenTheClientGoes without a word.
func TestReleasedWhenTheClientGoes(t *testing.T) {
	l, addr, conns := serve(t)
	conn := rawpeer.Dial(t, addr, true)
	require.NoError(t, lsq.NewClient(conn).Acquire(rawpeer.Context(t), lsq.Target{}))
	require.Equal(t, int64(1), l.held.Load())
	conn.Abort(errors.New("away"))
	server := <-conns
	require.Error(t, server.Wait(rawpeer.Context(t)))
	server.Close() // waits for the responder
	require.Zero(t, l.held.Load())
}

func TestHostErrorEndsTheConnection(t *testing.T) {
	_, addr, conns := serve(t)
	require.Error(t, lsq.NewClient(rawpeer.Dial(t, addr, true)).Acquire(rawpeer.Context(t), lsq.At(goneAt)))
	err := (<-conns).Wait(rawpeer.Context(t))
	require.ErrorIs(t, err, errGone)
	var e *protocols.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "internal", e.Fault())
}

func TestHostileClients(t *testing.T) {
	acquire := lsq.AppendAcquire(nil, lsq.Target{})
	for name, c := range map[string]struct {
		say  [][]byte
		kind protocols.ErrorKind
	}{
		"a query with nothing acquired": {[][]byte{lsq.AppendQuery(nil, []byte{0})}, protocols.Unexpected},
		"Release with nothing acquired": {[][]byte{lsq.AppendRelease(nil)}, protocols.Unexpected},
		"ReAcquire first":               {[][]byte{lsq.AppendReAcquire(nil, lsq.Target{})}, protocols.Unexpected},
		"Acquire twice":                 {[][]byte{acquire, acquire}, protocols.Unexpected},
		"Done while acquired":           {[][]byte{acquire, lsq.AppendDone(nil)}, protocols.Unexpected},
		"answers itself":                {[][]byte{acquire, lsq.AppendAcquired(nil)}, protocols.Unexpected},
		"a point that is none":          {[][]byte{{0x82, lsq.TagAcquirePoint, 0x81, 0}}, protocols.Violation},
		"no CBOR":                       {[][]byte{acquire, {0x82, lsq.TagQuery, 0xff}}, protocols.Malformed},
		"more than 4 MiB":               {[][]byte{acquire, append([]byte{0x82, lsq.TagQuery, 0x5a, 0, 0x50, 0, 0}, make([]byte, 5<<20)...)}, protocols.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			l, addr, conns := serve(t)
			unaffected := lsq.NewClient(rawpeer.Dial(t, addr, true))
			<-conns
			p := rawpeer.Connect(t, addr, true, lsq.Number)
			server := <-conns // before it is gone
			for i, m := range c.say {
				if i > 0 {
					require.Equal(t, lsq.AppendAcquired(nil), p.Hear())
				}
				p.Say(m)
			}
			rawpeer.Violated(t, server, c.kind, nil)
			server.Close()
			require.Zero(t, l.held.Load(), "nothing stays held")
			require.NoError(t, unaffected.Acquire(rawpeer.Context(t), at(20)))
		})
	}
}

func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		say  []byte
		kind protocols.ErrorKind
	}{
		"a result":           {lsq.AppendResult(nil, []byte{0}), protocols.Unexpected},
		"an unknown failure": {[]byte{0x82, lsq.TagFailure, 2}, protocols.Violation},
		"a request":          {lsq.AppendAcquire(nil, lsq.Target{}), protocols.Unexpected},
	} {
		t.Run(name, func(t *testing.T) {
			p, conn := rawpeer.Accept(t, true, lsq.Number)
			go func() {
				p.Hear()
				p.Say(c.say)
			}()
			require.Error(t, lsq.NewClient(conn).Acquire(rawpeer.Context(t), at(20)))
			rawpeer.Violated(t, conn, c.kind, nil)
		})
	}
}

func TestOnlyOnNodeToClient(t *testing.T) {
	addr, _ := rawpeer.Serve(t, false)
	require.ErrorIs(t, lsq.NewClient(rawpeer.Dial(t, addr, false)).Acquire(rawpeer.Context(t), at(20)), protocols.ErrUnsupported)
}
