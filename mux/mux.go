package mux

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Mux is one end of a multiplexed bearer. It owns the bearer: nobody else reads, writes or closes it.
type Mux struct {
	conn  net.Conn
	cfg   Config
	epoch time.Time

	egressBlock int

	streams atomic.Pointer[[]*Stream] // copied on write; read by the reader for every SDU
	unread  atomic.Int64              // unread bytes of all streams
	serial  uint64                    // order of arrival in the budget

	discarding atomic.Bool // this end has closed: what still arrives is thrown away
	failed     atomic.Bool // err is set: the unread bytes are about to go

	mu         sync.Mutex
	sched      schedule
	writer     func()        // write, bound once: to start it allocates nothing
	direct     *pollWriter   // nil: nobody but the writer writes to the bearer
	wroteAt    time.Duration // when the last batch was begun, since epoch
	unwritten  *batch        // what is left of a batch that the bearer did not take at once; for the writer
	flushing   bool          // somebody writes: the writer, or who flushes
	drained    chan struct{} // closed by the writer when nothing is left; made by Close
	started    bool
	stopping   bool          // no new streams, arms or sends
	unsendable error         // set while the peer can still be read, but takes no more
	unreadable error         // set when the peer has closed its end
	lingering  chan struct{} // made when the peer has closed its end: what it sent may still be read and answered
	closing    chan struct{} // closed when Close begins; made for who waits for that
	err        error

	done    chan struct{} // closed once err is set and the bearer closed
	gone    chan struct{} // closed when the peer has closed its end, and when the connection has failed
	goneBy  sync.Once
	eof     atomic.Bool // the peer has closed its end; set before gone is closed
	workers sync.WaitGroup

	bytesIn, bytesOut atomic.Uint64
}

// New returns a multiplexer over conn, whose handshake has been done. It moves no byte before [Mux.Start].
func New(conn net.Conn, cfg Config) *Mux {
	m := &Mux{
		conn: conn, cfg: cfg.withDefaults(), epoch: processStart, sched: &rankedRoundRobin{},
		done: make(chan struct{}), gone: make(chan struct{}),
	}
	m.writer = m.write
	if m.cfg.EgressInterval <= 0 {
		m.direct = newPollWriter(conn)
	}
	m.egressBlock = max(1<<16, HeaderSize+m.cfg.SDUSize)
	m.streams.Store(&[]*Stream{})
	setNotSentLowat(conn, m.cfg.NotSentLowat)
	setReadBuffer(conn, m.cfg.ReadBuffer)
	m.cfg.Budget.add(m)
	return m
}

// Register adds a stream. Bytes for numbers and roles that nobody registered end the connection, so whatever the peer may
// use at once must be registered before [Mux.Start].
func (m *Mux) Register(c StreamConfig) (*Stream, error) {
	if c.IngressLimit <= 0 {
		c.IngressLimit = 128 << 10
	}
	if c.EgressLimit <= 0 {
		c.EgressLimit = m.cfg.EgressLimit
	}
	s := &Stream{m: m, number: c.Number & 0x7fff, role: c.Role & 1, ingressLimit: c.IngressLimit, egressLimit: c.EgressLimit}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	if m.stopping {
		return nil, &Error{Kind: Stopped}
	}
	if m.lookup(s.number, s.role) != nil {
		return nil, &Error{Kind: AlreadyRegistered, Protocol: s.number, Role: s.role, Local: true}
	}
	all := append(slices.Clone(*m.streams.Load()), s)
	m.streams.Store(&all)
	return s, nil
}

// Stream returns the registered stream, or nil.
func (m *Mux) Stream(number uint16, role Role) *Stream { return m.lookup(number, role) }

func (m *Mux) lookup(number uint16, role Role) *Stream {
	for _, s := range *m.streams.Load() {
		if s.number == number && s.role == role {
			return s
		}
	}
	return nil
}

// Start begins to read, and to write what has been sent before. It does nothing the second time.
func (m *Mux) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started || m.err != nil {
		return
	}
	m.started = true
	m.workers.Add(1)
	go m.read()
	if !m.sched.empty() {
		m.startWriter()
	}
}

// Done is closed when the connection has ended; all goroutines but those that Close waits for are gone soon after.
func (m *Mux) Done() <-chan struct{} { return m.done }

// Gone is closed when the peer has closed its end of the bearer, or the connection has ended: whoever has an answer to give, but
// waits for something else first, need not wait any longer.
func (m *Mux) Gone() <-chan struct{} { return m.gone }

// closes returns a channel that is closed when Close begins.
func (m *Mux) closes() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing == nil {
		m.closing = make(chan struct{})
		if m.stopping {
			close(m.closing)
		}
	}
	return m.closing
}

func (m *Mux) peerGone() { m.goneBy.Do(func() { close(m.gone) }) }

