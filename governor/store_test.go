package governor

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStoreRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		var want []StoredPeer
		for i := range rapid.IntRange(0, 50).Draw(r, "peers") {
			p := StoredPeer{Peer: ip(i), Source: Source(rapid.IntRange(0, sourceCount-1).Draw(r, "source")), Shared: rapid.Bool().Draw(r, "shared"),
				Fails: rapid.IntRange(0, 9).Draw(r, "fails"), RTT: time.Duration(rapid.IntRange(0, 1e6).Draw(r, "rtt")) * time.Microsecond}
			if i%3 == 0 {
				p.Peer = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i+1))
			}
			want = append(want, p)
		}
		path := filepath.Join(dir, "peers")
		if err := SavePeers(path, want); err != nil {
			r.Fatal(err)
		}
		got, err := LoadPeers(path)
		if err != nil || len(got) != len(want) {
			r.Fatal(err, got)
		}
		for i := range want {
			if got[i] != want[i] {
				r.Fatalf("%+v, want %+v", got[i], want[i])
			}
		}
	})
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "temporary files are left behind")
}

// TestStoreIsWholeOrNothing: any flipped byte and any cut is found.
func TestStoreIsWholeOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers")
	none, err := LoadPeers(path)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, SavePeers(path, []StoredPeer{{Peer: ip(1), Source: SourceShared, Shared: true}, {Peer: ip(2), Source: SourceLedger}}))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 1
		_, err := parsePeers(b)
		require.ErrorIs(t, err, ErrStore, "byte %d", i)
		_, err = parsePeers(whole[:i])
		require.ErrorIs(t, err, ErrStore, "cut at %d", i)
	}
	_, err = parsePeers([]byte(strings.Repeat("x", maxStoreBytes+1)))
	require.ErrorContains(t, err, "more than")
	require.ErrorIs(t, SavePeers(filepath.Join(path, "no", "directory"), nil), ErrStore)
}

// TestStoredIsBucketed: one network cannot fill the store, and what is configured or banned is not in it.
func TestStoredIsBucketed(t *testing.T) {
	c, err := NewCore(Config{Targets: Targets{Known: 9000, Roots: 9000}, NoChurn: true, Limits: Limits{Known: 9000}})
	require.NoError(t, err)
	c.Step(Begin{Settings: RootSettings{UseLedger: true}, LocalRoots: []LocalRootGroup{{Hot: 1, Warm: 1, Members: []netip.AddrPort{ip(1)}}}}, 0)
	var peers []RootPeer
	for i := range 3000 { // one /16
		peers = append(peers, RootPeer{Peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{99, 9, byte(i >> 8), byte(i)}), 3001)})
	}
	for i := range 100 {
		peers = append(peers, RootPeer{Peer: ip(i)})
	}
	c.Step(RootsAnswered{Job: c.roots[0].job, Peers: peers, TTL: time.Hour}, 0)
	c.Step(Reported{Peer: ip(7), Reason: "bad"}, 0)
	got := c.Stored()
	crowded := 0
	for _, p := range got {
		if b := p.Peer.Addr().As4(); b[0] == 99 && b[1] == 9 {
			crowded++
		}
		require.NotEqual(t, ip(1), p.Peer)
		require.NotEqual(t, ip(7), p.Peer)
	}
	require.Equal(t, maxStoredBucket, crowded)
	require.Len(t, got, 98+maxStoredBucket)
}

func FuzzStore(f *testing.F) {
	f.Add([]byte("hearth peers 1\ncrc 00000000\n"))
	f.Add([]byte("hearth peers 1\n1.2.3.4:5 shared shared 0 100\ncrc 12345678\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		peers, err := parsePeers(b)
		if err != nil && peers != nil {
			t.Fatal("an error and peers")
		}
		if _, err := parsePeer(string(b)); err == nil && len(b) == 0 {
			t.Fatal("an empty line is a peer")
		}
	})
}
