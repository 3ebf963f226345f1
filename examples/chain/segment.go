package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// DefaultSegmentBytes is the size at which a chain on disk begins another segment file.
const DefaultSegmentBytes = 64 << 20

// ErrCorrupt is returned for a segment file that is damaged somewhere else than at the end of the last one.
var ErrCorrupt = errors.New("segment is damaged")

// A segment file is segmentMagic and records: kind and length (8 and 24 bits), CRC-32C of kind, length and payload,
// payload. Numbers are little endian. The first record of segment 0 is a base record. Nothing in a segment is ever
// changed.
const (
	segmentMagic = "hearth1\n"
	recordHead   = 8

	recordBlock    = 1 // payload: the stored item, which follows the block before
	recordRollback = 2 // payload: the point that becomes the tip, slot and hash; zeros for origin
	recordBase     = 3 // payload: the tip of the base chain that segment 0 goes on from, likewise
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Recovery says what was cut off a chain on disk when it was opened after a crash; zero: nothing.
type Recovery struct {
	File   string
	Offset int64 // where the file ends now
	Bytes  int64 // how much was cut
}

// segments is a log on disk: segment files NNNNNNNN.blocks.
type segments struct {
	dir   string
	limit int64
	*files
	last   uint32
	w      *os.File // of the last segment
	size   int64    // of the last segment
	broken error    // a write failed and could not be undone
}

func segmentPath(dir string, n uint32) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.blocks", n))
}

// replay is told what a log holds, in order.
type replay struct {
	base     func(tip Point) error
	block    func(blk *Block, file uint32, off int64) error
	rollback func(p Point) error
}

// openSegments opens or makes the log in dir, replays it, and cuts a torn end off. base is written to a new log.
func openSegments(dir string, limit int64, open int, base Point, re replay) (*segments, Recovery, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, Recovery{}, err
	}
	if limit <= 0 {
		limit = DefaultSegmentBytes
	}
	list, err := filepath.Glob(filepath.Join(escapeGlob(dir), "????????.blocks"))
	if err != nil {
		return nil, Recovery{}, err
	}
	s := &segments{dir: dir, limit: min(limit, 1<<31), files: newFiles(open, func(n uint32) string { return segmentPath(dir, n) })}
	var cut Recovery
	for n := range uint32(len(list)) {
		path := segmentPath(dir, n)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %s is missing", ErrCorrupt, path)
		}
		if err != nil {
			return nil, cut, err
		}
		isLast := n == uint32(len(list))-1
		info, err := f.Stat()
		if err != nil {
			return nil, cut, errors.Join(err, f.Close())
		}
		size := info.Size()
		good, err := replaySegment(f, path, size, n, isLast, re)
		if err == nil && good < size {
			cut = Recovery{File: path, Offset: good, Bytes: size - good}
			err = f.Truncate(good)
		}
		if err != nil || !isLast {
			if err = errors.Join(err, f.Close()); err != nil {
				return nil, cut, err
			}
			continue
		}
		s.w, s.last, s.size = f, n, good
	}
	if s.w == nil || s.size < int64(len(segmentMagic)) { // new, or torn before anything was in it
		if s.w != nil {
			s.w.Close()
		}
		if err := s.begin(s.last); err != nil {
			return nil, cut, err
		}
	}
	if s.last == 0 && s.size == int64(len(segmentMagic)) {
		if err := s.write(recordBase, appendPoint(nil, base)); err != nil {
			return nil, cut, errors.Join(err, s.close())
		}
	}
	return s, cut, nil
}

// escapeGlob makes a directory's name stand for itself in a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// replaySegment reads the records of a segment. good is where the intact ones end: in the last segment what is behind is
// torn, in another one it is an error. Of the blocks of other segments only the headers are read, which hash to what
// follows them; in the last one every checksum is compared.
func replaySegment(f io.ReaderAt, name string, size int64, n uint32, isLast bool, re replay) (good int64, err error) {
	damaged := func(off int64, what string) error {
		return &FileError{File: name, Offset: off, Err: fmt.Errorf("%w: %s", ErrCorrupt, what)}
	}
	w := window{f: f, size: size, ahead: 4 << 10}
	if isLast {
		w.ahead = 256 << 10
	}
	magic, err := w.bytes(0, len(segmentMagic))
	if errors.Is(err, io.ErrUnexpectedEOF) && isLast {
		return 0, nil
	}
	if err != nil || string(magic) != segmentMagic {
		return 0, damaged(0, "not a segment file")
	}
	blk := new(Block) // of all records: there are many, and who is told of one keeps none
	for off := int64(len(segmentMagic)); ; {
		if off == size {
			return off, nil
		}
		kind, payload, end, err := readRecord(&w, off, !isLast)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errChecksum) {
			if isLast {
				return off, nil
			}
			return off, damaged(off, err.Error())
		}
		if err != nil {
			return off, err
		}
		switch kind {
		case recordBlock:
			if *blk, err = parseBlockStart(payload); err == nil && !blk.Wrapped {
				err = errors.New("block without its era")
			}
			if err == nil {
				blk.setSize(int(end - off - recordHead))
				err = re.block(blk, n, off+recordHead)
			}
		case recordRollback, recordBase:
			var p Point
			if p, err = readPoint(payload); err != nil {
				break
			}
			if kind == recordBase {
				err = re.base(p)
			} else {
				err = re.rollback(p)
			}
		default:
			err = fmt.Errorf("record of unknown kind %d", kind)
		}
		if err != nil {
			return off, &FileError{File: name, Offset: off, Err: err}
		}
		off = end
	}
}

