package txsubmission_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// makeTx returns a transaction of about size bytes in its envelope, and its id.
func makeTx(i, size int) (id, tx []byte) {
	body := cbor.AppendBytes(cbor.AppendUint(cbor.AppendArray(nil, 2), uint64(i)), make([]byte, size))
	tx = txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: body})
	id, err := identify(tx)
	if err != nil {
		panic(err)
	}
	return id, tx
}

func identify(tx []byte) ([]byte, error) {
	parsed, err := txsubmission.ParseTx(tx)
	if err != nil {
		return nil, err
	}
	return txsubmission.AppendTxID(nil, txsubmission.TxID{Era: parsed.Era, Hash: sha256.Sum256(parsed.Bytes)}), nil
}

func newPool(limit int) *txsubmission.Memory { return txsubmission.NewMemory(limit, identify) }

func fill(t testing.TB, pool *txsubmission.Memory, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, pool.Add(makeTx(i, 200+i*37%3000)))
	}
}

// until waits for pool to have n transactions.
func until(t testing.TB, pool *txsubmission.Memory, n int) {
	t.Helper()
	ctx := rawpeer.Context(t)
	for {
		changed := pool.Changed()
		if have, _ := pool.Len(); have >= n {
			require.Equal(t, n, have)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			have, _ := pool.Len()
			t.Fatalf("%d transactions of %d", have, n)
		}
	}
}

func sameOrder(t testing.TB, a, b *txsubmission.Memory) {
	t.Helper()
	for x, y := uint64(0), uint64(0); ; {
		e, ok := a.Next(x)
		f, more := b.Next(y)
		require.Equal(t, ok, more)
		if !ok {
			return
		}
		require.Equal(t, e.ID, f.ID)
		require.Equal(t, a.Tx(e.ID), b.Tx(f.ID))
		x, y = e.Ticket, f.Ticket
	}
}

// inbound is a node that takes transactions.
func inbound(t testing.TB, limit int, l txsubmission.Limits) (pool *txsubmission.Memory, in *txsubmission.Inbound, addr string, conns <-chan *connmgr.Conn) {
	pool = newPool(limit)
	in = txsubmission.NewInbound(pool, l)
	addr, conns = rawpeer.Serve(t, false, connmgr.Serve(in.Responder()))
	return pool, in, addr, conns
}

// offer has a connection of ours offer pool for the test's time.
func offer(t testing.TB, addr string, pool txsubmission.Mempool) *connmgr.Conn {
	t.Helper()
	c := rawpeer.Dial(t, addr, false)
	ended := make(chan error, 1)
	go func() { ended <- txsubmission.Offer(context.Background(), c, pool) }()
	t.Cleanup(func() {
		c.Close()
		require.Error(t, <-ended)
	})
	return c
}

func TestTransactionsGoOver(t *testing.T) {
	theirs, in, addr, _ := inbound(t, 1<<30, txsubmission.Limits{})
	ours := newPool(1 << 30)
	fill(t, ours, 0, 300)
	offer(t, addr, ours)
	until(t, theirs, 300)
	fill(t, ours, 300, 600) // while the peer waits for more
	until(t, theirs, 600)
	sameOrder(t, ours, theirs)
	require.Equal(t, 1, in.Counters().Peers)
}

// TestSeveralPeersOneCopy: what three peers offer is taken once, and one that leaves in the middle costs nothing.
func TestSeveralPeersOneCopy(t *testing.T) {
	sink := &counting{Memory: newPool(1 << 30)}
	in := txsubmission.NewInbound(sink, txsubmission.Limits{})
	addr, _ := rawpeer.Serve(t, false, connmgr.Serve(in.Responder()))
	ours := newPool(1 << 30)
	fill(t, ours, 0, 400)
	first := offer(t, addr, ours)
	offer(t, addr, ours)
	offer(t, addr, ours)
	require.Eventually(t, func() bool { n, _ := sink.Len(); return n > 50 }, 20*time.Second, time.Millisecond)
	first.Abort(errors.New("away"))
	until(t, sink.Memory, 400)
	require.Equal(t, int64(400), sink.added.Load(), "each one was handed over once")
}

type counting struct {
	*txsubmission.Memory
	added atomic.Int64
}

func (c *counting) Add(id, tx []byte) error {
	c.added.Add(1)
	return c.Memory.Add(id, tx)
}

