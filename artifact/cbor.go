package artifact

import (
	"encoding/binary"
	"fmt"
)

// The wire needs unsigned integers, byte strings, arrays, booleans and null, nested at most five deep by its grammar. Heads
// are written in the shortest definite form; when reading, longer heads and indefinite lengths are accepted too
// (artifact §6.2).

const (
	majorUint  = 0
	majorBytes = 2
	majorArray = 4
	majorOther = 7

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
	cborBreak = 0xff

	maxInt63 = 1<<63 - 1
)

func appendHead(b []byte, major byte, v uint64) []byte {
	major <<= 5
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v <= 0xff:
		return append(b, major|24, byte(v))
	case v <= 0xffff:
		return append(b, major|25, byte(v>>8), byte(v))
	case v <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), v)
}

func appendUint(b []byte, v uint64) []byte { return appendHead(b, majorUint, v) }
func appendArray(b []byte, n int) []byte   { return appendHead(b, majorArray, uint64(n)) }

func appendBytes(b, v []byte) []byte { return append(appendHead(b, majorBytes, uint64(len(v))), v...) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, cborTrue)
	}
	return append(b, cborFalse)
}

// appendBytesOrNull writes null for a nil slice; an empty one that is not nil is an empty byte string.
func appendBytesOrNull(b, v []byte) []byte {
	if v == nil {
		return append(b, cborNull)
	}
	return appendBytes(b, v)
}

// DecodeError is a message that breaks the grammar or a limit of artifact §6.2. It is certainly the sender's fault.
type DecodeError struct {
	Offset int    // bytes into the message
	Want   string // what the grammar or the limit asks for there
}

// Error says at which byte of the message, and what was to be there.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("artifact: malformed message at byte %d: want %s", e.Offset, e.Want)
}

// Fault tells the connection manager that the remote end broke the protocol.
func (e *DecodeError) Fault() string { return "adversarial" }

// reader is a cursor over one message. The first error sticks, later reads return zero values. Nothing it does allocates more
// than the message is long.
type reader struct {
	b   []byte
	i   int
	err error
}

func (r *reader) fail(want string) {
	if r.err == nil {
		r.err = &DecodeError{Offset: r.i, Want: want}
	}
}

// head reads one head of the wanted major type. indef is set for an indefinite length, where that type allows one.
func (r *reader) head(major byte, want string) (v uint64, indef bool) {
	if r.err != nil {
		return 0, false
	}
	if r.i >= len(r.b) || r.b[r.i]>>5 != major {
		r.fail(want)
		return 0, false
	}
	info := r.b[r.i] & 31
	n := 0
	switch {
	case info < 24:
		r.i++
		return uint64(info), false
	case info <= 27:
		n = 1 << (info - 24)
	case info == 31 && (major == majorArray || major == majorBytes):
		r.i++
		return 0, true
	default:
		r.fail(want)
		return 0, false
	}
	if len(r.b)-r.i-1 < n {
		r.fail(want)
		return 0, false
	}
	for _, c := range r.b[r.i+1 : r.i+1+n] {
		v = v<<8 | uint64(c)
	}
	r.i += 1 + n
	return v, false
}

// uint reads an unsigned integer ≤ max.
func (r *reader) uint(max uint64, want string) uint64 {
	at := r.i
	v, _ := r.head(majorUint, want)
	if r.err == nil && v > max {
		r.i = at
		r.fail(want)
		return 0
	}
	return v
}

// bytes reads a byte string of min to max bytes. A definite one is a view into the message, an indefinite one a copy.
func (r *reader) bytes(min, max int, want string) []byte {
	at := r.i
	n, indef := r.head(majorBytes, want)
	if r.err != nil {
		return nil
	}
	var out []byte
	if indef {
		out = []byte{}
		for !r.brk() {
			m, inner := r.head(majorBytes, want)
			if r.err != nil || inner || m > uint64(len(r.b)-r.i) || len(out)+int(m) > max {
				r.fail(want)
				return nil
			}
			out = append(out, r.b[r.i:r.i+int(m)]...)
			r.i += int(m)
		}
	} else {
		if n > uint64(len(r.b)-r.i) || n > uint64(max) {
			r.i = at
			r.fail(want)
			return nil
		}
		out = r.b[r.i : r.i+int(n) : r.i+int(n)]
		r.i += int(n)
	}
	if len(out) < min {
		r.i = at
		r.fail(want)
		return nil
	}
	return out
}

// null consumes a null if there is one.
func (r *reader) null() bool {
	if r.err == nil && r.i < len(r.b) && r.b[r.i] == cborNull {
		r.i++
		return true
	}
	return false
}

// brk consumes a break if there is one; true on a past error, so that loops end.
func (r *reader) brk() bool {
	if r.err != nil {
		return true
	}
	if r.i < len(r.b) && r.b[r.i] == cborBreak {
		r.i++
		return true
	}
	return false
}

func (r *reader) bool(want string) bool {
	if r.err == nil && r.i < len(r.b) {
		switch r.b[r.i] {
		case cborTrue:
			r.i++
			return true
		case cborFalse:
			r.i++
			return false
		}
	}
	r.fail(want)
	return false
}

// array is an array being read.
type array struct {
	left  uint64
	indef bool
}

func (r *reader) array(want string) array {
	n, indef := r.head(majorArray, want)
	return array{n, indef}
}

// next reports whether another element follows, and consumes the break of an indefinite array that ends.
func (r *reader) next(a *array) bool {
	if r.err != nil {
		return false
	}
	if a.indef {
		if r.brk() {
			a.indef, a.left = false, 0
			return false
		}
		return true
	}
	if a.left == 0 {
		return false
	}
	a.left--
	return true
}

// open reads the head of an array of exactly n elements; shut checks that it ended there.
func (r *reader) open(n uint64, want string) array {
	a := r.array(want)
	if r.err == nil && !a.indef && a.left != n {
		r.fail(want)
	}
	return a
}

func (r *reader) shut(a array, want string) {
	if r.err == nil && a.indef && !r.brk() {
		r.fail(want)
	}
}

// end checks that nothing follows the message.
func (r *reader) end() error {
	if r.err == nil && r.i != len(r.b) {
		r.fail("end of message")
	}
	return r.err
}

// tagged opens the outer array and reads the tag. The caller checks the number of elements by reading them and calling
// finish.
func (r *reader) tagged() (array, uint64) {
	a := r.array("a message")
	if !r.next(&a) {
		r.fail("a tag")
	}
	return a, r.uint(255, "a tag")
}

// field steps to the next element of the outer array, which must exist.
func (r *reader) field(a *array, want string) {
	if !r.next(a) {
		r.fail(want)
	}
}

// finish checks that the outer array and the message end here.
func (r *reader) finish(a *array) error {
	if r.err == nil && r.next(a) {
		r.fail("end of message")
	}
	return r.end()
}
