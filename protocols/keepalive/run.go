package keepalive

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// DefaultInterval is the time between a response and the next request. The peer gives us 97 s (wire §10.1).
const DefaultInterval = 10 * time.Second

func define(step protocols.StepFunc) *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Established, Start: mux.OnDemandAny,
		Ingress: [2]int{IngressLimit, IngressLimit},
		Enabled: func(n protocols.Negotiated) bool { return !n.NodeToClient },
		Step:    step,
	}
}

// Server returns the responder: it sends every cookie back. It costs no goroutine.
func Server() *protocols.MiniProtocol {
	return define(func(s *protocols.Session, ev protocols.Event) error {
		if ev.Kind != protocols.OnMessage || ev.Message.Tag != TagKeepAlive {
			return nil
		}
		cookie, err := DecodeKeepAlive(ev.Message.Raw)
		if err != nil {
			return s.Fail(err)
		}
		var buf [8]byte
		return s.TrySend(AppendResponse(buf[:0], cookie))
	})
}

// ErrCookie: a response with another cookie than the request's.
var ErrCookie = errors.New("keep-alive: response with another cookie")

// client is the state of one initiator.
type client struct {
	every   time.Duration
	latency *Latency
	cookie  uint16
	sent    time.Time
}

// Client returns an initiator that sends a request at once and again every interval after the response (0 means
// [DefaultInterval]), until its owner tells it to terminate, when it says Done. latency takes the round trips. It costs no goroutine. The
// returned value serves one connection.
func Client(every time.Duration, latency *Latency) *protocols.MiniProtocol {
	if every <= 0 {
		every = DefaultInterval
	}
	c := &client{every: every, latency: latency}
	return define(c.step)
}

func (c *client) step(s *protocols.Session, ev protocols.Event) error {
	var buf [8]byte
	switch ev.Kind {
	case protocols.OnMessage:
		cookie, err := DecodeResponse(ev.Message.Raw)
		if err == nil && cookie != c.cookie {
			err = fmt.Errorf("%w: sent %d, got %d", ErrCookie, c.cookie, cookie)
		}
		if err != nil {
			return s.Fail(err)
		}
		c.latency.Add(ev.At.Sub(c.sent), c.sent)
		if s.Wanted() != protocols.Terminate {
			s.Wake(c.every)
			return nil
		}
	case protocols.OnControl: // nothing to do before the response is there
		if s.Wanted() != protocols.Terminate || s.State() != StateClient {
			return nil
		}
	}
	if s.Wanted() == protocols.Terminate {
		return s.TrySend(AppendDone(buf[:0]))
	}
	c.cookie, c.sent = uint16(rand.Uint32()), ev.At
	return s.TrySend(AppendKeepAlive(buf[:0], c.cookie))
}
