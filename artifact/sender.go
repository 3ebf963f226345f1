package artifact

import (
	"context"
	"sync/atomic"
	"time"
)

// sender runs the sending side of one link: a goroutine exists only while there is something to send.
type sender struct {
	a     *attached
	s     Stream
	link  Link
	ctx   context.Context
	state atomic.Int32
	buf   []byte
}

const (
	senderIdle int32 = iota
	senderBusy
	senderAgain // busy, and kicked meanwhile
)

// kick makes the sender look for something to send.
func (x *sender) kick() {
	for {
		switch s := x.state.Load(); s {
		case senderIdle:
			n := x.a.n
			n.mu.Lock()
			started := !n.closed && x.state.CompareAndSwap(senderIdle, senderBusy)
			if started {
				n.wg.Go(x.run)
			}
			closed := n.closed
			n.mu.Unlock()
			if started || closed {
				return
			}
		case senderBusy:
			if x.state.CompareAndSwap(senderBusy, senderAgain) {
				return
			}
		default:
			return
		}
	}
}

func (x *sender) run() {
	n, p := x.a.n, x.a.p
	for {
		n.mu.Lock()
		out, ok := n.core.next(time.Since(n.start), p, x.s)
		fx := n.finish()
		n.mu.Unlock()
		n.perform(fx)
		if !ok {
			if x.state.CompareAndSwap(senderBusy, senderIdle) {
				return
			}
			x.state.Store(senderBusy)
			continue
		}
		if err := x.link.Send(x.ctx, out.Rank, x.message(&out)); err != nil {
			x.a.lost(x.s, x.link, err)
			x.state.Store(senderIdle)
			return
		}
	}
}

// message puts head and body together.
func (x *sender) message(o *Out) []byte {
	if o.Bytes == nil && o.At == nil {
		return o.Head
	}
	x.buf = append(append(x.buf[:0], o.Head...), o.Bytes...)
	if o.At == nil {
		return x.buf
	}
	k := len(x.buf)
	x.buf = append(x.buf, make([]byte, o.N)...)
	if _, err := o.At.ReadAt(x.buf[k:k+o.N], o.Off); err != nil {
		// The body cannot be read any more; its request ends instead.
		x.a.n.do(func(c *Core, now time.Duration) { x.buf = append(x.buf[:0], c.readFailed(now, x.a.p, x.s)...) })
	}
	return x.buf
}
