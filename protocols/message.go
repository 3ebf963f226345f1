package protocols

import (
	"errors"

	"github.com/hearthnet/hearth/internal/cbor"
)

// Message is one whole message: a CBOR array whose first element is its tag.
type Message struct {
	// Tag is the array's first element.
	Tag uint64
	// From is the state in which the message was received; To the one that it led to.
	From, To State
	// Raw is the message's bytes, valid until the next Recv on the same session.
	Raw []byte
}

var errOuter = errors.New("a message is a definite-length array that begins with an unsigned tag")

// peekTag reads the head of a message: its tag and the number of elements of the outer array, the tag included.
func peekTag(msg []byte) (tag uint64, length int, err error) {
	if len(msg) >= 2 && msg[0] > 0x80 && msg[0] < 0x98 && msg[1] < 24 { // all messages of the standard protocols
		return uint64(msg[1]), int(msg[0] - 0x80), nil
	}
	r := cbor.NewReader(msg)
	length = r.AnyDefArray()
	tag = r.Uint()
	if r.Err() != nil || length < 1 {
		return 0, 0, errOuter
	}
	return tag, length, nil
}
