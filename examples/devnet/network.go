package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/page"
	"github.com/hearthnet/hearth/topology"
)

// settle is the least time that is left for the last blocks to travel when the run has an end.
const settle = 30 * time.Second

// Paces without an end: how long between two blocks.
const (
	generatedEvery = 500 * time.Millisecond
	archiveEvery   = 50 * time.Millisecond
)

// maxDelays is how many diffusion times are kept, the latest ones.
const maxDelays = 100_000

// network is all nodes and the record of what travelled when.
type network struct {
	c       config
	members []*member
	faults  *faults
	archive *chain.Archive // of -chain; nil: the chain is generated
	began   time.Time

	mu     sync.Mutex
	made   []chain.Point
	madeAt map[chain.Point]time.Time
	delays []time.Duration // of blocks to nodes, a ring once it is full
	oldest int             // in the ring
	txs    [][]byte        // ids of the transactions that entered
	events []page.Event    // a ring of the latest
	count  uint64          // of all events ever
}

// maxEvents bounds the event log.
const maxEvents = 2000

func newNetwork(c config, dir string) (_ *network, err error) {
	n := &network{c: c, madeAt: map[chain.Point]time.Time{}, faults: newFaults(), began: time.Now()}
	var lns []net.Listener
	defer func() {
		if err != nil {
			for _, ln := range lns {
				err = errors.Join(err, ln.Close())
			}
			err = errors.Join(err, n.close())
		}
	}()
	if c.chain != "" {
		if n.archive, err = chain.Open(c.chain); err != nil {
			return nil, err
		}
	}
	var points []topology.AccessPoint
	for i := range c.nodes {
		ln, err := connmgr.ListenTCP(context.Background(), netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			return nil, err
		}
		lns = append(lns, ln)
		at := ln.Addr().(*net.TCPAddr).AddrPort()
		n.faults.at[at] = i
		points = append(points, topology.AccessPoint{Kind: topology.IP, IP: at.Addr(), Port: at.Port()})
	}
	for i := range c.nodes {
		n.members = append(n.members, &member{
			id: i, addr: points[i].AddrPort(), dir: filepath.Join(dir, fmt.Sprintf("node%03d", i)), faults: n.faults,
			topo: roots(i, points), gov: governorConfig(c.nodes, c.seed, i), note: n.decided, got: n.adopted,
		})
	}
	for _, m := range n.members {
		ln := lns[0]
		lns = lns[1:] // the node's, from here on
		if err := m.start(ln); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// close stops all nodes, side by side.
func (n *network) close() error {
	var mu sync.Mutex
	var errs []error
	var stopping sync.WaitGroup
	for _, m := range n.members {
		stopping.Go(func() {
			if err := m.stop(false); err != nil && !errors.Is(err, errDown) {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	stopping.Wait()
	if n.archive != nil {
		errs = append(errs, n.archive.Close())
	}
	return errors.Join(errs...)
}

// over reports whether working time is over.
func (n *network) over() bool { return n.c.duration > 0 && time.Since(n.began) >= n.c.working() }

// until is told when working time is over; never, if the run has no end.
func (n *network) until() <-chan time.Time {
	if n.c.duration == 0 {
		return nil
	}
	return time.After(time.Until(n.began.Add(n.c.working())))
}

// run runs the network for its time and checks the result, if there is an end. It shows itself on ln, if there is one, and closes it.
func (n *network) run(ctx context.Context, ln net.Listener, r *report) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	running, stop := context.WithCancel(ctx)
	defer stop()
	tasks, running := errgroup.WithContext(running)
	tasks.Go(func() error { return n.produce(running) })
	tasks.Go(func() error { return n.inject(running) })
	tasks.Go(func() error { return r.progress(running, n) })
	if ln != nil {
		tasks.Go(func() error { return n.serve(running, ln) })
	}
	if n.c.chaos {
		tasks.Go(func() error { return n.chaos(running) })
	}
	if n.c.duration > 0 {
		tasks.Go(func() error {
			select {
			case <-time.After(time.Until(n.began.Add(n.c.duration))):
				stop()
			case <-running.Done():
			}
			return nil
		})
	}
	err = tasks.Wait()
	if ctx.Err() != nil && n.c.duration > 0 {
		return errors.Join(err, errors.New("interrupted before the end"))
	}
	if err != nil || n.c.duration == 0 {
		return err
	}
	s, err := n.check()
	return errors.Join(r.summary(s), err)
}

// produce has node 0 make blocks: evenly spread over the working time if the run has an end.
func (n *network) produce(ctx context.Context) error {
	total, every := -1, generatedEvery
	next := chain.NewGenerator(n.c.seed).Next
	if n.archive != nil {
		total, every = n.archive.Len(), archiveEvery
	}
	if n.c.duration > 0 {
		if total < 0 {
			total = int(n.c.working() / every)
		} else {
			every = n.c.working() / time.Duration(total)
		}
	}
	var item []byte
	for i := 0; i != total; i++ {
		select {
		case <-time.After(time.Until(n.began.Add(time.Duration(i+1) * every))):
		case <-ctx.Done():
			return nil
		}
		var err error
		if n.archive != nil {
			item, err = n.archive.AppendItem(item[:0], i)
		} else {
			item = next(item[:0])
		}
		if err != nil {
			return err
		}
		for {
			err := n.make(item)
			if !errors.Is(err, errDown) {
				if err != nil {
					return fmt.Errorf("producer: %w", err)
				}
				break
			}
			select { // somebody has killed the producer: it goes on when it is up again
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// make puts a block on the producer's chain.
func (n *network) make(item []byte) error {
	b, err := chain.ParseBlock(item)
	if err != nil {
		return err
	}
	m := n.members[0]
	m.changing.Lock() // nobody stops it meanwhile
	defer m.changing.Unlock()
	producer := m.up()
	if producer == nil {
		return errDown
	}
	n.mu.Lock()
	n.made = append(n.made, b.Point())
	n.madeAt[b.Point()] = time.Now()
	n.mu.Unlock()
	_, err = producer.Chain().Append(item)
	return err
}

// adopted notes that a block has arrived at a node.
func (n *network) adopted(_ int, p chain.Point) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok := n.madeAt[p]
	if !ok {
		return
	}
	if len(n.delays) < maxDelays {
		n.delays = append(n.delays, now.Sub(at))
		return
	}
	n.delays[n.oldest] = now.Sub(at)
	n.oldest = (n.oldest + 1) % maxDelays
}

// decided notes what a node's governor did.
func (n *network) decided(id int, e node.Event) {
	h := page.Event{At: e.At, Node: id, Name: e.Name, Decision: e.Decision, Detail: e.Detail}
	for _, p := range e.Peers[:min(len(e.Peers), 20)] {
		if at, ok := n.faults.at[p]; ok {
			h.Peers = append(h.Peers, at)
		}
	}
	n.add(h)
}

// say notes what was done to a node, or to all.
func (n *network) say(id int, what, detail string) {
	n.add(page.Event{At: time.Now(), Node: id, Name: what, Detail: detail})
}

func (n *network) add(h page.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	h.Number = n.count
	if len(n.events) < maxEvents {
		n.events = append(n.events, h)
		return
	}
	n.events[(n.count-1)%maxEvents] = h
}

// Log implements [page.Host]: the events after a number, as far as they are kept, at most the latest limit.
func (n *network) Log(after uint64, limit int) []page.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := max(after, n.count-uint64(len(n.events)), n.count-min(n.count, uint64(limit)))
	out := make([]page.Event, 0, n.count-min(n.count, first))
	for i := first; i < n.count; i++ {
		out = append(out, n.events[i%maxEvents])
	}
	return out
}
