package cbor

import (
	"errors"
	"fmt"
	"io"
)

// Error is what every failure of this package is: the reason, one of the Err… values below, and where it was found.
type Error struct {
	Offset int   // of the head or the byte at fault, from the start of the bytes given to the scanner or reader
	Err    error // one of the Err… values, or what was handed to [Reader.Fail]
}

// Error returns the reason and the offset.
func (e *Error) Error() string { return fmt.Sprintf("cbor: %v at byte %d", e.Err, e.Offset) }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Fault says who is to blame for the bytes: whoever sent them.
func (e *Error) Fault() string { return "adversarial" }

// Why bytes are not well-formed CBOR (RFC 8949 §3 and appendix C).
var (
	// ErrTruncated: the bytes end inside an item. It is an [io.ErrUnexpectedEOF].
	ErrTruncated = fmt.Errorf("item is cut short: %w", io.ErrUnexpectedEOF)
	// ErrTooDeep: more than [MaxDepth] arrays, maps, tags and chunked strings around one another.
	ErrTooDeep = fmt.Errorf("nested deeper than %d", MaxDepth)
	// ErrReserved: additional information 28 to 30, or 31 where no indefinite length exists.
	ErrReserved = errors.New("reserved additional information")
	// ErrBreak: a break outside of an indefinite-length item.
	ErrBreak = errors.New("break out of place")
	// ErrOddMap: a break after a map's key.
	ErrOddMap = errors.New("indefinite map ends after a key")
	// ErrChunk: a chunk that is not a definite-length string of its string's own type.
	ErrChunk = errors.New("chunk of another type in a chunked string")
	// ErrSimple: a simple value below 32 in the two-byte form.
	ErrSimple = errors.New("simple value below 32 in two bytes")
	// ErrTrailing: bytes after the item.
	ErrTrailing = errors.New("bytes after the item")
)

// Why a [Reader] refuses well-formed CBOR.
var (
	// ErrType: an item of another type than the one expected.
	ErrType = errors.New("unexpected type")
	// ErrLength: an array, map or string of another length than the one expected.
	ErrLength = errors.New("unexpected length")
	// ErrRange: an integer that does not fit.
	ErrRange = errors.New("integer out of range")
	// ErrIndefinite: an indefinite length where only a definite one will do.
	ErrIndefinite = errors.New("indefinite length not allowed")
	// ErrDefinite: a definite length where only an indefinite one will do.
	ErrDefinite = errors.New("definite length not allowed")
	// ErrUTF8: a text string that is not UTF-8.
	ErrUTF8 = errors.New("text is not UTF-8")
)
