package topology

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
)

// Pool is a stake pool and its relays.
type Pool struct {
	// Stake is the pool's share. Selections renormalise it, so amounts of lovelace do as well as fractions of the total.
	Stake Fraction
	// Accumulated is the stake of this pool and all larger ones as a share of the total; zero where it is not known.
	Accumulated Fraction
	// Relays has at least one entry. SRV names are without the prefix "_cardano._tcp." here (governor §6.4).
	Relays []AccessPoint
}

// SRVPrefix is put before the SRV names of ledger relays when they are looked up (CIP-155). Names of a topology are used as
// they stand.
const SRVPrefix = "_cardano._tcp."

// maxCommonDenominator bounds the size in bits of the least common denominator in which stakes are added up exactly. Stakes of
// a ledger have the total as denominator and those of a snapshot a power of ten, both far below it. Beyond it each stake is
// rounded down to a multiple of 2^-512.
const maxCommonDenominator = 16384

// shares brings the stakes to a common denominator: pool i has the share parts[i]/total. Negative stakes count as zero.
func shares(pools []Pool) (parts []*big.Int, total *big.Int) {
	common := big.NewInt(1)
	gcd, rest := new(big.Int), new(big.Int)
	dens := map[string]struct{}{} // distinct ones only: equal denominators are the rule
	for _, p := range pools {
		_, den := p.Stake.parts()
		key := string(den.Bytes())
		if _, ok := dens[key]; ok {
			continue
		}
		dens[key] = struct{}{}
		gcd.GCD(nil, nil, common, den)
		common.Mul(common, rest.Quo(den, gcd))
		if common.BitLen() > maxCommonDenominator {
			common.Lsh(big.NewInt(1), 512)
			break
		}
	}
	parts, total = make([]*big.Int, len(pools)), new(big.Int)
	for i, p := range pools {
		num, den := p.Stake.parts()
		v := new(big.Int)
		if num.Sign() > 0 {
			v.Mul(num, common)
			v.Quo(v, den)
		}
		parts[i] = v
		total.Add(total, v)
	}
	return parts, total
}

// Renormalise returns the pools with stakes that sum to one.
func Renormalise(pools []Pool) []Pool {
	parts, total := shares(pools)
	out := slices.Clone(pools)
	for i := range out {
		out[i].Stake = fractionOfInts(parts[i], total)
	}
	return out
}

// AccumulateBigLedgerStake returns the big ledger pools: in descending order of stake, those up to and including the one with
// which the accumulated stake passes 90 % (governor §6.1). Stakes are renormalised over all pools given; all arithmetic is
// exact. Pools of equal stake keep their order.
func AccumulateBigLedgerStake(pools []Pool) []Pool {
	parts, total := shares(pools)
	order := bigPools(parts, total)
	out := make([]Pool, 0, len(order))
	sum := new(big.Int)
	for _, i := range order {
		sum.Add(sum, parts[i])
		p := pools[i]
		p.Stake, p.Accumulated = fractionOfInts(parts[i], total), fractionOfInts(sum, total)
		out = append(out, p)
	}
	return out
}

// bigPools returns the indices of the big ledger pools in descending order of stake: a pool belongs to them while the sum
// before it is at most nine tenths.
func bigPools(parts []*big.Int, total *big.Int) []int {
	if total.Sign() == 0 {
		return nil
	}
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return parts[order[a]].Cmp(parts[order[b]]) > 0 })
	sum, left, limit := new(big.Int), new(big.Int), new(big.Int).Mul(total, big.NewInt(9))
	ten := big.NewInt(10)
	for n, i := range order {
		if left.Mul(sum, ten).Cmp(limit) > 0 {
			return order[:n]
		}
		sum.Add(sum, parts[i])
	}
	return order
}

func fractionOfInts(num, den *big.Int) Fraction {
	if den.Sign() == 0 {
		return Fraction{}
	}
	return ownFraction(new(big.Rat).SetFrac(num, den))
}

// Selection draws ledger peers (governor §6.1). It is immutable; drawing is O(log pools) and allocates nothing but the result.
type Selection struct {
	relays [][]AccessPoint // by pool, SRV names with their prefix
	all    wheel
	big    wheel
}

// wheel maps a random word to a pool: the first whose limit is not below the word.
type wheel struct {
	limits []uint64
	pools  []int32
}

// NewSelection prepares the selection from the ledger's pools. Pools without relays or without stake are left out.
func NewSelection(pools []Pool) *Selection {
	pools = slices.DeleteFunc(slices.Clone(pools), func(p Pool) bool { return len(p.Relays) == 0 || p.Stake.Sign() <= 0 })
	s := newSelection(pools)
	parts, total := shares(pools)
	s.all = squareRoots(parts, total)
	sum := new(big.Int)
	for _, i := range bigPools(parts, total) {
		sum.Add(sum, parts[i])
		s.big.add(limitOfBig(sum, total), i)
	}
	return s
}

