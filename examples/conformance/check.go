package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// check is one thing that the specification says about a node.
type check struct {
	id       string // group.name
	section  string // of the wire specification, "§4.5"
	expected string
	slow     bool // takes longer than a check may without -slow
	violates bool // breaks a rule on purpose: a fresh handshake must work afterwards
	run      func(ctx context.Context, n *node) (seen string, err error)
}

// skipError says why a check does not apply.
type skipError struct{ why string }

// Error returns the reason.
func (e *skipError) Error() string { return e.why }

func skipf(format string, args ...any) error { return &skipError{fmt.Sprintf(format, args...)} }

// setupError is a failure on the way to the point of a check.
type setupError struct{ err error }

// Error says how far the check came.
func (e *setupError) Error() string { return "before it came to that: " + e.err.Error() }

// Unwrap returns the cause.
func (e *setupError) Unwrap() error { return e.err }

func setup(err error) error {
	var skip *skipError
	if err == nil || errors.As(err, &skip) {
		return err
	}
	return &setupError{err}
}

// checks is all there is, in the order of the report.
func checks() []check {
	return slices.Concat(handshakeChecks(), muxChecks(), keepAliveChecks(), chainSyncChecks(), blockFetchChecks(), txSubmissionChecks(),
		peerSharingChecks(), clientChecks())
}

// ordered leaves out the slow checks, or puts them last.
func ordered(list []check, slow bool) []check {
	list = slices.DeleteFunc(slices.Clone(list), func(c check) bool { return c.slow && !slow })
	slices.SortStableFunc(list, func(a, b check) int {
		switch {
		case a.slow == b.slow:
			return 0
		case b.slow:
			return -1
		}
		return 1
	})
	return list
}

// judge runs the check and, if it breaks rules, a handshake after it.
func (c check) judge(ctx context.Context, n *node) result {
	began := time.Now()
	seen, err := c.run(ctx, n)
	res := result{check: c, verdict: pass, seen: seen}
	var skip *skipError
	var early *setupError
	switch {
	case errors.As(err, &skip):
		res.verdict, res.seen = notApplicable, skip.why
	case err != nil:
		res.verdict, res.seen, res.setup = fail, err.Error(), errors.As(err, &early)
	case c.violates:
		if err := n.recovered(ctx); err != nil {
			res.verdict, res.seen = fail, seen+", but then no fresh handshake: "+err.Error()
		}
	}
	res.seen = strings.Join(strings.Fields(res.seen), " ") // one line whatever errors contain
	res.took = time.Since(began)
	return res
}

// wrong is a check that sends something on an established connection that must end it.
type wrong struct {
	id, section, what string
	number            uint16
	bytes             []byte
}

// violations makes checks of wrongs on connections that start makes.
func violations(start func(n *node, ctx context.Context) (*link, error), list []wrong) []check {
	var cs []check
	for _, w := range list {
		cs = append(cs, check{id: w.id, section: w.section, expected: w.what + " ends the connection", violates: true,
			run: func(ctx context.Context, n *node) (string, error) {
				l, err := start(n, ctx)
				if err != nil {
					return "", setup(err)
				}
				defer l.close()
				l.send(w.number, w.bytes)
				return l.ended()
			}})
	}
	return cs
}