// TestDoneOnlyInABlockingWait: told to terminate, the owner announces nothing more and says Done when the peer waits; the stream can
// be used again.
func TestDoneOnlyInABlockingWait(t *testing.T) {
	p, c := rawpeer.Accept(t, false, txsubmission.Number)
	pool := newPool(1 << 20)
	fill(t, pool, 0, 2)
	for range 2 {
		mp := txsubmission.Initiator(pool)
		s, err := c.Open(mp, 0)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background(), mp.Initiate) }()
		require.Equal(t, txsubmission.AppendInit(nil), p.Hear())
		p.Say(txsubmission.AppendRequestTxIDs(nil, true, 0, 1))
		ids, err := txsubmission.DecodeReplyTxIDs(nil, p.Hear(), 1, true)
		require.NoError(t, err)
		require.Len(t, ids, 1)
		s.SetControl(protocols.Terminate)
		p.Say(txsubmission.AppendRequestTxIDs(nil, false, 0, 5))
		ids, err = txsubmission.DecodeReplyTxIDs(nil, p.Hear(), 5, false)
		require.NoError(t, err)
		require.Empty(t, ids, "nothing is announced on the way out")
		p.Say(txsubmission.AppendRequestTxIDs(nil, true, 1, 5))
		require.Equal(t, txsubmission.AppendDone(nil), p.Hear())
		require.NoError(t, <-ended)
	}
	rawpeer.Alive(t, c)
}

// TestTerminateWhileWaiting: the wait for new transactions ends with Done when the owner is told to stop.
func TestTerminateWhileWaiting(t *testing.T) {
	_, in, addr, _ := inbound(t, 1<<20, txsubmission.Limits{})
	c := rawpeer.Dial(t, addr, false)
	mp := txsubmission.Initiator(newPool(1 << 20))
	for range 3 {
		s, err := c.Open(mp, 0)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.Background(), mp.Initiate) }()
		require.Eventually(t, func() bool { return in.Counters().Peers == 1 }, 10*time.Second, time.Millisecond)
		s.SetControl(protocols.Terminate)
		require.NoError(t, <-ended)
		require.Eventually(t, func() bool { return in.Counters().Peers == 0 }, 10*time.Second, time.Millisecond)
	}
	rawpeer.Alive(t, c)
}

