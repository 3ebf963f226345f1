package protocols

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
)

// Session is one run of a mini-protocol in one role over one stream. It knows the state and enforces the table: who may send,
// which messages are legal, how large they may be and how long they may take. One goroutine at a time may receive and one may
// send; they may be different ones only while requests are pipelined.
//
// Any violation, the peer's or a timeout, ends the whole connection (wire §2.9).
type Session struct {
	mp     *MiniProtocol
	role   mux.Role
	neg    Negotiated
	stream *mux.Stream
	ours   Agency // the agency that this end has
	onEnd  func(*Session)

	// receiving
	view []byte // what has arrived and was not discarded; the message handed out last comes first
	held int    // bytes of that message; the receiver writes it, under the lock
	last State  // that it was received in
	scan cbor.Scanner

	mu       sync.Mutex
	state    State // after everything sent, and received if nothing is pipelined
	pipeline pipeline
	clock    clock
	ended    bool
	dead     bool       // its connection has ended: no clock, no event
	torn     bool       // part of a message was sent
	event    *eventForm // nil in blocking form

	control atomic.Pointer[controlState]
	until   context.CancelCauseFunc // of Until
}

type controlState struct {
	control Control
	changed chan struct{}
}

// NewSession begins a run of mp over a stream that is registered for it and that no other session uses. onEnd, if not nil, is
// called when the run has ended. Connections call this; users get sessions from an [Opener].
func NewSession(mp *MiniProtocol, stream *mux.Stream, neg Negotiated, onEnd func(*Session)) *Session {
	s := &Session{mp: mp, role: stream.Role(), neg: neg, stream: stream, state: mp.Spec.Initial, onEnd: onEnd, ours: Client}
	if s.role == mux.Responder {
		s.ours = Server
	}
	return s
}

// MiniProtocol returns what is being run.
func (s *Session) MiniProtocol() *MiniProtocol { return s.mp }

// Role returns the role of this end.
func (s *Session) Role() mux.Role { return s.role }

// Negotiated returns the parameters of the connection.
func (s *Session) Negotiated() Negotiated { return s.neg }

// State returns the present state: the one after the last message sent or received.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Outstanding returns how many pipelined requests have not been answered completely.
func (s *Session) Outstanding() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pipeline.n
}

// Done is closed when the connection has ended or the peer has closed its end: who waits for something to tell the peer need not
// wait any longer. [Session.EndError] says which.
func (s *Session) Done() <-chan struct{} { return s.stream.Mux().Gone() }

// EndError returns why Done is closed: the connection's error, or that the peer has closed it.
func (s *Session) EndError() error {
	if err := s.stream.Mux().Err(); err != nil {
		return err
	}
	return &mux.Error{Kind: mux.BearerClosed}
}

// Send sends one whole message and moves to the state that it leads to. It blocks while the stream's egress limit is reached.
func (s *Session) Send(ctx context.Context, msg []byte) error { return s.send(ctx, msg, false, true) }

// Queue is Send that may let the message wait for more: it leaves with the next Send or Flush, when Recv has to wait, or when an
// SDU is full.
func (s *Session) Queue(ctx context.Context, msg []byte) error {
	return s.send(ctx, msg, false, false)
}

// Flush lets everything queued leave.
func (s *Session) Flush() error { return Cause(s.stream.Flush()) }

// Pipeline is Queue for a request whose answer is not awaited: this end keeps the agency, and the answers are received in the
// order of the requests (wire §5.1). A message that is not pipelined can be sent again once all answers have been received.
func (s *Session) Pipeline(ctx context.Context, msg []byte) error {
	return s.send(ctx, msg, true, false)
}

func (s *Session) send(ctx context.Context, msg []byte, pipelined, flush bool) error {
	if err := s.leave(msg, len(msg), pipelined); err != nil {
		return err
	}
	if err := s.stream.Append(ctx, mux.DefaultRank, msg); err != nil {
		return s.tear(err)
	}
	if flush {
		return s.Flush()
	}
	return nil
}

// tear notes that a message has perhaps not been sent as a whole.
func (s *Session) tear(err error) error {
	s.mu.Lock()
	s.torn = true
	s.mu.Unlock()
	return Cause(err)
}

