package mux

import (
	"errors"
	"io"
	"net"
	"runtime"
	"time"
)

// demux is the state of the reader between two reads: it keeps nothing but the header of the SDU that is arriving, payload
// goes to the streams as it comes.
type demux struct {
	m      *Mux
	header [HeaderSize]byte
	have   int // bytes of header
	stream *Stream
	rest   int // payload bytes of this SDU that have not come
	size   int
	stamp  uint32
	woke   bool   // somebody was waiting for what was delivered
	whole  uint64 // SDUs that have arrived
}

// partial says that an SDU has begun and is not whole.
func (d *demux) partial() bool { return d.have > 0 || d.rest > 0 }

// feed hands what was read to the streams.
func (d *demux) feed(p []byte) error {
	for len(p) > 0 {
		if d.rest == 0 {
			n := copy(d.header[d.have:], p)
			d.have += n
			p = p[n:]
			if d.have < HeaderSize {
				return nil
			}
			if err := d.open(); err != nil {
				return err
			}
			continue
		}
		n := min(d.rest, len(p))
		d.deliver(p[:n])
		p = p[n:]
	}
	return nil
}

// open takes up the SDU whose header is complete.
func (d *demux) open() error {
	h, err := ParseHeader(d.header[:])
	if err != nil {
		return err
	}
	role := h.From.Peer()
	s := d.stream
	if s == nil || s.number != h.Number || s.role != role {
		if s = d.m.lookup(h.Number, role); s == nil {
			kind := UnknownProtocol
			if d.m.lookup(h.Number, h.From) != nil {
				kind = WrongDirection
			}
			return &Error{Kind: kind, Protocol: h.Number, Role: role}
		}
	}
	n := int(h.Length)
	if queued := s.receiving().unseen(); queued+n > s.ingressLimit && !d.m.discarding.Load() {
		return &Error{Kind: IngressOverrun, Protocol: h.Number, Role: role, Size: n, Queued: queued, Limit: s.ingressLimit}
	}
	d.have, d.stream, d.rest, d.size, d.stamp = 0, s, n, n, h.Time
	return nil
}

func (d *demux) deliver(p []byte) {
	s := d.stream
	in := s.receiving()
	d.rest -= len(p)
	in.bytesIn.Add(uint64(len(p)))
	if d.rest == 0 {
		d.whole++
		in.sdusIn.Add(1)
	}
	if d.m.discarding.Load() {
		// thrown away
	} else if woke, ok := in.deliver(s, p); ok {
		d.woke = d.woke || woke
		d.m.startArmed(s)
		if f := s.onData.Load(); f != nil {
			(*f)()
		}
	}
	if d.rest == 0 && d.m.cfg.Arrived != nil {
		d.m.cfg.Arrived(d.stamp, time.Since(d.m.epoch), d.size)
	}
}

// yieldBytes is how much at a time may have kept a reader busy for a while, when it delivers where it reads.
const yieldBytes = 32 << 10

// read is the reader goroutine.
func (m *Mux) read() {
	defer m.workers.Done()
	d := &demux{m: m}
	b := newBearerReader(m.conn)
	defer b.release()
	timed := uint64(0)  // the SDU that the read deadline was set for, counted from 1; 0: none
	var unlimited error // the bearer would not take a read limit; one that has ended says why at the next read
	for {
		p, err := b.read(d.partial())
		m.bytesIn.Add(uint64(len(p)))
		if ferr := d.feed(p); ferr != nil {
			m.fail(ferr)
			return
		}
		if d.woke || len(p) >= yieldBytes { // a reader that always finds more to read must not keep those it read for from running
			d.woke = false
			runtime.Gosched()
		}
		if err != nil {
			m.readEnded(err, d)
			return
		}
		if unlimited != nil {
			m.fail(&Error{Kind: BearerFailed, Err: unlimited})
			return
		}
		switch current := d.whole + 1; {
		case !d.partial():
			if timed != 0 {
				timed = 0
				unlimited = m.conn.SetReadDeadline(time.Time{})
			}
		case timed != current:
			timed = current
			unlimited = m.conn.SetReadDeadline(time.Now().Add(m.cfg.SDUTimeout))
		}
	}
}

// readEnded ends the connection after the bearer stopped to deliver. After a close by the peer between two SDUs, what has
// arrived may be read and answered for a short while.
func (m *Mux) readEnded(err error, d *demux) {
	eof := errors.Is(err, io.EOF)
	switch {
	case eof && m.discarding.Load():
		m.eof.Store(true) // Close waits for it
		m.peerGone()
		return
	case m.discarding.Load(), errors.Is(err, net.ErrClosed):
		m.fail(&Error{Kind: Stopped, Err: err})
		return
	case !eof || d.partial():
		e := bearerError(err, ReadTimeout)
		if eof {
			e = &Error{Kind: BadSDU, Err: io.ErrUnexpectedEOF}
		}
		if d.rest > 0 {
			e.Protocol, e.Role, e.Size, e.Queued = d.stream.number, d.stream.role, d.size, d.size-d.rest
		}
		m.fail(e)
		return
	}
	closed := &Error{Kind: BearerClosed}
	m.mu.Lock()
	m.unreadable = closed
	m.mu.Unlock()
	for _, s := range *m.streams.Load() {
		if in := s.in.Load(); in != nil {
			in.end(closed, false)
		}
	}
	m.eof.Store(true)
	m.peerGone()
	settled := make(chan struct{}, 1)
	m.mu.Lock()
	m.lingering = settled
	m.mu.Unlock()
	m.settled()
	limit := time.NewTimer(m.cfg.LingerTimeout)
	defer limit.Stop()
	linger := 0
	select {
	case <-settled:
		linger = -1 // the last answers are with the kernel
	case <-limit.C:
	case <-m.closes(): // Close, which has its own limit, takes over
		return
	case <-m.done:
	}
	if m.release(closed) {
		m.shut(linger)
	}
}

// settled lets a lingering connection go once nothing waits to be sent and everybody who reads has been told that no more will
// come. The owner of a stream that brought something, and who has not come back for more, may still be at work on an answer.
func (m *Mux) settled() {
	m.mu.Lock()
	lingering := m.lingering
	busy := m.flushing || m.stopping
	m.mu.Unlock()
	if lingering == nil || busy {
		return
	}
	for _, s := range *m.streams.Load() {
		in := s.in.Load()
		if in == nil { // nothing came, and nobody asked
			continue
		}
		idle := in.bytesIn.Load() == 0 || s.onData.Load() != nil || s.armed.Load()
		if !in.done(idle) {
			return
		}
	}
	select {
	case lingering <- struct{}{}:
	default:
	}
}
