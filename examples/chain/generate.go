package chain

import (
	"encoding/binary"
	"iter"
	"math"
	"math/rand/v2"

	"golang.org/x/crypto/blake2b"
)

// MaxBody is the size of the largest body that a [Generator] makes by itself, mainnet's limit in bytes.
const MaxBody = 90112

// Generator makes an endless chain of well-formed Conway-era blocks from a seed: the real CBOR shape of header and body
// (transaction bodies, witnesses, auxiliary data, indices of invalid transactions), each hash and size right, each header
// naming its predecessor. Keys, proofs and signatures have the right size and are random: no ledger would accept the
// blocks.
//
// A block depends on the seed and on the block before it only, so a generator that is set behind a block ([Generator.After]) goes
// on as if it had made the chain up to there; another seed makes a fork.
//
// # Sizes
//
// The distribution is a model of a busy mainnet, not a measurement of it. Bodies: 5 % of the blocks hold no transaction
// (about 860 bytes in all); 12 % are filled to between 85 % and 100 % of mainnet's limit of 90,112 bytes ([MaxBody]); the
// others are log-normal with median 26,000 bytes and σ = 0.9, cut off at that limit and at 300 bytes. In all: quartiles
// near 14, 29 and 62 KiB, mean near 38 KiB (43 % of the limit), a fifth of the blocks nearly full. Transactions are
// log-normal with median 600 bytes and σ = 0.9, from 250 to 16,384 bytes (mainnet's limit): two thirds plain payments,
// the others with metadata or a script, which takes what size is left. Slots are as far apart as with an active slot
// coefficient of 1/20: geometric, mean 20.
//
// Not safe for concurrent use.
type Generator struct {
	// Size, when set, replaces the distribution of body sizes: it returns the size in bytes that the block with the number
	// should have, up to 2,000,000. The body gets within 260 bytes of it, from below; under 260 it is empty.
	Size func(number uint64) int

	seed   uint64
	prev   Point
	number uint64 // of the next block
	rnd    *rand.Rand
	pcg    *rand.PCG
	bodies []byte // scratch: transaction bodies, witnesses, auxiliary data of the block being made
	wits   []byte
	aux    []byte
	tx     []byte
}

// NewGenerator returns a generator that starts at origin.
func NewGenerator(seed uint64) *Generator {
	pcg := rand.NewPCG(0, 0)
	return &Generator{seed: seed, pcg: pcg, rnd: rand.New(pcg)}
}

// After makes tip the predecessor of the next block; the zero Tip means origin.
func (g *Generator) After(tip Tip) {
	g.prev, g.number = tip.Point, tip.Block+1
	if tip.Point.IsOrigin() {
		g.number = 0
	}
}

// Tip is the last block made, or what After was told.
func (g *Generator) Tip() Tip {
	if g.prev.IsOrigin() {
		return Tip{}
	}
	return Tip{Point: g.prev, Block: g.number - 1}
}

// Generate yields the stored items of a chain of n blocks from origin, without end when n is negative. An item is valid
// until the next one.
func Generate(seed uint64, n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		g := NewGenerator(seed)
		var item []byte
		for ; n != 0; n-- {
			if item = g.Next(item[:0]); !yield(item) {
				return
			}
		}
	}
}

