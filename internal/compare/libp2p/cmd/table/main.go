// Command table prints artifact gossip's figures beside gossipsub's, measured in turns in one run: sixteen nodes of degree 7 over
// loopback TCP.
//
//	go run ./cmd/table [-rounds 3] [-time 3s] [-only REGEXP]
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/hearthnet/hearth/internal/compare/libp2p"
)

func main() {
	rounds := flag.Int("rounds", 3, "rounds; in each `number` of them every implementation has one turn")
	about := flag.Duration("time", 3*time.Second, "how long one turn lasts, about, once the swarm has settled")
	only := flag.String("only", "", "only the rows that match this `regexp`")
	flag.Parse()
	if err := run(*rounds, *about, *only); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(rounds int, about time.Duration, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	for _, r := range libp2p.Rows() {
		if !match.MatchString(r.Name) {
			continue
		}
		lines, err := libp2p.Measure(r, max(rounds, 1), about)
		if err != nil {
			return err
		}
		if err := libp2p.Print(os.Stdout, r, lines); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}
