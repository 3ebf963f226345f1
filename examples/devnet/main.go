// Devnet runs a network of complete nodes in one process, over loopback TCP, and watches blocks and transactions travel through it.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: devnet [-nodes 12] [-duration 0] [-chaos] [-seed 1] [-chain DIR] [-json]

N complete nodes on loopback TCP. Each has its own governor, which knows the others as public roots and decides which of them to be
connected to, and its own connection manager. One node produces a chain: the blocks in -chain DIR, or one generated from the seed;
the others follow their hot peers with chain-sync, fetch with block-fetch and relay. Transactions enter at random nodes.
With -duration it stops by itself, checks that every node holds every block and every transaction, and exits 0 only then.
With -chaos nodes are killed, restarted, slowed and partitioned, until half the time is over or 30 s are left, whichever is later.`

func main() { cli.Main("devnet", run) }

// config is the command line.
type config struct {
	nodes    int
	duration time.Duration
	chaos    bool
	seed     uint64
	chain    string
	json     bool
}

// working is how long blocks are produced and chaos reigns in a run that has an end; the rest is settling.
func (c config) working() time.Duration { return max(c.duration/2, c.duration-settle) }

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var c config
	fs := cli.Flags("devnet", usage)
	fs.IntVar(&c.nodes, "nodes", 12, "number of nodes, 2 to 200")
	fs.DurationVar(&c.duration, "duration", 0, "stop and check after this time; 0 runs until interrupted")
	fs.BoolVar(&c.chaos, "chaos", false, "kill, restart, slow and partition nodes at random")
	fs.Uint64Var(&c.seed, "seed", 1, "seed of everything random")
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
