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
	at map[netip.AddrPort]int // nodes by address

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

// bearer puts the sockets of a node under the weather.
func (f *faults) bearer(id int) func(context.Context, net.Conn, bool) (net.Conn, error) {
	return func(_ context.Context, socket net.Conn, _ bool) (net.Conn, error) {
		tcp, ok := socket.(*net.TCPConn)
		if !ok {
			return socket, nil
		}
		remote, known := f.at[tcp.RemoteAddr().(*net.TCPAddr).AddrPort()]
		if !known {
			remote = -1
		}
		l := &link{TCPConn: tcp, f: f, local: id, remote: remote, closed: make(chan struct{})}
		f.mu.Lock()
		f.links[l] = true
		f.mu.Unlock()
		return l, nil
	}
}

// link is a socket whose bytes do not come through while its ends are on different sides of a partition: they wait, as they would
// be sent again by TCP, and the connection goes on when the partition has healed in time.
type link struct {
	*net.TCPConn
	f             *faults
	local, remote int
	closing       sync.Once
	closed        chan struct{}
}

// NetConn returns the socket, for its options.
func (l *link) NetConn() net.Conn { return l.TCPConn }

// Read implements [net.Conn].
func (l *link) Read(p []byte) (int, error) {
	n, err := l.TCPConn.Read(p)
	if n > 0 {
		l.wait(false)
	}
	return n, err
}

// Write implements [net.Conn].
func (l *link) Write(p []byte) (int, error) {
	l.wait(true)
	return l.TCPConn.Write(p)
}

// Close implements [net.Conn].
func (l *link) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.f.mu.Lock()
		delete(l.f.links, l)
		l.f.mu.Unlock()
	})
	return l.TCPConn.Close()
}

// wait returns when bytes come through, or the link is closed.
func (l *link) wait(sending bool) {
	for {
		l.f.mu.Lock()
		apart := l.f.side[l.local] != l.f.side[l.remote]
		changed, delay := l.f.changed, l.f.slow[l.local]
		l.f.mu.Unlock()
		if apart {
			select {
			case <-changed:
				continue
			case <-l.closed:
				return
			}
		}
		if sending && delay > 0 {
			select {
			case <-time.After(delay):
			case <-l.closed:
			}
		}
		return
	}
}
