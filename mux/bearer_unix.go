//go:build unix

package mux

import (
	"io"
	"net"
	"syscall"
)

// pollReader reads from a socket as soon as the poller says that there is something, and only then takes a buffer.
type pollReader struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	block *block
	n     int
	err   error
}

func newPollReader(conn net.Conn) bearerReader {
	raw := rawSocket(conn)
	if raw == nil {
		return nil
	}
	r := &pollReader{raw: raw}
	r.try = r.once
	return r
}

// once is one attempt; false has the poller wait for more.
func (r *pollReader) once(fd uintptr) bool {
	if r.block == nil {
		r.block = getBlock(readBufferSize)
	}
	for {
		n, err := syscall.Read(int(fd), r.block.buf[:cap(r.block.buf)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			r.release()
			return false
		case n < 0:
			n = 0
		}
		r.n, r.err = n, err
		if n == 0 && err == nil {
			r.err = io.EOF
		}
		return true
	}
}

func (r *pollReader) read(bool) ([]byte, error) {
	r.n, r.err = 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.n == 0 {
		return nil, r.err
	}
	return r.block.buf[:r.n], r.err
}

func (r *pollReader) release() {
	if r.block != nil {
		putBlock(r.block)
		r.block = nil
	}
}

// pollWriter writes to a socket what it takes at once.
type pollWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	p   []byte
	n   int
}

func newPollWriter(conn net.Conn) *pollWriter {
	raw := rawSocket(conn)
	if raw == nil {
		return nil
	}
	w := &pollWriter{raw: raw}
	w.try = w.once
	return w
}

// once is the one attempt; its error will be the next one's too.
func (w *pollWriter) once(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), w.p)
		if err == syscall.EINTR {
			continue
		}
		w.n = max(n, 0)
		return true
	}
}

// write returns how many bytes of a batch the socket has taken.
func (w *pollWriter) write(b *batch) int {
	w.p, w.n = b.vec[0], 0
	if b.n > 1 { // one system call for what is little
		joined := getBlock(b.bytes)
		defer putBlock(joined)
		for _, v := range b.vec[:b.n] {
			joined.buf = append(joined.buf, v...)
		}
		w.p = joined.buf
	}
	_ = w.raw.Write(w.try) // what it says of a socket that has ended, the next write says too
	w.p = nil
	return w.n
}

// rawSocket is the descriptor of a socket, nil where there is none.
func rawSocket(conn net.Conn) syscall.RawConn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
