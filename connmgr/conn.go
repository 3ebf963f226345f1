package connmgr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/keepalive"
)

// Conn is a connection whose handshake is done and whose mini-protocols are attached. It implements [protocols.Opener]. An idle
// one costs one goroutine.
type Conn struct {
	mux     *mux.Mux
	neg     protocols.Negotiated
	local   net.Addr
	remote  net.Addr
	dialled bool
	latency keepalive.Latency

	responder func(mp *protocols.MiniProtocol, starts bool, err error) // of a [Manager]: told when responders start and end

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	lanes  []*lane
	ended  bool
	failed map[*lane]error // what runs in blocking form have just returned
	over   func()          // called at the end of the teardown
	tasks  sync.WaitGroup  // responders in blocking form, and from the beginning the teardown
}

// keepAliveServer serves all connections: it has no state.
var keepAliveServer = keepalive.Server()

// lane is one mini-protocol in one role on one connection: one whose responder is armed, or that has been opened.
type lane struct {
	stream  *mux.Stream
	mp      *protocols.MiniProtocol // whose responder answers; nil: the stream waits to be opened
	session *protocols.Session      // the present run

	role          mux.Role
	nested, again bool // event form: some caller is starting a run, which has ended meanwhile
}

// newConn starts the multiplexer and everything that runs by itself.
func newConn(bearer net.Conn, neg protocols.Negotiated, dialled bool, o Options) (*Conn, error) {
	c := &Conn{neg: neg, local: bearer.LocalAddr(), remote: bearer.RemoteAddr(), dialled: dialled, responder: o.responder}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.latency.Sampled = o.RoundTrip
	cfg := o.Mux
	c.tasks.Add(1)
	hostEnded, log := cfg.Ended, o.log
	cfg.Ended = func(err error) {
		err = protocols.Cause(err)
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		go c.teardown(err)      // on a goroutine of its own: the caller may be in the middle of an event of a session
		if c.responder == nil { // otherwise the manager does
			logPanic(log, c.remote, err)
		}
		if hostEnded != nil {
			logPanic(log, c.remote, guard(func() { hostEnded(err) })) // the connection that a panic would cost is gone
		}
	}
	if arrived := cfg.Arrived; arrived != nil {
		cfg.Arrived = func(remote uint32, local time.Duration, size int) {
			if err := guard(func() { arrived(remote, local, size) }); err != nil {
				c.mux.Abort(err)
			}
		}
	}
	c.mux = mux.New(bearer, cfg)
	var err error
	if failed := guard(func() { err = c.carry(o) }); failed != nil {
		err = failed
	}
	if err != nil {
		c.mux.Abort(err)
		return nil, err
	}
	c.mux.Start()
	if keepAlive := o.KeepAlive; !neg.NodeToClient && keepAlive >= 0 && c.runs(mux.Initiator) {
		if _, err := c.start(keepalive.Client(keepAlive, &c.latency), mux.Initiator); err != nil {
			c.mux.Abort(err)
			return nil, err
		}
	}
	return c, nil
}

// runs says whether this end plays a role on this connection at all (wire §2.8).
func (c *Conn) runs(role mux.Role) bool {
	return c.neg.Duplex() || (role == mux.Initiator) == c.dialled
}

