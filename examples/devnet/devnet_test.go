package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/keepalive"
	"github.com/hearthnet/hearth/protocols/peersharing"
	"github.com/hearthnet/hearth/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newNetwork starts a network.
func newNetwork(c config, dir string) (*network, error) {
	n, err := prepare(c, dir)
	if err != nil {
		return nil, err
	}
	if err := n.open(context.Background()); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func TestTargetsFitTheNetwork(t *testing.T) {
	for n := 2; n <= 200; n++ {
		c := governorConfig(n, 1, 0)
		require.NoError(t, c.Validate(), n)
		require.Positive(t, c.Targets.Active, n)
		require.Equal(t, n-1, c.Targets.Known)
		points := make([]topology.AccessPoint, n)
		for i := range points {
			points[i].Port = uint16(i + 1)
		}
		top := roots(n/2, points)
		count := len(top.PublicRoots[0].AccessPoints)
		for _, g := range top.LocalRoots {
			require.Equal(t, []int64{2, 2}, []int64{g.HotValency, int64(len(g.AccessPoints))})
			count += len(g.AccessPoints)
		}
		require.Equal(t, n-1, count)
	}
}

func TestChainFromFilesReachesEveryNode(t *testing.T) {
	t.Parallel()
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
	require.NoError(t, run(context.Background(), strings.Fields("-http 127.0.0.1:0 -nodes 7 -duration 6s -json -chain "+dir), &out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s stateLine
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
	require.Equal(t, "summary", s.Event)
	require.Equal(t, []int{7, 40, 7}, []int{s.Nodes, s.Blocks, s.Complete})
	require.Positive(t, s.Txs)
	require.Positive(t, s.Artifacts)
	require.Positive(t, s.P50)
	require.GreaterOrEqual(t, s.P95, s.P50)
}

func TestGeneratedChainReachesEveryNode(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), strings.Fields("-http 127.0.0.1:0 -nodes 3 -duration 4s"), &out))
	require.Regexp(t, `^3 of 3 nodes hold all \d+ blocks, \d+ transactions and \d+ artifacts; diffusion p50 [\d.]+ ms, p95 [\d.]+ ms\n$`, out.String())
}

// TestIncompleteNodesAreFound: the check at the end does not take a node's word for it.
func TestIncompleteNodesAreFound(t *testing.T) {
	t.Parallel()
	n, err := newNetwork(config{nodes: 3, seed: 1}, t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, n.close()) }()
	n.faults.partition([]int{1})
	require.NoError(t, n.members[2].stop(false))
	for item := range chain.Generate(1, 2) {
		require.NoError(t, n.make(item))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	require.NoError(t, n.submit(n.members[0], transaction(rnd)))
	require.NoError(t, n.publish(n.members[0], rnd))
	s, err := n.check()
	require.ErrorContains(t, err, "node 1: has 0 of 2 blocks")
	require.ErrorContains(t, err, "lacks 1 of 1 transactions")
	require.ErrorContains(t, err, "lacks 1 of 1 artifacts")
	require.ErrorContains(t, err, "node 2: the node is down")
	require.Equal(t, 1, s.complete)
	n.partition(nil)
	require.NoError(t, n.restart(2))
	require.Eventually(t, func() bool { _, err := n.check(); return err == nil }, 20*time.Second, 50*time.Millisecond)
}

// TestKilledNodeKeepsWhatItHas: what a killed node had is there when it is up again, before it has met anybody.
func TestKilledNodeKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	n, err := newNetwork(config{nodes: 4, seed: 1}, t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, n.close()) }()
	for item := range chain.Generate(1, 3) {
		require.NoError(t, n.make(item))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	require.NoError(t, n.submit(n.members[0], transaction(rnd)))
	for range 5 {
		require.NoError(t, n.publish(n.members[0], rnd))
	}
	require.Eventually(t, func() bool { _, err := n.check(); return err == nil }, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, n.kill(3))
	require.ErrorIs(t, n.kill(3), errDown)
	n.faults.partition([]int{3})
	require.NoError(t, n.restart(3))
	require.NoError(t, n.checkNode(n.members[3]))
	require.FileExists(t, n.members[3].dir+"/peers")
	n.partition(nil)
	killed, names := false, map[string]bool{}
	for _, e := range n.Log(0, page.KeptEvents) {
		killed = killed || e.Node == 3 && e.Name == "killed"
		names[e.Decision] = true
	}
	require.True(t, killed)
	require.Contains(t, names, governor.EstablishedBelow.String())
	require.Contains(t, names, governor.ActiveBelow.String())
}

