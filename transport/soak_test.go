package transport

import (
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// flood is an Endpoint that counts, and echoes.
type flood struct {
	opened, closed, messages atomic.Int64
}

func (f *flood) Open(*Conn, *Request) (Session, *Rejection) {
	f.opened.Add(1)
	return &hooks{
		message: func(c *Conn, b bool, p []byte) { f.messages.Add(1); echo(c, b, p) },
		closed:  func(*Conn, End) { f.closed.Add(1) },
	}, nil
}

// soaked is an Endpoint that does everything that a session may do, at random, and keeps the buffers that it sent.
type soaked struct {
	flood
	server *Server
	loops  []soakedLoop

	mu   sync.Mutex
	sent []*Buffer
}

// soakedLoop is what the sessions of one loop share.
type soakedLoop struct {
	random  *rand.Rand
	members []*Conn
}

// broadcast is a message for all members of a loop.
type broadcast struct {
	s *soaked
	b *Buffer
}

func (m broadcast) Size() int { return len(m.b.Payload()) }
func (m broadcast) Deliver(l *Loop) {
	m.s.fanOut(l, m.b)
	m.b.Release()
}

// fanOut sends to all members of a loop, which must not change meanwhile.
func (s *soaked) fanOut(l *Loop, b *Buffer) {
	members := s.loops[l.Index()].members
	n := len(members)
	for _, c := range members {
		c.Send(b)
		if len(s.loops[l.Index()].members) != n {
			panic("the members changed within Send")
		}
	}
}

func (s *soaked) Open(c *Conn, r *Request) (Session, *Rejection) {
	l := &s.loops[c.Loop().Index()]
	if l.random.IntN(20) == 0 {
		return nil, &Rejection{Cause: "soak", Status: 503, Line: "not now"}
	}
	_ = smallBuffers(c, r)
	s.opened.Add(1)
	l.members = append(l.members, c)
	return &hooks{message: s.message, violation: s.report, sweep: s.sweep, closed: s.ended}, nil
}

func (s *soaked) report(c *Conn, v Violation) {
	switch s.loops[c.Loop().Index()].random.IntN(3) {
	case 0:
		c.Abort(4008, "", nil)
	case 1:
		c.Close(4008, "", NewMessage([]byte("last")))
	}
}

func (s *soaked) ended(c *Conn, _ End) {
	s.closed.Add(1)
	l := &s.loops[c.Loop().Index()]
	i := slices.Index(l.members, c)
	l.members = slices.Delete(l.members, i, i+1)
	c.Close(1000, "", NewMessage([]byte("in vain")))
	c.Resume()
}

func (s *soaked) sweep(c *Conn) {
	if s.loops[c.Loop().Index()].random.IntN(50) == 0 {
		c.Close(1001, "swept", nil)
	}
}

func (s *soaked) message(c *Conn, _ bool, p []byte) {
	s.messages.Add(1)
	l := c.Loop()
	random := s.loops[l.Index()].random
	b := NewMessage(p)
	s.mu.Lock()
	if len(s.sent) < 100_000 {
		b.Retain()
		s.sent = append(s.sent, b)
	}
	s.mu.Unlock()
	switch random.IntN(12) {
	case 0:
		r := c.Ref()
		c.Pause()
		l.Post(job(func(*Loop) {
			if c := r.Conn(); c != nil {
				c.Resume()
			}
		}))
	case 1:
		c.Trust()
	case 2:
		if random.IntN(20) == 0 {
			c.Abort(4008, "", NewMessage(p))
		}
	case 3:
		if random.IntN(20) == 0 {
			c.Close(4010, "", NewMessage(p))
		}
	case 4:
		s.server.Gate().Hold()
		l.Post(job(func(*Loop) { s.server.Gate().Release() }))
	}
	for _, other := range s.server.Loops() {
		if b.Retain(); other == l {
			s.fanOut(l, b)
			b.Release()
		} else if !other.Post(broadcast{s, b}) {
			b.Release()
		}
	}
	b.Release()
}

// soakClient does what clients do, and what they should not.
func soakClient(random *rand.Rand, addr net.Addr, p protocol) {
	nc, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		return
	}
	defer nc.Close()
	tcp := nc.(*net.TCPConn)
	_ = nc.SetDeadline(time.Now().Add(time.Duration(random.IntN(400)) * time.Millisecond))
	var reader sync.WaitGroup
	defer reader.Wait()
	if slow := random.IntN(4) == 0; !slow {
		reader.Go(func() {
			buf := make([]byte, 4096)
			for {
				if _, err := nc.Read(buf); err != nil {
					return
				}
			}
		})
	}
	if p == protocolWebSocket {
		_, _ = nc.Write([]byte(upgradeRequest("")))
	}
	for range random.IntN(100) {
		if _, err := nc.Write(soakBytes(random, p)); err != nil {
			return
		}
	}
	switch random.IntN(4) {
	case 0:
		_ = tcp.SetLinger(0)
		_ = nc.Close()
	case 1:
		_ = tcp.CloseWrite()
	case 2:
		_, _ = nc.Write(closing(1000, ""))
	}
}

