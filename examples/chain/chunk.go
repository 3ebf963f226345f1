package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// secondaryEntry is one entry of a .secondary file, 56 bytes in big endian.
type secondaryEntry struct {
	offset       uint64 // of the block in the chunk
	headerOffset uint16 // from there
	headerLen    uint16
	crc          uint32 // CRC-32 (IEEE) of the block
	hash         [32]byte
	slot         uint64 // the epoch for a boundary block
}

const secondaryEntryBytes = 56

func readSecondary(b []byte) secondaryEntry {
	be := binary.BigEndian
	e := secondaryEntry{
		offset: be.Uint64(b), headerOffset: be.Uint16(b[8:]), headerLen: be.Uint16(b[10:]), crc: be.Uint32(b[12:]), slot: be.Uint64(b[48:]),
	}
	copy(e.hash[:], b[16:])
	return e
}

func (e *secondaryEntry) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, e.offset)
	dst = be.AppendUint16(dst, e.headerOffset)
	dst = be.AppendUint16(dst, e.headerLen)
	dst = be.AppendUint32(dst, e.crc)
	dst = append(dst, e.hash[:]...)
	return be.AppendUint64(dst, e.slot)
}

// checkSecondary says whether an index can be one of a chunk of size bytes: blocks one behind the other from 0 on, each with its
// header inside.
func checkSecondary(b []byte, size int64) error {
	if len(b)%secondaryEntryBytes != 0 || (len(b) == 0) != (size == 0) {
		return fmt.Errorf("%d bytes of index for %d bytes of blocks", len(b), size)
	}
	next := uint64(0) // end of the block before, where this one must start; 0 is right for the first
	for at := 0; at < len(b); at += secondaryEntryBytes {
		e := readSecondary(b[at:])
		if at == 0 && e.offset != 0 {
			return fmt.Errorf("first block at offset %d", e.offset)
		}
		end := uint64(size)
		if at+secondaryEntryBytes < len(b) {
			end = binary.BigEndian.Uint64(b[at+secondaryEntryBytes:])
		}
		if e.offset < next || end > uint64(size) || end <= e.offset || end-e.offset > MaxBlock ||
			uint64(e.headerOffset)+uint64(e.headerLen) > end-e.offset {
			return fmt.Errorf("block at offset %d ends at %d, its header at %d, of %d", e.offset, end, uint64(e.headerOffset)+uint64(e.headerLen), size)
		}
		next = end
	}
	return nil
}

func isChunk(name string) bool {
	digits, ok := strings.CutSuffix(name, ".chunk")
	return ok && len(digits) >= 5 && strings.Trim(digits, "0123456789") == "" && len(digits) <= 18
}

func chunkNumber(name string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(name, ".chunk"), 10, 64) // isChunk said that it is one
	return n
}

// addChunk indexes a chunk file by its secondary index, or by a scan if there is none or it does not fit.
func (b *archiveBuilder) addChunk(name string) error {
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file := b.names.add(name)
	size := info.Size()
	if size > math.MaxUint32 {
		return b.fileError(file, math.MaxUint32, errors.New("file is larger than 4 GiB"))
	}
	start := b.idx
	index, err := os.ReadFile(filepath.Join(b.dir, strings.TrimSuffix(name, ".chunk")+".secondary"))
	if err == nil {
		if err := b.addIndexed(f, size, file, index); err == nil {
			return nil
		}
		if b.idx, err = start.fork(start.n); err != nil {
			return err
		}
	}
	return b.addScanned(f, size, file)
}

