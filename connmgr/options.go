package connmgr

import (
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/handshake"
)

// Network is a network's magic, which both ends of a connection must name in the handshake.
type Network uint32

// The public networks (wire §4.4).
const (
	Mainnet Network = 764824073
	Preprod Network = 1
	Preview Network = 2
)

// Option changes how a connection is made; see the With… functions and the fields of [Options].
type Option func(*Options)

// Options are what [Dial] and [Listen] can be told. Zero values are the defaults named with each field.
type Options struct {
	// Duplex offers to run responders on outgoing connections, and accepts initiators of the other end. Listeners always do;
	// Dial does not by default.
	Duplex bool
	// PeerSharing declares willingness to share peers.
	PeerSharing bool
	// Peras offers node-to-node version 16 with its object diffusion.
	Peras bool
	// Versions overrides the versions that are offered or supported: node-to-node 14 and 15 (and 16 with Peras),
	// node-to-client 16 to 23.
	Versions []uint16
	// Protocols are the mini-protocols beside or instead of the standard ones: one with the number of a standard one takes its
	// place. Responders are armed as soon as the connection is up, initiators wait for [Conn.Open].
	Protocols []*protocols.MiniProtocol
	// KeepAlive is the time between two keep-alive requests on node-to-node connections; default 10 s, negative: none are sent.
	KeepAlive time.Duration
	// RoundTrip, if set, is told of every round trip that keep-alive measures. It must not block.
	RoundTrip func(time.Duration)
	// Rejected, if set, is told of every socket that a listener has given up before it became a connection, and why. It must not
	// block.
	Rejected func(remote net.Addr, err error)
	// Mux tunes the multiplexer.
	Mux mux.Config

	responder func(mp *protocols.MiniProtocol, starts bool, err error)
	log       *slog.Logger // of panics; nil: the default
}

// WithDuplex makes an outgoing connection serve both directions, if the other end agrees.
func WithDuplex() Option { return func(o *Options) { o.Duplex = true } }

// WithPeerSharing declares willingness to share peers.
func WithPeerSharing() Option { return func(o *Options) { o.PeerSharing = true } }

// WithPeras offers node-to-node version 16.
func WithPeras() Option { return func(o *Options) { o.Peras = true } }

// WithVersions offers or supports exactly these versions.
func WithVersions(v ...uint16) Option { return func(o *Options) { o.Versions = v } }

// WithKeepAlive sets the time between two keep-alive requests; negative: none.
func WithKeepAlive(every time.Duration) Option { return func(o *Options) { o.KeepAlive = every } }

// WithRoundTrip has f told of every round trip that keep-alive measures.
func WithRoundTrip(f func(time.Duration)) Option { return func(o *Options) { o.RoundTrip = f } }

// WithRejected has f told of what a listener gives up before Accept.
func WithRejected(f func(remote net.Addr, err error)) Option {
	return func(o *Options) { o.Rejected = f }
}

// WithMux tunes the multiplexer.
func WithMux(c mux.Config) Option { return func(o *Options) { o.Mux = c } }

// Serve adds mini-protocols: responders that answer the peer, or a host's own.
func Serve(mps ...*protocols.MiniProtocol) Option {
	return func(o *Options) { o.Protocols = append(o.Protocols, mps...) }
}

// collect applies options.
func collect(opts []Option) Options {
	var o Options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// proposal is what this end brings to the handshake.
func (o Options) proposal(network Network, nodeToClient, dialling bool) handshake.Proposal {
	p := handshake.Proposal{NodeToClient: nodeToClient, Versions: o.Versions}
	p.Data = handshake.Data{
		Magic:         uint32(network),
		InitiatorOnly: dialling && !o.Duplex,
		PeerSharing:   o.PeerSharing,
		Peras:         o.Peras,
	}
	if p.Versions == nil {
		if nodeToClient {
			p.Versions = handshake.NodeToClientVersions()
		} else {
			p.Versions = slices.DeleteFunc(handshake.NodeToNodeVersions(), func(v uint16) bool { return v > 15 && !o.Peras })
		}
	}
	return p
}
