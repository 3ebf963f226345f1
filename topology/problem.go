package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxProblems is the largest number of problems that a report lists one by one (governor §8.3). One more entry says how many
// were left out.
const MaxProblems = 1000

// Severity tells whether a problem makes a host refuse the file.
type Severity uint8

// The two severities.
const (
	Warning Severity = iota // worth knowing; the file is used
	Error                   // the file is refused
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// MarshalText writes "error" or "warning".
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Problem is one thing that is wrong with a file (governor §8.3).
type Problem struct {
	Severity Severity `json:"severity"`
	File     string   `json:"-"`      // as given in the options; may be empty
	Line     int      `json:"line"`   // from 1
	Column   int      `json:"column"` // from 1, in bytes
	Field    string   `json:"field"`  // JSON pointer (RFC 6901), "" for the whole document
	Message  string   `json:"message"`
}

// String renders the problem as compilers do: file:line:column: severity: field: message.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	fmt.Fprintf(&b, "%d:%d: %s: ", p.Line, p.Column, p.Severity)
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// InvalidError says that a file is refused. It holds every problem, warnings included, in document order.
type InvalidError struct {
	File     string
	Problems []Problem
}

// Error names the file, the first error in it and how many others there are.
func (e *InvalidError) Error() string {
	first, errors := "", 0
	for _, p := range e.Problems {
		if p.Severity == Error {
			if errors++; errors == 1 {
				first = p.String()
			}
		}
	}
	if errors > 1 {
		return fmt.Sprintf("%s (and %d more)", first, errors-1)
	}
	return first
}

// Fault says that the mistake is ours, not a peer's.
func (e *InvalidError) Fault() string { return "internal" }

// invalid returns an *InvalidError when there is an error among the problems.
func invalid(file string, problems []Problem) error {
	for _, p := range problems {
		if p.Severity == Error {
			return &InvalidError{File: file, Problems: problems}
		}
	}
	return nil
}

// path is where the walk through a document stands; it lives on the walker's stack and becomes a JSON pointer only when a
// problem is reported.
type path struct {
	up    *path
	key   string
	index int // -1 for a key
}

func (p *path) key1(key string) path { return path{up: p, key: key, index: -1} }
func (p *path) at(i int) path        { return path{up: p, index: i} }

func (p *path) pointer() string {
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p *path) write(b *strings.Builder) {
	if p == nil || p.up == nil {
		return
	}
	p.up.write(b)
	if p.index < 0 {
		writePointerKey(b, p.key)
	} else {
		b.WriteString("/" + strconv.Itoa(p.index))
	}
}

// problemList collects problems in any order and gives them out in document order. It holds at most four times MaxProblems.
type problemList struct {
	found   []foundProblem
	dropped int
	last    int  // where the last one that was kept stands
	severe  bool // one of the dropped is an error
	errors  int
}

type foundProblem struct {
	offset, serial int
	Problem
}

// wants counts a problem that is too far down the document to be listed, and says so; its text need not be made then.
func (l *problemList) wants(s Severity, offset int) bool {
	if l.dropped == 0 || offset <= l.last {
		return true
	}
	if s == Error {
		l.errors++
		l.severe = true
	}
	l.dropped++
	return false
}

func (l *problemList) add(s Severity, offset int, field, message string) {
	if s == Error {
		l.errors++
	}
	l.found = append(l.found, foundProblem{offset, len(l.found), Problem{Severity: s, Field: field, Message: message}})
	if len(l.found) >= 4*MaxProblems {
		l.cut()
	}
}

// cut sorts and keeps the first MaxProblems.
func (l *problemList) cut() {
	slices.SortFunc(l.found, func(a, b foundProblem) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.serial, b.serial))
	})
	if len(l.found) <= MaxProblems {
		return
	}
	for i, p := range l.found[MaxProblems:] {
		l.dropped++
		l.severe = l.severe || p.Severity == Error
		l.found[MaxProblems+i] = foundProblem{}
	}
	l.found = l.found[:MaxProblems]
	for i := range l.found {
		l.found[i].serial = i
	}
	l.last = l.found[MaxProblems-1].offset
}

// finish works out lines and columns in one sweep over the source.
func (l *problemList) finish(src []byte, file string) []Problem {
	l.cut()
	out := make([]Problem, 0, len(l.found)+1)
	line, start, pos := 1, 0, 0
	for _, p := range l.found {
		for ; pos < p.offset && pos < len(src); pos++ {
			if src[pos] == '\n' {
				line++
				start = pos + 1
			}
		}
		p.File, p.Line, p.Column = file, line, p.offset-start+1
		out = append(out, p.Problem)
	}
	if l.dropped > 0 {
		last := out[len(out)-1]
		s := Warning
		if l.severe {
			s = Error
		}
		out = append(out, Problem{Severity: s, File: file, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("and %d more", l.dropped)})
	}
	return out
}
