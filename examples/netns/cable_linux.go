package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/hearthnet/hearth/internal/tunlink"
)

// end is one end of a cable: a device in a namespace.
type end struct {
	ns, dev string
	out     tunlink.Params // of what leaves here
}

// cable connects two ends that it has made, and unmakes them when it is closed or their namespaces are gone.
type cable interface {
	setCut(ctx context.Context, cut bool) error
	counters() (c [2]tunlink.Counters, ok bool) // by the end where packets go in
	close() error
}

// tunCable is a link in this process.
type tunCable struct{ *tunlink.Link }

func newTunCable(ends [2]end, seed uint64) (cable, error) {
	a, err := tunlink.Open(ends[0].ns, ends[0].dev)
	if err != nil {
		return nil, err
	}
	b, err := tunlink.Open(ends[1].ns, ends[1].dev)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	l, err := tunlink.NewLink(a, b, ends[0].out, ends[1].out, seed)
	if err != nil {
		return nil, err
	}
	return tunCable{l}, nil
}

func (c tunCable) setCut(_ context.Context, cut bool) error { c.SetCut(cut); return nil }

func (c tunCable) counters() (n [2]tunlink.Counters, ok bool) {
	n[0], n[1] = c.Counters()
	return n, true
}

func (c tunCable) close() error { return c.Close() }

// netemCable is a veth pair with netem at both ends.
type netemCable [2]end

func newNetemCable(ctx context.Context, ends [2]end) (cable, error) {
	c := netemCable(ends)
	// Without segmentation offload a packet is what the wire would have, and is lost as one.
	if err := command(ctx, "", "ip", "link", "add", ends[0].dev, "netns", ends[0].ns, "gso_max_segs", "1", "type", "veth",
		"peer", "name", ends[1].dev, "netns", ends[1].ns, "gso_max_segs", "1"); err != nil {
		return nil, err
	}
	for _, e := range c {
		if err := command(ctx, "", "tc", e.netem("add", false)...); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// netem is how tc is called. There is no jitter: netem's lets packets overtake each other.
func (e end) netem(verb string, cut bool) []string {
	loss := e.out.Loss * 100
	if cut {
		loss = 100
	}
	packets := e.out.Bound() / 1500
	return []string{"-n", e.ns, "qdisc", verb, "dev", e.dev, "root", "netem", "limit", fmt.Sprint(packets),
		"delay", fmt.Sprintf("%dus", e.out.Delay.Microseconds()), "loss", fmt.Sprintf("%g%%", loss), "rate", fmt.Sprintf("%dbit", e.out.Rate*8)}
}

func (c netemCable) setCut(ctx context.Context, cut bool) error {
	for _, e := range c {
		if err := command(ctx, "", "tc", e.netem("change", cut)...); err != nil {
			return err
		}
	}
	return nil
}

func (netemCable) counters() (n [2]tunlink.Counters, ok bool) { return n, false }

func (netemCable) close() error { return nil } // it goes with its namespaces

// command runs a command to its end and returns what it says if it fails.
func command(ctx context.Context, stdin, name string, args ...string) error {
	_, err := output(ctx, stdin, name, args...)
	return err
}

func output(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
