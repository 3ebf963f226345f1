package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hearthnet/hearth/artifact"
)

// dir is the directory that is replicated, and the state beside it. Everything in it that is not a regular file with a plain name is left
// alone, and no link is followed.
type dir struct {
	path, state string

	mu      sync.Mutex
	files   map[string]*entry // what is published, or known to be there
	pending map[string]stamp  // what the last scan found and has not been published
}

// entry is a name and the version of it that this node has.
type entry struct {
	version
	stat stamp
}

// stamp tells whether a file is still what it was.
type stamp struct {
	size  int64
	mtime int64
}

func stampOf(fi fs.FileInfo) stamp { return stamp{fi.Size(), max(0, fi.ModTime().UnixNano())} }

// errChanged is a file that is not what it was when it was hashed.
var errChanged = errors.New("the file has changed")

// openDir prepares DIR and the state directory.
func openDir(path, state string) (*dir, error) {
	d := &dir{path: path, state: state, files: map[string]*entry{}}
	for _, p := range []string{path, d.partials()} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return nil, err
		}
	}
	// Files enter DIR by rename, which needs one file system.
	probe, err := os.MkdirTemp(state, "probe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(probe)
	there := filepath.Join(path, filepath.Base(probe))
	if err := os.Rename(probe, there); err != nil {
		return nil, fmt.Errorf("state and directory must be on one file system: %w", err)
	}
	return d, os.Rename(there, probe)
}

func (d *dir) partials() string { return filepath.Join(d.state, "partial") }

