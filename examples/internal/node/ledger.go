package node

import (
	"context"
	"fmt"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/chainsync"
	"github.com/hearthnet/hearth/protocols/localstatequery"
)

// ledger answers the questions that a chain can answer without a ledger: how long it is and where it ends (wire §12.5).
type ledger struct{ chain *chain.Chain }

// chainState is the chain up to a block.
type chainState struct {
	tip chain.Tip
}

// Acquire implements [localstatequery.Ledger].
func (l ledger) Acquire(_ context.Context, t localstatequery.Target) (localstatequery.State, error) {
	v := l.chain.View()
	if t.Kind != localstatequery.AtPoint {
		return &chainState{v.Tip()}, nil
	}
	i, ok := v.Find(t.Point)
	if !ok {
		return nil, localstatequery.PointNotOnChain
	}
	if i < 0 {
		return &chainState{}, nil
	}
	at := v.At(i)
	return &chainState{chain.Tip{Point: at.Point, Block: at.Number}}, nil
}

// Release implements [localstatequery.State].
func (s *chainState) Release() {}

// Query implements [localstatequery.State].
func (s *chainState) Query(_ context.Context, query []byte) ([]byte, error) {
	r := cbor.NewReader(query)
	r.DefArray(1)
	kind := r.Uint()
	if r.Done() == nil {
		switch kind {
		case 2: // chain block number
			if s.tip.IsOrigin() {
				return cbor.AppendUint(cbor.AppendArray(nil, 1), 0), nil
			}
			return cbor.AppendUint(cbor.AppendUint(cbor.AppendArray(nil, 2), 1), s.tip.Block), nil
		case 3: // chain point
			return chainsync.AppendPoint(nil, s.tip.Point), nil
		}
	}
	return nil, fmt.Errorf("query %x needs a ledger, which a relay of this kind does not have", query)
}
