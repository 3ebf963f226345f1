package protocols_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// The engine's counterpart of prop_channel_reqresp (wire §16): random requests and answers, in random segments.
func TestPropChannelReqResp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(4, 200), 1, 20).Draw(rt, "sizes")
		holds := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(rt, "holds")
		segment := rapid.IntRange(1, 300).Draw(rt, "segment")
		ok := false
		inBubble(t, mux.Initiator, nil, func(r *rig) {
			var stream []byte
			for i, n := range sizes {
				if n == 27 { // a byte string of 24 has a longer head
					n = 26
				}
				if holds[i] {
					stream = append(stream, hold...)
					n = min(n, 50)
				}
				stream = append(stream, answer(n)...)
				require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
			}
			require.NoError(r, r.session.Flush())
			for len(stream) > 0 {
				n := min(segment, len(stream))
				r.say(stream[:n])
				stream = stream[n:]
			}
			for i := range sizes {
				m, err := r.session.Recv(r.Context())
				require.NoError(r, err)
				if holds[i] {
					require.Equal(r, uint64(3), m.Tag)
					require.Equal(r, patient, m.To)
					m, err = r.session.Recv(r.Context())
					require.NoError(r, err)
				}
				require.Equal(r, uint64(2), m.Tag)
				require.Equal(r, len(sizes)-1-i, r.session.Outstanding())
			}
			require.NoError(r, r.session.Send(r.Context(), bye))
			require.True(r, r.session.Finished())
			r.session.End()
			require.Equal(r, 1, r.ended)
			require.NoError(r, r.mux.Err())
			ok = true
		})
		if !ok {
			rt.Fatal("see above")
		}
	})
}

func TestByteLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		say   []byte
		state string
		ok    bool
	}{
		{"exactly the limit", answer(200), "", true},
		{"one byte over", answer(201), "Busy", false},
		{"unfinished at the limit", answer(300)[:200], "", true},
		{"unfinished over the limit", answer(300)[:201], "Busy", false},
		{"limit of the next state", append(hold[:2:2], answer(50)...), "", true},
		{"over the limit of the next state", append(hold[:2:2], answer(51)...), "Patient", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, pipelined := range []bool{false, true} {
				inBubble(t, mux.Initiator, nil, func(r *rig) {
					if pipelined {
						require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
						require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
					} else {
						require.NoError(r, r.session.Send(r.Context(), ask(10)))
					}
					r.say(c.say)
					ctx, cancel := context.WithTimeout(r.Context(), time.Second)
					defer cancel()
					var err error
					for err == nil && r.session.Outstanding() != 1 && (pipelined || r.session.State() != idle) {
						_, err = r.session.Recv(ctx)
					}
					if c.ok {
						require.NotErrorIs(r, err, protocols.ErrTooLarge)
						require.NoError(r, r.mux.Err())
						return
					}
					require.ErrorIs(r, err, protocols.ErrTooLarge)
					e := r.broken(protocols.TooLarge, c.state, false)
					require.Equal(r, "adversarial", e.Fault())
				})
			}
		})
	}
}

// A message that the peer would have to refuse is not sent.
func TestSendOverLimitIsRefusedHere(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		require.NoError(r, r.session.Pipeline(r.Context(), ask(100)))
		err := r.session.Pipeline(r.Context(), ask(101))
		require.ErrorIs(r, err, protocols.ErrTooLarge)
		var e *protocols.Error
		require.ErrorAs(r, err, &e)
		require.True(r, e.Local)
		require.Equal(r, 1, r.session.Outstanding())
		require.NoError(r, r.mux.Err())
	})
	inBubble(t, mux.Responder, nil, func(r *rig) {
		r.say(ask(10))
		_, err := r.session.Recv(r.Context())
		require.NoError(r, err)
		whole := answer(201)
		require.ErrorIs(r, r.session.SendParts(r.Context(), whole[:4], whole[4:150], whole[150:]), protocols.ErrTooLarge)
		whole = answer(200)
		require.NoError(r, r.session.SendParts(r.Context(), whole[:4], whole[4:150], whole[150:]))
	})
}

