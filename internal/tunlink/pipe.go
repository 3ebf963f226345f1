package tunlink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// MaxPacket is the size in bytes of the largest packet that a device may carry.
const MaxPacket = 65535

// Params are what one direction of a cable does to packets. A packet waits until the cable is free, takes its length ÷ Rate to go
// in, and comes out Delay later, never before the one in front of it.
type Params struct {
	Delay  time.Duration // of every packet, one way
	Jitter time.Duration // up to so much comes on top, evenly distributed
	Loss   float64       // chance from 0 to 1 that a packet is lost, each for itself; a lost packet takes its time going in
	Rate   int64         // bytes/s; has no default, since it bounds what is held
	Queue  int           // bytes that may wait for their turn; a packet beyond them is dropped; default 256 KiB
}

const defaultQueue = 256 << 10

// Validate reports every problem at once.
func (p Params) Validate() error {
	var errs []error
	if p.Delay < 0 || p.Jitter < 0 || p.Delay > time.Minute || p.Jitter > time.Minute {
		errs = append(errs, fmt.Errorf("tunlink: delay %v and jitter %v: want 0 to 1 min", p.Delay, p.Jitter))
	}
	if !(p.Loss >= 0 && p.Loss <= 1) {
		errs = append(errs, fmt.Errorf("tunlink: loss %v: want 0 to 1", p.Loss))
	}
	if p.Rate <= 0 || p.Rate > 1<<33 {
		errs = append(errs, fmt.Errorf("tunlink: rate %d bytes/s: want 1 to 2³³", p.Rate))
	}
	if p.Queue < 0 {
		errs = append(errs, fmt.Errorf("tunlink: queue of %d bytes", p.Queue))
	}
	return errors.Join(errs...)
}

// Bound is the most that a pipe holds in bytes: what may wait, what the cable is full with, and the packet that goes in last.
func (p Params) Bound() int {
	onTheWay := (p.Delay + p.Jitter).Seconds() * float64(p.Rate)
	return p.queue() + int(onTheWay) + 2*MaxPacket
}

func (p Params) queue() int {
	if p.Queue == 0 {
		return defaultQueue
	}
	return p.Queue
}

// Fate is what becomes of a packet.
type Fate uint8

// The fates.
const (
	Carried Fate = iota // it will come out
	Lost                // by chance
	Dropped             // there was no room to wait
	Cut                 // the cable is cut
)

// Counters count packets since the pipe was made. In is the sum of the others and of what is held.
type Counters struct {
	In, Out, Lost, Dropped, Cut uint64
	BytesIn, BytesOut           uint64
}

// Pipe is one direction of a cable. Times are since any moment that is the same for all calls, and never go back. The same calls
// with the same seed give the same results. It holds at most [Params.Bound] bytes. Not safe for concurrent use.
type Pipe struct {
	p     Params
	rnd   *rand.Rand
	ready time.Duration // when the cable is free for another packet
	last  time.Duration // when the packet that went in last comes out
	cut   bool
	queue []packet // the front is queue[first]
	first int
	held  int      // bytes
	spare [][]byte // buffers for packets to come, no more than were needed at once
	count Counters
}

type packet struct {
	due time.Duration
	b   []byte
}

// NewPipe returns a pipe, or what is wrong with p.
func NewPipe(p Params, seed uint64) (*Pipe, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &Pipe{p: p, rnd: rand.New(rand.NewPCG(seed, 0x74756e))}, nil
}

// Send puts a packet in, of which it keeps a copy.
func (l *Pipe) Send(now time.Duration, b []byte) Fate {
	l.count.In++
	l.count.BytesIn += uint64(len(b))
	if l.cut {
		l.count.Cut++
		return Cut
	}
	if waiting := max(l.ready-now, 0); waiting.Seconds()*float64(l.p.Rate) > float64(l.p.queue()) || len(b) > MaxPacket {
		l.count.Dropped++
		return Dropped
	}
	l.ready = max(l.ready, now) + time.Duration(float64(len(b))/float64(l.p.Rate)*float64(time.Second))
	// Chance is asked the same number of times for every packet, so that one link's parameters do not change its others' luck.
	lost, late := l.rnd.Float64() < l.p.Loss, time.Duration(l.rnd.Float64()*float64(l.p.Jitter))
	if lost {
		l.count.Lost++
		return Lost
	}
	l.last = max(l.last, l.ready+l.p.Delay+late)
	l.push(packet{l.last, append(l.buffer(), b...)})
	return Carried
}

// Next returns when the next packet comes out; ok is false when there is none.
func (l *Pipe) Next() (due time.Duration, ok bool) {
	if l.first == len(l.queue) {
		return 0, false
	}
	return l.queue[l.first].due, true
}

// Receive appends the packet in front to dst, if it has come out by now.
func (l *Pipe) Receive(now time.Duration, dst []byte) (b []byte, ok bool) {
	due, ok := l.Next()
	if !ok || due > now {
		return dst, false
	}
	p := l.pop()
	l.count.Out++
	l.count.BytesOut += uint64(len(p.b))
	return append(dst, p.b...), true
}

// SetCut cuts the cable, or mends it. What was on its way when it was cut is gone.
func (l *Pipe) SetCut(cut bool) {
	l.cut = cut
	for cut && l.first < len(l.queue) {
		l.pop()
		l.count.Cut++
	}
}

// Counters returns the counters as they are now.
func (l *Pipe) Counters() Counters { return l.count }

// Held is how many bytes are waiting and on their way.
func (l *Pipe) Held() int { return l.held }

func (l *Pipe) buffer() []byte {
	n := len(l.spare)
	if n == 0 {
		return nil
	}
	b := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return b[:0]
}

func (l *Pipe) push(p packet) {
	if l.first > 0 && l.first >= len(l.queue)/2 && len(l.queue) == cap(l.queue) {
		l.queue = l.queue[:copy(l.queue, l.queue[l.first:])]
		l.first = 0
	}
	l.queue = append(l.queue, p)
	l.held += len(p.b)
}

func (l *Pipe) pop() packet {
	p := l.queue[l.first]
	l.queue[l.first] = packet{}
	l.first++
	if l.first == len(l.queue) {
		l.queue, l.first = l.queue[:0], 0
	}
	l.held -= len(p.b)
	l.spare = append(l.spare, p.b)
	return p
}
