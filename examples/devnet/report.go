package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hearthnet/hearth/examples/internal/cli"
)

// report tells people on stderr and programs on stdout what happens.
type report struct {
	out   io.Writer
	lines *cli.Lines
	json  bool
}

func newReport(stdout io.Writer, c config) *report {
	r := &report{out: stdout, json: c.json, lines: cli.NewLines(nil)}
	if c.json {
		r.lines = cli.NewLines(stdout)
	}
	return r
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type stateLine struct {
	Event     string  `json:"event"`
	Seconds   float64 `json:"seconds,omitempty"`
	Nodes     int     `json:"nodes"`
	Blocks    int     `json:"blocks"`
	Complete  int     `json:"complete"`
	Txs       int     `json:"txs"`
	Artifacts int     `json:"artifacts"`
	P50       float64 `json:"p50_ms"`
	P95       float64 `json:"p95_ms"`
}

func line(event string, s state) stateLine {
	return stateLine{Event: event, Nodes: s.nodes, Blocks: s.blocks, Complete: s.complete, Txs: s.txs, Artifacts: s.artifacts, P50: ms(s.p50), P95: ms(s.p95)}
}

// progress says once a second where the network is, until ctx ends.
func (r *report) progress(ctx context.Context, n *network) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		s := n.state()
		l := line("progress", s)
		l.Seconds = time.Since(n.began).Round(time.Second).Seconds()
		fmt.Fprintf(os.Stderr, "%4.0f s  %d of %d nodes up (%d cut off, %d slow), %d blocks made, the last node has %d, %d transactions, %d artifacts, %d nodes have all; diffusion p50 %.1f ms, p95 %.1f ms\n",
			l.Seconds, s.up, s.nodes, s.apart, s.slow, s.blocks, s.least, s.txs, s.artifacts, s.complete, l.P50, l.P95)
		if err := r.lines.Write(l); err != nil {
			return err
		}
	}
}

func (r *report) summary(s state) error {
	if r.json {
		return r.lines.Write(line("summary", s))
	}
	_, err := fmt.Fprintf(r.out, "%d of %d nodes hold all %d blocks, %d transactions and %d artifacts; diffusion p50 %.1f ms, p95 %.1f ms\n",
		s.complete, s.nodes, s.blocks, s.txs, s.artifacts, ms(s.p50), ms(s.p95))
	return err
}