// soakBytes returns a message, seldom a bad one, or a part of one.
func soakBytes(random *rand.Rand, p protocol) []byte {
	payload := `{"x":"` + strings.Repeat("x", random.IntN(2000)) + `"}`
	if p == protocolTCP {
		if random.IntN(200) == 0 {
			return []byte("junk")
		}
		return []byte(payload)
	}
	switch random.IntN(20) {
	case 0:
		return slices.Concat(clientFrame(false, ws.OpText, payload), clientFrame(true, ws.OpPing, "p"), clientFrame(true, ws.OpContinuation, "end"))
	case 1:
		return clientFrame(true, ws.OpPing, payload[:min(125, len(payload))])
	case 2:
		if random.IntN(10) == 0 {
			return protocolErrors[random.IntN(len(protocolErrors))].stream
		}
	}
	return text(payload)
}

// TestSoak opens and closes connections of all kinds at random for a while, and then looks whether all accounts are even.
func TestSoak(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 64 << 10
	o.InboxBytes = 64 << 10
	o.UntrustedBytes = 1 << 20
	o.MessageTimeout = 50 * time.Millisecond
	o.WriteTimeout = 50 * time.Millisecond
	o.CloseTimeout = 50 * time.Millisecond
	o.HandshakeTimeout = 100 * time.Millisecond
	s := &soaked{server: startServer(t, o), loops: make([]soakedLoop, o.Loops)}
	for i := range s.loops {
		s.loops[i].random = rand.New(rand.NewPCG(1, uint64(i)))
	}
	webSocket, tcp := listen(t, s.server, s), listenTCP(t, s.server, s)
	end := time.Now().Add(2 * time.Second)
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for time.Now().Before(end) {
				if i%3 == 0 {
					soakClient(random, tcp, protocolTCP)
				} else {
					soakClient(random, webSocket, protocolWebSocket)
				}
			}
		})
	}
	clients.Wait()
	for late := time.Now().Add(patience); s.server.Connections() > 0; {
		if time.Now().After(late) {
			t.Fatalf("%d connections are left", s.server.Connections())
		}
		onLoop(t, s.server.Loops()[0], func() {})
	}
	for _, l := range s.server.Loops() { // before the loop ends and cleans up by itself
		onLoop(t, l, func() {
			if l.out.queued != 0 || l.in.untrusted != 0 || len(s.loops[l.index].members) != 0 {
				t.Errorf("loop %d: queued %d, untrusted %d, members %d", l.index, l.out.queued, l.in.untrusted, len(s.loops[l.index].members))
			}
		})
	}
	if s.server.Gate().Closed() {
		t.Error("the gate is closed")
	}
	s.server.Close()
	for _, b := range s.sent {
		if n := b.refs.Load(); n != 1 {
			t.Fatalf("a buffer has %d references, want the test's own", n)
		}
		b.Release()
	}
	t.Logf("%d connections, %d messages", s.opened.Load(), s.messages.Load())
	if s.opened.Load() != s.closed.Load() || s.messages.Load() < 100 {
		t.Errorf("%d sessions were opened, %d closed", s.opened.Load(), s.closed.Load())
	}
}
