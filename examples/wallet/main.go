// Wallet follows a node's chain: a light peer layer for wallet and explorer back ends. It survives restarts of the node, finds
// the intersection again and reports roll backs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

const usage = `usage: wallet (-peer ADDR... | -socket PATH | -topology FILE) [-magic N] [-from origin|tip|SLOT.HASH] [-blocks] [-count N] [-json]
       wallet (-peer ADDR... | -socket PATH | -topology FILE) [-magic N] -submit FILE [-json]

Follows the chain of a node over TCP (-peer, several to fall back on), of a local node over its Unix socket, or of whichever of the
peers in a topology file is up: a governor keeps a few of them connected, and another takes over when one fails or falls behind. Prints
a line for every block and every roll back, across reconnects. The roll back to where it starts is not printed.

With -submit, gives the node the transaction in FILE instead, raw (of the Conway era) or as [era, #24(bytes)], and exits with 0
when the node has taken it: a local node says whether it accepts it, and exit 1 is a rejection with its reason; a peer is offered
it until it has acknowledged it, which with a cardano-node takes a minute.`

func main() { cli.Main("wallet", run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	w := &wallet{out: stdout}
	var peers cli.Strings
	fs := cli.Flags("wallet", usage)
	fs.Var(&peers, "peer", "host:port of a node; may be given several times")
	socket := fs.String("socket", "", "path of a node's Unix socket")
	file := fs.String("topology", "", "topology file, of whose peers a few are kept connected")
	magic := fs.Uint64("magic", uint64(connmgr.Mainnet), "network magic")
	from := fs.String("from", "origin", "where to start: origin, tip or SLOT.HASH")
	fs.BoolVar(&w.blocks, "blocks", false, "fetch whole blocks and check them")
	fs.IntVar(&w.count, "count", 0, "stop after so many lines; 0 never")
	submit := fs.String("submit", "", "submit the transaction in this file and exit")
	fs.BoolVar(&w.json, "json", false, "one JSON object a line")
	rest, err := fs.Parse(args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return cli.Usagef("unexpected %q", rest[0])
	case given(len(peers) > 0, *socket != "", *file != "") != 1:
		return cli.Usagef("want one of -peer, -socket and -topology")
	case *magic > 1<<32-1:
		return cli.Usagef("-magic %d does not fit 32 bits", *magic)
	case w.count < 0:
		return cli.Usagef("-count %d is negative", w.count)
	}
	if *from == "tip" {
		w.fromTip = true
	} else if w.start, err = chainsync.ParsePoint(*from); err != nil {
		return cli.Usagef("-from %s: want origin, tip or SLOT.HASH", *from)
	}
	network, next := connmgr.Network(*magic), 0
	if *file != "" {
		c, err := newCrowd(w, *file, network)
		if err != nil {
			return err
		}
		defer c.close()
		if *submit == "" {
			return c.run(ctx)
		}
		w.dial = c.dial
		return w.submit(ctx, *submit)
	}
	w.dial = func(ctx context.Context) (*connmgr.Conn, error) {
		if *socket != "" {
			return connmgr.DialLocal(ctx, *socket, network)
		}
		var errs []error
		for range peers {
			addr := peers[next%len(peers)]
			c, err := connmgr.Dial(ctx, addr, network)
			if err == nil {
				return c, nil
			}
			next++
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		}
		return nil, errors.Join(errs...)
	}
	if *submit != "" {
		return w.submit(ctx, *submit)
	}
	return w.run(ctx)
}

// given is how many are true.
func given(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}
