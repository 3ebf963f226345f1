package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/examples/internal/follow"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testMagic = 42

// some is peers to share.
type some struct{}

func (some) Shareable(n int) []netip.AddrPort {
	all := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3001"), netip.MustParseAddrPort("[2001:db8::1]:3001")}
	return all[:min(n, len(all))]
}

func txID(item []byte) ([]byte, error) {
	tx, err := txsubmission.ParseTx(item)
	if err != nil {
		return nil, err
	}
	r := cbor.NewReader(tx.Bytes)
	r.AnyDefArray()
	body := r.Raw()
	return txsubmission.AppendTxID(nil, txsubmission.TxID{Era: tx.Era, Hash: blake2b.Sum256(body)}), r.Err()
}

// rightNode runs a whole node for the test's time: responders of everything, and initiators on duplex connections.
func rightNode(t *testing.T) (addr string) {
	c := chain.NewMemory()
	for item := range chain.Generate(1, 40) {
		_, err := c.Append(item)
		require.NoError(t, err)
	}
	pool := txsubmission.NewMemory(1<<20, txID)
	in := txsubmission.NewInbound(pool, txsubmission.Limits{})
	syncer := follow.New(c, follow.Hooks{})
	ctx, cancel := context.WithCancel(context.Background())
	l, err := connmgr.Listen(ctx, "127.0.0.1:0", testMagic, connmgr.WithDuplex(), connmgr.WithPeerSharing(), connmgr.WithPeras(),
		connmgr.Serve(chainsync.Responder(c), blockfetch.Responder(c), in.Responder(), peersharing.Responder(some{})))
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		_ = l.Serve(ctx, func(conn *connmgr.Conn) {
			if !conn.Negotiated().Duplex() {
				return
			}
			all.Go(func() {
				p := syncer.Peer(conn.RemoteAddr().String())
				tasks, running := errgroup.WithContext(ctx)
				tasks.Go(func() error { return p.ChainSync(running, chainsync.NewClient(conn)) })
				tasks.Go(func() error { return p.BlockFetch(running, blockfetch.NewClient(conn)) })
				tasks.Go(func() error { return txsubmission.Offer(running, conn, pool) })
				if err := tasks.Wait(); ctx.Err() == nil {
					conn.Abort(err)
				}
			})
		})
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		all.Wait()
		c.Close()
	})
	return l.Addr().String()
}

// quick is for nodes that are known to answer at once, or not at all.
var quick = patience{answer: 10 * time.Second, end: 10 * time.Second, quiet: 200 * time.Millisecond, opens: 5 * time.Second}

func TestRightNode(t *testing.T) {
	var out bytes.Buffer
	r := &report{out: &out, json: true, peer: "it"}
	err := examine(t.Context(), newNode(rightNode(t), testMagic, false, quick), checks(), r)
	require.NoError(t, err, out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 1+len(ordered(checks(), false)))
	for _, line := range lines[:len(lines)-1] {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		require.Equal(t, pass, got["result"], line)
	}
	require.Contains(t, lines[len(lines)-1], `"event":"summary"`)
}

func TestEveryCheckIsNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks() {
		require.False(t, seen[c.id], c.id)
		seen[c.id] = true
		require.Regexp(t, `^[a-z-]+\.[a-z0-9-]+$`, c.id)
		require.Regexp(t, `^§[0-9]+(\.[0-9]+)?$`, c.section)
		require.NotEmpty(t, c.expected)
	}
	list := ordered(checks(), true)
	require.True(t, slices.IsSortedFunc(list, func(a, b check) int {
		return map[bool]int{false: 0, true: 1}[a.slow] - map[bool]int{false: 0, true: 1}[b.slow]
	}))
	require.Less(t, len(ordered(checks(), false)), len(list))
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"-peer", "nonsense"}, {"-peer", "h:1", "more"}, {"-nonsense"}, {"-peer", "h:1", "-magic", "4294967296"}} {
		require.Equal(t, 2, cli.Code("conformance", run(t.Context(), args, &bytes.Buffer{}), &bytes.Buffer{}), args)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	require.Equal(t, 1, cli.Code("conformance", run(t.Context(), []string{"-peer", addr}, &bytes.Buffer{}), &bytes.Buffer{}), "nobody listens")
}

func TestReportLines(t *testing.T) {
	var out bytes.Buffer
	r := &report{out: &out, peer: "p"}
	c := check{id: "a.b", section: "§1", expected: "x", run: func(context.Context, *node) (string, error) { return "", fmt.Errorf("two\nlines") }}
	require.EqualError(t, examine(t.Context(), newNode("", 0, false, quick), []check{c}, r), "1 of 1 checks failed")
	require.Regexp(t, `^fail  a\.b +wire §1 +expected: x; seen: two lines\np: 0 passed, 1 failed, 0 not applicable, in .* s\n$`, out.String())
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := check{run: func(ctx context.Context, _ *node) (string, error) { cancel(); <-ctx.Done(); return "", ctx.Err() }}
	require.ErrorContains(t, examine(ctx, newNode("", 0, false, quick), []check{c, c}, &report{out: &bytes.Buffer{}}), "interrupted")
}
