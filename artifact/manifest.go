package artifact

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Content addressing (artifact §6.3): a body of at most 64 KiB is named by its own hash, a larger one by the hash of its
// manifest's root. The tags differ in their 8th byte, so a manifest never passes as a body.
const (
	bodyTag     = "hearth/body/1"
	manifestTag = "hearth/manifest/1"

	manifestFan = 960 // hashes in a flat root, parts in a two-level one, hashes in a part

	// DefaultChunkSize is the chunk size of a kind that does not say otherwise, bytes.
	DefaultChunkSize = 64 << 10
	minChunkSize     = 4 << 10
)

// MaxArtifact is the largest artifact of a kind with that chunk size, bytes: 960 × 960 chunks.
func MaxArtifact(chunkSize int) int64 { return manifestFan * manifestFan * int64(chunkSize) }

// BodyID is the id of a body of at most 64 KiB.
func BodyID(kind uint32, body []byte) ID { return taggedHash(bodyTag, kind, body) }

// RootID is the id of an artifact above 64 KiB, from the encoded root of its manifest.
func RootID(kind uint32, root []byte) ID { return taggedHash(manifestTag, kind, root) }

// hasher is what a tagged hash needs, kept for the next.
type hasher struct {
	h    hash.Hash
	head [24]byte
	sum  ID
}

var hashers = sync.Pool{New: func() any { return &hasher{h: sha256.New()} }}

func taggedHash(tag string, kind uint32, b []byte) ID {
	x := hashers.Get().(*hasher)
	defer hashers.Put(x)
	n := copy(x.head[:], tag)
	binary.BigEndian.PutUint32(x.head[n:], kind)
	x.h.Reset()
	x.h.Write(x.head[:n+4])
	x.h.Write(b)
	x.h.Sum(x.sum[:0])
	return x.sum
}

// layout is the shape of an artifact above 64 KiB, computed from its size and chunk size alone.
type layout struct {
	size      int64
	chunkSize int
	chunks    int
	parts     int // parts beside the root: 0 when the manifest is flat
}

// layoutOf returns the shape; size must be above 64 KiB and at most MaxArtifact(chunkSize).
func layoutOf(size int64, chunkSize int) layout {
	l := layout{size: size, chunkSize: chunkSize}
	l.chunks = int((size + int64(chunkSize) - 1) / int64(chunkSize))
	if l.chunks > manifestFan {
		l.parts = (l.chunks + manifestFan - 1) / manifestFan
	}
	return l
}

// chunkLen is the length of chunk i; the last one may be shorter.
func (l layout) chunkLen(i int) int {
	if off := int64(i) * int64(l.chunkSize); l.size-off < int64(l.chunkSize) {
		return int(l.size - off)
	}
	return l.chunkSize
}

// partHashes is the number of hashes in part i.
func (l layout) partHashes(i int) int {
	return min(manifestFan, l.chunks-i*manifestFan)
}

func headLen(v uint64) int { return len(appendHead(nil, 0, v)) }

// rootLen is the exact length of the encoded root.
func (l layout) rootLen() int {
	n := l.chunks
	if l.parts > 0 {
		n = l.parts
	}
	return 2 + headLen(uint64(l.size)) + headLen(uint64(l.chunkSize)) + headLen(uint64(n)) + 34*n
}

// partLen is the exact length of encoded part i.
func (l layout) partLen(i int) int {
	n := l.partHashes(i)
	return 2 + headLen(uint64(i)) + headLen(uint64(n)) + 34*n
}

// overhead is what a download of this shape holds beside its body: root, parts and the two bitmaps, bytes.
func (l layout) overhead() int64 {
	n := int64(l.rootLen())
	for i := 0; i < l.parts; i++ {
		n += int64(l.partLen(i))
	}
	return n + 2*int64((l.chunks+63)/64)*8
}

const rootItem = -1

func partItem(i int) int  { return -2 - i }
func partOf(item int) int { return -2 - item }

// ErrManifest is a manifest that is not the one form its (kind, body) has, or does not hash to what named it.
var ErrManifest = errors.New("artifact: wrong manifest")

// Manifest names the chunks of an artifact above 64 KiB. Root and parts are deterministic CBOR: one body has one form.
type Manifest struct {
	layout
	Root  []byte
	Parts [][]byte // encoded; nil entries have not arrived yet; empty when flat
}

