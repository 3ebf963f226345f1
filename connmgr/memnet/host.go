package memnet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// Host is one machine: addresses, ports, descriptors.
type Host struct {
	net      *Network
	addrs    []netip.Addr
	nextPort uint16
	fds      int
	limit    int // of fds; 0: none
	sockets  []error
	off      bool
	lns      []*Listener
}

// Addr returns the host's first address.
func (h *Host) Addr() netip.Addr { return h.addrs[0] }

// SetDescriptors limits how many sockets the host may have open; at the limit Dial, Listen and Accept fail with EMFILE.
// 0 removes the limit.
func (h *Host) SetDescriptors(n int) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.limit = n
	h.wakeListeners()
}

// Descriptors returns how many sockets the host has open.
func (h *Host) Descriptors() int {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.fds
}

// FailSockets makes the next dials and listens of the host fail with these errors, one each, before a socket exists.
func (h *Host) FailSockets(errs ...error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.sockets = append(h.sockets, errs...)
}

// socket takes a descriptor.
func (h *Host) socket() error {
	if len(h.sockets) > 0 {
		err := h.sockets[0]
		h.sockets = h.sockets[1:]
		return err
	}
	if h.limit > 0 && h.fds >= h.limit {
		return os.NewSyscallError("socket", syscall.EMFILE)
	}
	h.fds++
	return nil
}

func (h *Host) free() {
	h.fds--
	h.wakeListeners()
}

func (h *Host) wakeListeners() {
	for _, l := range h.lns {
		l.cond.Broadcast()
	}
}

// Kill does what the kernel does when the process is killed: listeners close, and every connection is closed, with a reset
// where unread bytes or SetLinger(0) ask for one.
func (h *Host) Kill() {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range slices.Clone(h.lns) {
		l.close()
	}
	for _, c := range n.sorted() {
		if c.host == h && !c.closed {
			c.close()
		}
	}
	n.run()
}

// PowerOff takes the machine off the network with everything on it: nobody is told. Its own sockets stop working. What others
// send to it waits as if for retransmission; after [Host.PowerOn] it is answered by resets.
func (h *Host) PowerOff() {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	h.off = true
	for _, l := range slices.Clone(h.lns) {
		l.close()
	}
	for _, c := range n.sorted() {
		if c.host == h {
			c.fail(syscall.ENETDOWN)
			c.release()
		}
	}
	n.run()
}

// PowerOn brings the machine back, empty.
func (h *Host) PowerOn() {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	h.off = false
	for p := range n.cutPairs() {
		n.release(p)
	}
	n.run()
}

// cutPairs are the directions that hold something back or owe acknowledgements.
func (n *Network) cutPairs() map[pair]bool {
	pairs := map[pair]bool{}
	for p := range n.held {
		pairs[p] = true
	}
	for _, c := range n.conns {
		if c.owed > 0 {
			pairs[pair{c.key.local.Addr(), c.key.remote.Addr()}] = true
		}
	}
	return pairs
}

