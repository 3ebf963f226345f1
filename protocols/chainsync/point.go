package chainsync

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hearthnet/hearth/internal/cbor"
)

// Point is a place on a chain: a slot and the hash of the block's header, or the origin, before the first block.
//
// The origin is the zero Point. No block is mistaken for it: a block in slot 0 has a hash, which is never all zeros. A point of slot 0
// with such a hash is refused when it is received.
type Point struct {
	Slot uint64
	Hash [32]byte
}

// Origin is the point before the first block, the zero value.
var Origin Point

// IsOrigin reports whether p is the origin.
func (p Point) IsOrigin() bool { return p == Point{} }

// String returns "origin", or the slot and the hash in hexadecimal digits with a dot between them.
func (p Point) String() string {
	if p.IsOrigin() {
		return "origin"
	}
	return strconv.FormatUint(p.Slot, 10) + "." + hex.EncodeToString(p.Hash[:])
}

// ParsePoint reads what [Point.String] writes.
func ParsePoint(s string) (Point, error) {
	if s == "origin" {
		return Point{}, nil
	}
	slot, hash, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(slot, 10, 64)
	b, hexErr := hex.DecodeString(hash)
	if p := (Point{n, [32]byte{}}); ok && err == nil && hexErr == nil && len(b) == len(p.Hash) {
		copy(p.Hash[:], b)
		if p.IsOrigin() {
			return Point{}, errZeroHash
		}
		return p, nil
	}
	return Point{}, fmt.Errorf("chain-sync: point %q, want origin or SLOT.HASH with a hash of 64 hexadecimal digits", s)
}

// Tip is the end of a server's chain: the last block's point and number. The zero Tip is that of an empty chain.
type Tip struct {
	Point
	Block uint64
}

// String returns the point, and the block's number unless the chain is empty.
func (t Tip) String() string {
	if t.IsOrigin() {
		return "origin"
	}
	return t.Point.String() + " #" + strconv.FormatUint(t.Block, 10)
}

// AppendPoint appends [slot, hash], or [] for the origin (wire §5.2).
func AppendPoint(dst []byte, p Point) []byte {
	if p.IsOrigin() {
		return cbor.AppendArray(dst, 0)
	}
	return cbor.AppendBytes(cbor.AppendUint(cbor.AppendArray(dst, 2), p.Slot), p.Hash[:])
}

// AppendTip appends [point, block number], with number 0 for the origin (wire §5.2).
func AppendTip(dst []byte, t Tip) []byte {
	if t.IsOrigin() {
		t.Block = 0
	}
	return cbor.AppendUint(AppendPoint(cbor.AppendArray(dst, 2), t.Point), t.Block)
}

// DecodePoint decodes b, which must be a point and nothing else. It does not allocate.
func DecodePoint(b []byte) (Point, error) {
	r := cbor.NewReader(b)
	p := readPoint(&r)
	return p, named("point", r.Done())
}

var errZeroHash = errors.New("chain-sync: slot 0 with a hash of zeros is no point")

func readPoint(r *cbor.Reader) (p Point) {
	switch r.AnyDefArray() {
	case 0: // origin, or a failure
		return p
	case 2:
	default:
		r.Fail(cbor.ErrLength)
		return p
	}
	p.Slot = r.Uint()
	copy(p.Hash[:], r.BytesLen(len(p.Hash)))
	if p.IsOrigin() {
		r.Fail(errZeroHash)
	}
	return p
}

// readTip reads a tip; one at the origin is the empty chain's whatever its number (wire §5.2).
func readTip(r *cbor.Reader) (t Tip) {
	r.DefArray(2)
	t.Point = readPoint(r)
	t.Block = r.Uint()
	if r.Err() != nil || t.IsOrigin() {
		return Tip{}
	}
	return t
}
