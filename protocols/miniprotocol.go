package protocols

import (
	"context"
	"time"

	"github.com/hearthnet/hearth/mux"
)

// Bundle says at which temperature of a peer a mini-protocol's initiator runs (connmgr §5.5).
type Bundle uint8

// The bundles. Node-to-client protocols are all Hot.
const (
	Established Bundle = iota // as long as there is a connection
	Warm                      // none of the standard protocols
	Hot                       // while the peer is hot
)

// String returns the bundle's name.
func (b Bundle) String() string { return [...]string{"established", "warm", "hot"}[min(b, 2)] }

// MiniProtocol is what a connection knows of a mini-protocol, a standard one or a host's own. It is immutable once a connection
// uses it; the functions are called for every connection.
type MiniProtocol struct {
	Spec   *Spec
	Number uint16
	Bundle Bundle
	Start  mux.Start // of the responder; initiators are started by their owner
	// Ingress is the limit of unread bytes as initiator and as responder; it is the largest message too, in states that
	// name no limit of their own. Default 128 KiB.
	Ingress [2]int
	// Egress bounds what one end may have waiting to be sent before Send blocks; default the multiplexer's.
	Egress int
	// Enabled says whether connections with these parameters carry the mini-protocol at all; nil: always. Bytes for a
	// mini-protocol that a connection does not carry end it.
	Enabled func(Negotiated) bool
	// Initiate runs the initiator in blocking form, on one goroutine while it runs. Nil: this end never starts it.
	Initiate func(ctx context.Context, s *Session) error
	// Respond runs the responder in blocking form. When it returns nil, the responder is armed again. Nil: nobody answers;
	// the peer's bytes wait until somebody opens the stream.
	Respond func(ctx context.Context, s *Session) error
	// Step, if set, is used instead of Initiate and Respond: the event form, which costs no goroutine.
	Step StepFunc
}

// StepFunc handles one event of a session in event form. It runs on the connection's reader or on a timer, one event at a
// time, and must not block: it answers with [Session.TrySend], asks to be called again with [Session.Wake], and ends the session
// with a nil error by reaching a final state. An error ends the connection.
type StepFunc func(s *Session, ev Event) error

// Event is what a [StepFunc] is told.
type Event struct {
	Kind    EventKind
	Message Message   // of kind OnMessage
	At      time.Time // now
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	OnStart   EventKind = iota // once, first
	OnMessage                  // a message has arrived
	OnTimer                    // the time asked for with Wake has come
	OnControl                  // Control has changed
)

// Control is what the owner of a connection wants of an initiator.
type Control uint8

// The controls: go on, stay but be idle, come to an end in good order.
const (
	Continue Control = iota
	Quiesce
	Terminate
)

// String returns the control's name.
func (c Control) String() string { return [...]string{"continue", "quiesce", "terminate"}[min(c, 2)] }

// Opener is a connection as the clients and servers of mini-protocols see it.
type Opener interface {
	// Open gives the caller the stream of a mini-protocol in a role, for one run of it. It fails with ErrAlreadyRunning when
	// somebody has it, and with ErrUnsupported when the connection does not carry it.
	Open(mp *MiniProtocol, role mux.Role) (*Session, error)
	// Negotiated returns what the handshake has settled.
	Negotiated() Negotiated
}
