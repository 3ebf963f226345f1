package chain

import "github.com/hearthnet/hearth/protocols/chainsync"

// Point names a block: its slot and the hash of its header. The zero Point is [Origin].
type Point = chainsync.Point

// Origin is the point before the first block.
var Origin = chainsync.Origin

// Tip is the end of a chain: its last point and that block's number. The zero Tip is an empty chain's.
type Tip = chainsync.Tip