// Listen opens a listener on one of the host's addresses or, with an unspecified address, on all of that family; port 0 picks
// a free one. Errors: EADDRINUSE, EADDRNOTAVAIL, EMFILE, each inside a *net.OpError.
func (h *Host) Listen(at netip.AddrPort) (*Listener, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	fail := func(err error) (*Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: tcpAddr(at), Err: err}
	}
	if h.off {
		return fail(syscall.ENETDOWN)
	}
	if !at.Addr().IsUnspecified() && !slices.Contains(h.addrs, at.Addr()) {
		return fail(os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	}
	if at.Port() == 0 {
		port, ok := h.port(func(p uint16) bool { return h.listener(netip.AddrPortFrom(at.Addr(), p)) == nil })
		if !ok {
			return fail(os.NewSyscallError("bind", syscall.EADDRINUSE))
		}
		at = netip.AddrPortFrom(at.Addr(), port)
	} else if h.bound(at) != nil {
		return fail(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	if err := h.socket(); err != nil {
		return fail(err)
	}
	l := newListener(h, at)
	h.lns = append(h.lns, l)
	return l, nil
}

// bound finds a listener of exactly this address.
func (h *Host) bound(at netip.AddrPort) *Listener {
	for _, l := range h.lns {
		if l.at == at {
			return l
		}
	}
	return nil
}

// listener finds who accepts connections to at: the exact address before the wildcard.
func (h *Host) listener(at netip.AddrPort) *Listener {
	if l := h.bound(at); l != nil {
		return l
	}
	wildcard := netip.IPv6Unspecified()
	if at.Addr().Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	return h.bound(netip.AddrPortFrom(wildcard, at.Port()))
}

func (h *Host) port(free func(uint16) bool) (uint16, bool) {
	for range lastEphemeral - firstEphemeral + 1 {
		p := h.nextPort
		h.nextPort++
		if h.nextPort > lastEphemeral {
			h.nextPort = firstEphemeral
		}
		if free(p) {
			return p, true
		}
	}
	return 0, false
}

// Dial connects. The zero local address means any; a local address with a port binds to it even while a listener of the host
// uses it, as SO_REUSEADDR with SO_REUSEPORT allows. Errors, each inside a *net.OpError: ECONNREFUSED, ETIMEDOUT (a
// Timeout() error), EADDRNOTAVAIL (the 4-tuple is busy), EMFILE, ECONNRESET, the context's error.
func (h *Host) Dial(ctx context.Context, local, remote netip.AddrPort) (*Conn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.run()
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	fail := func(err error) (*Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Source: tcpAddr(local), Addr: tcpAddr(remote), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if h.off {
		return fail(syscall.ENETDOWN)
	}
	local, err := h.bind(local, remote)
	if err != nil {
		return fail(err)
	}
	bearer := n.nextBearer(local.Addr(), remote.Addr())
	if bearer.DialErr != nil {
		return fail(bearer.DialErr)
	}
	if err := h.socket(); err != nil {
		return fail(err)
	}
	key := tuple{local, remote}
	if n.conns[key] != nil {
		h.free()
		return fail(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL))
	}
	c := n.newConn(h, key, synSent, bearer, &bearer.Dialling)
	c.hasFD = true
	c.sendSYN(time.Second)
	n.at(n.now()+n.cfg.ConnectTimeout, nil, func() {
		if c.state == synSent || c.state == synReceived {
			c.fail(syscall.ETIMEDOUT)
		}
	})
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		c.cond.Broadcast()
	})
	defer stop()
	n.run()
	for c.state == synSent || c.state == synReceived {
		if ctx.Err() != nil {
			c.discard(true)
			return fail(contextError(ctx))
		}
		c.cond.Wait()
	}
	if c.err != nil {
		c.release()
		return fail(os.NewSyscallError("connect", c.err))
	}
	return c, nil
}

// contextError gives a context's end the face the net package gives it.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}

// bind settles the local address of a dial.
func (h *Host) bind(local, remote netip.AddrPort) (netip.AddrPort, error) {
	addr := local.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = netip.Addr{}
		for _, a := range h.addrs {
			if a.Is4() == remote.Addr().Is4() {
				addr = a
				break
			}
		}
	}
	if !slices.Contains(h.addrs, addr) || addr.Is4() != remote.Addr().Is4() {
		return local, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	port := local.Port()
	if port == 0 {
		var ok bool
		port, ok = h.port(func(p uint16) bool {
			at := netip.AddrPortFrom(addr, p)
			return h.listener(at) == nil && h.net.conns[tuple{at, remote}] == nil
		})
		if !ok {
			return local, os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)
		}
	}
	return netip.AddrPortFrom(addr, port), nil
}

// DialContext is [Host.Dial] with the signature of net.Dialer.DialContext; address must be a literal ip:port.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	c, err := h.Dial(ctx, netip.AddrPort{}, remote)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialFrom is [Host.Dial] that returns a net.Conn, the form in which a connection manager takes its dialler.
func (h *Host) DialFrom(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	c, err := h.Dial(ctx, local, remote)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func tcpAddr(a netip.AddrPort) net.Addr {
	return net.TCPAddrFromAddrPort(a)
}

// newConn makes an endpoint and puts it on the map.
func (n *Network) newConn(h *Host, key tuple, s state, b *Bearer, faults *End) *Conn {
	n.ids++
	n.used[key]++
	c := &Conn{net: n, host: h, key: key, id: n.ids, state: s, bearer: b, faults: faults}
	c.cond.L = &n.mu
	c.seed = [2]uint64{n.cfg.Seed ^ hash(key), n.used[key]}
	n.conns[key] = c
	return c
}

// rnd is the source of the connection's own randomness, for its output and its reads.
func (c *Conn) rnd() *rand.Rand {
	if c.random == nil {
		c.random = rand.New(rand.NewPCG(c.seed[0], c.seed[1]))
	}
	return c.random
}

// readRnd is a source of its own, so that reads do not disturb what is written.
func (c *Conn) readRnd() *rand.Rand {
	if c.readRandom == nil {
		c.readRandom = rand.New(rand.NewPCG(c.seed[0], ^c.seed[1]))
	}
	return c.readRandom
}

// hash is FNV-1a over both addresses.
func hash(t tuple) uint64 {
	h := uint64(14695981039346656037)
	for _, a := range [2]netip.AddrPort{t.local, t.remote} {
		b := a.Addr().As16()
		for _, x := range b {
			h = (h ^ uint64(x)) * 1099511628211
		}
		h = (h ^ uint64(a.Port())) * 1099511628211
	}
	return h
}
