package history

import (
	"fmt"
	"slices"
)

// model is a hub that is correct by construction unless a test breaks it: each client has a queue in and a queue out,
// served in an order that the test chooses. It records the history of its clients.
type model struct {
	h       *History
	clock   int64
	clients []*client
	pick    func(n int) int // returns a number below n
	// break_ may change the copies of a message before they are queued.
	break_ func(m message, to []*client) []delivery
}

type message struct {
	from *client
	n    int
	to   To
}

// delivery is one copy in a queue out.
type delivery struct {
	to     *client
	id     string
	sender string
	data   []byte
}

type client struct {
	*Session
	id     string
	as     Identity
	in     []func() // not yet read by the hub
	out    []func() // not yet read by the client
	known  bool     // the hub has it as a client
	gone   bool     // the client has ended
	joined bool     // the client has read its IDENTIFY answer
}

func newModel(pick func(int) int) *model {
	m := &model{h: New(0), pick: pick, clock: 1}
	m.h.now = func() int64 { m.clock++; return m.clock }
	return m
}

// connect opens a session without an IDENTIFY.
func (m *model) connect(name string) *client {
	c := &client{Session: m.h.Session(name), id: fmt.Sprintf("id-%d", len(m.clients))}
	m.clients = append(m.clients, c)
	return c
}

func (m *model) identify(c *client, as Identity) {
	c.as = as
	c.Identifying(as)
	c.in = append(c.in, func() {
		c.known = true
		c.out = append(c.out, func() { c.Identified(c.id); c.joined = true })
	})
}

// join connects and identifies a client at once.
func (m *model) join(name string, as Identity) *client {
	c := m.connect(name)
	m.identify(c, as)
	m.drain()
	return c
}

func (m *model) send(c *client, to To) {
	n := c.Send(to)
	c.in = append(c.in, func() {
		if c.known { // messages of a disconnected client are not read
			m.route(message{c, n, to})
		}
	})
}

func (m *model) route(msg message) {
	c := msg.from
	to := m.receivers(msg)
	copies := make([]delivery, 0, len(to))
	if m.break_ != nil {
		copies = m.break_(msg, to)
	} else {
		for _, r := range to {
			copies = append(copies, m.copy(msg, r))
		}
	}
	for _, d := range copies {
		d.to.out = append(d.to.out, func() { d.to.Arrived([]byte(d.id), []byte(d.sender), d.data) })
	}
	switch {
	case !c.as.Reports:
	case len(to) == 0:
		c.out = append(c.out, func() { c.Refused(msg.n, "NO_RECEIVER") })
	default:
		c.out = append(c.out, func() { c.Accepted(msg.n) })
	}
}

func (m *model) copy(msg message, to *client) delivery {
	s := msg.from.Index()
	return delivery{to, string(AppendID(nil, s, msg.n)), msg.from.id, AppendPayload(nil, s, msg.n, msg.n%40)}
}

func (m *model) receivers(msg message) []*client {
	var to []*client
	for _, r := range m.clients {
		own := r == msg.from && r.as.NoEcho
		member := slices.Contains(r.as.Groups, msg.to.Name)
		if !r.known {
			continue
		}
		switch msg.to.Target {
		case Global:
			member = !own
		case Group:
			member = member && !own
		case Direct:
			member = r.id == msg.to.Name
		case Any:
			member = member || msg.to.Name == ""
		}
		if member {
			to = append(to, r)
		}
	}
	if msg.to.Target == Any && len(to) > 1 {
		return []*client{to[m.pick(len(to))]}
	}
	return to
}

// leave runs a graceful close.
func (m *model) leave(c *client) {
	c.Leaving()
	c.in = append(c.in, func() { m.end(c, Left, "NO_REASON") })
}

// kick disconnects c at the hub; some of its queued messages are lost.
func (m *model) kick(c *client) {
	if c.known {
		c.in, c.out = nil, c.out[:m.pick(len(c.out)+1)]
		m.end(c, Dismissed, "KICKED")
	}
}

func (m *model) end(c *client, how Departure, reason string) {
	c.known = false
	c.out = append(c.out, func() {
		if !c.gone {
			c.gone = true
			c.Ended(how, reason)
		}
	})
}

// cut drops the connection. The hub reads some of the messages on their way and notices later.
func (m *model) cut(c *client) {
	c.Leaving()
	c.Ended(Cut, "")
	c.gone = true
	c.out = nil
	c.in = append(c.in[:m.pick(len(c.in)+1)], func() { c.known = false })
}

// step serves one queue, if any has something. It reports whether one had.
func (m *model) step() bool {
	type queue struct{ q *[]func() }
	var ready []queue
	for _, c := range m.clients {
		if len(c.in) > 0 {
			ready = append(ready, queue{&c.in})
		}
		if c.gone {
			c.out = nil
		} else if len(c.out) > 0 {
			ready = append(ready, queue{&c.out})
		}
	}
	if len(ready) == 0 {
		return false
	}
	q := ready[m.pick(len(ready))].q
	next := (*q)[0]
	*q = (*q)[1:]
	next()
	return true
}

func (m *model) drain() {
	for m.step() {
	}
}
