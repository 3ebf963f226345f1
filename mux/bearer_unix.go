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
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
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
