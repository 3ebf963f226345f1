package connmgr

import (
	"context"
	"iter"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// fixedChain is a chain that never changes: block i has slot and number i+1.
type fixedChain struct{ blocks [][]byte }

func newFixedChain(n, size int) *fixedChain {
	c := &fixedChain{}
	for i := range n {
		b := cbor.AppendUint(cbor.AppendArray(nil, 2), 7)
		b = cbor.AppendBytes(cbor.AppendUint(cbor.AppendArray(b, 2), uint64(i)), make([]byte, size))
		c.blocks = append(c.blocks, b)
	}
	return c
}

func (c *fixedChain) point(i int) chainsync.Point {
	return chainsync.Point{Slot: uint64(i + 1), Hash: [32]byte{1, byte(i), byte(i >> 8)}}
}

func (c *fixedChain) tip() chainsync.Tip {
	n := len(c.blocks)
	return chainsync.Tip{Point: c.point(n - 1), Block: uint64(n)}
}

func (c *fixedChain) Cursor(form chainsync.Form) chainsync.Cursor {
	return &fixedCursor{c: c, form: form, back: true}
}

func (c *fixedChain) Range(from, to chainsync.Point) (iter.Seq2[[]byte, error], bool) {
	if from.Slot == 0 || from.Slot > to.Slot || to.Slot > uint64(len(c.blocks)) {
		return nil, false
	}
	return func(yield func([]byte, error) bool) {
		for _, b := range c.blocks[from.Slot-1 : to.Slot] {
			if !yield(b, nil) {
				return
			}
		}
	}, true
}

type fixedCursor struct {
	c    *fixedChain
	form chainsync.Form
	at   int
	back bool
	buf  []byte
}

func (f *fixedCursor) Intersect(points []chainsync.Point) (chainsync.Point, chainsync.Tip, bool) {
	for _, p := range points {
		if p.Slot <= uint64(len(f.c.blocks)) {
			f.at, f.back = int(p.Slot), true
			return p, f.c.tip(), true
		}
	}
	return chainsync.Point{}, f.c.tip(), false
}

func (f *fixedCursor) Next() (chainsync.Update, error) {
	u := chainsync.Update{Tip: f.c.tip()}
	switch {
	case f.back:
		f.back = false
		u.Kind = chainsync.Backward
		if f.at > 0 {
			u.Point = f.c.point(f.at - 1)
		}
	case f.at == len(f.c.blocks):
		u.Kind = chainsync.AtTip
	default:
		u.Kind = chainsync.Forward
		if f.form == chainsync.Blocks {
			f.buf = chainsync.AppendBlock(f.buf[:0], f.c.blocks[f.at])
		} else {
			h := cbor.AppendArray(cbor.AppendUint(cbor.AppendArray(nil, 2), uint64(f.at+1)), 0)
			h = append(cbor.AppendArray(nil, 2), append(h, 0x80)...)
			f.buf = chainsync.AppendHeader(f.buf[:0], chainsync.Header{Era: 6, Bytes: h})
		}
		u.Payload = f.buf
		f.at++
	}
	return u, nil
}

// serveTCP runs a listener for the test's time and returns its address.
func serveTCP(t testing.TB, opts ...Option) string {
	t.Helper()
	ln, err := Listen(context.Background(), "127.0.0.1:0", Preview, opts...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		ln.Close()
	})
	return ln.Addr().String()
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFollowAndFetch(t *testing.T) {
	ctx := testContext(t)
	chain := newFixedChain(1000, 500)
	addr := serveTCP(t, Serve(chainsync.Responder(chain), blockfetch.Responder(chain)))
	conn, err := Dial(ctx, addr, Preview)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, uint16(15), conn.Negotiated().Version)

	n := 0
	for ev, err := range chainsync.NewClient(conn).Follow(ctx, []chainsync.Point{chain.point(9), chainsync.Origin}) {
		require.NoError(t, err)
		if n == 0 {
			require.Equal(t, chainsync.Backward, ev.Kind)
			require.Equal(t, chain.point(9), ev.Point)
		} else {
			require.Equal(t, chainsync.Forward, ev.Kind)
		}
		if n++; n == 991 {
			break
		}
	}
	i := 0
	for b, err := range blockfetch.NewClient(conn).Range(ctx, chain.point(0), chain.point(999)) {
		require.NoError(t, err)
		require.Equal(t, chain.blocks[i], b)
		i++
	}
	require.Equal(t, 1000, i)
	_, rtt, ok := conn.Latency()
	require.True(t, ok)
	require.Positive(t, rtt)
}

func TestNodeToClientFollow(t *testing.T) {
	ctx := testContext(t)
	chain := newFixedChain(300, 5000)
	path := t.TempDir() + "/node.socket"
	ln, err := ListenLocal(ctx, path, Mainnet, Serve(chainsync.LocalResponder(chain)))
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan error, 1)
	sctx, cancel := context.WithCancel(ctx)
	go func() { done <- ln.Serve(sctx, nil) }()
	defer func() { cancel(); require.NoError(t, <-done) }()

	conn, err := DialLocal(ctx, path, Mainnet)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, uint16(23), conn.Negotiated().Version)
	i := -1
	for ev, err := range chainsync.NewClient(conn).Follow(ctx, nil) {
		require.NoError(t, err)
		if i >= 0 {
			block, err := chainsync.ParseBlock(ev.Payload)
			require.NoError(t, err)
			require.Equal(t, chain.blocks[i], block)
		}
		if i++; i == len(chain.blocks) {
			break
		}
	}
}

func TestRefusedNetworkIsDelivered(t *testing.T) {
	addr := serveTCP(t)
	_, err := Dial(testContext(t), addr, Mainnet)
	require.ErrorContains(t, err, "magic")
}

func TestSilentSocketDoesNotHoldUpOthers(t *testing.T) {
	addr := serveTCP(t)
	silent, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer silent.Close()
	conn, err := Dial(testContext(t), addr, Preview)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestQuery(t *testing.T) {
	addr := serveTCP(t, WithPeras())
	got, err := Query(testContext(t), addr, Preview, false)
	require.NoError(t, err)
	require.Len(t, got, 3)
}

// TestSilentSocketsMakeRoom: more silent sockets than there are places for do not keep an honest peer out.
func TestSilentSocketsMakeRoom(t *testing.T) {
	addr := serveTCP(t)
	for range maxHandshakes + 100 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
	}
	conn, err := Dial(testContext(t), addr, Preview)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
