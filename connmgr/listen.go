package connmgr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hearthnet/hearth/protocols/handshake"
)

// Bounds of a [Listener]: sockets whose handshake is under way, of which the oldest makes room for a new one, and connections that
// nobody has accepted yet, beyond which new ones are reset.
const (
	maxHandshakes = 512
	maxReady      = 512
)

// Listener accepts connections and does their handshakes side by side, so that a silent socket holds nobody up. It is the thin
// way to serve: no limits per peer, no duplex reuse.
type Listener struct {
	ln           net.Listener
	network      Network
	nodeToClient bool
	o            Options

	ctx    context.Context
	cancel context.CancelFunc
	ready  chan *Conn
	door   doorstep
	slots  chan struct{} // one for each connection in ready's way
	tasks  sync.WaitGroup
	done   chan struct{} // the accept loop has ended
	err    error         // why; set before done is closed
}

// Listen serves node-to-node on a TCP address; "127.0.0.1:0" picks a port. Give the responders with [Serve].
func Listen(ctx context.Context, addr string, network Network, opts ...Option) (*Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewListener(ln, network, false, opts...), nil
}

// ListenLocal serves node-to-client on a Unix socket.
func ListenLocal(ctx context.Context, path string, network Network, opts ...Option) (*Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return NewListener(ln, network, true, opts...), nil
}

// NewListener serves on a listener that exists already, and owns it from then on.
func NewListener(ln net.Listener, network Network, nodeToClient bool, opts ...Option) *Listener {
	l := &Listener{
		ln: ln, network: network, nodeToClient: nodeToClient, o: collect(opts),
		ready: make(chan *Conn), slots: make(chan struct{}, maxReady), door: doorstep{limit: maxHandshakes}, done: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.tasks.Add(1)
	go l.acceptLoop()
	return l
}

// Addr returns the address that is listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Accept returns the next connection whose handshake has succeeded. What fails before that is closed and forgotten. After Close
// the error is [net.ErrClosed].
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Serve accepts until ctx ends or the listener is closed, and closes every connection before it returns; the responders given
// with the options do all the work. each, if not nil, is told of every connection.
func (l *Listener) Serve(ctx context.Context, each func(*Conn)) error {
	var mu sync.Mutex
	open := map[*Conn]struct{}{}
	var ending sync.WaitGroup
	defer func() {
		mu.Lock()
		last := slices.Collect(maps.Keys(open))
		mu.Unlock()
		var closing sync.WaitGroup
		for _, c := range last {
			closing.Go(func() { c.Close() })
		}
		closing.Wait()
		ending.Wait()
	}()
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if each != nil {
			if err := guard(func() { each(c) }); err != nil {
				c.Abort(err)
			}
		}
		mu.Lock()
		open[c] = struct{}{}
		mu.Unlock()
		c.whenOver(func() {
			ending.Go(func() {
				c.Close()
				mu.Lock()
				defer mu.Unlock()
				delete(open, c)
			})
		})
	}
}

// Close stops to listen, ends the handshakes under way and connections that nobody has accepted. Accepted connections go on.
func (l *Listener) Close() error {
	l.cancel()
	err := l.ln.Close()
	l.tasks.Wait()
	if errors.Is(err, net.ErrClosed) { // closed before
		return nil
	}
	return err
}

func (l *Listener) acceptLoop() {
	defer l.tasks.Done()
	pause := time.Duration(0)
	for {
		bearer, err := l.ln.Accept()
		switch {
		case err == nil:
			pause = 0
		case l.ctx.Err() != nil:
			l.stop(net.ErrClosed)
			return
		case transient(err):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
			}
			continue
		default:
			l.stop(fmt.Errorf("accept: %w", err))
			return
		}
		ctx, leave := l.door.enter(l.ctx)
		l.tasks.Add(1)
		go l.handshake(ctx, leave, bearer)
	}
}

var errNotAccepted = fmt.Errorf("%d connections wait to be accepted", maxReady)

func (l *Listener) stop(err error) {
	l.err = err
	close(l.done)
}

// transient reports errors of accept that pass: the peer gave up, or descriptors ran out.
func transient(err error) bool {
	var t interface{ Temporary() bool } //nolint // Go has no other word for it
	return errors.As(err, &t) && t.Temporary()
}

// reject gives up a bearer that has not become a connection.
func (l *Listener) reject(bearer net.Conn, err error) {
	_ = abandon(bearer, err)
	if f := l.o.Rejected; f != nil {
		logPanic(nil, bearer.RemoteAddr(), guard(func() { f(bearer.RemoteAddr(), err) })) // the connection that a panic would cost is gone
	}
}

func (l *Listener) handshake(ctx context.Context, leave func(), bearer net.Conn) {
	defer l.tasks.Done()
	neg, err := handshake.Respond(ctx, bearer, l.o.proposal(l.network, l.nodeToClient, false))
	leave()
	if err == nil {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		default:
			err = errNotAccepted
		}
	}
	if err != nil {
		l.reject(bearer, err)
		return
	}
	c, err := newConn(bearer, neg, false, l.o)
	if err != nil {
		l.reject(bearer, err)
		return
	}
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		c.Close()
	}
}