// TestBlocksTravelOverHotConnectionsOnly: in a network that is too large for everybody to be hot, no header, block or transaction
// travels for a node over the connection to a peer that is only warm.
func TestBlocksTravelOverHotConnectionsOnly(t *testing.T) {
	t.Parallel()
	n, err := newNetwork(config{nodes: allHot + 3, seed: 1}, t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, n.close()) }()
	g := chain.NewGenerator(1)
	all := targets(len(n.members))
	require.Eventually(t, func() bool { // blocks keep coming while connections are made and promoted
		require.NoError(t, n.make(g.Next(nil)))
		for _, m := range n.members {
			if k := m.up().Governor().Counters(); k.ActivePeers < all.Active || k.EstablishedPeers < all.Established {
				return false
			}
		}
		return n.state().least > 5
	}, time.Minute, 200*time.Millisecond)
	require.NoError(t, n.submit(n.members[1], transaction(rand.New(rand.NewPCG(1, 2)))))
	require.Eventually(t, func() bool { s := n.state(); return s.complete == s.nodes }, time.Minute, 50*time.Millisecond)
	hot, warm := 0, 0
	for _, m := range n.members {
		for _, c := range m.up().Connections() {
			peer := n.faults.at[c.Conn.Remote]
			if m.up().Governor().Explain(c.Conn.Remote).Temperature == governor.Hot {
				hot++
				continue
			}
			if slices.ContainsFunc(n.Log(0, page.KeptEvents), func(e page.Event) bool {
				return e.Node == m.id && strings.HasPrefix(e.Name, "Demote") && slices.Contains(e.Peers, peer)
			}) {
				continue // it has been hot
			}
			warm++
			for _, s := range c.Streams {
				if s.Role == mux.Initiator && s.Number != keepalive.Number && s.Number != peersharing.Number {
					require.Zero(t, s.BytesIn+s.BytesOut, "protocol %d from %d to %d", s.Number, m.id, peer)
				}
			}
		}
	}
	require.GreaterOrEqual(t, hot, len(n.members)*all.Active*9/10)
	require.Greater(t, warm, len(n.members))
}

func TestChaosIsSurvived(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), strings.Fields("-http 127.0.0.1:0 -nodes 5 -duration 14s -chaos -json"), &out))
	require.Contains(t, out.String(), `"event":"summary","nodes":5`)
}

func TestInterruptedRunIsNoSuccess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, run(ctx, strings.Fields("-http 127.0.0.1:0 -nodes 2 -duration 1h"), io.Discard))
}

// TestTakenAddress: another port will do, unless somebody has asked for this one.
func TestTakenAddress(t *testing.T) {
	taken, err := listenHTTP("127.0.0.1:0", true)
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	_, err = listenHTTP(taken.Addr().String(), true)
	require.Error(t, err)
	other, err := listenHTTP(taken.Addr().String(), false)
	require.NoError(t, err)
	require.NotEqual(t, taken.Addr().String(), other.Addr().String())
	require.NoError(t, other.Close())
	none, err := listenHTTP("", false)
	require.NoError(t, err)
	require.Nil(t, none)
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
		err := run(context.Background(), append([]string{"-http", "127.0.0.1:0"}, strings.Fields(args)...), io.Discard)
		require.Equal(t, want, cli.Code("devnet", err, io.Discard), args)
	}
}
