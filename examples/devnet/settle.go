package main

import (
	"context"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
)

// recent is how long an entry stays open at least: what a node that comes back lacks is offered to it meanwhile.
const recent = time.Minute

// settle closes what every node has, so that memory does not grow with what has entered: blocks are on the disk in any case;
// transactions and artifacts leave the nodes' memory, and in a run without an end their disk.
func (n *network) settle(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if err := n.settleBefore(time.Now().Add(-recent)); err != nil {
			return err
		}
	}
}

// settleBefore closes what entered before some time and is everywhere; nothing, while a node is down.
func (n *network) settleBefore(when time.Time) error {
	nodes := make([]*live, len(n.members))
	for i, m := range n.members {
		if nodes[i] = m.up(); nodes[i] == nil {
			return nil
		}
	}
	closeOld(n.blocks, when, nodes, func(at *live, i int, _ chain.Point) bool { v := at.Chain().View(); return v.Len() > i })
	closeOld(n.txs, when, nodes, func(at *live, _ int, id txID) bool { return at.Mempool().Has(id[:]) })
	k := closeOld(n.artifacts, when, nodes, func(at *live, _ int, a artifactRef) bool { return at.pools.Has(a.kind, a.id) })
	n.floor.Add(uint64(k))
	for _, m := range n.members {
		if err := m.forget(); err != nil {
			return err
		}
	}
	return nil
}

// closeOld closes the oldest open entries of a journal, up to the first that is too young or that a node does not hold. holds is
// told how many had entered before.
func closeOld[K comparable](j *journal[K], when time.Time, nodes []*live, holds func(at *live, before int, key K) bool) int {
	first, old := j.open(when)
	for k, key := range old {
		for _, at := range nodes {
			if !holds(at, first+k, key) {
				j.settle(k)
				return k
			}
		}
	}
	j.settle(len(old))
	return len(old)
}

// forget has a node let go of what is settled.
func (m *member) forget() error {
	m.changing.Lock()
	defer m.changing.Unlock()
	at := m.up()
	if at == nil {
		return nil // it will when it is up again
	}
	n := m.network
	if err := at.pools.Expire(n.floor.Load(), n.artifacts.keep); err != nil {
		return err
	}
	var old [][]byte
	pool := at.Mempool()
	for e, ok := pool.Next(0); ok; e, ok = pool.Next(e.Ticket) {
		if _, open := n.txs.since(txID(e.ID)); !open {
			old = append(old, e.ID)
		}
	}
	return pool.Retire(n.txs.keep, old...)
}