func TestSubmit(t *testing.T) {
	theirs, _, addr, _ := inbound(t, 1<<20, txsubmission.Limits{})
	pool := newPool(1 << 20)
	fill(t, pool, 0, 25)
	for _, want := range []int{25, 0} { // the second time the peer has them all
		taken, err := txsubmission.Submit(rawpeer.Context(t), rawpeer.Dial(t, addr, false), pool)
		require.NoError(t, err)
		require.Equal(t, want, taken)
	}
	sameOrder(t, pool, theirs)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, c := rawpeer.Accept(t, false, txsubmission.Number) // a peer that never asks
	_, err := txsubmission.Submit(ctx, c, pool)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestFullMempoolWaits: with no room left nothing new is asked for and nothing that was asked for is dropped.
func TestFullMempoolWaits(t *testing.T) {
	theirs, in, addr, _ := inbound(t, 30_000, txsubmission.Limits{})
	ours := newPool(1 << 30)
	fill(t, ours, 0, 100)
	c := offer(t, addr, ours) // one peer: what is removed and offered by another again would come again
	var last int
	require.Eventually(t, func() bool { // nothing moves any more
		n, used := theirs.Len()
		still := n == last && used > 25_000 && in.Counters().UnderWay == 0
		last = n
		return still
	}, 20*time.Second, 50*time.Millisecond)
	_, used := theirs.Len()
	require.LessOrEqual(t, used, 30_000)
	require.LessOrEqual(t, in.Counters().Announced, txsubmission.Window)
	got := map[string]bool{}
	for after := uint64(0); len(got) < 100; {
		e, ok := theirs.Next(after)
		if !ok {
			changed := theirs.Changed()
			if _, ok := theirs.Next(after); !ok {
				select {
				case <-changed:
				case <-rawpeer.Context(t).Done():
					t.Fatalf("stuck at %d", len(got))
				}
			}
			continue
		}
		require.False(t, got[string(e.ID)], "twice")
		got[string(e.ID)] = true
		after = e.Ticket
		theirs.Remove(e.ID)
	}
	rawpeer.Alive(t, c)
}

// TestHostileOwners: what a peer that owns transactions can do wrong ends its connection with a typed error that blames it, and
// another peer's goes on.
func TestHostileOwners(t *testing.T) {
	id, tx := makeTx(1, 100)
	other, otherTx := makeTx(2, 100)
	announce := func(id []byte, size int) []byte {
		return txsubmission.AppendReplyTxIDs(nil, []txsubmission.IDAndSize{{ID: id, Size: uint32(size)}})
	}
	bodies := func(txs ...[]byte) []byte { return txsubmission.AppendReplyTxs(nil, txs) }
	// asked sends the announcement, waits for the request of its body and sends the answer.
	asked := func(announcement, answer []byte) func(p *rawpeer.Peer) {
		return func(p *rawpeer.Peer) {
			p.Say(announcement)
			for m := p.Hear(); m != nil && m[1] != txsubmission.TagRequestTxs; m = p.Hear() {
			}
			p.Say(answer)
		}
	}
	for name, c := range map[string]struct {
		script func(p *rawpeer.Peer)
		kind   protocols.ErrorKind
		cause  error
	}{
		"more ids than asked for": {func(p *rawpeer.Peer) {
			var ids []txsubmission.IDAndSize
			for i := range 11 {
				id, _ := makeTx(i, 10)
				ids = append(ids, txsubmission.IDAndSize{ID: id, Size: 20})
			}
			p.Say(txsubmission.AppendReplyTxIDs(nil, ids))
		}, protocols.Violation, txsubmission.ErrTooMany},
		"a huge list": {func(p *rawpeer.Peer) {
			ids := make([]txsubmission.IDAndSize, 10_000)
			for i := range ids {
				ids[i] = txsubmission.IDAndSize{ID: id, Size: 20}
			}
			p.Say(txsubmission.AppendReplyTxIDs(nil, ids))
		}, protocols.Violation, txsubmission.ErrTooMany},
		"no ids in answer to a blocking request": {func(p *rawpeer.Peer) {
			p.Say(txsubmission.AppendReplyTxIDs(nil, nil))
		}, protocols.Violation, txsubmission.ErrEmpty},
		"a definite list": {func(p *rawpeer.Peer) {
			p.Say(append([]byte{0x82, 1, 0x81, 0x82}, append(id, 20)...))
		}, protocols.Violation, nil},
		"an id that is none": {func(p *rawpeer.Peer) {
			p.Say(announce(cbor.AppendBytes(nil, make([]byte, 50_000)), 20))
		}, protocols.Violation, nil},
		"another transaction than announced": {asked(announce(id, len(otherTx)), bodies(otherTx)), protocols.Violation, txsubmission.ErrNotRequested},
		"a transaction twice":                {asked(announce(id, len(tx)), bodies(tx, tx)), protocols.Violation, txsubmission.ErrTooMany},
		"more than the size announced":       {asked(announce(id, len(tx)-33), bodies(tx)), protocols.Violation, txsubmission.ErrSize},
		"less than the size announced":       {asked(announce(id, len(tx)+33), bodies(tx)), protocols.Violation, txsubmission.ErrSize},
		"no transaction at all":              {asked(announce(id, 40), bodies(cbor.AppendWrapped(cbor.AppendUint(cbor.AppendArray(nil, 2), 6), nil))), protocols.Violation, nil},
		"Done while transactions are due":    {asked(announce(id, len(tx)), txsubmission.AppendDone(nil)), protocols.Unexpected, nil},
		"ids instead of transactions":        {asked(announce(id, len(tx)), announce(other, 40)), protocols.Unexpected, nil},
		"Init again":                         {func(p *rawpeer.Peer) { p.Say(txsubmission.AppendInit(nil)) }, protocols.Unexpected, nil},
		"no CBOR":                            {func(p *rawpeer.Peer) { p.Say([]byte{0xff, 0xff}) }, protocols.Malformed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, in, addr, conns := inbound(t, 1<<20, txsubmission.Limits{})
			honest := newPool(1 << 20)
			unaffected := offer(t, addr, honest)
			<-conns
			p := rawpeer.Connect(t, addr, false, txsubmission.Number)
			server := <-conns // before it is gone
			p.Say(txsubmission.AppendInit(nil))
			require.Equal(t, txsubmission.AppendRequestTxIDs(nil, true, 0, 10), p.Hear())
			c.script(p)
			rawpeer.Violated(t, server, c.kind, c.cause)
			require.Eventually(t, func() bool { return in.Counters().Peers == 1 }, 10*time.Second, time.Millisecond)
			// Whatever the hostile one had announced, the honest one delivers.
			require.NoError(t, honest.Add(id, tx))
			require.NoError(t, honest.Add(other, otherTx))
			until(t, theirs, 2)
			rawpeer.Alive(t, unaffected)
		})
	}
}

