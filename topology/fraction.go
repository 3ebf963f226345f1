package topology

import (
	"cmp"
	"math/big"
	"math/bits"
	"strconv"
	"sync/atomic"
)

// Fraction is an exact rational number in lowest terms. Numerators and denominators below 2^64 (all real stakes) are held
// in place, others as big integers. The zero value is zero.
type Fraction struct {
	num, den uint64 // 0/0 is zero
	wide     *wideFraction
}

// wideFraction is in lowest terms, its denominator positive. It is never changed and its parts may be shared.
type wideFraction struct{ num, den *big.Int }

// NewFraction returns num/den; a zero denominator gives zero.
func NewFraction(num, den uint64) Fraction {
	if num == 0 || den == 0 {
		return Fraction{}
	}
	g := gcd(num, den)
	return Fraction{num: num / g, den: den / g}
}

// FractionOf returns the value of r.
func FractionOf(r *big.Rat) Fraction { return ownFraction(new(big.Rat).Set(r)) }

// ownFraction returns the value of r, which must not be used afterwards.
func ownFraction(r *big.Rat) Fraction {
	if r.Sign() >= 0 && r.Num().IsUint64() && r.Denom().IsUint64() {
		return NewFraction(r.Num().Uint64(), r.Denom().Uint64())
	}
	return Fraction{wide: &wideFraction{r.Num(), r.Denom()}}
}

// reduced returns num/den for a positive den without copying either first.
func reduced(num, den *big.Int) Fraction {
	g := new(big.Int).GCD(nil, nil, num, den)
	var r big.Int
	n, d := new(big.Int), new(big.Int)
	n.QuoRem(num, g, &r)
	d.QuoRem(den, g, &r)
	if n.Sign() >= 0 && n.IsUint64() && d.IsUint64() {
		return NewFraction(n.Uint64(), d.Uint64())
	}
	return Fraction{wide: &wideFraction{n, d}}
}

// Rat returns the value as a new big.Rat.
func (f Fraction) Rat() *big.Rat {
	return new(big.Rat).SetFrac(f.parts())
}

// Float64 returns the nearest double.
func (f Fraction) Float64() float64 {
	if f.wide == nil && f.num < 1<<53 && f.den < 1<<53 {
		return float64(f.num) / float64(max(f.den, 1))
	}
	v, _ := f.Rat().Float64()
	return v
}

// Sign returns -1, 0 or 1.
func (f Fraction) Sign() int {
	switch {
	case f.wide != nil:
		return f.wide.num.Sign()
	case f.num > 0:
		return 1
	}
	return 0
}

// Cmp returns -1, 0 or 1 when f is less than, equal to or greater than g.
func (f Fraction) Cmp(g Fraction) int {
	if f.wide != nil || g.wide != nil {
		return f.cmpWide(g)
	}
	hi1, lo1 := bits.Mul64(f.num, max(g.den, 1))
	hi2, lo2 := bits.Mul64(g.num, max(f.den, 1))
	switch {
	case hi1 < hi2 || hi1 == hi2 && lo1 < lo2:
		return -1
	case hi1 == hi2 && lo1 == lo2:
		return 0
	}
	return 1
}

func (f Fraction) cmpWide(g Fraction) int {
	if s, t := f.Sign(), g.Sign(); s != t || s == 0 {
		return cmp.Compare(s, t)
	}
	a, b := f.parts()
	c, d := g.parts()
	if b == d || b.Cmp(d) == 0 {
		return a.Cmp(c)
	}
	// a/b against c/d by a·d against c·b; the lengths mostly decide without multiplying.
	if l, r := a.BitLen()+d.BitLen(), c.BitLen()+b.BitLen(); l+1 < r || r+1 < l {
		return cmp.Compare(l, r) * f.Sign()
	}
	return new(big.Int).Mul(a, d).Cmp(new(big.Int).Mul(c, b))
}

// aboveOne tells whether the value is greater than 1.
func (f Fraction) aboveOne() bool {
	if f.wide != nil {
		return f.wide.num.Cmp(f.wide.den) > 0
	}
	return f.num > f.den
}

