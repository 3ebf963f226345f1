package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Numbers of governor §6.2.
const (
	ledgerTTL      = 5 * time.Second // how long an answer counts
	ledgerMaxAge   = 1847 * time.Second
	ledgerRetryAge = 30 * time.Second // while there are no pools
)

// ledgerCache decides when the ledger is read again; it is pure.
type ledgerCache struct {
	setting   UseLedger
	selection *Selection // nil: nothing to draw from
	read      bool
	at        time.Duration
	version   int // grows whenever what was read before must not be used any more
}

// use takes over the setting. Another one than before makes the pools invalid at once.
func (c *ledgerCache) use(u UseLedger) {
	if u != c.setting {
		c.setting = u
		c.forget()
	}
}

func (c *ledgerCache) forget() {
	c.selection, c.read = nil, false
	c.version++
}

// stale tells whether the ledger must be read before the next answer.
func (c *ledgerCache) stale(now time.Duration) bool {
	switch {
	case !c.setting.Enabled():
		return false
	case !c.read:
		return true
	case c.selection == nil:
		return now-c.at > ledgerRetryAge
	}
	return now-c.at > ledgerMaxAge
}

// store keeps what was read, unless a change came in between.
func (c *ledgerCache) store(now time.Duration, version int, s *Selection) {
	if version != c.version {
		return
	}
	if s != nil && s.Len(false) == 0 && s.Len(true) == 0 {
		s = nil
	}
	c.selection, c.read, c.at = s, true, now
}

// failed puts the next attempt off after an error; pools read before stay in use.
func (c *ledgerCache) failed(now time.Duration, version int) {
	if version == c.version {
		c.read, c.at = true, now
		if c.selection != nil {
			c.at = now - ledgerMaxAge + ledgerRetryAge
		}
	}
}

// LedgerPeers draws n ledger peers, or big ledger peers, resolves them and returns what comes out: fewer than n when pools
// repeat or names do not resolve; each name gives one of its addresses. The answer is nil, with no error and no life time, when
// there is nothing to draw from: ledger peers are off, the tip is too old, or there are no pools.
func (p *Provider) LedgerPeers(ctx context.Context, n int, big bool) (peers []netip.AddrPort, ttl time.Duration, err error) {
	p.mu.Lock()
	setting, version, stale, snapshot := p.ledger.setting, p.ledger.version, p.ledger.stale(p.now()), p.snapshot
	p.mu.Unlock()
	if stale {
		s, err := p.readLedger(ctx, setting, snapshot)
		if err != nil && ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		p.mu.Lock()
		p.counters.LedgerReads++
		if err != nil {
			p.ledger.failed(p.now(), version)
		} else {
			p.ledger.store(p.now(), version, s)
		}
		p.mu.Unlock()
		if err != nil {
			p.cfg.Report(err)
		}
	}
	p.mu.Lock()
	selection := p.ledger.selection
	rnd := rand.New(rand.NewPCG(p.rnd.Uint64(), p.rnd.Uint64()))
	p.mu.Unlock()
	if selection == nil || n <= 0 {
		return nil, 0, nil
	}
	points := selection.Pick(rnd, n, big)
	p.mu.Lock()
	p.counters.LedgerPicks += uint64(len(points))
	p.mu.Unlock()
	found, _, err := p.resolveAll(ctx, points)
	if err != nil && ctx.Err() != nil {
		return nil, 0, err
	}
	peers = []netip.AddrPort{} // not nil: there was something to draw from
	seen := make(map[netip.AddrPort]struct{})
	for _, addrs := range found {
		if len(addrs) == 0 {
			continue
		}
		a := addrs[rnd.IntN(len(addrs))]
		if _, again := seen[a]; !again {
			seen[a] = struct{}{}
			peers = append(peers, a)
		}
	}
	return peers, ledgerTTL, nil
}

// readLedger prepares the selection: from the snapshot when it is at least as new as the tip and as useLedgerAfterSlot, else
// from the ledger when the setting allows it.
func (p *Provider) readLedger(ctx context.Context, use UseLedger, snapshot *Snapshot) (*Selection, error) {
	tip, origin := uint64(0), true
	if p.cfg.Ledger != nil {
		tip, origin = p.cfg.Ledger.Tip()
	}
	if origin {
		tip = 0
	}
	if snapshot != nil && snapshot.newer(tip, use) {
		return NewSnapshotSelection(snapshot), nil
	}
	if p.cfg.Ledger == nil || !use.Allows(tip, origin) {
		return nil, nil
	}
	pools, err := p.cfg.Ledger.Pools(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's pools: %w", err)
	}
	return NewSelection(pools), nil
}

// SnapshotError says why the peer snapshot of a topology is not used. It wraps the error of reading, an *InvalidError or one
// of the ErrSnapshot… reasons.
type SnapshotError struct {
	Path string
	Err  error
}

// Error names the file and the reason.
func (e *SnapshotError) Error() string {
	return fmt.Sprintf("peer snapshot %s not used: %v", e.Path, e.Err)
}

// Unwrap returns the reason.
func (e *SnapshotError) Unwrap() error { return e.Err }

// Fault says that the mistake is ours.
func (e *SnapshotError) Fault() string { return "internal" }

// readSnapshot applies the load rules of governor §6.3 and returns the snapshot to use from now on. At the start an error is
// fatal, except that a file which cannot be read is only reported outside Genesis mode. On reload an error is reported: a
// snapshot that is too old leaves the one in use, any other failure drops it.
func (p *Provider) readSnapshot(t *Topology, have *Snapshot, first bool) (*Snapshot, error) {
	path := p.snapshotPath(t)
	if path == "" {
		return nil, nil
	}
	s, err := p.cfg.LoadSnapshot(path)
	switch {
	case err != nil && first && !p.cfg.Genesis:
		p.cfg.Report(&SnapshotError{path, err})
		return nil, nil
	case err == nil:
		err = s.Usable(p.cfg.Magic)
	}
	if err != nil {
		return nil, &SnapshotError{path, err}
	}
	if t.UseLedger.Mode == LedgerAfter && s.Slot < t.UseLedger.Slot {
		return have, &SnapshotError{path, fmt.Errorf("%w: slot %d, needed %d", ErrSnapshotTooOld, s.Slot, t.UseLedger.Slot)}
	}
	if have != nil && have.Slot == s.Slot && bytes.Equal(have.Hash, s.Hash) {
		return have, nil // known by its point: the pools drawn from stay
	}
	return s, nil
}

func loadSnapshot(path string) (*Snapshot, error) {
	r, err := ReadSnapshotFile(path, SnapshotOptions{Lenient: true})
	if err != nil {
		return nil, err
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if r.Snapshot == nil {
		return nil, errors.New("nothing in it")
	}
	return r.Snapshot, nil
}
