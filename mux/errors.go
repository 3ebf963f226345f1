package mux

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Kind is the class of an [Error].
type Kind uint8

// What ends a connection, or refuses a call (wire §2.7).
const (
	UnknownProtocol   Kind = iota + 1 // an SDU for a number that is registered in neither direction
	WrongDirection                    // an SDU for a registered number, but for the role that this end does not play
	IngressOverrun                    // more unread bytes on a stream than its limit
	BadSDU                            // a header that declares no payload, or a bearer that ends inside an SDU
	ReadTimeout                       // an SDU that began to arrive and was not whole within [Config.SDUTimeout]
	WriteTimeout                      // the bearer took none or too little of a batch of SDUs for too long
	BearerClosed                      // the peer closed the bearer between two SDUs
	BearerFailed                      // the bearer reported an error
	OverBudget                        // the process-wide [Budget] was exceeded and this connection held most of it
	Stopped                           // closed by this end
	AlreadyRegistered                 // a second registration of a number and role
	EgressFull                        // a send that may not block found its stream full
)

var kindNames = [...]string{
	"", "unknown mini-protocol", "wrong direction", "ingress overrun", "bad SDU", "SDU read timeout", "SDU write timeout",
	"bearer closed by peer", "bearer failed", "ingress budget exceeded", "stopped", "already registered", "egress full",
}

// String returns the kind in words.
func (k Kind) String() string { return kindNames[k] }

// Error is every error of this package. Only one error ends a connection; all streams then report that one.
type Error struct {
	Kind     Kind
	Protocol uint16 // mini-protocol number, where one is concerned
	Role     Role   // the role of this end of that stream
	Local    bool   // this end made the mistake, not the peer
	// Size, Queued and Limit are in bytes. Overruns: payload of the SDU, unread before it, limit of the stream; EgressFull likewise. OverBudget: unread
	// on all connections, on this one, limit of the budget. A bearer that ends or stalls inside an SDU: its payload, what came.
	Size, Queued, Limit int
	Err                 error // cause, may be nil
}

// Error says what happened, on which stream, and with which sizes.
func (e *Error) Error() string {
	s := "mux: " + e.Kind.String()
	switch e.Kind {
	case UnknownProtocol, WrongDirection, AlreadyRegistered, BadSDU:
		s += fmt.Sprintf(" (protocol %d, %s here)", e.Protocol, e.Role)
	case OverBudget:
		s += fmt.Sprintf(" (%d bytes unread on this connection, most of them on protocol %d, %s here; %d in all, limit %d)", e.Queued, e.Protocol, e.Role, e.Size, e.Limit)
	case ReadTimeout:
		if e.Size > 0 {
			s += fmt.Sprintf(" (protocol %d, %s here: %d of %d bytes)", e.Protocol, e.Role, e.Queued, e.Size)
		}
	case IngressOverrun, EgressFull:
		s += fmt.Sprintf(" (protocol %d, %s here: %d bytes queued, %d more, limit %d)", e.Protocol, e.Role, e.Queued, e.Size, e.Limit)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fault says whose fault it was: "adversarial" (the peer broke a rule), "network", "internal" (this end) or "benign".
func (e *Error) Fault() string {
	switch e.Kind {
	case UnknownProtocol, WrongDirection, IngressOverrun, BadSDU:
		switch {
		case e.Local:
			return "internal"
		case errors.Is(e.Err, io.ErrUnexpectedEOF): // a peer that was killed does that
			return "network"
		}
		return "adversarial"
	case ReadTimeout, WriteTimeout, BearerFailed:
		return "network"
	case Stopped: // by what whoever called Abort found
		var cause interface{ Fault() string }
		if _, ours := e.Err.(*Error); !ours && errors.As(e.Err, &cause) {
			return cause.Fault()
		}
		return "benign" // or by Close, which does not mind how the bearer took it
	case BearerClosed, OverBudget: // no rule was broken
		return "benign"
	}
	return "internal"
}

// Is makes errors.Is(err, net.ErrClosed)-like tests possible by kind: a target *Error with only Kind set matches every error
// of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Kind: e.Kind}
}

// ErrStopped matches, with errors.Is, what streams report once this end has closed the connection.
var ErrStopped = &Error{Kind: Stopped}

// ErrBearerClosed matches, with errors.Is, what streams report once the peer has closed the connection.
var ErrBearerClosed = &Error{Kind: BearerClosed}

// bearerError wraps what the bearer's Read or Write returned.
func bearerError(err error, timeout Kind) *Error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Kind: timeout, Err: err}
	}
	return &Error{Kind: BearerFailed, Err: err}
}
