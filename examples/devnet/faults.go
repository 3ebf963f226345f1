package main

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// faults is the weather between the nodes: which of them cannot reach which others, and which are slow.
type faults struct {
	at  map[netip.AddrPort]int  // nodes by the addresses where they listen
	now atomic.Pointer[weather] // looked at for every read and write

	mu    sync.Mutex // held while the weather changes
	links map[*link]bool
}

// weather at one moment; it is never changed, but replaced.
type weather struct {
	apart   map[int]bool          // the small side of the partition
	slow    map[int]time.Duration // added to each write
	changed chan struct{}         // closed when there is another
}

func newFaults() *faults {
	f := &faults{at: map[netip.AddrPort]int{}, links: map[*link]bool{}}
	f.now.Store(&weather{changed: make(chan struct{})})
	return f
}

// turn changes the weather.
func (f *faults) turn(change func(w *weather)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.now.Load()
	w := &weather{old.apart, old.slow, make(chan struct{})}
	change(w)
	f.now.Store(w)
	close(old.changed)
}

// partition cuts these nodes off from the others, nil heals.
func (f *faults) partition(ids []int) {
	f.turn(func(w *weather) {
		w.apart = map[int]bool{}
		for _, id := range ids {
			w.apart[id] = true
		}
	})
}

// slowDown delays everything a node sends; 0 ends that.
func (f *faults) slowDown(id int, by time.Duration) {
	f.turn(func(w *weather) {
		slow := map[int]time.Duration{}
		maps.Copy(slow, w.slow)
		if delete(slow, id); by > 0 {
			slow[id] = by
		}
		w.slow = slow
	})
}

// cut resets all connections of a node.
func (f *faults) cut(id int) { f.reset(func(l *link) bool { return l.local == id }) }

func (f *faults) reset(which func(*link) bool) {
	f.mu.Lock()
	var mine []*link
	for l := range f.links {
		if which(l) {
			mine = append(mine, l)
		}
	}
	f.mu.Unlock()
	var closing sync.WaitGroup // a close waits for who reads to go away; one after the other, thousands would take seconds
	for _, l := range mine {
		closing.Go(func() {
			_ = l.SetLinger(0) // what is left of the connection is reset either way
			_ = l.Close()
		})
	}
	closing.Wait()
}

// isolated lists the nodes that are cut off.
func (f *faults) isolated() []int { return slices.Sorted(maps.Keys(f.now.Load().apart)) }

// slowed lists the nodes that are slow.
func (f *faults) slowed() []int { return slices.Sorted(maps.Keys(f.now.Load().slow)) }

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
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[l] = true
	return l
}
