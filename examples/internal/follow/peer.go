package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hearthnet/hearth/connmgr"
	"github.com/hearthnet/hearth/examples/chain"
	"github.com/hearthnet/hearth/protocols/blockfetch"
	"github.com/hearthnet/hearth/protocols/chainsync"
)

// Peer is one peer's chain as chain-sync tells it, as far as it goes beyond ours. Its two methods run side by side, each on a
// client of the same connection.
type Peer struct {
	s    *Syncer
	name string

	mu        sync.Mutex
	base      chain.Point // on our chain when it was noted; the candidate follows it
	candidate []header
	wake      chan struct{} // the candidate has changed
	room      chan struct{} // the candidate has shrunk
}

// header is what is kept of a header.
type header struct {
	point  chain.Point
	prev   [32]byte
	number uint64
}

// Violations of what a chain is.
var (
	ErrLink  = errors.New("peer sent a header that does not follow the one before")
	ErrBlock = errors.New("peer sent another block than the one asked for")
)

// StorageError says that our own chain could not be written: no peer is to blame, and the node cannot go on (governor §11).
type StorageError struct{ Err error }

// Error names the file.
func (e *StorageError) Error() string { return "chain: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StorageError) Unwrap() error { return e.Err }

// Fault is internal, and Fatal true.
func (e *StorageError) Fault() string { return connmgr.FaultInternal }

// Fatal tells the connection manager to report it.
func (e *StorageError) Fatal() bool { return true }

// blame tells errors of our storage from those of the block.
func blame(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return &StorageError{err}
	}
	return err
}

