package mux

import (
	"errors"
	"net"
	"os"
	"time"
)

// bearerReader reads from a bearer with a large buffer while there is much to read and with none, or a tiny one, while the
// bearer is idle.
type bearerReader interface {
	// read returns what there is, at least one byte or an error. partial says that an SDU has begun, whose read limit is
	// the bearer's read deadline. The bytes are valid until the next call.
	read(partial bool) ([]byte, error)
	release()
}

func newBearerReader(conn net.Conn) bearerReader {
	if r := newPollReader(conn); r != nil {
		return r
	}
	return &blockingReader{conn: conn}
}

// socketOf returns what a wrapper such as TLS runs on, as far as it tells.
func socketOf(conn net.Conn) net.Conn {
	for {
		w, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = w.NetConn()
	}
}

// setReadBuffer bounds what the kernel holds of what has arrived, see [Config.ReadBuffer]. Its error changes nothing.
func setReadBuffer(conn net.Conn, bytes int) {
	tcp, ok := socketOf(conn).(*net.TCPConn)
	if !ok {
		return
	}
	if remote, ok := tcp.RemoteAddr().(*net.TCPAddr); ok && bytes == 0 && remote.IP.IsLoopback() {
		bytes = localReadBuffer
	}
	if bytes > 0 {
		_ = tcp.SetReadBuffer(bytes)
	}
}

// blockingReader serves bearers that only have Read: it blocks with a small buffer, takes a larger one when that was full and the largest
// when that was full too, and goes back to the small one when it has found nothing for a while.
type blockingReader struct {
	conn  net.Conn
	small [256]byte
	large *block
	full  bool // it was not large enough
}

const (
	blockingFirst  = 4 << 10
	blockingBuffer = 32 << 10
	blockingRest   = 200 * time.Millisecond
)

func (r *blockingReader) read(partial bool) ([]byte, error) {
	if r.large == nil {
		n, err := r.conn.Read(r.small[:])
		if n == len(r.small) {
			r.large = getBlock(blockingFirst)
		}
		return r.small[:n], err
	}
	if r.full {
		r.release()
		r.large = getBlock(blockingBuffer)
	}
	if !partial { // no read limit is set: this one is ours; Read tells why if it cannot be
		_ = r.conn.SetReadDeadline(time.Now().Add(blockingRest))
	}
	n, err := r.conn.Read(r.large.buf[:cap(r.large.buf)])
	p := r.large.buf[:n]
	r.full = n == blockingFirst && n == cap(r.large.buf)
	if !partial {
		_ = r.conn.SetReadDeadline(time.Time{})
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			r.release()
			return nil, nil
		}
	}
	return p, err
}

func (r *blockingReader) release() {
	if r.large != nil {
		putBlock(r.large)
		r.large, r.full = nil, false
	}
}
