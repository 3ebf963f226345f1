package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/topology"
)

// TestPeersOfTheCommandLine come before those of the file, which are the same peers only once.
func TestPeersOfTheCommandLine(t *testing.T) {
	p := peers{file: topologyFile(t, `{"localRoots": [{"accessPoints": [{"address": "192.0.2.1", "port": 1}, {"address": "192.0.2.2", "port": 2}],
		"hotValency": 1}], "publicRoots": [], "useLedgerAfterSlot": 5, "bootstrapPeers": [{"address": "b.example", "port": 3}]}`)}
	for _, addr := range []string{"192.0.2.2:2", "relay.example:3001", "[2001:db8::1]:4", "dotted.example.:5"} {
		a, err := accessPoint(addr)
		require.NoError(t, err)
		p.static = append(p.static, a)
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	load := func() (all []string) {
		topo, err := p.load(log)
		require.NoError(t, err)
		for _, g := range topo.LocalRoots {
			require.Equal(t, int64(1), g.HotValency)
			for _, a := range g.AccessPoints {
				all = append(all, a.String())
			}
		}
		require.Equal(t, p.closed, !topo.UsesBootstrap())
		require.Equal(t, p.closed, !topo.UseLedger.Enabled())
		return all
	}
	want := []string{"192.0.2.2:2", "relay.example.:3001", "[2001:db8::1]:4", "dotted.example.:5", "192.0.2.1:1", "192.0.2.2:2"}
	require.Equal(t, want, load())
	require.Empty(t, said.String())
	p.closed = true
	require.Equal(t, want, load())
	require.Contains(t, said.String(), "bootstrap peers")
	require.Contains(t, said.String(), "ledger peers")
	p.file = ""
	require.Equal(t, want[:4], load())

	for _, bad := range []string{"x", "x:", ":1", "x:0", "x:65536", "x:y", "[::1", ""} {
		var usage *cli.UsageError
		_, err := accessPoint(bad)
		require.ErrorAs(t, err, &usage, bad)
	}
}

// TestBadTopologyAtTheStart: every problem is said, and the relay ends with one clear line.
func TestBadTopologyAtTheStart(t *testing.T) {
	name := topologyFile(t, `{"localRoots": [{"accessPoints": 1, "hotValency": "x"}],
"publicRoots": []}`)
	status, stdout, stderr := relay("-listen", "127.0.0.1:0", "-topology", name)
	require.Equal(t, exitFail, status)
	require.Empty(t, stdout)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], name+":1:34: error: /localRoots/0/accessPoints")
	require.Contains(t, lines[1], name+":1:51: error: /localRoots/0/hotValency")
	require.True(t, strings.HasPrefix(lines[2], "relay: "+name+":1:34"), lines[2])
	status, _, stderr = relay("-listen", "127.0.0.1:0", "-topology", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitFail, status)
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
}

// TestChangesAreTold with what is kept.
func TestChangesAreTold(t *testing.T) {
	at := func(addr string) topology.Group {
		a, err := accessPoint(addr)
		require.NoError(t, err)
		return topology.Group{AccessPoints: []topology.AccessPoint{a}, HotValency: 1, WarmValency: 1}
	}
	c := topology.Diff(&topology.Topology{LocalRoots: []topology.Group{at("a:1"), at("b:1")}}, &topology.Topology{LocalRoots: []topology.Group{at("b:1"), at("c:1")}})
	require.Equal(t, []string{"connect local root c.:1", "drop local root a.:1", "keep local root b.:1"}, lines(c))
	require.Equal(t, "1 to connect, 1 to drop, 1 to keep", summary(c))
}
