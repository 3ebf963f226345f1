package mux

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the unread bytes of many connections together. When an arrival exceeds it, the connection with the most
// unread bytes is ended with [OverBudget]; the others go on.
type Budget struct {
	limit int64
	used  atomic.Int64

	mu    sync.Mutex
	muxes map[*Mux]struct{}
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
		b.evict(used)
	}
}

func (b *Budget) evict(used int64) {
	b.mu.Lock()
	var worst *Mux
	most := int64(-1)
	for m := range b.muxes {
		if n := m.unread.Load(); n > most {
			worst, most = m, n
		}
	}
	b.mu.Unlock()
	if worst == nil {
		return
	}
	e := &Error{Kind: OverBudget, Queued: int(most), Limit: int(b.limit), Size: int(used - most)}
	for _, s := range *worst.streams.Load() {
		if q := s.in.size(); q > e.Size || e.Protocol == 0 {
			e.Protocol, e.Role = s.number, s.role
		}
	}
	worst.fail(e)
}
