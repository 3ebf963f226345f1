package mux

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// HeaderSize is the size of an SDU header in bytes (wire §2.1).
const HeaderSize = 8

// MaxPayload is the largest payload that the 16-bit length of a header can declare. Every receiver must accept it.
const MaxPayload = 65535

// Role is the part that an end of a stream plays in its mini-protocol. On a duplex connection both ends play both.
type Role uint8

// The initiator of a mini-protocol sends with direction bit 0, the responder with 1 (wire §2.2).
const (
	Initiator Role = 0
	Responder Role = 1
)

// String returns "initiator" or "responder".
func (r Role) String() string {
	if r == Initiator {
		return "initiator"
	}
	return "responder"
}

// Peer returns the role of the other end of the stream.
func (r Role) Peer() Role { return r ^ 1 }

// Header is the head of one SDU (wire §2.1).
type Header struct {
	Time   uint32 // low 32 bits of the sender's monotonic clock, microseconds
	Number uint16 // mini-protocol, 15 bits
	From   Role   // which instance of the mini-protocol sent it: the direction bit
	Length uint16 // payload bytes that follow, 1 to 65,535
}

// processStart is the arbitrary epoch of the timestamps of everything that this process sends.
var processStart = time.Now()

// Timestamp returns what a header sent now carries: the low 32 bits of the monotonic clock in microseconds.
func Timestamp() uint32 { return uint32(time.Since(processStart).Microseconds()) }

// Put writes the header into the first [HeaderSize] bytes of b.
func (h Header) Put(b []byte) {
	binary.BigEndian.PutUint32(b, h.Time)
	binary.BigEndian.PutUint16(b[4:], h.Number&0x7fff|uint16(h.From)<<15)
	binary.BigEndian.PutUint16(b[6:], h.Length)
}

// ParseHeader reads a header from the first [HeaderSize] bytes of b. A declared length of zero is an [*Error] of kind
// [BadSDU].
func ParseHeader(b []byte) (Header, error) {
	id := binary.BigEndian.Uint16(b[4:])
	h := Header{
		Time:   binary.BigEndian.Uint32(b),
		Number: id & 0x7fff,
		From:   Role(id >> 15),
		Length: binary.BigEndian.Uint16(b[6:]),
	}
	if h.Length == 0 {
		return h, &Error{Kind: BadSDU, Protocol: h.Number, Role: h.From.Peer(), Err: fmt.Errorf("payload length 0")}
	}
	return h, nil
}

// WriteSDU writes one whole SDU with a single call of Write. It serves what runs on the bearer before the multiplexer does,
// the handshake (wire §2.3).
func WriteSDU(w io.Writer, h Header, payload []byte) error {
	if len(payload) == 0 || len(payload) > MaxPayload {
		return &Error{Kind: BadSDU, Protocol: h.Number, Role: h.From, Local: true, Err: fmt.Errorf("payload length %d", len(payload))}
	}
	h.Length = uint16(len(payload))
	b := make([]byte, HeaderSize+len(payload))
	h.Put(b)
	copy(b[HeaderSize:], payload)
	_, err := w.Write(b)
	return err
}

// ReadSDU reads exactly one SDU, not a byte further, so that what follows on the bearer is left for the multiplexer. A
// payload of more than limit bytes is refused before it is read.
func ReadSDU(r io.Reader, limit int) (Header, []byte, error) {
	var b [HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Header{}, nil, err
	}
	h, err := ParseHeader(b[:])
	if err != nil {
		return h, nil, err
	}
	if int(h.Length) > limit {
		return h, nil, &Error{Kind: IngressOverrun, Protocol: h.Number, Role: h.From.Peer(), Size: int(h.Length), Limit: limit}
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return h, nil, err
	}
	return h, payload, nil
}
