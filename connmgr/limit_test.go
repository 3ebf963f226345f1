package connmgr

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func defaultLimits() Limits { return Limits{}.withDefaults() }

func host(a, b, c, d int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)}), 3001)
}

// propRateLimit_SoftLimitDelay: the delays are those of the formula.
func TestRateLimitSoftLimitDelay(t *testing.T) {
	l := defaultLimits()
	for n, want := range map[int]time.Duration{
		0: 0, 383: 0, 384: 0, 385: 39062500 * time.Nanosecond, 448: 2500 * time.Millisecond, 495: 4335937500 * time.Nanosecond, 511: 4960937500 * time.Nanosecond,
	} {
		require.Equal(t, want, l.softDelay(n), n)
	}
	require.Equal(t, time.Duration(0), Limits{Hard: 5, Soft: 5, Delay: time.Second}.softDelay(5))
	lim := newLimiter(l)
	for n := range 600 {
		for _, protected := range []bool{false, true} {
			s := sockID(1)
			a := lim.accept(time.Hour, s, host(10, 0, 0, 1), protected, n)
			switch {
			case n >= 512 || n >= 496 && !protected:
				require.Equal(t, verdictReset, a.verdict, n)
				require.NotZero(t, a.refusal.Limit)
			case n > 384 && !protected:
				require.Equal(t, verdictPark, a.verdict, n)
				require.Equal(t, time.Hour+l.softDelay(n), a.until)
			default:
				require.Equal(t, verdictHandshake, a.verdict, n)
			}
			lim.gone(s)
		}
	}
}

// Nobody is delayed or reset below the soft limit; local roots are never delayed, and get in at hard − 1.
func TestReservedSlotsForLocalRoots(t *testing.T) {
	lim := newLimiter(defaultLimits())
	require.Equal(t, verdictReset, lim.accept(0, 1, host(10, 0, 0, 1), false, 511).verdict)
	require.Equal(t, verdictHandshake, lim.accept(0, 2, host(10, 0, 0, 2), true, 511).verdict)
	a := lim.accept(0, 3, host(10, 0, 0, 2), true, 512)
	require.Equal(t, verdictReset, a.verdict)
	require.EqualError(t, a.refusal, "connmgr: refused 10.0.0.2:3001: inbound connections, limit 512, in use 512")
}

// What was parked is classified once more when its delay is over.
func TestParkedSocketsAreClassifiedAgain(t *testing.T) {
	lim := newLimiter(defaultLimits())
	for s := sockID(1); s <= 3; s++ {
		lim.accept(0, s, host(10, 0, int(s), 1), false, 400+int(s))
	}
	require.Equal(t, 3, lim.counters.Parked)
	due, _ := lim.nextTimer()
	require.Equal(t, lim.cfg.softDelay(401), due)
	_, _, ok := lim.release(due-1, 0)
	require.False(t, ok)
	s, a, ok := lim.release(due, 450)
	require.True(t, ok)
	require.Equal(t, sockID(1), s)
	require.Equal(t, verdictHandshake, a.verdict, "it has served its delay")
	lim.gone(2)
	s, a, ok = lim.release(time.Minute, 496)
	require.True(t, ok)
	require.Equal(t, sockID(3), s)
	require.Equal(t, verdictReset, a.verdict)
	require.Equal(t, 1, lim.counters.Unnegotiated)
	require.Zero(t, lim.counters.Parked)
}

