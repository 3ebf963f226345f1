package artifact

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScoreRecoversAndBans(t *testing.T) {
	s := newScores()
	a, id := netip.MustParseAddr("10.0.0.1"), PeerID{1}
	require.Zero(t, s.judge(a, id, 0, AttrForged).ban)
	require.Equal(t, -50, s.Value(a, id, 0))
	require.Equal(t, -40, s.Value(a, id, 10*time.Minute), "1 a minute")
	require.Zero(t, s.judge(a, id, 10*time.Minute, ClaimForged).ban)
	require.Equal(t, banFor, s.judge(a, id, 10*time.Minute, ClaimForged).ban)
	require.Equal(t, 0, s.Value(a, id, 10*time.Minute), "0 again")
	require.Equal(t, banFor, s.Banned(a, id, 10*time.Minute))
	require.Zero(t, s.Banned(a, id, 70*time.Minute))
	require.Zero(t, s.Banned(a, PeerID{2}, 10*time.Minute), "bans hold for (IP, nodeId)")
	for i := range 5000 {
		s.judge(a, PeerID{9, byte(i), byte(i >> 8)}, 0, TimedOut)
	}
	require.LessOrEqual(t, s.who.Len(), scoreEntries)
}

func TestThreeBannedIdsBanTheAddress(t *testing.T) {
	for _, c := range []struct {
		addr, same string
		want       bool
	}{{"10.0.0.1", "10.0.0.1", true}, {"2001:db8::1", "2001:db8::2", true}, {"127.0.0.1", "127.0.0.1", false}, {"::1", "::1", false}} {
		s := newScores()
		a := netip.MustParseAddr(c.addr)
		for i := range 3 {
			require.Zero(t, s.BannedAddr(a, 0))
			s.judge(a, PeerID{byte(i)}, time.Duration(i)*time.Minute, Violation)
		}
		require.Equal(t, c.want, s.BannedAddr(netip.MustParseAddr(c.same), 3*time.Minute) > 0, c.addr)
		require.Zero(t, s.BannedAddr(a, 2*time.Hour))
	}
	s := newScores()
	a := netip.MustParseAddr("10.0.0.1")
	for i := range 3 {
		s.judge(a, PeerID{byte(i)}, time.Duration(i)*6*time.Minute, Violation)
	}
	require.Zero(t, s.BannedAddr(a, 13*time.Minute), "not within ten minutes")
}

// P16: any interleaving of two dials between two ids leaves exactly one main bearer, the same at both ends.
func TestDuplicatesBothEndsKeepTheSame(t *testing.T) {
	small, large := PeerID{1}, PeerID{2}
	// dial 0 by small, dial 1 by large; each end sees them in its own order
	for _, orderS := range [][2]int{{0, 1}, {1, 0}} {
		for _, orderL := range [][2]int{{0, 1}, {1, 0}} {
			kept := func(self, peer PeerID, mine int, order [2]int) int {
				have := order[0]
				if KeepNew(self, peer, have == mine, order[1] == mine, false, false, false) {
					have = order[1]
				}
				return have
			}
			require.Equal(t, 0, kept(small, large, 0, orderS))
			require.Equal(t, 0, kept(large, small, 1, orderL))
		}
	}
	require.False(t, KeepNew(small, large, false, false, false, false, false), "a mere claim must not throw out a living peer")
	require.True(t, KeepNew(small, large, false, false, false, true, false))
	require.True(t, KeepNew(small, large, false, false, false, false, true))
	require.True(t, KeepNew(small, large, false, false, true, false, false))
}
