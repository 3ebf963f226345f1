package localtxmonitor_test

import (
	"context"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/rawpeer"
	ltm "github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pool is a mempool that changes when the test says so; transaction i is [6, #24(i)].
type pool struct {
	mu      sync.Mutex
	n       int
	changed chan struct{}
	waiting chan struct{} // told of each wait
}

func newPool(n int) *pool {
	return &pool{n: n, changed: make(chan struct{}), waiting: make(chan struct{}, 100)}
}

func (p *pool) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pool) Snapshot() ltm.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return snapshot{p, p.n, p.changed}
}

type snapshot struct {
	p       *pool
	n       int
	changed chan struct{}
}

func tx(i int) []byte {
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: []byte{byte(i)}})
}

func id(i int) []byte {
	return txsubmission.AppendTxID(nil, txsubmission.TxID{Era: 6, Hash: [32]byte{byte(i)}})
}

func (s snapshot) Slot() uint64 { return uint64(100 + s.n) }
func (s snapshot) Tx(i int) ([]byte, bool) {
	if i >= s.n {
		return nil, false
	}
	return tx(i), true
}
func (s snapshot) Has(want []byte) bool {
	for i := range s.n {
		if string(id(i)) == string(want) {
			return true
		}
	}
	return false
}
func (s snapshot) Sizes() ltm.Sizes {
	return ltm.Sizes{Capacity: 1000, Size: uint32(s.n), Count: uint32(s.n)}
}
func (s snapshot) Measures() (uint32, []ltm.Measure) {
	return uint32(s.n), []ltm.Measure{{Name: "transaction_bytes", Size: big.NewInt(int64(s.n)), Capacity: big.NewInt(1000)}}
}
func (s snapshot) Wait(ctx context.Context) error {
	s.p.waiting <- struct{}{}
	select {
	case <-s.changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestLookAround: each question, on a snapshot that does not change while the mempool does.
func TestLookAround(t *testing.T) {
	p := newPool(3)
	addr, _ := rawpeer.Serve(t, true, connmgr.Serve(ltm.Responder(p)))
	conn := rawpeer.Dial(t, addr, true)
	ctx := rawpeer.Context(t)
	for range 2 { // Done in between
		c := ltm.NewClient(conn)
		slot, err := c.Acquire(ctx)
		require.NoError(t, err)
		n := int(slot) - 100
		p.grow()
		for i := range n + 2 {
			got, err := c.NextTx(ctx)
			require.NoError(t, err)
			if i < n {
				require.Equal(t, tx(i), got)
			} else {
				require.Nil(t, got, "once, and then nothing more")
			}
		}
		for i, want := range map[int]bool{0: true, n - 1: true, n: false} {
			has, err := c.HasTx(ctx, id(i))
			require.NoError(t, err)
			require.Equal(t, want, has)
		}
		sizes, err := c.Sizes(ctx)
		require.NoError(t, err)
		require.Equal(t, ltm.Sizes{Capacity: 1000, Size: uint32(n), Count: uint32(n)}, sizes)
		count, measures, err := c.Measures(ctx)
		require.NoError(t, err)
		require.Equal(t, uint32(n), count)
		require.Equal(t, big.NewInt(1000), measures[0].Capacity)
		slot, err = c.Acquire(ctx) // the mempool differs already
		require.NoError(t, err)
		require.Equal(t, uint64(100+n+1), slot)
		require.NoError(t, c.Release(ctx))
		_, err = c.Acquire(ctx) // after a Release it is an Acquire, which does not wait
		require.NoError(t, err)
		require.NoError(t, c.Finish(ctx))
	}
	rawpeer.Alive(t, conn)
}

// TestAwaitAcquire waits for a change, and no longer than the connection lives.
func TestAwaitAcquire(t *testing.T) {
	p := newPool(1)
	addr, conns := rawpeer.Serve(t, true, connmgr.Serve(ltm.Responder(p)))
	conn := rawpeer.Dial(t, addr, true)
	c, ctx := ltm.NewClient(conn), rawpeer.Context(t)
	_, err := c.Acquire(ctx)
	require.NoError(t, err)
	for len(p.waiting) > 0 {
		<-p.waiting
	}
	go func() {
		<-p.waiting
		p.grow()
	}()
	slot, err := c.Acquire(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(102), slot)
	go func() {
		<-p.waiting
		conn.Abort(nil)
	}()
	_, err = c.Acquire(ctx)
	require.Error(t, err)
	server := <-conns
	require.Error(t, server.Wait(ctx))
	server.Close() // returns when the wait on the server has ended
}

// TestMeasuresAreForNewVersions: they are not asked of a node that would hang up.
func TestMeasuresAreForNewVersions(t *testing.T) {
	for version, ok := range map[uint16]bool{19: false, 20: true} {
		addr, _ := rawpeer.Serve(t, true, connmgr.WithVersions(version), connmgr.Serve(ltm.Responder(newPool(1))))
		conn := rawpeer.Dial(t, addr, true)
		c := ltm.NewClient(conn)
		_, err := c.Acquire(rawpeer.Context(t))
		require.NoError(t, err)
		_, _, err = c.Measures(rawpeer.Context(t))
		if ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, protocols.ErrUnsupported)
		}
		_, err = c.Sizes(rawpeer.Context(t))
		require.NoError(t, err)
	}
}

