package main

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// faults is the weather between the nodes: which of them cannot reach which others, and which are slow.
type faults struct {
	at map[netip.AddrPort]int // nodes by the addresses where they listen

	mu      sync.Mutex
	side    map[int]int // of the partition; nodes that are not in it are on side 0
	changed chan struct{}
	slow    map[int]time.Duration // added to each write
	links   map[*link]bool        // open ones
}

func newFaults() *faults {
	return &faults{at: map[netip.AddrPort]int{}, side: map[int]int{}, changed: make(chan struct{}), slow: map[int]time.Duration{},
		links: map[*link]bool{}}
}

// partition cuts these nodes off from the others, nil heals.
func (f *faults) partition(ids []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.side)
	for _, id := range ids {
		f.side[id] = 1
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// slowDown delays everything a node sends; 0 ends that.
func (f *faults) slowDown(id int, by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.slow, id)
	if by > 0 {
		f.slow[id] = by
	}
}

// cut resets all connections of a node.
func (f *faults) cut(id int) {
	f.mu.Lock()
	var mine []*link
	for l := range f.links {
		if l.local == id {
			mine = append(mine, l)
		}
	}
	f.mu.Unlock()
	for _, l := range mine {
		_ = l.SetLinger(0) // what is left of the connection is reset either way
		_ = l.Close()
	}
}

// isolated lists the nodes that are cut off.
func (f *faults) isolated() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.side))
}

// slowed lists the nodes that are slow.
func (f *faults) slowed() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.slow))
}

// bearer puts the sockets of a node's connection manager under the weather. Both ends of a connection have the address of a node,
// for those are dialled from where their node listens.
func (f *faults) bearer(id int) func(context.Context, net.Conn, bool) (net.Conn, error) {
	return func(_ context.Context, socket net.Conn, _ bool) (net.Conn, error) {
		return f.under(socket, id, f.who(socket.RemoteAddr())), nil
	}
}

// dial dials for a node's artifact gossip.
func (f *faults) dial(id int) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		socket, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return f.under(socket, id, f.who(socket.RemoteAddr())), nil
	}
}

// listener accepts for a node's artifact gossip. Who is at the other end cannot be told from a port that the system has chosen: the
// end that dialled holds the bytes of both directions.
type listener struct {
	net.Listener
	f  *faults
	id int
}

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	socket, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.f.under(socket, l.id, l.id), nil
}

// who listens at an address, −1 for nobody.
func (f *faults) who(a net.Addr) int {
	if t, ok := a.(*net.TCPAddr); ok {
		if id, ok := f.at[t.AddrPort()]; ok {
			return id
		}
	}
	return -1
}

// under makes a link of a socket.
func (f *faults) under(socket net.Conn, local, remote int) net.Conn {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return socket
	}
	l := &link{TCPConn: tcp, f: f, local: local, remote: remote, closed: make(chan struct{})}
	for i := range l.until {
		l.until[i].changed = make(chan struct{})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[l] = true
	return l
}