// Err returns why the connection has ended, nil while it has not.
func (m *Mux) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Close ends the connection in good order: nothing more is taken, what was sent leaves, the bearer is closed for writing, and
// when the peer has closed it too, or after [Config.DrainTimeout] in all, it is closed and every stream fails with [Stopped].
// It returns when no goroutine of the multiplexer is left, always nil. A multiplexer that was never started sends nothing. It
// must not be called from Arm or OnData callbacks; [Mux.Abort] may.
func (m *Mux) Close() error {
	m.mu.Lock()
	if m.stopping || m.err != nil {
		m.mu.Unlock()
		<-m.done
		m.workers.Wait()
		return nil
	}
	m.stopping = true
	if m.closing != nil {
		close(m.closing)
	}
	m.mu.Unlock()
	for _, s := range *m.streams.Load() {
		if e := s.out.Load(); e != nil {
			e.stop(s)
		}
	}
	m.mu.Lock()
	if m.flushing && m.drained == nil {
		m.drained = make(chan struct{})
	}
	drained, started := m.drained, m.started
	m.mu.Unlock()
	limit := time.NewTimer(m.cfg.DrainTimeout)
	defer limit.Stop()
	if drained != nil {
		select {
		case <-drained:
		case <-m.done:
		case <-limit.C:
		}
	}
	m.discarding.Store(true)
	linger := 0
	if half, ok := m.conn.(interface{ CloseWrite() error }); ok && started && half.CloseWrite() == nil {
		select {
		case <-m.gone:
			if m.eof.Load() {
				linger = -1 // the peer has had the first or the last word, and may still be reading ours
			}
		case <-limit.C:
		}
	}
	if m.release(&Error{Kind: Stopped}) {
		m.shut(linger)
	}
	<-m.done // somebody else may be shutting the bearer
	m.workers.Wait()
	return nil
}

// Abort ends the connection at once, with a reset where the bearer can do that. Streams fail with an error that wraps cause. It
// does not wait: [Mux.Close] afterwards does.
func (m *Mux) Abort(cause error) {
	var e *Error
	if !errors.As(cause, &e) {
		cause = &Error{Kind: Stopped, Err: cause}
	}
	m.fail(cause)
}

// fail ends the connection with its first error.
func (m *Mux) fail(err error) {
	if m.release(err) {
		m.shut(0)
	}
}

// release makes every stream fail and gives back what the connection holds. It blocks on nothing and reports whether this was
// the first error, whose caller then shuts the bearer.
func (m *Mux) release(err error) bool {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return false
	}
	m.err = err
	m.stopping = true
	m.failed.Store(true)
	m.peerGone()
	all := *m.streams.Load()
	m.mu.Unlock()
	for _, s := range all {
		s.Arm(OnDemand, nil)
		if e := s.out.Load(); e != nil {
			e.end(err)
		}
		if in := s.in.Load(); in != nil {
			if n := in.end(err, true); n > 0 {
				m.account(-n)
			}
		}
	}
	m.cfg.Budget.remove(m)
	return true
}

// shut closes the bearer. Linger 0 makes it a reset: no TIME_WAIT here, no bytes that nobody wants there; -1 lets the kernel
// deliver what it has taken.
func (m *Mux) shut(linger int) {
	if l, ok := socketOf(m.conn).(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(linger)
	}
	_ = m.conn.Close() // nothing can be done about its error, and nothing depends on it
	close(m.done)
	if m.cfg.Ended != nil {
		m.cfg.Ended(m.Err())
	}
}

// evict ends the connection on behalf of another one, which must not wait for this one's bearer.
func (m *Mux) evict(err error) {
	if !m.release(err) {
		return
	}
	m.workers.Add(1) // nobody waits for workers before done is closed
	go func() {
		defer m.workers.Done()
		m.shut(0)
	}()
}

// Wait returns when the connection has ended and none of its goroutines is left: the error that ended it, or ctx's.
func (m *Mux) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		m.workers.Wait()
		return m.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Counters returns the traffic of all streams, in order of registration.
func (m *Mux) Counters() []StreamCounters {
	all := *m.streams.Load()
	out := make([]StreamCounters, len(all))
	for i, s := range all {
		out[i] = s.Counters()
	}
	return out
}

// Traffic returns how many bytes have been read from the bearer and written to it, headers included.
func (m *Mux) Traffic() (in, out uint64) { return m.bytesIn.Load(), m.bytesOut.Load() }

// Unread returns how many bytes have arrived that no stream has discarded.
func (m *Mux) Unread() int { return int(m.unread.Load()) }

func (m *Mux) account(n int) {
	m.unread.Add(int64(n))
	m.cfg.Budget.account(n)
}

// startArmed starts what the arrival of bytes for s starts (wire §2.8): s itself, and every armed OnDemandAny stream if s is
// armed.
func (m *Mux) startArmed(s *Stream) {
	// The bytes may have gone to a run that has ended and armed the stream again since: they start nothing twice.
	if !s.armed.Load() || s.Buffered() == 0 {
		return
	}
	var starts []func()
	m.mu.Lock()
	if s.arm != nil {
		for _, o := range *m.streams.Load() {
			if o.arm != nil && (o == s || o.armStart == OnDemandAny) {
				starts = append(starts, o.arm)
				o.arm = nil
				o.armed.Store(false)
			}
		}
	}
	m.mu.Unlock()
	for _, start := range starts {
		start()
	}
}