// Silence in every state, the first one included, ends the connection after the limit of that state (wire §5.1).
func TestTimeLimitOfEveryState(t *testing.T) {
	for _, c := range []struct {
		name     string
		role     mux.Role
		begin    func(r *rig)
		state    string
		min, max time.Duration
	}{
		{"first state", mux.Responder, func(*rig) {}, "Idle", 10 * time.Second, 10 * time.Second},
		{"request", mux.Initiator, func(r *rig) { require.NoError(r, r.session.Send(r.Context(), ask(10))) }, "Busy", 20 * time.Second, 20 * time.Second},
		{"pipelined", mux.Initiator, func(r *rig) {
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		}, "Busy", 20 * time.Second, 20 * time.Second},
		{"second state of an answer", mux.Initiator, func(r *rig) {
			require.NoError(r, r.session.Send(r.Context(), ask(10)))
			r.say(hold)
			_, err := r.session.Recv(r.Context())
			require.NoError(r, err)
		}, "Patient", 30 * time.Second, 40 * time.Second},
		{"second state, pipelined", mux.Initiator, func(r *rig) {
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
			require.NoError(r, r.session.Flush())
			r.say(hold)
			_, err := r.session.Recv(r.Context())
			require.NoError(r, err)
		}, "Patient", 30 * time.Second, 40 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.role, nil, func(r *rig) {
				c.begin(r)
				_, err := r.session.Recv(context.Background())
				require.Error(r, err)
				require.GreaterOrEqual(r, r.now(), c.min)
				require.LessOrEqual(r, r.now(), c.max)
				e := r.broken(protocols.TimedOut, c.state, false)
				require.Equal(r, "network", e.Fault())
				require.GreaterOrEqual(r, e.After, c.min)
				require.LessOrEqual(r, e.After, c.max)
			})
		})
	}
}

// The limit is for the whole message, not for the next byte.
func TestTimeLimitOfTrickle(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		require.NoError(r, r.session.Send(r.Context(), ask(10)))
		go func() {
			for _, b := range answer(100) {
				if mux.WriteSDU(r.peer, mux.Header{Number: toyNumber, From: mux.Responder}, []byte{b}) != nil {
					return
				}
				time.Sleep(3 * time.Second)
			}
		}()
		_, err := r.session.Recv(context.Background())
		require.Error(r, err)
		require.Equal(r, 20*time.Second, r.now())
		r.broken(protocols.TimedOut, "Busy", false)
		time.Sleep(4 * time.Second)
	})
}

// The clock of the second request starts when the first answer has been taken, though nobody waits for the second, and though
// the first one's bytes are still in use (wire §5.1).
func TestClockOfOldestRequestNeedsNobodyToCollect(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		require.NoError(r, r.session.Flush())
		time.Sleep(15 * time.Second)
		r.say(answer(10))
		m, err := r.session.Recv(r.Context())
		require.NoError(r, err)
		require.Len(r, m.Raw, 10)
		r.broken(protocols.TimedOut, "Busy", false)
		require.Equal(r, 35*time.Second, r.now())
	})
}

// A request's clock starts when it becomes the oldest, not when it was sent.
func TestClockOfLaterRequestStartsLater(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		for range 3 {
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		}
		require.NoError(r, r.session.Flush())
		go func() {
			for range 3 {
				time.Sleep(19 * time.Second)
				r.say(answer(10))
			}
		}()
		for range 3 {
			_, err := r.session.Recv(r.Context())
			require.NoError(r, err)
		}
		require.Equal(r, 57*time.Second, r.now())
	})
}

// A peer whose answers lie there is not late, however long this end takes.
func TestSlowCollectorIsNotThePeersFault(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		for range 4 {
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		}
		require.NoError(r, r.session.Flush())
		for range 4 {
			r.say(answer(10))
			synctest.Wait()
		}
		for range 4 {
			time.Sleep(50 * time.Second)
			_, err := r.session.Recv(r.Context())
			require.NoError(r, err)
		}
		time.Sleep(time.Hour)
		require.NoError(r, r.mux.Err())
	})
}

// Requests that are spread over time, with the collector behind, each have their own limit.
func TestClockWithRequestsIssuedLate(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		require.NoError(r, r.session.Flush())
		r.say(append(answer(10), answer(10)...))
		_, err := r.session.Recv(r.Context())
		require.NoError(r, err)
		time.Sleep(100 * time.Second)
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10))) // behind an answer that is there
		_, err = r.session.Recv(r.Context())
		require.NoError(r, err)
		time.Sleep(19 * time.Second)
		require.NoError(r, r.mux.Err())
		r.broken(protocols.TimedOut, "Busy", false)
		require.Equal(r, 120*time.Second, r.now())
	})
}

