package mux

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// ingress holds what has arrived on a stream and was not discarded. The reader appends, the stream's owner looks at all of it
// in place and discards from the front, so that no byte is copied twice and a message that arrives in pieces costs its bytes.
type ingress struct {
	mu    sync.Mutex
	b     *block // unread bytes are b.buf[r:]
	r     int
	seen  int           // how many of them the owner has been shown
	old   *block        // an outgrown buffer the owner may still hold
	err   error         // set once, after the last byte
	ready chan struct{} // made by the first wait

	hint    int32 // how much the last buffer held: the size to begin the next with
	lent    bool  // the owner may hold a slice of b.buf
	final   bool  // err is reported at once, unread bytes or not
	told    bool  // the owner has been given err
	waiting bool

	bytesIn, sdusIn atomic.Uint64
}

// behindBytes is how much an owner has to leave unread for the reader to let others run first.
const behindBytes = 128 << 10

// maxHint bounds what a stream asks for on the strength of what it needed last time, and what it keeps for little.
const maxHint = 64 << 10

// deliver appends what arrived. The check against the limit was made for the whole SDU when it began.
// It reports whether somebody was waiting for it, and whether anybody can still read it.
func (in *ingress) deliver(s *Stream, p []byte) (woke, ok bool) {
	s.m.account(len(p)) // may end this very connection, so not under the lock
	in.mu.Lock()
	if in.final {
		in.mu.Unlock()
		s.m.account(-len(p))
		return false, false
	}
	if in.b == nil {
		in.b, in.r = getBlock(max(len(p), int(in.hint))), 0
	}
	if buf := in.b.buf; cap(buf)-len(buf) < len(p) {
		in.makeRoom(len(p))
	}
	in.b.buf = append(in.b.buf, p...)
	behind := len(in.b.buf)-in.r > behindBytes
	wake := in.waiting
	in.waiting = false
	in.mu.Unlock()
	if wake {
		in.ready <- struct{}{}
	}
	return wake || behind, true
}

// makeRoom moves the unread bytes to the front of the buffer, or into one with room for half as many again, so that no byte is
// moved more than a few times.
func (in *ingress) makeRoom(n int) {
	buf := in.b.buf
	unread := buf[in.r:]
	if !in.lent && in.r >= len(unread) && len(unread)+n <= cap(buf) {
		in.b.buf = buf[:copy(buf, unread)]
		in.r = 0
		return
	}
	b := getBlock(len(unread) + len(unread)/2 + n)
	b.buf = append(b.buf, unread...)
	if in.lent && in.old == nil {
		in.old = in.b
	} else { // never lent: the owner holds a part of old, or nothing
		putBlock(in.b)
	}
	in.b, in.r = b, 0
}

// unseen returns how many unread bytes the owner has not been shown: what the limit is about.
func (in *ingress) unseen() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.b == nil {
		return 0
	}
	return len(in.b.buf) - in.r - in.seen
}

// settle ends the loan of earlier slices: the owner is about to get another one.
func (in *ingress) settle() {
	in.lent = false
	if in.old != nil {
		putBlock(in.old)
		in.old = nil
	}
	if in.b == nil {
		return
	}
	if n := len(in.b.buf) - in.r; in.r > 0 && n <= in.r { // costs no more than was discarded
		if c := cap(in.b.buf); c > maxHint && 8*n <= c && n > 0 {
			b := getBlock(2 * n)
			b.buf = append(b.buf, in.b.buf[in.r:]...)
			putBlock(in.b)
			in.b = b
		} else {
			in.b.buf = in.b.buf[:copy(in.b.buf, in.b.buf[in.r:])]
		}
		in.r = 0
	}
}

func (in *ingress) unread() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.settle()
	return in.lend()
}

func (in *ingress) lend() []byte {
	if in.b == nil || len(in.b.buf) == in.r {
		return nil
	}
	in.lent = true
	in.seen = len(in.b.buf) - in.r
	return slices.Clip(in.b.buf[in.r:]) // what follows is the reader's
}

func (in *ingress) wait(ctx context.Context, s *Stream, seen int) ([]byte, error) {
	in.mu.Lock()
	for {
		if in.final {
			err := in.err
			in.mu.Unlock()
			return nil, err
		}
		if in.b != nil && len(in.b.buf)-in.r > seen {
			in.settle()
			p := in.lend()
			in.mu.Unlock()
			return p, nil
		}
		if in.err != nil {
			in.told = true
			err := in.err
			in.mu.Unlock()
			s.m.settled()
			return nil, err
		}
		if in.ready == nil {
			in.ready = make(chan struct{}, 1)
		}
		in.waiting = true
		in.mu.Unlock()
		select {
		case <-in.ready:
			in.mu.Lock()
		case <-ctx.Done():
			in.mu.Lock()
			if !in.waiting { // a wake-up is on its way: take it, the next wait must not find it
				in.mu.Unlock()
				<-in.ready
				in.mu.Lock()
			}
			in.waiting = false
			in.mu.Unlock()
			return nil, ctx.Err()
		}
	}
}

func (in *ingress) discard(s *Stream, n int) {
	in.mu.Lock()
	if in.final {
		in.mu.Unlock()
		return
	}
	if n < 0 || in.b == nil && n > 0 || in.b != nil && n > len(in.b.buf)-in.r {
		in.mu.Unlock()
		panic("mux: Discard of more bytes than there are")
	}
	empty := false
	if n > 0 {
		in.r += n
		in.seen = max(in.seen-n, 0)
		if empty = in.r == len(in.b.buf); empty { // an idle stream holds no buffer
			in.lent, in.seen, in.hint = false, 0, int32(min(len(in.b.buf), maxHint))
			in.settle()
			putBlock(in.b)
			in.b, in.r = nil, 0
		}
	}
	in.mu.Unlock()
	if n > 0 {
		s.m.account(-n)
	}
	if empty {
		s.m.settled()
	}
}

// end makes further waits fail: at once when final, else after the last unread byte. It returns how many unread bytes are
// lost; their buffer is left to the garbage collector, since the owner may be looking at it.
func (in *ingress) end(err error, final bool) (lost int) {
	in.mu.Lock()
	if in.err == nil || final {
		in.err = err
	}
	if final && !in.final {
		in.final = true
		if in.b != nil {
			lost = len(in.b.buf) - in.r
		}
		in.b, in.old, in.r, in.seen = nil, nil, 0, 0
	}
	wake := in.waiting
	in.waiting = false
	in.mu.Unlock()
	if wake {
		in.ready <- struct{}{}
	}
	return lost
}

// done says that the owner knows that no more will come, or, of a stream without an owner who would ask, that nothing is left.
func (in *ingress) done(idle bool) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.told || idle && in.b == nil
}

func (in *ingress) size() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.b == nil {
		return 0
	}
	return len(in.b.buf) - in.r
}
