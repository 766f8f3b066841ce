package hub

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// rawPeer is a client on a blocking descriptor, which allocates nothing while it sends and receives.
type rawPeer struct {
	t   testing.TB
	fd  int
	buf [4096]byte
	id  string
}

// newRawPeer connects and identifies as a member of the group load; extra are further members of IDENTIFY's data, with a
// comma before each.
func newRawPeer(t testing.TB, url, extra string) *rawPeer {
	t.Helper()
	return newRawPeerOf(t, url, "load", extra)
}

// newRawPeerOf is newRawPeer for another group.
func newRawPeerOf(t testing.TB, url, group, extra string) *rawPeer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "ws:"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // file is a duplicate
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	p := &rawPeer{t: t, fd: fd}
	p.write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
	for head := ""; !strings.HasSuffix(head, "\r\n\r\n"); {
		p.readFull(p.buf[:1])
		head += string(p.buf[:1])
	}
	p.write(maskedText(fmt.Sprintf(`{"op":1,"data":{"token":%q,"group":%q,"echo":false%s}}`, testToken, group, extra)))
	got := string(p.readMessage())
	if _, rest, ok := strings.Cut(got, `"id":"`); !ok || !strings.HasPrefix(got, `{"op":1`) {
		t.Fatalf("IDENTIFY was answered with %s", got)
	} else {
		p.id = rest[:36]
	}
	return p
}

// maskedText frames a message as clients do, under a mask of zeros.
func maskedText(s string) []byte {
	b := []byte{0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(s)))
	if len(s) < 126 {
		b = []byte{0x81, 0x80 | byte(len(s)), 0, 0, 0, 0}
	}
	return append(b, s...)
}

func (p *rawPeer) write(b []byte) {
	for len(b) > 0 {
		n, err := unix.Write(p.fd, b)
		if err != nil {
			p.t.Fatal(err)
		}
		b = b[n:]
	}
}

func (p *rawPeer) readFull(b []byte) {
	for len(b) > 0 {
		n, err := unix.Read(p.fd, b)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			p.t.Fatal(io.ErrUnexpectedEOF, err)
		}
		b = b[n:]
	}
}

// readMessage reads one frame of at most 4 KiB. The result is valid until the next call.
func (p *rawPeer) readMessage() []byte {
	p.readFull(p.buf[:2])
	n := int(p.buf[1])
	if n == 126 {
		p.readFull(p.buf[:2])
		n = int(binary.BigEndian.Uint16(p.buf[:2]))
	}
	p.readFull(p.buf[:n])
	return p.buf[:n]
}

// TestAllocations shows that a routed EVENT costs no allocation, however many receive it.
func TestAllocations(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	for _, loops := range []int{1, 2} {
		for _, tc := range []struct{ name, intent string }{
			{"GROUP", `{"target":"GROUP","identifier":"load"}`},
			{"GLOBAL", `{"target":"GLOBAL"}`},
		} {
			t.Run(fmt.Sprintf("%s/%d loops", tc.name, loops), func(t *testing.T) {
				_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
				members := make([]*rawPeer, 100)
				for i := range members {
					members[i] = newRawPeer(t, url, "")
				}
				sender := newRawPeer(t, url, "")
				message := maskedText(`{"op":0,"event":"tick","data":{"n":1,"text":"` + strings.Repeat("x", 100) + `"},"intent":` + tc.intent + `}`)
				round := func() {
					sender.write(message)
					for _, p := range members {
						p.readMessage()
					}
				}
				for range 200 { // pools and queues reach their sizes
					round()
				}
				if n := testing.AllocsPerRun(500, round); n != 0 {
					t.Errorf("%v allocations for each EVENT to 100 members, want 0", n)
				}
			})
		}
	}
}

// TestIdentifyAllocations bounds what a client costs that connects, identifies and goes: its session, its token and group
// as strings, and few more.
func TestIdentifyAllocations(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = 1 })
	stays := newRawPeer(t, url, "") // so that the group stays, and the socket below has its address
	to, err := unix.Getpeername(stays.fd)
	if err != nil {
		t.Fatal(err)
	}
	request := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	identify := maskedText(fmt.Sprintf(`{"op":1,"data":{"token":%q,"group":"load"}}`, testToken))
	p := &rawPeer{t: t}
	round := func() {
		if p.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(p.fd, to); err != nil {
			t.Fatal(err)
		}
		p.write(request)
		for n := 0; n < 4 || string(p.buf[n-4:n]) != "\r\n\r\n"; n++ {
			p.readFull(p.buf[n : n+1])
		}
		p.write(identify)
		p.readMessage()
		_ = unix.Close(p.fd)
	}
	for range 200 { // pools and tables reach their sizes
		round()
	}
	const most = 12
	if n := testing.AllocsPerRun(500, round); n > most {
		t.Errorf("%v allocations for each client that connects and identifies, want at most %d", n, most)
	} else {
		t.Logf("%v allocations", n)
	}
}

// TestAllocationsWithoutExpect: messages without expect, of clients that may send requests and have sent some, cost no
// allocation.
func TestAllocationsWithoutExpect(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
			const features = `,"features":["requests"]`
			asker, worker := newRawPeerOf(t, url, "askers", features), newRawPeer(t, url, features)
			to := func(p *rawPeer) string { return fmt.Sprintf(`"intent":{"target":"DIRECT","identifier":%q}}`, p.id) }
			reply := maskedText(`{"op":5,"id":"q","data":3,` + to(asker))
			asker.write(maskedText(`{"op":0,"id":"q","event":"sum","expect":{"timeout_ms":600000},` + to(worker)))
			worker.readMessage()
			worker.write(reply)
			asker.readMessage()
			if got := string(asker.readMessage()); !strings.HasPrefix(got, `{"op":14`) {
				t.Fatalf("the request was answered with %s", got)
			}
			other := maskedText(`{"op":5,"id":"other","data":3,` + to(asker))
			for name, event := range map[string][]byte{
				"DIRECT": maskedText(`{"op":0,"id":"r","event":"sum","data":[1,2],` + to(worker)),
				"GROUP":  maskedText(`{"op":0,"id":"r","event":"sum","data":[1,2],"intent":{"target":"GROUP","identifier":"load"}}`),
				"ANY":    maskedText(`{"op":0,"id":"r","event":"sum","data":[1,2],"intent":{"target":"ANY","identifier":"load"}}`),
			} {
				round := func() {
					asker.write(event)
					worker.readMessage()
					worker.write(other)
					asker.readMessage()
				}
				for range 200 { // pools and queues reach their sizes
					round()
				}
				if n := testing.AllocsPerRun(500, round); n != 0 {
					t.Errorf("%s: %v allocations for an EVENT and its REPLY, want 0", name, n)
				}
			}
			if n := h.Stats().Requests.Open; n != 0 {
				t.Errorf("%d requests are open", n)
			}
		})
	}
}
