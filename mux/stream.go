package mux

import (
	"context"
	"sync/atomic"
)

// StreamConfig describes one stream.
type StreamConfig struct {
	// Number is the mini-protocol's number, 0 to 32,767.
	Number uint16
	// Role is the part that this end plays in it.
	Role Role
	// IngressLimit is how many unread bytes may wait for this end; default 131,072. The peer's next byte ends the connection.
	IngressLimit int
	// EgressLimit overrides [Config.EgressLimit].
	EgressLimit int
}

// Start says when an armed stream is started (wire §2.8).
type Start uint8

// The start strategies.
const (
	// Eager starts at once.
	Eager Start = iota
	// OnDemand starts when the first bytes arrive for the stream.
	OnDemand
	// OnDemandAny starts when bytes arrive for any armed stream that is OnDemand or OnDemandAny.
	OnDemandAny
)

// Stream is one end of one byte stream. At most one goroutine may send on it and at most one may receive.
type Stream struct {
	m        *Mux
	number   uint16
	role     Role
	armStart Start       // owned by the multiplexer's lock
	armed    atomic.Bool // arm is set

	ingressLimit, egressLimit int

	// Made by the first arrival or wait, and by the first send: most streams of most connections never see either.
	in  atomic.Pointer[ingress]
	out atomic.Pointer[egress]

	arm    func() // owned by the multiplexer's lock
	onData atomic.Pointer[func()]
}

// receiving returns the stream's receiving half.
func (s *Stream) receiving() *ingress {
	if in := s.in.Load(); in != nil {
		return in
	}
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if in := s.in.Load(); in != nil {
		return in
	}
	in := &ingress{}
	switch { // what has ended the others already
	case m.err != nil:
		in.err, in.final = m.err, true
	case m.unreadable != nil:
		in.err = m.unreadable
	}
	s.in.Store(in)
	return in
}

// sending returns the stream's sending half.
func (s *Stream) sending() *egress {
	if e := s.out.Load(); e != nil {
		return e
	}
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := s.out.Load(); e != nil {
		return e
	}
	e := &egress{limit: s.egressLimit, open: -1}
	switch { // what has ended the others already
	case m.err != nil:
		e.err = m.err
	case m.unsendable != nil:
		e.err = m.unsendable
	case m.stopping:
		e.err = &Error{Kind: Stopped}
	}
	s.out.Store(e)
	return e
}

// Number returns the mini-protocol's number.
func (s *Stream) Number() uint16 { return s.number }

// Role returns the part that this end plays.
func (s *Stream) Role() Role { return s.role }

// Mux returns the multiplexer that the stream belongs to.
func (s *Stream) Mux() *Mux { return s.m }

// Send appends p to the stream and sees to it that it leaves. It blocks while the stream's egress limit is reached, and
// returns as soon as all of p is buffered; p is free for reuse then. An error other than the context's is the connection's. When
// the context ends first, part of p may have been taken: the stream is of no more use to a peer that expects whole messages.
func (s *Stream) Send(ctx context.Context, p []byte) error {
	if err := s.Append(ctx, DefaultRank, p); err != nil {
		return err
	}
	return s.Flush()
}

// Append is [Stream.Send] with a rank, and without a promise when p leaves: bytes less than a whole SDU may wait for more
// until [Stream.Flush] or until the limit is reached. Ranks above 7 count as 7.
func (s *Stream) Append(ctx context.Context, rank uint8, p []byte) error {
	return s.append(ctx, rank, p, 0, false)
}

// Hold is [Stream.Append] of a message in two parts that lets nothing leave before [Stream.Flush], unless the limit is reached: what
// is sent piecemeal shares SDUs and writes.
func (s *Stream) Hold(ctx context.Context, rank uint8, head, body []byte) error {
	if err := s.append(ctx, rank, head, len(body), true); err != nil {
		return err
	}
	return s.append(ctx, rank, body, 0, true)
}

