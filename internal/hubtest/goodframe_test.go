//go:build linux

package hubtest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestGoodFrames sends input that RFC 6455 allows but clients seldom send.
func TestGoodFrames(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for _, s := range states {
		t.Run("fragments, "+string(s), func(t *testing.T) { a.goodFragments(t, s) })
		t.Run("split everywhere, "+string(s), func(t *testing.T) { a.splitFrames(t, s) })
		t.Run("many in a segment, "+string(s), func(t *testing.T) { a.manyFrames(t, s) })
		t.Run("control frames, "+string(s), func(t *testing.T) { a.controlFrames(t, s) })
		t.Run("close, "+string(s), func(t *testing.T) { a.closes(t, s) })
	}
	t.Run("characters split between fragments", a.splitCharacters)
	a.finish(t)
}

const ping = `{"op":3}`

func expectPong(t *testing.T, c *rc.Conn, what string) {
	t.Helper()
	if e, err := c.Receive(); err != nil || !e.Is(rc.OpPONG) {
		t.Fatalf("%s: want PONG, got %v, %v", what, e, err)
	}
}

// expectControl expects a control frame next.
func expectControl(t *testing.T, c *rc.Conn, op byte, payload string) {
	t.Helper()
	if got, p, err := c.ReadMessage(); err != nil || got != op || string(p) != payload {
		t.Fatalf("want opcode %d with %q, got %d with %q, %v", op, payload, got, p, err)
	}
}

func (a *arena) goodFragments(t *testing.T, s state) {
	c := a.open(t, s)
	for i := range len(ping) + 1 {
		send(t, c, rc.Frames(rc.Fragment(rc.OpText, ping[:i]), rc.LastFragment(ping[i:])))
		expectPong(t, c, fmt.Sprintf("cut at %d", i))
	}
	send(t, c, rc.Frames(rc.Fragment(rc.OpText, ""), rc.Fragment(rc.OpContinuation, ping), rc.LastFragment("")))
	expectPong(t, c, "empty fragments")

	send(t, c, rc.Frames(rc.Fragment(rc.OpText, ping[:3]), rc.Control(rc.OpPing, "one"), rc.Fragment(rc.OpContinuation, ping[3:5]),
		rc.Control(rc.OpPong, "unasked"), rc.Control(rc.OpPing, ""), rc.LastFragment(ping[5:])))
	expectControl(t, c, rc.OpPong, "one")
	expectControl(t, c, rc.OpPong, "")
	expectPong(t, c, "pings between fragments")

	b := rc.Fragment(rc.OpText, ping).Bytes()
	for range 1022 {
		b = append(b, rc.Fragment(rc.OpContinuation, " ").Bytes()...)
	}
	send(t, c, append(b, rc.LastFragment(" ").Bytes()...))
	expectPong(t, c, "1024 fragments")
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
}

// splitFrames splits a stream of frames of every kind at each byte, and sends it byte by byte.
func (a *arena) splitFrames(t *testing.T, s state) {
	long := ping + strings.Repeat(" ", 200)
	b := rc.Frames(rc.Text(ping), rc.Control(rc.OpPing, "p"), rc.Fragment(rc.OpText, ping[:4]), rc.Control(rc.OpPing, "q"),
		rc.LastFragment(ping[4:]), rc.Text(long))
	c := a.open(t, s)
	expect := func(what string) {
		t.Helper()
		expectPong(t, c, what)
		expectControl(t, c, rc.OpPong, "p")
		expectControl(t, c, rc.OpPong, "q")
		expectPong(t, c, what)
		expectPong(t, c, what)
	}
	for i := range b {
		if err := c.WriteSplit(b, i); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprintf("cut at %d", i))
	}
	every := make([]int, len(b))
	for i := range every {
		every[i] = i
	}
	if err := c.WriteSplit(b, every...); err != nil {
		t.Fatal(err)
	}
	expect("byte by byte")
	for range 3 { // the largest message, in pieces whose size divides none of the hub's buffers
		largest := rc.Text(ping + strings.Repeat(" ", limit-len(ping))).Bytes()
		var at []int
		for i := 997; i < len(largest); i += 997 {
			at = append(at, i)
		}
		if err := c.WriteSplit(largest, at...); err != nil {
			t.Fatal(err)
		}
		expectPong(t, c, "the largest in pieces")
	}
}

