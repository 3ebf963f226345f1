package pools

import (
	"io"
	"os"
	"sync"
	"time"
)

// file is a body on the disk, arriving or whole. It is open only while it is read or written, so that thousands cost no descriptors.
type file struct {
	mu   sync.Mutex
	path string
	used time.Time
}

// create opens a file for a body of some size; what is there from before stays.
func create(path string, size int64) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(size)
	if e := f.Close(); err == nil {
		err = e
	}
	return &file{path: path, used: time.Now()}, err
}

func (f *file) with(flag int, do func(*os.File) (int, error)) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = time.Now()
	o, err := os.OpenFile(f.path, flag, 0)
	if err != nil {
		return 0, err
	}
	n, err = do(o)
	if e := o.Close(); err == nil {
		err = e
	}
	return n, err
}

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	return f.with(os.O_RDONLY, func(o *os.File) (int, error) { return o.ReadAt(b, off) })
}

// WriteAt implements [io.WriterAt].
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	return f.with(os.O_WRONLY, func(o *os.File) (int, error) { return o.WriteAt(b, off) })
}

// header reads the header of the item that the file holds.
func (f *file) header(v *item) error {
	_, err := io.ReadFull(io.NewSectionReader(f, 0, headerBytes), v.header[:])
	return err
}

// rename moves it; readers go on.
func (f *file) rename(to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.Rename(f.path, to); err != nil {
		return err
	}
	f.path = to
	return nil
}

// idle is for how long it has not been touched.
func (f *file) idle() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.used)
}
