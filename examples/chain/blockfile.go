package chain

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// addBlockFiles indexes files of one block each, in the order of the blocks.
func (b *archiveBuilder) addBlockFiles(files []string) error {
	type found struct {
		entry
		prev  [32]byte
		first bool
	}
	all := make([]found, 0, len(files))
	for _, name := range files {
		path := filepath.Join(b.dir, name)
		file := b.names.add(name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() > MaxBlock {
			return b.fileError(file, 0, fmt.Errorf("file of %d bytes, a block has at most %d", info.Size(), MaxBlock))
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		blk, err := ParseBlock(raw)
		if err != nil {
			return b.fileError(file, 0, err)
		}
		e, err := newEntry(&blk, file, 0)
		if err != nil {
			return b.fileError(file, 0, err)
		}
		all = append(all, found{e, blk.Prev, blk.First})
	}
	slices.SortStableFunc(all, func(x, y found) int {
		if c := cmp.Compare(x.slot, y.slot); c != 0 || x.era() == y.era() {
			return c
		}
		return cmp.Compare(x.era(), y.era()) // the boundary block is before the block it shares its slot with
	})
	for i := range all {
		f := &all[i]
		h := Header{Hash: f.hash, Slot: f.slot, Number: f.number, Prev: f.prev, First: f.first}
		if err := checkLink(b.idx.tip(), &h); err != nil {
			err.(*LinkError).Where = filepath.Join(b.dir, b.names.get(f.file))
			return err
		}
		b.idx.push(f.entry)
	}
	return nil
}