// 10,000 silent sockets from many prefixes at 1,000/s do not keep out a peer with 50 ms round trip, nor one that comes from a
// prefix full of them.
func TestSilentSocketsDoNotKeepOutAnHonestPeer(t *testing.T) {
	lim := newLimiter(defaultLimits())
	now := time.Duration(0)
	evicted := map[sockID]bool{}
	next := sockID(0)
	add := func(remote netip.AddrPort) sockID {
		next++
		a := lim.accept(now, next, remote, false, 100)
		require.Equal(t, verdictHandshake, a.verdict)
		if a.evict != 0 {
			evicted[a.evict] = true
			require.ErrorIs(t, a.evicted, ErrEvicted)
		}
		return next
	}
	for i := range 10_000 {
		now += time.Millisecond
		add(host(10, i/200%250, i%200, 7))
		if i%500 == 250 {
			// The honest peer's proposal is complete two round trips after accept; then the handshake is ours to finish.
			honest := add(host(192, 168, i%250, 1))
			for j := range 100 {
				now += time.Millisecond
				add(host(11, j%250, i%250, 7))
			}
			require.False(t, evicted[honest], "evicted before it could speak")
			lim.proposed(honest)
			for j := range 300 {
				add(host(12, j%250, i%250, 7))
			}
			require.False(t, evicted[honest], "silent sockets go first")
			require.True(t, lim.gone(honest))
		}
	}
	require.LessOrEqual(t, lim.order.Len(), 256)
}

// A prefix at its cap evicts within itself: a flood from one prefix costs nobody else, and an honest retry from there gets in.
func TestPrefixCapEvictsWithinItself(t *testing.T) {
	lim := newLimiter(defaultLimits())
	elsewhere := sockID(100_000)
	lim.accept(0, elsewhere, host(8, 8, 8, 8), false, 0)
	for i := range 1000 {
		a := lim.accept(0, sockID(i+1), host(10, 0, 0, i%256), false, 0)
		if i >= 64 {
			require.Equal(t, sockID(i+1-64), a.evict)
			require.Equal(t, "un-negotiated sockets of 10.0.0.0/24", a.evicted.Scope)
		}
	}
	require.Equal(t, 65, lim.order.Len())
	retry := sockID(5000)
	require.Equal(t, verdictHandshake, lim.accept(0, retry, host(10, 0, 0, 9), false, 0).verdict)
	lim.proposed(retry)
	for i := range 63 {
		require.NotEqual(t, retry, lim.accept(0, sockID(6000+i), host(10, 0, 0, 1), false, 0).evict)
	}
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.0.0.9"), 1)
	require.NotZero(t, lim.accept(0, 7000, mapped, false, 0).evict, "IPv4-mapped addresses count as IPv4")
	// Loopback and protected addresses are exempt.
	for i := range 100 {
		require.Zero(t, lim.accept(0, sockID(8000+i), host(127, 0, 0, 1), false, 0).evict)
	}
	for i := range 80 {
		require.Zero(t, lim.accept(0, sockID(9000+i), host(10, 0, 0, 1), true, 0).evict)
	}
	require.Equal(t, 245, lim.order.Len())
}

func TestProtectedSocketsAreEvictedLast(t *testing.T) {
	lim := newLimiter(Limits{Hard: 100, Soft: 90, Delay: time.Second, Reserve: 5, Unnegotiated: 4})
	lim.accept(0, 1, host(1, 0, 0, 1), true, 0)
	lim.accept(0, 2, host(2, 0, 0, 1), false, 0)
	lim.proposed(2)
	lim.accept(0, 3, host(3, 0, 0, 1), false, 0)
	lim.closing(3, 0)
	lim.accept(0, 4, host(4, 0, 0, 1), true, 0)
	require.Equal(t, sockID(2), lim.accept(0, 5, host(5, 0, 0, 1), true, 0).evict, "all others have proposed: the oldest of them")
	require.Equal(t, sockID(3), lim.accept(0, 6, host(6, 0, 0, 1), true, 0).evict)
	require.Equal(t, sockID(1), lim.accept(0, 7, host(7, 0, 0, 1), false, 0).evict, "nothing else is left")
}