// addIndexed adds the blocks that a secondary index lists. After an error the index is wrong, or the chain is: a scan tells.
func (b *archiveBuilder) addIndexed(f io.ReaderAt, size int64, file uint32, index []byte) error {
	if err := checkSecondary(index, size); err != nil {
		return err
	}
	n := int64(len(index) / secondaryEntryBytes)
	if n == 0 {
		return nil
	}
	w := window{f: f, size: size}
	if size/n < 8<<10 {
		w.ahead = 128 << 10 // headers are close together: few large reads; else many small ones
	}
	for at := 0; at < len(index); at += secondaryEntryBytes {
		e := readSecondary(index[at:])
		start, err := w.bytes(int64(e.offset), int(e.headerOffset)+int(e.headerLen))
		if err != nil {
			return err
		}
		blk, err := parseBlockStart(start)
		if err != nil {
			return err
		}
		slot := e.slot
		if blk.Era == ByronBoundary {
			slot *= byronEpochSlots
		}
		if !blk.Wrapped || blk.Hash != e.hash || blk.Slot != slot || blk.HeaderOffset != int(e.headerOffset) || len(blk.Bytes) != int(e.headerLen) {
			return fmt.Errorf("block at offset %d is not the one in the index", e.offset)
		}
		end := size
		if at+secondaryEntryBytes < len(index) {
			end = int64(binary.BigEndian.Uint64(index[at+secondaryEntryBytes:]))
		} else {
			last, err := w.bytes(int64(e.offset), int(size-int64(e.offset)))
			if err != nil {
				return err
			}
			if crc32.ChecksumIEEE(last) != e.crc {
				return fmt.Errorf("block at offset %d has another checksum", e.offset)
			}
		}
		blk.setSize(int(end - int64(e.offset)))
		if err := b.add(&blk, file, int64(e.offset)); err != nil {
			return err
		}
	}
	return nil
}

// window reads parts of a file, ahead bytes more than asked for.
type window struct {
	f     io.ReaderAt
	size  int64
	ahead int
	buf   []byte
	at    int64 // offset of buf in the file
}

// bytes returns n bytes at the offset, valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		want := int(min(int64(max(n, w.ahead)), w.size-off))
		if want < n {
			return nil, io.ErrUnexpectedEOF
		}
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.at = w.buf[:want], off
		if _, err := w.f.ReadAt(w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	from := int(off - w.at)
	return w.buf[from : from+n], nil
}

// addScanned adds the blocks found by reading the whole file.
func (b *archiveBuilder) addScanned(f io.ReaderAt, size int64, file uint32) error {
	return scanItems(f, size, func(off int64, item []byte, err error) error {
		if err != nil {
			return b.fileError(file, off, err)
		}
		blk, err := parseBlockStart(item)
		if err == nil && !blk.Wrapped {
			err = errors.New("block without its era")
		}
		if err != nil {
			return b.fileError(file, off, err)
		}
		blk.setSize(len(item))
		return b.add(&blk, file, off)
	})
}

// scanItems calls each for the CBOR items of a file, one behind the other, or with the error that ends the scan. An item is valid
// until each returns. It reads the file once, holds at most two items in memory, and returns what each returns.
func scanItems(f io.ReaderAt, size int64, each func(off int64, item []byte, err error) error) error {
	buf := make([]byte, 0, min(size, 1<<20))
	at := int64(0) // offset of buf
	done := 0      // bytes of buf that were handled
	for {
		end, err := 0, io.ErrUnexpectedEOF
		if done < len(buf) {
			end, err = skip(buf[done:], 0)
		}
		switch off := at + int64(done); {
		case err == nil && end <= MaxBlock:
			if err := each(off, buf[done:done+end:done+end], nil); err != nil {
				return err
			}
			done += end
		case err == nil || len(buf)-done > MaxBlock:
			return each(off, nil, fmt.Errorf("block is larger than %d bytes", MaxBlock))
		case off == size:
			return nil
		case !errors.Is(err, io.ErrUnexpectedEOF):
			return each(off, nil, err)
		case at+int64(len(buf)) == size:
			return each(off, nil, fmt.Errorf("block is cut off by the end of the file, %d bytes behind its start: %w", size-off, io.ErrUnexpectedEOF))
		default: // the item goes on behind what was read
			rest := buf[done:]
			if 2*len(rest) > cap(buf) {
				buf = make([]byte, 0, 2*cap(buf))
			}
			buf = append(buf[:0], rest...)
			at, done = off, 0
			more := int(min(int64(cap(buf)-len(buf)), size-at-int64(len(buf))))
			from := len(buf)
			buf = buf[:from+more]
			if _, err := f.ReadAt(buf[from:], at+int64(from)); err != nil {
				return each(off, nil, err)
			}
		}
	}
}