// String returns "num/den".
func (f Fraction) String() string { return f.Rat().String() }

// parts returns numerator and denominator as big integers, not to be changed.
func (f Fraction) parts() (num, den *big.Int) {
	if f.wide != nil {
		return f.wide.num, f.wide.den
	}
	return new(big.Int).SetUint64(f.num), new(big.Int).SetUint64(max(f.den, 1))
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Bounds on a stake: aeson refuses rationals with larger exponents, and more digits than this carry no meaning.
const (
	maxRatExp    = 1024
	maxRatDigits = 1100
)

// fraction returns the value of a decimal, or why it is refused.
func (d decimal) fraction() (Fraction, string) {
	switch {
	case d.shown > maxRatExp || d.shown < -maxRatExp:
		return Fraction{}, "the exponent is beyond ±" + strconv.Itoa(maxRatExp)
	case len(d.digits) > maxRatDigits || d.exp > maxRatExp+maxRatDigits:
		return Fraction{}, "more than " + strconv.Itoa(maxRatDigits) + " digits"
	case len(d.digits) == 0:
		return Fraction{}, ""
	case !d.neg && len(d.digits) <= 19 && d.exp <= 0 && d.exp >= -19: // the rule: 0.0056… with at most 19 digits and places
		var n uint64
		for _, c := range d.digits {
			n = n*10 + uint64(c-'0')
		}
		return NewFraction(n, smallPow10[-d.exp]), ""
	}
	num, _ := new(big.Int).SetString(string(d.digits), 10)
	if d.neg {
		num.Neg(num)
	}
	den := pow10(0)
	switch {
	case d.exp > 0:
		num.Mul(num, pow10(int(d.exp)))
	case d.exp < 0:
		num, den = lowestTerms(num, int(-d.exp))
	}
	if num.IsUint64() && den.IsUint64() {
		return NewFraction(num.Uint64(), den.Uint64()), ""
	}
	return Fraction{wide: &wideFraction{num, den}}, ""
}

// lowestTerms reduces num/10^places, which can only have twos and fives in common.
func lowestTerms(num *big.Int, places int) (n, den *big.Int) {
	twos, fives := min(int(num.TrailingZeroBits()), places), 0
	five, q, r := big.NewInt(5), new(big.Int), new(big.Int)
	for fives < places {
		if q.QuoRem(num, five, r); r.Sign() != 0 {
			break
		}
		num, q = q, num
		fives++
	}
	if twos == 0 && fives == 0 {
		return num, pow10(places)
	}
	num.Rsh(num, uint(twos))
	den = new(big.Int).Exp(five, big.NewInt(int64(places-fives)), nil)
	return num, den.Lsh(den, uint(places-twos))
}

// powersOf10 keeps the powers that were needed once, less than half a megabyte in all: a denominator is shared by all stakes
// with as many places.
var powersOf10 [maxRatExp + maxRatDigits + 1]atomic.Pointer[big.Int]

func pow10(n int) *big.Int {
	if p := powersOf10[n].Load(); p != nil {
		return p
	}
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	powersOf10[n].Store(p)
	return p
}

var smallPow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = 10 * p[i-1]
	}
	return p
}()

// appendDecimal writes the exact value where it has a finite decimal form that can be read back, else the nearest double, as
// the reference does for all values.
func (f Fraction) appendDecimal(b []byte) []byte {
	num, den := f.parts()
	if den.IsUint64() && den.Uint64() == 1 {
		return num.Append(b, 10)
	}
	twos := den.TrailingZeroBits()
	rest := new(big.Int).Rsh(den, twos)
	fives := uint(0)
	five, q, r := big.NewInt(5), new(big.Int), new(big.Int)
	for fives <= maxRatExp && rest.BitLen() > 1 {
		if q.QuoRem(rest, five, r); r.Sign() != 0 {
			break
		}
		rest, q = q, rest
		fives++
	}
	if places := max(twos, fives); rest.BitLen() == 1 && places <= maxRatExp {
		return append(b, f.Rat().FloatString(int(places))...)
	}
	return appendFloat(b, f.Float64())
}
