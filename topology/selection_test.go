package topology

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/internal/testdata"
)

func testRelay(i int) AccessPoint {
	return AccessPoint{Kind: Domain, Name: fmt.Sprintf("r%d.", i), Port: 1}
}

// genPools draws stake distributions: like a ledger's, like a file's, and odd ones.
func genPools(min int) *rapid.Generator[[]Pool] {
	return rapid.Custom(func(t *rapid.T) []Pool {
		n := rapid.IntRange(min, 12).Draw(t, "n")
		pools := make([]Pool, n)
		for i := range pools {
			pools[i].Stake = NewFraction(rapid.Uint64Range(0, 9).Draw(t, "stake"), rapid.SampledFrom([]uint64{1, 1, 10, 7, 1 << 40}).Draw(t, "den"))
			for j := range rapid.IntRange(1, 3).Draw(t, "relays") {
				pools[i].Relays = append(pools[i].Relays, testRelay(10*i+j))
			}
		}
		return pools
	})
}

// TestPick: prop_pick. Every access point picked belongs to a pool of the kind asked for, none comes twice, at most n come.
func TestPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := genPools(0).Draw(t, "pools")
		s := NewSelection(pools)
		for _, onlyBig := range []bool{false, true} {
			allowed := map[AccessPoint]bool{}
			from := pools
			if onlyBig {
				from = AccumulateBigLedgerStake(pools)
			}
			sum := new(big.Rat)
			for _, p := range from {
				for _, r := range p.Relays {
					allowed[r] = p.Stake.Sign() > 0
				}
				sum.Add(sum, p.Stake.Rat())
			}
			n := rapid.IntRange(0, 40).Draw(t, "n")
			got := s.Pick(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), n, onlyBig)
			if len(got) > n {
				t.Fatalf("%d of %d", len(got), n)
			}
			if len(got) == 0 && n > 0 && sum.Sign() > 0 {
				t.Fatal("nothing picked")
			}
			seen := map[AccessPoint]bool{}
			for _, a := range got {
				if seen[a] || !allowed[a] {
					t.Fatalf("picked %v", a)
				}
				seen[a] = true
			}
		}
	})
}

// TestPick100: prop_pick100. A pool with all of the stake is always chosen.
func TestPick100(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := make([]Pool, rapid.IntRange(1, 20).Draw(t, "pools"))
		for i := range pools {
			pools[i].Relays = []AccessPoint{testRelay(i)}
		}
		full := rapid.IntRange(0, len(pools)-1).Draw(t, "full")
		pools[full].Stake = NewFraction(rapid.Uint64Min(1).Draw(t, "stake"), rapid.Uint64Min(1).Draw(t, "den"))
		s := NewSelection(pools)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		for _, big := range []bool{false, true} {
			require.Equal(t, []AccessPoint{testRelay(full)}, s.Pick(rnd, 20, big))
		}
	})
}

// TestRecomputeRelativeStake: prop_recomputeRelativeStake. Shares sum to one exactly and keep their ratios.
func TestRecomputeRelativeStake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := genPools(1).Draw(t, "pools")
		total := new(big.Rat)
		for _, p := range pools {
			total.Add(total, p.Stake.Rat())
		}
		sum := new(big.Rat)
		for i, p := range Renormalise(pools) {
			sum.Add(sum, p.Stake.Rat())
			if total.Sign() > 0 {
				require.Zero(t, new(big.Rat).Mul(p.Stake.Rat(), total).Cmp(pools[i].Stake.Rat()))
			}
		}
		if total.Sign() > 0 {
			require.Zero(t, sum.Cmp(big.NewRat(1, 1)))
		}
	})
}

// TestAccumulateBigLedgerStake: prop_accumulateBigLedgerStake, against the definition in big.Rat.
func TestAccumulateBigLedgerStake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := genPools(0).Draw(t, "pools")
		got := AccumulateBigLedgerStake(pools)
		total := new(big.Rat)
		for _, p := range pools {
			total.Add(total, p.Stake.Rat())
		}
		if total.Sign() == 0 {
			require.Empty(t, got)
			return
		}
		sum, nine := new(big.Rat), big.NewRat(9, 10)
		for i, p := range got {
			if sum.Cmp(nine) > 0 {
				t.Fatal("a pool behind the one that passes 90 %")
			}
			if i > 0 && p.Stake.Cmp(got[i-1].Stake) > 0 {
				t.Fatal("not in descending order")
			}
			sum.Add(sum, p.Stake.Rat())
			require.Zero(t, sum.Cmp(p.Accumulated.Rat()))
		}
		if sum.Cmp(nine) <= 0 && len(got) < len(pools) {
			t.Fatal("a pool is missing")
		}
	})
}

