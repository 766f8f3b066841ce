package transport

// Relieved is a Session that can wait for a backlog to become short.
type Relieved interface {
	// Relieved is called once for a call of Conn.NotifyBelow.
	Relieved(c *Conn)
}

// QueueLoad returns what the unsent backlog counts for in Options.SendQueueBytes.
func (c *Conn) QueueLoad() int {
	if c.tx == nil {
		return 0
	}
	return c.tx.load()
}

// load is what the backlog counts for in its limit.
func (t *backlog) load() int { return max(t.bytes, (len(t.frames)-t.head)*minFrameBytes) }

// NotifyBelow has the Session's Relieved called at the end of the turn in which QueueLoad, which is not less now, falls
// below load. A closed connection calls it no more.
func (c *Conn) NotifyBelow(load int) {
	if c.tx != nil {
		c.tx.relief = max(c.tx.relief, load)
	}
}

// relieved notes that the backlog has become short, if that is waited for.
func (t *backlog) relieved(c *Conn) {
	if t.relief > 0 && t.load() < t.relief {
		t.relief = 0
		c.loop.out.relieved = append(c.loop.out.relieved, c.Ref())
	}
}

// tellRelieved calls the sessions whose backlogs have become short.
func (l *Loop) tellRelieved() {
	for i := 0; i < len(l.out.relieved); i++ {
		if c := l.out.relieved[i].Conn(); c != nil && c.state == stateOpen {
			if s, ok := c.session.(Relieved); ok {
				s.Relieved(c)
			}
		}
	}
	l.out.relieved = l.out.relieved[:0]
}
