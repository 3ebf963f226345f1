package chainsync

import (
	"context"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

var localSpec = spec.Unlimited()

// requestBytes is what a server takes unread: 300 requests need 600 bytes, a FindIntersect at most 65,535.
const requestBytes = 128 << 10

// Limits of node-to-client streams, where the reference has none (wire §2.6): what one message may have too.
const (
	localServerBytes = 4 << 20
	localClientBytes = 256 << 20
)

// NodeToNode returns chain-sync of headers, with nobody to run it: what [NewClient] opens.
func NodeToNode() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: spec, Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{IngressLimit, requestBytes},
		Enabled: func(n protocols.Negotiated) bool { return !n.NodeToClient },
	}
}

// NodeToClient returns chain-sync of whole blocks. It has no limits but those on memory (wire §5.1, §12.1).
func NodeToClient() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: localSpec, Number: LocalNumber, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{localClientBytes, localServerBytes},
		Enabled: func(n protocols.Negotiated) bool { return n.NodeToClient },
	}
}

// definition returns the mini-protocol of a connection's family.
func definition(n protocols.Negotiated) *protocols.MiniProtocol {
	if n.NodeToClient {
		return NodeToClient()
	}
	return NodeToNode()
}

// Responder returns a mini-protocol that serves headers from src to every connection it is given to.
func Responder(src Source) *protocols.MiniProtocol { return responder(NodeToNode(), src) }

// LocalResponder returns a mini-protocol that serves whole blocks from src to node-to-client connections.
func LocalResponder(src Source) *protocols.MiniProtocol { return responder(NodeToClient(), src) }

func responder(mp *protocols.MiniProtocol, src Source) *protocols.MiniProtocol {
	mp.Respond = func(ctx context.Context, s *protocols.Session) error { return serve(ctx, s, src) }
	return mp
}

// Trusted returns the mini-protocol with no time limit in Next/MustReply, which is for peers that the topology marks as trustable
// (wire §5.1): they may take as long as they like to have a new block.
func Trusted(mp *protocols.MiniProtocol) *protocols.MiniProtocol {
	relaxed := *mp
	relaxed.Spec = mp.Spec.WithTimeLimit(StateMustReply, protocols.TimeLimit{})
	return &relaxed
}

// Initiator returns a mini-protocol whose initiator is run, for the hosts that start it on promotion of a peer: f gets a client
// over the run's own session and a context that ends when the owner of the connection wants the run to end. When f has returned
// because of that, or with nil, what is outstanding is collected and Done said. Any other error of f ends the connection.
func Initiator(f func(ctx context.Context, c *Client) error) *protocols.MiniProtocol {
	mp := NodeToNode()
	mp.Initiate = func(ctx context.Context, s *protocols.Session) error {
		c := &Client{session: s}
		c.SetMarks(LowMark, HighMark)
		until, stop := s.Until(ctx)
		defer stop()
		if err := f(until, c); err != nil && context.Cause(until) != protocols.ErrTerminated {
			return err
		}
		return c.Finish(ctx)
	}
	return mp
}
