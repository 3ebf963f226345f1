package connmgr

import (
	"context"
	"fmt"
	"net"

	"github.com/hearthnet/hearth/protocols/handshake"
)

// Dial connects to a node at a host:port, does the node-to-node handshake and starts keep-alive. Unless an option says otherwise
// the connection is initiator-only, with peer sharing off. Beside errors of the network there are [*handshake.Refusal] and
// [*handshake.ReplyError]. ctx bounds the dialling and the handshake, not the connection.
func Dial(ctx context.Context, addr string, network Network, opts ...Option) (*Conn, error) {
	return dial(ctx, "tcp", addr, network, false, collect(opts))
}

// DialLocal connects to a node's Unix socket and does the node-to-client handshake.
func DialLocal(ctx context.Context, path string, network Network, opts ...Option) (*Conn, error) {
	return dial(ctx, "unix", path, network, true, collect(opts))
}

func dial(ctx context.Context, kind, addr string, network Network, nodeToClient bool, o Options) (*Conn, error) {
	d := net.Dialer{KeepAlive: -1} // the keep-alive mini-protocol does that
	bearer, err := d.DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	c, err := attach(ctx, bearer, network, nodeToClient, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return c, nil
}

// Attach makes a connection of a bearer that this end has opened, as [Dial] does after dialling. It closes the bearer on error.
func Attach(ctx context.Context, bearer net.Conn, network Network, nodeToClient bool, opts ...Option) (*Conn, error) {
	return attach(ctx, bearer, network, nodeToClient, collect(opts))
}

func attach(ctx context.Context, bearer net.Conn, network Network, nodeToClient bool, o Options) (*Conn, error) {
	res, err := handshake.Initiate(ctx, bearer, o.proposal(network, nodeToClient, true))
	if err != nil {
		return nil, abandon(bearer, err)
	}
	c, err := newConn(bearer, res.Negotiated, true, o)
	if err != nil {
		return nil, abandon(bearer, err)
	}
	return c, nil
}

// Query asks a node for the versions it supports, over node-to-node (a host:port) or node-to-client (a socket's path). The
// connection ends with the answer.
func Query(ctx context.Context, addr string, network Network, nodeToClient bool) ([]handshake.Supported, error) {
	kind := "tcp"
	if nodeToClient {
		kind = "unix"
	}
	bearer, err := (&net.Dialer{}).DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	defer bearer.Close()
	p := Options{Peras: true}.proposal(network, nodeToClient, true)
	p.Data.Query = true
	res, err := handshake.Initiate(ctx, bearer, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	if res.Supported == nil {
		return nil, fmt.Errorf("%s: accepted version %d instead of answering the query", addr, res.Negotiated.Version)
	}
	return res.Supported, nil
}

// abandon resets a bearer that came to nothing.
func abandon(bearer net.Conn, err error) error {
	if l, ok := bearer.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0) // only the kind of close depends on it
	}
	_ = bearer.Close() // err is what matters
	return err
}