// SendParts is Queue for a message that lies in pieces, such as a head and a large payload, which are not joined first. head must
// hold at least the outer array's head and the tag.
func (s *Session) SendParts(ctx context.Context, head, payload, tail []byte) error {
	if err := s.leave(head, len(head)+len(payload)+len(tail), false); err != nil {
		return err
	}
	for _, p := range [...][]byte{head, payload, tail} {
		if len(p) == 0 {
			continue
		}
		if err := s.stream.Append(ctx, mux.DefaultRank, p); err != nil {
			return s.tear(err)
		}
	}
	return nil
}

// TrySend is Send that never blocks, for the event form: it fails when the stream's egress limit is reached, which only a peer
// that does not read can bring about. The error is of kind [NotReading] then.
func (s *Session) TrySend(msg []byte) error {
	st := s.State()
	if err := s.leave(msg, len(msg), false); err != nil {
		return err
	}
	if err := s.stream.TryAppend(mux.DefaultRank, msg); err != nil {
		var full *mux.Error
		if errors.As(err, &full) && full.Kind == mux.EgressFull {
			err = s.fault(NotReading, st, false, err)
		}
		return s.tear(err)
	}
	return s.Flush()
}

// leave checks a message of size bytes that is to be sent, and begins with msg, against the table and moves on. The byte limit of the
// state is the peer's to enforce; a message that it would have to refuse is not sent.
func (s *Session) leave(msg []byte, size int, pipelined bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.mp.Spec
	switch {
	case s.ended:
		return s.fault(Misuse, s.state, true, errors.New("the session has ended"))
	case s.torn:
		return s.fault(Misuse, s.state, true, errors.New("only a part of the message before was sent"))
	}
	if limit := sp.States[s.state].Bytes; limit > 0 && size > limit {
		e := s.fault(TooLarge, s.state, true, nil)
		e.Limit = limit
		return e
	}
	if sp.States[s.state].Agency != s.ours {
		return s.fault(Misuse, s.state, true, fmt.Errorf("%s has the agency", sp.States[s.state].Agency))
	}
	if s.pipeline.n > 0 && !pipelined {
		return s.fault(Misuse, s.state, true, fmt.Errorf("%d pipelined requests are unanswered", s.pipeline.n))
	}
	t, err := sp.Step(s.state, msg)
	if err != nil {
		return s.fault(Misuse, s.state, true, err)
	}
	if pipelined {
		s.pipeline.push(t.To, s.state)
		if s.pipeline.n == 1 {
			s.startClock(t.To)
		}
		return nil
	}
	s.state = t.To
	if a := sp.States[t.To].Agency; a != s.ours && a != Nobody {
		s.startClock(t.To)
	}
	return nil
}

// Recv returns the next message, once it is whole. Messages queued leave before it waits. The message's bytes are valid until
// the next call of Recv.
func (s *Session) Recv(ctx context.Context) (Message, error) {
	for {
		m, ok, err := s.TryRecv()
		if ok || err != nil {
			return m, err
		}
		if err := s.stream.Flush(); err != nil {
			return Message{}, Cause(err)
		}
		s.waiting(true)
		view, err := s.stream.Wait(ctx, len(s.view))
		s.waiting(false)
		if err != nil {
			return Message{}, Cause(err)
		}
		s.view = view
	}
}

// TryRecv is Recv that does not wait: ok is false when no whole message has been taken from the stream so far. It looks only at
// bytes that the last wait returned, so a client that uses it to drain its pipeline goes back to Recv afterwards.
func (s *Session) TryRecv() (m Message, ok bool, err error) {
	st, err := s.receiving()
	if err != nil {
		return Message{}, false, err
	}
	if n := s.held; n > 0 {
		s.view = s.view[n:]
		s.release(n)
	}
	n, done, err := s.scan.Next(s.view)
	if err != nil {
		return Message{}, false, s.abort(s.fault(Malformed, st, false, err))
	}
	if limit := s.limit(st); done && n > limit || !done && len(s.view) > limit {
		e := s.fault(TooLarge, st, false, nil)
		e.Limit = limit
		return Message{}, false, s.abort(e)
	}
	if !done {
		return Message{}, false, nil
	}
	return s.arrive(st, s.view[:n:n])
}

// arrive checks a message that has been received against the table and moves on.
func (s *Session) arrive(st State, raw []byte) (Message, bool, error) {
	t, err := s.mp.Spec.Step(st, raw)
	if err != nil {
		return Message{}, false, s.abort(s.fault(Unexpected, st, false, err))
	}
	s.last = st
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = len(raw)
	if s.pipeline.n > 0 {
		s.pipeline.advance(t.To)
	} else {
		s.state = t.To
	}
	// The next wait begins now if an answer is due, whether or not anybody collects it. If there are bytes behind this message,
	// the next one lies there already, or begins to be waited for when it turns out to be a part only.
	s.clock.running = false
	if s.pipeline.n > 0 && len(s.view) == len(raw) {
		s.startClock(s.pipeline.state())
	}
	return Message{Tag: t.Tag, From: st, To: t.To, Raw: raw}, true, nil
}

