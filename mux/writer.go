package mux

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// batch is what goes to the bearer in one system call.
type batch struct {
	frames [maxBatchSDUs][]byte
	sdus   int
	bytes  int
	vec    [maxBatchSDUs][]byte // frames, neighbours in a block joined
	bufs   net.Buffers
	last   *block   // the block that the last frame lies in
	from   int      // where in it the last entry of vec begins
	to     int      // and ends
	done   []*block // blocks with nothing left to cut
	n      int      // used in vec

	stamped bool // and perhaps written in part: nothing is added any more
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// add takes the frame in.buf[from:to].
func (b *batch) add(in *block, from, to int) {
	b.frames[b.sdus] = in.buf[from:to]
	b.sdus++
	b.bytes += to - from
	if in == b.last && from == b.to {
		b.n--
	} else {
		b.last, b.from = in, from
	}
	b.to = to
	b.vec[b.n] = in.buf[b.from:to]
	b.n++
}

// reset gives back the blocks, which the bearer has taken, and forgets the rest.
func (b *batch) reset() {
	for i, d := range b.done {
		putBlock(d)
		b.done[i] = nil
	}
	clear(b.frames[:b.sdus])
	clear(b.vec[:b.n])
	b.done, b.bufs, b.last = b.done[:0], nil, nil
	b.sdus, b.bytes, b.n, b.stamped = 0, 0, 0, false
}

// drop forgets the first n bytes, fewer than all, which the bearer has taken.
func (b *batch) drop(n int) {
	b.bytes -= n
	i := 0
	for ; n >= len(b.vec[i]); i++ {
		n -= len(b.vec[i])
	}
	left := copy(b.vec[:], b.vec[i:b.n])
	clear(b.vec[left:b.n])
	b.n, b.vec[0] = left, b.vec[0][n:]
}

// enqueue puts a stream into the schedule and sees to it that a writer runs. Called with the stream's egress locked.
func (m *Mux) enqueue(s *Stream, rank uint8) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sched.push(s, rank)
	if m.started {
		m.startWriter()
	}
}

func (m *Mux) startWriter() {
	if !m.flushing && m.err == nil {
		m.flushing = true
		m.workers.Add(1)
		go m.writer()
	}
}

// directRest is how long nothing was written to a bearer that rests.
const directRest = time.Millisecond

// enqueueOrWrite is enqueue for somebody who could write: true asks the caller to, with no lock held, by writeHere. On a bearer that
// rests that saves a goroutine and the way to it. On a busy one the writer does better: while it is on its way, or at work, more is sent
// that shares its next batch.
func (m *Mux) enqueueOrWrite(s *Stream, rank uint8) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sched.push(s, rank)
	if !m.started {
		return false
	}
	if m.direct == nil || m.flushing || m.err != nil || time.Since(m.epoch)-m.wroteAt < directRest {
		m.startWriter()
		return false
	}
	m.flushing = true
	m.workers.Add(1)
	return true
}

// writeHere writes one batch, as far as the bearer takes it without waiting. What is left, and a bearer that fails, are the writer's.
func (m *Mux) writeHere() {
	b := batches.Get().(*batch)
	if m.fill(b) {
		m.stamp(b)
		n := m.direct.write(b)
		m.bytesOut.Add(uint64(n))
		if n < b.bytes {
			b.drop(n)
			m.unwritten = b
			go m.writer()
			return
		}
		b.reset()
		if m.pending() {
			batches.Put(b)
			go m.writer()
			return
		}
	}
	m.stopped(b)
}

// write is the writer: it lives as long as there is something to send.
func (m *Mux) write() {
	b := m.unwritten
	m.unwritten = nil
	if b == nil {
		b = batches.Get().(*batch)
	}
	for b.stamped || m.fill(b) {
		began := m.stamp(b)
		if err := m.writeBatch(b, began); err != nil {
			b.done = nil // the bearer may still hold them
			b.reset()
			m.writeFailed(bearerError(err, WriteTimeout))
			continue // ends when nothing is left to cut
		}
		m.bytesOut.Add(uint64(b.bytes))
		b.reset()
		m.pause(began)
	}
	m.stopped(b)
}

// stopped ends the work of whoever wrote.
func (m *Mux) stopped(b *batch) {
	b.reset()
	batches.Put(b)
	m.settled()
	m.workers.Done()
}

// fill cuts a batch. false: there is nothing to write, and whoever wrote has stopped.
func (m *Mux) fill(b *batch) bool {
	for b.sdus == 0 {
		for b.bytes < m.cfg.BatchBytes && b.sdus < maxBatchSDUs {
			s, stopped := m.next(b.sdus == 0)
			if stopped {
				return false
			}
			if s == nil {
				break
			}
			s.out.Load().cutFrame(s, b)
		}
	}
	return true
}

// next takes the next stream out of the schedule; stopped says that whoever writes has stopped because there is none.
func (m *Mux) next(empty bool) (s *Stream, stopped bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = m.sched.pop()
	if m.err != nil {
		s = nil
	}
	if s == nil && (empty || m.err != nil) {
		m.stop()
		return nil, true
	}
	return s, false
}

// pending reports whether there is more to write; if not, whoever wrote has stopped.
func (m *Mux) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sched.empty() || m.err != nil {
		m.stop()
		return false
	}
	return true
}

// stop notes that nobody writes any more. Called with the multiplexer locked.
func (m *Mux) stop() {
	m.flushing = false
	if m.drained != nil {
		close(m.drained)
		m.drained = nil
	}
}

// stamp notes the time of a batch, also in its SDUs, once.
func (m *Mux) stamp(b *batch) time.Time {
	now := time.Now()
	m.wroteAt = now.Sub(m.epoch)
	if !b.stamped {
		b.stamped = true
		t := uint32(m.wroteAt.Microseconds())
		for _, f := range b.frames[:b.sdus] {
			binary.BigEndian.PutUint32(f, t)
		}
	}
	return now
}

func (m *Mux) writeBatch(b *batch, now time.Time) error {
	if err := m.conn.SetWriteDeadline(now.Add(time.Duration(b.sdus) * m.cfg.SDUTimeout)); err != nil {
		return err
	}
	if b.n == 1 {
		_, err := m.conn.Write(b.vec[0])
		return err
	}
	b.bufs = net.Buffers(b.vec[:b.n])
	_, err := b.bufs.WriteTo(m.conn)
	return err
}

// writeFailed ends the connection, but not the reading of the last words of a peer that has closed its end.
func (m *Mux) writeFailed(err *Error) {
	m.mu.Lock()
	lingering := m.lingering != nil
	m.mu.Unlock()
	if m.discarding.Load() { // not all of the last words went in time
		m.fail(&Error{Kind: Stopped, Err: err})
		return
	}
	if !lingering {
		m.fail(err)
		return
	}
	m.mu.Lock()
	m.unsendable = err
	m.mu.Unlock()
	for _, s := range *m.streams.Load() {
		if e := s.out.Load(); e != nil {
			e.end(err)
		}
	}
}

// pause keeps the configured distance between batches once nothing waits.
func (m *Mux) pause(began time.Time) {
	if m.cfg.EgressInterval <= 0 {
		return
	}
	m.mu.Lock()
	busy := !m.sched.empty()
	m.mu.Unlock()
	if busy {
		return
	}
	rest := m.cfg.EgressInterval - time.Since(began)
	if rest <= 0 {
		return
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-m.closes():
	case <-m.done:
	}
}
