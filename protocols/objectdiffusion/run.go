package objectdiffusion

import (
	"context"
	"fmt"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// MaxID is how many bytes an announced id may have, a bound of our own: ids are opaque, and all of a window are remembered.
const MaxID = 256

// Kind is one of the two mini-protocols. They differ in their number, their window and the size of what they carry.
type Kind struct {
	number  uint16
	ingress int
	dialect *diffusion.Dialect
}

// The kinds of object.
var (
	Certificates = Kind{CertificateNumber, CertificateIngressLimit, dialect(CertificateWindow, MaxCertificate)}
	Votes        = Kind{VoteNumber, VoteIngressLimit, dialect(VoteWindow, MaxVote)}
)

// The largest objects that are offered, bytes: a full window of them is within the ingress limits (wire §2.6).
const (
	MaxCertificate = 20_000
	MaxVote        = 1_000
)

func dialect(window, largest int) *diffusion.Dialect {
	return &diffusion.Dialect{
		Window: window, MaxItem: largest, Batch: window * largest, AskerOpens: true,
		Init: AppendInit(nil), Done: AppendDone(nil), TagRequestIDs: TagRequestIDs, TagDone: TagDone,
		AppendRequestIDs: AppendRequestIDs,
		AppendReplyIDs: func(dst []byte, ids []diffusion.Announced) []byte {
			out := make([][]byte, len(ids))
			for i, a := range ids {
				out[i] = a.ID
			}
			return AppendReplyIDs(dst, out)
		},
		AppendRequestItems: AppendRequestObjects, AppendReplyItems: AppendReplyObjects,
		DecodeRequestIDs: DecodeRequestIDs,
		DecodeReplyIDs: func(msg []byte, limit int, blocking bool) ([]diffusion.Announced, error) {
			ids, err := DecodeReplyIDs(nil, msg, limit, blocking)
			out := make([]diffusion.Announced, len(ids))
			for i, id := range ids {
				if len(id) > MaxID {
					return nil, named("ReplyObjectIds", fmt.Errorf("%w: %d bytes", ErrID, len(id)))
				}
				out[i] = diffusion.Announced{ID: id, Size: largest}
			}
			return out, err
		},
		DecodeRequestItems: DecodeRequestObjects, DecodeReplyItems: DecodeReplyObjects,
	}
}

func (k Kind) define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: k.number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{k.ingress, k.ingress},
		Enabled: func(n protocols.Negotiated) bool { return n.Peras && !n.NodeToClient },
	}
}

// Pool is what a node offers to its peers. It is safe for concurrent use.
type Pool interface {
	// Next returns the id of the first object whose ticket is greater than after; tickets are from 1 and never given twice.
	Next(after uint64) (ticket uint64, id []byte, ok bool)
	// Object returns the object with an id; nil when it is not there any more. One that is larger than any of its kind may be
	// (MaxCertificate, MaxVote) is left out.
	Object(id []byte) []byte
	// Changed returns a channel that is closed when an object is added.
	Changed() <-chan struct{}
}

// Responder returns the mini-protocol that offers the objects of pool to peers that ask, each one once. It is for
// connections that have negotiated Peras; others do not carry it.
func (k Kind) Responder(pool Pool) *protocols.MiniProtocol {
	src := diffusion.Source{
		Next: func(after uint64) (uint64, []byte, int, bool) {
			ticket, id, ok := pool.Next(after)
			return ticket, id, 0, ok
		},
		Item: pool.Object, Changed: pool.Changed,
	}
	mp := k.define()
	mp.Respond = func(ctx context.Context, s *protocols.Session) error { return diffusion.Offer(ctx, s, k.dialect, src) }
	return mp
}

// Sink is where a node's objects come in. It is safe for concurrent use.
type Sink interface {
	// Has reports whether an object need not be asked for.
	Has(id []byte) bool
	// ID returns the id of an object. An error ends the connection.
	ID(object []byte) ([]byte, error)
	// Add takes an object, which is valid until Add returns. An error that wraps [ErrFull] has it offered again when there is
	// room; any other says that it was refused, and counts against the peer that sent it. Neither ends the connection.
	Add(id, object []byte) error
	// Room returns how many bytes can be taken now. Sizes are not announced: each object under way counts as the largest.
	Room() int
	// Freed returns a channel that is closed when Room has grown.
	Freed() <-chan struct{}
}

// ErrFull is what a [Sink] says when it has no room.
var ErrFull = diffusion.ErrFull

// What a peer can do wrong (wire §11). It comes wrapped in a [*protocols.Error] of kind Violation.
var (
	ErrAckedTooMany     = diffusion.ErrAckedTooMany
	ErrRequestedTooMany = diffusion.ErrRequestedTooMany
	ErrRequestedNothing = diffusion.ErrRequestedNothing
	ErrShouldBlock      = diffusion.ErrShouldBlock
	ErrShouldNotBlock   = diffusion.ErrShouldNotBlock
	ErrUnavailable      = diffusion.ErrUnavailable
	ErrRequestedTwice   = diffusion.ErrRequestedTwice
	ErrNotRequested     = diffusion.ErrNotRequested
	// ErrID: an id of more than [MaxID] bytes.
	ErrID = fmt.Errorf("id is longer than %d bytes", MaxID)
)

// Limits bounds what an [Inbound] asks for. Zero values are the defaults.
type Limits struct {
	// IDs is how many ids one request asks for at most; default the window.
	IDs int
	// Requests is how many requests for objects one peer has unanswered; default 4.
	Requests int
	// Copies is from how many peers the same object is asked for, when the first ones have been slow for Hedge; default 2.
	Copies int
	// Hedge is after how long a second peer is asked; default 3 s.
	Hedge time.Duration
}

// Inbound asks peers for objects of one kind, each of one peer at a time whoever else announces it, and hands them to a [Sink]. One
// Inbound serves all connections of a node. For each peer it remembers at most a window of ids.
type Inbound struct {
	kind  Kind
	asker *diffusion.Asker
}

// NewInbound returns an Inbound that fills sink.
func (k Kind) NewInbound(sink Sink, l Limits) *Inbound {
	if l.IDs <= 0 {
		l.IDs = k.dialect.Window
	}
	return &Inbound{k, diffusion.NewAsker(k.dialect, sink, diffusion.Limits{
		IDs: l.IDs, Requests: l.Requests, PeerBytes: k.dialect.Window * k.dialect.MaxItem, Copies: l.Copies, Hedge: l.Hedge,
	})}
}

// Initiator returns the mini-protocol that asks a peer, until its owner tells it to terminate: Done is said as soon as nothing is
// outstanding, which while the peer has nothing to announce is never. Hosts start it on promotion of a peer; [Inbound.Ask] is for
// a single connection.
func (in *Inbound) Initiator() *protocols.MiniProtocol {
	mp := in.kind.define()
	mp.Initiate = in.asker.Run
	return mp
}

// Ask asks the other end of one connection until ctx or the connection ends. On a connection that has not negotiated Peras it
// fails with protocols.ErrUnsupported.
func (in *Inbound) Ask(ctx context.Context, o protocols.Opener) error {
	mp := in.Initiator()
	s, err := o.Open(mp, mux.Initiator)
	if err != nil {
		return err
	}
	return s.Run(ctx, mp.Initiate)
}
