package governor

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
)

// table holds all known peers: records in pages, so that a pointer to one stays valid, and an index by address with eight bytes a
// slot. It is the only place where addresses are hashed; nothing ever walks the index, so the hash decides nothing.
type table struct {
	pages []*[pageSize]peer
	pos   []uint32 // where the peer stands in its bucket, by id
	free  []uint32
	count int

	keys   [3]uint64
	slots  []slot             // open addressing, linear probing, a power of two, at most ¾ full
	recent [recentSize]uint32 // ids plus one, by tag: of those looked for lately, who are mostly looked for again
}

type slot struct{ tag, id uint32 } // id is stored plus one; tag is the part of the hash which decides the slot

const (
	pageSize   = 1 << 8
	recentSize = 1 << 8
)

func newTable() table {
	t := table{slots: make([]slot, 64)}
	seed := maphash.MakeSeed()
	for i := range t.keys {
		t.keys[i] = maphash.Comparable(seed, i)
	}
	return t
}

func (t *table) at(id uint32) *peer { return &t.pages[id/pageSize][id%pageSize] }

// tag hashes an address with keys that nobody can foresee; zones need not differ.
func (t *table) tag(a netip.AddrPort) uint32 {
	b := a.Addr().As16()
	h := fold(binary.LittleEndian.Uint64(b[:8])^t.keys[0], binary.LittleEndian.Uint64(b[8:])^t.keys[1])
	return uint32(fold(h^uint64(a.Port()), t.keys[2]|1))
}

func fold(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

// find returns the peer, or nil.
func (t *table) find(a netip.AddrPort) *peer {
	tag := t.tag(a)
	seen := &t.recent[tag%recentSize]
	if *seen != 0 {
		if p := t.at(*seen - 1); p.addr == a {
			return p
		}
	}
	mask := uint32(len(t.slots) - 1)
	for i := tag & mask; t.slots[i].id != 0; i = (i + 1) & mask {
		if t.slots[i].tag == tag {
			if p := t.at(t.slots[i].id - 1); p.addr == a {
				*seen = t.slots[i].id
				return p
			}
		}
	}
	return nil
}

// expect has a peer found at once: something about it is about to come in.
func (t *table) expect(p *peer) { t.recent[t.tag(p.addr)%recentSize] = p.id + 1 }

// insert adds a peer which is not there yet.
func (t *table) insert(a netip.AddrPort) *peer {
	var id uint32
	if n := len(t.free); n > 0 {
		id, t.free = t.free[n-1], t.free[:n-1]
	} else {
		id = uint32(len(t.pos))
		t.pos = append(t.pos, 0)
		if int(id)/pageSize == len(t.pages) {
			t.pages = append(t.pages, new([pageSize]peer))
		}
	}
	if (t.count+1)*4 > len(t.slots)*3 {
		t.grow()
	}
	t.count++
	p := t.at(id)
	*p = peer{addr: a, id: id, group: -1}
	if scopeOf(a) == 1 {
		p.set(private)
	}
	t.place(slot{t.tag(a), id + 1})
	return p
}

func (t *table) place(s slot) {
	mask := uint32(len(t.slots) - 1)
	i := s.tag & mask
	for t.slots[i].id != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.id != 0 {
			t.place(s)
		}
	}
}

// remove forgets p and closes the gap in the index, so that there are no tombstones.
func (t *table) remove(p *peer) {
	tag, mask := t.tag(p.addr), uint32(len(t.slots)-1)
	if seen := &t.recent[tag%recentSize]; *seen == p.id+1 {
		*seen = 0
	}
	i := tag & mask
	for t.slots[i].id != p.id+1 {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		if t.slots[j].id == 0 {
			break
		}
		// A slot may move back unless its home lies after the gap.
		if home := t.slots[j].tag & mask; (j-home)&mask >= (j-i)&mask {
			t.slots[i], i = t.slots[j], j
		}
	}
	t.slots[i] = slot{}
	t.count--
	t.free = append(t.free, p.id)
	id := p.id
	*p = peer{id: id, group: -1}
}

func (t *table) clone() table {
	c := *t
	c.pages = make([]*[pageSize]peer, len(t.pages))
	for i, p := range t.pages {
		q := *p
		c.pages[i] = &q
	}
	c.pos = append([]uint32(nil), t.pos...)
	c.free = append([]uint32(nil), t.free...)
	c.slots = append([]slot(nil), t.slots...)
	return c
}
