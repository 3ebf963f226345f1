package chain

import (
	"fmt"
	"math"

	"golang.org/x/crypto/blake2b"
)

const (
	// MaxHeader is the size of the largest header, in bytes: what fits a chain-sync message (wire §5.1).
	MaxHeader = 65535
	// MaxBlock is the size of the largest stored item, in bytes. Block-fetch carries at most 2,500,000 (wire §7).
	MaxBlock = 1<<24 - 1
)

// Header is what there is to know of a header without a ledger.
type Header struct {
	Era    Era
	Bytes  []byte   // the header as it stands in the input, not a copy
	Hash   [32]byte // Blake2b-256; Byron headers are hashed with their kind in front, `82 00` or `82 01`
	Slot   uint64   // Byron: epoch × 21600 + slot in the epoch; a boundary block: epoch × 21600
	Number uint64
	Prev   [32]byte // hash of the previous header
	First  bool     // the header names no previous one; Prev is zero (never in Byron, where the genesis hash stands there)

	// BodySize and BodyHash are what the header says of its body. Byron headers carry no size; only boundary blocks have
	// a single hash there, a regular Byron block has a proof of several parts and leaves BodyHash zero.
	BodySize uint64
	BodyHash [32]byte
}

// Point is the header's point.
func (h *Header) Point() Point { return Point{Slot: h.Slot, Hash: h.Hash} }

// Block is what there is to know of a block without a ledger.
type Block struct {
	Header
	Raw          []byte // the bare block, part of the input
	Wrapped      bool   // the input was a stored item `[era, block]`
	HeaderOffset int    // of the header in the input
	Size         int    // bytes of the stored item, the pair included even if the input was bare
}

// ParseBlock reads a stored item `[era, block]` or a bare block, which must be all of b: well-formed CBOR, nothing behind
// it. The era of a bare block follows from the major protocol version in its header (2 Shelley, 3 Allegra, 4 Mary, 5-6
// Alonzo, 7-8 Babbage, 9-10 Conway, above Dijkstra), and from the header's shape for the two Byron kinds. The result refers
// to b. Errors are [*FormatError]; b may be hostile.
func ParseBlock(b []byte) (Block, error) {
	if len(b) > MaxBlock {
		return Block{}, fmt.Errorf("block of %d bytes, the limit is %d", len(b), MaxBlock)
	}
	blk, err := parseBlockStart(b)
	if err != nil {
		return Block{}, err
	}
	end, err := skip(b, 0)
	if err != nil {
		return Block{}, err
	}
	if end != len(b) {
		return Block{}, bad(end, "trailing bytes")
	}
	blk.setSize(len(b))
	return blk, nil
}

// setSize completes what parseBlockStart returned for an input of n bytes.
func (blk *Block) setSize(n int) {
	blk.Size = n
	if !blk.Wrapped {
		blk.Size += itemPrefix
	}
}

// itemPrefix is the length of what turns a bare block into a stored item: `82 <era>`.
const itemPrefix = 2

// parseBlockStart reads as much of b as the header needs. Raw is the rest of b from the bare block on; Size is not set.
func parseBlockStart(b []byte) (Block, error) {
	r := reader{b: b}
	blk := Block{}
	era := EraUnknown
	at := r.off
	parts := r.array("block")
	if r.err == nil && r.peek()>>5 == majorUint {
		if parts != 2 {
			return blk, bad(at, "stored block is not a pair")
		}
		eraAt := r.off
		tag := r.uint("era")
		if r.err == nil && tag > uint64(lastEra) {
			return blk, bad(eraAt, fmt.Sprintf("unknown era %d", tag))
		}
		era = Era(tag)
		blk.Wrapped = true
		at = r.off
		parts = r.array("block")
	}
	blk.HeaderOffset = r.off
	header := r.item(1)
	if r.err != nil {
		return blk, r.err
	}
	blk.Raw = b[at:]
	var err error
	if blk.Header, err = ParseHeader(era, header); err != nil {
		return blk, shift(err, blk.HeaderOffset)
	}
	if parts < 2 || parts < 3 && blk.Era.IsByron() {
		return blk, bad(at, fmt.Sprintf("%s block of %d parts", blk.Era, parts))
	}
	return blk, nil
}

// shift moves the offset of a format error found in a part that starts at off.
func shift(err error, off int) error {
	if f, ok := err.(*FormatError); ok {
		moved := *f
		moved.Offset += off
		return &moved
	}
	return err
}

// ParseHeader reads a bare header of the era, which must be all of b. With [EraUnknown] the era is derived as [ParseBlock]
// does for a bare block. The result refers to b. Errors are [*FormatError]; b may be hostile.
func ParseHeader(era Era, b []byte) (Header, error) {
	h := Header{Era: era, Bytes: b[:len(b):len(b)]}
	if len(b) > MaxHeader {
		return h, bad(MaxHeader, fmt.Sprintf("header of %d bytes, the limit is %d", len(b), MaxHeader))
	}
	r := reader{b: b}
	parts := r.array("header")
	if r.err == nil && era == EraUnknown && parts == 5 {
		if h.Era, r.err = byronKind(r); r.err != nil {
			return h, r.err
		}
	}
	switch {
	case r.err != nil:
	case h.Era.IsByron():
		if parts != 5 {
			return h, bad(0, fmt.Sprintf("Byron header of %d parts, not 5", parts))
		}
		h.parseByron(&r)
	default:
		if parts != 2 {
			return h, bad(0, fmt.Sprintf("header of %d parts, not 2", parts))
		}
		h.parseShelley(&r)
	}
	if err := r.end(); err != nil {
		return h, err
	}
	h.Hash = HashHeader(h.Era, b)
	return h, nil
}

