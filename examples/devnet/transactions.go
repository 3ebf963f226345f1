package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/internal/cbor"
	"github.com/hearthnet/hearth/protocols/txsubmission"
)

// txEvery is how long between two transactions.
const txEvery = 500 * time.Millisecond

const eraConway = 6 // era index

// transaction makes a payment of the shape that Conway has; keys and signatures are random.
func transaction(rnd *rand.Rand) []byte {
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	b := cbor.AppendMap(cbor.AppendArray(nil, 4), 3)
	b = cbor.AppendArray(cbor.AppendTag(cbor.AppendUint(b, 0), 258), 1) // inputs
	b = cbor.AppendUint(cbor.AppendBytes(cbor.AppendArray(b, 2), random(32)), 0)
	b = cbor.AppendArray(cbor.AppendUint(b, 1), 2) // outputs
	for range 2 {
		b = cbor.AppendBytes(cbor.AppendUint(cbor.AppendMap(b, 2), 0), append([]byte{1}, random(56)...))
		b = cbor.AppendUint(cbor.AppendUint(b, 1), 1<<20+rnd.Uint64N(1<<32))
	}
	b = cbor.AppendUint(cbor.AppendUint(b, 2), 170_000+rnd.Uint64N(20_000))                // fee
	b = cbor.AppendArray(cbor.AppendTag(cbor.AppendUint(cbor.AppendMap(b, 1), 0), 258), 1) // witnesses
	b = cbor.AppendBytes(cbor.AppendBytes(cbor.AppendArray(b, 2), random(32)), random(64)) // a signature
	b = append(cbor.AppendBool(b, true), 0xf6)                                             // valid, no auxiliary data
	return txsubmission.AppendTx(nil, txsubmission.Tx{Era: eraConway, Bytes: b})
}

// inject gives transactions to random nodes that are up, as a wallet would, until working time is over.
func (n *network) inject(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(n.c.seed, 0x7478))
	t := time.NewTicker(txEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if n.over() {
			return nil
		}
		m, tx := n.members[rnd.IntN(len(n.members))], transaction(rnd)
		if err := n.submit(m, tx); err != nil && !errors.Is(err, errDown) {
			return err
		}
	}
}

// submit puts a transaction into a node's mempool.
func (n *network) submit(m *member, tx []byte) error {
	m.changing.Lock() // nobody stops it meanwhile
	defer m.changing.Unlock()
	at := m.up()
	if at == nil {
		return errDown
	}
	id, err := node.TxID(tx)
	if err != nil {
		return err
	}
	if err := at.Mempool().Add(id, tx); err != nil {
		return err
	}
	n.mu.Lock()
	n.txs = append(n.txs, id)
	n.mu.Unlock()
	return nil
}
