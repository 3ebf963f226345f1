package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end in good order.
const stopTime = 5 * time.Second

// process is a command in a namespace. What it prints and logs is in files.
type process struct {
	name  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	err   error         // how, once it has
}

// startProcess starts a command in a namespace; stdin may be nil, lines gets what it prints, line by line. It must be called from
// the main goroutine.
func startProcess(ns, dir, name string, stdin io.Reader, lines func(string), command string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", ns, command}, args...)...)
	p.cmd.Stderr = log
	p.cmd.Stdin = stdin
	p.cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	// A group of its own: an interrupt from the terminal is for us, who stop it in good order. If we are killed, so is it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	printed, err := os.Create(filepath.Join(dir, name+".out"))
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, printed.Close())
	}
	go func() {
		defer close(p.ended)
		defer printed.Close()
		for in := bufio.NewReader(io.TeeReader(out, printed)); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			if lines != nil {
				lines(line)
			}
		}
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// watch returns when ctx ends; that the process ends before is an error.
func (p *process) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.ended:
		return fmt.Errorf("%s ended (%v): %s", p.name, p.err, p.lastWords())
	}
}

// lastWords is the end of its log.
func (p *process) lastWords() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// stopAll ends processes in good order, all at the same time; what does not end is killed, and is an error.
func stopAll(ps []*process) error {
	for _, p := range ps {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	var errs []error
	for _, p := range ps {
		select {
		case <-p.ended:
			if p.err != nil {
				errs = append(errs, fmt.Errorf("%s: %w: %s", p.name, p.err, p.lastWords()))
			}
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("%s did not end within %v: %s", p.name, stopTime, p.lastWords()))
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}
	return errors.Join(errs...)
}
