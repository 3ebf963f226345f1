package protocols

import (
	"runtime/debug"
	"sync"
	"time"
)

// eventForm is what a session in event form has beside: events one at a time, without a goroutine that waits for them.
type eventForm struct {
	mu     sync.Mutex
	over   bool
	timer  *time.Timer
	wakeAt time.Time // zero: no event is asked for
}

// RunEvents starts the session in event form: its mini-protocol's Step is called for each event until it reaches a final state or
// fails, which ends the connection. It returns at once. onEnd of the session is called when the run is over in good order. A session
// that has been cancelled does not start.
func (s *Session) RunEvents() {
	s.mu.Lock()
	dead := s.dead || s.event != nil
	if !dead {
		s.event = &eventForm{}
		s.clock.blocked = true
	}
	s.mu.Unlock()
	if dead {
		return
	}
	s.stream.OnData(s.stepMessages)
	s.step(Event{Kind: OnStart})
	s.stepMessages() // what had arrived before
}

// Wake asks for an [OnTimer] event after d; a later call replaces an earlier one. Only a [StepFunc] may call it.
func (s *Session) Wake(d time.Duration) {
	e := s.event
	e.wakeAt = time.Now().Add(d)
	if e.timer == nil {
		e.timer = time.AfterFunc(d, func() { s.step(Event{Kind: OnTimer}) })
	} else {
		e.timer.Reset(d)
	}
}

func (s *Session) stepControl() {
	s.mu.Lock()
	running := s.event != nil
	s.mu.Unlock()
	if running {
		s.step(Event{Kind: OnControl})
	}
}

// step delivers an event that is no message.
func (s *Session) step(ev Event) {
	e := s.event
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	if ev.Kind == OnTimer {
		if e.wakeAt.IsZero() || time.Now().Before(e.wakeAt) { // it was replaced when it had fired
			return
		}
		e.wakeAt = time.Time{}
	}
	s.dispatch(ev)
	s.drain()
}

// dispatch calls Step and sees what has become of the session. Called with the event lock held.
func (s *Session) dispatch(ev Event) {
	ev.At = time.Now()
	err := s.protect(func() error { return s.mp.Step(s, ev) })
	if err != nil {
		s.abort(s.blame(err))
	}
	if err != nil || s.Finished() {
		s.event.over = true
		s.stream.OnData(nil)
		if s.event.timer != nil {
			s.event.timer.Stop()
		}
		if err == nil {
			s.End()
		}
		return
	}
	s.awaitNext()
}

// awaitNext starts the clock of the next message unless it runs.
func (s *Session) awaitNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.mp.Spec.States[s.state].Agency
	if !s.clock.running && a != s.ours && a != Nobody {
		s.startClock(s.state)
	}
}

// stepMessages delivers the messages that have arrived. It runs on the reader.
func (s *Session) stepMessages() {
	s.event.mu.Lock()
	defer s.event.mu.Unlock()
	s.drain()
}

// drain delivers messages as long as whole ones are there and the peer has the agency; bytes that come while this end has it wait
// for the peer's next turn. Called with the event lock held.
func (s *Session) drain() {
	for e := s.event; !e.over; {
		if a := s.mp.Spec.States[s.State()].Agency; a == s.ours || a == Nobody {
			return
		}
		s.view = s.stream.Unread()
		m, ok, err := s.TryRecv()
		if err != nil {
			e.over = true
			return
		}
		if !ok {
			return
		}
		s.dispatch(Event{Kind: OnMessage, Message: m})
		if n := s.held; n > 0 && !e.over {
			s.release(n)
		}
		s.view = nil
	}
}

// protect runs a callback of the host: a panic in it costs one connection, not the process.
func (s *Session) protect(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.fault(Panicked, s.State(), true, &PanicError{Value: r, Stack: debug.Stack()})
		}
	}()
	return f()
}
