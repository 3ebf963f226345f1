package protocols_test

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// eventful is the toy in event form: it answers every request, or asks, and records what it is told.
func eventful(step protocols.StepFunc) *protocols.MiniProtocol {
	return &protocols.MiniProtocol{Spec: toy, Number: toyNumber, Step: step}
}

func TestEventsOneAtATime(t *testing.T) {
	var kinds []protocols.EventKind
	mp := eventful(func(s *protocols.Session, ev protocols.Event) error {
		kinds = append(kinds, ev.Kind)
		if ev.Kind == protocols.OnMessage && ev.Message.Tag == 0 {
			return s.TrySend(answer(10))
		}
		return nil
	})
	inBubble(t, mux.Responder, mp, func(r *rig) {
		r.say(append(ask(10), ask(20)[:5]...)) // before the run begins
		synctest.Wait()
		r.session.RunEvents()
		require.Equal(r, answer(10), r.hear())
		r.say(append(append(ask(20)[5:], ask(30)...), bye...))
		require.Equal(r, append(answer(10), answer(10)...), r.hearBytes(20))
		synctest.Wait()
		require.Equal(r, []protocols.EventKind{protocols.OnStart, protocols.OnMessage, protocols.OnMessage, protocols.OnMessage, protocols.OnMessage}, kinds)
		require.Equal(r, 1, r.ended)
		require.False(r, protocols.ClockSet(r.session))
	})
}

func TestEventTimers(t *testing.T) {
	var at []time.Duration
	var r *rig
	mp := eventful(func(s *protocols.Session, ev protocols.Event) error {
		switch ev.Kind {
		case protocols.OnStart:
			s.Wake(time.Hour)
			s.Wake(3 * time.Second) // the later call counts
		case protocols.OnTimer:
			at = append(at, r.now())
			if len(at) < 3 {
				s.Wake(5 * time.Second)
				return nil
			}
			return s.TrySend(bye)
		}
		return nil
	})
	inBubble(t, mux.Initiator, mp, func(rr *rig) {
		r = rr
		r.session.RunEvents()
		require.Equal(r, bye, r.hear())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Equal(r, []time.Duration{3 * time.Second, 8 * time.Second, 13 * time.Second}, at)
		require.Equal(r, 1, r.ended)
	})
}

// A timer that has fired, and waits for the step under way, is replaced by that step like any other.
func TestEventTimerReplacedWhileItFires(t *testing.T) { // in real time: a bubble's clock stands still while a mutex is waited for
	var early atomic.Int32
	stepped := make(chan struct{})
	mp := eventful(func(s *protocols.Session, ev protocols.Event) error {
		switch ev.Kind {
		case protocols.OnStart:
			s.Wake(time.Millisecond)
			for began := time.Now(); time.Since(began) < 5*time.Millisecond; runtime.Gosched() {
			}
			s.Wake(time.Hour)
			close(stepped)
		case protocols.OnTimer:
			early.Add(1)
		case protocols.OnMessage:
			return s.TrySend(answer(10))
		}
		return nil
	})
	ours, peer := memPair(t)
	m := mux.New(ours, mux.Config{})
	stream, err := m.Register(mux.StreamConfig{Number: toyNumber, Role: mux.Responder})
	require.NoError(t, err)
	m.Start()
	s := protocols.NewSession(mp, stream, protocols.Negotiated{}, nil)
	s.RunEvents()
	<-stepped
	for range 20 { // after that the timer's goroutine has had its turn
		require.NoError(t, mux.WriteSDU(peer, mux.Header{Number: toyNumber}, ask(10)))
		_, _, err := mux.ReadSDU(peer, mux.MaxPayload)
		require.NoError(t, err)
	}
	require.Zero(t, early.Load())
	m.Abort(nil)
	s.Cancel()
	peer.Close()
	m.Close()
}

