package hub

// marks are the clients of a loop that a message has come by, by their slots.
type marks struct {
	message uint32
	of      []uint32
}

// begin begins with a message of which no client is marked.
func (m *marks) begin() {
	if m.message++; m.message == 0 {
		clear(m.of)
		m.message = 1
	}
}

// mark marks the client and reports whether it was not marked before.
func (m *marks) mark(s *session) bool {
	slot := int(s.conn.Slot())
	if slot >= len(m.of) {
		m.of = append(m.of, make([]uint32, slot+1-len(m.of))...)
	}
	if m.of[slot] == m.message {
		return false
	}
	m.of[slot] = m.message
	return true
}
