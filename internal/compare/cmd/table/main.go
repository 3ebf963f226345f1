// Command table prints Hearth's figures beside those of other implementations, measured in turns in one run.
//
//	go run ./cmd/table [-rounds 5] [-time 200ms] [-only REGEXP] [-pairs 1000]
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/hearthnet/hearth/internal/compare/figures"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds; each `number` of them runs every subject once")
	about := flag.Duration("time", 200*time.Millisecond, "how long one subject runs in a round, about")
	only := flag.String("only", "", "only the rows that match this `regexp`; idle connections are \"idle\"")
	pairs := flag.Int("pairs", 1000, "idle connections")
	flag.Parse()
	if err := run(*rounds, *about, *only, *pairs); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(rounds int, about time.Duration, only string, pairs int) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if match.MatchString("idle") {
		costs, err := figures.Idle(pairs)
		if err != nil {
			return err
		}
		if err := figures.PrintIdle(os.Stdout, costs); err != nil {
			return err
		}
	}
	for _, r := range figures.Rows() {
		if !match.MatchString(r.Name) {
			continue
		}
		lines, err := figures.Measure(r, rounds, about)
		if err != nil {
			return err
		}
		fmt.Println()
		if err := figures.Print(os.Stdout, r, lines); err != nil {
			return err
		}
	}
	return nil
}
