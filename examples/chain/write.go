package chain

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
)

// WriteFiles writes each stored item to a file NUMBER.cbor of its own in dir, which it makes, in a form that [Open]
// reads, and returns how many it wrote.
func WriteFiles(dir string, items iter.Seq[[]byte]) (n int, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	for item := range items {
		blk, err := ParseBlock(item)
		if err != nil {
			return n, fmt.Errorf("item %d: %w", n, err)
		}
		name := fmt.Sprintf("%08d.cbor", blk.Number)
		if blk.Era == ByronBoundary { // has its predecessor's number
			name = fmt.Sprintf("%08d-boundary.cbor", blk.Number)
		}
		if err := os.WriteFile(filepath.Join(dir, name), item, 0o666); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// WriteChunks writes stored items to immutable-DB chunk files with their indexes in dir, which it makes, and returns how
// many it wrote. A chunk covers slotsPerChunk slots: 21,600 on mainnet and preprod, 4,320 on preview.
func WriteChunks(dir string, slotsPerChunk uint64, items iter.Seq[[]byte]) (n int, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	w := ChunkWriter{Dir: dir, SlotsPerChunk: slotsPerChunk}
	for item := range items {
		if err := w.Append(item); err != nil {
			return n, errors.Join(err, w.Close())
		}
		n++
	}
	return n, w.Close()
}

// ChunkWriter writes immutable-DB chunk files: NNNNN.chunk with the items one behind the other, NNNNN.secondary with 56
// bytes for each, NNNNN.primary with 4 bytes for each slot. Indexes are written when a chunk is complete. It keeps one
// chunk's index in memory. Not safe for concurrent use.
type ChunkWriter struct {
	Dir           string
	SlotsPerChunk uint64 // 0: 21,600

	number    uint64
	file      *os.File // nil: no chunk yet
	buf       *bufio.Writer
	offset    uint64
	secondary []byte
	primary   []byte
	relative  uint64 // the next slot of the chunk without an entry in primary; 0 is the boundary block's
}

// Append writes a stored item, which must be of a later slot than the one before (the same slot after a boundary block).
func (w *ChunkWriter) Append(item []byte) error {
	blk, err := ParseBlock(item)
	if err != nil {
		return err
	}
	if !blk.Wrapped {
		return errors.New("block without its era")
	}
	if w.SlotsPerChunk == 0 {
		w.SlotsPerChunk = byronEpochSlots
	}
	number, relative := blk.Slot/w.SlotsPerChunk, blk.Slot%w.SlotsPerChunk+1
	slot := blk.Slot
	if blk.Era == ByronBoundary {
		relative = 0
		slot /= byronEpochSlots
	}
	if w.file != nil && (number < w.number || number == w.number && relative < w.relative) {
		return fmt.Errorf("block %s is not later than the block before it", blk.Point())
	}
	if w.file == nil || number != w.number {
		if err := w.start(number); err != nil {
			return err
		}
	}
	w.fill(relative)
	e := secondaryEntry{
		offset: w.offset, headerOffset: uint16(blk.HeaderOffset), headerLen: uint16(len(blk.Bytes)),
		crc: crc32.ChecksumIEEE(item), hash: blk.Hash, slot: slot,
	}
	w.secondary = e.append(w.secondary)
	w.offset += uint64(len(item))
	_, err = w.buf.Write(item)
	return err
}

// start completes the current chunk and begins another.
func (w *ChunkWriter) start(number uint64) error {
	if err := w.Close(); err != nil {
		return err
	}
	f, err := os.Create(w.path(number, "chunk"))
	if err != nil {
		return err
	}
	*w = ChunkWriter{
		Dir: w.Dir, SlotsPerChunk: w.SlotsPerChunk, number: number, file: f, buf: bufio.NewWriterSize(f, 1<<18),
		secondary: w.secondary[:0], primary: append(w.primary[:0], 1, 0, 0, 0, 0),
	}
	return nil
}

// fill writes the primary index up to the slot: where each slot's entry would end if it had one.
func (w *ChunkWriter) fill(relative uint64) {
	for ; w.relative < relative; w.relative++ {
		w.primary = binary.BigEndian.AppendUint32(w.primary, uint32(len(w.secondary)))
	}
	w.primary = binary.BigEndian.AppendUint32(w.primary, uint32(len(w.secondary))+secondaryEntryBytes)
	w.relative++
}

func (w *ChunkWriter) path(number uint64, kind string) string {
	return filepath.Join(w.Dir, fmt.Sprintf("%05d.%s", number, kind))
}

// Close completes the current chunk. The writer may be used again for later chunks.
func (w *ChunkWriter) Close() error {
	if w.file == nil {
		return nil
	}
	for ; w.relative <= w.SlotsPerChunk; w.relative++ {
		w.primary = binary.BigEndian.AppendUint32(w.primary, uint32(len(w.secondary)))
	}
	err := errors.Join(w.buf.Flush(), w.file.Close())
	w.file = nil
	return errors.Join(err,
		os.WriteFile(w.path(w.number, "secondary"), w.secondary, 0o666),
		os.WriteFile(w.path(w.number, "primary"), w.primary, 0o666))
}