// NewSnapshotSelection prepares the selection from a snapshot: the big pools with the accumulated stakes of the file, all
// pools from the big ones only. A snapshot of all pools has its big pools worked out.
func NewSnapshotSelection(snapshot *Snapshot) *Selection {
	if snapshot.All {
		return NewSelection(snapshot.Pools)
	}
	pools := slices.DeleteFunc(slices.Clone(snapshot.Pools), func(p Pool) bool { return len(p.Relays) == 0 })
	// The file's order is not relied on; of two pools with the same accumulated stake the later one counts, as in a map.
	slices.SortStableFunc(pools, func(a, b Pool) int { return a.Accumulated.Cmp(b.Accumulated) })
	pools = slices.DeleteFunc(pools, func(p Pool) bool { return p.Accumulated.Sign() <= 0 }) // never drawn
	s := newSelection(pools)
	parts, total := shares(pools)
	s.all = squareRoots(parts, total)
	for i, p := range pools {
		if i+1 < len(pools) && pools[i+1].Accumulated.Cmp(p.Accumulated) == 0 {
			continue
		}
		num, den := p.Accumulated.parts()
		s.big.add(limitOfBig(num, den), i)
	}
	return s
}

func newSelection(pools []Pool) *Selection {
	s := &Selection{relays: make([][]AccessPoint, len(pools))}
	for i, p := range pools {
		s.relays[i] = slices.Clone(p.Relays)
		for j := range s.relays[i] {
			if r := &s.relays[i][j]; r.Kind == SRV {
				r.Name = SRVPrefix + r.Name
			}
		}
	}
	return s
}

// squareRoots gives each pool a part of the wheel in proportion to the root of its stake. Doubles are enough here: nothing is
// decided by an edge.
func squareRoots(parts []*big.Int, total *big.Int) wheel {
	roots, sum := make([]float64, len(parts)), 0.0
	for i, p := range parts {
		if p.Sign() > 0 {
			share, _ := new(big.Rat).SetFrac(p, total).Float64()
			roots[i] = math.Sqrt(share)
			sum += roots[i]
		}
	}
	var w wheel
	acc := 0.0
	for i, r := range roots {
		if r == 0 {
			continue
		}
		acc += r
		limit := uint64(math.MaxUint64)
		if x := acc / sum * (1 << 64); x < 1<<64 {
			limit = uint64(x)
		}
		w.add(limit, i)
	}
	if n := len(w.limits); n > 0 {
		w.limits[n-1] = math.MaxUint64 // whatever rounding left over
	}
	return w
}

// limitOfBig is the largest word r with 0.9·r/(2^64−1) ≤ num/den: a uniform word then draws uniformly from [0, 0.9].
func limitOfBig(num, den *big.Int) uint64 {
	v := new(big.Int).SetUint64(math.MaxUint64)
	v.Mul(v, num)
	v.Mul(v, big.NewInt(10))
	v.Quo(v, new(big.Int).Mul(den, big.NewInt(9)))
	if !v.IsUint64() {
		return math.MaxUint64
	}
	return v.Uint64()
}

func (w *wheel) add(limit uint64, pool int) {
	w.limits = append(w.limits, limit)
	w.pools = append(w.pools, int32(pool))
}

// draw returns the pool for a random word; false when the word is beyond the last limit, which only an incomplete snapshot
// makes possible.
func (w *wheel) draw(word uint64) (int, bool) {
	lo, hi := 0, len(w.limits)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); w.limits[mid] < word {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(w.limits) {
		return 0, false
	}
	return int(w.pools[lo]), true
}

// Len returns the number of pools that can be drawn.
func (s *Selection) Len(big bool) int { return len(s.wheel(big).limits) }

func (s *Selection) wheel(big bool) *wheel {
	if big {
		return &s.big
	}
	return &s.all
}

// Draw makes one draw: a pool by weight, then one of its relays uniformly. It is false when there is nothing to draw or the
// draw missed.
func (s *Selection) Draw(rnd *rand.Rand, big bool) (AccessPoint, bool) {
	pool, ok := s.wheel(big).draw(rnd.Uint64())
	if !ok {
		return AccessPoint{}, false
	}
	relays := s.relays[pool]
	if len(relays) == 1 {
		return relays[0], true
	}
	return relays[rnd.IntN(len(relays))], true
}

// Pick makes n independent draws with replacement and returns the different access points among them, at most n, in the order
// drawn. A miss uses up its draw.
func (s *Selection) Pick(rnd *rand.Rand, n int, big bool) []AccessPoint {
	if s.Len(big) == 0 || n <= 0 {
		return nil
	}
	var out []AccessPoint
	seen := make(map[AccessPoint]struct{}, min(n, 64))
	for range n {
		if a, ok := s.Draw(rnd, big); ok {
			if _, again := seen[a]; !again {
				seen[a] = struct{}{}
				out = append(out, a)
			}
		}
	}
	return out
}
