package chain

import (
	"fmt"
	"iter"
	"slices"
)

// View is a chain at one moment: blocks 0 to Len()-1. It never changes, whatever happens to the chain it was taken from,
// and costs a hundred bytes; as long as it is kept, so are the index pages that it alone still refers to. Safe for
// concurrent use. The zero View is the empty chain.
//
// Reads append to a buffer of the caller's and return it, like append; they allocate only what the buffer lacks. Payloads are in
// wire form, and every byte of the block in them is as it is on disk. Find, Intersect, Points and At return no error: when the chain's
// index cannot be read they take a block for one that is not there, and the chain refuses to change from then on.
type View struct {
	idx index
	src source
}

// Info is what the index knows of a block.
type Info struct {
	Point       Point
	Number      uint64
	Era         Era
	Size        int // of the stored item
	HeaderBytes int
}

// Len is the number of blocks.
func (v *View) Len() int { return v.idx.n }

// Tip is the last block, the zero Tip for an empty chain.
func (v *View) Tip() Tip {
	e := v.idx.tip()
	if e == nil {
		return Tip{}
	}
	return Tip{Point: e.point(), Block: e.number}
}

// At describes block i, 0 ≤ i < Len(); it panics on another i, as an array does.
func (v *View) At(i int) Info {
	e, err := v.entry(i)
	if err != nil {
		return Info{}
	}
	return Info{e.point(), e.number, e.era(), e.itemBytes(), int(e.headerLen)}
}

func (v *View) entry(i int) (*entry, error) {
	if i < 0 || i >= v.idx.n {
		panic(fmt.Sprintf("chain: block %d of %d", i, v.idx.n))
	}
	return v.idx.at(i)
}

// Find returns the place of the block with the point, -1 for Origin, and whether it is on the chain. O(log n).
func (v *View) Find(p Point) (i int, ok bool) {
	i, ok, _ = v.idx.find(p)
	return i, ok
}

// Intersect returns the first of the points that is on the chain, and its place (wire §6). Origin is on every chain. O(log n)
// for each point.
func (v *View) Intersect(points []Point) (p Point, i int, ok bool) {
	for _, p := range points {
		if i, ok := v.Find(p); ok {
			return p, i, true
		}
	}
	return Point{}, 0, false
}

// Points returns what a client that has this chain proposes as intersections (wire §6): the tip, then blocks at
// exponentially growing distance down to depth blocks back, then the oldest of these, then Origin. At most 2 + log₂ depth
// points.
func (v *View) Points(depth int) []Point {
	var points []Point
	deepest := max(v.idx.n-1-depth, 0)
	add := func(i int) {
		if e, err := v.entry(i); err == nil {
			points = append(points, e.point())
		}
	}
	last := -1
	for i, step := v.idx.n-1, 1; i >= deepest; i, step = i-step, 2*step {
		add(i)
		last = i
	}
	if last > deepest {
		add(deepest)
	}
	return append(points, Origin)
}

// AppendHeader appends the header payload of block i, what node-to-node chain-sync carries.
func (v *View) AppendHeader(dst []byte, i int) ([]byte, error) {
	e, err := v.entry(i)
	if err != nil {
		return dst, err
	}
	dst = appendHeaderHead(dst, e.era(), int(e.headerLen), e.itemBytes())
	return v.read(dst, e, int64(e.offset)+int64(e.headerOffset), int(e.headerLen))
}

// AppendBlock appends the block payload of block i, what block-fetch and node-to-client chain-sync carry.
func (v *View) AppendBlock(dst []byte, i int) ([]byte, error) {
	e, err := v.entry(i)
	if err != nil {
		return dst, err
	}
	return v.item(appendBlockHead(dst, e.itemBytes()), e)
}

// AppendItem appends the stored item of block i.
func (v *View) AppendItem(dst []byte, i int) ([]byte, error) {
	e, err := v.entry(i)
	if err != nil {
		return dst, err
	}
	return v.item(dst, e)
}

func (v *View) item(dst []byte, e *entry) ([]byte, error) {
	if e.bare() {
		dst = append(dst, 0x82, byte(e.era()))
	}
	return v.read(dst, e, int64(e.offset), e.fileBytes())
}

func (v *View) read(dst []byte, e *entry, off int64, n int) ([]byte, error) {
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	if err := v.src.readAt(e.file, dst[at:], off); err != nil {
		return dst[:at], fmt.Errorf("block %s: %w", e.point(), err)
	}
	return dst, nil
}

// Range returns the stored items from one point to another, both included, one in memory at a time; an item is valid
// until the next. It reports false when a point is not on the chain, is Origin, or to lies before from: block-fetch then
// answers NoBlocks (wire §7). The stream is of this View: a chain that changes meanwhile does not disturb it. It ends at
// the first error.
func (v *View) Range(from, to Point) (blocks iter.Seq2[[]byte, error], ok bool) {
	first, ok1 := v.Find(from)
	last, ok2 := v.Find(to)
	if !ok1 || !ok2 || first < 0 || last < first {
		return nil, false
	}
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for i := first; i <= last; i++ {
			var err error
			buf, err = v.AppendItem(buf[:0], i)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(buf, nil) {
				return
			}
		}
	}, true
}