// sweep removes what an earlier run left behind: files that were about to enter DIR, which will be fetched anew, and partial files that
// nobody has touched for a day.
func (d *dir) sweep(now time.Time) error {
	for _, pattern := range []string{"new-*", "probe-*"} {
		left, err := filepath.Glob(filepath.Join(d.state, pattern))
		if err != nil {
			return err
		}
		for _, p := range left {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	list, err := os.ReadDir(d.partials())
	if err != nil {
		return err
	}
	for _, e := range list {
		if fi, err := e.Info(); err == nil && now.Sub(fi.ModTime()) > 24*time.Hour {
			err = os.Remove(filepath.Join(d.partials(), e.Name()))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// nodeID returns the id kept in the state directory, drawn when there is none.
func (d *dir) nodeID(draw func() artifact.PeerID) (id artifact.PeerID, err error) {
	path := filepath.Join(d.state, "id")
	b, err := os.ReadFile(path)
	if err == nil {
		if n, e := hex.Decode(id[:], trimLine(b)); e != nil || n != len(id) {
			return id, fmt.Errorf("%s holds no id of 16 bytes in hex", path)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id = draw()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(hex.EncodeToString(id[:])+"\n"), 0o600); err != nil {
		return id, err
	}
	return id, os.Rename(tmp, path)
}

func trimLine(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// open opens a regular file of DIR for reading, following no link.
func (d *dir) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// fileContent reads a file of DIR as long as it is what it was. It keeps nothing open between reads, so thousands of files cost no
// descriptors.
type fileContent struct {
	d    *dir
	name string
	was  stamp
}

// ReadAt implements io.ReaderAt. A file that has changed is an error, also when it changed during the read: others must never be given
// bytes that do not have their hash.
func (c fileContent) ReadAt(p []byte, off int64) (n int, err error) {
	f, fi, err := c.d.open(c.name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if stampOf(fi) != c.was {
		return 0, errChanged
	}
	n, rerr := f.ReadAt(p, off)
	if fi, err = f.Stat(); err != nil {
		return 0, err
	}
	if stampOf(fi) != c.was {
		return 0, errChanged
	}
	return n, rerr
}

// current returns what is known of a name.
func (d *dir) current(name string) (entry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.files[name]
	if e == nil {
		return entry{}, false
	}
	return *e, true
}

// wants says whether a version that is offered is news. While a file of that name, not older, waits to be published, that is not
// known yet: after a restart everything would be fetched that is there.
func (d *dir) wants(m meta, id artifact.ID) (yes, later bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if st, ok := d.pending[m.Name]; ok && st.mtime >= m.MTime {
		return false, true
	}
	e := d.files[m.Name]
	return e == nil || (&version{meta: m, id: id}).beats(&e.version), false
}

// setPending says what waits to be published.
func (d *dir) setPending(files map[string]stamp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, st := range files {
		if e := d.files[name]; e != nil && e.stat == st {
			delete(files, name) // came meanwhile
		}
	}
	d.pending = files
}

// errStands is what install returns when what is in DIR is not to be replaced.
var errStands = errors.New("what is in the directory stays")

// install moves a whole file from the state directory into DIR, under its name and with its time, unless what is there is newer or no
// regular file. It returns what it replaced.
func (d *dir) install(v version, tmp string) (was *entry, st stamp, err error) {
	when := time.Unix(0, v.MTime)
	if err := os.Chtimes(tmp, when, when); err != nil {
		return nil, st, err
	}
	fi, err := os.Lstat(tmp)
	if err != nil {
		return nil, st, err
	}
	st = stampOf(fi)
	to := filepath.Join(d.path, v.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	was = d.files[v.Name]
	if was != nil && !v.beats(&was.version) {
		return nil, st, errStands
	}
	there, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, st, err
	case !there.Mode().IsRegular():
		return nil, st, errStands
	case was == nil || stampOf(there) != was.stat: // changed here, and not published yet
		if stampOf(there).mtime > v.MTime {
			return nil, st, errStands
		}
	}
	if err := os.Rename(tmp, to); err != nil {
		return nil, st, err
	}
	d.files[v.Name] = &entry{version: v, stat: st}
	return was, st, nil
}

// stage writes content into a file outside DIR.
func (d *dir) stage(content []byte) (path string, err error) {
	f, err := os.CreateTemp(d.state, "new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), err
}

// publish records a version that was made from a file of DIR. False: another one that beats it came meanwhile.
func (d *dir) publish(v version, st stamp) (was *entry, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was = d.files[v.Name]
	if was != nil && was.id != v.id && was.beats(&v) {
		return nil, false
	}
	d.files[v.Name] = &entry{version: v, stat: st}
	if d.pending[v.Name] == st {
		delete(d.pending, v.Name)
	}
	return was, true
}

// vanished forgets a name whose file is gone; it returns what it was.
func (d *dir) vanished(name string) *entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.files[name]
	delete(d.files, name)
	return e
}

// names returns what is known, for the scan to find what is gone.
func (d *dir) names() map[string]stamp {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]stamp, len(d.files))
	for name, e := range d.files {
		out[name] = e.stat
	}
	return out
}

// partial is a file on its way: in the state directory until it is whole, in DIR from then on.
type partial struct {
	path string
	size int64 // of the artifact

	mu    sync.Mutex
	home  *joined // set once it is in DIR
	got   int64   // bytes that have arrived since it was opened
	fresh bool    // nothing is in it
	last  time.Time
	told  time.Time
	wrote func(p *partial, err error)
}

// sink opens the partial file of an artifact; what is there from before stays.
func (d *dir) sink(id artifact.ID, size int64, wrote func(*partial, error)) (*partial, error) {
	p := &partial{path: filepath.Join(d.partials(), hex.EncodeToString(id[:])), size: size, wrote: wrote}
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p.fresh, p.last, p.told = fi.Size() == 0, time.Now(), time.Now()
	return p, f.Truncate(size)
}

// WriteAt takes one chunk.
func (p *partial) WriteAt(b []byte, off int64) (n int, err error) {
	defer func() { p.wrote(p, err) }()
	f, err := os.OpenFile(p.path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	n, err = f.WriteAt(b, off)
	if e := f.Close(); err == nil {
		err = e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got += int64(n)
	p.fresh, p.last = false, time.Now()
	return n, err
}

// ReadAt reads from wherever the file is now.
func (p *partial) ReadAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	home, fresh := p.home, p.fresh
	p.mu.Unlock()
	if fresh {
		return 0, io.EOF
	}
	if home != nil {
		return home.ReadAt(b, off)
	}
	f, err := os.OpenFile(p.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, off)
}

// tail reads the last bytes of a whole one, enough for any trailer.
func (p *partial) tail() ([]byte, error) {
	b := make([]byte, min(p.size, maxTrail))
	_, err := p.ReadAt(b, p.size-int64(len(b)))
	if err == io.EOF {
		err = nil
	}
	return b, err
}

// progress returns what has arrived, once a second; false: it was told less than that ago.
func (p *partial) progress(now time.Time) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.told) < time.Second {
		return 0, false
	}
	p.told = now
	return p.got, true
}

// idle is how long nothing has arrived.
func (p *partial) idle(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.last)
}

// settle points it at the file in DIR.
func (p *partial) settle(home joined) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.home, p.fresh = &home, false
}
