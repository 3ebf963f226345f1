package memnet

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// state of a connection's end in its kernel.
type state uint8

const (
	synSent state = iota
	synReceived
	established
	timeWait
	gone
)

func (s state) String() string {
	return [...]string{"SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "TIME_WAIT", "CLOSED"}[s]
}

// Conn is one end of a connection. It implements net.Conn and the methods of *net.TCPConn that change what happens on the
// wire. Errors are *net.OpError with the syscall.Errno inside, as from the net package.
type Conn struct {
	net  *Network
	host *Host
	key  tuple
	id   uint64
	peer uint64 // the other end's id, once known

	state    state
	listener *Listener // until accepted
	bearer   *Bearer
	faults   *End
	since    time.Duration // when established
	cond     sync.Cond
	err      error // what ended the connection
	hasFD    bool
	closed   bool // by its owner
	orphan   bool // closed in order; the kernel still sends and waits for the other FIN
	noLinger bool // SetLinger(0)

	seed       [2]uint64
	random     *rand.Rand
	readRandom *rand.Rand

	// Output.
	nextNum       uint64
	free          time.Duration // when the link's bandwidth is free again
	outstanding   int           // bytes sent and not read
	sent          int64
	writes        int
	finSent       bool
	muted         bool // a cut has happened
	writeDeadline time.Time
	writeTimer    *time.Timer

	// Input.
	expect       uint64
	early        map[uint64]*packet
	pumping      bool
	charged      bool // the head packet has been counted against a phase's bandwidth
	inFree       time.Duration
	chunks       []chunk
	unread       int
	owed         int // bytes read whose acknowledgement is not on its way
	eof          bool
	readDeadline time.Time
	readTimer    *time.Timer
}

type chunk struct {
	data    []byte
	foreign bool // from an older connection; nobody waits for its acknowledgement
}

// Read reads what has arrived. After a reset unread bytes are lost, the worst that kernels do.
func (c *Conn) Read(p []byte) (int, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if err := c.readError(); err != nil {
			return 0, c.opError("read", err)
		}
		if len(p) == 0 {
			return 0, nil
		}
		if len(c.chunks) > 0 {
			read := c.take(p)
			n.run()
			return read, nil
		}
		if c.eof {
			return 0, io.EOF
		}
		if c.err != nil {
			return 0, c.opError("read", os.NewSyscallError("read", c.err))
		}
		c.armRead()
		c.cond.Wait()
	}
}

func (c *Conn) readError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case !c.readDeadline.IsZero() && !time.Now().Before(c.readDeadline):
		return os.ErrDeadlineExceeded
	}
	if c.err != nil {
		return nil
	}
	for _, phase := range c.faults.Phases {
		if phase.Err != nil && phase.contains(c.net.now()-c.since) {
			return phase.Err
		}
	}
	return nil
}

// armRead makes the waiting reader wake at its deadline, and at the start of a failing phase.
func (c *Conn) armRead() {
	at := c.readDeadline
	age := c.net.now() - c.since
	for _, phase := range c.faults.Phases {
		if phase.Err == nil || phase.From <= age {
			continue
		}
		if begin := time.Now().Add(phase.From - age); at.IsZero() || begin.Before(at) {
			at = begin
		}
	}
	if !at.IsZero() {
		rearm(&c.readTimer, at, c.net, &c.cond)
	}
}

func (c *Conn) take(p []byte) int {
	resplit := c.net.link(c.key.remote.Addr(), c.key.local.Addr()).Resplit
	read, own := 0, 0
	for len(c.chunks) > 0 && read < len(p) {
		head := &c.chunks[0]
		part := p[read:]
		if resplit {
			part = part[:1+c.readRnd().IntN(min(len(part), len(head.data)))]
		}
		k := copy(part, head.data)
		read += k
		if !head.foreign {
			own += k
		}
		head.data = head.data[k:]
		if len(head.data) == 0 {
			c.chunks[0] = chunk{}
			c.chunks = c.chunks[1:]
		}
		if resplit {
			break
		}
	}
	c.unread -= own
	c.acknowledge(own)
	return read
}

// acknowledge tells the other end that bytes have been read, if the way there is open.
func (c *Conn) acknowledge(bytes int) {
	c.owed += bytes
	n := c.net
	if n.blocked(pair{c.key.local.Addr(), c.key.remote.Addr()}) {
		return
	}
	if sender := n.conns[c.key.reverse()]; sender != nil && sender.id == c.peer {
		sender.outstanding -= c.owed
		sender.cond.Broadcast()
	}
	c.owed = 0
}

// Write sends p; it waits while the window is full.
func (c *Conn) Write(p []byte) (int, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.writes++
	if f := c.faults; f.FailWrite > 0 && c.writes >= f.FailWrite && !c.closed {
		err := f.WriteErr
		if err == nil {
			err = os.NewSyscallError("write", syscall.ECONNRESET)
		}
		return 0, c.opError("write", err)
	}
	written := 0
	for {
		if err := c.writeError(); err != nil {
			return written, c.opError("write", err)
		}
		if written == len(p) {
			return written, nil
		}
		if room := n.cfg.Window - c.outstanding; room > 0 {
			part := p[written:min(len(p), written+room)]
			c.transmit(part)
			written += len(part)
			n.run()
			if written == len(p) {
				return written, nil // also if the answer was a reset: that is for the next call
			}
			continue
		}
		if !c.writeDeadline.IsZero() {
			rearm(&c.writeTimer, c.writeDeadline, n, &c.cond)
		}
		c.cond.Wait()
	}
}