var errChecksum = errors.New("checksum differs")

// readRecord reads the record at the offset. With headerOnly a block's payload is its first bytes only, and unchecked.
func readRecord(w *window, off int64, headerOnly bool) (kind byte, payload []byte, end int64, err error) {
	head, err := w.bytes(off, recordHead)
	if err != nil {
		return 0, nil, 0, err
	}
	word, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	kind, n := byte(word>>24), int(word&MaxBlock)
	end = off + recordHead + int64(n)
	if end > w.size {
		return 0, nil, 0, io.ErrUnexpectedEOF
	}
	if headerOnly && kind == recordBlock {
		payload, err = w.bytes(off+recordHead, min(n, 2048))
		if err != nil {
			return 0, nil, 0, err
		}
		if _, err := parseBlockStart(payload); err == nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			return kind, payload, end, nil
		}
	}
	record, err := w.bytes(off, recordHead+n)
	if err != nil {
		return 0, nil, 0, err
	}
	if recordSum(record[:4], record[recordHead:]) != sum {
		return 0, nil, 0, errChecksum
	}
	return kind, record[recordHead:], end, nil
}

func recordSum(word, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(word, castagnoli), castagnoli, payload)
}

func appendRecord(dst []byte, kind byte, payload []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(kind)<<24|uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, recordSum(dst[at:at+4], payload))
	return append(dst, payload...)
}

func appendPoint(dst []byte, p Point) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, p.Slot), p.Hash[:]...)
}

func readPoint(b []byte) (p Point, err error) {
	if len(b) != 8+len(p.Hash) {
		return p, fmt.Errorf("point of %d bytes", len(b))
	}
	p.Slot = binary.LittleEndian.Uint64(b)
	copy(p.Hash[:], b[8:])
	return p, nil
}

// append writes a roll back, unless it is nil, and blocks, in one piece, and returns where the blocks are. If that fails nothing
// was written.
func (s *segments) append(rollback *Point, items [][]byte) ([]place, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	if s.size >= s.limit {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	w := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(w)
	buf := (*w)[:0]
	if rollback != nil {
		buf = appendRecord(buf, recordRollback, appendPoint(nil, *rollback))
	}
	places := make([]place, len(items))
	for i, item := range items {
		places[i] = place{s.last, s.size + int64(len(buf)) + recordHead}
		buf = appendRecord(buf, recordBlock, item)
	}
	*w = buf
	return places, s.flush(buf)
}

// writeBuffers are those of all chains, in which records are put together: a chain that rests needs none.
var writeBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *segments) write(kind byte, payload []byte) error {
	return s.flush(appendRecord(nil, kind, payload))
}

func (s *segments) flush(buf []byte) error {
	_, err := s.w.WriteAt(buf, s.size)
	if err != nil {
		if undo := s.w.Truncate(s.size); undo != nil {
			s.broken = fmt.Errorf("chain on disk is unusable until it is opened again: %w", errors.Join(err, undo))
		}
		return err
	}
	s.size += int64(len(buf))
	return nil
}

// next completes the last segment and begins another.
func (s *segments) next() error {
	if err := s.w.Sync(); err != nil {
		return err
	}
	old := s.w
	if err := s.begin(s.last + 1); err != nil {
		s.w = old
		return err
	}
	return old.Close()
}

func (s *segments) begin(n uint32) error {
	f, err := os.OpenFile(segmentPath(s.dir, n), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(segmentMagic); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	s.w, s.last, s.size = f, n, int64(len(segmentMagic))
	return nil
}

func (s *segments) close() error {
	return errors.Join(s.w.Sync(), s.w.Close(), s.files.close())
}