// manyFrames sends more messages in one write than any buffer holds, and ends in the middle of one.
func (a *arena) manyFrames(t *testing.T, s state) {
	const n = 5000
	one := rc.Text(ping).Bytes()
	all := []byte(strings.Repeat(string(one), n))
	c := a.open(t, s)
	for _, cut := range []int{len(all), len(all) - 1, len(all) - len(one) + 1} {
		send(t, c, all[:cut])
		send(t, c, all[cut:])
		for i := range n {
			expectPong(t, c, fmt.Sprintf("message %d of %d", i, n))
		}
	}
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
}

func (a *arena) controlFrames(t *testing.T, s state) {
	c := a.open(t, s)
	for _, payload := range []string{"", "x", "\xff\x00\xfe", strings.Repeat("p", 125)} {
		send(t, c, rc.Control(rc.OpPing, payload).Bytes())
		expectControl(t, c, rc.OpPong, payload)
	}
	send(t, c, rc.Control(rc.OpPong, "unasked").Bytes())
	zero := rc.Text(ping)
	zero.Mask = [4]byte{} // a mask of zeros is a mask
	send(t, c, zero.Bytes())
	expectPong(t, c, "mask of zeros")
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
}

// closes begins the closing handshake with every kind of valid code: the hub echoes it and ends the connection.
func (a *arena) closes(t *testing.T, s state) {
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		for _, reason := range []string{"", "zum Abschied grüß Gott", strings.Repeat("r", 123)} {
			c := a.open(t, s)
			if err := c.SendClose(code, reason); err != nil {
				t.Fatal(err)
			}
			end, err := c.End()
			if err != nil || end.Code != code || end.Transport != io.EOF || len(end.Before) > 0 {
				t.Errorf("close %d %q: got %v, %v", code, reason, end, err)
			}
		}
	}
	c := a.open(t, s)
	if err := c.WriteClosing(rc.Frames(rc.Control(rc.OpClose, ""), rc.Text(everywhere))); err != nil {
		t.Fatal(err)
	}
	end, err := c.End()
	if err != nil || end.Code != 1005 && end.Code != 1000 || end.Transport != io.EOF {
		t.Errorf("close without a code: got %v, %v", end, err)
	}
	c = a.open(t, s)
	if err := c.WriteClosing(rc.Frames(rc.Fragment(rc.OpText, ping[:3]), rc.Closing(1001, ""))); err != nil {
		t.Fatal(err)
	}
	if end, err := c.End(); err != nil || end.Code != 1001 {
		t.Errorf("close within fragments: got %v, %v", end, err)
	}
	c = a.open(t, s)
	send(t, c, rc.Frames(rc.Text(`{"op":2}`), rc.Text(everywhere)))
	expectEnd(t, c, goodbye)
}

// splitCharacters splits a text at every byte: it is valid only as a whole.
func (a *arena) splitCharacters(t *testing.T) {
	c := a.dial(t)
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	id, err := c.Identify(Token, "g", "")
	if err != nil {
		t.Fatal(err)
	}
	text := `{"op":0,"event":"ä€😀","data":"ä€😀","intent":{"target":"DIRECT","identifier":"` + id + `"}}`
	for i := range len(text) {
		send(t, c, rc.Frames(rc.Fragment(rc.OpText, text[:i]), rc.Control(rc.OpPong, ""), rc.LastFragment(text[i:])))
		e, err := c.Receive()
		if err != nil || e.Event != "ä€😀" || string(e.Data) != `"ä€😀"` {
			t.Fatalf("cut at %d: got %v, %v", i, e, err)
		}
	}
	for i := range 3 { // each byte of the emoji in its own fragment
		at := strings.Index(text, "😀") + i + 1
		send(t, c, rc.Frames(rc.Fragment(rc.OpText, text[:at]), rc.Fragment(rc.OpContinuation, text[at:at+1]), rc.LastFragment(text[at+1:])))
		if e, err := c.Receive(); err != nil || e.Event != "ä€😀" {
			t.Fatalf("cut at %d and behind: got %v, %v", at, e, err)
		}
	}
}
