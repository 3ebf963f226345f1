package artifact

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// sender runs the sending side of one link. Whoever gives it something to say says it, as long as that needs no waiting; a goroutine
// exists only while there is more.
type sender struct {
	a      *attached
	s      Stream
	link   Link
	gather Gatherer // link, if it is one
	ctx    context.Context
	state  atomic.Int32
	behind *sender // in a todo
	buf    *[]byte // a body that was read; nil while there is none to send
	joined []byte  // a message put together
}

// bodies are the buffers of senders that rest.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

const (
	senderIdle int32 = iota
	senderBusy
	senderAgain // busy, and woken meanwhile
)

func newSender(a *attached, ctx context.Context, s Stream, link Link) *sender {
	g, _ := link.(Gatherer)
	return &sender{a: a, s: s, link: link, gather: g, ctx: ctx}
}

// begin makes the caller the one who looks for something to send; false: somebody does already, and will look again.
func (x *sender) begin() bool {
	for {
		switch s := x.state.Load(); {
		case s == senderIdle && x.state.CompareAndSwap(senderIdle, senderBusy):
			return true
		case s == senderBusy && x.state.CompareAndSwap(senderBusy, senderAgain), s == senderAgain:
			return false
		}
	}
}

// end says that there was nothing more to send; false: look again.
func (x *sender) end() bool {
	if x.state.CompareAndSwap(senderBusy, senderIdle) {
		return true
	}
	x.state.Store(senderBusy)
	return false
}

// kick makes the sender look for something to send.
func (x *sender) kick() {
	n := x.a.n
	n.mu.Lock()
	started := !n.closed && x.begin()
	if started {
		n.wg.Add(1)
	}
	n.mu.Unlock()
	if started {
		x.now()
	}
}

// Small messages that are ready one after the other leave together: each of at most gatherMessage bytes, until there are gatherBytes.
// Together they are about an SDU, so nothing more urgent waits longer for it.
const (
	gatherMessage = 4 << 10
	gatherBytes   = 8 << 10
)

// now says what there is to say without waiting. The sender has been begun and counts in the node's wait group.
func (x *sender) now() {
	g := x.gather
	if g == nil || g.Uncut() > 0 {
		go x.run(nil)
		return
	}
	for total := 0; ; {
		x.state.Store(senderBusy) // whoever has woken it meanwhile is heard now
		out, ok := x.next()
		switch {
		case !ok:
		case out.At != nil || total+out.Len() > gatherBytes:
			rest := out
			go x.run(&rest)
			return
		default:
			total += out.Len()
			if err := x.put(&out, false); err != nil {
				x.lost(err)
				return
			}
		}
		if x.state.Load() == senderAgain { // there may be more
			continue
		}
		if total > 0 {
			if err := g.Flush(); err != nil {
				x.lost(err)
				return
			}
			total = 0
		}
		if x.end() {
			x.a.n.wg.Done()
			return
		}
		if g.Uncut() > 0 { // woken meanwhile, but what was said is still here
			go x.run(nil)
			return
		}
	}
}

// run goes on where now has stopped, with the message that was to be next.
func (x *sender) run(o *Out) {
	if x.gather != nil && o == nil {
		if err := x.gather.WaitCut(x.ctx); err != nil {
			x.lost(err)
			return
		}
	}
	for {
		var out Out
		ok := true
		if o != nil {
			out, o = *o, nil
		} else if out, ok = x.next(); !ok {
			if x.buf != nil {
				bodies.Put(x.buf)
				x.buf = nil
			}
			if x.end() {
				x.a.n.wg.Done()
				return
			}
			continue
		}
		if err := x.deliver(out); err != nil {
			x.lost(err)
			return
		}
	}
}

func (x *sender) lost(err error) {
	x.a.lost(x.s, x.link, err)
	x.state.Store(senderIdle)
	x.a.n.wg.Done()
}

// deliver sends a message, and with it the small ones that are ready behind it.
func (x *sender) deliver(o Out) error {
	x.read(&o)
	g := x.gather
	if g == nil {
		err := x.link.Send(x.ctx, o.Rank, x.whole(&o))
		o.free()
		return err
	}
	for total := 0; o.Last || o.Len() <= gatherMessage && total < gatherBytes; {
		more, ok := x.next()
		if !ok {
			break
		}
		total += o.Len()
		if err := x.put(&o, false); err != nil {
			return err
		}
		o = more
		x.read(&o)
	}
	return x.put(&o, true)
}

// put hands over head and body; send lets them leave and waits until they have been cut.
func (x *sender) put(o *Out, send bool) error {
	if err := x.gather.Put(x.ctx, o.Rank, o.Head, o.Bytes); err != nil {
		return err
	}
	o.free()
	if send {
		return x.gather.WaitCut(x.ctx)
	}
	return nil
}

// next composes the next message.
func (x *sender) next() (Out, bool) {
	n := x.a.n
	buf := heads.Get().(*[]byte)
	n.mu.Lock()
	out, ok := n.core.next(time.Since(n.start), x.a.p, x.s, *buf)
	t := n.finish()
	n.mu.Unlock()
	out.buf = buf
	if ok {
		*buf = out.Head[:0]
	} else {
		out.free()
	}
	n.carryOut(t)
	return out, ok
}

// heads are buffers in which messages are put together.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// free gives the message's buffer back.
func (o *Out) free() {
	if cap(*o.buf) <= scratchMax {
		heads.Put(o.buf)
	}
	o.buf = nil
}

// read fetches a body that is not in memory.
func (x *sender) read(o *Out) {
	if o.At == nil {
		return
	}
	if x.buf == nil {
		x.buf = bodies.Get().(*[]byte)
	}
	buf := slices.Grow((*x.buf)[:0], o.N)[:o.N]
	*x.buf = buf
	if _, err := o.At.ReadAt(buf, o.Off); err != nil {
		// The body cannot be read any more; its request ends instead.
		x.a.n.do(func(c *Core, now time.Duration) { o.Head = c.readFailed(now, x.a.p, x.s) })
		o.N, o.Last = 0, false
	}
	o.At, o.Bytes = nil, buf[:o.N]
}

// whole puts head and body together.
func (x *sender) whole(o *Out) []byte {
	if len(o.Bytes) == 0 {
		return o.Head
	}
	x.joined = append(append(x.joined[:0], o.Head...), o.Bytes...)
	return x.joined
}
