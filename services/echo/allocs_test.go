package echo

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/services/echo/wire"
)

// bare is a client on a blocking descriptor, which allocates nothing while it sends and receives.
type bare struct {
	t   testing.TB
	fd  int
	buf [512]byte
}

func newBare(t testing.TB, addr string) *bare {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	file, err := nc.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close() // file is a duplicate
	t.Cleanup(func() { _ = file.Close() })
	c := &bare{t: t, fd: int(file.Fd())}
	if err := unix.SetNonblock(c.fd, false); err != nil {
		t.Fatal(err)
	}
	c.write(rawclient.NewRequest(addr, wire.Path).Bytes())
	for head := []byte(nil); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		c.fill(c.buf[:1])
		head = append(head, c.buf[0])
	}
	return c
}

func (c *bare) write(b []byte) {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err != nil {
			c.t.Fatal(err)
		}
		b = b[n:]
	}
}

func (c *bare) fill(b []byte) {
	for len(b) > 0 {
		n, err := unix.Read(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			c.t.Fatal("the connection ended", err)
		}
		b = b[n:]
	}
}

// expect reads frames up to the one with that payload.
func (c *bare) expect(payload []byte) {
	for {
		c.fill(c.buf[:2])
		frame := c.buf[2 : 2+int(c.buf[1])] // its length is below 126 in this test
		c.fill(frame)
		if bytes.Equal(frame, payload) {
			return
		}
	}
}

// close ends the connection.
func (c *bare) close() {
	if err := unix.Shutdown(c.fd, unix.SHUT_RDWR); err != nil {
		c.t.Fatal(err)
	}
}

// onePerLoop returns a client on each of the instance's loops.
func onePerLoop(n *node) []*bare {
	n.t.Helper()
	var all []*bare
	counts := make([]int, n.hub.Loops())
	for len(all) < len(counts) {
		c := newBare(n.t, n.addr)
		n.awaitClients(len(all) + 1)
		fresh := false
		for i, l := range n.hub.Stats().Transport.Loops {
			fresh = fresh || counts[i] == 0 && l.Connections > 0
			counts[i] = l.Connections
		}
		if fresh {
			all = append(all, c)
			continue
		}
		c.close()
		n.awaitClients(len(all))
	}
	return all
}

// masked is a frame of a client, under a mask of zeros.
func masked(payload string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// TestAllocations shows that a message and its ok cost no allocation. There is a client on each loop, so no loop lags
// behind: messages on their way to a lagging loop hold memory.
func TestAllocations(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			n := start(t, memory.NewBus().Broker(), DefaultLimits(), loops)
			all := onePerLoop(n)
			var messages, oks, ends [][]byte
			for i := range all {
				text := fmt.Sprint(i, " a text of <some> length \"größe\"")
				messages, oks, ends = append(messages, masked("message "+text)), append(oks, masked("ok "+text)), append(ends, []byte("ok "+text))
			}
			round := func() {
				for i, c := range all {
					c.write(messages[i])
					for _, ok := range oks { // whichever client was given it, now or before
						c.write(ok)
					}
					c.expect(ends[i])
				}
			}
			for range 500 { // pools and queues reach their sizes
				round()
			}
			if n := testing.AllocsPerRun(1000, round); n != 0 {
				t.Errorf("%v allocations for a message of each client and its ok, want 0", n)
			}
		})
	}
}

func BenchmarkMessageAndOK(b *testing.B) {
	n := start(b, memory.NewBus().Broker(), DefaultLimits(), 1)
	c := newBare(b, n.addr)
	message, ok := masked("message hello"), masked("ok hello")
	b.ReportAllocs()
	for b.Loop() {
		c.write(message)
		c.expect([]byte("message hello"))
		c.write(ok)
		c.expect([]byte("ok hello"))
	}
}
