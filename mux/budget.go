package mux

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the unread bytes of many connections together. When an arrival exceeds it, the connection with the most
// unread bytes is ended with [OverBudget]; the others go on. What arrives while that happens, at most one read of each
// connection, may exceed it.
type Budget struct {
	limit int64
	used  atomic.Int64

	mu       sync.Mutex
	muxes    map[*Mux]struct{}
	added    uint64
	evicting bool
}

// NewBudget returns a budget of limit bytes. A process that serves strangers does well with 512 MiB.
func NewBudget(limit int) *Budget {
	return &Budget{limit: int64(limit), muxes: map[*Mux]struct{}{}}
}

// Used returns the unread bytes of all connections.
func (b *Budget) Used() int { return int(b.used.Load()) }

func (b *Budget) add(m *Mux) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.added++
	m.serial = b.added
	b.muxes[m] = struct{}{}
	b.mu.Unlock()
}

// remove is called once for a connection that has ended; what its owner discards later must not count.
func (b *Budget) remove(m *Mux) {
	if b == nil {
		return
	}
	b.mu.Lock()
	delete(b.muxes, m)
	b.mu.Unlock()
}

func (b *Budget) account(n int) {
	if b == nil {
		return
	}
	if used := b.used.Add(int64(n)); n > 0 && used > b.limit {
		b.evict()
	}
}

// evict ends connections, largest first, until the rest is within the limit. One caller does it at a time, so that no second
// one is ended for bytes that are about to go.
func (b *Budget) evict() {
	b.mu.Lock()
	if b.evicting {
		b.mu.Unlock()
		return
	}
	b.evicting = true
	for {
		worst, e := b.largest()
		if worst == nil {
			break
		}
		b.mu.Unlock()
		worst.evict(e)
		b.mu.Lock()
	}
	b.evicting = false
	b.mu.Unlock()
}

// largest returns the connection to end next, the oldest of equals, nil if none need be. Connections that have failed are as
// good as gone.
func (b *Budget) largest() (worst *Mux, e *Error) {
	var most, going int64
	for m := range b.muxes {
		switch n := m.unread.Load(); {
		case m.failed.Load():
			going += n
		case n > most || n == most && worst != nil && m.serial < worst.serial:
			worst, most = m, n
		}
	}
	used := b.used.Load() // read last: what has gone since then counts in our favour
	if worst == nil || used-going <= b.limit {
		return nil, nil
	}
	e = &Error{Kind: OverBudget, Queued: int(most), Limit: int(b.limit), Size: int(used)}
	held := -1
	for _, s := range *worst.streams.Load() {
		if q := s.Buffered(); q > held {
			e.Protocol, e.Role, held = s.number, s.role, q
		}
	}
	return worst, e
}
