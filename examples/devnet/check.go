package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
)

// state is where the network is.
type state struct {
	nodes, up, blocks, txs int
	complete               int // nodes that hold everything
	apart, slow            int // nodes that are cut off, and that are slow
	least                  int // blocks of the node that has the fewest
	p50, p95               time.Duration
}

func (n *network) state() state {
	n.mu.Lock()
	s := state{nodes: len(n.members), blocks: len(n.made), txs: len(n.txs)}
	delays := slices.Clone(n.delays)
	n.mu.Unlock()
	slices.Sort(delays)
	if k := len(delays); k > 0 {
		s.p50, s.p95 = delays[k/2], delays[k*95/100]
	}
	s.least, s.apart, s.slow = s.blocks, len(n.faults.isolated()), len(n.faults.slowed())
	for _, m := range n.members {
		at := m.up()
		if at == nil {
			continue
		}
		s.up++
		v := at.Chain().View()
		s.least = min(s.least, v.Len())
		if txs, _ := at.Mempool().Len(); v.Len() >= s.blocks && txs >= s.txs {
			s.complete++
		}
	}
	return s
}

// check reads every node's chain from its disk and compares it, hash by hash, with what was made, and its mempool with what entered.
func (n *network) check() (state, error) {
	s := n.state()
	s.complete = 0
	var errs []error
	for _, m := range n.members {
		if err := n.checkNode(m); err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", m.id, err))
			continue
		}
		s.complete++
	}
	if s.blocks == 0 {
		errs = append(errs, errors.New("no block was made"))
	}
	return s, errors.Join(errs...)
}

func (n *network) checkNode(m *member) error {
	at := m.up()
	if at == nil {
		return errDown
	}
	v := at.Chain().View()
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
	missing := 0
	for _, id := range n.txs {
		if !at.Mempool().Has(id) {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("lacks %d of %d transactions", missing, len(n.txs))
	}
	return nil
}
