package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/examples/internal/cli"
	"github.com/hearthnet/hearth/examples/internal/node"
	"github.com/hearthnet/hearth/governor"
	"github.com/hearthnet/hearth/topology"
)

// magic of the network.
const magic = connmgr.Network(42)

// produceCommand makes this program the block producer.
const produceCommand = "produce"

// made is a line that the producer prints.
type made struct {
	Hash  string    `json:"hash"`
	At    time.Time `json:"at"` // just before anybody could have it
	Bytes int       `json:"bytes"`
}

// produce runs a governed node that makes a block for each line on its standard input.
func produce(ctx context.Context, args []string, stdout io.Writer) (err error) {
	fs := cli.Flags("netns "+produceCommand, "usage: netns "+produceCommand+" -listen ADDR -topology FILE [-seed N]")
	listen := fs.String("listen", "", "address to serve on")
	file := fs.String("topology", "", "topology file")
	seed := fs.Uint64("seed", 1, "seed of the chain")
	if _, err := fs.Parse(args); err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	read, err := topology.ReadFile(*file, topology.Options{})
	if err = errors.Join(err, read.Err()); err != nil {
		return err
	}
	ln, err := connmgr.ListenTCP(ctx, at)
	if err != nil {
		return err
	}
	g := governor.BlockProducer()
	g.Seed = *seed
	n, err := node.Start(node.Config{Network: magic, Listeners: []net.Listener{ln}, Topology: read.Topology, Governor: g, Log: slog.Default()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	wanted := make(chan struct{})
	go func() { // ends with the process at the latest
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			wanted <- struct{}{}
		}
	}()
	lines, gen := cli.NewLines(stdout), chain.NewGenerator(*seed)
	for {
		select {
		case <-wanted:
		case <-ctx.Done():
			return nil
		}
		item := gen.Next(nil)
		now := time.Now()
		p, err := n.Chain().Append(item)
		if err != nil {
			return err
		}
		if err := lines.Write(made{hex.EncodeToString(p.Hash[:]), now, len(item)}); err != nil {
			return err
		}
	}
}