// TestHostileAskers: the same for a peer that asks.
func TestHostileAskers(t *testing.T) {
	request := txsubmission.AppendRequestTxIDs
	pool := newPool(1 << 20)
	fill(t, pool, 0, 20)
	first, _ := pool.Next(0)
	last, _ := pool.Next(19)
	for name, c := range map[string]struct {
		requests [][]byte
		kind     protocols.ErrorKind
		cause    error
	}{
		"acknowledges what was not announced": {[][]byte{request(nil, true, 1, 1)}, protocols.Violation, txsubmission.ErrAckedTooMany},
		"acknowledges too much":               {[][]byte{request(nil, true, 0, 2), request(nil, true, 3, 1)}, protocols.Violation, txsubmission.ErrAckedTooMany},
		"acknowledges 65535":                  {[][]byte{request(nil, true, 0, 2), request(nil, false, 65535, 65535)}, protocols.Violation, txsubmission.ErrAckedTooMany},
		"asks for more than the window":       {[][]byte{request(nil, true, 0, 11)}, protocols.Violation, txsubmission.ErrRequestedTooMany},
		"blocking while something is out":     {[][]byte{request(nil, true, 0, 2), request(nil, true, 1, 1)}, protocols.Violation, txsubmission.ErrShouldNotBlock},
		"non-blocking while nothing is":       {[][]byte{request(nil, false, 0, 1)}, protocols.Violation, txsubmission.ErrShouldBlock},
		"asks for nothing":                    {[][]byte{request(nil, true, 0, 0)}, protocols.Violation, txsubmission.ErrRequestedNothing},
		"an id that was never announced": {[][]byte{request(nil, true, 0, 2), txsubmission.AppendRequestTxs(nil, [][]byte{last.ID})},
			protocols.Violation, txsubmission.ErrUnavailable},
		"the same id twice": {[][]byte{request(nil, true, 0, 2), txsubmission.AppendRequestTxs(nil, [][]byte{first.ID, first.ID})},
			protocols.Violation, txsubmission.ErrRequestedTwice},
		"the same id in two requests": {[][]byte{request(nil, true, 0, 2), txsubmission.AppendRequestTxs(nil, [][]byte{first.ID}), txsubmission.AppendRequestTxs(nil, [][]byte{first.ID})},
			protocols.Violation, txsubmission.ErrRequestedTwice},
		"an id that was acknowledged": {[][]byte{request(nil, true, 0, 2), request(nil, false, 1, 1), txsubmission.AppendRequestTxs(nil, [][]byte{first.ID})},
			protocols.Violation, txsubmission.ErrUnavailable},
		"a thousand ids": {[][]byte{request(nil, true, 0, 2), txsubmission.AppendRequestTxs(nil, make1000(first.ID))},
			protocols.Violation, txsubmission.ErrTooMany},
		"more than the state's limit": {[][]byte{txsubmission.AppendRequestTxs(nil, [][]byte{cbor.AppendBytes(nil, make([]byte, 65_536))})}, protocols.TooLarge, nil},
		"a definite list":             {[][]byte{request(nil, true, 0, 2), {0x82, 2, 0x80}}, protocols.Violation, nil},
		"Done":                        {[][]byte{txsubmission.AppendDone(nil)}, protocols.Unexpected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, _, addr, _ := inbound(t, 1<<20, txsubmission.Limits{})
			unaffected := offer(t, addr, pool)
			p, conn := rawpeer.Accept(t, false, txsubmission.Number)
			ended := make(chan error, 1)
			go func() { ended <- txsubmission.Offer(context.Background(), conn, pool) }()
			require.Equal(t, txsubmission.AppendInit(nil), p.Hear())
			for i, m := range c.requests {
				p.Say(m)
				if i < len(c.requests)-1 {
					require.NotNil(t, p.Hear())
				}
			}
			rawpeer.Violated(t, conn, c.kind, c.cause)
			require.Error(t, <-ended)
			until(t, theirs, 20)
			rawpeer.Alive(t, unaffected)
		})
	}
}

func make1000(id []byte) (ids [][]byte) {
	for range 1000 {
		ids = append(ids, id)
	}
	return ids
}

// TestEmptyRequestIsLegal: the answer is empty.
func TestEmptyRequestIsLegal(t *testing.T) {
	p, conn := rawpeer.Accept(t, false, txsubmission.Number)
	ended := make(chan error, 1)
	go func() { ended <- txsubmission.Offer(context.Background(), conn, newPool(1)) }()
	p.Hear()
	p.Say(txsubmission.AppendRequestTxs(nil, nil))
	require.Equal(t, txsubmission.AppendReplyTxs(nil, nil), p.Hear())
	conn.Abort(nil)
	require.Error(t, <-ended)
}

// TestNotOnNodeToClient: local connections carry no tx-submission.
func TestNotOnNodeToClient(t *testing.T) {
	addr, _ := rawpeer.Serve(t, true)
	_, err := txsubmission.Submit(rawpeer.Context(t), rawpeer.Dial(t, addr, true), newPool(1))
	require.ErrorIs(t, err, protocols.ErrUnsupported)
}

func ExampleMemory() {
	pool := txsubmission.NewMemory(1<<20, identify)
	id, tx := makeTx(1, 10)
	fmt.Println(pool.Add(id, tx), pool.Has(id))
	// Output: <nil> true
}