func (s *Stream) append(ctx context.Context, rank uint8, p []byte, more int, held bool) error {
	for {
		n, err := s.sending().append(s, rank, p, more, false, held)
		if err != nil {
			return err
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if err := s.sending().waitRoom(ctx, s); err != nil {
			return err
		}
	}
}

// TryAppend is Append that takes p whole or not at all and never blocks: it fails with an [*Error] of kind [EgressFull] while
// the stream's egress limit is reached. The stream may hold one message beyond its limit.
func (s *Stream) TryAppend(rank uint8, p []byte) error {
	_, err := s.sending().append(s, rank, p, 0, true, false)
	return err
}

// Flush lets everything appended so far leave. It does not block: at most it makes the one system call that a bearer takes at once.
func (s *Stream) Flush() error {
	if e := s.out.Load(); e != nil {
		return e.flush(s)
	}
	if s.m.failed.Load() {
		return s.m.Err()
	}
	return nil
}

// WaitCut returns when everything appended has been cut into SDUs: at most one batch of them has not reached the bearer.
func (s *Stream) WaitCut(ctx context.Context) error {
	if err := s.Flush(); err != nil {
		return err
	}
	return s.sending().waitEmpty(ctx, s)
}

// Uncut returns how many bytes that were appended have not been cut into SDUs.
func (s *Stream) Uncut() int {
	if e := s.out.Load(); e != nil {
		return e.uncut()
	}
	return 0
}

// Wait returns all bytes that have arrived and were not discarded, once they are more than seen. The slice stays valid until
// Discard has covered it or until the next Unread, or the next Wait that does not fail. After the peer has closed its end, what
// arrived before can still be read; then, and at once after any other end, the error is the connection's.
func (s *Stream) Wait(ctx context.Context, seen int) ([]byte, error) {
	return s.receiving().wait(ctx, s, seen)
}

// Unread is [Stream.Wait] that does not block: it returns what there is, perhaps nothing.
func (s *Stream) Unread() []byte {
	if in := s.in.Load(); in != nil {
		return in.unread()
	}
	return nil
}

// Buffered returns how many bytes have arrived that were not discarded. Unlike Unread it does not touch what Wait returned, so
// anybody may call it.
func (s *Stream) Buffered() int {
	if in := s.in.Load(); in != nil {
		return in.size()
	}
	return 0
}

// Discard drops the first n bytes of those that Wait or Unread returned last. It panics when there are fewer.
func (s *Stream) Discard(n int) { s.receiving().discard(s, n) }

// Arm calls start, once, when the strategy says so: at once if it is Eager or if bytes that arrived before are waiting, else
// on the reader's goroutine, where it must not block. Arming an armed stream replaces what was armed; nil disarms.
func (s *Stream) Arm(strategy Start, start func()) {
	if start != nil && strategy == Eager {
		s.Arm(strategy, nil)
		start()
		return
	}
	s.m.mu.Lock()
	s.arm, s.armStart = start, strategy
	s.armed.Store(start != nil)
	s.m.mu.Unlock()
	if start != nil && s.Buffered() > 0 { // arrived before, or in between
		s.m.startArmed(s)
	}
}

// OnData makes f run after every arrival, on the reader's goroutine, where it must not block; nil ends that. It is how a
// mini-protocol lives without a goroutine of its own. It is not called for what has already arrived.
func (s *Stream) OnData(f func()) {
	if f == nil {
		s.onData.Store(nil)
		return
	}
	s.onData.Store(&f)
}

// Counters returns the traffic of this stream so far.
func (s *Stream) Counters() StreamCounters {
	c := StreamCounters{Number: s.number, Role: s.role}
	if in := s.in.Load(); in != nil {
		c.BytesIn, c.SDUsIn = in.bytesIn.Load(), in.sdusIn.Load()
	}
	if e := s.out.Load(); e != nil {
		c.BytesOut, c.SDUsOut = e.bytesOut.Load(), e.sdusOut.Load()
	}
	return c
}

// StreamCounters is the traffic of one stream: payload bytes and SDUs.
type StreamCounters struct {
	Number                             uint16
	Role                               Role
	BytesIn, BytesOut, SDUsIn, SDUsOut uint64
}
