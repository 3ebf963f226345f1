// Devnet runs a network of complete nodes in one process, over loopback TCP, and watches blocks travel through it.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: devnet [-nodes 12] [-duration 0] [-seed 1] [-chain DIR] [-json]

N nodes on loopback TCP, each connected to a few others at random. One of them produces a chain: the blocks in -chain DIR, or
one generated from the seed; every other node follows its neighbours with chain-sync, fetches with block-fetch and relays.
With -duration it stops by itself, checks that every node holds every block, and exits 0 only then.`

func main() { cli.Main("devnet", run) }

// config is the command line.
type config struct {
	nodes    int
	duration time.Duration
	seed     uint64
	chain    string
	json     bool
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var c config
	fs := cli.Flags("devnet", usage)
	fs.IntVar(&c.nodes, "nodes", 12, "number of nodes, 2 to 200")
	fs.DurationVar(&c.duration, "duration", 0, "stop and check after this time; 0 runs until interrupted")
	fs.Uint64Var(&c.seed, "seed", 1, "seed of the graph and of the generated chain")
	fs.StringVar(&c.chain, "chain", "", "folder of immutable-DB chunks or *.cbor blocks to produce")
	fs.BoolVar(&c.json, "json", false, "one JSON object a line on stdout")
	rest, err := fs.Parse(args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return cli.Usagef("unexpected %q", rest[0])
	case c.nodes < 2 || c.nodes > 200:
		return cli.Usagef("-nodes %d, want 2 to 200", c.nodes)
	case c.duration < 0:
		return cli.Usagef("-duration %v is negative", c.duration)
	}
	dir, err := os.MkdirTemp("", "devnet-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := newNetwork(c, dir)
	if err != nil {
		return err
	}
	return n.run(ctx, newReport(stdout, c))
}