// byronKind tells a boundary header from a regular one by its consensus data, a pair or four parts.
func byronKind(r reader) (Era, error) {
	r.item(3)
	switch n := r.array("consensus data"); {
	case r.err != nil:
		return 0, r.err
	case n == 2:
		return ByronBoundary, nil
	default:
		return Byron, nil
	}
}

// parseByron reads what follows the head of `[magic, prev, proof, consensus, extra]`.
func (h *Header) parseByron(r *reader) {
	r.uint("protocol magic")
	h.Prev = r.hash("previous hash")
	if h.Era == ByronBoundary {
		h.BodyHash = r.hash("body proof")
		r.exactly(2, "consensus data")
		h.Slot = byronSlot(r, r.uint("epoch"), 0)
		r.exactly(1, "difficulty")
		h.Number = r.uint("difficulty")
	} else {
		r.item(1)
		r.exactly(4, "consensus data")
		r.exactly(2, "slot")
		epoch := r.uint("epoch")
		h.Slot = byronSlot(r, epoch, r.uint("slot"))
		r.item(1)
		r.exactly(1, "difficulty")
		h.Number = r.uint("difficulty")
		r.item(1)
	}
	r.item(1)
}

func byronSlot(r *reader, epoch, slot uint64) uint64 {
	if epoch >= math.MaxUint64/byronEpochSlots || slot >= byronEpochSlots {
		r.fail(r.off, fmt.Sprintf("epoch %d, slot %d is out of range", epoch, slot))
	}
	return epoch*byronEpochSlots + slot
}

// parseShelley reads what follows the head of `[body, signature]`. Up to Alonzo the body has 15 elements, from Babbage on
// 10 (one VRF result instead of two; certificate and protocol version as arrays of their own).
func (h *Header) parseShelley(r *reader) {
	at := r.off
	n := r.array("header body")
	if r.err == nil && n != 15 && n != 10 {
		r.fail(at, fmt.Sprintf("header body of %d elements, not 15 or 10", n))
	}
	h.Number = r.uint("block number")
	h.Slot = r.uint("slot")
	if r.peek() == 0xf6 {
		r.item(1)
		h.First = true
	} else {
		h.Prev = r.hash("previous hash")
	}
	var major uint64
	if n == 15 {
		r.item(4) // issuer, VRF key, nonce and leader proof
		h.BodySize = r.uint("body size")
		h.BodyHash = r.hash("body hash")
		r.item(4) // operational certificate
		major = r.uint("protocol version")
		r.uint("protocol version")
	} else {
		r.item(3) // issuer, VRF key, VRF result
		h.BodySize = r.uint("body size")
		h.BodyHash = r.hash("body hash")
		r.item(1) // operational certificate
		versionAt := r.off
		if r.array("protocol version") != 2 {
			r.fail(versionAt, "protocol version is not a pair")
		}
		major = r.uint("protocol version")
		r.uint("protocol version")
	}
	r.bytes("signature")
	if h.Era == EraUnknown && r.err == nil {
		var ok bool
		if h.Era, ok = eraOfMajor(major); !ok {
			r.fail(at, fmt.Sprintf("no era has protocol version %d", major))
		}
	}
}

// HashHeader is the hash of a header's bytes: Blake2b-256 of the bytes, for Byron of `82 00 <header>` (boundary) or `82 01
// <header>`.
func HashHeader(era Era, header []byte) [32]byte {
	if !era.IsByron() {
		return blake2b.Sum256(header)
	}
	var room [1024]byte // Byron headers are about 650 bytes; a longer one merely costs an allocation
	return blake2b.Sum256(append(append(room[:0], 0x82, byte(era)), header...))
}

// CheckBody compares the body of a block with the hash in its header. It reports whether there was something to compare:
// regular Byron blocks (a proof of several parts) and Dijkstra blocks are not checked. b is a stored item or a bare block.
func CheckBody(b []byte) (checked bool, err error) {
	blk, err := ParseBlock(b)
	if err != nil {
		return false, err
	}
	return blk.CheckBody()
}

// CheckBody is [CheckBody] for a block parsed already.
func (blk *Block) CheckBody() (checked bool, err error) {
	r := reader{b: blk.Raw}
	parts := r.array("block")
	r.item(1)
	var got [32]byte
	switch era := blk.Era; {
	case era == ByronBoundary:
		got = blake2b.Sum256(r.item(1))
	case era == Byron, era >= Dijkstra:
		return false, nil
	default:
		// Shelley to Mary: transactions, witnesses, metadata. From Alonzo on also the indices of invalid transactions.
		want := uint64(4)
		if era >= Alonzo {
			want = 5
		}
		if parts != want {
			return false, bad(0, fmt.Sprintf("%s block of %d parts, not %d", era, parts, want))
		}
		from := r.off
		sums := make([]byte, 0, 4*32)
		for range want - 1 {
			sum := blake2b.Sum256(r.item(1))
			sums = append(sums, sum[:]...)
		}
		if size := uint64(r.off - from); r.err == nil && size != blk.BodySize {
			return true, fmt.Errorf("block %s: body is %d bytes, its header says %d", blk.Point(), size, blk.BodySize)
		}
		got = blake2b.Sum256(sums)
	}
	if r.err != nil {
		return false, r.err
	}
	if got != blk.BodyHash {
		return true, fmt.Errorf("block %s: body hash is %x, its header says %x", blk.Point(), got, blk.BodyHash)
	}
	return true, nil
}
