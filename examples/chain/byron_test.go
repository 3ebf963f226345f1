package chain

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2b"
)

// byronBlock makes a stored Byron block with an empty body; a boundary block if slot is negative.
func byronBlock(prev [32]byte, epoch uint64, slot int, difficulty uint64) []byte {
	zero := make([]byte, 32)
	bytes := func(dst, b []byte) []byte { return append(appendHead(dst, majorBytes, uint64(len(b))), b...) }
	proof := blake2b.Sum256([]byte{0x80})
	h := appendHead([]byte{0x85}, majorUint, 1097911063)
	h = bytes(h, prev[:])
	if slot < 0 {
		h = bytes(h, proof[:])
		h = appendHead(append(h, 0x82), majorUint, epoch)
		h = appendHead(append(h, 0x81), majorUint, difficulty)
	} else {
		h = append(h, 0x84, 0x80, 0x80, 0x80, 0x80)
		h = appendHead(append(h, 0x84, 0x82), majorUint, epoch)
		h = bytes(appendHead(h, majorUint, uint64(slot)), zero)
		h = appendHead(append(h, 0x81), majorUint, difficulty)
		h = append(h, 0x80)
	}
	h = append(h, 0x80)
	if slot < 0 {
		return append(append([]byte{0x82, 0x00, 0x83}, h...), 0x80, 0x80)
	}
	return append(append([]byte{0x82, 0x01, 0x83}, h...), 0x80, 0x80)
}

// TestBoundaryBlocks: an epoch boundary block has the slot of the block behind it and the number of the block before it. It
// stays in its place in files, chunks, indexes and intersections.
func TestBoundaryBlocks(t *testing.T) {
	var stored [][]byte
	var prev [32]byte
	add := func(epoch uint64, slot int, difficulty uint64) {
		stored = append(stored, byronBlock(prev, epoch, slot, difficulty))
		blk, err := ParseBlock(stored[len(stored)-1])
		require.NoError(t, err)
		require.Equal(t, epoch*21600+uint64(max(slot, 0)), blk.Slot)
		require.Equal(t, difficulty, blk.Number)
		prev = blk.Hash
	}
	add(0, -1, 0)
	add(0, 0, 1)
	add(0, 21599, 2)
	add(1, -1, 2)
	add(1, 0, 3)
	add(1, 1, 4)
	add(3, -1, 4) // nobody made a block in epoch 2
	add(3, 17, 5)
	all := func(yield func([]byte) bool) {
		for _, item := range stored {
			if !yield(item) {
				return
			}
		}
	}

	chunks, single := t.TempDir(), t.TempDir()
	_, err := WriteChunks(chunks, 0, all)
	require.NoError(t, err)
	_, err = WriteFiles(single, all)
	require.NoError(t, err)
	index, err := os.ReadFile(filepath.Join(chunks, "00003.secondary"))
	require.NoError(t, err)
	first := readSecondary(index)
	require.EqualValues(t, 3, first.slot, "the epoch")
	c := NewMemory()
	for item := range all {
		_, err := c.Append(item)
		require.NoError(t, err)
	}
	archive := openArchive(t, chunks)
	for _, v := range []View{archive.View, openArchive(t, single).View, openArchive(t, copyDir(t, chunks, ".chunk")).View, c.View()} {
		require.Equal(t, len(stored), v.Len())
		checkView(t, &v)
		for i, item := range stored {
			got, err := v.AppendItem(nil, i)
			require.NoError(t, err)
			require.Equal(t, item, got)
		}
	}
	require.Equal(t, archive.At(3).Point.Slot, archive.At(4).Point.Slot)
	p, i, ok := archive.Intersect([]Point{archive.At(4).Point})
	require.True(t, ok)
	require.Equal(t, 4, i)
	require.Equal(t, archive.At(4).Point, p)
	require.NoError(t, c.RollBack(archive.At(3).Point))
	_, err = c.Append(stored[4])
	require.NoError(t, err)

	// A regular block may not share a slot with another regular one.
	at4, err := ParseBlock(stored[4])
	require.NoError(t, err)
	_, err = c.Append(byronBlock(at4.Hash, 1, 0, 4))
	require.ErrorContains(t, err, "is not later than its predecessor")

	// Epochs and slots out of range.
	for _, v := range []struct {
		epoch uint64
		slot  int
	}{{1 << 63, -1}, {0, 21600}} {
		_, err := ParseBlock(byronBlock(prev, v.epoch, v.slot, 1))
		require.ErrorContains(t, err, "out of range")
	}
	for bare := range all {
		blk, err := ParseBlock(bare[2:])
		require.NoError(t, err)
		require.EqualValues(t, bare[1], blk.Era, "Byron kinds are told apart by their shape")
	}
}
