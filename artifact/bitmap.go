package artifact

import "math/bits"

// bitmap is a fixed set of small integers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) get(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }
func (b bitmap) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitmap) clear(i int)    { b[i>>6] &^= 1 << (i & 63) }

func (b bitmap) put(i int, v bool) {
	if v {
		b.set(i)
	} else {
		b.clear(i)
	}
}

// next returns the first member ≥ from, -1 when there is none. from may be one past the end.
func (b bitmap) next(from int) int {
	w := from >> 6
	if w >= len(b) {
		return -1
	}
	if x := b[w] >> (from & 63); x != 0 {
		return from + bits.TrailingZeros64(x)
	}
	for w++; w < len(b); w++ {
		if b[w] != 0 {
			return w<<6 + bits.TrailingZeros64(b[w])
		}
	}
	return -1
}

// nextZero returns the first non-member in from … n-1, -1 when there is none.
func (b bitmap) nextZero(from, n int) int {
	for from < n {
		if x := ^b[from>>6] >> (from & 63); x != 0 {
			if i := from + bits.TrailingZeros64(x); i < n {
				return i
			}
			return -1
		}
		from = (from>>6 + 1) << 6
	}
	return -1
}

func (b bitmap) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b bitmap) bytes() int64 { return int64(len(b)) * 8 }
