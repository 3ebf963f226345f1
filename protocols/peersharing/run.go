package peersharing

import (
	"context"
	"net/netip"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

func define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Established, Start: mux.OnDemand,
		Ingress: [2]int{IngressLimit, IngressLimit},
		Enabled: func(n protocols.Negotiated) bool { return n.PeerSharing },
	}
}

// Sharer knows whom to tell of. The governor is one.
type Sharer interface {
	// Shareable returns at most n peers to tell others of, the same for everybody for some time, so that asking again and
	// again maps no network (governor §3.7). It must not block.
	Shareable(n int) []netip.AddrPort
}

// Responder returns a mini-protocol that answers with at most [DefaultPeers] of s's peers, on every connection that has negotiated
// peer sharing. It costs no goroutine.
func Responder(s Sharer) *protocols.MiniProtocol {
	mp := define()
	mp.Step = func(ss *protocols.Session, ev protocols.Event) error {
		if ev.Kind != protocols.OnMessage || ev.Message.Tag != TagShareRequest {
			return nil
		}
		asked, err := DecodeShareRequest(ev.Message.Raw)
		if err != nil {
			return ss.Fail(err)
		}
		n := min(int(asked), DefaultPeers)
		peers := s.Shareable(n)
		return ss.TrySend(AppendSharePeers(nil, peers[:min(len(peers), n)]))
	}
	return mp
}

// Client asks a peer for others. Not for concurrent use.
type Client struct{ c *protocols.Caller }

// NewClient returns a client on a connection. It opens the stream when it is first used; on a connection that has not negotiated
// peer sharing that fails with protocols.ErrUnsupported.
func NewClient(o protocols.Opener) *Client { return &Client{protocols.NewCaller(o, define())} }

// Ask asks for at most n peers, 1 to 255, and returns those that the peer tells of. More than n end the connection with
// [ErrTooMany].
func (c *Client) Ask(ctx context.Context, n int) ([]netip.AddrPort, error) {
	n = min(max(n, 1), 255)
	m, err := c.c.Call(ctx, AppendShareRequest(nil, uint8(n)))
	if err != nil {
		return nil, err
	}
	peers, err := DecodeSharePeers(nil, m.Raw, n)
	if err != nil {
		return nil, c.c.Opened().Fail(err)
	}
	return peers, nil
}

// Finish says Done and gives the stream back.
func (c *Client) Finish(ctx context.Context) error { return c.c.End(ctx, AppendDone(nil)) }