// Next appends the stored item `[7, block]` of the next block.
func (g *Generator) Next(dst []byte) []byte {
	g.reseed()
	slot := uint64(0)
	if !g.prev.IsOrigin() {
		slot = g.prev.Slot + g.slotGap()
	}
	txs := g.body()

	// Components, each hashed on its own (the header has the hash of the hashes).
	heads := func(b []byte, major byte, n int) []byte {
		return append(appendHead(make([]byte, 0, 5+len(b)), major, uint64(n)), b...)
	}
	auxCount := binary.BigEndian.Uint64(g.aux[:8])
	parts := [4][]byte{
		heads(g.bodies, majorArray, txs), heads(g.wits, majorArray, txs), heads(g.aux[8:], majorMap, int(auxCount)), {0x80},
	}
	sums := make([]byte, 0, 4*32)
	size := 0
	for _, p := range parts {
		sum := blake2b.Sum256(p)
		sums = append(sums, sum[:]...)
		size += len(p)
	}

	dst = append(dst, 0x82, byte(Conway), 0x85)
	from := len(dst)
	dst = g.header(dst, slot, size, blake2b.Sum256(sums))
	g.prev = Point{Slot: slot, Hash: HashHeader(Conway, dst[from:])}
	g.number++
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// reseed makes the random source a function of seed and predecessor.
func (g *Generator) reseed() {
	g.pcg.Seed(g.seed^binary.LittleEndian.Uint64(g.prev.Hash[:]), g.seed+g.number*0x9e3779b97f4a7c15)
}

func (g *Generator) slotGap() uint64 {
	u := 1 - g.rnd.Float64() // (0, 1]
	return 1 + uint64(math.Log(u)/math.Log(1-0.05))
}

// header appends `[[number, slot, prev, issuer, VRF key, VRF result, body size, body hash, certificate, version], signature]`.
func (g *Generator) header(dst []byte, slot uint64, size int, body [32]byte) []byte {
	dst = append(dst, 0x82, 0x8a)
	dst = appendHead(dst, majorUint, g.number)
	dst = appendHead(dst, majorUint, slot)
	if g.number == 0 {
		dst = append(dst, 0xf6)
	} else {
		dst = append(appendHead(dst, majorBytes, 32), g.prev.Hash[:]...)
	}
	dst = g.bytes(dst, 32) // issuer
	dst = g.bytes(dst, 32) // VRF key
	dst = append(dst, 0x82)
	dst = g.bytes(dst, 64)
	dst = g.bytes(dst, 80)
	dst = appendHead(dst, majorUint, uint64(size))
	dst = append(appendHead(dst, majorBytes, 32), body[:]...)
	dst = append(dst, 0x84)
	dst = g.bytes(dst, 32) // KES key
	dst = appendHead(dst, majorUint, g.rnd.Uint64N(300))
	dst = appendHead(dst, majorUint, slot/129600)
	dst = g.bytes(dst, 64)
	dst = append(dst, 0x82, 10, 2)
	return g.bytes(dst, 448) // KES signature
}

// bytes appends a byte string of n random bytes.
func (g *Generator) bytes(dst []byte, n int) []byte {
	return g.random(appendHead(dst, majorBytes, uint64(n)), n)
}

func (g *Generator) random(dst []byte, n int) []byte {
	for ; n >= 8; n -= 8 {
		dst = binary.LittleEndian.AppendUint64(dst, g.rnd.Uint64())
	}
	for last := g.rnd.Uint64(); n > 0; n-- {
		dst = append(dst, byte(last))
		last >>= 8
	}
	return dst
}

// bodySize draws the size of a body.
func (g *Generator) bodySize() int {
	if g.Size != nil {
		return min(g.Size(g.number), 2_000_000)
	}
	switch u := g.rnd.Float64(); {
	case u < 0.05:
		return 0
	case u < 0.17:
		return MaxBody*85/100 + g.rnd.IntN(MaxBody*15/100)
	}
	return int(min(max(26000*math.Exp(0.9*g.rnd.NormFloat64()), 300), MaxBody))
}

// body fills the scratch buffers with transactions and returns their number. aux starts with the number of its entries
// in 8 bytes.
func (g *Generator) body() (txs int) {
	g.bodies, g.wits = g.bodies[:0], g.wits[:0]
	g.aux = append(g.aux[:0], 0, 0, 0, 0, 0, 0, 0, 0)
	var auxCount uint64
	const overhead = 3 + 3 + 3 + 1 // heads of the four components
	left := g.bodySize() - overhead
	for left >= minTx {
		size := int(min(max(600*math.Exp(0.9*g.rnd.NormFloat64()), minTx), 16384))
		if left-size < minTx {
			size = min(left, 16384)
		}
		before := len(g.bodies) + len(g.wits) + len(g.aux)
		if g.transaction(txs, size) {
			auxCount++
		}
		txs++
		left -= len(g.bodies) + len(g.wits) + len(g.aux) - before
	}
	binary.BigEndian.PutUint64(g.aux, auxCount)
	return txs
}
