package transport

// slabConns is how many connections are allocated together.
const slabConns = 256

// table holds a loop's connections. A connection keeps its slot for life.
type table struct {
	slabs    []*[slabConns]Conn
	traffic  []*[slabConns]Traffic     // of the connections in slabs; apart, so that each of those is one cache line
	secured  []*[slabConns]*secureConn // likewise; nil where none of the slab was ever over TLS
	detached []*[slabConns]*detached   // likewise; nil where none of the slab was ever detached
	free     []uint32                  // slots without a connection
}

// slots returns the number of slots.
func (t *table) slots() uint32 { return uint32(len(t.slabs) * slabConns) }

// at returns the connection in a slot, which may be free, or nil if there is no such slot.
func (t *table) at(slot uint32) *Conn {
	if slot >= t.slots() {
		return nil
	}
	return &t.slabs[slot/slabConns][slot%slabConns]
}

// take returns a free slot of l, whose table it is, making it the connection's.
func (t *table) take(l *Loop) *Conn {
	if len(t.free) == 0 {
		t.extend(l)
	}
	n := len(t.free) - 1
	c := t.at(t.free[n])
	t.free = t.free[:n]
	return c
}

// extend adds a slab.
func (t *table) extend(l *Loop) {
	first := t.slots()
	slab := new([slabConns]Conn)
	t.slabs = append(t.slabs, slab)
	t.traffic = append(t.traffic, new([slabConns]Traffic))
	t.secured = append(t.secured, nil)
	t.detached = append(t.detached, nil)
	for i := range slab {
		slab[i].loop = l
		slab[i].slot = first + uint32(i)
	}
	for i := uint32(slabConns); i > 0; i-- {
		t.free = append(t.free, first+i-1)
	}
}

// release frees the slot of a connection. References to it are void from now on.
func (t *table) release(c *Conn) {
	*t.trafficOf(c) = Traffic{}
	*c = Conn{loop: c.loop, slot: c.slot, gen: c.gen + 1}
	t.free = append(t.free, c.slot)
}

// detachedOf returns what a connection has in the place of a socket, or nil if it has one.
func (t *table) detachedOf(c *Conn) *detached {
	if !c.Detached() {
		return nil
	}
	if slab := t.detached[c.slot/slabConns]; slab != nil {
		return slab[c.slot%slabConns]
	}
	return nil
}

// setDetached sets it. The table is apart from the Conns, and exists only where there are such.
func (t *table) setDetached(c *Conn, d *detached) {
	slab := t.detached[c.slot/slabConns]
	if slab == nil && d == nil {
		return
	}
	if slab == nil {
		slab = new([slabConns]*detached)
		t.detached[c.slot/slabConns] = slab
	}
	slab[c.slot%slabConns] = d
}

// trafficOf returns the counts of a connection. They are touched for each system call, never for each message.
func (t *table) trafficOf(c *Conn) *Traffic {
	return &t.traffic[c.slot/slabConns][c.slot%slabConns]
}

// Conn returns the open connection in a slot, or nil. It must be called on the loop's goroutine.
func (l *Loop) Conn(slot uint32) *Conn {
	if c := l.table.at(slot); c != nil && c.state == stateOpen {
		return c
	}
	return nil
}

// Slots returns the number of slots in the loop's table: those of connections are below it.
func (l *Loop) Slots() uint32 { return l.table.slots() }

// Ref names a connection for longer than the Conn is valid. The zero Ref names none.
type Ref struct {
	loop *Loop
	slot uint32
	gen  uint32
}

// Loop returns the loop that the connection was on.
func (r Ref) Loop() *Loop { return r.loop }

// Conn returns the connection if it is still there and open. It must be called on the loop's goroutine.
func (r Ref) Conn() *Conn {
	if r.loop == nil {
		return nil
	}
	c := r.loop.table.at(r.slot)
	if c == nil || c.gen != r.gen || c.state != stateOpen {
		return nil
	}
	return c
}