func TestEventTimeLimits(t *testing.T) {
	quiet := eventful(func(*protocols.Session, protocols.Event) error { return nil })
	inBubble(t, mux.Responder, quiet, func(r *rig) { // the first state
		r.session.RunEvents()
		r.broken(protocols.TimedOut, "Idle", false)
		require.Equal(r, 10*time.Second, r.now())
	})
	answers := eventful(func(s *protocols.Session, ev protocols.Event) error {
		if ev.Kind == protocols.OnMessage {
			return s.TrySend(answer(10))
		}
		return nil
	})
	inBubble(t, mux.Responder, answers, func(r *rig) {
		r.session.RunEvents()
		for range 5 {
			time.Sleep(9 * time.Second)
			r.say(ask(10))
			r.hear()
		}
		r.say(ask(10)[:5])
		r.broken(protocols.TimedOut, "Idle", false)
		require.Equal(r, 55*time.Second, r.now())
	})
	asks := eventful(func(s *protocols.Session, ev protocols.Event) error {
		if ev.Kind == protocols.OnStart {
			return s.TrySend(ask(10))
		}
		return nil
	})
	inBubble(t, mux.Initiator, asks, func(r *rig) {
		r.session.RunEvents()
		r.say(hold)
		r.broken(protocols.TimedOut, "Patient", false)
		require.GreaterOrEqual(r, r.now(), 30*time.Second)
		require.LessOrEqual(r, r.now(), 40*time.Second)
	})
}

func TestEventFailures(t *testing.T) {
	inner := errors.New("no")
	for _, c := range []struct {
		name string
		step protocols.StepFunc
		say  []byte
		kind protocols.ErrorKind
		at   string
		us   bool
	}{
		{"rule", func(s *protocols.Session, ev protocols.Event) error { return s.Fail(inner) }, ask(10), protocols.Violation, "Idle", false},
		{"error of the host", func(s *protocols.Session, ev protocols.Event) error { return inner }, ask(10), protocols.Failed, "Busy", true},
		{"panic", func(s *protocols.Session, ev protocols.Event) error { panic(inner) }, ask(10), protocols.Panicked, "Busy", true},
		{"malformed", nil, []byte{0xff}, protocols.Malformed, "Idle", false},
		{"unexpected", nil, answer(10), protocols.Unexpected, "Idle", false},
		{"too large", nil, ask(101), protocols.TooLarge, "Idle", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mp := eventful(func(s *protocols.Session, ev protocols.Event) error {
				if ev.Kind == protocols.OnMessage {
					return c.step(s, ev)
				}
				return nil
			})
			inBubble(t, mux.Responder, mp, func(r *rig) {
				r.session.RunEvents()
				r.say(c.say)
				e := r.broken(c.kind, c.at, c.us)
				if c.step != nil {
					require.ErrorIs(r, e, inner)
				}
				r.session.Cancel()
				require.False(r, protocols.ClockSet(r.session))
			})
		})
	}
}

// A run that is told of its connection's end before it begins does nothing.
func TestEventRunAfterCancel(t *testing.T) {
	steps := 0
	mp := eventful(func(*protocols.Session, protocols.Event) error { steps++; return nil })
	inBubble(t, mux.Responder, mp, func(r *rig) {
		r.mux.Abort(errors.New("enough"))
		r.session.Cancel()
		r.session.RunEvents()
		require.Zero(r, steps)
		require.False(r, protocols.ClockSet(r.session))
	})
}

// A peer that asks and never reads the answers is at fault, and costs the stream's egress limit.
func TestEventPeerThatDoesNotRead(t *testing.T) {
	mp := &protocols.MiniProtocol{Spec: toy, Number: toyNumber, Egress: 4096, Step: func(s *protocols.Session, ev protocols.Event) error {
		if ev.Kind == protocols.OnMessage {
			return s.TrySend(answer(200))
		}
		return nil
	}}
	inBubble(t, mux.Responder, mp, func(r *rig) {
		r.session.RunEvents()
		go func() {
			for mux.WriteSDU(r.peer, mux.Header{Number: toyNumber}, ask(10)) == nil {
			}
		}()
		require.Equal(r, "adversarial", r.broken(protocols.NotReading, "Busy", false).Fault())
	})
}

func TestEventControl(t *testing.T) {
	mp := eventful(func(s *protocols.Session, ev protocols.Event) error {
		if c, _ := s.Control(); ev.Kind == protocols.OnControl && c == protocols.Terminate {
			return s.TrySend(bye)
		}
		return nil
	})
	inBubble(t, mux.Initiator, mp, func(r *rig) {
		c, changed := r.session.Control()
		require.Equal(r, protocols.Continue, c)
		r.session.RunEvents()
		r.session.SetControl(protocols.Quiesce)
		<-changed
		r.session.SetControl(protocols.Terminate)
		require.Equal(r, bye, r.hear())
		require.Equal(r, 1, r.ended)
		r.session.SetControl(protocols.Continue) // a run that is over hears nothing
	})
}
