package cbor

import (
	"math"
	"math/big"
	"unicode/utf8"
)

// Reader is a strict cursor over the bytes of an item. Its methods return sub-slices of those bytes, never copies. After
// the first failure every method returns zero values and the error stays; so a codec reads all fields in a row and looks at
// [Reader.Done] once. Lengths that methods return are bounded by the bytes that are left.
type Reader struct {
	buf []byte
	off int
	err error
}

// NewReader returns a reader at the first byte of b.
func NewReader(b []byte) Reader { return Reader{buf: b} }

// Err returns the first failure, an [*Error], or nil.
func (r *Reader) Err() error { return r.err }

// Offset returns the number of bytes read.
func (r *Reader) Offset() int { return r.off }

// Fail records a failure of the caller's own at the present offset, unless there is one already, and returns the one that counts.
func (r *Reader) Fail(reason error) error {
	if r.err == nil {
		r.err = &Error{Offset: r.off, Err: reason}
	}
	return r.err
}

// Done ends the reading: it returns the first failure, or an error that wraps [ErrTrailing] when bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && r.off < len(r.buf) {
		r.Fail(ErrTrailing)
	}
	return r.err
}

// Type is the kind of an item, as [Reader.Peek] tells it apart.
type Type uint8

// The types of items. TypeOther stands for simple values and floats but bool, and for a break.
const (
	TypeNone Type = iota // nothing left, or the reader has failed
	TypeUint
	TypeNegative
	TypeBytes
	TypeText
	TypeArray
	TypeMap
	TypeTag
	TypeBool
	TypeOther
)

