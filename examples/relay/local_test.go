package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/localstatequery"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
	"github.com/hearthnet/hearth/protocols/localtxsubmission"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

const testMagic = 42

// running is a relay in this process.
type running struct {
	*host
	end func()
}

// startNode runs a relay until it is ended, or the test is over.
func startNode(t *testing.T, o nodeOptions) running {
	t.Helper()
	h, err := newNode(t, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, h.close())
	})
	t.Cleanup(end)
	return running{h, end}
}

// newNode makes a relay with what a test leaves to it.
func newNode(t testing.TB, o nodeOptions) (*host, error) {
	o.mempoolBytes = cmp.Or(o.mempoolBytes, 1<<20)
	o.preset = cmp.Or(o.preset, "relay")
	o.magic, o.listen = testMagic, cmp.Or(o.listen, "127.0.0.1:0")
	return newHost(t.Context(), o, slog.New(slog.DiscardHandler), nil, io.Discard)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func enveloped(i int) (id, tx []byte) {
	_, raw := rawTx(i, 300)
	tx = txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: raw})
	id, err := node.TxID(tx)
	if err != nil {
		panic(err)
	}
	return id, tx
}

// TestLocalClients: everything that a relay answers on its socket, in one connection.
func TestLocalClients(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, nodeOptions{socket: filepath.Join(dir, "s"), mempool: filepath.Join(dir, "m"), mempoolBytes: 1000})
	ctx := testContext(t)
	c, err := connmgr.DialLocal(ctx, n.o.socket, testMagic)
	require.NoError(t, err)
	defer c.Close()

	monitor := localtxmonitor.NewClient(c)
	slot, err := monitor.Acquire(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(1), slot)
	tx, err := monitor.NextTx(ctx)
	require.NoError(t, err)
	require.Nil(t, tx)

	submit := localtxsubmission.NewClient(c)
	id, good := enveloped(1)
	require.NoError(t, submit.Submit(ctx, good))
	require.NoError(t, submit.Submit(ctx, good), "it is in the mempool")
	var rejected *localtxsubmission.Rejection
	require.ErrorAs(t, submit.Submit(ctx, txsubmission.AppendTx(nil, txsubmission.Tx{Era: 6, Bytes: []byte{0}})), &rejected)
	r := cbor.NewReader(rejected.Reason)
	r.DefArray(1)
	r.DefArray(2)
	require.Equal(t, uint64(6), r.Uint())
	require.NotEmpty(t, r.Text())
	require.NoError(t, r.Done())
	for i := 2; ; i++ { // until it is full
		_, tx := enveloped(i)
		if err := submit.Submit(ctx, tx); err != nil {
			require.ErrorAs(t, err, &rejected)
			require.Contains(t, string(rejected.Reason), "no room")
			break
		}
		require.Less(t, i, 10)
	}

	_, err = monitor.Acquire(ctx) // at once, because the mempool has changed
	require.NoError(t, err)
	has, err := monitor.HasTx(ctx, id)
	require.NoError(t, err)
	require.True(t, has)
	tx, err = monitor.NextTx(ctx)
	require.NoError(t, err)
	require.Equal(t, good, tx)
	sizes, err := monitor.Sizes(ctx)
	require.NoError(t, err)
	require.Equal(t, uint32(1000), sizes.Capacity)
	count, measures, err := monitor.Measures(ctx)
	require.NoError(t, err)
	require.Equal(t, sizes.Count, count)
	require.Equal(t, int64(sizes.Size), measures[0].Size.Int64())
	require.NoError(t, monitor.Finish(ctx))

	query := localstatequery.NewClient(c)
	require.NoError(t, query.Acquire(ctx, localstatequery.Target{}))
	got, err := query.Query(ctx, []byte{0x81, 3})
	require.NoError(t, err)
	require.Equal(t, []byte{0x80}, got, "origin")
	require.NoError(t, query.Finish(ctx))
	require.NoError(t, submit.Finish(ctx))
}

// TestSocketFile: permissions are set on purpose, a stale file is replaced, one that is in use or no socket is left alone.
func TestSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	o := nodeOptions{socket: path}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())

	t.Run("stale", func(t *testing.T) {
		n := startNode(t, o)
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o660, fi.Mode())
		_, err = newNode(t, o)
		require.ErrorContains(t, err, "another process listens")
		c, err := connmgr.DialLocal(testContext(t), path, testMagic)
		require.NoError(t, err, "it is still there")
		require.NoError(t, c.Close())
		_ = n
	})
	require.NoFileExists(t, path, "removed at the end")

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = newNode(t, o)
	require.ErrorContains(t, err, "no socket")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b))
}

// TestSharesItsPeers: those it has dialled, in an order that is the same for everybody.
func TestSharesItsPeers(t *testing.T) {
	t.Parallel()
	var peers []string
	for range 3 {
		peers = append(peers, startNode(t, nodeOptions{}).addr())
	}
	n := startNode(t, nodeOptions{peers: peers})
	ask := func() (got []string) {
		c, err := connmgr.Dial(testContext(t), n.addr(), testMagic, connmgr.WithPeerSharing())
		require.NoError(t, err)
		defer c.Close()
		addrs, err := peersharing.NewClient(c).Ask(testContext(t), 10)
		require.NoError(t, err)
		for _, a := range addrs {
			got = append(got, a.String())
		}
		return got
	}
	require.Eventually(t, func() bool { return len(n.Shareable(10)) == 3 }, 10*time.Second, time.Millisecond)
	first := ask()
	require.ElementsMatch(t, peers, first)
	require.Equal(t, first, ask())
	require.Len(t, n.Shareable(2), 2)
	require.Equal(t, first[0], n.Shareable(1)[0].String())
	require.IsType(t, netip.AddrPort{}, n.Shareable(1)[0])
}