// TestNinetyPercentEdge: nine pools of a tenth each reach 90 % exactly, so the tenth still belongs to the big ones; with one
// lovelace more in the first nine it does not. Sums of doubles get both wrong.
func TestNinetyPercentEdge(t *testing.T) {
	pools := make([]Pool, 10)
	for i := range pools {
		pools[i] = Pool{Stake: NewFraction(1, 10), Relays: []AccessPoint{testRelay(i)}}
	}
	require.Len(t, AccumulateBigLedgerStake(pools), 10)
	require.Equal(t, 10, NewSelection(pools).Len(true))
	const total = 45_000_000_000_000_000
	for i := range pools {
		pools[i].Stake = NewFraction(total/10, 1)
	}
	require.Len(t, AccumulateBigLedgerStake(pools), 10)
	pools[0].Stake, pools[9].Stake = NewFraction(total/10+1, 1), NewFraction(total/10-1, 1)
	require.Len(t, AccumulateBigLedgerStake(pools), 9)
	require.Equal(t, 9, NewSelection(pools).Len(true))
}

// TestManyDenominators: stakes without a manageable common denominator are rounded, and the selection stays right.
func TestManyDenominators(t *testing.T) {
	pools := make([]Pool, 1000)
	for i := range pools {
		pools[i] = Pool{Stake: NewFraction(uint64(i+1), math.MaxUint64-2*uint64(i)), Relays: []AccessPoint{testRelay(i)}}
	}
	got := AccumulateBigLedgerStake(pools)
	require.Equal(t, testRelay(999), got[0].Relays[0])
	sum := 0.0
	for i, p := range got {
		sum += p.Stake.Float64()
		require.InDelta(t, sum, p.Accumulated.Float64(), 1e-12, i)
	}
	require.InDelta(t, 0.9, sum, 0.001)
}