// Peek returns the type of the next item without reading it.
func (r *Reader) Peek() Type {
	if r.err != nil || r.off >= len(r.buf) {
		return TypeNone
	}
	switch b := r.buf[r.off]; {
	case b == 0xf4 || b == 0xf5:
		return TypeBool
	case b>>5 == majorSimple:
		return TypeOther
	default:
		return TypeUint + Type(b>>5)
	}
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 {
	arg, _ := r.head(majorUint, false)
	return arg
}

// Uint32 reads an unsigned integer of at most 32 bits.
func (r *Reader) Uint32() uint32 { return uint32(r.upTo(math.MaxUint32)) }

// Uint16 reads an unsigned integer of at most 16 bits.
func (r *Reader) Uint16() uint16 { return uint16(r.upTo(math.MaxUint16)) }

// Uint8 reads an unsigned integer of at most 8 bits.
func (r *Reader) Uint8() uint8 { return uint8(r.upTo(math.MaxUint8)) }

func (r *Reader) upTo(limit uint64) uint64 {
	start := r.off
	n := r.Uint()
	if n > limit {
		r.failAt(start, ErrRange)
		return 0
	}
	return n
}

// Int reads an integer of either sign that fits an int64.
func (r *Reader) Int() int64 {
	start, major := r.off, majorUint
	if r.Peek() == TypeNegative {
		major = majorNegative
	}
	arg, ok := r.head(major, false)
	if arg > math.MaxInt64 {
		r.failAt(start, ErrRange)
		return 0
	}
	if ok && major == majorNegative {
		return -1 - int64(arg)
	}
	return int64(arg)
}

// MaxBig is the longest bignum that [Reader.BigInt] reads, in bytes.
const MaxBig = 32

// BigInt reads an integer of either sign, bignums up to [MaxBig] bytes included. It allocates; nil after a failure.
func (r *Reader) BigInt() *big.Int {
	start := r.off
	switch r.Peek() {
	case TypeNegative:
		arg, ok := r.head(majorNegative, false)
		if !ok {
			return nil
		}
		n := new(big.Int).SetUint64(arg)
		return n.Not(n)
	case TypeTag:
		tag := r.Tag()
		b := r.Bytes()
		switch {
		case r.err != nil:
			return nil
		case tag != 2 && tag != 3:
			r.failAt(start, ErrType)
			return nil
		case len(b) > MaxBig:
			r.failAt(start, ErrRange)
			return nil
		}
		n := new(big.Int).SetBytes(b)
		if tag == 3 {
			n.Not(n)
		}
		return n
	}
	arg, ok := r.head(majorUint, false)
	if !ok {
		return nil
	}
	return new(big.Int).SetUint64(arg)
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	switch {
	case r.err != nil:
	case r.off >= len(r.buf):
		r.Fail(ErrTruncated)
	case r.buf[r.off]&^1 != 0xf4:
		r.Fail(ErrType)
	default:
		r.off++
		return r.buf[r.off-1] == 0xf5
	}
	return false
}

// Bytes reads a definite-length byte string and returns its content.
func (r *Reader) Bytes() []byte { return r.str(majorBytes) }

// BytesLen reads a byte string of exactly n bytes.
func (r *Reader) BytesLen(n int) []byte {
	start := r.off
	b := r.Bytes()
	if r.err == nil && len(b) != n {
		r.failAt(start, ErrLength)
		return nil
	}
	return b
}

// Text reads a definite-length text string, checks that it is UTF-8 and returns its bytes.
func (r *Reader) Text() []byte {
	start := r.off
	b := r.str(majorText)
	if !utf8.Valid(b) {
		r.failAt(start, ErrUTF8)
		return nil
	}
	return b
}

func (r *Reader) str(major byte) []byte {
	start := r.off
	n, ok := r.head(major, false)
	if !ok {
		return nil
	}
	if n > uint64(len(r.buf)-r.off) {
		r.failAt(start, ErrTruncated)
		return nil
	}
	b := r.buf[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return b
}

// Tag reads a tag number; the tagged item is next.
func (r *Reader) Tag() uint64 {
	arg, _ := r.head(majorTag, false)
	return arg
}

// Wrapped reads CBOR in CBOR: tag 24 around a byte string that holds exactly one well-formed item (wire §0). It returns that item.
func (r *Reader) Wrapped() []byte {
	start := r.off
	if r.Tag() != 24 {
		r.failAt(start, ErrType)
	}
	b := r.Bytes()
	if r.err != nil {
		return nil
	}
	if err := Wellformed(b); err != nil {
		inner := err.(*Error)
		r.failAt(r.off-len(b)+inner.Offset, inner.Err)
		return nil
	}
	return b
}

// Raw reads one well-formed item of any type and returns its bytes.
func (r *Reader) Raw() []byte {
	if r.err != nil {
		return nil
	}
	n, err := Item(r.buf[r.off:])
	if err != nil {
		inner := err.(*Error)
		r.failAt(r.off+inner.Offset, inner.Err)
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Enveloped is Raw for a payload that belongs to somebody else and may be of any shape. But where it is CBOR in CBOR, or a
// pair of which the second element is (an era and what is of that era, wire §5.4), the inner item must be exactly one.
func (r *Reader) Enveloped() []byte {
	start := r.off
	raw := r.Raw()
	if r.err != nil {
		return nil
	}
	inner := NewReader(raw)
	if inner.Peek() == TypeArray {
		if n, indefinite := inner.Array(); n != 2 || indefinite {
			return raw
		}
		inner.Raw()
	}
	if inner.Peek() == TypeTag && inner.Tag() == 24 && inner.Peek() == TypeBytes {
		content := inner.Bytes()
		err := inner.Err()
		if err == nil {
			err = Wellformed(content)
		}
		if err != nil {
			r.failAt(start, err.(*Error).Err)
			return nil
		}
	}
	return raw
}

// Array reads an array's head. n is 0 when the length is indefinite: elements follow until [Reader.Break] says so.
func (r *Reader) Array() (n int, indefinite bool) {
	start := r.off
	arg, ok := r.head(majorArray, true)
	switch {
	case !ok:
		return 0, false
	case r.buf[start]&31 == 31:
		return 0, true
	case arg > uint64(len(r.buf)-r.off): // an element takes a byte at least
		r.failAt(start, ErrTruncated)
		return 0, false
	}
	return int(arg), false
}

// Map reads a map's head: n pairs, or indefinitely many.
func (r *Reader) Map() (n int, indefinite bool) {
	start := r.off
	arg, ok := r.head(majorMap, true)
	switch {
	case !ok:
		return 0, false
	case r.buf[start]&31 == 31:
		return 0, true
	case arg > uint64(len(r.buf)-r.off)/2:
		r.failAt(start, ErrTruncated)
		return 0, false
	}
	return int(arg), false
}

// DefArray reads the head of a definite-length array of exactly want elements.
func (r *Reader) DefArray(want int) {
	start := r.off
	if n := r.AnyDefArray(); r.err == nil && n != want {
		r.failAt(start, ErrLength)
	}
}

// AnyDefArray reads the head of a definite-length array and returns the number of its elements.
func (r *Reader) AnyDefArray() int {
	start := r.off
	n, indefinite := r.Array()
	if indefinite {
		r.failAt(start, ErrIndefinite)
	}
	return n
}

// DefMap reads the head of a definite-length map and returns the number of its pairs.
func (r *Reader) DefMap() int {
	start := r.off
	n, indefinite := r.Map()
	if indefinite {
		r.failAt(start, ErrIndefinite)
	}
	return n
}

// IndefArray reads the head of an array that must be of indefinite length.
func (r *Reader) IndefArray() {
	start := r.off
	if _, indefinite := r.Array(); !indefinite {
		r.failAt(start, ErrDefinite)
	}
}

// Break reads a break if one is next and reports whether it did. It is true after a failure as well, so that loops end.
func (r *Reader) Break() bool {
	if r.err != nil {
		return true
	}
	if r.off >= len(r.buf) {
		r.Fail(ErrTruncated)
		return true
	}
	if r.buf[r.off] == 0xff {
		r.off++
		return true
	}
	return false
}

// List walks the elements of an array of either form.
type List struct {
	left       int
	indefinite bool
}

// List reads an array's head, definite or not, for a loop over [Reader.More].
func (r *Reader) List() List {
	n, indefinite := r.Array()
	return List{n, indefinite}
}

// More reports whether another element of l follows; it reads the break that ends an indefinite array. False after a failure.
func (r *Reader) More(l *List) bool {
	if r.err != nil {
		return false
	}
	if l.indefinite {
		return !r.Break()
	}
	l.left--
	return l.left >= 0
}

// head reads a head of the given major type. ok is false after a failure.
func (r *Reader) head(major byte, indefiniteOK bool) (arg uint64, ok bool) {
	if r.err != nil {
		return 0, false
	}
	if r.off >= len(r.buf) {
		r.Fail(ErrTruncated)
		return 0, false
	}
	b := r.buf[r.off]
	if b>>5 != major {
		r.Fail(ErrType)
		return 0, false
	}
	switch info := b & 31; {
	case info < 24:
		r.off++
		return uint64(info), true
	case info < 28:
		size := 1 << (info - 24)
		if len(r.buf)-r.off-1 < size {
			r.Fail(ErrTruncated)
			return 0, false
		}
		arg = argument(r.buf[r.off+1:], size)
		r.off += 1 + size
		return arg, true
	case info < 31 || major == majorUint || major == majorNegative || major == majorTag:
		r.Fail(ErrReserved)
	case !indefiniteOK:
		r.Fail(ErrIndefinite)
	default:
		r.off++
		return 0, true
	}
	return 0, false
}

func (r *Reader) failAt(offset int, reason error) {
	if r.err == nil {
		r.err = &Error{Offset: offset, Err: reason}
	}
}
