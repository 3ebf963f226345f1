package cbor

import "encoding/binary"

// Item returns the length of the item that buf starts with. The error is an [*Error]; one that wraps [ErrTruncated] when
// buf ends first.
func Item(buf []byte) (n int, err error) {
	if n := plainItem(buf); n > 0 {
		return n, nil
	}
	var s Scanner
	n, done, err := s.Next(buf)
	if err == nil && !done {
		err = &Error{Offset: len(buf), Err: ErrTruncated}
	}
	return n, err
}

// Wellformed reports whether buf is exactly one well-formed item; the error is an [*Error].
func Wellformed(buf []byte) error {
	n, err := Item(buf)
	if err == nil && n < len(buf) {
		err = &Error{Offset: n, Err: ErrTrailing}
	}
	return err
}

// plainDepth is how deep plainItem goes; blocks of real chains nest up to 17 levels.
const plainDepth = 32

// plainItem is the fast path of [Item]: the automaton of [Scanner] without its memory between calls, and a table in place of
// most branches, which in real blocks no processor predicts. It returns 0 for whatever is rare (errors, chunked
// strings, deeper nesting), which the Scanner then decides.
func plainItem(buf []byte) int {
	var stack [plainDepth]frame
	n, depth, top := 0, 0, frame(1)
	for n < len(buf) {
		b := buf[n]
		h := &heads[b]
		var arg uint64
		if len(buf)-n >= 9 {
			arg = binary.BigEndian.Uint64(buf[n+1:])>>h.shift | uint64(h.small)
		} else if len(buf)-n < int(h.size) {
			return 0
		} else if arg = uint64(h.small); h.size > 1 {
			arg = argument(buf[n+1:], int(h.size)-1)
		}
		n += int(h.size)
		content := arg & h.content
		if content > uint64(len(buf)-n) {
			return 0
		}
		n += int(content)
		if arg&h.inside > uint64(len(buf)) {
			return 0
		}
		inside := frame(arg&h.inside)<<h.pair | frame(h.tag)
		if h.rare {
			switch {
			case b == 0xff && (top&kindMask == openArray || top == openMap):
				depth--
				top = stack[depth]
				inside = 0
			case b == majorArray<<5|31:
				inside = openArray
			case b == majorMap<<5|31:
				inside = openMap
			case b == 0xf8 && arg >= 32:
			default:
				return 0
			}
		}
		if inside > 0 {
			if depth == plainDepth {
				return 0
			}
			stack[depth] = top
			depth++
			top = inside
			continue
		}
		for top < openArray {
			if top--; top > 0 {
				break
			}
			if depth == 0 {
				return n
			}
			depth--
			top = stack[depth]
		}
		if top&kindMask == openMap {
			top ^= 1
		}
	}
	return 0
}

// head is what an initial byte says, in a form for arithmetic instead of branches.
type head struct {
	content uint64 // mask of the argument: the bytes of a string
	inside  uint64 // mask of the argument: the elements of an array, the pairs of a map
	shift   uint8  // from the eight bytes behind the initial one to the argument
	small   uint8  // the argument, if it is in the initial byte
	size    uint8  // of the whole head
	pair    uint8  // 1 for a map
	tag     uint8  // 1 for a tag, which has one item inside
	rare    bool   // needs a closer look: indefinite, break, reserved, two-byte simple value
}

var heads = func() (t [256]head) {
	for b := range t {
		h := &t[b]
		h.size, h.shift = 1, 64
		switch info := b & 31; {
		case info < 24:
			h.small = uint8(info)
		case info < 28:
			bytes := 1 << (info - 24)
			h.size, h.shift = uint8(1+bytes), uint8(64-8*bytes)
		default:
			h.rare = true
		}
		switch byte(b >> 5) {
		case majorBytes, majorText:
			h.content = 1<<64 - 1
		case majorArray:
			h.inside = 1<<64 - 1
		case majorMap:
			h.inside, h.pair = 1<<64-1, 1
		case majorTag:
			h.tag = 1
		}
		if b == 0xf8 {
			h.rare = true
		}
	}
	return t
}()
