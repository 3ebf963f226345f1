package connmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Config of a [Manager]. Only Network has no default.
type Config struct {
	// Network is the magic that both ends must name.
	Network Network
	// Local are our listening addresses, at most one IPv4 and one IPv6. Outgoing connections bind to the one of their family, so
	// that the 4-tuple is the same whoever dials; without one they take an ephemeral port (connmgr §1.6). A wildcard address will do.
	Local []netip.AddrPort
	// InitiatorOnly: no responders, every connection is unidirectional.
	InitiatorOnly bool
	// NodeToClient makes this the manager of local clients: responders only, no idle time-out, no maturation.
	NodeToClient bool
	// PeerSharing, Peras and Versions are what the handshake offers; see [Options].
	PeerSharing, Peras bool
	Versions           []uint16
	// Protocols are the mini-protocols of every connection: those with Initiate are started when the peer has the temperature of their
	// bundle, those with Respond are armed as soon as the connection has negotiated. Keep-alive is built in.
	Protocols []*protocols.MiniProtocol
	// PerConnection, if set, adds mini-protocols that need to know whom they talk to.
	PerConnection func(ConnID, protocols.Negotiated) []*protocols.MiniProtocol
	// KeepAlive is the time between requests while we use a connection; default 10 s, negative: none are sent.
	KeepAlive time.Duration
	// Mux tunes the multiplexers.
	Mux mux.Config

	Limits   Limits
	Timeouts Timeouts

	// Protected names local roots: never delayed, admitted into the reserve, never pruned. Nil: none. It is asked for each socket
	// before anything else is done with it, so it should answer at once.
	Protected func(netip.Addr) bool
	// Banned names remotes that are not served; asked likewise.
	Banned func(netip.AddrPort) bool
	// Refused is told of every connection that a limit, a ban or pruning has cost. It must not block.
	Refused func(*Refusal)

	// Dial opens a bearer from a local address, which is the zero value where an ephemeral port will do. The default is TCP with
	// SO_REUSEADDR and SO_REUSEPORT; [memnet.Host.DialFrom] fits here.
	Dial func(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error)
	// Bearer, if set, wraps a socket before the handshake, as connmgr/tlsbearer does. It closes nothing on error.
	Bearer func(ctx context.Context, socket net.Conn, dialled bool) (net.Conn, error)

	// Trace is told every transition of every record, in order; TraceRemote every remote transition of the inbound governor. They
	// must not block.
	Trace       func(Transition)
	TraceRemote func(id ConnID, from, to RemoteState)
	// RoundTrip is told of every round trip that keep-alive measures. It must not block.
	RoundTrip func(peer netip.AddrPort, rtt time.Duration)
	// Fatal is told of an error that calls for the end of the node (see [Class]), and of a listener that has failed for good; default:
	// nobody.
	Fatal func(error)
	// Log is told of panics in functions of the host, with the stack; nil: slog.Default(). Such a panic costs the connection that the
	// function was called for, nothing else.
	Log *slog.Logger
	// Seed of the random choices.
	Seed uint64
}

// Timeouts of connections (connmgr §0.2). Zero takes the default, negative means none; a negative TimeWait means that the 4-tuple
// is free at once.
type Timeouts struct {
	Connect      time.Duration // of connect; default 10 s
	RemoteIdle   time.Duration // all responders idle; default 5 s
	OutboundIdle time.Duration // between the end of our use and the close; default 5 s
	TimeWait     time.Duration // default 60 s
	Maturity     time.Duration // age at which a duplex peer is offered; default 15 min
	TupleBusy    time.Duration // wait for the accepted connection when ours finds the 4-tuple taken; default 1 s
}

func (t Timeouts) withDefaults() Timeouts {
	def := func(v *time.Duration, d time.Duration) { *v = max(cmp.Or(*v, d), 0) }
	def(&t.Connect, 10*time.Second)
	def(&t.RemoteIdle, 5*time.Second)
	def(&t.OutboundIdle, 5*time.Second)
	def(&t.TimeWait, 60*time.Second)
	def(&t.Maturity, 15*time.Minute)
	def(&t.TupleBusy, time.Second)
	return t
}

// handshakeLimit bounds a whole handshake: 10 s for each of its two steps (connmgr §2.4).
const handshakeLimit = 20 * time.Second

// Validate reports every problem at once.
func (c Config) Validate() error {
	errs := []error{c.Limits.Validate()}
	var four, six int
	for _, a := range c.Local {
		switch {
		case !a.IsValid() || a.Port() == 0:
			errs = append(errs, fmt.Errorf("connmgr: local address %v has no port", a))
		case a.Addr().Unmap().Is4():
			four++
		default:
			six++
		}
	}
	if four > 1 || six > 1 {
		errs = append(errs, fmt.Errorf("connmgr: local addresses %v: at most one of a family", c.Local))
	}
	for _, mp := range c.Protocols {
		if mp == nil || mp.Spec == nil {
			errs = append(errs, errors.New("connmgr: a mini-protocol without a table"))
		}
	}
	if c.InitiatorOnly && c.NodeToClient {
		errs = append(errs, errors.New("connmgr: a node-to-client manager has responders only"))
	}
	if err := (Options{Versions: c.Versions, Peras: c.Peras}).proposal(c.Network, c.NodeToClient, true).Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// bind returns the address to dial remote from. One that is only for this host leads nowhere else.
func (c Config) bind(remote netip.AddrPort) netip.AddrPort {
	i := slices.IndexFunc(c.Local, func(a netip.AddrPort) bool { return a.Addr().Unmap().Is4() == remote.Addr().Unmap().Is4() })
	if i < 0 || c.Local[i].Addr().IsLoopback() && !remote.Addr().Unmap().IsLoopback() {
		return netip.AddrPort{}
	}
	return c.Local[i]
}

func (c Config) core() coreConfig {
	t := c.Timeouts
	cc := coreConfig{
		Hard: c.Limits.Hard, Reserve: c.Limits.Reserve, Responders: !c.InitiatorOnly,
		RemoteIdle: t.RemoteIdle, OutboundIdle: t.OutboundIdle, TimeWait: t.TimeWait, Maturity: t.Maturity,
		// The shell's own limit on connect comes first; this one makes sure that no reservation stays whatever a Dial does.
		Connect: t.Connect + time.Second, Handshake: handshakeLimit, TupleBusy: t.TupleBusy,
	}
	if c.NodeToClient {
		cc.RemoteIdle, cc.Maturity = 0, 0
	}
	return cc
}
