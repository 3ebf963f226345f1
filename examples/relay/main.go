// Command relay is a governed relay node built from Hearth's packages.
//
//	relay -check -topology FILE [-lenient] [-json]
//
// checks a topology file: it prints every problem with line and column, or the content as read, and exits with status 1 when
// the file is to be refused.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit statuses of all examples.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// options are the command line.
type options struct {
	check    bool
	topology string
	lenient  bool
	json     bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings passed in; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.check, "check", false, "only check the topology file and print its problems, or its content")
	flags.StringVar(&o.topology, "topology", "", "topology `FILE` of cardano-node")
	flags.BoolVar(&o.lenient, "lenient", false, "accept exactly what cardano-node accepts")
	flags.BoolVar(&o.json, "json", false, "print JSON on stdout, one object a line")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "relay: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	case !o.check:
		fmt.Fprintln(stderr, "relay: nothing to do; -check -topology FILE checks a topology file")
		return exitUsage
	case o.topology == "":
		fmt.Fprintln(stderr, "relay: -check needs -topology FILE")
		return exitUsage
	}
	return check(o, stdout, stderr)
}
