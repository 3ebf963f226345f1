package mux

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// egress holds what was sent on a stream and not yet cut into SDUs. Bytes are copied once, straight into frames: a header's
// room, then up to an SDU of payload, frame behind frame in pooled blocks that the writer hands to the bearer as they are.
type egress struct {
	mu         sync.Mutex
	head, tail *block
	open       int // offset in tail of the frame that still grows; -1: none
	buffered   int // payload bytes
	limit      int
	err        error

	runs     []rankRun // ranks of what is buffered, from firstRun on; none: all of rank
	firstRun int
	appended uint64 // payload bytes ever
	cut      uint64

	ready                     chan struct{} // made by the first wait
	waitingRoom, waitingEmpty bool
	queued                    bool // in the schedule, or being cut

	bytesOut, sdusOut atomic.Uint64

	// owned by the multiplexer's lock
	queuedAt   uint64
	nextQueued *Stream
	rank       uint8
}

// rankRun is a run of bytes that share a rank, up to the offset end.
type rankRun struct {
	end  uint64
	rank uint8
}

// append copies of p what the limit allows, or, if whole, all of it as long as the limit is not yet reached. Whole SDUs may leave at
// once, unless they are held; more is how many bytes are about to follow.
func (e *egress) append(s *Stream, rank uint8, p []byte, more int, whole, held bool) (n int, err error) {
	size := s.m.cfg.SDUSize
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return 0, e.err
	}
	room := e.limit - e.buffered
	if whole {
		if room <= 0 {
			return 0, &Error{Kind: EgressFull, Protocol: s.number, Role: s.role, Local: true, Size: len(p), Queued: e.buffered, Limit: e.limit}
		}
		room = len(p)
	}
	n = min(room, len(p))
	if n <= 0 {
		return 0, nil
	}
	e.noteRank(min(rank, ranks-1), n)
	for rest := p[:n]; len(rest) > 0; {
		t := e.tail
		if e.open < 0 || t.w-e.open-HeaderSize >= size || t.w == cap(t.buf) {
			t = e.newFrame(s.m, len(rest)+more)
		}
		frameEnd := min(e.open+HeaderSize+size, cap(t.buf))
		k := copy(t.buf[t.w:frameEnd], rest)
		t.w += k
		rest = rest[k:]
	}
	e.buffered += n
	if !e.queued && (e.buffered >= size && !held || e.buffered >= e.limit) {
		e.enqueue(s)
	}
	return n, nil
}

// noteRank extends the record of which bytes have which rank. Streams of a single rank, all but a host's own, keep none.
func (e *egress) noteRank(rank uint8, n int) {
	if e.buffered == 0 {
		e.runs, e.firstRun, e.rank = e.runs[:0], 0, rank
	} else if len(e.runs) == 0 && rank != e.rank {
		e.runs = append(e.runs, rankRun{e.appended, e.rank})
	}
	e.appended += uint64(n)
	switch last := len(e.runs) - 1; {
	case last < 0:
	case e.runs[last].rank == rank:
		e.runs[last].end = e.appended
	default:
		e.runs = append(e.runs, rankRun{e.appended, rank})
		e.closeFrame() // an SDU does not mix ranks
	}
}

func (e *egress) headRank() uint8 {
	if len(e.runs) > 0 {
		return e.runs[e.firstRun].rank
	}
	return e.rank
}

// dropRuns forgets the runs that have been cut. What is left is moved to the front once that costs no more than was dropped.
func (e *egress) dropRuns() {
	for e.firstRun < len(e.runs) && e.runs[e.firstRun].end <= e.cut {
		e.rank = e.runs[e.firstRun].rank
		e.firstRun++
	}
	if e.firstRun >= len(e.runs)-e.firstRun {
		e.runs = e.runs[:copy(e.runs, e.runs[e.firstRun:])]
		e.firstRun = 0
	}
}

// newFrame closes the open frame and begins another one, in a new block if the last has no room for a whole SDU. A stream
// that sends something small now and then gets a small block.
func (e *egress) newFrame(m *Mux, want int) *block {
	e.closeFrame()
	t := e.tail
	if t == nil || cap(t.buf)-t.w < min(HeaderSize+m.cfg.SDUSize, smallBlock/2) || cap(t.buf) > smallBlock && cap(t.buf)-t.w < HeaderSize+m.cfg.SDUSize {
		size := m.egressBlock
		if e.head == nil && want <= smallBlock-HeaderSize {
			size = max(minSmallBlock, want+HeaderSize)
		}
		t = getBlock(size)
		t.buf = t.buf[:cap(t.buf)]
		if e.tail == nil {
			e.head = t
		} else {
			e.tail.next = t
		}
		e.tail = t
	}
	e.open = t.w
	t.w += HeaderSize
	return t
}

