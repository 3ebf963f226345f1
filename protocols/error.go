package protocols

import (
	"fmt"
	"time"

	"github.com/hearthnet/hearth/mux"
)

// ErrorKind is the class of an [Error].
type ErrorKind uint8

// What ends a mini-protocol, and with it the connection (wire §5.1), or refuses a call.
const (
	Malformed      ErrorKind = iota + 1 // bytes that are not well-formed CBOR
	Unexpected                          // a message that is not legal in its state
	TooLarge                            // a message over the byte limit of its state
	TimedOut                            // no whole message within the time limit of its state
	Violation                           // a legal message whose content breaks a rule of the mini-protocol
	Misuse                              // this end tried to send or receive out of turn
	AlreadyRunning                      // the stream is in use by another session
	Unsupported                         // the connection does not carry this mini-protocol in this role
	Panicked                            // a callback of the host panicked; Err is a [*PanicError]
	Failed                              // a callback of the host returned an error
	NotReading                          // the peer does not read the answers to what it goes on to ask
)

var errorKinds = [...]string{
	"", "malformed message", "unexpected message", "message too large", "time limit exceeded", "rule violated", "out of turn",
	"already running", "not available on this connection", "panic in a callback", "callback failed", "answers not read",
}

// String returns the kind in words.
func (k ErrorKind) String() string { return errorKinds[k] }

// Error is every error of a mini-protocol: which one, in which state, whose fault.
type Error struct {
	Kind     ErrorKind
	Protocol string   // name of the table
	Number   uint16   // mini-protocol number
	Role     mux.Role // the role of this end
	State    string
	Local    bool          // this end's fault
	Limit    int           // TooLarge: bytes
	After    time.Duration // TimedOut: the limit
	Err      error         // what was wrong, may be nil
}

// Error names the mini-protocol, the state, the side at fault and the reason.
func (e *Error) Error() string {
	side := "peer"
	if e.Local {
		side = "this end"
	}
	s := fmt.Sprintf("%s (%d, %s here), state %s: %s by %s", e.Protocol, e.Number, e.Role, e.State, e.Kind, side)
	switch {
	case e.Kind == TooLarge:
		s += fmt.Sprintf(": over %d bytes", e.Limit)
	case e.Kind == TimedOut:
		s += fmt.Sprintf(": nothing complete within %v", e.After)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Fault says whose fault it was: "adversarial", "network" for a time limit (it proves nothing), or "internal".
func (e *Error) Fault() string {
	switch {
	case e.Local:
		return "internal"
	case e.Kind == TimedOut:
		return "network"
	}
	return "adversarial"
}

// Is matches a target *Error of which only Kind is set with every error of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Kind: e.Kind}
}

// PanicError is a panic of a host's callback, which ended one connection.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // of the goroutine that panicked, as [runtime/debug.Stack] formats it
}

// Error returns the value in words, without the stack.
func (e *PanicError) Error() string { return fmt.Sprint("panic: ", e.Value) }

// Fault is internal, whatever the value is.
func (e *PanicError) Fault() string { return "internal" }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Cause returns what a connection's error comes from: the error that this end aborted it with, if that is so. Without it, an
// error of the multiplexer would hide whose fault it was.
func Cause(err error) error {
	if e, ok := err.(*mux.Error); ok && e.Kind == mux.Stopped && e.Err != nil {
		return e.Err
	}
	return err
}

// Values for errors.Is.
var (
	ErrTooLarge       = &Error{Kind: TooLarge}
	ErrTimedOut       = &Error{Kind: TimedOut}
	ErrViolation      = &Error{Kind: Violation}
	ErrUnexpected     = &Error{Kind: Unexpected}
	ErrMalformed      = &Error{Kind: Malformed}
	ErrAlreadyRunning = &Error{Kind: AlreadyRunning}
	ErrUnsupported    = &Error{Kind: Unsupported}
)
