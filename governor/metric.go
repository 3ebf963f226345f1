package governor

import (
	"net/netip"
	"slices"
	"time"
)

// boardSlots bounds each board: about an hour of mainnet blocks (governor §5).
const boardSlots = 180

// Boards credit who was first: who announced the header of a slot first, who delivered its block first (governor §5). Each board holds
// at most 180 slots, and what is kept about peers is bounded by the slots and by the joined registry, which is purged with
// them. The zero value is not usable; see [NewBoards].
type Boards struct {
	headers, blocks board
	// first contribution of each peer on the boards; look-ups only
	joined map[netip.AddrPort]joinedAt
	order  []netip.AddrPort // of joined, oldest first
}

type joinedAt struct{ slot, last uint64 } // last is the latest slot contributed to

type board struct {
	slots []entry // by slot, ascending
	tally map[netip.AddrPort]score
}

type entry struct {
	slot  uint64
	peer  netip.AddrPort
	at    time.Duration
	bytes int
}

type score struct {
	slots int
	bytes int64
}

// NewBoards returns two empty boards.
func NewBoards() Boards {
	return Boards{newBoard(), newBoard(), map[netip.AddrPort]joinedAt{}, nil}
}

func newBoard() board { return board{tally: map[netip.AddrPort]score{}} }

// Announced credits the peer of a header, Fetched that of a block. Both return whether the board changed.
func (b *Boards) Announced(s Sighting) bool { return b.credit(&b.headers, s) }

// Fetched credits the peer that delivered a block.
func (b *Boards) Fetched(s Sighting) bool { return b.credit(&b.blocks, s) }

func (b *Boards) credit(on *board, s Sighting) bool {
	if !on.insert(entry{s.Slot, s.Peer, s.At, s.Bytes}) {
		return false
	}
	j, known := b.joined[s.Peer]
	if !known {
		j.slot = s.Slot
		b.order = append(b.order, s.Peer)
	}
	j.last = max(j.last, s.Slot)
	b.joined[s.Peer] = j
	b.purge()
	return true
}

// purge drops peers that joined at or before the oldest slot of the two boards and are no longer active: who still contributes
// stays, with the slot of the first contribution. There is no purge while either board is empty, but the registry never holds
// more than four boards' worth of peers: those credited with nothing go then.
func (b *Boards) purge() {
	full := len(b.order) > 4*boardSlots
	if (len(b.headers.slots) == 0 || len(b.blocks.slots) == 0) && !full {
		return
	}
	oldest := ^uint64(0)
	for _, on := range []*board{&b.headers, &b.blocks} {
		if len(on.slots) > 0 {
			oldest = min(oldest, on.slots[0].slot)
		}
	}
	b.order = slices.DeleteFunc(b.order, func(p netip.AddrPort) bool {
		j := b.joined[p]
		credited := b.headers.tally[p].slots+b.blocks.tally[p].slots > 0
		if j.slot <= oldest && j.last < oldest || full && !credited {
			delete(b.joined, p)
			return true
		}
		return false
	})
}

// insert enters a sighting: a new slot unless the board is full and the slot lower than all; a known one only if it is strictly
// earlier.
func (b *board) insert(e entry) bool {
	i, found := slices.BinarySearchFunc(b.slots, e.slot, func(have entry, slot uint64) int {
		switch {
		case have.slot < slot:
			return -1
		case have.slot > slot:
			return 1
		}
		return 0
	})
	if found {
		if e.at >= b.slots[i].at {
			return false
		}
		b.count(b.slots[i], -1)
		b.slots[i] = e
		b.count(e, 1)
		return true
	}
	if len(b.slots) >= boardSlots {
		if i == 0 {
			return false
		}
		b.count(b.slots[0], -1)
		copy(b.slots, b.slots[1:i])
		b.slots[i-1] = e
		b.count(e, 1)
		return true
	}
	b.slots = slices.Insert(b.slots, i, e)
	b.count(e, 1)
	return true
}

func (b *board) count(e entry, d int) {
	s := b.tally[e.peer]
	s.slots += d
	s.bytes += int64(d) * int64(e.bytes)
	if s.slots == 0 {
		delete(b.tally, e.peer)
	} else {
		b.tally[e.peer] = s
	}
}

// Upstreamyness is the number of slots whose header p announced first.
func (b *Boards) Upstreamyness(p netip.AddrPort) int { return b.headers.tally[p].slots }

// Fetchyness is the number of slots whose block p delivered first, and their bytes.
func (b *Boards) Fetchyness(p netip.AddrPort) (blocks int, bytes int64) {
	s := b.blocks.tally[p]
	return s.slots, s.bytes
}

// Joined is the slot of p's first contribution that is still remembered.
func (b *Boards) Joined(p netip.AddrPort) (uint64, bool) {
	j, ok := b.joined[p]
	return j.slot, ok
}

func (b *Boards) fill(c *Candidate) {
	c.Announced = b.Upstreamyness(c.Peer)
	c.Fetched, c.FetchedBytes = b.Fetchyness(c.Peer)
	c.Joined, c.HasJoined = b.Joined(c.Peer)
}

func (b *Boards) clone() Boards {
	n := NewBoards()
	for _, on := range []struct{ from, to *board }{{&b.headers, &n.headers}, {&b.blocks, &n.blocks}} {
		on.to.slots = slices.Clone(on.from.slots)
		for _, e := range on.to.slots {
			on.to.count(e, 1)
		}
	}
	n.order = slices.Clone(b.order)
	for _, p := range n.order {
		n.joined[p] = b.joined[p]
	}
	return n
}

// metricsSeen enters what chain-sync and block-fetch saw; it is a sign of life of those peers too.
func (c *Core) metricsSeen(e MetricsSeen) {
	for i, list := range [...][]Sighting{e.Headers, e.Blocks} {
		for _, s := range list {
			if p := c.find(s.Peer); p != nil && p.place.active() {
				c.alive(p)
			}
			if i == 0 {
				c.boards.Announced(s)
			} else {
				c.boards.Fetched(s)
			}
		}
	}
}

// deadlineMode is the fetch mode in which announcing and delivering first counts, not volume (governor §4.1).
func (c *Core) deadlineMode() bool {
	if c.cfg.Genesis {
		return !c.tooOld
	}
	return !c.churning.bulk
}
