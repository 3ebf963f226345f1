package chain

import (
	"fmt"
	"io"
	"math"
)

// MaxDepth is how deep CBOR may nest; one level more is refused with a [FormatError].
const MaxDepth = 256

// CBOR major types (the top three bits of an item's first byte).
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorOther
)

// FormatError says that bytes are not the CBOR, block or header they should be, and where. It unwraps to
// [io.ErrUnexpectedEOF] when the bytes merely end too early.
type FormatError struct {
	Offset int    // of the offending byte, from the start of the bytes handed in
	What   string // what is wrong
	Short  bool   // the bytes end too early
}

func (e *FormatError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.What) }

// Unwrap returns io.ErrUnexpectedEOF for bytes that end too early, else nil.
func (e *FormatError) Unwrap() error {
	if e.Short {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func bad(off int, what string) error { return &FormatError{Offset: off, What: what} }

func short(off int) error { return &FormatError{Offset: off, What: "ends too early", Short: true} }

// head is the first part of an item: major type and argument.
type head struct {
	arg   uint64
	next  int // offset of the byte behind the head
	major byte
	indef bool // indefinite length, or the break code when major is majorOther
}

// readHead reads the head at off. Longer heads than necessary are accepted (wire §0).
func readHead(b []byte, off int) (head, error) {
	if off >= len(b) {
		return head{}, short(off)
	}
	h := head{major: b[off] >> 5, next: off + 1}
	low := b[off] & 0x1f
	if low < 24 {
		h.arg = uint64(low)
		return h, nil
	}
	if low == 31 {
		if h.major == majorUint || h.major == majorNegative || h.major == majorTag {
			return head{}, bad(off, "indefinite length where there is no length")
		}
		h.indef = true
		return h, nil
	}
	if low > 27 {
		return head{}, bad(off, "reserved additional information")
	}
	size := 1 << (low - 24)
	if len(b)-h.next < size {
		return head{}, short(len(b))
	}
	for _, c := range b[h.next : h.next+size] {
		h.arg = h.arg<<8 | uint64(c)
	}
	if h.major == majorOther && size == 1 && h.arg < 32 {
		return head{}, bad(off, "simple value in the wrong form")
	}
	h.next += size
	return h, nil
}

// skip returns the offset behind the item at off. It runs in O(bytes), allocates nothing, and refuses to nest deeper than
// MaxDepth.
func skip(b []byte, off int) (int, error) {
	h, err := readHead(b, off)
	if err != nil {
		return 0, err
	}
	switch {
	case h.major == majorOther && h.indef:
		return 0, bad(off, "break code outside an indefinite item")
	case h.major <= majorNegative || h.major == majorOther:
		return h.next, nil
	case h.major <= majorText && !h.indef:
		return skipString(b, h)
	}
	return skipNested(b, off)
}

func skipString(b []byte, h head) (int, error) {
	if h.arg > uint64(len(b)-h.next) {
		return 0, short(len(b))
	}
	return h.next + int(h.arg), nil
}

// level is one open container in skipNested.
type level struct {
	left  uint64 // items still to come; forever for indefinite ones
	major byte   // majorBytes or majorText inside an indefinite string, majorMap inside an indefinite map
	odd   bool   // an indefinite map that has a key without its value
}

const forever = math.MaxUint64

func skipNested(b []byte, off int) (int, error) {
	var levels [MaxDepth]level
	depth := 0
	for {
		at := off
		h, err := readHead(b, off)
		if err != nil {
			return 0, err
		}
		off = h.next
		if h.major == majorOther && h.indef { // break
			if depth == 0 || levels[depth-1].left != forever {
				return 0, bad(at, "break code outside an indefinite item")
			}
			if levels[depth-1].odd {
				return 0, bad(at, "map ends behind a key")
			}
			depth--
		} else {
			if depth > 0 {
				top := &levels[depth-1]
				if top.left != forever {
					top.left--
				} else if top.major == majorMap {
					top.odd = !top.odd
				} else if top.major != majorArray && (h.major != top.major || h.indef) {
					return 0, bad(at, "chunk of another kind inside an indefinite string")
				}
			}
			open := level{left: h.arg, major: h.major}
			if h.indef {
				open.left = forever
			}
			switch h.major {
			case majorBytes, majorText:
				if !h.indef {
					if off, err = skipString(b, h); err != nil {
						return 0, err
					}
					open.left = 0
				}
			case majorArray, majorMap:
				if !h.indef {
					// Every element takes at least a byte: what declares more than there is cannot be complete.
					if h.arg > uint64(len(b)-off) {
						return 0, short(len(b))
					}
					if h.major == majorMap {
						open.left *= 2
					}
				}
			case majorTag:
				open.left = 1
			default:
				open.left = 0
			}
			if open.left > 0 {
				if depth == MaxDepth {
					return 0, bad(at, fmt.Sprintf("nested deeper than %d", MaxDepth))
				}
				levels[depth] = open
				depth++
			}
		}
		for depth > 0 && levels[depth-1].left == 0 {
			depth--
		}
		if depth == 0 {
			return off, nil
		}
	}
}

// reader walks the parts of one item and keeps the first error; after an error every method returns zero values.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) fail(off int, what string) {
	if r.err == nil {
		r.err = bad(off, what)
	}
}

func (r *reader) head() head {
	if r.err != nil {
		return head{}
	}
	h, err := readHead(r.b, r.off)
	if err != nil {
		r.err = err
		return head{}
	}
	r.off = h.next
	return h
}

// array reads the head of a definite array and returns its length.
func (r *reader) array(what string) uint64 {
	at := r.off
	h := r.head()
	if h.major != majorArray || h.indef {
		r.fail(at, what+" is not an array of definite length")
		return 0
	}
	return h.arg
}

// exactly reads the head of a definite array of n elements.
func (r *reader) exactly(n uint64, what string) {
	at := r.off
	if got := r.array(what); got != n {
		r.fail(at, fmt.Sprintf("%s has %d elements, not %d", what, got, n))
	}
}

func (r *reader) uint(what string) uint64 {
	at := r.off
	h := r.head()
	if h.major != majorUint {
		r.fail(at, what+" is not an unsigned integer")
		return 0
	}
	return h.arg
}

// bytes reads a definite byte string and returns the part of the input that it is.
func (r *reader) bytes(what string) []byte {
	at := r.off
	h := r.head()
	if h.major != majorBytes || h.indef {
		r.fail(at, what+" is not a byte string of definite length")
	}
	if r.err != nil {
		return nil
	}
	end, err := skipString(r.b, h)
	if err != nil {
		r.err = err
		return nil
	}
	r.off = end
	return r.b[h.next:end:end]
}

func (r *reader) hash(what string) (h [32]byte) {
	at := r.off
	if b := r.bytes(what); len(b) == len(h) {
		copy(h[:], b)
	} else {
		r.fail(at, what+" is not 32 bytes")
	}
	return h
}

// embedded reads `#24(bytes)` and returns the bytes.
func (r *reader) embedded(what string) []byte {
	at := r.off
	if h := r.head(); h.major != majorTag || h.arg != 24 {
		r.fail(at, what+" is not tagged 24")
		return nil
	}
	return r.bytes(what)
}

// item skips n items and returns the bytes of the last of them.
func (r *reader) item(n int) []byte {
	from := r.off
	for ; n > 0 && r.err == nil; n-- {
		from = r.off
		end, err := skip(r.b, r.off)
		if err != nil {
			r.err = err
			return nil
		}
		r.off = end
	}
	if r.err != nil {
		return nil
	}
	return r.b[from:r.off:r.off]
}

// end makes trailing bytes an error (wire §0) and returns the first error there was.
func (r *reader) end() error {
	if r.err == nil && r.off != len(r.b) {
		r.fail(r.off, "trailing bytes")
	}
	return r.err
}

// peek returns the first byte of the next item, 0xff (the break code, never the start of one) when there is none.
func (r *reader) peek() byte {
	if r.err != nil || r.off >= len(r.b) {
		return 0xff
	}
	return r.b[r.off]
}

// appendHead appends the shortest head of the major type and argument.
func appendHead(dst []byte, major byte, arg uint64) []byte {
	m := major << 5
	switch {
	case arg < 24:
		return append(dst, m|byte(arg))
	case arg <= math.MaxUint8:
		return append(dst, m|24, byte(arg))
	case arg <= math.MaxUint16:
		return append(dst, m|25, byte(arg>>8), byte(arg))
	case arg <= math.MaxUint32:
		return append(dst, m|26, byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
	}
	return append(dst, m|27, byte(arg>>56), byte(arg>>48), byte(arg>>40), byte(arg>>32), byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
}
