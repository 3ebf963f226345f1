package connmgr

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// Class is what an error means for the node and for the peer (connmgr §7, governor §11).
type Class struct {
	// Fault is one of the Fault… values.
	Fault string
	// Fatal: the whole node has to stop (storage, clock). Only an error of the host says so, with a method Fatal() bool: nothing a
	// remote does may.
	Fatal bool
	// Proof: the remote has provably misbehaved; a time-out is no proof.
	Proof bool
	// Delay before the peer may be promoted again; negative: none.
	Delay time.Duration
}

// errorDelay is the re-promote delay after an error (connmgr §7.2).
const errorDelay = 10 * time.Second

// Classify sorts an error that ended a connection or a mini-protocol. Several joined errors combine: fatal wins, then the graver
// fault; unknown errors are the network's, and end only the peer. nil is a clean end.
func Classify(err error) Class {
	if err == nil {
		return Class{Fault: FaultBenign, Delay: errorDelay}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var c Class
		for i, e := range joined.Unwrap() {
			if i == 0 {
				c = Classify(e)
			} else {
				c = combine(c, Classify(e))
			}
		}
		if own, ok := err.(interface{ Fault() string }); ok && !c.Fatal {
			c.Fault = own.Fault()
		}
		return c
	}
	c := Class{Fault: FaultNetwork, Delay: errorDelay}
	var fatal interface{ Fatal() bool }
	if errors.As(err, &fatal) && fatal.Fatal() {
		c.Fault, c.Fatal = FaultInternal, true
	}
	if fault, ok := faultOf(err); ok {
		c.Fault = fault
	} else if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) || errors.Is(err, ErrClosed) {
		c.Fault = FaultBenign
	} else if errors.Is(err, io.ErrShortWrite) || errors.Is(err, errors.ErrUnsupported) {
		c.Fault = FaultInternal
	}
	var timeout interface{ Timeout() bool }
	c.Proof = c.Fault == FaultAdversarial && !(errors.As(err, &timeout) && timeout.Timeout())
	var after interface{ RetryAfter() time.Duration }
	if errors.As(err, &after) {
		c.Delay = after.RetryAfter()
	}
	return c
}

func faultOf(err error) (string, bool) {
	var f interface{ Fault() string }
	if !errors.As(err, &f) {
		return "", false
	}
	return f.Fault(), true
}

var gravity = map[string]int{FaultBenign: 0, FaultNetwork: 1, FaultInternal: 2, FaultAdversarial: 3}

// combine lets shut-down-node win, then the graver fault, and takes the longer delay.
func combine(a, b Class) Class {
	c := Class{Fatal: a.Fatal || b.Fatal, Proof: a.Proof || b.Proof, Delay: max(a.Delay, b.Delay)}
	c.Fault = a.Fault
	if gravity[b.Fault] > gravity[a.Fault] {
		c.Fault = b.Fault
	}
	if c.Fatal {
		c.Fault = FaultInternal
	}
	return c
}

// Outcome is how a mini-protocol's initiator ended when it was not told to and nothing went wrong: the peer is of no use for a
// while. A host's Initiate returns it as its error; the peer goes from hot to warm, the connection stays, and the peer is not promoted
// again before Delay (connmgr §7.2).
type Outcome struct {
	Name  string
	Delay time.Duration
}

// The outcomes of chain-sync.
var (
	ForkTooDeep                = &Outcome{"fork too deep", 120 * time.Second}
	NoMoreIntersection         = &Outcome{"no more intersection", 120 * time.Second}
	RolledBackPastIntersection = &Outcome{"rolled back past the intersection", 180 * time.Second}
)

// Error returns the name.
func (o *Outcome) Error() string { return o.Name }

// Fault is benign: the peer is on another chain.
func (o *Outcome) Fault() string { return FaultBenign }

// RetryAfter is the delay before the peer may be promoted again.
func (o *Outcome) RetryAfter() time.Duration { return o.Delay }

// exitDelay is the return policy: the re-promote delay after a mini-protocol ended without failing.
func exitDelay(outcome error) time.Duration {
	var o *Outcome
	if errors.As(outcome, &o) {
		return o.Delay
	}
	return errorDelay
}

// cleanEnd tells whether a mini-protocol's error is none: an outcome, or nil.
func cleanEnd(err error) bool {
	var o *Outcome
	return err == nil || errors.As(err, &o)
}

// worst returns the more telling of two errors that ended one connection.
func worst(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case cmp.Compare(gravity[Classify(b).Fault], gravity[Classify(a).Fault]) > 0:
		return b
	}
	return a
}