func (c *Conn) writeError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case !c.writeDeadline.IsZero() && !time.Now().Before(c.writeDeadline):
		return os.ErrDeadlineExceeded
	case c.err != nil:
		return os.NewSyscallError("write", c.err)
	case c.finSent:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// transmit cuts bytes into segments and sends them, up to where the script cuts.
func (c *Conn) transmit(b []byte) {
	c.outstanding += len(b)
	if c.muted {
		return
	}
	cut := c.faults.CutAfter > 0 && c.sent+int64(len(b)) >= c.faults.CutAfter
	if cut {
		b = b[:c.faults.CutAfter-c.sent]
	}
	c.sent += int64(len(b))
	l := c.net.link(c.key.local.Addr(), c.key.remote.Addr())
	for len(b) > 0 {
		size := min(l.Segment, len(b))
		if l.Resplit {
			size = 1 + c.rnd().IntN(size)
		}
		c.send(kindData, append([]byte(nil), b[:size]...))
		b = b[size:]
	}
	if cut {
		c.cutHere(l)
	}
}

func (c *Conn) cutHere(l Link) {
	c.muted = true
	switch c.faults.Cut {
	case CutEOF:
		c.send(kindFIN, nil)
	case CutReset:
		c.send(kindCut, nil)
		n := c.net
		n.at(n.now()+l.Latency, nil, func() {
			if n.conns[c.key] == c {
				c.fail(syscall.ECONNRESET)
			}
		})
	}
}

// CloseWrite sends the end of file; reading goes on.
func (c *Conn) CloseWrite() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	if c.err != nil {
		return c.opError("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.fin()
	c.net.run()
	return nil
}

func (c *Conn) fin() {
	if c.finSent {
		return
	}
	c.finSent = true
	if !c.muted {
		c.send(kindFIN, nil)
	}
	c.cond.Broadcast()
}

// Close closes the end: with a reset after SetLinger(0) or when unread bytes are thrown away, else in order.
func (c *Conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.close()
	c.net.run()
	return nil
}

func (c *Conn) close() {
	c.closed = true
	c.stopTimers()
	c.release()
	c.cond.Broadcast()
	switch {
	case c.state == gone:
	case c.noLinger || c.unread > 0 || c.state != established:
		c.discard(true)
	default:
		active := !c.eof || c.finSent
		c.orphan = true
		c.fin()
		switch {
		case !c.eof: // FIN_WAIT
			c.net.at(c.net.now()+c.net.cfg.TimeWait, nil, func() {
				if c.state == established {
					c.remove()
				}
			})
		case active:
			c.waitTime()
		default:
			c.remove()
		}
	}
}

// Reset tears the connection down at both ends, as a middlebox does.
func (c *Conn) Reset() {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	other := n.conns[c.key.reverse()]
	if other != nil && other.id == c.peer {
		other.fail(syscall.ECONNRESET)
	}
	if c.state != gone {
		c.fail(syscall.ECONNRESET)
	}
	n.run()
}

// Vanish makes this end disappear without a word, as if its machine had lost power: the other end is half-open, and finds out
// when it sends something and is answered by a reset, or never, where resets are lost.
func (c *Conn) Vanish() {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.state != gone {
		c.fail(syscall.ECONNABORTED)
	}
	n.run()
}

// fail ends the connection at this end.
func (c *Conn) fail(err error) {
	c.err = err
	c.drop()
}

// discard gives the connection up, with or without telling the other end.
func (c *Conn) discard(reset bool) {
	if reset && c.peer != 0 && c.state != gone {
		c.send(kindRST, nil)
	}
	if c.err == nil {
		c.err = syscall.ECONNABORTED
	}
	c.drop()
	c.release()
}

func (c *Conn) drop() {
	if l := c.listener; l != nil && c.state == synReceived {
		l.pending--
		c.listener = nil
	}
	c.chunks, c.unread, c.early = nil, 0, nil
	c.remove()
	c.cond.Broadcast()
}

// remove takes the end off the kernel's map.
func (c *Conn) remove() {
	if c.net.conns[c.key] == c {
		delete(c.net.conns, c.key)
	}
	c.state = gone
}

// release gives the descriptor back.
func (c *Conn) release() {
	if c.hasFD {
		c.hasFD = false
		c.host.free()
	}
}

func (c *Conn) stopTimers() {
	for _, t := range []*time.Timer{c.readTimer, c.writeTimer} {
		if t != nil {
			t.Stop()
		}
	}
}

// LocalAddr returns this end's address as a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return tcpAddr(c.key.local) }

// RemoteAddr returns the other end's address as a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return tcpAddr(c.key.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(&t, &t)
}

// SetReadDeadline ends waiting reads at t with os.ErrDeadlineExceeded; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline is SetReadDeadline for writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *Conn) setDeadlines(read, write *time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	if read != nil {
		c.readDeadline = *read
	}
	if write != nil {
		c.writeDeadline = *write
	}
	c.cond.Broadcast()
	return nil
}

// SetLinger with 0 makes Close a reset that throws unsent and unread bytes away; any other value restores the orderly close.
func (c *Conn) SetLinger(sec int) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.noLinger = sec == 0
	return nil
}

// SetNoDelay does nothing: segments are never delayed to be filled.
func (c *Conn) SetNoDelay(bool) error { return nil }

// SetKeepAlive does nothing: the network never probes an idle connection.
func (c *Conn) SetKeepAlive(bool) error { return nil }

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
