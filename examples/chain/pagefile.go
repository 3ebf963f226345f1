package chain

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

const (
	indexName   = "index" // of the file, in the chain's folder
	pageBytes   = pageEntries * EntryBytes
	cachedPages = 8
)

// pageFile keeps full pages of a chain's index, one behind the other. It is no part of what the chain remembers: each process writes its
// own, from nothing, while it replays the segments, and takes it away when it closes the chain. Pages never change.
//
// The pages read last stay in memory, 38 KiB of them. A page's number says where among them it may be, so readers need no lock.
type pageFile struct {
	path string
	// f is made for the first page, before anybody can see that page.
	f      *os.File
	n      uint32 // pages in the file; the writer's
	failed atomic.Pointer[error]
	cache  [cachedPages]atomic.Pointer[cachedPage]
}

type cachedPage struct {
	number uint32
	page
}

// write adds a page. After an error it is as before.
func (f *pageFile) write(p *page) (number uint32, err error) {
	if f.f == nil {
		if f.f, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666); err != nil {
			f.f = nil
			return 0, err
		}
	}
	b := make([]byte, 0, pageBytes)
	for i := range p {
		b = p[i].append(b)
	}
	if _, err := f.f.WriteAt(b, int64(f.n)*pageBytes); err != nil {
		return 0, err
	}
	f.n++
	return f.n - 1, nil
}

// read returns a page.
func (f *pageFile) read(number uint32) (*page, error) {
	slot := &f.cache[number%cachedPages]
	if c := slot.Load(); c != nil && c.number == number {
		return &c.page, nil
	}
	var b [pageBytes]byte
	switch _, err := f.f.ReadAt(b[:], int64(number)*pageBytes); {
	case errors.Is(err, os.ErrClosed):
		return nil, ErrClosed
	case err == io.EOF: // somebody has cut it
		err = &fs.PathError{Op: "read", Path: f.path, Err: io.ErrUnexpectedEOF}
		fallthrough
	case err != nil:
		f.failed.CompareAndSwap(nil, &err)
		return nil, err
	}
	c := &cachedPage{number: number}
	for i := range c.page {
		c.page[i].parse(b[i*EntryBytes:])
	}
	slot.Store(c)
	return &c.page, nil
}

// err is why a page could not be read, if one could not.
func (f *pageFile) err() error {
	if f == nil {
		return nil
	}
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// close takes the file away.
func (f *pageFile) close() error {
	if f == nil || f.f == nil {
		return nil
	}
	return errors.Join(f.f.Close(), os.Remove(f.path))
}

func (e *entry) append(b []byte) []byte {
	b = append(b, e.hash[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.slot)
	b = binary.LittleEndian.AppendUint64(b, e.number)
	b = binary.LittleEndian.AppendUint32(b, e.file)
	b = binary.LittleEndian.AppendUint32(b, e.offset)
	b = binary.LittleEndian.AppendUint32(b, e.size)
	b = binary.LittleEndian.AppendUint16(b, e.headerOffset)
	return binary.LittleEndian.AppendUint16(b, e.headerLen)
}

func (e *entry) parse(b []byte) {
	_ = b[EntryBytes-1]
	copy(e.hash[:], b)
	e.slot = binary.LittleEndian.Uint64(b[32:])
	e.number = binary.LittleEndian.Uint64(b[40:])
	e.file = binary.LittleEndian.Uint32(b[48:])
	e.offset = binary.LittleEndian.Uint32(b[52:])
	e.size = binary.LittleEndian.Uint32(b[56:])
	e.headerOffset = binary.LittleEndian.Uint16(b[60:])
	e.headerLen = binary.LittleEndian.Uint16(b[62:])
}