func TestHostileClients(t *testing.T) {
	acquire := ltm.AppendAcquire(nil)
	for name, c := range map[string]struct {
		say  [][]byte
		kind protocols.ErrorKind
	}{
		"NextTx with nothing acquired": {[][]byte{ltm.AppendNextTx(nil)}, protocols.Unexpected},
		"Done while acquired":          {[][]byte{acquire, ltm.AppendDone(nil)}, protocols.Unexpected},
		"Release twice":                {[][]byte{acquire, append(ltm.AppendRelease(nil), ltm.AppendRelease(nil)...)}, protocols.Unexpected},
		"pallas's AwaitAcquire, tag 4": {[][]byte{acquire, {0x81, 4}}, protocols.Unexpected}, // wire §15
		"answers itself":               {[][]byte{acquire, ltm.AppendAcquired(nil, 1)}, protocols.Unexpected},
		"HasTx of nothing":             {[][]byte{acquire, {0x81, ltm.TagHasTx}}, protocols.Unexpected},
		"no CBOR":                      {[][]byte{acquire, {0x82, ltm.TagHasTx, 0xff}}, protocols.Malformed},
		"more than 4 MiB":              {[][]byte{acquire, append([]byte{0x82, ltm.TagHasTx, 0x5a, 0, 0x50, 0, 0}, make([]byte, 5<<20)...)}, protocols.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			addr, conns := rawpeer.Serve(t, true, connmgr.Serve(ltm.Responder(newPool(2))))
			unaffected := ltm.NewClient(rawpeer.Dial(t, addr, true))
			<-conns
			p := rawpeer.Connect(t, addr, true, ltm.Number)
			server := <-conns // before it is gone
			for i, m := range c.say {
				if i > 0 {
					require.Equal(t, ltm.AppendAcquired(nil, 102), p.Hear())
				}
				p.Say(m)
			}
			rawpeer.Violated(t, server, c.kind, nil)
			_, err := unaffected.Acquire(rawpeer.Context(t))
			require.NoError(t, err)
		})
	}
}

func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		say  []byte
		kind protocols.ErrorKind
	}{
		"another answer":         {ltm.AppendReplyHasTx(nil, true), protocols.Unexpected},
		"sizes of two":           {[]byte{0x82, ltm.TagReplyGetSizes, 0x82, 1, 2}, protocols.Violation},
		"sizes that do not fit":  {[]byte{0x82, ltm.TagReplyGetSizes, 0x83, 0x1b, 1, 0, 0, 0, 0, 0, 0, 0, 2, 3}, protocols.Violation},
		"Done from the server":   {ltm.AppendDone(nil), protocols.Unexpected},
		"an answer that is none": {[]byte{0xf6}, protocols.Unexpected},
	} {
		t.Run(name, func(t *testing.T) {
			p, conn := rawpeer.Accept(t, true, ltm.Number)
			go func() {
				p.Hear()
				p.Say(ltm.AppendAcquired(nil, 1))
				p.Hear()
				p.Say(c.say)
			}()
			client := ltm.NewClient(conn)
			_, err := client.Acquire(rawpeer.Context(t))
			require.NoError(t, err)
			_, err = client.Sizes(rawpeer.Context(t))
			require.Error(t, err)
			rawpeer.Violated(t, conn, c.kind, nil)
		})
	}
}

func TestOnlyOnNodeToClient(t *testing.T) {
	addr, _ := rawpeer.Serve(t, false)
	_, err := ltm.NewClient(rawpeer.Dial(t, addr, false)).Acquire(rawpeer.Context(t))
	require.ErrorIs(t, err, protocols.ErrUnsupported)
}
