package chain

import (
	"encoding/hex"
	"fmt"
)

// Point names a block: its slot and the hash of its header. The zero Point is [Origin].
type Point struct {
	Slot uint64
	Hash [32]byte
}

// Origin is the point before the first block.
var Origin = Point{}

// IsOrigin reports whether p is the point before the first block.
func (p Point) IsOrigin() bool { return p == Origin }

// String is SLOT.HASH with the hash in hexadecimal, or "origin".
func (p Point) String() string {
	if p.IsOrigin() {
		return "origin"
	}
	return fmt.Sprintf("%d.%s", p.Slot, hex.EncodeToString(p.Hash[:]))
}

// Tip is the end of a chain: its last point and that block's number. The zero Tip is an empty chain's.
type Tip struct {
	Point  Point
	Number uint64
}