// carry registers the streams: the host's mini-protocols, then the standard ones that they leave.
func (c *Conn) carry(o Options) error {
	var answered []*lane
	defer func() {
		for _, l := range answered { // when all are registered: an eager responder starts at once
			c.arm(l)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	own := o.Protocols
	if !c.neg.NodeToClient {
		own = append(own[:len(own):len(own)], keepAliveServer)
	}
	for _, mp := range own {
		if mp.Enabled != nil && !mp.Enabled(c.neg) {
			continue
		}
		for _, role := range [...]mux.Role{mux.Initiator, mux.Responder} {
			if !c.runs(role) {
				continue
			}
			stream := c.mux.Stream(mp.Number, role)
			if stream == nil {
				var err error
				if stream, err = c.register(mp.Number, role, mp.Ingress[role], mp.Egress); err != nil {
					return err
				}
			}
			// One value may say how a number is answered and another one how it is initiated.
			if role == mux.Responder && (mp.Respond != nil || mp.Step != nil) && c.lane(mp.Number, role) == nil {
				l := &lane{role: role, stream: stream, mp: mp}
				c.lanes = append(c.lanes, l)
				answered = append(answered, l)
			}
		}
	}
	for _, r := range standard {
		if r.nodeToClient != c.neg.NodeToClient || r.enabled != nil && !r.enabled(c.neg) {
			continue
		}
		for _, role := range [...]mux.Role{mux.Initiator, mux.Responder} {
			if !c.runs(role) || c.mux.Stream(r.number, role) != nil {
				continue
			}
			if _, err := c.register(r.number, role, r.ingress[role], 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Conn) register(number uint16, role mux.Role, ingress, egress int) (*mux.Stream, error) {
	return c.mux.Register(mux.StreamConfig{Number: number, Role: role, IngressLimit: ingress, EgressLimit: egress})
}

func (c *Conn) lane(number uint16, role mux.Role) *lane {
	for _, l := range c.lanes {
		if l.role == role && l.stream.Number() == number {
			return l
		}
	}
	return nil
}

// arm has the lane's responder start when its strategy says so, and again after each run.
func (c *Conn) arm(l *lane) {
	l.stream.Arm(l.mp.Start, func() { c.answer(l) })
}

// answer starts the lane's responder. In event form a run may be over before it has returned, and bytes for the next one may be
// there: that one is started here too, in a loop, so that the stack does not grow with what a peer sends.
func (c *Conn) answer(l *lane) {
	var ended func(error)
	if c.responder != nil {
		ended = func(err error) { c.responder(l.mp, false, err) }
	}
	for more := true; more; {
		s := c.begin(l, l.mp, ended)
		if s == nil {
			return
		}
		if c.responder != nil {
			c.responder(l.mp, true, nil)
		}
		if l.mp.Step == nil {
			c.run(l, s, l.mp.Respond, ended)
			return
		}
		c.mu.Lock()
		l.nested, l.again = true, false
		c.mu.Unlock()
		s.RunEvents()
		c.mu.Lock()
		again := l.again
		l.nested = false
		c.mu.Unlock()
		if !again {
			return
		}
		if more = l.stream.Buffered() > 0; !more {
			c.arm(l)
		}
	}
}

// begin makes the lane's next session. ended, if not nil, is told when the run is over.
func (c *Conn) begin(l *lane, mp *protocols.MiniProtocol, ended func(error)) *protocols.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || l.session != nil {
		return nil
	}
	l.session = protocols.NewSession(mp, l.stream, c.neg, func(*protocols.Session) {
		c.mu.Lock()
		l.session = nil
		again := l.mp != nil && !c.ended
		if l.nested {
			l.again, again = again, false
		}
		err := c.failed[l]
		delete(c.failed, l)
		c.mu.Unlock()
		if err == nil {
			err = c.Err()
		}
		if ended != nil {
			ended(err)
		}
		if again {
			c.arm(l)
		}
	})
	return l.session
}

// run runs a session that nobody else does, in the form that its mini-protocol has.
func (c *Conn) run(l *lane, s *protocols.Session, blocking func(context.Context, *protocols.Session) error, ended func(error)) {
	if s.MiniProtocol().Step != nil {
		s.RunEvents()
		return
	}
	c.mu.Lock()
	over := c.ended
	if !over {
		c.tasks.Add(1)
	}
	c.mu.Unlock()
	if over {
		if ended != nil {
			ended(c.Err())
		}
		return
	}
	go func() {
		defer c.tasks.Done()
		_ = s.Run(c.ctx, func(ctx context.Context, s *protocols.Session) error { // an error has ended the connection, which has it
			err := blocking(ctx, s)
			if err != nil {
				c.mu.Lock()
				if c.failed == nil {
					c.failed = map[*lane]error{}
				}
				c.failed[l] = err
				c.mu.Unlock()
			}
			return err
		})
	}()
}

func (c *Conn) laneOf(s *protocols.Session) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lane(s.MiniProtocol().Number, s.Role())
}

// start opens and runs a mini-protocol's own initiator.
func (c *Conn) start(mp *protocols.MiniProtocol, role mux.Role) (*protocols.Session, error) {
	s, err := c.Open(mp, role)
	if err != nil {
		return nil, err
	}
	c.run(c.laneOf(s), s, mp.Initiate, nil)
	return s, nil
}

// initiate is start for a [Manager]: ended is called exactly once if there is no error, with what ended the run; an [Outcome] of
// a function in blocking form leaves the connection alone.
func (c *Conn) initiate(mp *protocols.MiniProtocol, ended func(error)) (*protocols.Session, error) {
	var outcome error
	over := func(err error) {
		if err == nil {
			err = outcome
		}
		ended(err)
	}
	s, err := c.open(mp, mux.Initiator, over)
	if err != nil {
		return nil, err
	}
	c.run(c.laneOf(s), s, func(ctx context.Context, s *protocols.Session) error {
		err := mp.Initiate(ctx, s)
		if cleanEnd(err) {
			outcome, err = err, nil
		}
		return err
	}, over)
	return s, nil
}

// Open implements [protocols.Opener]. A responder that was given to [Serve] has its stream for good; any other stream is free when
// its last session has ended. A mini-protocol that is neither standard nor was named when the connection was made can still be
// opened as initiator.
func (c *Conn) Open(mp *protocols.MiniProtocol, role mux.Role) (*protocols.Session, error) {
	return c.open(mp, role, nil)
}

func (c *Conn) open(mp *protocols.MiniProtocol, role mux.Role, ended func(error)) (*protocols.Session, error) {
	refuse := func(kind protocols.ErrorKind, cause error) error {
		return &protocols.Error{Kind: kind, Protocol: mp.Spec.Name, Number: mp.Number, Role: role, State: mp.Spec.States[mp.Spec.Initial].Name, Local: true, Err: cause}
	}
	if !c.runs(role) {
		return nil, refuse(protocols.Unsupported, fmt.Errorf("this end runs no %ss here", role))
	}
	if mp.Enabled != nil {
		var enabled bool
		if err := guard(func() { enabled = mp.Enabled(c.neg) }); err != nil {
			err = refuse(protocols.Panicked, err)
			c.mux.Abort(err)
			return nil, err
		}
		if !enabled {
			return nil, refuse(protocols.Unsupported, errors.New("not negotiated"))
		}
	}
	c.mu.Lock()
	l := c.lane(mp.Number, role)
	if l == nil {
		stream := c.mux.Stream(mp.Number, role)
		if stream == nil {
			var err error
			if stream, err = c.register(mp.Number, role, mp.Ingress[role], mp.Egress); err != nil {
				c.mu.Unlock()
				return nil, protocols.Cause(err)
			}
		}
		l = &lane{role: role, stream: stream}
		c.lanes = append(c.lanes, l)
	}
	armed := l.mp != nil
	c.mu.Unlock()
	if armed {
		return nil, refuse(protocols.AlreadyRunning, errors.New("a responder is armed on the stream"))
	}
	if s := c.begin(l, mp, ended); s != nil {
		return s, nil
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	return nil, refuse(protocols.AlreadyRunning, nil)
}

// teardown ends what would outlive the connection: timers and contexts.
func (c *Conn) teardown(err error) {
	defer c.tasks.Done()
	c.cancel(err)
	c.mu.Lock()
	var open []*protocols.Session
	for _, l := range c.lanes {
		if l.session != nil {
			open = append(open, l.session)
		}
	}
	c.mu.Unlock()
	for _, s := range open {
		s.Cancel()
	}
	c.mu.Lock()
	over := c.over
	c.over = nil
	c.mu.Unlock()
	if over != nil {
		over()
	}
}

// whenOver has f called once when the connection has ended; it must not wait for the connection's goroutines.
func (c *Conn) whenOver(f func()) {
	c.mu.Lock()
	if c.ctx.Err() == nil { // the teardown is still to look
		c.over, f = f, nil
	}
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

// Negotiated implements [protocols.Opener].
func (c *Conn) Negotiated() protocols.Negotiated { return c.neg }

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Dialled reports whether this end opened the connection.
func (c *Conn) Dialled() bool { return c.dialled }

// Latency returns what this end's keep-alive has measured (wire §10.3); ok is false before the first answer.
func (c *Conn) Latency() (gsv keepalive.GSV, rtt time.Duration, ok bool) { return c.latency.Read() }

// Counters returns the traffic of each stream.
func (c *Conn) Counters() []mux.StreamCounters { return c.mux.Counters() }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.mux.Done() }

// Err returns why the connection has ended; nil while it has not. The error has a method Fault that says whose fault it was.
func (c *Conn) Err() error { return protocols.Cause(c.mux.Err()) }

// Wait returns when the connection has ended, with its error, or when ctx ends.
func (c *Conn) Wait(ctx context.Context) error { return protocols.Cause(c.mux.Wait(ctx)) }

// Close ends the connection in good order: what was sent leaves first, within 2 s. When it returns, nothing of the connection is
// left running; so it must not be called from a responder of the same connection. [Conn.Abort] may.
func (c *Conn) Close() error {
	err := c.mux.Close()
	c.tasks.Wait()
	return err
}

// Abort ends the connection at once, with cause as its error, and does not wait.
func (c *Conn) Abort(cause error) { c.mux.Abort(cause) }
