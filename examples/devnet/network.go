package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/examples/chain"
)

// settle is the least time that is left for the last blocks to travel when the run has an end.
const settle = 30 * time.Second

// Paces without an end: how long between two blocks.
const (
	generatedEvery = 500 * time.Millisecond
	archiveEvery   = 50 * time.Millisecond
)

// network is all nodes and the record of what travelled when.
type network struct {
	c       config
	nodes   []*node
	archive *chain.Archive // of -chain; nil: the chain is generated

	mu       sync.Mutex
	made     []chain.Point
	madeAt   map[chain.Point]time.Time
	delays   []time.Duration // of every block to every node
	received int
}

func newNetwork(c config, dir string) (_ *network, err error) {
	n := &network{c: c, madeAt: map[chain.Point]time.Time{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if c.chain != "" {
		if n.archive, err = chain.Open(c.chain); err != nil {
			return nil, err
		}
	}
	for i := range c.nodes {
		node, err := newNode(i, dir, n.adopted)
		if err != nil {
			return nil, err
		}
		n.nodes = append(n.nodes, node)
	}
	for _, e := range edges(c.nodes, c.seed) {
		a, b := n.nodes[e[0]], n.nodes[e[1]]
		a.peers = append(a.peers, b.ln.Addr().String())
	}
	return n, nil
}

func (n *network) close() error {
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.ln.Close(), node.close())
	}
	if n.archive != nil {
		errs = append(errs, n.archive.Close())
	}
	return errors.Join(errs...)
}

// run runs the network for its time and checks the result, if there is an end.
func (n *network) run(ctx context.Context, r *report) (err error) {
	defer func() { err = errors.Join(err, n.close()) }()
	running, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	tasks, running := errgroup.WithContext(running)
	for _, node := range n.nodes {
		tasks.Go(func() error { return node.run(running) })
	}
	tasks.Go(func() error { return n.produce(running, began) })
	tasks.Go(func() error { return r.progress(running, n, began) })
	if n.c.duration > 0 {
		tasks.Go(func() error {
			select {
			case <-time.After(n.c.duration):
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

// produce has node 0 make blocks: evenly spread over the producing time if the run has an end.
func (n *network) produce(ctx context.Context, began time.Time) error {
	total, every := -1, generatedEvery
	next := chain.NewGenerator(n.c.seed).Next
	if n.archive != nil {
		total, every = n.archive.Len(), archiveEvery
	}
	if n.c.duration > 0 {
		producing := max(n.c.duration/2, n.c.duration-settle)
		if total < 0 {
			total = int(producing / every)
		} else {
			every = producing / time.Duration(total)
		}
	}
	var item []byte
	for i := 0; i != total; i++ {
		select {
		case <-time.After(time.Until(began.Add(time.Duration(i+1) * every))):
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
		if err := n.make(item); err != nil {
			return fmt.Errorf("producer: %w", err)
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
	n.mu.Lock()
	n.made = append(n.made, b.Point())
	n.madeAt[b.Point()] = time.Now()
	n.mu.Unlock()
	_, err = n.nodes[0].chain.Append(item)
	return err
}

// adopted notes that a block has arrived at a node.
func (n *network) adopted(_ int, p chain.Point) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.madeAt[p]; ok {
		n.delays = append(n.delays, now.Sub(at))
	}
	n.received++
}

// state is where the network is.
type state struct {
	nodes, blocks, complete int
	least, received         int
	p50, p95                time.Duration
}

func (n *network) state() state {
	n.mu.Lock()
	s := state{nodes: len(n.nodes), blocks: len(n.made), received: n.received}
	delays := slices.Clone(n.delays)
	n.mu.Unlock()
	slices.Sort(delays)
	if k := len(delays); k > 0 {
		s.p50, s.p95 = delays[k/2], delays[k*95/100]
	}
	s.least = s.blocks
	for _, node := range n.nodes {
		v := node.chain.View()
		s.least = min(s.least, v.Len())
		if v.Len() >= s.blocks {
			s.complete++
		}
	}
	return s
}

// check reads every node's chain from its disk and compares it, hash by hash, with what was made.
func (n *network) check() (state, error) {
	s := n.state()
	s.complete = 0
	var errs []error
	for _, node := range n.nodes {
		if err := n.checkNode(node); err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", node.id, err))
			continue
		}
		s.complete++
	}
	if s.blocks == 0 {
		errs = append(errs, errors.New("no block was made"))
	}
	return s, errors.Join(errs...)
}

func (n *network) checkNode(node *node) error {
	v := node.chain.View()
	if v.Len() != len(n.made) {
		return fmt.Errorf("has %d of %d blocks", v.Len(), len(n.made))
	}
	var item []byte
	for i, want := range n.made {
		var err error
		if item, err = v.AppendItem(item[:0], i); err != nil {
			return err
		}
		b, err := chain.ParseBlock(item)
		if err != nil {
			return err
		}
		if b.Point() != want {
			return fmt.Errorf("block %d is %v, want %v", i, b.Point(), want)
		}
		if _, err := b.CheckBody(); err != nil {
			return err
		}
	}
	return nil
}
