package mux

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memPair returns the two ends of an in-memory connection with a buffer of size bytes in each direction. Deadlines, closing
// one direction and waiting all work inside a synctest bubble.
func memPair(size int) (a, b *memConn) {
	x, y := newMemPipe(size), newMemPipe(size)
	return &memConn{in: x, out: y}, &memConn{in: y, out: x}
}

type memConn struct{ in, out *memPipe }

func (c *memConn) Read(p []byte) (int, error)         { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error)        { return c.out.write(p) }
func (c *memConn) CloseWrite() error                  { c.out.end(io.EOF); return nil }
func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.reader.set(c.in, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.writer.set(c.out, t); return nil }
func (c *memConn) LocalAddr() net.Addr                { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr               { return memAddr{} }

func (c *memConn) SetDeadline(t time.Time) error {
	c.in.reader.set(c.in, t)
	c.out.writer.set(c.out, t)
	return nil
}

func (c *memConn) Close() error {
	c.in.shut()
	c.out.end(io.EOF)
	c.in.reader.set(c.in, time.Time{})
	c.out.writer.set(c.out, time.Time{})
	return nil
}

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "memory" }

// memPipe is one direction.
type memPipe struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	size   int
	err    error // for the reader, after the last byte
	closed bool  // by the reader
	reader memDeadline
	writer memDeadline
}

func newMemPipe(size int) *memPipe {
	p := &memPipe{size: size}
	p.cond = sync.NewCond(&p.mu)
	return p
}

type memDeadline struct {
	timer   *time.Timer
	expired bool
}

func (d *memDeadline) set(p *memPipe, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.expired = false
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if d.timer == timer {
			d.expired = true
			p.cond.Broadcast()
		}
	})
	d.timer = timer
}

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, net.ErrClosed
		case p.reader.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.cond.Broadcast()
			return n, nil
		case p.err != nil:
			return 0, p.err
		}
		p.cond.Wait()
	}
}

func (p *memPipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		switch {
		case p.err != nil:
			return n, net.ErrClosed
		case p.closed:
			return n, io.ErrClosedPipe
		case p.writer.expired:
			return n, os.ErrDeadlineExceeded
		case len(p.buf) < p.size:
			k := min(len(b), p.size-len(p.buf))
			p.buf = append(p.buf, b[:k]...)
			b, n = b[k:], n+k
			p.cond.Broadcast()
			continue
		}
		p.cond.Wait()
	}
	return n, nil
}

func (p *memPipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.cond.Broadcast()
}

func (p *memPipe) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.buf = nil
	p.cond.Broadcast()
}
