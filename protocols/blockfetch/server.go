package blockfetch

import (
	"context"
	"errors"
	"iter"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// requestBytes is what a server takes unread: a hundred requests need 9 KiB.
const requestBytes = 128 << 10

// NodeToNode returns block-fetch, with nobody to run it: what [NewClient] opens.
func NodeToNode() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{IngressLimit, requestBytes},
		Enabled: func(n protocols.Negotiated) bool { return !n.NodeToClient },
	}
}

// Initiator returns a mini-protocol whose initiator is run, for the hosts that start it on promotion of a peer: f gets a client
// over the run's own session and a context that ends when the owner of the connection wants the run to end. When f has returned
// because of that, or with nil, what is under way is received and Done said. Any other error of f ends the connection.
func Initiator(f func(ctx context.Context, c *Client) error) *protocols.MiniProtocol {
	mp := NodeToNode()
	mp.Initiate = func(ctx context.Context, s *protocols.Session) error {
		c := &Client{session: s, inFlight: defaultInFlight}
		until, stop := s.Until(ctx)
		defer stop()
		if err := f(until, c); err != nil && context.Cause(until) != protocols.ErrTerminated {
			return err
		}
		return c.Finish(ctx)
	}
	return mp
}

// Source has blocks to serve. Range may be called concurrently.
type Source interface {
	// Range returns the blocks from one point to another, both included and neither the origin, one at a time, each as the pair
	// [block tag, block]; one is valid until the next. ok is false when the range is not, or no longer, on the chain. An error of the iterator
	// ends the connection.
	Range(from, to Point) (blocks iter.Seq2[[]byte, error], ok bool)
}

// Responder returns a mini-protocol that serves blocks from src to every connection it is given to. It holds one block of a
// batch in memory, beside what waits in the stream to be sent.
func Responder(src Source) *protocols.MiniProtocol {
	mp := NodeToNode()
	mp.Respond = func(ctx context.Context, s *protocols.Session) error { return serve(ctx, s, src) }
	return mp
}

// Serve answers one client on a stream of o that nobody answers yet, until it is done.
func Serve(ctx context.Context, o protocols.Opener, src Source) error {
	s, err := o.Open(NodeToNode(), mux.Responder)
	if err != nil {
		return err
	}
	return s.Run(ctx, func(ctx context.Context, s *protocols.Session) error { return serve(ctx, s, src) })
}

var errEmptyRange = errors.New("block-fetch: the source offered a range without blocks")

func serve(ctx context.Context, s *protocols.Session, src Source) error {
	var buf [64]byte
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			return err
		}
		if m.Tag == TagClientDone {
			return nil
		}
		from, to, err := DecodeRequestRange(m.Raw)
		if err == nil && (from.IsOrigin() || to.IsOrigin()) {
			err = ErrOrigin
		}
		if err != nil {
			return s.Fail(err)
		}
		blocks, ok := src.Range(from, to)
		if !ok {
			if err := s.Queue(ctx, AppendNoBlocks(buf[:0])); err != nil {
				return err
			}
			continue
		}
		if err := batch(ctx, s, blocks, buf[:0]); err != nil {
			return err
		}
	}
}

// batch streams the blocks; the stream's egress limit is what holds it back.
func batch(ctx context.Context, s *protocols.Session, blocks iter.Seq2[[]byte, error], buf []byte) error {
	if err := s.Queue(ctx, AppendStartBatch(buf)); err != nil {
		return err
	}
	n := 0
	for block, err := range blocks {
		if err != nil {
			return err
		}
		if err := s.SendParts(ctx, AppendBlockHead(buf, len(block)), block, nil); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return errEmptyRange
	}
	return s.Queue(ctx, AppendBatchDone(buf))
}
