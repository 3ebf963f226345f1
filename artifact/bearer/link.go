package bearer

import (
	"context"
	"sync"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/mux"
)

// link is an artifact.Link over one stream. Its memory is the stream's.
type link struct {
	s    *mux.Stream
	max  int // largest message, bytes
	held int // bytes of the message handed out last
	scan cbor.Scanner

	delivering sync.Mutex // one message at a time
	mu         sync.Mutex // f until it is set, over
	f          func(msg []byte, err error)
	over       error // why the link has ended
}

// Send returns when the last SDU of msg was cut.
func (l *link) Send(ctx context.Context, rank uint8, msg []byte) error {
	if err := l.s.Append(ctx, rank, msg); err != nil {
		return err
	}
	return l.s.WaitCut(ctx)
}

// Put appends to what leaves with the next Send or Flush.
func (l *link) Put(ctx context.Context, rank uint8, head, body []byte) error {
	return l.s.Hold(ctx, rank, head, body)
}

// Flush lets what was put leave.
func (l *link) Flush() error { return l.s.Flush() }

// WaitCut returns when nothing waits to be cut.
func (l *link) WaitCut(ctx context.Context) error { return l.s.WaitCut(ctx) }

// Uncut is how many bytes wait to be cut.
func (l *link) Uncut() int { return l.s.Uncut() }

// Recv returns the next whole message.
func (l *link) Recv(ctx context.Context) ([]byte, error) {
	l.discard()
	for seen := 0; ; {
		b, err := l.s.Wait(ctx, seen)
		if err != nil {
			return nil, err
		}
		if msg := l.next(b); msg != nil {
			return msg, nil
		}
		seen = len(b)
	}
}

// next is the message at the front of what has arrived, nil if it is not whole. Bytes that are none, or more than the stream's
// messages may have, are returned as far as they go: the node finds that they cannot be decoded and blames whoever sent them.
func (l *link) next(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	n, done, err := l.scan.Next(b)
	switch {
	case done && n <= l.max:
		l.held = n
		return b[:n:n]
	case err != nil || done || len(b) > l.max:
		l.held = len(b)
		l.scan.Reset()
		return b[:min(len(b), l.max):len(b)]
	}
	return nil
}

// discard drops the message handed out last.
func (l *link) discard() {
	if l.held > 0 {
		l.s.Discard(l.held)
		l.held = 0
	}
}

// Deliver has f called on the reader with what arrives, and here with what has arrived.
func (l *link) Deliver(ctx context.Context, f func(msg []byte, err error)) {
	l.mu.Lock()
	l.f = f
	over := l.over
	l.mu.Unlock()
	if over != nil {
		f(nil, over)
		return
	}
	context.AfterFunc(ctx, func() { l.end(context.Cause(ctx)) })
	l.s.OnData(l.arrived)
	l.arrived()
}

func (l *link) arrived() {
	l.delivering.Lock()
	defer l.delivering.Unlock()
	for msg := l.next(l.s.Unread()); msg != nil; msg = l.next(l.s.Unread()) {
		l.f(msg, nil)
		l.discard()
	}
}

// end tells whoever is delivered to, or will be, that the link has ended.
func (l *link) end(err error) {
	l.mu.Lock()
	f := l.f
	if l.over != nil {
		f = nil
	} else {
		l.over = err
	}
	l.mu.Unlock()
	if f != nil {
		f(nil, err)
	}
}

// endOf is why a bearer has ended whose peer has closed it, or which is over.
func endOf(m *mux.Mux) error {
	if err := m.Err(); err != nil {
		return err
	}
	return &mux.Error{Kind: mux.BearerClosed}
}

// Ingress limits and largest messages (artifact §6.2); a tenth more than was granted, so that an overrun is the peer's fault.
const (
	slack       = 10 // percent
	joinIngress = 64 // bytes an acceptor takes from somebody who has proved nothing
)

func withSlack(n int) int { return n + n*slack/100 }

// laneIngress is what may be unread on a lane of ours: what was asked for.
func laneIngress(cfg *artifact.Config) int { return int(artifact.Bound(*cfg).Requested) }

// peerIngress is what all bearers of one peer may have unread together: the rows of the formula that are the mux's.
func peerIngress(cfg *artifact.Config) int {
	b := artifact.Bound(*cfg)
	return int(b.InlineCredit + b.Requested + b.Streams + b.Requests)
}

const (
	serveIngress   = 16 * artifact.MaxFetch
	controlIngress = 64 << 10
	ackIngress     = 4 << 10
)
