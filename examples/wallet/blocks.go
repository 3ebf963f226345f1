package main

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// batch is how many blocks are asked for at once.
const batch = 100

// followBlocks has the headers run ahead and fetches the blocks behind them, each checked against its header.
func (w *wallet) followBlocks(ctx context.Context, headers *chainsync.Client, blocks *blockfetch.Client) error {
	changes := make(chan change, 3*batch)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		for {
			ev, err := headers.Next(ctx)
			if err != nil {
				return err
			}
			c, err := w.read(ev, false)
			if err != nil {
				return err
			}
			select {
			case changes <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	tasks.Go(func() error {
		var run []change
		for {
			var next *change
			run, next = gather(ctx, changes, run[:0])
			if err := w.fetch(ctx, blocks, run); err != nil {
				return err
			}
			if next == nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				continue
			}
			if err := w.apply(*next); err != nil {
				return err
			}
		}
	})
	return tasks.Wait()
}

// gather takes what blocks are known, at least one change, up to a roll back, which it returns beside.
func gather(ctx context.Context, changes <-chan change, run []change) ([]change, *change) {
	for len(run) < batch {
		var c change
		if len(run) == 0 {
			select {
			case c = <-changes:
			case <-ctx.Done():
				return run, nil
			}
		} else {
			select {
			case c = <-changes:
			default:
				return run, nil
			}
		}
		if !c.forward {
			return run, &c
		}
		run = append(run, c)
	}
	return run, nil
}

// fetch gets a run of blocks and prints them.
func (w *wallet) fetch(ctx context.Context, blocks *blockfetch.Client, run []change) error {
	if len(run) == 0 {
		return nil
	}
	i := 0
	for item, err := range blocks.Range(ctx, run[0].point, run[len(run)-1].point) {
		var none *blockfetch.NoBlocksError
		if errors.As(err, &none) {
			return nil // the peer has switched to another fork: the roll back is on its way
		}
		if err != nil {
			return err
		}
		b, err := chain.ParseBlock(item)
		if err != nil {
			return err
		}
		if i == len(run) || b.Point() != run[i].point {
			return fmt.Errorf("peer sent block %v, which was not asked for", b.Point())
		}
		if _, err := b.CheckBody(); err != nil {
			return err
		}
		run[i].bytes = b.Size
		if err := w.apply(run[i]); err != nil {
			return err
		}
		i++
	}
	if i < len(run) {
		return fmt.Errorf("peer sent %d blocks of %d", i, len(run))
	}
	return nil
}