// After the end of its connection a session sets no timer any more.
func TestNoClockAfterCancel(t *testing.T) {
	inBubble(t, mux.Responder, nil, func(r *rig) {
		r.mux.Abort(errors.New("enough"))
		r.session.Cancel()
		_, err := r.session.Recv(context.Background())
		require.Error(r, err)
		require.False(r, protocols.ClockSet(r.session))
	})
}

func TestWrongMessages(t *testing.T) {
	for _, c := range []struct {
		name string
		say  []byte
		kind protocols.ErrorKind
	}{
		{"of another state", ask(10), protocols.Unexpected},
		{"unknown tag", []byte{0x82, 9, 0}, protocols.Unexpected},
		{"wrong length", []byte{0x83, 2, 0, 0}, protocols.Unexpected},
		{"indefinite outer array", []byte{0x9f, 2, 0, 0xff}, protocols.Unexpected},
		{"no array", []byte{0x02}, protocols.Unexpected},
		{"empty array", []byte{0x80}, protocols.Unexpected},
		{"tag not a number", []byte{0x82, 0x41, 2, 0}, protocols.Unexpected},
		{"reserved head", []byte{0x82, 2, 0x1c}, protocols.Malformed},
		{"break outside", []byte{0xff}, protocols.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, mux.Initiator, nil, func(r *rig) {
				require.NoError(r, r.session.Send(r.Context(), ask(10)))
				r.say(c.say)
				_, err := r.session.Recv(r.Context())
				require.Error(r, err)
				require.Equal(r, "adversarial", r.broken(c.kind, "Busy", false).Fault())
			})
		})
	}
}

func TestOutOfTurnHere(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		misuse := func(err error) {
			r.Helper()
			require.ErrorIs(r, err, &protocols.Error{Kind: protocols.Misuse})
		}
		_, err := r.session.Recv(r.Context())
		misuse(err)
		misuse(r.session.Send(r.Context(), answer(10)))
		require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		misuse(r.session.Send(r.Context(), ask(10)))
		misuse(r.session.Send(r.Context(), bye))
		require.NoError(r, r.mux.Err(), "a mistake of the caller that was refused costs nothing")
		r.session.End()
		e := r.broken(protocols.Misuse, "Idle", true)
		require.Equal(r, "internal", e.Fault())
		misuse(r.session.Send(r.Context(), bye))
		r.session.End()
		require.Equal(r, 1, r.ended)
	})
}

// The bytes after the final message belong to the next run (wire §2.8).
func TestTrailingBytesAreTheNextRuns(t *testing.T) {
	inBubble(t, mux.Responder, nil, func(r *rig) {
		second := ask(30)
		r.say(append(append(bye[:2:2], bye...), second[:7]...))
		for range 2 {
			m, err := r.session.Recv(r.Context())
			require.NoError(r, err)
			require.Equal(r, uint64(1), m.Tag)
			r.session.End()
			r.session = protocols.NewSession(r.session.MiniProtocol(), r.mux.Stream(toyNumber, mux.Responder), protocols.Negotiated{}, nil)
		}
		r.say(second[7:])
		m, err := r.session.Recv(r.Context())
		require.NoError(r, err)
		require.Equal(r, second, m.Raw)
	})
}

// A message's bytes stay what they are until the next Recv, whatever arrives meanwhile.
func TestMessageBytesStayValid(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		for range 50 {
			require.NoError(r, r.session.Pipeline(r.Context(), ask(10)))
		}
		require.NoError(r, r.session.Flush())
		for i := range 50 {
			a := answer(150)
			a[149] = byte(i)
			r.say(a)
			if i == 0 {
				continue
			}
			m, err := r.session.Recv(r.Context())
			require.NoError(r, err)
			r.say([]byte{0x81}) // the beginning of a Hold, finished below
			synctest.Wait()
			require.Equal(r, byte(0), m.Raw[149])
			return
		}
	})
}

