//go:build linux

package hubtest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// frameCase has bytes after the opening handshake, and the required end of the connection.
type frameCase struct {
	name  string
	bytes []byte
	want  verdict
}

// frames sends input that RFC 6455 forbids, in both states. A valid event follows each and must not be handled.
func (a *arena) frames(t *testing.T) {
	for _, c := range slices.Concat(wrongHeaders(), wrongSequences(), wrongCloses(), wrongText()) {
		for _, s := range states {
			t.Run(fmt.Sprintf("%s, %s", c.name, s), func(t *testing.T) {
				t.Parallel()
				conn := a.open(t, s)
				send(t, conn, c.bytes)
				expectEnd(t, conn, c.want)
				conn = a.open(t, s)
				send(t, conn, append(slices.Clone(c.bytes), rc.Text(everywhere).Bytes()...))
				expectEnd(t, conn, c.want)
			})
		}
	}
	t.Run("pipelined behind the request", func(t *testing.T) {
		c := a.dial(t)
		send(t, c, append(rc.NewRequest(a.HubAddr, "/").Bytes(), rc.Frame{Op: rc.OpText, Unmasked: true, Payload: []byte(everywhere)}.Bytes()...))
		if err := c.Upgraded(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, c, protocolError)
	})
}

func wrongHeaders() []frameCase {
	ping := []byte(`{"op":3}`)
	cases := []frameCase{
		{"unmasked text", rc.Frame{Op: rc.OpText, Unmasked: true, Payload: ping}.Bytes(), protocolError},
		{"unmasked ping", rc.Frame{Op: rc.OpPing, Unmasked: true}.Bytes(), protocolError},
		{"unmasked close", rc.Frame{Op: rc.OpClose, Unmasked: true}.Bytes(), protocolError},
		{"64-bit length with the top bit", rc.Frame{Op: rc.OpText, Declared: 1<<63 | 8, Form: rc.Length64}.Header(), protocolError},
		{"64-bit length with all bits", rc.Frame{Op: rc.OpText, Declared: 1<<64 - 1, Form: rc.Length64}.Header(), protocolError},
		{"8 in 16 bits", rc.Frame{Op: rc.OpText, Form: rc.Length16, Payload: ping}.Bytes(), protocolError},
		{"0 in 16 bits", rc.Frame{Op: rc.OpText, Form: rc.Length16}.Bytes(), protocolError},
		{"125 in 16 bits", rc.Frame{Op: rc.OpText, Form: rc.Length16, Payload: make([]byte, 125)}.Bytes(), protocolError},
		{"8 in 64 bits", rc.Frame{Op: rc.OpText, Form: rc.Length64, Payload: ping}.Bytes(), protocolError},
		{"126 in 64 bits", rc.Frame{Op: rc.OpText, Form: rc.Length64, Payload: make([]byte, 126)}.Bytes(), protocolError},
		{"65535 in 64 bits", rc.Frame{Op: rc.OpText, Form: rc.Length64, Declared: 65535}.Header(), protocolError},
		{"ping of 126 bytes", rc.Frame{Op: rc.OpPing, Payload: make([]byte, 126)}.Bytes(), protocolError},
		{"pong of 126 bytes", rc.Frame{Op: rc.OpPong, Payload: make([]byte, 126)}.Bytes(), protocolError},
		{"close of 126 bytes", rc.Frame{Op: rc.OpClose, Payload: []byte("\x03\xe8" + strings.Repeat("a", 124))}.Bytes(), protocolError},
		{"ping of 70000 bytes", rc.Frame{Op: rc.OpPing, Declared: 70000}.Header(), protocolError},
		{"ping of 5 in 16 bits", rc.Frame{Op: rc.OpPing, Form: rc.Length16, Payload: make([]byte, 5)}.Bytes(), protocolError},
		{"fragmented ping", rc.Frame{Op: rc.OpPing, More: true}.Bytes(), protocolError},
		{"fragmented pong", rc.Frame{Op: rc.OpPong, More: true}.Bytes(), protocolError},
		{"fragmented close", rc.Frame{Op: rc.OpClose, More: true}.Bytes(), protocolError},
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{rc.OpText, rc.OpPing, rc.OpClose} {
			f := rc.Frame{Op: op, RSV: rsv}
			if op == rc.OpText {
				f.Payload = ping
			}
			cases = append(cases, frameCase{fmt.Sprintf("reserved bits %d, opcode %d", rsv, op), f.Bytes(), protocolError})
		}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			frameCase{fmt.Sprintf("opcode %d", op), rc.Frame{Op: op, Payload: ping}.Bytes(), protocolError},
			frameCase{fmt.Sprintf("opcode %d, empty", op), rc.Frame{Op: op}.Bytes(), protocolError})
	}
	return cases
}

