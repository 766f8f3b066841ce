package history

// Answer returns the answer to message n: the code of the ERROR, or empty for an ACK. ok is false if there was none so
// far. It may be called while the history is recorded.
func (s *Session) Answer(n int) (code string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 || n >= len(s.sends) {
		return "", false
	}
	m := &s.sends[n]
	return m.code, m.outcome == accepted || m.outcome == refused
}

// RefusedSince counts, by code, the messages sent since the time t (see [Now]) that were answered with an ERROR. It may
// be called while the history is recorded.
func (h *History) RefusedSince(t int64) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := make(map[string]int)
	for _, s := range h.table {
		s.mu.Lock()
		for i := range s.sends {
			if m := &s.sends[i]; m.outcome == refused && m.at >= t {
				counts[m.code]++
			}
		}
		s.mu.Unlock()
	}
	return counts
}
