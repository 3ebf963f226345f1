package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/node"
)

// state is where the network is.
type state struct {
	nodes, up              int
	blocks, txs, artifacts int
	openTxs, openArtifacts int // that nodes still have to have in memory
	complete               int // nodes that hold everything
	apart, slow            int // nodes that are cut off, and that are slow
	least                  int // blocks of the node that has the fewest
	p50, p95               time.Duration
}

func (n *network) state() state {
	s := state{nodes: len(n.members), apart: len(n.faults.isolated()), slow: len(n.faults.slowed())}
	s.blocks, _ = n.blocks.count()
	s.txs, s.openTxs = n.txs.count()
	s.artifacts, s.openArtifacts = n.artifacts.count()
	_, s.p50, s.p95 = n.blockTook.percentiles()
	s.least = s.blocks
	for _, m := range n.members {
		at := m.up()
		if at == nil {
			continue
		}
		s.up++
		v := at.Chain().View()
		s.least = min(s.least, v.Len())
		if txs, _ := at.Mempool().Len(); v.Len() >= s.blocks && txs >= s.openTxs && at.pools.Len() >= s.openArtifacts {
			s.complete++
		}
	}
	return s
}

// check reads every node's chain and artifacts from its disk and compares them, hash by hash, with what was made, and its transactions
// with what entered.
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
	return errors.Join(n.checkChain(at), n.checkTxs(at), n.checkArtifacts(at))
}

func (n *network) checkChain(at *live) error {
	v := at.Chain().View()
	made, _ := n.blocks.all()
	if v.Len() != len(made) {
		return fmt.Errorf("has %d of %d blocks", v.Len(), len(made))
	}
	var item []byte
	for i, want := range made {
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

// checkTxs: one that is settled is on the disk only.
func (n *network) checkTxs(at *live) error {
	all, settled := n.txs.all()
	missing := 0
	var example error
	for i, want := range all {
		tx, err := at.Mempool().Tx(want[:]), error(nil)
		if tx == nil && i < settled {
			tx, err = at.Mempool().Retired(want[:])
		}
		if id, e := node.TxID(tx); e != nil || txID(id) != want {
			missing++
			example = errors.Join(err, e)
		}
	}
	if missing > 0 {
		return fmt.Errorf("lacks %d of %d transactions, one of them: %w", missing, len(all), example)
	}
	return nil
}

func (n *network) checkArtifacts(at *live) error {
	all, settled := n.artifacts.all()
	missing := 0
	var example error
	for i, want := range all {
		err := at.pools.Check(want.kind, want.id)
		if err == nil && i >= settled && !at.pools.Has(want.kind, want.id) {
			err = errors.New("it is on the disk, and not in the pool")
		}
		if err != nil {
			missing++
			example = err
		}
	}
	if missing > 0 {
		return fmt.Errorf("lacks %d of %d artifacts, one of them: %w", missing, len(all), example)
	}
	return nil
}
