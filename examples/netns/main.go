// Netns runs eight relays, each in a network namespace of its own, over three regions with delay and loss between them, so that the
// kernel's TCP has what it has on the Internet. It cuts a region off for a while and sees everything arrive in the end.
package main

import (
	"context"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

const usage = `usage: netns [-whole 40s] [-cut 60s] [-seed 1] [-bin DIR] [-dir DIR] [-out FILE] [-json]

Makes network namespaces with ip-netns(8) for three regions of two or three relays, and a block producer in the first. Cables inside a
region have a round trip of 5 ms; those between regions 90 to 250 ms and a loss of 0.5 to 2 %, by netem where the kernel has it, else by
a link of its own between TUN devices. Every relay has a gossip process beside it. Blocks, transactions and artifacts enter all the time.
After -whole the third region's cables are cut for the time -cut. It exits 0 only if everything is everywhere in the end, and
nothing of it is left on this machine: no process, namespace or device. Where namespaces are not permitted it says so and exits 0.

It takes at most four minutes, needs root, and reaches nothing outside of its namespaces. The report goes to stdout, and as JSON to the
file -out; with -json stdout gets one JSON object a line. The commands relay and gossip are those in -bin, else they are built.
Logs, data and every delivery stay in the folder -dir, which must be empty or not there; without it they stay only after a failure.`

// The process that starts others must not lose the thread it started them from: they are told to die with it.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) > 1 && os.Args[1] == produceCommand {
		os.Args = append(os.Args[:1], os.Args[2:]...)
		cli.Main("netns "+produceCommand, produce)
	}
	cli.Main("netns", run)
}

// options are the command line.
type options struct {
	whole, cut time.Duration
	seed       uint64
	bin        string
	dir        string
	out        string
	json       bool
}

// A run in all, and what becomes of it in the end.
const (
	timeLimit = 4 * time.Minute
	closeTime = 10 * time.Second // of it, for the end
)

func parse(args []string) (o options, err error) {
	fs := cli.Flags("netns", usage)
	fs.DurationVar(&o.whole, "whole", 40*time.Second, "how long all cables are whole at first")
	fs.DurationVar(&o.cut, "cut", time.Minute, "how long the third region is cut off; 0: never")
	fs.Uint64Var(&o.seed, "seed", 1, "seed of losses, blocks, transactions and artifacts")
	fs.StringVar(&o.bin, "bin", "", "folder of the commands relay and gossip")
	fs.StringVar(&o.dir, "dir", "", "folder for logs and data, which stay")
	fs.StringVar(&o.out, "out", "", "file for the report as JSON")
	fs.BoolVar(&o.json, "json", false, "one JSON object a line on stdout")
	rest, err := fs.Parse(args)
	switch {
	case err != nil:
		return o, err
	case len(rest) > 0:
		return o, cli.Usagef("unexpected %q", rest[0])
	case o.whole < 0 || o.cut < 0 || o.whole+o.cut > timeLimit-time.Minute:
		return o, cli.Usagef("-whole %v and -cut %v: want at least 0, at most %v together", o.whole, o.cut, timeLimit-time.Minute)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return simulate(ctx, o, stdout)
}
