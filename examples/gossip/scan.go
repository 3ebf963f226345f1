package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// scanEvery leaves room for the scan itself within the 200 ms that are promised; a publication that failed is tried again after
// retryAfter.
const (
	scanEvery  = 150 * time.Millisecond
	retryAfter = 5 * time.Second
)

// scanner finds what is new in DIR and publishes it. A file is published when its size and time are the same in two scans.
type scanner struct {
	d      *dir
	r      *replica
	h      *artifact.Handle[*file]
	tell   func(event)
	wake   [2]chan struct{} // of the publishers: urgent, others
	mu     sync.Mutex
	queued [2]map[string]stamp
	failed map[string]failure
	before map[string]stamp // of the scan's goroutine
	told   map[string]bool  // names that cannot be published, said once; of the scan's goroutine
}

type failure struct {
	was   stamp
	until time.Time
}

func newScanner(d *dir, r *replica, h *artifact.Handle[*file], tell func(event)) *scanner {
	s := &scanner{d: d, r: r, h: h, tell: tell, before: map[string]stamp{}, told: map[string]bool{}, failed: map[string]failure{}}
	for i := range s.queued {
		s.queued[i], s.wake[i] = map[string]stamp{}, make(chan struct{}, 1)
	}
	return s
}

// run goes on scanning until ctx ends. Urgent files have a publisher of their own, so that no large file's hash is in their way.
func (s *scanner) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range s.queued {
		wg.Go(func() { s.publisher(ctx, i) })
	}
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := s.scan(time.Now()); err != nil {
			s.tell(event{Event: "error", Error: err.Error()})
		}
	}
}

// scan looks at DIR once.
func (s *scanner) scan(now time.Time) error {
	known := s.d.names() // before the listing: what enters later is not missed in it
	list, err := os.ReadDir(s.d.path)
	if err != nil {
		return err
	}
	seen := make(map[string]stamp, len(list))
	pending := map[string]stamp{}
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() { // gone or replaced meanwhile
			continue
		}
		name, st := e.Name(), stampOf(fi)
		seen[name] = st
		have, here := known[name]
		if here && have == st {
			continue
		}
		if err := publishable(name, st); err != nil {
			if !s.told[name] {
				s.told[name] = true
				s.tell(event{Event: "error", Name: name, Error: err.Error()})
			}
			continue
		}
		pending[name] = st
		if was, rested := s.before[name]; rested && was == st {
			s.enqueue(name, st, now)
		}
	}
	s.d.setPending(pending)
	for name := range known {
		if _, ok := seen[name]; !ok {
			s.gone(name)
		}
	}
	for name := range s.told {
		if _, ok := seen[name]; !ok {
			delete(s.told, name)
		}
	}
	s.before = seen
	return nil
}

// errOlder is a file that was put in the place of one that beats it. The others keep theirs; this node has it again when it is started
// anew.
var errOlder = errors.New("an older file has taken the place of a newer one: it is not published")

func publishable(name string, st stamp) error {
	if err := checkName(name); err != nil {
		return err
	}
	if st.size > maxSize-maxTrail {
		return errors.New("the file is larger than 4 GiB")
	}
	return nil
}

// gone withdraws a file that was deleted here; others keep it.
func (s *scanner) gone(name string) {
	if _, err := os.Lstat(filepath.Join(s.d.path, name)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if e := s.d.vanished(name); e != nil {
		s.h.Abort(e.id)
	}
}

func (s *scanner) enqueue(name string, st stamp, now time.Time) {
	i := 1
	if s.r.class(name) == artifact.Urgent {
		i = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.failed[name]; ok {
		if f.was == st && now.Before(f.until) {
			return
		}
		delete(s.failed, name)
	}
	s.queued[i][name] = st
	select {
	case s.wake[i] <- struct{}{}:
	default:
	}
}

// publisher hashes and publishes what is queued, the smallest first.
func (s *scanner) publisher(ctx context.Context, i int) {
	for {
		select {
		case <-s.wake[i]:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		batch := s.queued[i]
		s.queued[i] = map[string]stamp{}
		s.mu.Unlock()
		names := make([]string, 0, len(batch))
		for name := range batch {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int {
			if c := batch[a].size - batch[b].size; c != 0 {
				return int(max(-1, min(1, c)))
			}
			return strings.Compare(a, b)
		})
		for _, name := range names {
			if ctx.Err() != nil {
				return
			}
			if err := s.publish(name, batch[name]); err != nil && ctx.Err() == nil {
				s.mu.Lock()
				s.failed[name] = failure{batch[name], time.Now().Add(retryAfter)}
				s.mu.Unlock()
				if !errors.Is(err, errChanged) && !errors.Is(err, fs.ErrNotExist) {
					s.tell(event{Event: "error", Name: name, Error: err.Error()})
				}
			}
		}
	}
}

// publish makes an artifact of a file as it stood at st.
func (s *scanner) publish(name string, st stamp) error {
	m := meta{Name: name, MTime: st.mtime}
	e, known := s.d.current(name)
	switch {
	case known && e.stat == st:
		return nil // was queued twice, or has arrived from a peer
	case known && e.MTime > st.mtime:
		s.h.Abort(e.id) // its bytes are gone
		return errOlder
	}
	body := joined{fileContent{s.d, name, st}, st.size, m.trailer()}
	id, err := s.h.PublishFile(&file{meta: m, size: st.size}, body, st.size+int64(len(body.trailer)), s.r.class(name))
	if err != nil {
		return err
	}
	v := version{meta: m, id: id, size: st.size}
	was, ok := s.d.publish(v, st)
	switch {
	case !ok: // one that beats it came meanwhile
		s.h.Abort(id)
		return errOlder
	case was != nil && was.id != id:
		s.h.Abort(was.id)
	}
	s.tell(event{Event: "published", Name: name, Size: &st.size})
	return nil
}