const (
	minSmallBlock = 512
	smallBlock    = 4096
)

// closeFrame writes the length into the open frame's header.
func (e *egress) closeFrame() {
	if e.open >= 0 {
		binary.BigEndian.PutUint16(e.tail.buf[e.open+6:], uint16(e.tail.w-e.open-HeaderSize))
		e.open = -1
	}
}

func (e *egress) uncut() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buffered
}

func (e *egress) enqueue(s *Stream) {
	e.queued = true
	s.m.enqueue(s, e.headRank())
}

func (e *egress) flush(s *Stream) error {
	e.mu.Lock()
	err, here := e.err, false
	if err == nil && e.buffered > 0 && !e.queued {
		e.queued = true
		here = s.m.enqueueOrWrite(s, e.headRank())
	}
	e.mu.Unlock()
	if here {
		s.m.writeHere()
	}
	return err
}

// cutFrame takes the first frame out and puts the stream back into the schedule if it has more.
func (e *egress) cutFrame(s *Stream, b *batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.head
	if h == nil { // the connection failed meanwhile
		e.queued = false
		return
	}
	if e.open == h.r && h == e.tail {
		e.closeFrame()
	}
	n := int(binary.BigEndian.Uint16(h.buf[h.r+6:]))
	binary.BigEndian.PutUint16(h.buf[h.r+4:], s.number|uint16(s.role)<<15)
	b.add(h, h.r, h.r+HeaderSize+n)
	h.r += HeaderSize + n
	if h.r == h.w { // the writer owns it now
		e.head = h.next
		if e.head == nil {
			e.tail, e.open = nil, -1
		}
		h.next = nil
		b.done = append(b.done, h)
	}
	e.buffered -= n
	e.cut += uint64(n)
	if len(e.runs) > 0 {
		e.dropRuns()
	}
	e.bytesOut.Add(uint64(n))
	e.sdusOut.Add(1)
	if e.buffered > 0 {
		s.m.enqueue(s, e.headRank())
	} else {
		e.queued = false
	}
	if e.waitingRoom && e.buffered <= e.limit/2 || e.waitingEmpty && e.buffered == 0 {
		e.waitingRoom, e.waitingEmpty = false, false
		e.ready <- struct{}{}
	}
}

func (e *egress) waitRoom(ctx context.Context, s *Stream) error {
	return e.await(ctx, s, &e.waitingRoom, func() bool { return e.buffered < e.limit })
}

func (e *egress) waitEmpty(ctx context.Context, s *Stream) error {
	return e.await(ctx, s, &e.waitingEmpty, func() bool { return e.buffered == 0 })
}

func (e *egress) await(ctx context.Context, s *Stream, flag *bool, ok func() bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if e.err != nil {
			return e.err
		}
		if ok() {
			return nil
		}
		if !e.queued {
			e.enqueue(s)
		}
		if e.ready == nil {
			e.ready = make(chan struct{}, 1)
		}
		*flag = true
		e.mu.Unlock()
		select {
		case <-e.ready:
			e.mu.Lock()
		case <-ctx.Done():
			e.mu.Lock()
			if !*flag { // take the wake-up that is on its way
				<-e.ready
			}
			*flag = false
			return ctx.Err()
		}
	}
}

// end makes sends fail and gives the buffers to the garbage collector: the writer may hold some.
func (e *egress) end(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
	e.head, e.tail, e.open, e.buffered = nil, nil, -1, 0
	e.wake()
}

// stop lets what is buffered leave and takes no more.
func (e *egress) stop(s *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	e.err = &Error{Kind: Stopped}
	if e.buffered > 0 && !e.queued {
		e.enqueue(s)
	}
	e.wake()
}

func (e *egress) wake() {
	if e.waitingRoom || e.waitingEmpty {
		e.waitingRoom, e.waitingEmpty = false, false
		e.ready <- struct{}{}
	}
}