func wrongSequences() []frameCase {
	first := rc.Fragment(rc.OpText, `{"op"`)
	many := func(n int, part string) []byte {
		b := rc.Fragment(rc.OpText, `{"op":3`).Bytes()
		for range n - 2 {
			b = append(b, rc.Fragment(rc.OpContinuation, part).Bytes()...)
		}
		return append(b, rc.LastFragment(`}`).Bytes()...)
	}
	return []frameCase{
		{"continuation of nothing", rc.LastFragment(`{"op":3}`).Bytes(), protocolError},
		{"unfinished continuation of nothing", rc.Fragment(rc.OpContinuation, `{"op"`).Bytes(), protocolError},
		{"continuation behind a whole message", rc.Frames(rc.Fragment(rc.OpText, `{"op"`), rc.LastFragment(`:4}`),
			rc.LastFragment("x")), protocolError},
		{"text within fragments", rc.Frames(first, rc.Text(`{"op":3}`)), protocolError},
		{"first fragment within fragments", rc.Frames(first, first), protocolError},
		{"binary within fragments", rc.Frames(first, rc.Control(rc.OpBinary, "x")), protocolError},
		{"reserved bit in a continuation", rc.Frames(first, rc.Frame{Op: rc.OpContinuation, RSV: 4, Payload: []byte(":3}")}), protocolError},
		{"unmasked continuation", rc.Frames(first, rc.Frame{Op: rc.OpContinuation, Unmasked: true, Payload: []byte(":3}")}), protocolError},
		{"1025 fragments", many(1025, " "), policy},
		{"1025 empty fragments", many(1025, ""), policy},
		{"3000 fragments", many(3000, " "), policy},
		{"binary", rc.Control(rc.OpBinary, `{"op":3}`).Bytes(), invalidPayload},
		{"empty binary", rc.Control(rc.OpBinary, "").Bytes(), invalidPayload},
		{"binary fragments", rc.Frames(rc.Fragment(rc.OpBinary, `{"op"`), rc.LastFragment(`:3}`)), invalidPayload},
		{"binary that is not UTF-8", rc.Control(rc.OpBinary, "\xff").Bytes(), invalidPayload},
		{"empty text", rc.Text("").Bytes(), invalidPayload},
		{"empty fragments", rc.Frames(rc.Fragment(rc.OpText, ""), rc.LastFragment("")), invalidPayload},
	}
}

func wrongCloses() []frameCase {
	cases := []frameCase{
		{"close of one byte", rc.Control(rc.OpClose, "\x03").Bytes(), protocolError},
		{"close reason that is not UTF-8", rc.Closing(1000, "\xff").Bytes(), badUTF8},
		{"close reason cut within a character", rc.Closing(1000, "\xe2\x82").Bytes(), badUTF8},
		{"close reason with a surrogate", rc.Closing(1000, "\xed\xa0\x80").Bytes(), badUTF8},
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, frameCase{fmt.Sprintf("close code %d", code), rc.Closing(code, "").Bytes(), protocolError})
	}
	return cases
}

func wrongText() []frameCase {
	var cases []frameCase
	for name, bad := range map[string]string{
		"lone continuation byte": "\x80", "byte FF": "\xff", "byte FE": "\xfe", "overlong slash": "\xc0\xaf", "overlong NUL": "\xc0\x80",
		"overlong of three": "\xe0\x80\xaf", "surrogate": "\xed\xa0\x80", "surrogate pair": "\xed\xa0\xbd\xed\xb8\x80",
		"beyond U+10FFFF": "\xf4\x90\x80\x80", "five bytes": "\xf8\x88\x80\x80\x80", "cut character": "\xe2\x82", "Latin-1": "\xe4",
	} {
		text := `{"op":0,"event":"` + bad + `","intent":{"target":"GLOBAL"}}`
		i := strings.Index(text, bad) + 1
		cases = append(cases,
			frameCase{name, rc.Text(text).Bytes(), badUTF8},
			frameCase{name + " at the end", rc.Text(bad).Bytes(), badUTF8},
			frameCase{name + " in fragments", rc.Frames(rc.Fragment(rc.OpText, text[:i]), rc.Control(rc.OpPong, ""),
				rc.Fragment(rc.OpContinuation, ""), rc.LastFragment(text[i:])), badUTF8})
	}
	return cases
}

