package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/artifact"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/examples/internal/pools"
)

// Paces of what enters at random nodes: how long between two of them, and how many artifacts at most in a run that has an end.
const (
	txEvery       = 500 * time.Millisecond
	artifactEvery = 500 * time.Millisecond // at least
	maxArtifacts  = 1500
)

// maxOpen is how many transactions and how many artifacts may be open: while a node stays down, so many enter, and no more.
const maxOpen = 2000

// inject gives transactions and artifacts to random nodes that are up, as wallets and other programs would, until working time is
// over.
func (n *network) inject(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	at := func(every time.Duration, stream uint64, one func(*member, *rand.Rand) error) {
		tasks.Go(func() error {
			rnd := rand.New(rand.NewPCG(n.c.seed, stream))
			t := time.NewTicker(every)
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
				if err := one(n.members[rnd.IntN(len(n.members))], rnd); err != nil && !errors.Is(err, errDown) {
					return err
				}
			}
		})
	}
	at(txEvery, 0x7478, func(m *member, rnd *rand.Rand) error {
		if _, open := n.txs.count(); open >= maxOpen {
			return nil
		}
		return n.submit(m, transaction(rnd))
	})
	at(n.c.artifactEvery(), 0x617274, func(m *member, rnd *rand.Rand) error {
		if _, open := n.artifacts.count(); open >= maxOpen {
			return nil
		}
		if err := n.publish(m, rnd); !errors.Is(err, artifact.ErrTableFull) {
			return err
		}
		return nil // another node, another time
	})
	return tasks.Wait()
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
	undo := n.txs.enter(txID(id))
	if err = at.Mempool().Add(id, tx); err != nil {
		undo()
	}
	return err
}

// publish puts a new artifact into a node's pools.
func (n *network) publish(m *member, rnd *rand.Rand) error {
	kind, _, body := pools.Random(rnd, n.serial)
	id, err := pools.Name(kind, body)
	if err != nil {
		return err
	}
	m.changing.Lock() // nobody stops it meanwhile
	defer m.changing.Unlock()
	at := m.up()
	if at == nil {
		return errDown
	}
	undo := n.artifacts.enter(artifactRef{kind.ID, id})
	if _, err = at.pools.Publish(kind.ID, body); err != nil {
		undo()
		return err
	}
	n.serial++
	return nil
}
