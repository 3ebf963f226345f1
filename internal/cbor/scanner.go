package cbor

import "encoding/binary"

// MaxDepth is how many arrays, maps, tags and chunked strings may surround one another.
const MaxDepth = 256

const inlineDepth = 8

// Scanner finds the end of one CBOR item in a buffer that grows. It looks at every byte at most once, whatever the segments
// the bytes arrive in, and skips the content of strings without looking at all. It never allocates for items that nest up to eight levels;
// for deeper ones it keeps 8 bytes a level, at most 2 KiB. The zero value is ready.
type Scanner struct {
	pos     int    // bytes of the item behind us
	skip    uint64 // bytes of string content still ahead
	arg     uint64 // the argument read so far of a head that is cut short
	argLeft uint8  // bytes of that argument still to come
	initial byte   // the initial byte of that head
	depth   int
	inline  [inlineDepth]frame
	deep    []frame // frames inlineDepth and up
	err     error
}

// frame is an open array, map, tag or chunked string: its kind in the top four bits and below them the number of items that
// are missing (for an indefinite map: 1 when a value is due). Counts saturate at 2^60-1, more items than any buffer holds.
type frame uint64

const (
	counted frame = iota << 60 // definite array or map, tag
	openArray
	openMap
	openBytes
	openText
	kindMask frame = 15 << 60
	leftMask frame = 1<<60 - 1
)

// Major types (RFC 8949 §3.1).
const (
	majorUint byte = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// Next goes on scanning. buf starts at the item's first byte and holds at least as many bytes as in the call before. When
// the item's end is found, done is true, the item is buf[:n] and the scanner is ready for another item. Neither done nor an
// error: more bytes are needed. An error (an [*Error]) stays until [Scanner.Reset].
func (s *Scanner) Next(buf []byte) (n int, done bool, err error) {
	if s.err != nil {
		return 0, false, s.err
	}
	for s.pos < len(buf) {
		if s.skip > 0 {
			if avail := uint64(len(buf) - s.pos); s.skip > avail {
				s.skip -= avail
				s.pos = len(buf)
				return 0, false, nil
			}
			s.pos += int(s.skip)
			s.skip = 0
			if s.completed() {
				return s.finish()
			}
			continue
		}
		start := s.pos
		if s.argLeft == 0 {
			s.initial = buf[s.pos]
			s.pos++
			switch info := s.initial & 31; {
			case info < 24:
				s.arg = uint64(info)
			case info < 28:
				size := 1 << (info - 24)
				if len(buf)-s.pos < size {
					s.arg, s.argLeft = 0, uint8(size)
					continue
				}
				s.arg = argument(buf[s.pos:], size)
				s.pos += size
			case info < 31:
				return s.fail(start, ErrReserved)
			}
		} else {
			s.arg = s.arg<<8 | uint64(buf[s.pos])
			s.pos++
			if s.argLeft--; s.argLeft > 0 {
				continue
			}
		}
		whole, reason := s.head()
		if reason != nil {
			return s.fail(start, reason)
		}
		if whole && s.completed() {
			return s.finish()
		}
	}
	return 0, false, nil
}

// Reset makes the scanner ready for another item.
func (s *Scanner) Reset() {
	s.pos, s.skip, s.argLeft, s.depth, s.err = 0, 0, 0, 0, nil
	s.deep = s.deep[:0]
}

// Scanned returns how many bytes of the unfinished item are behind the scanner.
func (s *Scanner) Scanned() int { return s.pos }

// head acts on a complete head. whole: it was an item of its own, or it closed one.
func (s *Scanner) head() (whole bool, err error) {
	major, indefinite := s.initial>>5, s.initial&31 == 31
	if s.depth > 0 {
		if kind := *s.top() & kindMask; kind >= openBytes && s.initial != 0xff {
			// openBytes and openText stand in the order of their major types.
			if indefinite || major != byte((kind-openBytes)>>60)+majorBytes {
				return false, ErrChunk
			}
		}
	}
	switch major {
	case majorBytes, majorText:
		if indefinite {
			return false, s.push(openBytes + frame(major-majorBytes)<<60)
		}
		s.skip = s.arg
		return s.arg == 0, nil
	case majorArray:
		if indefinite {
			return false, s.push(openArray)
		}
		return s.pushCounted(s.arg)
	case majorMap:
		if indefinite {
			return false, s.push(openMap)
		}
		if s.arg > uint64(leftMask) {
			s.arg = uint64(leftMask)
		}
		return s.pushCounted(2 * s.arg)
	case majorSimple:
		if indefinite {
			return s.breakOff()
		}
		if s.initial&31 == 24 && s.arg < 32 {
			return false, ErrSimple
		}
		return true, nil
	}
	if indefinite {
		return false, ErrReserved
	}
	if major == majorTag {
		return s.pushCounted(1)
	}
	return true, nil
}

func (s *Scanner) pushCounted(n uint64) (empty bool, err error) {
	if n == 0 {
		return true, nil
	}
	return false, s.push(counted | frame(min(n, uint64(leftMask))))
}

func (s *Scanner) push(f frame) error {
	switch {
	case s.depth >= MaxDepth:
		return ErrTooDeep
	case s.depth < inlineDepth:
		s.inline[s.depth] = f
	default:
		s.deep = append(s.deep[:s.depth-inlineDepth], f)
	}
	s.depth++
	return nil
}

func (s *Scanner) top() *frame {
	if s.depth > inlineDepth {
		return &s.deep[s.depth-1-inlineDepth]
	}
	return &s.inline[s.depth-1]
}

func (s *Scanner) breakOff() (bool, error) {
	if s.depth == 0 {
		return false, ErrBreak
	}
	switch f := *s.top(); {
	case f&kindMask == counted:
		return false, ErrBreak
	case f == openMap|1:
		return false, ErrOddMap
	}
	s.depth--
	return true, nil
}

// completed notes that an item has ended and reports whether the outermost one has.
func (s *Scanner) completed() bool {
	for s.depth > 0 {
		f := s.top()
		switch *f & kindMask {
		case counted:
			if *f--; *f&leftMask > 0 {
				return false
			}
			s.depth--
			continue
		case openMap:
			*f ^= 1
		}
		return false
	}
	return true
}

func (s *Scanner) finish() (int, bool, error) {
	n := s.pos
	s.Reset()
	return n, true, nil
}

func (s *Scanner) fail(offset int, reason error) (int, bool, error) {
	s.err = &Error{Offset: offset, Err: reason}
	return 0, false, s.err
}

// argument reads a head's argument of 1, 2, 4 or 8 bytes.
func argument(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}
