package topology

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Defaults of a watcher.
const (
	DefaultWatchInterval = time.Second
	// settleTime is how long a new content must stay the same before it is used: a file that is being written keeps changing.
	settleTime = 250 * time.Millisecond
	// statGrace is the age from which a file's unchanged times and size are believed. A younger file may have been written
	// again within the resolution of its modification time.
	statGrace = 3 * time.Second
)

// WatchConfig says what to watch and whom to tell. Callbacks run on the watcher's goroutine, one at a time, with no lock held.
type WatchConfig struct {
	// Path of the topology file. Replacing it by renaming and switching symbolic links are noticed: it is opened anew each time.
	Path string
	// Options of reading; File defaults to Path.
	Options Options
	// Interval between two looks at the file, DefaultWatchInterval when 0. An unchanged file is not read again.
	Interval time.Duration
	// Apply gets a good new topology and how it differs from the one before. After [Watcher.Reload] it is called for an
	// unchanged file too, because the peer snapshot beside it may be new.
	Apply func(new *Topology, changes Changes)
	// Reject, when not nil, is told once why a new content is not used. The topology before it stays.
	Reject func(err *ReloadError)
}

// ReloadError says why a changed topology file is not used. It wraps an *InvalidError or the error of reading.
type ReloadError struct {
	Path string
	Err  error
}

// Error names the file and the reason.
func (e *ReloadError) Error() string {
	return fmt.Sprintf("topology %s not reloaded, the one before stays: %v", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *ReloadError) Unwrap() error { return e.Err }

// Fault says that the mistake is ours, not a peer's.
func (e *ReloadError) Fault() string { return "internal" }

// Watcher reloads a topology file (governor §8.4).
type Watcher struct {
	cfg    WatchConfig
	forced chan struct{} // capacity 1: several triggers before the watcher gets to them are one

	mu      sync.Mutex
	current *Topology

	// Owned by Run.
	core   reloader
	info   fs.FileInfo
	readAt time.Time
}

// NewWatcher reads the file a first time and fails when it is refused. Nothing is watched until [Watcher.Run].
func NewWatcher(cfg WatchConfig) (*Watcher, error) {
	if cfg.Apply == nil {
		return nil, errors.New("topology: a watcher without Apply")
	}
	if cfg.Interval < 0 {
		return nil, fmt.Errorf("topology: negative watch interval %v", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultWatchInterval
	}
	if cfg.Options.File == "" {
		cfg.Options.File = cfg.Path
	}
	w := &Watcher{cfg: cfg, forced: make(chan struct{}, 1)}
	data, err := readBounded(cfg.Path)
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, err
	}
	o := w.core.observe(data, nil, time.Time{}, true, cfg.Options)
	if o.err != nil {
		return nil, o.err
	}
	w.current = o.topology
	return w, nil
}

// Current returns the topology in force, not to be changed.
func (w *Watcher) Current() *Topology {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Reload makes the watcher read the file now and use it if it is good, as a SIGHUP does. It does not wait.
func (w *Watcher) Reload() {
	select {
	case w.forced <- struct{}{}:
	default:
	}
}

// Run watches until the context ends and returns its error. It must be called once.
func (w *Watcher) Run(ctx context.Context) error {
	timer := time.NewTimer(w.cfg.Interval)
	defer timer.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.forced:
			forced = true
		case <-timer.C:
		}
		wait := w.cfg.Interval
		if w.look(forced) {
			wait = min(wait, settleTime)
		}
		timer.Reset(wait)
	}
}

// look reads the file if it may have changed and says whether its content has to settle first.
func (w *Watcher) look(forced bool) (settling bool) {
	info, err := os.Stat(w.cfg.Path) // follows links
	if err == nil && !forced && !w.core.settling && w.info != nil && os.SameFile(w.info, info) &&
		w.info.Size() == info.Size() && w.info.ModTime().Equal(info.ModTime()) && w.readAt.Sub(info.ModTime()) > statGrace {
		return false
	}
	w.info, w.readAt = info, time.Now()
	var data []byte
	var modified time.Time
	if err == nil {
		modified = info.ModTime()
		data, err = readBounded(w.cfg.Path)
	}
	if errors.Is(err, errTooLong) {
		err = nil // the parser says so
	}
	o := w.core.observe(data, err, modified, forced, w.cfg.Options)
	switch {
	case o.err != nil && w.cfg.Reject != nil:
		w.cfg.Reject(&ReloadError{Path: w.cfg.Path, Err: o.err})
	case o.topology != nil:
		w.mu.Lock()
		changes := Diff(w.current, o.topology)
		w.current = o.topology
		w.mu.Unlock()
		w.cfg.Apply(o.topology, changes)
	}
	return w.core.settling
}

// reloader decides what to do with each look at a file; it is pure. A content that differs from the one in force is used when
// two looks in a row show it with the same modification time, or at once when it was asked for. The time matters because
// somebody who writes over a file piece by piece may leave mixtures that are valid and look the same for a while.
type reloader struct {
	applied  [32]byte // the content in force
	refused  [32]byte // the last content that was refused: reported once
	pending  [32]byte // the content that has to settle
	modified time.Time
	settling bool
}

type outcome struct {
	topology *Topology // to be used now; nil: nothing to do
	err      error     // why the content is refused
}

func (r *reloader) observe(data []byte, err error, modified time.Time, forced bool, opt Options) outcome {
	var sum [32]byte
	if err != nil {
		// An unreadable file counts as a content of its own. It, too, has to settle: between removing and renaming there is none.
		sum = sha256.Sum256([]byte("unreadable: " + err.Error()))
	} else {
		sum = sha256.Sum256(data)
	}
	switch {
	case forced:
	case sum == r.applied:
		// Back to what is in force: the same mistake later is news again.
		r.settling, r.refused = false, [32]byte{}
		return outcome{}
	case sum == r.refused:
		r.settling = false
		return outcome{}
	case !r.settling || sum != r.pending || !modified.Equal(r.modified):
		r.settling, r.pending, r.modified = true, sum, modified
		return outcome{}
	}
	r.settling = false
	if err == nil {
		result := Parse(data, opt)
		if err = result.Err(); err == nil {
			r.applied, r.refused = sum, [32]byte{}
			return outcome{topology: result.Topology}
		}
	}
	r.refused = sum
	return outcome{err: err}
}