// BuildManifest reads size bytes and returns their manifest. size must be above 64 KiB, chunkSize a power of two in
// 4 … 64 KiB; anything else, and a size above MaxArtifact, is an error.
func BuildManifest(r io.Reader, size int64, chunkSize int) (*Manifest, error) {
	if !validChunkSize(chunkSize) {
		return nil, fmt.Errorf("artifact: chunk size %d is not a power of two in 4 to 64 KiB", chunkSize)
	}
	if size <= maxFlat || size > MaxArtifact(chunkSize) {
		return nil, fmt.Errorf("artifact: no manifest for %d bytes in chunks of %d", size, chunkSize)
	}
	m := &Manifest{layout: layoutOf(size, chunkSize)}
	buf := make([]byte, chunkSize)
	sums := make([]byte, 0, 32*min(m.chunks, manifestFan))
	var top []byte
	flush := func() {
		b := appendUint([]byte{0x83, 2}, uint64(len(m.Parts)))
		b = appendSums(b, sums)
		h := sha256.Sum256(b)
		m.Parts, top, sums = append(m.Parts, b), append(top, h[:]...), sums[:0]
	}
	for i := 0; i < m.chunks; i++ {
		c := buf[:m.chunkLen(i)]
		if _, err := io.ReadFull(r, c); err != nil {
			return nil, fmt.Errorf("artifact: chunk %d of %d: %w", i, m.chunks, err)
		}
		h := sha256.Sum256(c)
		sums = append(sums, h[:]...)
		if m.parts > 0 && (len(sums) == 32*manifestFan || i == m.chunks-1) {
			flush()
		}
	}
	level := byte(1)
	if m.parts == 0 {
		level, top = 0, sums
	}
	m.Root = appendUint([]byte{0x84, level}, uint64(size))
	m.Root = appendUint(m.Root, uint64(chunkSize))
	m.Root = appendSums(m.Root, top)
	return m, nil
}

func appendSums(b, sums []byte) []byte {
	b = appendArray(b, len(sums)/32)
	for ; len(sums) > 0; sums = sums[32:] {
		b = appendBytes(b, sums[:32])
	}
	return b
}

// ParseRoot checks an encoded root: its form must be the only one that size and chunkSize, both taken from the root, have.
// maxSize is the kind's maximum, checked before anything is divided or reserved. Errors wrap ErrManifest.
func ParseRoot(root []byte, maxSize int64, chunkSize int) (*Manifest, error) {
	r := &reader{b: root}
	r.open(4, "a root")
	level := r.uint(1, "level 0 or 1")
	size := r.uint(maxInt63, "a size")
	cs := r.uint(maxFlat, "a chunk size")
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, r.err)
	}
	if int64(size) > maxSize || size <= maxFlat || int(cs) != chunkSize {
		return nil, fmt.Errorf("%w: size %d in chunks of %d", ErrManifest, size, cs)
	}
	l := layoutOf(int64(size), chunkSize)
	n := l.chunks
	if l.parts > 0 {
		n = l.parts
	}
	if len(root) != l.rootLen() || (l.parts > 0) != (level == 1) {
		return nil, fmt.Errorf("%w: form", ErrManifest)
	}
	m := &Manifest{layout: l, Root: root, Parts: make([][]byte, l.parts)}
	head := appendUint([]byte{0x84, byte(level)}, size)
	head = appendUint(head, cs)
	if !wellFormed(root, head, n) {
		return nil, fmt.Errorf("%w: encoding", ErrManifest)
	}
	return m, nil
}

// wellFormed checks that b is head followed by n hashes in the shortest encoding. The length was checked before.
func wellFormed(b, head []byte, n int) bool {
	head = appendArray(head, n)
	if len(b) != len(head)+34*n || string(b[:len(head)]) != string(head) {
		return false
	}
	for i := len(head); i < len(b); i += 34 {
		if b[i] != 0x58 || b[i+1] != 32 {
			return false
		}
	}
	return true
}

// sum is hash i of an encoded root or part: they stand at fixed distances from the end.
func sum(b []byte, n, i int) (h ID) {
	copy(h[:], b[len(b)-34*(n-i)+2:])
	return h
}

// AddPart verifies encoded part i against the root and keeps it. The error wraps ErrManifest.
func (m *Manifest) AddPart(i int, b []byte) error {
	if i < 0 || i >= m.parts || len(b) != m.partLen(i) || ID(sha256.Sum256(b)) != sum(m.Root, m.parts, i) {
		return fmt.Errorf("%w: part %d", ErrManifest, i)
	}
	if !wellFormed(b, appendUint([]byte{0x83, 2}, uint64(i)), m.partHashes(i)) {
		return fmt.Errorf("%w: encoding of part %d", ErrManifest, i)
	}
	m.Parts[i] = b
	return nil
}

// Chunks is the number of chunks of the body.
func (m *Manifest) Chunks() int { return m.chunks }

// Size is the length of the body in bytes.
func (m *Manifest) Size() int64 { return m.size }

// ChunkSize is the length of every chunk but the last, in bytes.
func (m *Manifest) ChunkSize() int { return m.chunkSize }

// HasPart reports whether the hash of chunk i is known.
func (m *Manifest) HasPart(i int) bool { return m.parts == 0 || m.Parts[i/manifestFan] != nil }

// ChunkSum is the hash of chunk i; HasPart(i) must hold.
func (m *Manifest) ChunkSum(i int) ID {
	if m.parts == 0 {
		return sum(m.Root, m.chunks, i)
	}
	p := i / manifestFan
	return sum(m.Parts[p], m.partHashes(p), i%manifestFan)
}

// piece returns the encoded root (0) or part i-1, as a fetch numbers them; nil when there is none.
func (m *Manifest) piece(i uint64) []byte {
	if i == 0 {
		return m.Root
	}
	if i-1 < uint64(len(m.Parts)) {
		return m.Parts[i-1]
	}
	return nil
}

func validChunkSize(n int) bool { return n >= minChunkSize && n <= maxFlat && n&(n-1) == 0 }

func plainSum(b []byte) ID { return sha256.Sum256(b) }
