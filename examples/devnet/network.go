package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/artifact"
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

// network is all nodes and the record of what travelled when.
type network struct {
	c       config
	members []*member
	faults  *faults
	archive *chain.Archive // of -chain; nil: the chain is generated
	began   time.Time

	blocks    *journal[chain.Point]
	txs       *journal[txID]
	artifacts *journal[artifactRef]
	floor     atomic.Uint64 // serial number of the first artifact that is not settled
	serial    uint64        // of the next artifact; of inject alone
	blockTook delays        // of blocks to nodes
	took      [artifact.Idle + 1]delays
	failed    chan error // of nodes that could not go on
	doors     []doors    // of the last members, which are still to be opened

	events page.Log
}

// txID is the id of a transaction in its envelope; those of all eras have this length.
type txID [36]byte

// artifactRef is an artifact that has entered.
type artifactRef struct {
	kind uint32
	id   artifact.ID
}

// prepare makes a network whose nodes listen and are still to be opened. It is to be closed whatever comes of it.
func prepare(c config, dir string) (_ *network, err error) {
	n := &network{c: c, faults: newFaults(), began: time.Now(), failed: make(chan error, 1),
		blocks: newJournal[chain.Point](c.expected(generatedEvery)), txs: newJournal[txID](c.expected(txEvery)),
		artifacts: newJournal[artifactRef](c.expected(c.artifactEvery()))}
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
	var points []topology.AccessPoint
	for i := range c.nodes {
		any := netip.MustParseAddrPort("127.0.0.1:0")
		d, err := openDoors(any, any)
		if err != nil {
			return nil, err
		}
		n.doors = append(n.doors, d)
		n.faults.at[d.addrs()[0]], n.faults.at[d.addrs()[1]] = i, i
		points = append(points, topology.AccessPoint{Kind: topology.IP, IP: d.addrs()[0].Addr(), Port: d.addrs()[0].Port()})
	}
	for i, d := range n.doors {
		m := &member{
			id: i, at: d.addrs(), dir: filepath.Join(dir, fmt.Sprintf("node%03d", i)), network: n, peerID: peerID(c.seed, i),
			topo: roots(i, points), gov: governorConfig(c.nodes, c.seed, i),
		}
		for _, k := range neighbours(i, c.nodes) {
			m.gossip = append(m.gossip, n.doors[k].addrs()[1].String())
		}
		n.members = append(n.members, m)
	}
	return n, nil
}

// open starts the nodes that have not been started yet, until ctx ends.
func (n *network) open(ctx context.Context) error {
	for len(n.doors) > 0 && ctx.Err() == nil {
		m, d := n.members[len(n.members)-len(n.doors)], n.doors[0]
		n.doors = n.doors[1:] // the node's, from here on
		if err := m.start(&d); err != nil {
			return err
		}
	}
	return nil
}

// goodbyes is how long nodes may take leave of each other when all are closed; then their connections are reset.
const goodbyes = 1500 * time.Millisecond

// close stops all nodes, side by side.
func (n *network) close() error {
	enough := time.AfterFunc(goodbyes, func() { n.faults.reset(func(*link) bool { return true }) })
	defer enough.Stop()
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
	for _, d := range n.doors {
		errs = append(errs, d.close())
	}
	n.doors = nil
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
	if ln != nil {
		tasks.Go(func() error { return n.serve(running, ln) })
	}
	tasks.Go(func() error { return r.progress(running, n) })
	tasks.Go(func() error {
		select {
		case err := <-n.failed:
			return err
		case <-running.Done():
			return nil
		}
	})
	tasks.Go(func() error {
		if err := n.open(running); err != nil {
			return err
		}
		tasks.Go(func() error { return n.produce(running) })
		tasks.Go(func() error { return n.inject(running) })
		tasks.Go(func() error { return n.settle(running) })
		if n.c.chaos {
			tasks.Go(func() error { return n.chaos(running) })
		}
		return nil
	})
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
	undo := n.blocks.enter(b.Point())
	if _, err = producer.Chain().Append(item); err != nil {
		undo()
	}
	return err
}

// adopted notes that a block has arrived at a node.
func (n *network) adopted(p chain.Point) {
	if at, open := n.blocks.since(p); open {
		n.blockTook.add(time.Since(at))
	}
}

// received notes that an artifact has arrived at a node.
func (n *network) received(kind uint32, class artifact.Class, id artifact.ID) {
	if at, open := n.artifacts.since(artifactRef{kind, id}); open {
		n.took[class].add(time.Since(at))
	}
}

// decided notes what a node's governor did.
func (n *network) decided(id int, e node.Event) {
	h := page.Event{At: e.At, Node: id, Name: e.Name, Decision: e.Decision, Detail: e.Detail}
	for _, p := range e.Peers[:min(len(e.Peers), 20)] {
		if at, ok := n.faults.at[p]; ok {
			h.Peers = append(h.Peers, at)
		}
	}
	n.events.Add(h)
}

// gossiped notes what the gossip of artifacts has to say of a peer.
func (n *network) gossiped(id int, what string, peer artifact.PeerID, err error) {
	e := page.Event{At: time.Now(), Node: id, Name: what, Detail: err.Error()}
	if to := n.who(peer); to >= 0 {
		e.Peers = []int{to}
	}
	n.events.Add(e)
}

// who has an id in the gossip of artifacts, −1 for nobody.
func (n *network) who(id artifact.PeerID) int {
	return slices.IndexFunc(n.members, func(m *member) bool { return m.peerID == id })
}

// say notes what was done to a node, or to all.
func (n *network) say(id int, what, detail string) {
	n.events.Add(page.Event{At: time.Now(), Node: id, Name: what, Detail: detail})
}

// Log implements [page.Host].
func (n *network) Log(after uint64, limit int) []page.Event { return n.events.Events(after, limit) }
