// Devnet runs a network of complete nodes in one process, over loopback TCP, and watches blocks, transactions and
// artifacts travel through it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: devnet [-nodes 12] [-duration 0] [-chaos] [-http 127.0.0.1:7070] [-token T] [-seed 1] [-chain DIR] [-json]

N complete nodes on loopback TCP. Each has its own governor, which knows the others as public roots and decides which of them to be
connected to, its own connection manager, and artifact pools with gossip on connections of their own. One node produces a chain: the
blocks in -chain DIR, or one generated from the seed; the others follow their hot peers with chain-sync, fetch with block-fetch and
relay. Transactions and artifacts enter at random nodes. All that a node has is on the disk, in a temporary folder.
With -duration it stops by itself, checks that every node holds every block, transaction and artifact, and exits 0 only then. With
-chaos nodes are killed, restarted, slowed and partitioned, until half the time is over or 30 s are left, whichever is later. At -http
there are a live page, JSON under /api/ and Prometheus metrics at /metrics; -token guards what changes something there.`

func main() { cli.Main("devnet", run) }

// config is the command line.
type config struct {
	nodes    int
	duration time.Duration
	chaos    bool
	seed     uint64
	chain    string
	json     bool
	http     string
	token    string
}

// defaultHTTP is where the page is unless told otherwise; when it is taken, any free port of this host will do.
const defaultHTTP = "127.0.0.1:7070"

// working is how long blocks are produced and chaos reigns in a run that has an end; the rest is settling.
func (c config) working() time.Duration { return max(c.duration/2, c.duration-settle) }

// artifactEvery is how long between two artifacts.
func (c config) artifactEvery() time.Duration { return max(artifactEvery, c.working()/maxArtifacts) }

// expected is how many of something will be made that is made at this pace; 0 in a run without an end.
func (c config) expected(every time.Duration) int {
	return int(c.working()/every) + min(1, int(c.duration))
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var c config
	fs := cli.Flags("devnet", usage)
	fs.IntVar(&c.nodes, "nodes", 12, "number of nodes, 2 to 200")
	fs.DurationVar(&c.duration, "duration", 0, "stop and check after this time; 0 runs until interrupted")
	fs.BoolVar(&c.chaos, "chaos", false, "kill, restart, slow and partition nodes at random")
	fs.Uint64Var(&c.seed, "seed", 1, "seed of everything random")
	fs.StringVar(&c.chain, "chain", "", "folder of immutable-DB chunks or *.cbor blocks to produce")
	fs.BoolVar(&c.json, "json", false, "one JSON object a line on stdout")
	fs.StringVar(&c.http, "http", defaultHTTP, "address of the live page, the JSON API and /metrics; empty: none")
	fs.StringVar(&c.token, "token", "", "token for what changes something there; default: a random one, which is printed")
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
	explicit := false
	fs.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "http" })
	ln, err := listenHTTP(c.http, explicit)
	if err != nil {
		return err
	}
	if ln != nil {
		defer func() { _ = ln.Close() }() // the second time, unless it was not served
		if c.token == "" {
			c.token = rand.Text()
		}
		fmt.Fprintf(os.Stderr, "http://%s/#token=%s\n", ln.Addr(), c.token)
	}
	dir, err := os.MkdirTemp("", "devnet-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := prepare(c, dir)
	if err != nil {
		return err
	}
	return n.run(ctx, ln, newReport(stdout, c))
}

// listenHTTP listens for the page; nil for nowhere.
func listenHTTP(addr string, explicit bool) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", addr)
	if err == nil || explicit {
		return ln, err
	}
	slog.Warn("the default address of the page is taken, another port is used", "err", err)
	return net.Listen("tcp", "127.0.0.1:0")
}
