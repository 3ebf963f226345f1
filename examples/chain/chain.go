package chain

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"

	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Config says how a Chain is kept. The zero Config is a chain in memory.
type Config struct {
	// Dir is where blocks are kept, made if it is not there; empty: in memory. Only one Chain at a time may use it.
	Dir string
	// Base, if set, is a chain that this one starts with and never writes to. It must stay open as long as the Chain is.
	// Rolling back into it is possible: it hides blocks, the files stay as they are. A Dir is for the Base it was made
	// with, which may have grown since; another one, or none, is an error.
	Base *Archive
	// SegmentBytes is the size at which another segment file is begun, default DefaultSegmentBytes, at most 2 GiB.
	SegmentBytes int64
	// OpenFiles is how many segment files are kept open for reading, default DefaultOpenFiles.
	OpenFiles int
	// CheckBodies refuses blocks whose body does not hash to what the header says (see CheckBody). Headers are always
	// checked: their hash is what links blocks.
	CheckBodies bool
}

// Chain is the chain of a node: it grows, rolls back, and is followed. Reads are of a [View] and take no lock; each change
// publishes another View. Any number of goroutines may read, write and follow; writes happen one after the other.
//
// On disk blocks are appended to segment files; a roll back is appended too, so blocks of abandoned forks stay where they
// are, and whoever was reading them is not disturbed. Beside them is a file of the index, which means nothing to the next
// process. After a crash a torn end is cut off ([Chain.Recovered]). Data reaches the disk when a segment is full, at
// [Chain.Sync] and at Close: a crash of the process loses nothing, one of the machine the last blocks, which peers have.
type Chain struct {
	check bool
	cut   Recovery
	src   stacked

	mu      sync.Mutex // held by writers
	log     blockLog
	idx     index
	current current
}

// ErrNotOnChain is returned for a point to roll back to that is not on the chain.
var ErrNotOnChain = errors.New("point is not on the chain")

// New opens the chain in c.Dir, or makes one.
func New(c Config) (*Chain, error) {
	ch := &Chain{check: c.CheckBodies}
	if c.Base != nil {
		ch.src.base = c.Base.src
		var err error
		if ch.idx, err = c.Base.idx.fork(c.Base.Len()); err != nil {
			return nil, err
		}
	}
	if c.Dir == "" {
		ch.log = &memory{}
	} else {
		ch.idx.file = &pageFile{path: filepath.Join(c.Dir, indexName)}
		log, cut, err := openSegments(c.Dir, c.SegmentBytes, c.OpenFiles, ch.tip().Point, ch.replay())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("chain in %s: %w", c.Dir, err), ch.idx.file.close())
		}
		ch.log, ch.cut = log, cut
	}
	ch.src.own = ch.log
	ch.current.Store(ch.state())
	return ch, nil
}

// NewMemory returns an empty chain in memory.
func NewMemory() *Chain {
	ch, err := New(Config{})
	if err != nil {
		panic(err) // there is nothing that can fail
	}
	return ch
}

func (c *Chain) replay() replay {
	return replay{
		base: func(tip Point) error {
			i, ok, err := c.idx.find(tip)
			if err == nil && (!ok || tip.IsOrigin() && c.idx.n > 0) {
				err = fmt.Errorf("was made for another base, one that ends at %s", tip)
			}
			if err == nil {
				c.idx, err = c.idx.fork(i + 1)
			}
			return err
		},
		block: func(blk *Block, file uint32, off int64) error {
			return c.push(blk, place{file, off})
		},
		rollback: func(p Point) error {
			back, err := c.back(p)
			if err == nil {
				c.idx = back
			}
			return err
		},
	}
}

func (c *Chain) state() *state {
	return &state{View: View{idx: c.idx, src: &c.src}, changed: make(chan struct{})}
}

// publish lets readers see the index as it is now. c.mu is held.
func (c *Chain) publish() {
	old := c.current.Swap(c.state())
	close(old.changed)
}

func (c *Chain) tip() Tip {
	v := View{idx: c.idx}
	return v.Tip()
}

// back returns the index up to the point.
func (c *Chain) back(p Point) (index, error) {
	i, ok, err := c.idx.find(p)
	if err == nil && !ok {
		err = ErrNotOnChain
	}
	if err != nil {
		return index{}, fmt.Errorf("roll back to %s: %w", p, err)
	}
	return c.idx.fork(i + 1)
}

