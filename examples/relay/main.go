// Command relay is a relay node built from Hearth's packages.
//
//	relay -listen ADDR [-peer ADDR]... [-magic N] [-socket PATH] [-chain DIR] [-mempool DIR] [-mempool-bytes N]
//
// serves the chain in a folder, follows the peers it is given, relays transactions, shares peers and answers local clients on
// a Unix socket.
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
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
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

const usage = `usage: relay -listen ADDR [-peer ADDR]... [-magic N] [-socket PATH] [-chain DIR] [-mempool DIR] [-mempool-bytes N]
       relay -check -topology FILE [-lenient] [-json]

The first form serves the chain in DIR and follows its peers, relays transactions, shares peers and answers local clients
on a Unix socket. A file in the -mempool folder is a transaction: raw (taken for one of the Conway era) or as [era, #24(bytes)].
Those that peers send are written there as HEXID.tx, raw if they are of the Conway era. The folder is read again at start.

The second form checks a topology file: every problem with line and column, or the content as read.

`

// options are the command line.
type options struct {
	check    bool
	topology string
	lenient  bool
	json     bool
	node     nodeOptions
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
	flags.BoolVar(&o.check, "check", false, "only check the topology file and print its problems, or its content")
	flags.StringVar(&o.topology, "topology", "", "topology `FILE` of cardano-node")
	flags.BoolVar(&o.lenient, "lenient", false, "accept exactly what cardano-node accepts")
	flags.BoolVar(&o.json, "json", false, "print JSON on stdout, one object a line")
	flags.StringVar(&o.node.listen, "listen", "", "`ADDR` to serve node-to-node on, such as :3001")
	flags.Var((*cli.Strings)(&o.node.peers), "peer", "`ADDR` of a peer to connect to; may be given several times")
	flags.Uint64Var(&o.node.magic, "magic", uint64(connmgr.Mainnet), "network magic")
	flags.StringVar(&o.node.socket, "socket", "", "`PATH` of the Unix socket to serve node-to-client on")
	flags.StringVar(&o.node.chain, "chain", "", "folder of immutable-DB chunks or *.cbor blocks to serve")
	flags.StringVar(&o.node.mempool, "mempool", "", "folder of transactions: what is put there is offered, what comes in is written there")
	flags.IntVar(&o.node.mempoolBytes, "mempool-bytes", 128<<20, "most bytes of transactions; when they are reached no more are asked for, and nothing is dropped")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "relay: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	case !o.check && o.node.listen == "":
		fmt.Fprintln(stderr, "relay: nothing to do; -listen ADDR runs a relay, -check -topology FILE checks a topology file")
		return exitUsage
	case !o.check && o.topology != "":
		fmt.Fprintln(stderr, "relay: -topology is for -check; peers are given with -peer")
		return exitUsage
	case o.node.magic > 1<<32-1, o.node.mempoolBytes <= 0:
		fmt.Fprintln(stderr, "relay: -magic must fit 32 bits and -mempool-bytes be positive")
		return exitUsage
	case !o.check:
		return serve(ctx, o.node, stderr)
	case o.topology == "":
		fmt.Fprintln(stderr, "relay: -check needs -topology FILE")
		return exitUsage
	}
	return check(o, stdout, stderr)
}

// serve runs a relay until ctx ends.
func serve(ctx context.Context, o nodeOptions, stderr io.Writer) int {
	slog.SetDefault(slog.New(slog.NewTextHandler(stderr, nil)))
	if os.Getenv("GOMEMLIMIT") == "" { // garbage must not come on top of a full mempool
		debug.SetMemoryLimit(int64(o.mempoolBytes) + 40<<20)
	}
	n, err := newNode(ctx, o)
	if err == nil {
		err = errors.Join(n.run(ctx), n.close())
	}
	return cli.Code("relay", err, stderr)
}