// ChainSync follows the peer's chain until ctx ends or the peer errs. It ends with a [connmgr.Outcome] when the peer's chain is not
// ours to follow.
func (p *Peer) ChainSync(ctx context.Context, c *chainsync.Client) error {
	view := p.s.chain.View()
	at, _, err := c.FindIntersect(ctx, view.Points(depth))
	var none *chainsync.NoIntersectionError
	if errors.As(err, &none) {
		return p.leave(ctx, c, connmgr.NoMoreIntersection)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.base, p.candidate = at, nil
	p.mu.Unlock()
	for {
		ev, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if ev.Kind == chainsync.Backward {
			if !p.back(ev.Point) {
				return p.leave(ctx, c, connmgr.RolledBackPastIntersection)
			}
		} else {
			err = p.forward(ctx, ev.Payload)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
}

// leave ends chain-sync in good order: the connection stays.
func (p *Peer) leave(ctx context.Context, c *chainsync.Client, why *connmgr.Outcome) error {
	if err := c.Finish(ctx); err != nil {
		return err
	}
	return why
}

// back follows a roll back; false if it goes to a point that is on neither chain.
func (p *Peer) back(to chain.Point) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.candidate) - 1; i >= 0; i-- {
		if p.candidate[i].point == to {
			p.candidate = p.candidate[:i+1]
			return true
		}
	}
	if to != p.base && !p.s.chain.Contains(to) {
		return false
	}
	p.base, p.candidate = to, nil
	return true
}

func (p *Peer) forward(ctx context.Context, payload []byte) error {
	b, err := chain.ParseHeaderPayload(payload)
	if err != nil {
		return err
	}
	h := header{b.Point(), b.Prev, b.Number}
	for {
		p.mu.Lock()
		last := p.base
		if n := len(p.candidate); n > 0 {
			last = p.candidate[n-1].point
		}
		if !last.IsOrigin() && h.prev != last.Hash {
			p.mu.Unlock()
			return fmt.Errorf("%w: %v after %v", ErrLink, h.point, last)
		}
		if len(p.candidate) < maxCandidate {
			p.candidate = append(p.candidate, h)
			p.mu.Unlock()
			signal(p.wake)
			if p.s.hooks.Announced != nil {
				p.s.hooks.Announced(p.name, h.point)
			}
			return nil
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// BlockFetch gets the blocks of the candidate that we lack, while it is longer than our chain.
func (p *Peer) BlockFetch(ctx context.Context, c *blockfetch.Client) error {
	for {
		_, ours := p.s.chain.Watch()
		missing, extends := p.missing()
		if len(missing) == 0 {
			select {
			case <-p.wake:
			case <-ours:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if extends {
			missing = missing[:min(len(missing), maxBatch)]
		}
		got, released, retry := p.s.claim(p, missing)
		if len(got) == 0 || !extends && len(got) < len(missing) {
			if len(got) > 0 {
				p.s.release(p, got)
				retry = 50 * time.Millisecond
			}
			if err := wait(ctx, p.wake, released, ours, retry); err != nil {
				return err
			}
			continue
		}
		err := p.fetch(ctx, c, got, extends)
		p.s.release(p, got)
		var none *blockfetch.NoBlocksError
		if errors.As(err, &none) { // it has switched to another fork: chain-sync will say so
			err = wait(ctx, p.wake, nil, ours, 100*time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
}

// missing returns the headers of the candidate that are not on our chain, if the candidate is the longer one, and whether they
// follow our tip. What is on our chain is dropped from the candidate.
func (p *Peer) missing() (missing []header, extends bool) {
	view := p.s.chain.View()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.candidate) {
		if _, ok := view.Find(p.candidate[n].point); !ok {
			break
		}
		n++
	}
	if n > 0 {
		p.base = p.candidate[n-1].point
		p.candidate = p.candidate[:copy(p.candidate, p.candidate[n:])]
		signal(p.room)
	}
	tip := view.Tip()
	if k := len(p.candidate); k == 0 || !tip.IsOrigin() && p.candidate[k-1].number <= tip.Block {
		return nil, false
	}
	return append([]header(nil), p.candidate...), p.base == tip.Point
}

// fetch gets a run of blocks. Those that extend our chain are added one by one as they come; those of another fork all together,
// in memory until the last is there.
func (p *Peer) fetch(ctx context.Context, c *blockfetch.Client, want []header, extends bool) error {
	var fork [][]byte
	i := 0
	for b, err := range c.Range(ctx, want[0].point, want[len(want)-1].point) {
		if err != nil {
			return err
		}
		if i == len(want) {
			return ErrBlock
		}
		if err := check(b, want[i]); err != nil {
			return err
		}
		if extends {
			if err := p.adopt(b, want[i]); err != nil {
				return err
			}
		} else {
			fork = append(fork, bytes.Clone(b))
		}
		i++
	}
	if i < len(want) {
		return fmt.Errorf("%w: %d blocks of %d", ErrBlock, i, len(want))
	}
	if extends {
		return nil
	}
	return p.switchTo(want, fork)
}

func check(item []byte, want header) error {
	b, err := chain.ParseBlock(item)
	if err != nil {
		return err
	}
	if b.Point() != want.point {
		return fmt.Errorf("%w: %v for %v", ErrBlock, b.Point(), want.point)
	}
	_, err = b.CheckBody()
	return err
}

// adopt adds a block, unless another peer's has come first.
func (p *Peer) adopt(item []byte, h header) error {
	s := p.s
	s.writing.Lock()
	tip := s.chain.Tip()
	if tip.IsOrigin() || h.prev == tip.Hash {
		if _, err := s.chain.Append(item); err != nil {
			s.writing.Unlock()
			return blame(err)
		}
		s.writing.Unlock()
		if s.hooks.Adopted != nil {
			s.hooks.Adopted(p.name, h.point, h.number, len(item))
		}
		return nil
	}
	s.writing.Unlock()
	return nil
}

// switchTo makes another fork ours if it is still the longer one.
func (p *Peer) switchTo(want []header, items [][]byte) error {
	s := p.s
	s.writing.Lock()
	defer s.writing.Unlock()
	p.mu.Lock()
	base := p.base
	p.mu.Unlock()
	if tip := s.chain.Tip(); !tip.IsOrigin() && want[len(want)-1].number <= tip.Block || !s.chain.Contains(base) || !base.IsOrigin() && base.Hash != want[0].prev {
		return nil
	}
	if err := s.chain.Switch(base, items); err != nil {
		return blame(err)
	}
	if s.hooks.Adopted != nil {
		for i, h := range want {
			s.hooks.Adopted(p.name, h.point, h.number, len(items[i]))
		}
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, a, b, c <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		d = claimFor
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-a:
	case <-b:
	case <-c:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
