package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGraphIsRegularConnectedAndReproducible(t *testing.T) {
	for n := 2; n <= 200; n++ {
		g := edges(n, uint64(n))
		require.True(t, connected(n, g))
		require.Equal(t, g, edges(n, uint64(n)))
		seen, deg := map[[2]int]bool{}, make([]int, n)
		for _, e := range g {
			require.Less(t, e[0], e[1])
			require.False(t, seen[e])
			seen[e] = true
			deg[e[0]]++
			deg[e[1]]++
		}
		for _, d := range deg {
			require.Equal(t, min(degree, n-1), d)
		}
	}
}

func TestChainFromFilesReachesEveryNode(t *testing.T) {
	dir := t.TempDir()
	g := chain.NewGenerator(3)
	g.Size = func(uint64) int { return 3000 }
	_, err := chain.WriteFiles(dir, func(yield func([]byte) bool) {
		for range 40 {
			if !yield(g.Next(nil)) {
				return
			}
		}
	})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), strings.Fields("-nodes 7 -duration 4s -json -chain "+dir), &out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s stateLine
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
	require.Equal(t, "summary", s.Event)
	require.Equal(t, []int{7, 40, 7}, []int{s.Nodes, s.Blocks, s.Complete})
	require.Positive(t, s.P50)
	require.GreaterOrEqual(t, s.P95, s.P50)
}

func TestGeneratedChainReachesEveryNode(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), strings.Fields("-nodes 3 -duration 2s"), &out))
	require.Regexp(t, `^3 of 3 nodes hold all \d+ blocks; diffusion p50 [\d.]+ ms, p95 [\d.]+ ms\n$`, out.String())
}

// TestIncompleteNodeIsFound: the check at the end does not take a node's word for it.
func TestIncompleteNodeIsFound(t *testing.T) {
	n, err := newNetwork(config{nodes: 2, seed: 1}, t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, n.close()) }()
	for item := range chain.Generate(1, 2) {
		require.NoError(t, n.make(item))
	}
	s, err := n.check()
	require.ErrorContains(t, err, "node 1: has 0 of 2 blocks")
	require.Equal(t, 1, s.complete)
}

func TestInterruptedRunIsNoSuccess(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, run(ctx, strings.Fields("-nodes 2 -duration 1h"), io.Discard))
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]int{
		"-nodes 1":            2,
		"-nodes many":         2,
		"-duration -1s":       2,
		"extra":               2,
		"-chain /nonexistent": 1,
		"-h":                  0,
	} {
		err := run(context.Background(), strings.Fields(args), io.Discard)
		require.Equal(t, want, cli.Code("devnet", err, io.Discard), args)
	}
}
