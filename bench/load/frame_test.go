//go:build linux

package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// serverFrame is a frame as a server sends it.
func serverFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); HeaderBytes(n) {
	case 2:
		b = append(b, byte(n))
	case 4:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		frame := serverFrame(TextFrame, make([]byte, n))
		size, length, err := header(frame)
		if size != HeaderBytes(n) || length != n || err != nil {
			t.Errorf("payload of %d bytes: header of %d bytes, payload of %d, %v", n, size, length, err)
		}
		for cut := range size {
			if size, _, err := header(frame[:cut]); size != 0 || err != nil {
				t.Errorf("payload of %d bytes, cut after %d: header of %d bytes, %v", n, cut, size, err)
			}
		}
	}
	for name, b := range map[string][]byte{
		"masked":     AppendFrame(nil, TextFrame, []byte("x")),
		"fragmented": {0x01, 1, 'x'},
		"compressed": {0xc1, 1, 'x'},
		"too long":   {0x81, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, err := header(b); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAppendFrame(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("ab1"), n)[:n]
		frame := AppendFrame(nil, BinaryFrame, payload)
		frame[1] &^= 0x80
		size, length, err := header(frame)
		if err != nil || length != n || frame[0] != BinaryFrame {
			t.Fatalf("payload of %d bytes: %d, %v", n, length, err)
		}
		mask, masked := frame[size:size+4], frame[size+4:]
		for i := range masked {
			masked[i] ^= mask[i&3]
		}
		if !bytes.Equal(masked, payload) {
			t.Errorf("payload of %d bytes: it changed", n)
		}
	}
}

// scripted is a dialect that notes the messages that it is shown. A client is ready with the message "ready".
type scripted struct {
	seen  []string
	count Counter
}

func (*scripted) Request(*Client) []byte         { return nil }
func (*scripted) Join(*Client) []byte            { return nil }
func (*scripted) MinDelivery() int               { return 100 }
func (s *scripted) Count() Counter               { return s.count }
func (*scripted) Publish(*Client, int) []byte    { return nil }
func (*scripted) Direct(*Client, *Client) []byte { return nil }
func (s *scripted) Message(c *Client, b []byte) ([]byte, error) {
	s.seen = append(s.seen, string(b))
	c.Ready = c.Ready || string(b) == "ready"
	return nil, nil
}

// stream is a connection's whole life: handshake, a long message while it subscribes, deliveries, some of which have the
// given length, short messages.
func stream(long int) []byte {
	b := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
	b = append(b, serverFrame(TextFrame, bytes.Repeat([]byte("w"), 200))...)
	b = append(b, serverFrame(TextFrame, []byte("ready"))...)
	for i := range 5 {
		b = append(b, serverFrame(TextFrame, bytes.Repeat([]byte("d"), 100+i*40))...)
		b = append(b, serverFrame(BinaryFrame, bytes.Repeat([]byte("d"), long))...)
		b = append(b, serverFrame(TextFrame, []byte("short"))...)
	}
	return append(b, serverFrame(pongFrame, nil)...)
}

func TestConsumeIsIndifferentToHowTheStreamIsCut(t *testing.T) {
	t.Parallel()
	for _, piece := range []int{1, 2, 3, 7, 100, 231, 4096, 1 << 20} {
		long := 70_000
		if piece < 100 {
			long = 300 // a frame that is kept until it is complete is copied with each piece
		}
		whole := stream(long)
		for _, several := range []bool{false, true} {
			t.Run(fmt.Sprint(piece, several), func(t *testing.T) {
				t.Parallel()
				d := &scripted{}
				if several {
					d.count = func(b []byte) (int, []byte, error) { return 1, nil, nil }
				}
				delivered := 0
				l := &Loop{dialect: d, least: d.MinDelivery(), count: d.count}
				l.delivered = func(_ *Client, n int) error { delivered += n; return nil }
				c := &Client{}
				for part := range slices.Chunk(whole, piece) {
					if err := l.take(c, append(slices.Clone(c.carry), part...)); err != nil {
						t.Fatal(err)
					}
				}
				if delivered != 10 || c.Received() != 10 || len(c.carry) != 0 || c.skip != 0 {
					t.Errorf("delivered %d, received %d, %d bytes kept, %d to skip", delivered, c.received, len(c.carry), c.skip)
				}
				want := []string{string(bytes.Repeat([]byte("w"), 200)), "ready", "short", "short", "short", "short", "short"}
				if !slices.Equal(d.seen, want) {
					t.Errorf("messages: %q", d.seen)
				}
			})
		}
	}
}

func TestConsumeRefuses(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"another status": []byte("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
		"a close frame":  append([]byte("HTTP/1.1 101 X\r\n\r\n"), serverFrame(closeFrame, []byte{3, 232})...),
		"a masked frame": append([]byte("HTTP/1.1 101 X\r\n\r\n"), AppendFrame(nil, TextFrame, nil)...),
	} {
		d := &scripted{}
		l := &Loop{dialect: d, least: d.MinDelivery()}
		if err := l.take(&Client{}, b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConsumeAllocFree(t *testing.T) {
	d := &scripted{}
	l := &Loop{dialect: d, least: d.MinDelivery()}
	l.delivered = func(*Client, int) error { return nil }
	c := &Client{open: true, Ready: true, carry: make([]byte, 0, 64)}
	b := bytes.Repeat(serverFrame(TextFrame, make([]byte, 226)), 8)
	if n := testing.AllocsPerRun(100, func() {
		if err := l.take(c, b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 8 deliveries", n)
	}
}
