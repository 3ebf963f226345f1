package protocols

// ClockSet reports whether a session's timer is set.
func ClockSet(s *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.clock.firesAt.IsZero()
}
