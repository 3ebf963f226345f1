package governor

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// Supervision (governor §11). What the host's functions do wrong costs as little as it can: an error of an order counts by its class, a
// panic counts as a failure of our own, which is nobody's, and is logged with its stack; a policy that panics is one that
// breaks its contract. Only what the governor cannot go on with ends Run: see [ErrBootstrapTimeout] and [BreachError].

// askAgain is how long a host that panicked is left alone before it is asked the same again.
const askAgain = 10 * time.Second

// PanicError is a panic in a function of the host.
type PanicError struct {
	In    string // the function
	Value any
	Stack []byte
}

// Error names the function and the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("governor: %s panicked: %v", e.In, e.Value) }

// Fault implements the convention for errors that cross a seam: it is never a peer's.
func (e *PanicError) Fault() string { return "internal" }

// BreachError ends Run: an invariant of the core is broken (governor §10.1), so that nothing it decides can be relied on. The host should
// stop the node and start it clean. The peer store is left as it was.
type BreachError struct {
	After Event // the event whose step found it
	Err   error // what is broken, or a *PanicError
}

// Error names the type of the event and what is broken.
func (e *BreachError) Error() string {
	return fmt.Sprintf("governor: an invariant is broken after %T: %v", e.After, e.Err)
}

// Unwrap returns what is broken.
func (e *BreachError) Unwrap() error { return e.Err }

// Fault implements the convention for errors that cross a seam.
func (e *BreachError) Fault() string { return "internal" }

// Fatal says that the node cannot go on.
func (e *BreachError) Fatal() bool { return true }

// fatalError is an error that the node cannot go on with and that says no more than its text.
type fatalError string

func (e fatalError) Error() string { return string(e) }
func (e fatalError) Fault() string { return "internal" }
func (e fatalError) Fatal() bool   { return true }

// guard calls a function of the host and returns its panic, if that is how it ends.
func guard(in string, f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{in, r, debug.Stack()}
		}
	}()
	f()
	return nil
}

// host calls a function of the host; a panic is logged and returned.
func (g *Governor) host(in string, f func()) error {
	err := guard(in, f)
	if p, ok := err.(*PanicError); ok {
		for _, log := range []*slog.Logger{g.log, slog.Default()} { // the log is the host's, too
			if guard("log", func() { log.Error("a function of the host panicked", "error", p, "stack", string(p.Stack)) }) == nil {
				break
			}
		}
	}
	return err
}

// later is closed when it is time to ask again.
func later() <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(askAgain, func() { close(c) })
	return c
}

// failed is the result of an order that came to nothing.
func (e Effect) failed(err error) Event {
	f := failureOf(err)
	switch e.Kind {
	case Connect:
		return Connected{Job: e.Job, Peer: e.Peer, Failure: f}
	case Activate:
		return Activated{Job: e.Job, Peer: e.Peer, Failure: f}
	case Deactivate:
		return Deactivated{Job: e.Job, Peer: e.Peer, Failure: f}
	case Disconnect:
		if e.Job != 0 {
			return Disconnected{Job: e.Job, Peer: e.Peer, Failure: f}
		}
	case AskForPeers:
		return Answered{Job: e.Job, Peer: e.Peer, Failure: f}
	case RequestRoots:
		return RootsAnswered{Job: e.Job, Failure: f}
	case ListInbound:
		return InboundListed{}
	case VerifySnapshot:
		return SnapshotVerified{}
	}
	return nil
}
