package chain

import "errors"

// place is where a block is.
type place struct {
	file   uint32
	offset int64
}

// blockLog is what a Chain writes to. One writer at a time; reads at any time.
type blockLog interface {
	source
	append(rollback *Point, items [][]byte) ([]place, error)
}

// ownFile marks the files of a Chain's own log; the others are the base's.
const ownFile = 1 << 31

// stacked reads from a base and a log on top of it.
type stacked struct {
	base source // nil: none
	own  source
}

func (s *stacked) readAt(file uint32, p []byte, off int64) error {
	if file&ownFile != 0 {
		return s.own.readAt(file&^ownFile, p, off)
	}
	if s.base == nil {
		return errors.New("block is in a base that is not there")
	}
	return s.base.readAt(file, p, off)
}

// close closes the log; the base is its owner's.
func (s *stacked) close() error { return s.own.close() }
