package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Verdicts.
const (
	pass          = "pass"
	fail          = "fail"
	notApplicable = "n/a"
)

// result is the outcome of one check.
type result struct {
	check
	verdict string
	seen    string
	setup   bool // failed before the point of the check was reached
	took    time.Duration
}

// report prints results and counts them.
type report struct {
	out  io.Writer
	json bool
	peer string

	passed, failed, skipped int
}

func (r *report) result(res result) error {
	switch res.verdict {
	case pass:
		r.passed++
	case fail:
		r.failed++
	default:
		r.skipped++
	}
	if !r.json {
		_, err := fmt.Fprintf(r.out, "%-4s  %-34s wire %-6s  expected: %s; seen: %s\n", res.verdict, res.id, res.section, res.expected, res.seen)
		return err
	}
	return r.line(map[string]any{"event": "check", "id": res.id, "section": res.section, "expected": res.expected, "seen": res.seen,
		"result": res.verdict, "ms": res.took.Milliseconds()})
}

func (r *report) summary(took time.Duration) error {
	if !r.json {
		_, err := fmt.Fprintf(r.out, "%s: %d passed, %d failed, %d not applicable, in %.1f s\n", r.peer, r.passed, r.failed, r.skipped, took.Seconds())
		return err
	}
	return r.line(map[string]any{"event": "summary", "peer": r.peer, "pass": r.passed, "fail": r.failed, "na": r.skipped, "ms": took.Milliseconds()})
}

func (r *report) line(v map[string]any) error {
	enc := json.NewEncoder(r.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
