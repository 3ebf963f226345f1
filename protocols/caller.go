package protocols

import (
	"context"

	"github.com/hearthnet/hearth/mux"
)

// Caller is the initiator's end of a mini-protocol of requests and answers. It opens its stream when it is first used and keeps it.
// Not for concurrent use. A call whose context ends before the answer leaves the mini-protocol in the middle: later calls fail,
// and End then ends the connection.
type Caller struct {
	opener Opener
	mp     *MiniProtocol
	s      *Session
}

// NewCaller returns a caller on a connection.
func NewCaller(o Opener, mp *MiniProtocol) *Caller { return &Caller{opener: o, mp: mp} }

// Session returns the session, opened if need be.
func (c *Caller) Session() (*Session, error) {
	if c.s == nil {
		s, err := c.opener.Open(c.mp, mux.Initiator)
		if err != nil {
			return nil, err
		}
		c.s = s
	}
	return c.s, nil
}

// Opened returns the session if it has been opened, else nil.
func (c *Caller) Opened() *Session { return c.s }

// Call sends a request and returns the answer, whose bytes are valid until the next call.
func (c *Caller) Call(ctx context.Context, request []byte) (Message, error) {
	s, err := c.Session()
	if err != nil {
		return Message{}, err
	}
	if err := s.Send(ctx, request); err != nil {
		return Message{}, err
	}
	return s.Recv(ctx)
}

// Tell sends a message that has no answer.
func (c *Caller) Tell(ctx context.Context, msg []byte) error {
	s, err := c.Session()
	if err != nil {
		return err
	}
	return s.Send(ctx, msg)
}

// End says done, if the stream was ever opened, and gives it back.
func (c *Caller) End(ctx context.Context, done []byte) error {
	if c.s == nil {
		return nil
	}
	s := c.s
	c.s = nil
	err := s.Send(ctx, done)
	s.End()
	return err
}
