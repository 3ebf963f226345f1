package txsubmission

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hearthnet/hearth/protocols/internal/diffusion"
)

// Mempool is what a node offers to its peers. It is safe for concurrent use.
type Mempool interface {
	// Next returns the first transaction whose ticket is greater than after, in the order in which peers should hear of them:
	// a transaction comes behind those it depends on. Tickets are never given twice.
	Next(after uint64) (e Entry, ok bool)
	// Tx returns the transaction with an id in its envelope, in its own envelope; nil when it is not there any more.
	Tx(id []byte) []byte
	// Changed returns a channel that is closed when a transaction is added.
	Changed() <-chan struct{}
}

// Entry is one transaction of a [Mempool].
type Entry struct {
	Ticket uint64 // from 1
	ID     []byte // in its envelope
	Size   int    // bytes of the transaction in its envelope
}

// Sink is where a node's transactions come in. It is safe for concurrent use.
type Sink interface {
	// Has reports whether a transaction need not be asked for: it is there, or was refused not long ago. An id does not cover
	// witnesses: a sink that remembers refusals by id lets whoever spoils a copy keep the good one away for that long.
	Has(id []byte) bool
	// ID returns the id of a transaction; both are in their envelopes.
	ID(tx []byte) ([]byte, error)
	// Add takes a transaction, which is valid until Add returns. An error that wraps [ErrFull] has it offered again when there is
	// room; any other says that it was refused, and counts against the peer that sent it. Neither ends the connection.
	Add(id, tx []byte) error
	// Room returns how many bytes of transactions can be taken now. No more than that are under way at any time.
	Room() int
	// Freed returns a channel that is closed when Room has grown.
	Freed() <-chan struct{}
}

// Memory is a mempool in memory with a limit on bytes. It implements [Mempool] and [Sink] and the reading side of
// local-tx-monitor needs nothing else.
type Memory struct {
	limit    int
	identify func(tx []byte) ([]byte, error)

	mu      sync.Mutex
	used    int
	last    uint64
	order   []memoryTx // by ticket
	byID    map[string]uint64
	changed chan struct{}
	freed   chan struct{}
}

type memoryTx struct {
	Entry
	tx []byte
}

// NewMemory returns an empty mempool of at most limit bytes of transactions. identify returns a transaction's id, both in their
// envelopes; it is how a host says what is hashed.
func NewMemory(limit int, identify func(tx []byte) ([]byte, error)) *Memory {
	return &Memory{limit: limit, identify: identify, byID: map[string]uint64{}, changed: make(chan struct{}), freed: make(chan struct{})}
}

// ErrFull says that a mempool has no room; the error that wraps it says how much there was.
var ErrFull = diffusion.ErrFull

// ErrTooLarge says that a transaction has more than [MaxTx] bytes.
var ErrTooLarge = errors.New("tx-submission: transaction too large")

// Add implements [Sink]. A transaction that is there already is no error; one of more than [MaxTx] bytes is [ErrTooLarge].
func (m *Memory) Add(id, tx []byte) error {
	if len(tx) == 0 || len(tx) > MaxTx {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, len(tx), MaxTx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.byID[string(id)]; ok {
		return nil
	}
	if m.used+len(tx) > m.limit {
		return fmt.Errorf("tx-submission: mempool: %w: %d of %d bytes used, %d wanted", ErrFull, m.used, m.limit, len(tx))
	}
	m.used += len(tx)
	m.last++
	e := memoryTx{Entry{m.last, append([]byte(nil), id...), len(tx)}, append([]byte(nil), tx...)}
	m.order = append(m.order, e)
	m.byID[string(id)] = m.last
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// Remove takes transactions out, because a block has them or they are no longer valid.
func (m *Memory) Remove(ids ...[]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := 0
	for _, id := range ids {
		ticket, ok := m.byID[string(id)]
		if !ok {
			continue
		}
		delete(m.byID, string(id))
		i := m.after(ticket - 1)
		m.used -= m.order[i].Size
		m.order[i].tx = nil
		gone++
	}
	if gone == 0 {
		return
	}
	kept := m.order[:0]
	for _, e := range m.order {
		if e.tx != nil {
			kept = append(kept, e)
		}
	}
	clear(m.order[len(kept):])
	m.order = kept
	close(m.freed)
	m.freed = make(chan struct{})
}

// after returns the index of the first transaction whose ticket is greater.
func (m *Memory) after(ticket uint64) int {
	lo, hi := 0, len(m.order)
	for lo < hi {
		mid := (lo + hi) / 2
		if m.order[mid].Ticket > ticket {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Next implements [Mempool].
func (m *Memory) Next(after uint64) (Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.after(after)
	if i == len(m.order) {
		return Entry{}, false
	}
	return m.order[i].Entry, true
}

// Tx implements [Mempool].
func (m *Memory) Tx(id []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	ticket, ok := m.byID[string(id)]
	if !ok {
		return nil
	}
	return m.order[m.after(ticket-1)].tx
}

// Has implements [Sink].
func (m *Memory) Has(id []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.byID[string(id)]
	return ok
}

// ID implements [Sink].
func (m *Memory) ID(tx []byte) ([]byte, error) { return m.identify(tx) }

// Room implements [Sink].
func (m *Memory) Room() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limit - m.used
}

// Changed implements [Mempool].
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Freed implements [Sink].
func (m *Memory) Freed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.freed
}

// Len returns the number of transactions and their bytes.
func (m *Memory) Len() (txs, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.order), m.used
}
