package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is an example that runs as a process of its own.
type program struct {
	name string
	t    testing.TB
	cmd  *exec.Cmd
	done chan error

	mu          sync.Mutex
	events      []programEvent
	connections int      // as its events say
	said        []string // the last lines of stderr
	looks       []look
}

// look is how many there were at some time.
type look struct{ goroutines, connections int }

// programEvent is a line of stdout: of relay and wallet, what their tests look at.
type programEvent struct {
	Event string `json:"event"`
	Name  string `json:"name"`
	Addr  string `json:"addr"`
	Slot  uint64 `json:"slot"`
	Hash  string `json:"hash"`
	Error string `json:"error"`
}

// runProgram starts a program for the test's time. Its runtime says every so often what goroutines there are.
func runProgram(t testing.TB, name string, census time.Duration, path string, args ...string) *program {
	t.Helper()
	p := &program{name: name, t: t, cmd: exec.Command(path, args...), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("GODEBUG=schedtrace=%d,scheddetail=1", census.Milliseconds()))
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	said, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	var readers sync.WaitGroup
	readers.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e programEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = programEvent{Event: "no JSON", Error: lines.Text()}
			}
			p.mu.Lock()
			p.events = append(p.events, e)
			switch e.Name {
			case "connected", "accepted":
				p.connections++
			case "disconnected":
				p.connections--
			}
			p.mu.Unlock()
		}
	})
	readers.Go(func() { p.listen(bufio.NewScanner(said)) })
	go func() {
		readers.Wait()
		p.done <- p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		for range p.done {
		}
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s said last:\n%s", p.name, strings.Join(p.said, "\n"))
		}
	})
	return p
}

// Lines of the runtime's census. Goroutines in status 0 and 6 are not there.
var (
	censusLine    = regexp.MustCompile(`^(SCHED |  [PMG]\d+: )`)
	goroutineLine = regexp.MustCompile(`^  G\d+: status=[^06]`)
)

func (p *program) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		b := lines.Bytes()
		p.mu.Lock()
		switch {
		case bytes.HasPrefix(b, []byte("SCHED ")):
			p.looks = append(p.looks, look{connections: p.connections})
		case goroutineLine.Match(b) && len(p.looks) > 0:
			p.looks[len(p.looks)-1].goroutines++
		case !censusLine.Match(b):
			if p.said = append(p.said, string(b)); len(p.said) > 200 {
				p.said = p.said[100:]
			}
		}
		p.mu.Unlock()
	}
}

// all returns the events of a kind.
func (p *program) all(kind string) (es []programEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Event == kind {
			es = append(es, e)
		}
	}
	return es
}

// addr waits until the program listens.
func (p *program) addr() string {
	p.t.Helper()
	var at []programEvent
	require.Eventually(p.t, func() bool { at = p.all("listening"); return len(at) > 0 }, 10*time.Second, 5*time.Millisecond, "%s does not listen", p.name)
	return at[0].Addr
}

// descriptors is how many files and sockets the program has open.
func (p *program) descriptors() int {
	p.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	return len(files)
}

// terminate ends the program as a service manager does: within 5 s, cleanly.
func (p *program) terminate() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.done:
		require.NoError(p.t, err, p.name)
	case <-time.After(5 * time.Second):
		p.t.Fatalf("%s has not ended 5 s after SIGTERM", p.name)
	}
}