// TestSnapshotSelection: prop_getLedgerPeers for snapshots. Big pools with the file's accumulated stakes, all from the big.
func TestSnapshotSelection(t *testing.T) {
	s := ParseSnapshot(testdata.Read(t, "peer-snapshot", "v23-mainnet-2026-05.json"), SnapshotOptions{}).Snapshot
	sel := NewSnapshotSelection(s)
	require.Equal(t, len(s.Pools), sel.Len(false))
	require.Equal(t, len(s.Pools), sel.Len(true))
	allowed := map[AccessPoint]bool{}
	for _, p := range s.Pools {
		for _, r := range p.Relays {
			if r.Kind == SRV {
				r.Name = "_cardano._tcp." + r.Name
			}
			allowed[r] = true
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, big := range []bool{false, true} {
		got := sel.Pick(rnd, 500, big)
		require.NotEmpty(t, got)
		for _, a := range got {
			require.True(t, allowed[a], a)
		}
	}
	// A snapshot that ends below 90 % leaves a gap, and a draw into it is a miss.
	sel = NewSnapshotSelection(&Snapshot{Version: 23, Pools: []Pool{{Stake: NewFraction(45, 100), Accumulated: NewFraction(45, 100), Relays: []AccessPoint{testRelay(1)}}}})
	hits := 0
	for range 10000 {
		if _, ok := sel.Draw(rnd, true); ok {
			hits++
		}
	}
	require.InDelta(t, 5000, hits, 300)
	require.Empty(t, NewSelection(nil).Pick(rnd, 5, false))
}

// chiSquare returns (χ² − degrees of freedom) / √(2·degrees of freedom), nearly normal for many categories.
func chiSquare(counts []int, p []float64, n int) float64 {
	x, df := 0.0, -1.0
	for i, c := range counts {
		want := p[i] * float64(n)
		x += (float64(c) - want) * (float64(c) - want) / want
		df++
	}
	return (x - df) / math.Sqrt(2*df)
}

// TestSelectionDistribution compares both selections with the closed formulas of governor §6.1: √stake over all pools, and
// stake up to the pool that passes 90 %, which gets only what is left of the interval. The relay is uniform within its pool.
func TestSelectionDistribution(t *testing.T) {
	pools := make([]Pool, 200)
	total := 0.0
	stake := func(i int) float64 { return float64((i*i)%997 + 3) }
	for i := range pools {
		pools[i].Stake = NewFraction(uint64(stake(i)), 1)
		for j := range i%3 + 1 {
			pools[i].Relays = append(pools[i].Relays, testRelay(10*i+j))
		}
		total += stake(i)
	}
	const draws = 1_000_000
	expect := func(big bool) map[AccessPoint]float64 {
		out := map[AccessPoint]float64{}
		if !big {
			roots := 0.0
			for i := range pools {
				roots += math.Sqrt(stake(i))
			}
			for i, p := range pools {
				for _, r := range p.Relays {
					out[r] = math.Sqrt(stake(i)) / roots / float64(len(p.Relays))
				}
			}
			return out
		}
		before := 0.0
		for _, p := range AccumulateBigLedgerStake(pools) {
			share := min(before+p.Stake.Float64(), 0.9) - before
			before += p.Stake.Float64()
			for _, r := range p.Relays {
				out[r] = share / 0.9 / float64(len(p.Relays))
			}
		}
		return out
	}
	s := NewSelection(pools)
	for _, big := range []bool{false, true} {
		rnd := rand.New(rand.NewPCG(7, 11))
		counts := map[AccessPoint]int{}
		for range draws {
			a, ok := s.Draw(rnd, big)
			if !ok {
				t.Fatal("a miss")
			}
			counts[a]++
		}
		var n []int
		var p []float64
		want := expect(big)
		sum := 0.0
		for i := range pools {
			for _, r := range pools[i].Relays {
				if want[r] > 0 {
					n, p = append(n, counts[r]), append(p, want[r])
					sum += want[r]
				} else {
					require.Zero(t, counts[r])
				}
			}
		}
		require.InDelta(t, 1, sum, 1e-9)
		// Three and a half standard deviations; the seed is fixed.
		require.Less(t, math.Abs(chiSquare(n, p, draws)), 3.5, "big %v", big)
		// The test can tell: the other kind's distribution is far off.
		uniform := make([]float64, len(n))
		for i := range uniform {
			uniform[i] = 1 / float64(len(n))
		}
		require.Greater(t, chiSquare(n, uniform, draws), 500.0)
	}
}

// TestFraction checks the compact form against big.Rat.
func TestFraction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genFraction().Draw(t, "a"), genFraction().Draw(t, "b")
		require.Equal(t, a.Rat().Cmp(b.Rat()), a.Cmp(b))
		require.Equal(t, a.Rat().Sign(), a.Sign())
		require.Zero(t, FractionOf(a.Rat()).Cmp(a))
		want, _ := a.Rat().Float64()
		require.Equal(t, want, a.Float64())
		require.Equal(t, a.Rat().String(), a.String())
		require.Zero(t, a.Cmp(a))
	})
}

// mainnetPools are as many pools as mainnet has, with one to three relays each.
func mainnetPools(rnd *rand.Rand) []Pool {
	pools := make([]Pool, 3000)
	for i := range pools {
		pools[i].Stake = NewFraction(rnd.Uint64N(70_000_000_000_000), 22_000_000_000_000_000)
		for j := range i%3 + 1 {
			pools[i].Relays = append(pools[i].Relays, testRelay(10*i+j))
		}
	}
	return pools
}

// TestPickRate: a million picks a second over 3,000 pools, in the best of a few short runs.
func TestPickRate(t *testing.T) {
	if boundFactor > 1 {
		return // the race detector's time is not ours
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	s := NewSelection(mainnetPools(rnd))
	for _, onlyBig := range []bool{false, true} {
		best := 0.0
		for range 10 {
			start := time.Now()
			for range 20_000 {
				s.Draw(rnd, onlyBig)
			}
			best = max(best, 20_000/time.Since(start).Seconds())
		}
		require.Greater(t, best, 1e6)
	}
}

func BenchmarkPick(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	pools := mainnetPools(rnd)
	s := NewSelection(pools)
	for _, big := range []bool{false, true} {
		name := "all"
		if big {
			name = "big"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Draw(rnd, big)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "picks/s")
		})
		b.Run(name+"-sets-of-100", func(b *testing.B) {
			n := 0
			for b.Loop() {
				s.Pick(rnd, 100, big)
				n += 100
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "picks/s")
		})
	}
	b.Run("prepare", func(b *testing.B) {
		for b.Loop() {
			NewSelection(pools)
		}
	})
}
