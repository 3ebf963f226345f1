package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/governor"
)

// TestPresets: each starts and does what it says. The topology has a local and a public root and switches ledger peers on.
func TestPresets(t *testing.T) {
	t.Parallel()
	_, local := neighbour(t)
	_, public := neighbour(t)
	file := filepath.Join(t.TempDir(), "topology.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"localRoots": [%s], "useLedgerAfterSlot": 0, "publicRoots":
		[{"accessPoints": [{"address": %q, "port": %d}], "advertise": true}]}`, group(1, true, local), public.Addr(), public.Port()), 0o600))
	for _, c := range []struct {
		preset                  string
		listens, shares, opened bool // opened: to others than local roots
	}{
		{"relay", true, true, true}, {"producer", true, false, false}, {"private", true, false, false}, {"wallet", false, false, true},
	} {
		t.Run(c.preset, func(t *testing.T) {
			t.Parallel()
			h := startNode(t, nodeOptions{preset: c.preset, topology: file})
			at := func(p netip.AddrPort, least governor.Temperature) func() bool {
				return func() bool { return h.Governor().Explain(p).Temperature >= least }
			}
			require.Eventually(t, at(local, governor.Hot), 10*time.Second, 5*time.Millisecond)
			if c.opened {
				require.Eventually(t, at(public, governor.Warm), 20*time.Second, 5*time.Millisecond, "after the head start of local roots")
			} else {
				require.False(t, h.Governor().Explain(public).Known)
				require.Equal(t, governor.LocalRootsOnly, h.Governor().Association())
				require.Equal(t, 1, h.Governor().Counters().KnownPeers)
			}
			for _, conn := range h.Connections() {
				require.Equal(t, c.listens, conn.Version.Duplex(), "a wallet's connections are its own")
				require.False(t, conn.Version.PeerSharing && !c.shares)
			}
			require.Equal(t, c.listens, len(h.Addrs()) == 1)
			if c.listens {
				conn, err := connmgr.Dial(testContext(t), h.addr(), testMagic, connmgr.WithPeerSharing())
				require.NoError(t, err)
				require.Equal(t, c.shares, conn.Negotiated().PeerSharing)
				require.NoError(t, conn.Close())
			}
		})
	}
}

// TestPeerStoreSurvivesARestart: a peer that the relay has learnt, and nobody has told it of, is there again after a restart.
func TestPeerStoreSurvivesARestart(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "peers")
	first := startNode(t, nodeOptions{store: store})
	stays := startNode(t, nodeOptions{peers: []string{first.addr()}})
	peer := stays.Addrs()[0]
	warm := func(h running) func() bool {
		return func() bool { return h.Governor().Explain(peer).Temperature >= governor.Warm }
	}
	require.Eventually(t, warm(first), 10*time.Second, 5*time.Millisecond, "whoever connects is followed in return")
	first.end()
	stays.end()
	require.FileExists(t, store)

	again := startNode(t, nodeOptions{listen: peer.String()}) // it knows nobody
	second := startNode(t, nodeOptions{store: store})
	require.Equal(t, again.Addrs()[0], peer)
	require.Eventually(t, warm(second), 20*time.Second, 5*time.Millisecond)

	other := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.WriteFile(other, []byte("not peers"), 0o600))
	_, err := newNode(t, nodeOptions{store: other})
	require.ErrorContains(t, err, "no peer store")
	_, err = newNode(t, nodeOptions{store: filepath.Join(other, "peers")})
	require.ErrorContains(t, err, "-peers")
}
