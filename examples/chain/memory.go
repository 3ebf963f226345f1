package chain

import "sync"

// memorySegment is the size of the pieces that blocks are kept in by a chain without a directory.
const memorySegment = 1 << 20

// memory is a log in memory.
type memory struct {
	mu       sync.RWMutex
	segments [][]byte
	closed   bool
}

// append adds the items and returns where each is.
func (m *memory) append(_ *Point, items [][]byte) ([]place, error) {
	places := make([]place, len(items))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, item := range items {
		last := len(m.segments) - 1
		if last < 0 || cap(m.segments[last])-len(m.segments[last]) < len(item) {
			m.segments = append(m.segments, make([]byte, 0, max(memorySegment, len(item))))
			last++
		}
		places[i] = place{uint32(last), int64(len(m.segments[last]))}
		m.segments[last] = append(m.segments[last], item...)
	}
	return places, nil
}

func (m *memory) readAt(file uint32, p []byte, off int64) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	copy(p, m.segments[file][off:])
	return nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.segments = true, nil
	return nil
}