// sizes sends messages that are too big: the hub must act on the declared length, before the bytes arrive.
func (a *arena) sizes(t *testing.T) {
	declared := func(n uint64) []byte { return rc.Frame{Op: rc.OpText, Declared: n}.Header() }
	half := rc.Fragment(rc.OpText, strings.Repeat(" ", limit/2))
	rest := func(n uint64) rc.Frame { return rc.Frame{Op: rc.OpContinuation, More: true, Declared: n} }
	cases := []frameCase{
		{"one byte too many, declared", declared(limit + 1), tooBig},
		{"65536, declared", declared(65536), tooBig},
		{"a terabyte, declared", declared(1 << 40), tooBig},
		{"2^63-1, declared", declared(1<<63 - 1), tooBig},
		{"binary, declared", rc.Frame{Op: rc.OpBinary, Declared: limit + 1}.Header(), tooBig},
		{"one byte too many, sent", rc.Text(strings.Repeat(" ", limit+1)).Bytes(), tooBig},
		{"a first fragment, declared", rc.Frame{Op: rc.OpText, More: true, Declared: limit + 1}.Header(), tooBig},
		{"a second fragment, declared", append(half.Bytes(), rest(limit/2+1).Header()...), tooBig},
		{"a second fragment of 2^63-1, declared", append(half.Bytes(), rest(1<<63-1).Header()...), tooBig},
		{"a third fragment, declared", append(rc.Frames(half, rc.Fragment(rc.OpContinuation, strings.Repeat(" ", limit/2))), rest(1).Header()...), tooBig},
		{"a control frame between", append(rc.Frames(half, rc.Control(rc.OpPong, "hey")), rest(limit/2+1).Header()...), tooBig},
	}
	for _, c := range cases {
		for _, s := range states {
			t.Run(fmt.Sprintf("%s, %s", c.name, s), func(t *testing.T) {
				t.Parallel()
				conn := a.open(t, s)
				send(t, conn, c.bytes)
				expectEnd(t, conn, c.want)
			})
		}
	}
	for _, s := range states {
		t.Run("exactly the limit, "+string(s), func(t *testing.T) {
			t.Parallel()
			a.exactLimit(t, s)
		})
		t.Run("a client that goes on sending, "+string(s), func(t *testing.T) {
			t.Parallel()
			a.goesOn(t, s)
		})
	}
}

// exactLimit sends messages of exactly the limit, whole and in fragments.
func (a *arena) exactLimit(t *testing.T, s state) {
	c := a.open(t, s)
	text := `{"op":3}` + strings.Repeat(" ", limit-8)
	for _, b := range [][]byte{
		rc.Text(text).Bytes(),
		rc.Frames(rc.Fragment(rc.OpText, text[:100]), rc.Control(rc.OpPong, strings.Repeat("x", 125)), rc.LastFragment(text[100:])),
	} {
		send(t, c, b)
		if e, err := c.Receive(); err != nil || !e.Is(rc.OpPONG) {
			t.Fatalf("want PONG, got %v, %v", e, err)
		}
	}
}

// goesOn declares a length beyond the limit and sends that much and more: the hub must refuse it, end the connection
// and not delay others.
func (a *arena) goesOn(t *testing.T, s state) {
	if testing.Short() {
		t.Skip("takes until the hub gives up lingering")
	}
	c := a.open(t, s)
	send(t, c, rc.Frame{Op: rc.OpText, Declared: 1 << 40}.Header())
	before := a.Metrics().Sum("mastersocket_received_bytes_total")
	slowest := a.slowestPing(t)
	junk := make([]byte, 1<<20)
	begin, sent := time.Now(), 0
	for c.Write(junk) == nil {
		if sent += len(junk); time.Since(begin) > 15*time.Second {
			t.Errorf("the connection is open after %v and %d MiB", time.Since(begin), sent>>20)
			break
		}
	}
	took := time.Since(begin)
	worst := slowest()
	t.Logf("closed after %v and %d MiB, of which the hub read %.0f MiB; the slowest of others' PINGs meanwhile took %v", took.Round(time.Millisecond),
		sent>>20, (a.Metrics().Sum("mastersocket_received_bytes_total")-before)/(1<<20), worst)
	if worst > time.Second {
		t.Errorf("others waited for %v", worst)
	}
	// A client that stops sending can read the reason; here a reset may overtake the answer.
	if end, err := c.End(); err != nil || end.Code != 0 && end.Code != 1009 || end.Transport != io.EOF && end.Transport != rc.ErrReset {
		t.Errorf("got %v, %v", end, err)
	}
}

// slowestPing has a client on each loop send PINGs one after another, until the function that it returns is called,
// which returns the longest time until a PONG.
func (a *arena) slowestPing(t *testing.T) func() time.Duration {
	t.Helper()
	stop := make(chan struct{})
	results := make(chan time.Duration)
	const clients = 8 // so that each loop very probably has one
	for range clients {
		c := a.open(t, stranger)
		go func() {
			worst := time.Duration(0)
			for {
				select {
				case <-stop:
					c.Close()
					results <- worst
					return
				case <-time.After(5 * time.Millisecond):
				}
				begin := time.Now()
				if err := c.Quiet(); err != nil {
					t.Error(err)
				}
				worst = max(worst, time.Since(begin))
			}
		}()
	}
	return func() time.Duration {
		close(stop)
		worst := time.Duration(0)
		for range clients {
			worst = max(worst, <-results)
		}
		return worst
	}
}
