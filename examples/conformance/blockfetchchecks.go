package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

func blockFetchChecks() []check {
	list := []check{
		{id: "block-fetch.unknown", section: "§7", expected: "NoBlocks for a range of no chain, and the connection goes on", run: onBlockFetch(0, func(l *link, _ sample) (string, error) {
			for range 2 {
				l.ask(nowhere(1<<40), nowhere(1<<40+1))
				if err := l.noBlocks(); err != nil {
					return "", err
				}
			}
			return "NoBlocks, twice", nil
		})},
		{id: "block-fetch.one", section: "§7", expected: "StartBatch, the block, BatchDone for a range of one", run: onBlockFetch(1, func(l *link, s sample) (string, error) {
			l.ask(s.headers[0].Point(), s.headers[0].Point())
			return "one block", l.batch(s.headers[:1])
		})},
		{id: "block-fetch.inclusive", section: "§7", expected: "a range has both its ends and what is between", run: onBlockFetch(3, func(l *link, s sample) (string, error) {
			part := s.headers[1:]
			l.ask(part[0].Point(), part[len(part)-1].Point())
			return fmt.Sprintf("%d blocks", len(part)), l.batch(part)
		})},
		{id: "block-fetch.pipelined", section: "§7", expected: "100 ranges asked for at once are answered in order", run: onBlockFetch(1, func(l *link, s sample) (string, error) {
			var b []byte
			for i := range blockfetch.MaxInFlight {
				p := s.headers[i%len(s.headers)].Point()
				b = blockfetch.AppendRequestRange(b, p, p)
			}
			l.send(blockfetch.Number, b)
			for i := range blockfetch.MaxInFlight {
				at := i % len(s.headers)
				if err := l.batch(s.headers[at : at+1]); err != nil {
					return "", fmt.Errorf("range %d: %w", i+1, err)
				}
			}
			return "in order", nil
		})},
		{id: "block-fetch.one-byte-sdus", section: "§2.3", expected: "a request in SDUs of one byte is answered", run: onBlockFetch(0, func(l *link, _ sample) (string, error) {
			l.writeIn(blockfetch.Number, 0, blockfetch.AppendRequestRange(nil, nowhere(1<<40), nowhere(1<<40)), 1)
			return "NoBlocks", l.noBlocks()
		})},
		{id: "block-fetch.done", section: "§2.8", expected: "after ClientDone it can be started again on the same connection", run: onBlockFetch(0, func(l *link, _ sample) (string, error) {
			l.ask(nowhere(1<<40), nowhere(1<<40))
			if err := l.noBlocks(); err != nil {
				return "", setup(err)
			}
			l.send(blockfetch.Number, blockfetch.AppendClientDone(nil))
			l.ask(nowhere(1<<40), nowhere(1<<40))
			return "NoBlocks", l.noBlocks()
		})},
		{id: "block-fetch.to-origin", section: "§7", expected: "a range that ends at origin ends the connection", violates: true, run: onBlockFetch(1, func(l *link, s sample) (string, error) {
			l.ask(s.headers[0].Point(), chainsync.Origin)
			return l.ended()
		})},
		{id: "block-fetch.from-origin", section: "§7", expected: "a range that begins at origin ends the connection", violates: true, run: onBlockFetch(1, func(l *link, s sample) (string, error) {
			l.ask(chainsync.Origin, s.headers[0].Point())
			return l.ended()
		})},
	}
	return append(list, violations((*node).initiate, []wrong{
		{"block-fetch.agency", "§7", "StartBatch from the client", blockfetch.Number, blockfetch.AppendStartBatch(nil)},
		{"block-fetch.unknown-tag", "§0", "an unknown message", blockfetch.Number, unhex("8109")},
		{"block-fetch.length", "§0", "a range of one point", blockfetch.Number, unhex("820080")},
		{"block-fetch.malformed", "§2.9", "bytes that are not CBOR", blockfetch.Number, unhex("8300ff")},
	})...)
}

// onBlockFetch is onChainSync by another name: a fresh connection and at least want headers.
func onBlockFetch(want int, f func(l *link, s sample) (string, error)) func(context.Context, *node) (string, error) {
	return onChainSync(want, f)
}

func (l *link) ask(from, to chainsync.Point) {
	l.send(blockfetch.Number, blockfetch.AppendRequestRange(nil, from, to))
}

// fetched takes the next message of block-fetch.
func (l *link) fetched(st protocols.State) (blockfetch.Message, error) {
	msg, err := l.recv(blockfetch.Number)
	if err != nil {
		return nil, err
	}
	m, err := blockfetch.Decode(st, msg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", brief(msg), err)
	}
	return m, nil
}

func (l *link) noBlocks() error {
	m, err := l.fetched(blockfetch.StateBusy)
	if err != nil {
		return err
	}
	if _, ok := m.(blockfetch.MsgNoBlocks); !ok {
		return fmt.Errorf("%T instead of NoBlocks", m)
	}
	return nil
}

// batch wants exactly the blocks of these headers.
func (l *link) batch(want []chain.Header) error {
	m, err := l.fetched(blockfetch.StateBusy)
	if err != nil {
		return err
	}
	if _, ok := m.(blockfetch.MsgStartBatch); !ok {
		return fmt.Errorf("%T instead of StartBatch", m)
	}
	for i := 0; ; i++ {
		m, err := l.fetched(blockfetch.StateStreaming)
		if err != nil {
			return err
		}
		b, ok := m.(blockfetch.MsgBlock)
		switch {
		case !ok && i < len(want):
			return fmt.Errorf("BatchDone after %d of %d blocks", i, len(want))
		case !ok:
			return nil
		case i >= len(want):
			return errors.New("a block too many")
		}
		block, err := chain.ParseBlock(b.Block)
		if err == nil && block.Point() != want[i].Point() {
			err = fmt.Errorf("%s instead of %s", short(block.Point()), short(want[i].Point()))
		}
		if err == nil {
			_, err = block.CheckBody()
		}
		if err != nil {
			return fmt.Errorf("block %d of %d: %w", i+1, len(want), err)
		}
	}
}
