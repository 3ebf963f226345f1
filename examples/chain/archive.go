package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// ErrEmpty is returned by Open for a directory without blocks.
var ErrEmpty = errors.New("no blocks: neither NNNNN.chunk nor *.cbor files")

// FileError says where in which file something is wrong.
type FileError struct {
	File   string
	Offset int64 // of the block, or of the part of an index, that is wrong
	Err    error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s: at offset %d: %v", e.File, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *FileError) Unwrap() error { return e.Err }

// Archive is a chain in files that do not change, indexed in memory and read from disk. Its View's methods, Cursor and
// Range are safe for concurrent use, a Cursor by itself is not.
type Archive struct {
	View
	files   *files
	current current
}

// Open indexes the chain in a directory, either of:
//
//   - immutable-DB chunk files NNNNN.chunk, in the order of their numbers, with or without .primary and .secondary. The secondary
//     index says where blocks are if it is there and right: every header it points at must have the hash and slot that it says,
//     and the last block of the chunk the checksum. Else the chunk is scanned.
//   - files *.cbor of one block each, stored items and bare blocks in any mix, in the order of their slots.
//
// Each block must name the one before as its predecessor: the first that does not is a [*LinkError]. A chain may start
// anywhere. What cannot be read is a [*FileError] naming file and offset, a block cut off by the end of its file included
// (errors.Is io.ErrUnexpectedEOF). Other files are ignored; both kinds together are an error.
//
// Open reads every header once, with a scan every byte. A block that is damaged behind its header is noticed by a scan only.
func Open(dir string) (*Archive, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var chunks, blocks []string
	for _, f := range list {
		switch name := f.Name(); {
		case f.IsDir():
		case isChunk(name):
			chunks = append(chunks, name)
		case strings.HasSuffix(name, ".cbor"):
			blocks = append(blocks, name)
		}
	}
	b := &archiveBuilder{dir: dir}
	switch {
	case len(chunks) > 0 && len(blocks) > 0:
		return nil, fmt.Errorf("%s: both chunk files (%s) and block files (%s)", dir, chunks[0], blocks[0])
	case len(chunks) > 0:
		sort.Slice(chunks, func(i, j int) bool { return chunkNumber(chunks[i]) < chunkNumber(chunks[j]) })
		for _, name := range chunks {
			if err := b.addChunk(name); err != nil {
				return nil, err
			}
		}
	default:
		if err := b.addBlockFiles(blocks); err != nil {
			return nil, err
		}
	}
	if b.idx.n == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrEmpty)
	}
	return b.archive(), nil
}

// Cursor returns a cursor over the archive.
func (a *Archive) Cursor(form chainsync.Form) chainsync.Cursor { return newCursor(&a.current, form) }

// Close closes the files that are open. Reads fail from then on.
func (a *Archive) Close() error { return a.files.close() }

// archiveBuilder collects the index of an Archive.
type archiveBuilder struct {
	dir   string
	names names
	idx   index
}

func (b *archiveBuilder) archive() *Archive {
	names := b.names
	dir := b.dir
	a := &Archive{files: newFiles(DefaultOpenFiles, func(file uint32) string { return filepath.Join(dir, names.get(file)) })}
	a.View = View{idx: b.idx, src: a.files}
	a.current.Store(&state{View: a.View})
	return a
}

// add appends a block to the index.
func (b *archiveBuilder) add(blk *Block, file uint32, off int64) error {
	if err := checkLink(b.idx.tip(), &blk.Header); err != nil {
		if link, ok := err.(*LinkError); ok {
			link.Where = fmt.Sprintf("%s, offset %d", filepath.Join(b.dir, b.names.get(file)), off)
		}
		return err
	}
	e, err := newEntry(blk, file, off)
	if err != nil {
		return b.fileError(file, off, err)
	}
	b.idx.push(e)
	return nil
}

func (b *archiveBuilder) fileError(file uint32, off int64, err error) error {
	return &FileError{File: filepath.Join(b.dir, b.names.get(file)), Offset: off, Err: err}
}