// A caller that gives up waiting can go on later.
func TestRecvGoesOnAfterItsContextEnded(t *testing.T) {
	inBubble(t, mux.Initiator, nil, func(r *rig) {
		require.NoError(r, r.session.Send(r.Context(), ask(10)))
		whole := answer(40)
		for i := range whole[:39] {
			r.say(whole[i : i+1])
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			_, err := r.session.Recv(ctx)
			cancel()
			require.ErrorIs(r, err, context.DeadlineExceeded)
		}
		r.say(whole[39:])
		m, err := r.session.Recv(r.Context())
		require.NoError(r, err)
		require.Equal(r, whole, m.Raw)
	})
}

// A message of which only a part was taken makes the stream useless.
func TestTornMessageEndsTheConnection(t *testing.T) {
	mp := &protocols.MiniProtocol{Spec: toy.Unlimited(), Number: toyNumber, Egress: 1000}
	inBubble(t, mux.Initiator, mp, func(r *rig) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		require.ErrorIs(r, r.session.Send(ctx, append([]byte{0x82, 0, 0x5a, 0, 0x10, 0, 0}, make([]byte, 1<<20)...)), context.DeadlineExceeded)
		require.ErrorIs(r, r.session.Send(r.Context(), bye), &protocols.Error{Kind: protocols.Misuse})
		r.session.End()
		r.broken(protocols.Misuse, "Busy", true)
	})
}

func TestRunReportsWhatEndedIt(t *testing.T) {
	inner := errors.New("disk full")
	run := func(t *testing.T, f func(ctx context.Context, s *protocols.Session) error, check func(r *rig, err error)) {
		inBubble(t, mux.Responder, nil, func(r *rig) {
			r.say(ask(10))
			check(r, r.session.Run(r.Context(), f))
		})
	}
	t.Run("error of the host", func(t *testing.T) {
		run(t, func(ctx context.Context, s *protocols.Session) error {
			if _, err := s.Recv(ctx); err != nil {
				return err
			}
			return inner
		}, func(r *rig, err error) {
			require.ErrorIs(r, err, inner)
			e := r.broken(protocols.Failed, "Busy", true)
			require.ErrorIs(r, e, inner)
			require.Equal(r, "internal", e.Fault())
		})
	})
	t.Run("panic", func(t *testing.T) {
		run(t, func(context.Context, *protocols.Session) error { panic("oh") }, func(r *rig, err error) {
			require.Error(r, err)
			e := r.broken(protocols.Panicked, "Idle", true)
			var p *protocols.PanicError
			require.ErrorAs(r, e, &p)
			require.Equal(r, "oh", p.Value)
			require.Contains(r, string(p.Stack), "session_test.go")
		})
	})
	t.Run("context, between two exchanges", func(t *testing.T) {
		inBubble(t, mux.Responder, nil, func(r *rig) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			err := r.session.Run(ctx, func(ctx context.Context, s *protocols.Session) error {
				_, err := s.Recv(ctx)
				return err
			})
			require.ErrorIs(r, err, context.DeadlineExceeded)
			require.NoError(r, r.mux.Err())
			require.Equal(r, 1, r.ended, "the stream is free for another run")
		})
	})
	t.Run("context, in the middle", func(t *testing.T) {
		run(t, func(ctx context.Context, s *protocols.Session) error {
			if _, err := s.Recv(ctx); err != nil {
				return err
			}
			return context.Canceled
		}, func(r *rig, err error) {
			require.ErrorIs(r, err, context.Canceled)
			r.broken(protocols.Failed, "Busy", true)
		})
	})
}

func TestSpecValidates(t *testing.T) {
	require.NoError(t, toy.Validate())
	require.NoError(t, toy.Unlimited().Validate())
	bad := *toy
	bad.Transitions = append(bad.Transitions[:5:5], protocols.Transition{Message: "Again", Tag: 0, Len: 2, From: idle, To: idle},
		protocols.Transition{Message: "Late", Tag: 9, Len: 0, From: done, To: 9})
	err := bad.Validate()
	require.ErrorContains(t, err, "can never match")
	require.ErrorContains(t, err, "state out of range")
	require.Zero(t, toy.WithTimeLimit(patient, protocols.TimeLimit{}).States[patient].Timeout)
	require.NotZero(t, toy.States[patient].Timeout)
	require.Contains(t, toy.String(), "30s–40s")
}
