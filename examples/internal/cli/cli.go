// Package cli is what Hearth's example commands have in common: flags, exit codes, logs and JSON lines.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// UsageError is a command line that cannot be understood; the command exits with 2.
type UsageError struct{ Err error }

// Error returns the reason.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a [*UsageError].
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Main runs a command and exits: 0 on success, 1 with one line on stderr on failure, 2 on bad usage. The context ends with SIGINT or
// SIGTERM; a second signal ends the process at once.
func Main(name string, run func(ctx context.Context, args []string, stdout io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	code := Code(name, run(ctx, os.Args[1:], os.Stdout), os.Stderr)
	stop()
	os.Exit(code)
}

// Code reports err and returns the exit code for it.
func Code(name string, err error, stderr io.Writer) int {
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v (-h explains)\n", name, err)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return 1
}

// Flags returns a flag set whose help starts with usage, a line or more.
func Flags(name, usage string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		fmt.Fprintf(os.Stdout, "%s\n\n", usage)
		fs.SetOutput(os.Stdout)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// Parse parses args, flags and others in any order, and returns the others.
func Parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &UsageError{err}
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// Lines writes JSON objects, one a line, or nothing. It is safe for concurrent use.
type Lines struct {
	mu  sync.Mutex
	out *json.Encoder
	err error
}

// NewLines returns a writer; with a nil w everything is dropped.
func NewLines(w io.Writer) *Lines {
	if w == nil {
		return &Lines{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &Lines{out: enc}
}

// Write writes v. The first failure stays and is returned from then on.
func (l *Lines) Write(v any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil && l.err == nil {
		l.err = l.out.Encode(v)
	}
	return l.err
}

// Strings is a flag that may be given several times.
type Strings []string

// String implements [flag.Value].
func (s *Strings) String() string { return fmt.Sprint([]string(*s)) }

// Set implements [flag.Value].
func (s *Strings) Set(v string) error {
	*s = append(*s, v)
	return nil
}
