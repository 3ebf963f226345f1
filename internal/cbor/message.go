package cbor

import "errors"

// ErrTag: a message with another tag than the one expected.
var ErrTag = errors.New("tag of another message")

// AppendMessage appends what every message begins with: the head of an array of n elements, of which the tag is the first.
func AppendMessage(dst []byte, n int, tag uint64) []byte { return AppendUint(AppendArray(dst, n), tag) }

// OpenMessage returns a reader behind the head and the tag of a message, which must be these.
func OpenMessage(msg []byte, n int, tag uint64) Reader {
	r := NewReader(msg)
	r.DefArray(n)
	start := r.off
	if r.Uint() != tag {
		r.failAt(start, ErrTag)
	}
	return r
}

// BoolField matches messages of n elements whose second one, behind the tag, is the bool want.
func BoolField(n int, want bool) func(msg []byte) bool {
	return func(msg []byte) bool {
		r := NewReader(msg)
		r.DefArray(n)
		r.Uint()
		return r.Bool() == want && r.err == nil
	}
}
