package localstatequery

import (
	"context"
	"errors"

	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols"
)

// Limits on memory; the reference has none (wire §2.6).
const (
	serverBytes = 4 << 20
	clientBytes = 256 << 20
)

func define() *protocols.MiniProtocol {
	return &protocols.MiniProtocol{
		Spec: Spec(), Number: Number, Bundle: protocols.Hot, Start: mux.OnDemand,
		Ingress: [2]int{clientBytes, serverBytes},
		Enabled: func(n protocols.Negotiated) bool { return n.NodeToClient },
	}
}

// Ledger answers queries about its states.
type Ledger interface {
	// Acquire returns the state at a target. A [Failure] is sent to the client and says why a point cannot be had; tips always
	// can (wire §12.4), so any other error, and any for a tip, ends the connection.
	Acquire(ctx context.Context, t Target) (State, error)
}

// State is one state of the ledger that is held for a client.
type State interface {
	// Query answers one query: both are one CBOR item, the query valid until Query returns, the answer until the next call. An
	// error ends the connection.
	Query(ctx context.Context, query []byte) ([]byte, error)
	// Release is called once when the client is done with the state.
	Release()
}

// Responder returns a mini-protocol that answers local clients from l.
func Responder(l Ledger) *protocols.MiniProtocol {
	mp := define()
	mp.Respond = func(ctx context.Context, s *protocols.Session) error {
		sv := &server{l: l, s: s}
		defer sv.release()
		for {
			m, err := s.Recv(ctx)
			if err != nil || m.To == StateDone {
				return err
			}
			if err := sv.answer(ctx, m); err != nil {
				return err
			}
		}
	}
	return mp
}

// server is one client's run.
type server struct {
	l    Ledger
	s    *protocols.Session
	held State
	buf  []byte
}

func (sv *server) release() {
	if sv.held != nil {
		sv.held.Release()
		sv.held = nil
	}
}

var errTip = errors.New("local-state-query: the ledger could not acquire a tip")

func (sv *server) answer(ctx context.Context, m protocols.Message) error {
	switch m.Tag {
	case TagRelease:
		sv.release()
		return nil
	case TagQuery:
		query, err := DecodeQuery(m.Raw)
		if err != nil {
			return sv.s.Fail(err)
		}
		result, err := sv.held.Query(ctx, query)
		if err != nil {
			return err
		}
		sv.buf = AppendResultHead(sv.buf[:0])
		if err := sv.s.SendParts(ctx, sv.buf, result, nil); err != nil {
			return err
		}
		return sv.s.Flush()
	}
	t, err := DecodeTarget(m.Raw)
	if err != nil {
		return sv.s.Fail(err)
	}
	sv.release() // a failed ReAcquire is a Release
	held, err := sv.l.Acquire(ctx, t)
	var failure Failure
	switch {
	case err == nil:
		sv.held = held
		return sv.s.Send(ctx, AppendAcquired(sv.buf[:0]))
	case !errors.As(err, &failure):
		return err
	case t.Kind != AtPoint:
		return errors.Join(errTip, err)
	}
	return sv.s.Send(ctx, AppendFailure(sv.buf[:0], failure))
}

// Client asks a local node about its ledger. Not for concurrent use.
type Client struct{ c *protocols.Caller }

// NewClient returns a client on a node-to-client connection. It opens the stream when it is first used.
func NewClient(o protocols.Opener) *Client { return &Client{protocols.NewCaller(o, define())} }

// Acquire has the node hold the state at a target for the queries that follow, instead of the one held before. A [Failure] leaves
// none held.
func (c *Client) Acquire(ctx context.Context, t Target) error {
	s, err := c.c.Session()
	if err != nil {
		return err
	}
	request := AppendAcquire(nil, t)
	if s.State() == StateAcquired {
		request = AppendReAcquire(nil, t)
	}
	m, err := c.c.Call(ctx, request)
	if err != nil || m.Tag == TagAcquired {
		return err
	}
	failure, err := DecodeFailure(m.Raw)
	if err != nil {
		return s.Fail(err)
	}
	return failure
}

// Query sends one query to the held state and returns its result; both are one CBOR item. The result is valid until the next call.
// What it means depends on the query (wire §12.4).
func (c *Client) Query(ctx context.Context, query []byte) ([]byte, error) {
	m, err := c.c.Call(ctx, AppendQuery(nil, query))
	if err != nil {
		return nil, err
	}
	result, err := DecodeResult(m.Raw)
	if err != nil {
		return nil, c.c.Opened().Fail(err)
	}
	return result, nil
}

// Release lets the node give up the held state.
func (c *Client) Release(ctx context.Context) error { return c.c.Tell(ctx, AppendRelease(nil)) }

// Finish releases what is held, says Done and gives the stream back.
func (c *Client) Finish(ctx context.Context) error {
	if s := c.c.Opened(); s != nil && s.State() == StateAcquired {
		if err := c.Release(ctx); err != nil {
			return err
		}
	}
	return c.c.End(ctx, AppendDone(nil))
}
