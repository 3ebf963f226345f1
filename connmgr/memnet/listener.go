package memnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Listener accepts the connections of one port. It implements net.Listener.
type Listener struct {
	net  *Network
	host *Host
	at   netip.AddrPort
	cond sync.Cond

	queue    []*Conn // established, not accepted
	pending  int     // SYN received, not established
	failures []failure
	until    time.Duration // accepts before this moment fail with untilErr
	untilErr error
	closed   bool
	deadline time.Time
	timer    *time.Timer
}

type failure struct {
	err  error
	drop bool
}

func newListener(h *Host, at netip.AddrPort) *Listener {
	l := &Listener{net: h.net, host: h, at: at}
	l.cond.L = &h.net.mu
	return l
}

// FailAccept makes the next calls of Accept fail with these errors, one each; a connection that waits stays in the queue, as it
// does when a process has no descriptor left.
func (l *Listener) FailAccept(errs ...error) { l.fail(errs, false) }

// AbortAccept is FailAccept, but each failure takes the connection at the head of the queue with it, which is reset, as with
// ECONNABORTED.
func (l *Listener) AbortAccept(errs ...error) { l.fail(errs, true) }

func (l *Listener) fail(errs []error, drop bool) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for _, err := range errs {
		l.failures = append(l.failures, failure{err, drop})
	}
	l.cond.Broadcast()
}

// FailAcceptFor makes each accept of the coming d fail with err and reset the connection it would have returned.
func (l *Listener) FailAcceptFor(d time.Duration, err error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.until, l.untilErr = l.net.now()+d, err
}

// Accept waits for a connection and returns it as a *[Conn].
func (l *Listener) Accept() (net.Conn, error) {
	n := l.net
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.run()
	for {
		switch {
		case l.closed:
			return nil, l.opError(net.ErrClosed)
		case !l.deadline.IsZero() && !time.Now().Before(l.deadline):
			return nil, l.opError(os.ErrDeadlineExceeded)
		case len(l.failures) > 0 && (!l.failures[0].drop || len(l.queue) > 0):
			f := l.failures[0]
			l.failures = l.failures[1:]
			if f.drop {
				l.dropHead()
			}
			return nil, l.opError(os.NewSyscallError("accept", f.err))
		case l.host.limit > 0 && l.host.fds >= l.host.limit:
			return nil, l.opError(os.NewSyscallError("accept", syscall.EMFILE))
		case len(l.queue) > 0 && l.untilErr != nil && n.now() < l.until:
			l.dropHead()
			return nil, l.opError(os.NewSyscallError("accept", l.untilErr))
		case len(l.queue) > 0:
			c := l.queue[0]
			l.queue[0] = nil
			l.queue = l.queue[1:]
			c.listener = nil
			c.hasFD = true
			l.host.fds++
			return c, nil
		}
		if !l.deadline.IsZero() {
			rearm(&l.timer, l.deadline, n, &l.cond)
		}
		l.cond.Wait()
	}
}

func (l *Listener) dropHead() {
	c := l.queue[0]
	l.queue = l.queue[1:]
	c.listener = nil
	c.discard(true)
}

// SetDeadline ends Accept at that moment; the zero time removes it.
func (l *Listener) SetDeadline(t time.Time) error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.deadline = t
	l.cond.Broadcast()
	return nil
}

// Addr returns the address as a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return tcpAddr(l.at) }

// Close ends Accept and resets the connections that nobody has accepted.
func (l *Listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	defer l.net.run()
	if l.closed {
		return l.opError(net.ErrClosed)
	}
	l.close()
	return nil
}

func (l *Listener) close() {
	if l.closed {
		return
	}
	l.closed = true
	l.host.lns = slices.DeleteFunc(l.host.lns, func(o *Listener) bool { return o == l })
	for len(l.queue) > 0 {
		l.dropHead()
	}
	for _, c := range l.net.sorted() {
		if c.listener == l {
			c.discard(true)
		}
	}
	l.host.free()
	l.cond.Broadcast()
}

func (l *Listener) opError(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: tcpAddr(l.at), Err: err}
}

// rearm makes timer wake cond's waiters at a moment.
func rearm(timer **time.Timer, at time.Time, n *Network, cond *sync.Cond) {
	wait := time.Until(at)
	if *timer != nil {
		(*timer).Reset(wait)
		return
	}
	*timer = time.AfterFunc(wait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		cond.Broadcast()
	})
}
