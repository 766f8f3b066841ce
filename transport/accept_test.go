package transport

import (
	"context"
	"net"
	"testing"
)

// silent is an Endpoint of sessions that say nothing.
type silent struct{}

func (silent) Open(*Conn, *Request) (Session, *Rejection) { return silent{}, nil }
func (silent) Message(*Conn, bool, []byte)                {}
func (silent) Violation(*Conn, Violation)                 {}
func (silent) Sweep(*Conn)                                {}
func (silent) Closed(*Conn, End)                          {}

// dialMany opens n bare connections, one after the other if the server accepts each before the next.
func dialMany(t *testing.T, s *Server, addr net.Addr, n int, oneByOne bool) {
	t.Helper()
	for range n {
		had := s.Stats().Accepted
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if oneByOne {
			for s.Stats().Accepted == had {
				onLoop(t, s.Loops()[0], func() {})
			}
		}
	}
}

// TestLoopsShareConnections: however connections come, no loop has more than its share.
func TestLoopsShareConnections(t *testing.T) {
	t.Parallel()
	for _, oneByOne := range []bool{true, false} {
		o := testOptions()
		o.Loops = 4
		s := startServer(t, o)
		addr := listenTCP(t, s, silent{})
		for _, n := range []int{16, 384} { // in all, too: 400
			dialMany(t, s, addr, n, oneByOne)
			total := map[int]int{16: 16, 384: 400}[n]
			eventually(t, s, func() bool { st := s.Stats(); return st.Connections() == total && st.Accepted == uint64(total) })
			// A loop that hands over has read the numbers of others a moment before.
			fair := total / o.Loops
			for i, l := range s.Stats().Loops {
				if most := fair + fair/shareSlack + o.Loops; l.Connections > most {
					t.Errorf("%d connections, one by one %v: loop %d has %d, want %d at most", total, oneByOne, i, l.Connections, most)
				}
			}
		}
	}
}

// TestBusyLoopAcceptsNothing: connections don't wait for a loop that is busy while another one is not.
func TestBusyLoopAcceptsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	addr := listenTCP(t, s, silent{})
	defer block(t, s.Loops()[1])()
	dialMany(t, s, addr, 20, false)
	eventually(t, s, func() bool { return s.Stats().Accepted == 20 })
}

// TestListeningAgain: a socket that is closed refuses connections at once, and its port can be listened on again, while a
// loop has not left it yet.
func TestListeningAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t, testOptions())
	addr := listenTCP(t, s, silent{})
	dialMany(t, s, addr, 3, true)
	release := block(t, s.Loops()[1])
	s.StopListening()
	if c, err := net.Dial("tcp", addr.String()); err == nil {
		_ = c.Close()
		t.Error("a connection is accepted after StopListening")
	}
	other := startServer(t, testOptions())
	again, err := other.ListenTCP(context.Background(), addr.String(), silent{})
	if err != nil {
		t.Fatal(err)
	}
	release()
	dialMany(t, other, again, 3, true)
	if n := s.Connections(); n != 3 {
		t.Errorf("%d connections are left at the server that listens no more", n)
	}
}
