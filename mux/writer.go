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

func (b *batch) stamp(t uint32) {
	for _, f := range b.frames[:b.sdus] {
		binary.BigEndian.PutUint32(f, t)
	}
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
	b.sdus, b.bytes, b.n = 0, 0, 0
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

// next takes the next stream out of the schedule; last says whether the writer has stopped because there is none.
func (m *Mux) next(empty bool) (s *Stream, stopped bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = m.sched.pop()
	if m.err != nil {
		s = nil
	}
	if s == nil && (empty || m.err != nil) {
		m.flushing = false
		if m.drained != nil {
			close(m.drained)
			m.drained = nil
		}
		return nil, true
	}
	return s, false
}

// write is the writer: it lives as long as there is something to send.
func (m *Mux) write() {
	defer m.workers.Done()
	b := batches.Get().(*batch)
	defer batches.Put(b)
	for {
		for b.bytes < m.cfg.BatchBytes && b.sdus < maxBatchSDUs {
			s, stopped := m.next(b.sdus == 0)
			if stopped {
				b.reset()
				m.settled()
				return
			}
			if s == nil {
				break
			}
			s.out.Load().cutFrame(s, b)
		}
		if b.sdus == 0 {
			continue
		}
		began := time.Now()
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
}

func (m *Mux) writeBatch(b *batch, now time.Time) error {
	b.stamp(uint32(now.Sub(m.epoch).Microseconds()))
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
