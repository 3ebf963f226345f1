package txsubmission

import (
	"context"
	"sync/atomic"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// initiatorBytes is what the side that owns transactions takes unread: only requests come.
const initiatorBytes = 128 << 10

func define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{initiatorBytes, IngressLimit},
		Enabled: func(n protocols.Negotiated) bool { return !n.NodeToClient },
	}
}

// The rules that a peer that asks can break (wire §8). They come wrapped in a [*protocols.Error] of kind Violation.
var (
	ErrAckedTooMany     = diffusion.ErrAckedTooMany
	ErrRequestedTooMany = diffusion.ErrRequestedTooMany
	ErrRequestedNothing = diffusion.ErrRequestedNothing
	ErrShouldBlock      = diffusion.ErrShouldBlock
	ErrShouldNotBlock   = diffusion.ErrShouldNotBlock
	ErrUnavailable      = diffusion.ErrUnavailable
	ErrRequestedTwice   = diffusion.ErrRequestedTwice
)

// Initiator returns a mini-protocol that offers the transactions of pool to every peer that asks, each one once, until its owner tells
// it to terminate; then it says Done when the peer next waits for more, and announces nothing until that. Hosts start it on
// promotion of a peer; [Offer] is for a single connection. Transactions of more than [MaxTx] bytes are passed over.
func Initiator(pool Mempool) *protocols.MiniProtocol { return initiator(source(pool)) }

func initiator(src diffusion.Source) *protocols.MiniProtocol {
	mp := define()
	mp.Initiate = func(ctx context.Context, s *protocols.Session) error { return diffusion.Offer(ctx, s, &dialect, src) }
	return mp
}

func source(pool Mempool) diffusion.Source {
	return diffusion.Source{
		Next: func(after uint64) (uint64, []byte, int, bool) {
			e, ok := pool.Next(after)
			return e.Ticket, e.ID, e.Size, ok
		},
		Item: pool.Tx, Changed: pool.Changed,
	}
}

// Offer offers the transactions of pool to the other end of one connection until ctx or the connection ends.
func Offer(ctx context.Context, o protocols.Opener, pool Mempool) error {
	return run(ctx, o, Initiator(pool))
}

// Submit offers what is in pool to the other end of one connection and returns when the peer has acknowledged all of it, or ctx or the
// connection ends. taken is how many transactions the peer has asked for: the others it had already, or did not want. A
// cardano-node begins to ask 60 s after the connection is made (wire §8).
func Submit(ctx context.Context, o protocols.Opener, pool Mempool) (taken int, err error) {
	src := source(pool)
	src.Once = true
	var sent atomic.Int64
	src.Item = func(id []byte) []byte {
		tx := pool.Tx(id)
		if tx != nil {
			sent.Add(1)
		}
		return tx
	}
	err = run(ctx, o, initiator(src))
	return int(sent.Load()), err
}

func run(ctx context.Context, o protocols.Opener, mp *protocols.MiniProtocol) error {
	s, err := o.Open(mp, mux.Initiator)
	if err != nil {
		return err
	}
	return s.Run(ctx, mp.Initiate)
}
