package chain

import (
	"container/list"
	"errors"
	"os"
	"sync"
)

// DefaultOpenFiles is how many files a chain keeps open for reading unless told otherwise.
const DefaultOpenFiles = 16

// ErrClosed is returned by reads and writes after Close.
var ErrClosed = errors.New("chain is closed")

// source is where the bytes of blocks are. Safe for concurrent use.
type source interface {
	readAt(file uint32, p []byte, off int64) error
	close() error
}

// files reads files by number and keeps the most recently used ones open.
type files struct {
	path  func(file uint32) string
	limit int

	mu     sync.Mutex
	open   map[uint32]*list.Element // of *openFile
	recent list.List                // front: most recently used
	closed bool
}

type openFile struct {
	number uint32
	*os.File
	users   int
	evicted bool // close when the last user is gone
}

func newFiles(limit int, path func(file uint32) string) *files {
	if limit <= 0 {
		limit = DefaultOpenFiles
	}
	return &files{path: path, limit: limit, open: make(map[uint32]*list.Element, limit)}
}

func (f *files) readAt(file uint32, p []byte, off int64) error {
	o, err := f.acquire(file)
	if err != nil {
		return err
	}
	defer f.release(o)
	_, err = o.ReadAt(p, off)
	return err
}

func (f *files) acquire(file uint32) (*openFile, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	if el, ok := f.open[file]; ok {
		f.recent.MoveToFront(el)
		o := el.Value.(*openFile)
		o.users++
		f.mu.Unlock()
		return o, nil
	}
	f.mu.Unlock()

	opened, err := os.Open(f.path(file))
	if err != nil {
		return nil, err
	}
	o := &openFile{number: file, File: opened, users: 1}

	f.mu.Lock()
	if _, ok := f.open[file]; ok || f.closed { // another reader was faster: this one is for one read
		o.evicted = true
		f.mu.Unlock()
		return o, nil
	}
	var victim *openFile
	if f.recent.Len() >= f.limit {
		victim = f.evict(f.recent.Back())
	}
	f.open[file] = f.recent.PushFront(o)
	f.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
	return o, nil
}

// evict forgets a file and returns it if it can be closed at once.
func (f *files) evict(el *list.Element) *openFile {
	o := f.recent.Remove(el).(*openFile)
	delete(f.open, o.number)
	o.evicted = true
	if o.users > 0 {
		return nil
	}
	return o
}

func (f *files) release(o *openFile) {
	f.mu.Lock()
	o.users--
	last := o.evicted && o.users == 0
	f.mu.Unlock()
	if last {
		o.Close()
	}
}

// close closes all files; those being read close behind the read.
func (f *files) close() error {
	f.mu.Lock()
	f.closed = true
	var victims []*openFile
	for el := f.recent.Front(); el != nil; el = f.recent.Front() {
		if o := f.evict(el); o != nil {
			victims = append(victims, o)
		}
	}
	f.mu.Unlock()
	var err error
	for _, o := range victims {
		err = errors.Join(err, o.Close())
	}
	return err
}

// names is a list of file names in one piece of memory.
type names struct {
	text []byte
	ends []uint32
}

func (n *names) add(name string) (number uint32) {
	n.text = append(n.text, name...)
	n.ends = append(n.ends, uint32(len(n.text)))
	return uint32(len(n.ends) - 1)
}

func (n *names) get(i uint32) string {
	from := uint32(0)
	if i > 0 {
		from = n.ends[i-1]
	}
	return string(n.text[from:n.ends[i]])
}
