package connmgr

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The reasons for which a connection is not to be had (connmgr §2.2). Test for them with errors.Is; the error itself is an
// *[AcquireError], which says more.
var (
	// ErrConnectionExists: we use or are opening a connection to that peer already. Benign: a race with ourselves.
	ErrConnectionExists = errors.New("connection exists")
	// ErrForbiddenConnection: the peer's connection to us is unidirectional and cannot be reused.
	ErrForbiddenConnection = errors.New("the existing inbound connection is unidirectional")
	// ErrForbiddenOperation: our use of the connection is just ending. Carries a retry-after.
	ErrForbiddenOperation = errors.New("the connection is being given up")
	// ErrInboundConnectionNotFound: the peer is behind a firewall and has not connected to us.
	ErrInboundConnectionNotFound = errors.New("no inbound connection to reuse")
	// ErrConnectionTerminating: an earlier connection is in TIME_WAIT. Carries a retry-after.
	ErrConnectionTerminating = errors.New("the earlier connection is terminating")
	// ErrSelfConnection: the address is our own. Permanent for this process.
	ErrSelfConnection = errors.New("the address is our own")
	// ErrImpossibleState: a defect of this package.
	ErrImpossibleState = errors.New("impossible state")
	// ErrClosed: the connection manager has been closed.
	ErrClosed = errors.New("connection manager closed")
	// ErrHandshakeQuery: the remote asked for our versions and hung up, as it said it would.
	ErrHandshakeQuery = errors.New("version query")
	// ErrDisconnected: the connection ended before it could be used.
	ErrDisconnected = errors.New("disconnected")
	// ErrPruned: the connection was given up to make room (connmgr §3).
	ErrPruned = errors.New("pruned to stay within the inbound limit")
	// ErrEvicted: the socket had to leave the un-negotiated budget (connmgr §4.4).
	ErrEvicted = errors.New("evicted from the un-negotiated budget")
)

// Values of Fault() on errors that cross packages (connmgr §2.2).
const (
	FaultInternal    = "internal"
	FaultNetwork     = "network"
	FaultAdversarial = "adversarial"
	FaultBenign      = "benign"
)

// AcquireError is why a peer did not become warm. Where the attempt should be repeated at a known time, the error chain also
// has RetryAfter() time.Duration; such an error is no failure of the peer.
type AcquireError struct {
	Reason error // one of the Err… values
	Remote netip.AddrPort
	State  State // of the connection that stood in the way
	Cause  error // what ended it, if known
}

// Error names the peer, the state that stood in the way, the reason and, if known, the cause.
func (e *AcquireError) Error() string {
	s := fmt.Sprintf("connmgr: acquire %v in state %v: %v", e.Remote, e.State, e.Reason)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the reason and the cause.
func (e *AcquireError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

// Fault tells whose fault it is: that of the cause if it knows, else by reason.
func (e *AcquireError) Fault() string {
	var f interface{ Fault() string }
	if errors.As(e.Cause, &f) {
		return f.Fault()
	}
	switch e.Reason {
	case ErrImpossibleState, ErrSelfConnection:
		return FaultInternal
	case ErrDisconnected:
		return FaultNetwork
	}
	return FaultBenign
}

// retryError adds a retry-after to an error.
type retryError struct {
	error
	after time.Duration
}

// Unwrap returns the error itself.
func (e *retryError) Unwrap() error { return e.error }

// RetryAfter is how long to wait before the next attempt.
func (e *retryError) RetryAfter() time.Duration { return e.after }

// Fault repeats what the error says.
func (e *retryError) Fault() string {
	var f interface{ Fault() string }
	if errors.As(e.error, &f) {
		return f.Fault()
	}
	return FaultBenign
}

// Error adds when to try again.
func (e *retryError) Error() string {
	return fmt.Sprintf("%v (retry after %v)", e.error, e.after)
}

// faultError gives an error a fault and, when after is positive, a retry-after.
func faultError(fault string, after time.Duration, err error) error {
	err = &blamed{err, fault}
	if after > 0 {
		err = &retryError{err, after}
	}
	return err
}

type blamed struct {
	error
	fault string
}

// Unwrap returns the error itself.
func (e *blamed) Unwrap() error { return e.error }

// Fault says whose fault it is.
func (e *blamed) Fault() string { return e.fault }

// Refusal says why an inbound connection was not served, or an outgoing one not opened: a limit with its scope, its size, how
// much of it was in use and who asked.
type Refusal struct {
	Scope  string // "inbound connections", "un-negotiated sockets", "un-negotiated sockets of 192.0.2.0/24", …
	Limit  int
	InUse  int
	Remote netip.AddrPort
	Reason error // ErrPruned, ErrEvicted, or nil: not admitted
}

// Error names who asked, the scope, the limit and its use, and the reason if there is one.
func (e *Refusal) Error() string {
	s := fmt.Sprintf("connmgr: refused %v: %s, limit %d, in use %d", e.Remote, e.Scope, e.Limit, e.InUse)
	if e.Reason != nil {
		s += ": " + e.Reason.Error()
	}
	return s
}

// Unwrap returns the reason.
func (e *Refusal) Unwrap() error { return e.Reason }

// Fault is benign: a limit is nobody's failure.
func (e *Refusal) Fault() string { return FaultBenign }
