package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// folders tells when files come into folders by rename, as received transactions and artifacts do (inotify(7)).
type folders struct {
	fd    int
	f     *os.File // of fd
	moved map[int32]func(name string, at time.Time)
}

func newFolders() (*folders, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &folders{fd, os.NewFile(uintptr(fd), "inotify"), map[int32]func(string, time.Time){}}, nil
}

// add watches a folder, before run.
func (f *folders) add(dir string, moved func(name string, at time.Time)) error {
	wd, err := syscall.InotifyAddWatch(f.fd, dir, syscall.IN_MOVED_TO)
	if err != nil {
		return fmt.Errorf("inotify: %s: %w", dir, err)
	}
	f.moved[int32(wd)] = moved
	return nil
}

// run tells until close.
func (f *folders) run() error {
	b := make([]byte, 64<<10)
	for {
		n, err := f.f.Read(b)
		now := time.Now()
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inotify: %w", err)
		}
		for e := b[:n]; len(e) >= syscall.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(e)), binary.NativeEndian.Uint32(e[4:])
			size := int(binary.NativeEndian.Uint32(e[12:]))
			name := e[syscall.SizeofInotifyEvent:][:size]
			e = e[syscall.SizeofInotifyEvent+size:]
			if mask&syscall.IN_Q_OVERFLOW != 0 {
				return errors.New("inotify: events were lost")
			}
			name, _, _ = bytes.Cut(name, []byte{0})
			if moved := f.moved[wd]; moved != nil {
				moved(string(name), now)
			}
		}
	}
}

func (f *folders) close() error { return f.f.Close() }
