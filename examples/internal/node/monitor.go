package node

import (
	"context"
	"math/big"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/localtxmonitor"
)

// snapshot is the mempool at one moment, as local clients see it.
type snapshot struct {
	slot  uint64
	limit int
	bytes int
	txs   [][]byte
	has   map[string]bool
	more  <-chan struct{} // another transaction
	block <-chan struct{} // another block, thus another slot
}

// monitor is what local clients may know of a mempool.
type monitor struct {
	pool  *Mempool
	chain *chain.Chain
}

// Snapshot implements [localtxmonitor.Mempool].
func (m monitor) Snapshot() localtxmonitor.Snapshot {
	s := &snapshot{limit: m.pool.cfg.Bytes, has: map[string]bool{}, more: m.pool.Changed()}
	var v chain.View
	v, s.block = m.chain.Watch()
	s.slot = v.Tip().Slot + 1
	for after := uint64(0); ; {
		e, ok := m.pool.Next(after)
		if !ok {
			return s
		}
		after = e.Ticket
		if tx := m.pool.Tx(e.ID); tx != nil {
			s.txs = append(s.txs, tx)
			s.bytes += len(tx)
			s.has[string(e.ID)] = true
		}
	}
}

// Slot implements [localtxmonitor.Snapshot].
func (s *snapshot) Slot() uint64 { return s.slot }

// Tx implements [localtxmonitor.Snapshot].
func (s *snapshot) Tx(i int) ([]byte, bool) {
	if i >= len(s.txs) {
		return nil, false
	}
	return s.txs[i], true
}

// Has implements [localtxmonitor.Snapshot].
func (s *snapshot) Has(id []byte) bool { return s.has[string(id)] }

// Sizes implements [localtxmonitor.Snapshot].
func (s *snapshot) Sizes() localtxmonitor.Sizes {
	return localtxmonitor.Sizes{Capacity: uint32(s.limit), Size: uint32(s.bytes), Count: uint32(len(s.txs))}
}

// Measures implements [localtxmonitor.Snapshot].
func (s *snapshot) Measures() (uint32, []localtxmonitor.Measure) {
	return uint32(len(s.txs)), []localtxmonitor.Measure{
		{Name: "transaction_bytes", Size: big.NewInt(int64(s.bytes)), Capacity: big.NewInt(int64(s.limit))},
	}
}

// Wait implements [localtxmonitor.Snapshot]. This mempool only grows.
func (s *snapshot) Wait(ctx context.Context) error {
	select {
	case <-s.more:
		return nil
	case <-s.block:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
