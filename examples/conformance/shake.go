package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
	"github.com/hearthnet/hearth/protocols/handshake"
)

// shaken is a bearer on which a proposal was answered.
type shaken struct {
	conn  net.Conn
	reply []byte
}

// shake proposes with one SDU.
func (n *node) shake(ctx context.Context, proposal []byte) (shaken, error) {
	return n.shakeIn(ctx, [][]byte{segments(handshake.Number, mux.Initiator, proposal, mux.MaxPayload)}, 0)
}

// shakeIn writes bytes in pieces, with pauses between, and reads the answer.
func (n *node) shakeIn(ctx context.Context, pieces [][]byte, pause time.Duration) (s shaken, err error) {
	c, err := n.dial(ctx)
	if err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for i, p := range pieces {
		if i > 0 && pause > 0 {
			time.Sleep(pause)
		}
		if _, err := c.Write(p); err != nil {
			return s, fmt.Errorf("proposing: %s", manner(err))
		}
	}
	reply, err := readReply(c, n.wait.answer)
	if err != nil {
		return s, err
	}
	return shaken{c, reply}, nil
}

// readReply reads one message of the handshake.
func readReply(c net.Conn, within time.Duration) (reply []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	for {
		h, payload, err := mux.ReadSDU(c, mux.MaxPayload)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("no answer to the proposal within %v", within)
		case err != nil:
			return nil, fmt.Errorf("no answer to the proposal: %s", manner(err))
		case h.Number != handshake.Number:
			return nil, fmt.Errorf("the answer to the proposal comes on number %d", h.Number)
		case h.From != mux.Responder:
			return nil, errors.New("the answer to the proposal has direction bit 0")
		}
		reply = append(reply, payload...)
		size, err := cbor.Item(reply)
		switch {
		case err == nil && size < len(reply):
			return nil, fmt.Errorf("%d bytes after the answer in its SDU", len(reply)-size)
		case err == nil:
			return reply, c.SetReadDeadline(time.Time{})
		case !errors.Is(err, cbor.ErrTruncated), len(reply) > handshake.MaxMessage:
			return nil, fmt.Errorf("the answer to the proposal is %s: %w", brief(reply), err)
		}
	}
}

// refused proposes and wants a refusal of a kind. The node may reset the connection right behind its refusal, which can overtake it
// (wire §2.9), so a reset in its place is given another two chances.
func (n *node) refused(ctx context.Context, proposal []byte, want handshake.Reason) (*handshake.Refusal, error) {
	for try := 1; ; try++ {
		s, err := n.shake(ctx, proposal)
		if err != nil {
			if try < 3 {
				continue
			}
			return nil, err
		}
		s.conn.Close()
		m, err := handshake.Decode(handshake.StateConfirm, s.reply, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", brief(s.reply), err)
		}
		r, ok := m.(handshake.MsgRefuse)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s instead of a refusal", describe(m))
		case r.Reason != want:
			return nil, fmt.Errorf("refusal of another kind: %w", &r.Refusal)
		}
		return &r.Refusal, nil
	}
}

// dropped proposes and wants the connection to end without an answer.
func (n *node) dropped(ctx context.Context, bytes []byte) (string, error) {
	c, err := n.dial(ctx)
	if err != nil {
		return "", setup(err)
	}
	defer c.Close()
	began := time.Now()
	_, _ = c.Write(bytes) // the node may have gone already
	how, err := silentEnd(c, n.wait.end)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %v, nothing sent", how, time.Since(began).Round(time.Millisecond)), nil
}

// silentEnd waits for the end of a connection on which nothing may come.
func silentEnd(c net.Conn, within time.Duration) (how string, err error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	var b [1024]byte
	k, err := c.Read(b[:])
	switch {
	case k > 0:
		return "", fmt.Errorf("%s came", brief(b[:k]))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("still open after %v", within)
	case manner(err) != "closed" && manner(err) != "reset":
		return "", err
	}
	return manner(err), nil
}

// describe names a message of the handshake.
func describe(m handshake.Message) string {
	switch m := m.(type) {
	case handshake.MsgAccept:
		return fmt.Sprintf("acceptance of version %d with %s", m.Version, brief(m.Data))
	case handshake.MsgRefuse:
		return m.Refusal.Error()
	case handshake.MsgQueryReply:
		return fmt.Sprintf("answer to a query with %d versions", len(m.Table))
	}
	return fmt.Sprintf("%T", m)
}
