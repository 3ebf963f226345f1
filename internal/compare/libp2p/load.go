package libp2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a load waits for what it has published.
const patience = 60 * time.Second

// load is a swarm under observation: every body is awaited at every node, once.
type load struct {
	s      swarm
	ctx    context.Context
	cancel context.CancelCauseFunc
	flows  [2]*flow // by the first byte of a body
	serial atomic.Uint64
	exact  bool // bodies are compared byte for byte, beside their ids
}

// flow is the bodies of one size that are under way, no more than its window.
type flow struct {
	l       *load
	tag     byte
	size    int
	urgent  bool
	free    chan int // places of the window
	places  []place
	arrived atomic.Uint64
	mu      sync.Mutex
	took    []span          // of every delivery, if wanted
	calls   []time.Duration // of publish
	timed   bool
}

// span is from a publish to one of its deliveries.
type span struct{ from, to time.Time }

// latencies are how long spans took, all or those of no spell in which the machine was slow.
func latencies(spans []span, slow func(from, to time.Time) bool) (took []time.Duration) {
	for _, s := range spans {
		if slow == nil || !slow(s.from, s.to) {
			took = append(took, s.to.Sub(s.from))
		}
	}
	return took
}

// place is one body under way.
type place struct {
	id   id
	body []byte // if bodies are compared
	at   time.Time
	left atomic.Int32  // nodes that lack it
	seen atomic.Uint32 // bit per node that has it
	set  chan struct{} // closed when id and at are set
}

// newLoad connects a swarm.
func newLoad(im implementation) (*load, error) {
	l := &load{}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	ctx, stop := context.WithTimeout(l.ctx, patience)
	defer stop()
	s, err := im.make(ctx, l.delivered)
	l.s = s
	return l, err
}

// newFlow makes a flow; there are at most two, numbered 0 and 1.
func (l *load) newFlow(tag byte, size, window int, urgent, timed bool) *flow {
	f := &flow{l: l, tag: tag, size: size, urgent: urgent, timed: timed, free: make(chan int, window), places: make([]place, window)}
	for i := range window {
		f.free <- i
	}
	l.flows[tag] = f
	return f
}

// head is what a body begins with: its flow, its place, and a serial number that makes it unlike all others.
const head = 1 + 4 + 8

// send publishes one body from a node as soon as there is a place.
func (f *flow) send(node int) error {
	var i int
	select {
	case i = <-f.free:
	case <-f.l.ctx.Done():
		return context.Cause(f.l.ctx)
	case <-time.After(patience):
		return f.stuck()
	}
	b := make([]byte, f.size)
	b[0] = f.tag
	binary.BigEndian.PutUint32(b[1:], uint32(i))
	binary.BigEndian.PutUint64(b[5:], f.l.serial.Add(1))
	p := &f.places[i]
	p.left.Store(nodes - 1)
	p.seen.Store(1 << node)
	p.set = make(chan struct{})
	if f.l.exact {
		p.body = bytes.Clone(b)
	}
	p.at = time.Now()
	name, err := f.l.s.publish(node, b, f.urgent)
	if f.timed {
		f.calls = append(f.calls, time.Since(p.at))
	}
	p.id = name
	close(p.set)
	return err
}

// drain waits until everything that was sent is everywhere.
func (f *flow) drain() error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for n := 0; n < cap(f.free); n++ {
		select {
		case <-f.free:
		case <-f.l.ctx.Done():
			return context.Cause(f.l.ctx)
		case <-limit.C:
			return f.stuck()
		}
	}
	for i := range cap(f.free) {
		f.free <- i
	}
	return nil
}

func (f *flow) stuck() error {
	for i := range f.places {
		if p := &f.places[i]; p.left.Load() > 0 {
			return fmt.Errorf("a body of %d bytes has not been delivered to %d of %d nodes", f.size, p.left.Load(), nodes-1)
		}
	}
	return errors.New("nothing moves")
}

// delivered is told of every body at every node.
func (l *load) delivered(d delivery) {
	if err := l.take(d); err != nil {
		l.cancel(err)
	}
}

func (l *load) take(d delivery) error {
	if len(d.body) < head || int(d.body[0]) >= len(l.flows) || l.flows[d.body[0]] == nil {
		return errors.New("a body that nobody has published")
	}
	f := l.flows[d.body[0]]
	i := int(binary.BigEndian.Uint32(d.body[1:]))
	if len(d.body) != f.size || i >= len(f.places) {
		return errors.New("a body that nobody has published")
	}
	p := &f.places[i]
	<-p.set
	if d.id != p.id {
		return fmt.Errorf("node %d was given a body with the id %x, that in its place is %x", d.node, d.id, p.id)
	}
	if l.exact && !bytes.Equal(d.body, p.body) {
		return fmt.Errorf("node %d was given another body than was published", d.node)
	}
	if bit := uint32(1) << d.node; p.seen.Or(bit)&bit != 0 {
		return fmt.Errorf("node %d was given a body twice", d.node)
	}
	f.arrived.Add(1)
	if f.timed {
		f.mu.Lock()
		f.took = append(f.took, span{p.at, d.at})
		f.mu.Unlock()
	}
	if p.left.Add(-1) == 0 {
		l.s.forget(p.id, f.size, f.urgent)
		f.free <- i
	}
	return nil
}

// close ends the swarm. What nodes hold against each other is an error.
func (l *load) close() error {
	if l.s == nil {
		return nil
	}
	var err error
	if v := l.s.violations(); v > 0 {
		err = fmt.Errorf("%d violations among honest nodes", v)
	}
	err = errors.Join(err, context.Cause(l.ctx), l.s.close())
	l.cancel(nil)
	return err
}

// processorTime is what the process has used so far, kernel included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
