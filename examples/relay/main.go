// Command relay is a relay node built from Hearth's packages.
//
//	relay -listen ADDR [-topology FILE] [-preset relay|producer|wallet|private] [-peer ADDR]... [-lenient] [-magic N] [-socket PATH]
//	      [-chain DIR] [-mempool DIR] [-mempool-bytes N] [-peers FILE] [-http ADDR] [-token T] [-json]
//
// serves the chain in a folder, keeps itself connected as the topology says, follows its hot peers, relays transactions, shares
// peers and answers local clients on a Unix socket. SIGHUP makes it read the topology again.
//
//	relay -check -topology FILE [-lenient] [-json]
//
// checks a topology file: it prints every problem with line and column, or the content as read, and exits with status 1 when
// the file is to be refused.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

// Exit statuses of all examples.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

const usage = `usage: relay -listen ADDR [-topology FILE] [-preset relay|producer|wallet|private] [-peer ADDR]... [-lenient] [-magic N]
             [-socket PATH] [-chain DIR] [-mempool DIR] [-mempool-bytes N] [-peers FILE] [-http ADDR] [-token T] [-json]
       relay -check -topology FILE [-lenient] [-json]

The first form serves the chain in DIR, keeps itself connected as the topology says, follows its hot peers, relays transactions, shares
peers and answers local clients on a Unix socket. SIGHUP makes it read the topology again: what that changes is printed first, and a
file with mistakes is refused while the one before stays.

Presets: relay, the default, is a public relay. producer and private connect to local roots and to nobody else, and share no peers;
producer keeps the targets of a block producer, private does not churn. wallet accepts no connections, so -listen is not needed, and
keeps three peers. Without a topology file there are the peers of -peer and whoever connects, who is followed in return at once.

A file in the -mempool folder is a transaction: raw (taken for one of the Conway era) or as [era, #24(bytes)]. Those that peers send
are written there as HEXID.tx, raw if they are of the Conway era. The folder is read again at start.

At -http are a live page, JSON under /api/ and Prometheus metrics at /metrics. With -json stdout gets an object for each decision,
connection, block and reload.

The second form checks a topology file: every problem with line and column, or the content as read.

`

// options are the command line.
type options struct {
	check bool
	json  bool
	node  nodeOptions
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	n := &o.node
	flags.BoolVar(&o.check, "check", false, "only check the topology file and print its problems, or its content")
	flags.StringVar(&n.topology, "topology", "", "topology `FILE` of cardano-node; one in a retired format is converted")
	flags.BoolVar(&n.lenient, "lenient", false, "accept exactly what cardano-node accepts")
	flags.BoolVar(&o.json, "json", false, "print JSON on stdout, one object a line")
	flags.StringVar(&n.listen, "listen", "", "`ADDR` to serve node-to-node on, such as :3001")
	flags.StringVar(&n.preset, "preset", "relay", "`NAME` of a configuration: relay, producer, wallet or private")
	flags.Var((*cli.Strings)(&n.peers), "peer", "`ADDR` of a peer to be connected to always; may be given several times")
	flags.Uint64Var(&n.magic, "magic", uint64(connmgr.Mainnet), "network magic")
	flags.StringVar(&n.socket, "socket", "", "`PATH` of the Unix socket to serve node-to-client on")
	flags.StringVar(&n.chain, "chain", "", "folder of immutable-DB chunks or *.cbor blocks to serve")
	flags.StringVar(&n.mempool, "mempool", "", "folder of transactions: what is put there is offered, what comes in is written there")
	flags.IntVar(&n.mempoolBytes, "mempool-bytes", 128<<20, "most bytes of transactions; when they are reached no more are asked for, and nothing is dropped")
	flags.StringVar(&n.store, "peers", "", "`FILE` in which the peers it knows survive a restart")
	flags.StringVar(&n.http, "http", "", "`ADDR` of the live page, the JSON API and /metrics, such as 127.0.0.1:7071")
	flags.StringVar(&n.token, "token", "", "token for what changes something at -http; default: a random one, which is printed")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	if err := o.validate(flags.Args()); err != nil {
		return cli.Code("relay", err, stderr)
	}
	if o.check {
		return check(o, stdout, stderr)
	}
	if !o.json {
		stdout = nil
	}
	return cli.Code("relay", serve(ctx, o.node, stdout, stderr), stderr)
}

func (o *options) validate(rest []string) error {
	n := &o.node
	switch {
	case len(rest) > 0:
		return cli.Usagef("unexpected argument %q", rest[0])
	case o.check && n.topology == "":
		return cli.Usagef("-check needs -topology FILE")
	case o.check:
		return nil
	case !slices.Contains(presets, n.preset):
		return cli.Usagef("-preset %q, want one of %q", n.preset, presets)
	case n.listen == "" && n.preset != wallet:
		return cli.Usagef("nothing to do; -listen ADDR runs a relay, -check -topology FILE checks a topology file")
	case n.magic > 1<<32-1, n.mempoolBytes <= 0:
		return cli.Usagef("-magic must fit 32 bits and -mempool-bytes be positive")
	}
	return nil
}