// receiving returns the state that the next message belongs to.
func (s *Session) receiving() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipeline.n > 0 {
		return s.pipeline.state(), nil
	}
	if a := s.mp.Spec.States[s.state].Agency; a == s.ours || a == Nobody || s.ended {
		return 0, s.fault(Misuse, s.state, true, errors.New("nothing to receive: the peer does not have the agency"))
	}
	return s.state, nil
}

// release gives the bytes of the message handed out last back to the stream. The count goes first: for a moment too many bytes
// seem to be unread, which at worst lets the clock run on.
func (s *Session) release(n int) {
	s.mu.Lock()
	s.held = 0
	s.mu.Unlock()
	s.stream.Discard(n)
}

func (s *Session) limit(st State) int {
	if n := s.mp.Spec.States[st].Bytes; n > 0 {
		return n
	}
	if n := s.mp.Ingress[s.role]; n > 0 {
		return n
	}
	return 128 << 10
}

// Run calls f, one of the mini-protocol's functions in blocking form, and ends the session; if f fails, it ends the connection too
// (wire §2.9). A panic in f is returned as an error of kind [Panicked], an error of the host's own as one of kind [Failed]. When
// ctx ends f between two exchanges, the stream is given back and the connection goes on.
func (s *Session) Run(ctx context.Context, f func(context.Context, *Session) error) error {
	err := s.protect(func() error { return f(ctx, s) })
	switch {
	case err == nil:
	case ctx.Err() != nil && s.untouched():
	default:
		err = s.abort(s.blame(err))
	}
	s.End()
	return err
}

// untouched says that another run could take over: nothing is outstanding and nothing half done.
func (s *Session) untouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.mp.Spec.States[s.state].Agency == Nobody || s.state == s.mp.Spec.Initial
	return end && s.pipeline.n == 0 && !s.torn
}

// blame gives an error of the host the name of the mini-protocol; errors of this package and of the connection have names.
func (s *Session) blame(err error) error {
	var e *Error
	var m *mux.Error
	if errors.As(err, &e) || errors.As(err, &m) {
		return err
	}
	return s.fault(Failed, s.State(), true, err)
}

// Fail reports that the content of the message received last breaks a rule of the mini-protocol, and ends the connection. It
// returns the error, an [*Error] of kind [Violation] that wraps cause.
func (s *Session) Fail(cause error) error {
	return s.abort(s.fault(Violation, s.last, false, cause))
}

// Abort ends the connection because of err, whatever it is, and returns it.
func (s *Session) Abort(err error) error { return s.abort(err) }

// abort ends the connection with err, unless err says that this end is closing it already: what was sent before still leaves then.
func (s *Session) abort(err error) error {
	if !errors.Is(err, mux.ErrStopped) {
		s.stream.Mux().Abort(err)
	}
	return err
}

func (s *Session) fault(kind ErrorKind, st State, local bool, cause error) *Error {
	return &Error{
		Kind: kind, Protocol: s.mp.Spec.Name, Number: s.mp.Number, Role: s.role,
		State: s.mp.Spec.States[st].Name, Local: local, Err: cause,
	}
}

// Finished reports whether the mini-protocol has come to a final state.
func (s *Session) Finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mp.Spec.States[s.state].Agency == Nobody
}

// End gives the stream back: bytes after the last message stay for the next run. A session that ends in the middle, neither
// finished nor untouched, leaves a stream that no run can use, so the connection is ended too. End is idempotent.
func (s *Session) End() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.clock.stop()
	st := s.state
	s.mu.Unlock()
	if n := s.held; n > 0 {
		s.release(n)
	}
	s.view = nil
	err := s.stream.Flush() // what is queued; it fails when the connection has ended or is being closed
	if err == nil && !s.untouched() {
		s.abort(s.fault(Misuse, st, true, errors.New("the run was given up in the middle")))
	}
	if s.onEnd != nil {
		s.onEnd(s)
	}
}

