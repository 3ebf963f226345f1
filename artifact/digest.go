package artifact

import (
	"crypto/sha256"
	"encoding/binary"
)

// blockDigest is the digest of one block of 64 slots: the first 8 bytes of SHA-256 over 64 big-endian values. A consumer's
// value is the commit if it has settled it for good, 0 in every other case; a provider's is the commit if the slot has
// content, else 0 (artifact §6.2, Digests).
func blockDigest(value func(i int) uint64, first int) (d digest) {
	var buf [8 * blockSlots]byte
	for i := 0; i < blockSlots; i++ {
		binary.BigEndian.PutUint64(buf[8*i:], value(first+i))
	}
	h := sha256.Sum256(buf[:])
	copy(d[:], h[:])
	return d
}
