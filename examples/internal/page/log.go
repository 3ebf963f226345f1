package page

import "sync"

// KeptEvents is how many events a [Log] keeps, the latest ones.
const KeptEvents = 2000

// Log is the latest events of a host, a ring. The zero value is empty. It may be used from several goroutines.
type Log struct {
	mu     sync.Mutex
	events []Event
	count  uint64 // of all that ever were
}

// Add numbers an event and takes it in.
func (l *Log) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	e.Number = l.count
	if l.events == nil {
		l.events = make([]Event, 0, KeptEvents)
	}
	if len(l.events) < KeptEvents {
		l.events = append(l.events, e)
		return
	}
	l.events[(l.count-1)%KeptEvents] = e
}

// Events returns what came after a number, as far as it is kept, at most the latest limit, in order.
func (l *Log) Events(after uint64, limit int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := max(after, l.count-uint64(len(l.events)), l.count-min(l.count, uint64(limit)))
	out := make([]Event, 0, l.count-min(l.count, first))
	for i := first; i < l.count; i++ {
		out = append(out, l.events[i%KeptEvents])
	}
	return out
}
