package chain

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// EntryBytes is what the index keeps in memory for each block.
const EntryBytes = 64

// entry is one block of the index.
type entry struct {
	hash         [32]byte
	slot, number uint64
	file         uint32 // what source.readAt knows the file by
	offset       uint32 // of the block in the file; of the bare block if it is bare
	size         uint32 // 24 bits: bytes in the file; 4 bits: era; 1 bit: bare
	headerOffset uint16 // of the header, from offset
	headerLen    uint16
}

const (
	entryEraShift = 24
	entryBare     = 1 << 31
)

// newEntry makes the entry of a block that stands at the offset of the file.
func newEntry(blk *Block, file uint32, offset int64) (entry, error) {
	size := blk.Size
	flags := uint32(blk.Era) << entryEraShift
	if !blk.Wrapped {
		size -= itemPrefix
		flags |= entryBare
	}
	if size > MaxBlock || blk.HeaderOffset > math.MaxUint16 || offset > math.MaxUint32 {
		return entry{}, fmt.Errorf("block %s: %d bytes at offset %d, header at %d: out of the index's range", blk.Point(), size, offset, blk.HeaderOffset)
	}
	return entry{
		hash: blk.Hash, slot: blk.Slot, number: blk.Number,
		file: file, offset: uint32(offset), size: flags | uint32(size),
		headerOffset: uint16(blk.HeaderOffset), headerLen: uint16(len(blk.Bytes)),
	}, nil
}

func (e *entry) point() Point   { return Point{Slot: e.slot, Hash: e.hash} }
func (e *entry) era() Era       { return Era(e.size >> entryEraShift & 0xf) }
func (e *entry) bare() bool     { return e.size&entryBare != 0 }
func (e *entry) fileBytes() int { return int(e.size & MaxBlock) }

// itemBytes is the size of the stored item.
func (e *entry) itemBytes() int {
	if e.bare() {
		return e.fileBytes() + itemPrefix
	}
	return e.fileBytes()
}

const pageEntries = 256

type page [pageEntries]entry

// index is the list of a chain's blocks. Copies of it are snapshots: one writer pushes to and truncates its own copy, and
// never changes what a copy made before can see.
type index struct {
	pages []*page
	n     int
}

func (x *index) at(i int) *entry { return &x.pages[i/pageEntries][i%pageEntries] }

// push adds an entry. Only the owner of the latest copy may.
func (x *index) push(e entry) {
	if x.n%pageEntries == 0 {
		x.pages = append(x.pages, new(page))
	}
	x.pages[x.n/pageEntries][x.n%pageEntries] = e
	x.n++
}

// fork returns the first n entries as an index that can be pushed to while x stays as it is. It copies at most one page and
// the page list.
func (x *index) fork(n int) index {
	full, rest := n/pageEntries, n%pageEntries
	y := index{n: n}
	if rest == 0 {
		y.pages = x.pages[:full:full] // the next push makes a new list
		return y
	}
	last := new(page)
	copy(last[:rest], x.pages[full][:rest])
	y.pages = append(slices.Clip(x.pages[:full]), last)
	return y
}

// find returns the place of the point.
func (x *index) find(p Point) (int, bool) {
	i := sort.Search(x.n, func(i int) bool { return x.at(i).slot >= p.Slot })
	for ; i < x.n && x.at(i).slot == p.Slot; i++ { // a boundary block shares its slot with the next block
		if x.at(i).hash == p.Hash {
			return i, true
		}
	}
	return 0, false
}

// common returns how many of x's first n blocks are also y's. Hashes chain, so one comparison tells of all blocks before.
func (x *index) common(y *index, n int) int {
	n = min(n, x.n, y.n)
	same := func(i int) bool { return x.at(i).hash == y.at(i).hash }
	if n == 0 || same(n-1) {
		return n
	}
	return sort.Search(n, func(i int) bool { return !same(i) })
}

// LinkError says that a block does not follow the one before it.
type LinkError struct {
	Where    string // what was read, empty for a block that was appended
	Previous Point  // the block before; Origin for none
	Block    Point
	Names    [32]byte // what Block says its predecessor's hash is
}

func (e *LinkError) Error() string {
	where := e.Where
	if where != "" {
		where += ": "
	}
	if e.Names != e.Previous.Hash {
		return fmt.Sprintf("%sgap in the chain: block %s names %x as its predecessor, the block before it is %s", where, e.Block, e.Names, e.Previous)
	}
	return fmt.Sprintf("%sblock %s is not later than its predecessor %s", where, e.Block, e.Previous)
}

// last is the last entry, nil if there is none.
func (x *index) last() *entry {
	if x.n == 0 {
		return nil
	}
	return x.at(x.n - 1)
}

// checkLink says whether h may follow last; anything may follow nil. Slots grow, except that a boundary block shares its
// slot with the block behind it.
func checkLink(last *entry, h *Header) error {
	if last == nil {
		return nil
	}
	if h.Prev != last.hash || h.Slot < last.slot || h.Slot == last.slot && last.era() != ByronBoundary {
		return &LinkError{Previous: last.point(), Block: h.Point(), Names: h.Prev}
	}
	return nil
}
