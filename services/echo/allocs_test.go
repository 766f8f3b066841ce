package echo

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker"
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

// expect reads a frame, which must have that payload.
func (c *bare) expect(payload []byte) {
	c.fill(c.buf[:2+len(payload)])
	if int(c.buf[1]) != len(payload) || !bytes.Equal(c.buf[2:2+len(payload)], payload) {
		c.t.Fatalf("got %q, want %q", c.buf[:2+len(payload)], payload)
	}
}

// masked is a frame of a client, under a mask of zeros.
func masked(payload string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// TestAllocations shows that a message and its ok cost no allocation.
func TestAllocations(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			n := start(t, broker.NewMemory().Broker(), DefaultLimits(), loops)
			c := newBare(t, n.addr)
			n.awaitClients(1)
			frames := [][]byte{[]byte("message a text of <some> length \"größe\""), []byte("ok a text of <some> length \"größe\"")}
			sent := [][]byte{masked(string(frames[0])), masked(string(frames[1]))}
			round := func() {
				for i, f := range frames {
					c.write(sent[i])
					c.expect(f)
				}
			}
			for range 500 { // pools and queues reach their sizes
				round()
			}
			if n := testing.AllocsPerRun(1000, round); n != 0 {
				t.Errorf("%v allocations for a message and its ok, want 0", n)
			}
		})
	}
}

func BenchmarkMessageAndOK(b *testing.B) {
	n := start(b, broker.NewMemory().Broker(), DefaultLimits(), 1)
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