// Cancel ends the run from outside, when its connection has ended: timers are stopped and no event is delivered any more. In
// blocking form the goroutine that runs it sees the connection's error.
func (s *Session) Cancel() {
	s.mu.Lock()
	s.dead = true
	s.clock.stop()
	e := s.event
	s.mu.Unlock()
	if e == nil {
		return
	}
	e.mu.Lock()
	e.over = true
	if e.timer != nil {
		e.timer.Stop()
	}
	e.mu.Unlock()
	s.End()
}

// Control returns what the owner of the connection wants of this run, and a channel that is closed when that changes.
func (s *Session) Control() (Control, <-chan struct{}) {
	c := s.controlState()
	return c.control, c.changed
}

// Wanted is [Session.Control] without the channel, which costs something to have; in event form [OnControl] tells of changes.
func (s *Session) Wanted() Control {
	if c := s.control.Load(); c != nil {
		return c.control
	}
	return Continue
}

func (s *Session) controlState() *controlState {
	for {
		if c := s.control.Load(); c != nil {
			return c
		}
		s.control.CompareAndSwap(nil, &controlState{changed: make(chan struct{})})
	}
}

// ErrTerminated is the cause with which a context of [Session.Until] ends when the owner of the connection wants the run to end.
var ErrTerminated = errors.New("the run is to come to an end")

// Until returns a context that ends with ctx, or when Control becomes [Terminate]. A session has one such context at a time.
func (s *Session) Until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	s.until = cancel
	s.mu.Unlock()
	s.terminate() // if it is so already
	return ctx, func() { cancel(nil) }
}

func (s *Session) terminate() {
	if control, _ := s.Control(); control != Terminate {
		return
	}
	s.mu.Lock()
	cancel := s.until
	s.mu.Unlock()
	if cancel != nil {
		cancel(ErrTerminated)
	}
}

// SetControl changes what Control returns; the owner of the connection calls it.
func (s *Session) SetControl(c Control) {
	for {
		old := s.controlState()
		if old.control == c {
			return
		}
		if s.control.CompareAndSwap(old, &controlState{control: c, changed: make(chan struct{})}) {
			close(old.changed)
			s.terminate()
			s.stepControl()
			return
		}
	}
}

// clock is the time limit of the message that is awaited. The timer is set seldom and late: when it fires early, it is set
// again for the rest.
type clock struct {
	running  bool
	blocked  bool // somebody waits in Recv, or the event form, which always does
	deadline time.Time
	limit    time.Duration
	timer    *time.Timer
	firesAt  time.Time // zero: not set
}

func (c *clock) stop() {
	c.running = false
	if c.timer != nil {
		c.timer.Stop()
	}
	c.firesAt = time.Time{}
}

// startClock begins the wait for a message in st. Called with the lock held.
func (s *Session) startClock(st State) {
	limit := s.mp.Spec.States[st].Timeout
	if limit.Max == 0 || s.dead || s.ended {
		s.clock.running = false
		return
	}
	d := limit.Min
	if limit.Max > limit.Min {
		d += rand.N(limit.Max - limit.Min + 1)
	}
	c := &s.clock
	now := time.Now()
	c.running, c.limit, c.deadline = true, d, now.Add(d)
	if !c.firesAt.IsZero() && !c.firesAt.After(c.deadline) {
		return
	}
	c.firesAt = c.deadline
	if c.timer == nil {
		c.timer = time.AfterFunc(d, s.clockFired)
	} else {
		c.timer.Reset(d)
	}
}

// waiting notes that Recv begins or ends to wait; a wait that no request has begun begins now.
func (s *Session) waiting(begin bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.blocked = begin
	if begin && !s.clock.running {
		st := s.state
		if s.pipeline.n > 0 {
			st = s.pipeline.state()
		}
		s.startClock(st)
	}
}

// clockFired runs on the timer.
func (s *Session) clockFired() {
	s.mu.Lock()
	c := &s.clock
	c.firesAt = time.Time{}
	st := s.state
	if s.pipeline.n > 0 {
		st = s.pipeline.state()
	}
	a := s.mp.Spec.States[st].Agency
	if s.dead || s.ended || a == s.ours || a == Nobody {
		s.mu.Unlock()
		return
	}
	switch left := time.Until(c.deadline); {
	case c.running && left > 0:
		c.firesAt = c.deadline
		c.timer.Reset(left)
	case !c.running, !c.blocked && s.stream.Buffered() > s.held:
		// An answer lies there and nobody collects it: the peer is not late.
		s.startClock(st)
	default:
		e := s.fault(TimedOut, st, false, nil)
		e.After = c.limit
		s.mu.Unlock()
		s.abort(e)
		return
	}
	s.mu.Unlock()
}