// The budget is never exceeded and its books always balance.
func TestLimiterBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Limits{Hard: 10, Soft: 4, Delay: time.Second, Reserve: 2, Unnegotiated: rapid.IntRange(1, 12).Draw(t, "budget")}
		lim := newLimiter(cfg)
		open := map[sockID]bool{}
		now := time.Duration(0)
		next := sockID(0)
		pick := func() sockID { return sockID(rapid.IntRange(0, int(next)+1).Draw(t, "sock")) }
		t.Repeat(map[string]func(*rapid.T){
			"accept": func(t *rapid.T) {
				next++
				a := lim.accept(now, next, host(rapid.SampledFrom([]int{10, 11, 127}).Draw(t, "net"), 0, 0, 1), rapid.Bool().Draw(t, "protected"),
					rapid.IntRange(0, 11).Draw(t, "inbound"))
				if a.evict != 0 {
					if !open[a.evict] {
						t.Fatalf("evicts %d, which is not open", a.evict)
					}
					delete(open, a.evict)
				}
				if a.verdict != verdictReset {
					open[next] = true
				}
			},
			"gone": func(t *rapid.T) {
				s := pick()
				if lim.gone(s) != open[s] {
					t.Fatal("gone disagrees")
				}
				delete(open, s)
			},
			"proposed": func(*rapid.T) { lim.proposed(pick()) },
			"closing":  func(*rapid.T) { lim.closing(pick(), 0) },
			"time": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
				for {
					s, a, ok := lim.release(now, rapid.IntRange(0, 11).Draw(t, "inbound"))
					if !ok {
						break
					}
					if !open[s] {
						t.Fatalf("releases %d", s)
					}
					if a.verdict == verdictReset {
						delete(open, s)
					}
				}
			},
			"": func(t *rapid.T) {
				parked, prefixes := 0, map[netip.Prefix]int{}
				for e := lim.order.Front(); e != nil; e = e.Next() {
					u := e.Value.(*unnegotiated)
					if u.phase == phaseParked {
						parked++
					}
					if !u.exempt {
						prefixes[u.prefix]++
					}
				}
				if lim.order.Len() != len(open) || len(lim.bySock) != len(open) || lim.counters.Unnegotiated != len(open) {
					t.Fatalf("%d open, books say %d", len(open), lim.order.Len())
				}
				if len(open) > cfg.Unnegotiated || parked != lim.counters.Parked || parked != len(lim.parked.heap) {
					t.Fatalf("parked %d, %+v", parked, lim.counters)
				}
				if fmt.Sprint(prefixes) != fmt.Sprint(lim.prefixes) {
					t.Fatalf("prefixes %v, books %v", prefixes, lim.prefixes)
				}
				for p, n := range prefixes {
					if n > max(cfg.Unnegotiated/4, 1) {
						t.Fatalf("%v has %d", p, n)
					}
				}
			},
		})
	})
}

// prop_server_accept_error, with connmgr §11 item 7: only a listener that is none is fatal.
func TestAcceptBackoff(t *testing.T) {
	var b acceptBackoff
	var got []time.Duration
	for _, err := range []error{
		syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPROTO, syscall.EINTR, syscall.ECONNABORTED, syscall.EMFILE,
	} {
		pause, fatal := b.failed(&net.OpError{Op: "accept", Err: err})
		require.False(t, fatal, err)
		got = append(got, pause/time.Millisecond)
	}
	require.Equal(t, []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000}, got)
	b.succeeded()
	pause, _ := b.failed(syscall.EMFILE)
	require.Equal(t, 5*time.Millisecond, pause)
	for _, err := range []error{net.ErrClosed, syscall.EINVAL, syscall.EBADF} {
		_, fatal := b.failed(&net.OpError{Op: "accept", Err: err})
		require.True(t, fatal, err)
	}
}

func TestLimitsValidateReportsEverything(t *testing.T) {
	require.NoError(t, Limits{}.Validate())
	err := Limits{Hard: 10, Soft: 20, Reserve: 10}.Validate()
	require.ErrorContains(t, err, "soft limit 20 above hard limit 10")
	require.ErrorContains(t, err, "the reserve of 10 leaves nothing")
}

func BenchmarkLimiterUnderFlood(b *testing.B) {
	lim := newLimiter(defaultLimits())
	rnd := rand.New(rand.NewPCG(1, 1))
	s := sockID(0)
	b.ReportAllocs()
	for b.Loop() {
		s++
		lim.accept(0, s, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(rnd.Uint32()), byte(rnd.Uint32()), 1}), 1), false, 0)
	}
}
