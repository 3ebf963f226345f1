package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: conformance -peer ADDR [-magic N] [-slow] [-json]

Checks the node at ADDR against the wire specification and prints pass, fail or n/a for each check. Exit status 1 if any fails.`

// parallel is how many checks run at a time; those that only wait for a long limit are not counted.
const parallel = 16

func main() { cli.Main("conformance", run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := cli.Flags("conformance", usage)
	peer := fs.String("peer", "", "`ADDR` of the node, host:port")
	magic := fs.Uint64("magic", uint64(connmgr.Mainnet), "network magic")
	slow := fs.Bool("slow", false, "check the limits that take up to 100 s too")
	asJSON := fs.Bool("json", false, "one JSON object a line")
	rest, err := fs.Parse(args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) > 0:
		return cli.Usagef("unexpected argument %q", rest[0])
	case *peer == "":
		return cli.Usagef("-peer ADDR is missing")
	case *magic > 1<<32-1:
		return cli.Usagef("-magic %d does not fit 32 bits", *magic)
	}
	if _, _, err := net.SplitHostPort(*peer); err != nil {
		return cli.Usagef("-peer: %w", err)
	}
	n := newNode(*peer, uint32(*magic), *slow, patient)
	if err := n.reachable(ctx); err != nil {
		return err
	}
	return examine(ctx, n, checks(), &report{out: stdout, json: *asJSON, peer: *peer})
}

// examine runs the checks and writes their results in the order of the list, the slow ones last.
func examine(ctx context.Context, n *node, list []check, r *report) error {
	list = ordered(list, n.slow)
	done := make([]chan result, len(list))
	for i := range done {
		done[i] = make(chan result, 1)
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, parallel)
	running.Go(func() {
		for i, c := range list {
			if c.slow {
				running.Go(func() { done[i] <- c.judge(ctx, n) })
			}
		}
		for i, c := range list {
			if c.slow {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			running.Go(func() {
				done[i] <- c.judge(ctx, n)
				<-slots
			})
		}
	})
	began := time.Now()
	for i := range done {
		select {
		case res := <-done[i]:
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted after %d of %d checks", i, len(done))
			}
			if err := r.result(res); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("interrupted after %d of %d checks", i, len(done))
		}
	}
	if err := r.summary(time.Since(began)); err != nil {
		return err
	}
	if r.failed > 0 {
		return fmt.Errorf("%d of %d checks failed", r.failed, len(list))
	}
	return nil
}
