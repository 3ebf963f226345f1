package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// wallet is what is known across connections.
type wallet struct {
	dial    func(ctx context.Context) (*connmgr.Conn, error)
	start   chain.Point
	fromTip bool // start is the first peer's tip, once known
	blocks  bool
	count   int
	json    bool
	out     io.Writer

	printed int
	history history
	moved   func(number uint64) // told of every change printed; may be nil
	printer func(change) error  // instead of print, for tests; may be nil
}

// errDone ends the work after -count lines.
var errDone = errors.New("done")

// Pauses between two attempts to connect.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	dialWithin = 15 * time.Second
)

// run follows the chain until ctx ends or -count lines are printed. If the very first connection or intersection fails, that is
// an error; later ones are tried again.
func (w *wallet) run(ctx context.Context) error {
	pause := firstPause
	for first := true; ; {
		began := w.printed
		err := w.connect(ctx, &first)
		switch {
		case errors.Is(err, errDone), ctx.Err() != nil:
			return nil
		case first:
			return err
		case w.printed > began:
			pause = firstPause
		}
		slog.Warn("connection lost, trying again", "err", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// connect works on one connection until it ends.
func (w *wallet) connect(ctx context.Context, first *bool) error {
	dialling, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	conn, err := w.dial(dialling)
	if err != nil {
		return err
	}
	defer conn.Close()
	local := conn.Negotiated().NodeToClient
	var blocks *blockfetch.Client
	if w.blocks && !local {
		blocks = blockfetch.NewClient(conn)
	}
	return w.follow(ctx, chainsync.NewClient(conn), blocks, local, func() { *first = false })
}

// follow goes on where the chain was left, with the help of one peer, until that fails. Found is called when the peer has a point of the
// chain; blocks is nil if whole blocks are not to be fetched.
func (w *wallet) follow(ctx context.Context, client *chainsync.Client, blocks *blockfetch.Client, local bool, found func()) error {
	if w.fromTip {
		tip, err := client.Tip(ctx)
		if err != nil {
			return err
		}
		w.start, w.fromTip = tip.Point, false
	}
	at, _, err := client.FindIntersect(ctx, w.history.points(w.start))
	if err != nil {
		return err
	}
	if closer := w.history.between(at, w.start); closer != nil {
		if _, _, err := client.FindIntersect(ctx, closer); err != nil {
			return err
		}
	}
	found()
	if blocks != nil {
		return w.followBlocks(ctx, client, blocks)
	}
	for {
		ev, err := client.Next(ctx)
		if err != nil {
			return err
		}
		c, err := w.read(ev, local)
		if err != nil {
			return err
		}
		if err := w.apply(c); err != nil {
			return err
		}
	}
}

// change is one event, read.
type change struct {
	forward bool
	point   chain.Point
	number  uint64
	bytes   int
	tip     chain.Tip
}

// read takes an event apart: a header's, or on node-to-client a whole block's.
func (w *wallet) read(ev chainsync.Event, local bool) (change, error) {
	c := change{point: ev.Point, tip: ev.Tip}
	if ev.Kind == chainsync.Backward {
		return c, nil
	}
	c.forward = true
	if !local {
		h, err := chain.ParseHeaderPayload(ev.Payload)
		c.point, c.number, c.bytes = h.Point(), h.Number, len(h.Bytes)
		return c, err
	}
	b, err := chain.ParseBlockPayload(ev.Payload)
	if err != nil {
		return c, err
	}
	c.point, c.number, c.bytes = b.Point(), b.Number, len(b.Bytes)
	if w.blocks {
		c.bytes = b.Size
		_, err = b.CheckBody()
	}
	return c, err
}

// apply prints a change, unless it says nothing new, and remembers where the chain is.
func (w *wallet) apply(c change) error {
	switch {
	case c.forward:
		w.history.add(c.point)
	case !w.history.back(c.point, w.start):
		return nil
	}
	show := w.print
	if w.printer != nil {
		show = w.printer
	}
	if err := show(c); err != nil {
		return err
	}
	if w.moved != nil {
		w.moved(c.number)
	}
	if w.printed++; w.printed == w.count {
		return errDone
	}
	return nil
}
