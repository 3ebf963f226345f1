package chain

import (
	"cmp"
	"fmt"
	"math"
	"sort"
)

// EntryBytes is what the index has for each block, in memory or in its file.
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

// pageEntries is how many blocks a page has: 4 KiB.
const pageEntries = 64

type page [pageEntries]entry

// fullPage is where a page is that is not the last.
type fullPage struct {
	first  uint64 // slot
	memory *page  // nil: in the index's file
	number uint32 // of the page in the file
}

// index is the list of a chain's blocks. Copies of it are snapshots: one writer pushes to and truncates its own copy, and
// never changes what a copy made before can see. The last page is in memory, the full ones before it in the file, if there is one.
//
// Reads fail only where a file does. Who cannot pass the error on takes the block for one that is not there: the next write to the chain
// fails with it.
type index struct {
	file *pageFile // nil: all pages are in memory
	full []fullPage
	last *page // of at least one block, if the index has any
	n    int
}

// at returns entry i, 0 ≤ i < n.
func (x *index) at(i int) (*entry, error) {
	p, err := x.page(i / pageEntries)
	if err != nil {
		return nil, err
	}
	return &p[i%pageEntries], nil
}

func (x *index) page(k int) (*page, error) {
	if k == len(x.full) {
		return x.last, nil
	}
	if f := x.full[k]; f.memory == nil {
		return x.file.read(f.number)
	}
	return x.full[k].memory, nil
}

// push adds an entry. Only the owner of the latest copy may.
func (x *index) push(e entry) {
	if x.n%pageEntries == 0 {
		if x.n > 0 {
			x.full = append(x.full, x.store(x.last))
		}
		x.last = new(page)
	}
	x.last[x.n%pageEntries] = e
	x.n++
}

// store puts a page into the file. If that is full the page stays in memory.
func (x *index) store(p *page) fullPage {
	f := fullPage{first: p[0].slot, memory: p}
	if x.file != nil {
		if number, err := x.file.write(p); err == nil {
			f.number, f.memory = number, nil
		}
	}
	return f
}

// fork returns the first n entries as an index that can be pushed to while x stays as it is. It copies at most one page, and later the
// list of pages.
func (x *index) fork(n int) (index, error) {
	y := index{file: x.file, n: n}
	if n == 0 {
		return y, nil
	}
	k := (n - 1) / pageEntries
	p, err := x.page(k)
	if err != nil {
		return index{}, err
	}
	y.full, y.last = x.full[:k:k], new(page)
	copy(y.last[:], p[:n-k*pageEntries])
	return y, nil
}

// find returns the place of the point, -1 of Origin.
func (x *index) find(p Point) (i int, ok bool, err error) {
	if p.IsOrigin() || x.n == 0 {
		return -1, p.IsOrigin(), nil
	}
	// The first block that is not earlier is in the page before the first page that begins so late, or begins that page.
	k := max(sort.Search(len(x.full), func(k int) bool { return x.full[k].first >= p.Slot })-1, 0)
	if k == len(x.full)-1 && x.last[0].slot < p.Slot {
		k++
	}
	i = k * pageEntries
	within, err := x.page(k)
	if err != nil {
		return 0, false, err
	}
	i += sort.Search(min(pageEntries, x.n-i), func(j int) bool { return within[j].slot >= p.Slot })
	for ; i < x.n; i++ { // a boundary block shares its slot with the next block
		e, err := x.at(i)
		if err != nil || e.slot != p.Slot {
			return 0, false, err
		}
		if e.hash == p.Hash {
			return i, true, nil
		}
	}
	return 0, false, nil
}

// common returns how many of x's first n blocks are also y's. Hashes chain, so one comparison tells of all blocks before.
func (x *index) common(y *index, n int) (int, error) {
	n = min(n, x.n, y.n)
	var failed error
	same := func(i int) bool {
		a, err1 := x.at(i)
		b, err2 := y.at(i)
		if err1 != nil || err2 != nil {
			failed = cmp.Or(err1, err2)
			return false
		}
		return a.hash == b.hash
	}
	if n == 0 || same(n-1) {
		return n, failed
	}
	return sort.Search(n, func(i int) bool { return !same(i) }), failed
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

// tip is the last entry, nil if there is none.
func (x *index) tip() *entry {
	if x.n == 0 {
		return nil
	}
	return &x.last[(x.n-1)%pageEntries]
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
