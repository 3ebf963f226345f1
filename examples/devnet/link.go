package main

import (
	"net"
	"os"
	"sync"
	"time"
)

// link is a socket whose bytes do not come through while its ends are on different sides of a partition: they wait, as they would
// be sent again by TCP, and the connection goes on when the partition has healed in time.
type link struct {
	*net.TCPConn
	f             *faults
	local, remote int
	closing       sync.Once
	closed        chan struct{}
	kept          []byte // read, but a deadline passed before it came through

	mu    sync.Mutex
	until [2]deadline // of reading and writing
}

type deadline struct {
	at      time.Time     // zero: none
	changed chan struct{} // closed by the next change; nil while nobody waits for that
}

const (
	reading = iota
	writing
)

// NetConn returns the socket, for its options.
func (l *link) NetConn() net.Conn { return l.TCPConn }

// Read implements [net.Conn].
func (l *link) Read(p []byte) (n int, err error) {
	if len(l.kept) == 0 {
		if n, err = l.TCPConn.Read(p); n == 0 {
			return n, err
		}
	}
	if late := l.wait(reading); late != nil {
		l.kept = append(l.kept, p[:n]...)
		return 0, late
	}
	if len(l.kept) > 0 {
		n = copy(p, l.kept)
		l.kept = l.kept[n:]
	}
	return n, err
}

// Write implements [net.Conn].
func (l *link) Write(p []byte) (int, error) {
	if err := l.wait(writing); err != nil {
		return 0, err
	}
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

// SetDeadline implements [net.Conn].
func (l *link) SetDeadline(t time.Time) error {
	l.set(t, reading, writing)
	return l.TCPConn.SetDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (l *link) SetReadDeadline(t time.Time) error {
	l.set(t, reading)
	return l.TCPConn.SetReadDeadline(t)
}

// SetWriteDeadline implements [net.Conn].
func (l *link) SetWriteDeadline(t time.Time) error {
	l.set(t, writing)
	return l.TCPConn.SetWriteDeadline(t)
}

func (l *link) set(t time.Time, ways ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, way := range ways {
		d := &l.until[way]
		if d.changed != nil {
			close(d.changed)
		}
		*d = deadline{at: t}
	}
}

// deadline returns when waiting must end, and a channel that is closed when that changes.
func (l *link) deadline(way int) (at time.Time, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &l.until[way]
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.at, d.changed
}

// wait returns when bytes come through. The error is that of a deadline, or of the link's end.
func (l *link) wait(way int) error {
	for {
		w := l.f.now.Load()
		if w.apart[l.local] == w.apart[l.remote] {
			if by := w.slow[l.local]; way == writing && by > 0 {
				return l.pause(by)
			}
			return nil
		}
		at, moved := l.deadline(way)
		var passed <-chan time.Time
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			passed = t.C
		}
		select {
		case <-w.changed:
		case <-moved:
		case <-passed:
			return os.ErrDeadlineExceeded
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

func (l *link) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}