func (c *Chain) push(blk *Block, at place) error {
	if err := checkLink(c.idx.tip(), &blk.Header); err != nil {
		return err
	}
	e, err := newEntry(blk, at.file|ownFile, at.offset)
	if err != nil {
		return err
	}
	c.idx.push(e)
	return nil
}

// Append adds a block, given as a stored item, which must follow the tip, or may be any block on an empty chain: else
// the error is a [*LinkError]. The item is not kept.
func (c *Chain) Append(item []byte) (Point, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tip, err := c.change(nil, [][]byte{item})
	return tip.Point, err
}

// RollBack makes p the tip. Origin empties the chain. The error is ErrNotOnChain for a point that is not on it.
func (c *Chain) RollBack(p Point) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.change(&p, nil)
	return err
}

// Switch rolls back to p and adds blocks, given as stored items, in one step: followers never see the shorter chain. If a
// block does not fit nothing happens. It holds the items once more in memory while it writes.
func (c *Chain) Switch(p Point, items [][]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.change(&p, items)
	return err
}

// change does what Switch does; without a point there is no roll back. c.mu is held.
func (c *Chain) change(p *Point, items [][]byte) (Tip, error) {
	if c.current.Load().closed {
		return Tip{}, ErrClosed
	}
	next := c.idx // pushes to it are seen by nobody before they are published
	if p != nil {
		var err error
		if next, err = c.back(*p); err != nil {
			return Tip{}, err
		}
		if next.n == c.idx.n {
			p, next = nil, c.idx // the tip already
		}
	}
	if err := c.idx.file.err(); err != nil {
		return Tip{}, err
	}
	if p == nil && len(items) == 0 {
		return c.tip(), nil
	}
	before := c.idx
	c.idx = next
	err := c.apply(p, items)
	if err != nil {
		c.idx = before
		return Tip{}, err
	}
	c.publish()
	return c.tip(), nil
}

// apply checks the items against c.idx, writes, and pushes them.
func (c *Chain) apply(rollback *Point, items [][]byte) error {
	blocks := make([]Block, len(items))
	last := c.idx.tip()
	for i, item := range items {
		blk, err := ParseBlock(item)
		if err != nil {
			return err
		}
		if !blk.Wrapped {
			return errors.New("block without its era")
		}
		if err := checkLink(last, &blk.Header); err != nil {
			return err
		}
		if c.check {
			if _, err := blk.CheckBody(); err != nil {
				return err
			}
		}
		e, err := newEntry(&blk, 0, 0)
		if err != nil {
			return err
		}
		blocks[i], last = blk, &e
	}
	places, err := c.log.append(rollback, items)
	if err != nil {
		return err
	}
	for i := range blocks {
		if err := c.push(&blocks[i], places[i]); err != nil {
			return err
		}
	}
	return nil
}

// View returns the chain as it is now.
func (c *Chain) View() View { return c.current.Load().View }

// Tip returns the last block, the zero Tip of an empty chain.
func (c *Chain) Tip() Tip {
	v := c.View()
	return v.Tip()
}

// Contains reports whether the point is on the chain. Origin is.
func (c *Chain) Contains(p Point) bool {
	v := c.View()
	_, ok := v.Find(p)
	return ok
}

// Watch returns the chain as it is now and a channel that the next change, or Close, closes. No change is missed by whoever
// calls Watch again, then looks, then waits.
func (c *Chain) Watch() (v View, changed <-chan struct{}) {
	st := c.current.Load()
	return st.View, st.changed
}

// Cursor returns a cursor that follows the chain from origin.
func (c *Chain) Cursor(form chainsync.Form) chainsync.Cursor { return newCursor(&c.current, form) }

// Range is [View.Range] on the chain as it is now.
func (c *Chain) Range(from, to Point) (blocks iter.Seq2[[]byte, error], ok bool) {
	v := c.View()
	return v.Range(from, to)
}

// Recovered says what was cut off when the chain was opened.
func (c *Chain) Recovered() Recovery { return c.cut }

// Sync makes sure that all blocks are on the disk.
func (c *Chain) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.log.(*segments); ok && !c.current.Load().closed {
		return s.w.Sync()
	}
	return nil
}

// Close wakes up followers, who see ErrClosed, and closes the files, not those of the Base. Reads fail from then on. A
// second Close does nothing.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	if old.closed {
		return nil
	}
	st := *old
	st.closed, st.changed = true, make(chan struct{})
	close(st.changed)
	c.current.Store(&st)
	close(old.changed)
	return errors.Join(c.src.close(), c.idx.file.close())
}
