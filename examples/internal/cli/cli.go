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
	"strings"
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
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	line := strings.ReplaceAll(err.Error(), "\n", "; ") // several joined
	var usage *UsageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "%s: %s (-h explains)\n", name, line)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, line)
	return 1
}

// Set is a set of flags that come in any order, before, between and after other arguments.
type Set struct {
	*flag.FlagSet
	usage string
}

// Flags returns a flag set whose help starts with usage, a line or more.
func Flags(name, usage string) *Set {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return &Set{fs, usage}
}

// Parse parses args and returns those that are no flags. Asked for help, it prints it and fails with [flag.ErrHelp].
func (fs *Set) Parse(args []string) (rest []string, err error) {
	for {
		err := fs.FlagSet.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stdout, "%s\n\n", fs.usage)
			fs.SetOutput(os.Stdout)
			fs.PrintDefaults()
			return nil, err
		}
		if err != nil {
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
