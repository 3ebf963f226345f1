package tunlink

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Link is a cable between two devices, such as [Open] returns: each Read gives a packet, each Write takes one. It has four
// goroutines until Close.
type Link struct {
	ends    [2]io.ReadWriteCloser
	ways    [2]*way
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	err    error // the first failure of a device
}

// way is one direction of a link.
type way struct {
	began time.Time
	wake  chan struct{} // there is a packet in front of an empty pipe

	mu      sync.Mutex
	pipe    *Pipe
	refused uint64 // packets that the device did not take
}

// NewLink connects two devices, which it closes at the end, also when it fails. ab is what happens from a to b.
func NewLink(a, b io.ReadWriteCloser, ab, ba Params, seed uint64) (*Link, error) {
	l := &Link{ends: [2]io.ReadWriteCloser{a, b}}
	began := time.Now()
	for i, p := range []Params{ab, ba} {
		pipe, err := NewPipe(p, seed<<1+uint64(i))
		if err != nil {
			return nil, errors.Join(err, a.Close(), b.Close())
		}
		l.ways[i] = &way{began: began, wake: make(chan struct{}, 1), pipe: pipe}
	}
	for i, w := range l.ways {
		stop := make(chan struct{})
		l.running.Go(func() {
			defer close(stop)
			l.fail(w.fill(l.ends[i]))
		})
		l.running.Go(func() { w.drain(l.ends[1-i], stop) })
	}
	return l, nil
}

// SetCut cuts the cable, or mends it. Neither end notices, as with a cable that is cut far away.
func (l *Link) SetCut(cut bool) {
	for _, w := range l.ways {
		w.mu.Lock()
		w.pipe.SetCut(cut)
		w.mu.Unlock()
	}
}

// Counters returns those from the first device to the second and back. Packets that a device refused, because it was down, were
// carried all the same.
func (l *Link) Counters() (ab, ba Counters) { return l.ways[0].counters(), l.ways[1].counters() }

// Refused is how many packets the devices refused, because they were down most likely.
func (l *Link) Refused() (n uint64) {
	for _, w := range l.ways {
		w.mu.Lock()
		n += w.refused
		w.mu.Unlock()
	}
	return n
}

// Close closes the devices and returns when nothing runs any more, with the failure that a device had before, if any. A second
// Close does the same.
func (l *Link) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	var err error
	if first {
		err = errors.Join(l.ends[0].Close(), l.ends[1].Close())
	}
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, err)
}

// fail keeps what ended a direction.
func (l *Link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.err == nil {
		l.err = err
	}
}

// fill reads packets into the pipe until the device ends.
func (w *way) fill(from io.Reader) error {
	b := make([]byte, MaxPacket+1)
	for {
		n, err := from.Read(b)
		if err != nil {
			return err
		}
		w.mu.Lock()
		_, some := w.pipe.Next()
		fate := w.pipe.Send(time.Since(w.began), b[:n])
		w.mu.Unlock()
		if !some && fate == Carried {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// drain writes packets when they come out, until stop is closed.
func (w *way) drain(to io.Writer, stop <-chan struct{}) {
	var b []byte
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		now := time.Since(w.began)
		var ok bool
		b, ok = w.pipe.Receive(now, b[:0])
		due, more := w.pipe.Next()
		w.mu.Unlock()
		if ok {
			if _, err := to.Write(b); err != nil {
				w.mu.Lock()
				w.refused++
				w.mu.Unlock()
			}
			continue
		}
		var at <-chan time.Time
		if more {
			timer.Reset(due - now)
			at = timer.C
		}
		select {
		case <-at:
		case <-w.wake:
		case <-stop:
			return
		}
	}
}

func (w *way) counters() Counters {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pipe.Counters()
}
