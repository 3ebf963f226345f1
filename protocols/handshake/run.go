package handshake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// RefuseLinger and QueryLinger are how long a connection that ends after the handshake stays open, for the other side to read the
// answer and close (connmgr §1.9, wire §4.7).
const (
	RefuseLinger = 2 * time.Second
	QueryLinger  = 20 * time.Second
)

// ErrQueried: the other side asked for the versions and has been told; there is no connection to use.
var ErrQueried = errors.New("handshake: the peer queried the versions")

// Initiate runs the initiator's side on a bearer that nothing has been read from, and reads not a byte beyond. The limit of 10 s
// for the answer applies to both families. The caller closes conn on error. Besides the errors of [Confirm] there are those of
// the bearer, and an [*protocols.Error] for an answer that is malformed, too large or too late.
func Initiate(ctx context.Context, conn net.Conn, p Proposal) (Result, error) {
	var res Result
	err := within(ctx, conn, spec.States[StateConfirm].Timeout.Max, func() error {
		if err := p.Validate(); err != nil {
			return err
		}
		if err := write(conn, mux.Initiator, p.Append(nil)); err != nil {
			return err
		}
		msg, err := receive(conn, StateConfirm)
		if err != nil {
			return err
		}
		res, err = Confirm(p, msg)
		return classify(err, StateConfirm, mux.Initiator)
	})
	return res, err
}

// Respond runs the responder's side. A refusal is delivered before it returns: the answer is written, the bearer closed for
// writing, and the other side given 2 s to close (20 s after a query); ctx cuts that short. It then returns the [*Refusal], or
// [ErrQueried]. The caller closes conn on error.
func Respond(ctx context.Context, conn net.Conn, p Proposal) (protocols.Negotiated, error) {
	return RespondIf(ctx, conn, p, nil)
}

// RespondIf is [Respond] that asks admit, if it is not nil, once the decision is made and before it is written. An error of admit
// is returned as it is, and the other side gets no answer: the place for limits that count only what has negotiated.
func RespondIf(ctx context.Context, conn net.Conn, p Proposal, admit func(Reply) error) (protocols.Negotiated, error) {
	var reply Reply
	err := within(ctx, conn, spec.States[StatePropose].Timeout.Max, func() error {
		msg, err := receive(conn, StatePropose)
		if err != nil {
			return err
		}
		if reply, err = Negotiate(p, msg); err != nil {
			return classify(err, StatePropose, mux.Responder)
		}
		if admit != nil {
			if err := admit(reply); err != nil {
				return err
			}
		}
		return write(conn, mux.Responder, reply.Message)
	})
	switch {
	case err != nil:
		return protocols.Negotiated{}, err
	case reply.Refusal != nil:
		linger(ctx, conn, RefuseLinger)
		return protocols.Negotiated{}, reply.Refusal
	case reply.Queried:
		linger(ctx, conn, QueryLinger)
		return protocols.Negotiated{}, ErrQueried
	}
	return reply.Negotiated, nil
}

// within runs f with a deadline on conn, and takes the deadline away again. When ctx ends first, f's I/O fails at once and
// the error is ctx's.
func within(ctx context.Context, conn net.Conn, limit time.Duration, f func() error) error {
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() { // the deadline of the past has been set, or is being
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// write sends a message as one SDU (wire §2.3).
func write(conn net.Conn, role mux.Role, msg []byte) error {
	return mux.WriteSDU(conn, mux.Header{Time: mux.Timestamp(), Number: Number, From: role}, msg)
}

// receive puts one message together from as many SDUs as it takes. In Confirm both direction bits are right: the answer to a
// simultaneous open comes from another initiator (wire §4.8).
func receive(conn net.Conn, st protocols.State) ([]byte, error) {
	role := mux.Initiator
	if st == StatePropose {
		role = mux.Responder
	}
	fail := func(kind protocols.ErrorKind, cause error) error {
		return &protocols.Error{Kind: kind, Protocol: spec.Name, Number: Number, Role: role, State: spec.States[st].Name, Limit: MaxMessage, After: spec.States[st].Timeout.Max, Err: cause}
	}
	var msg []byte
	var scan cbor.Scanner
	for {
		h, payload, err := mux.ReadSDU(conn, MaxMessage-len(msg))
		var over *mux.Error
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fail(protocols.TimedOut, err)
		case errors.As(err, &over) && over.Kind == mux.IngressOverrun:
			return nil, fail(protocols.TooLarge, err)
		case err != nil:
			return nil, bearerError(err, role)
		case h.Number != Number:
			return nil, &mux.Error{Kind: mux.UnknownProtocol, Protocol: h.Number, Role: h.From.Peer(), Err: errors.New("before the handshake is done")}
		case st == StatePropose && h.From != mux.Initiator:
			return nil, &mux.Error{Kind: mux.WrongDirection, Protocol: Number, Role: h.From.Peer()}
		}
		msg = append(msg, payload...)
		n, done, err := scan.Next(msg)
		switch {
		case err != nil:
			return nil, fail(protocols.Malformed, err)
		case done && n < len(msg):
			return nil, fail(protocols.Unexpected, fmt.Errorf("%d bytes after the message", len(msg)-n))
		case done:
			return msg, nil
		case len(msg) >= MaxMessage:
			return nil, fail(protocols.TooLarge, nil)
		}
	}
}

// bearerError gives what the bearer reported the type that it has behind the handshake too.
func bearerError(err error, role mux.Role) error {
	var e *mux.Error
	kind := mux.BearerFailed
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		kind = mux.BadSDU
	case errors.Is(err, io.EOF):
		kind = mux.BearerClosed
	}
	return &mux.Error{Kind: kind, Protocol: Number, Role: role, Err: err}
}

// classify gives a malformed message the name of its state; verdicts stay what they are.
func classify(err error, st protocols.State, role mux.Role) error {
	var refusal *Refusal
	var reply *ReplyError
	if err == nil || errors.As(err, &refusal) || errors.As(err, &reply) {
		return err
	}
	return &protocols.Error{Kind: protocols.Unexpected, Protocol: spec.Name, Number: Number, Role: role, State: spec.States[st].Name, Err: err}
}

// linger waits for the other side to close, throwing away what it still sends.
func linger(ctx context.Context, conn net.Conn, limit time.Duration) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			return
		}
	}
	_ = within(ctx, conn, limit, func() error { // however it ends, the connection is over
		_, err := io.Copy(io.Discard, conn)
		return err
	})
}
