package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/transport/internal/jsonstream"
)

// fuzzOptions have limits that short inputs can pass.
func fuzzOptions() Options {
	o := testOptions()
	o.MaxMessageBytes = 300
	o.MaxFragments = 4
	o.SendQueueBytes = 64 << 20
	return o
}

// outcome is what came of a stream: a line for each message, answer and violation.
type outcome struct{ strings.Builder }

func (o *outcome) note(what string, p []byte) { fmt.Fprintf(o, "%s %q\n", what, p) }

// recorder returns a Session that notes everything, and pauses at every message if it is to.
func (o *outcome) recorder(pause bool) *hooks {
	return &hooks{
		message: func(c *Conn, binary bool, p []byte) {
			o.note(fmt.Sprint("message ", binary), p)
			if pause {
				c.Pause()
			}
		},
		violation: func(_ *Conn, v Violation) { o.note(violationNames[v], nil) },
	}
}

// answers notes the frames that are queued.
func (o *outcome) answers(c *Conn) {
	if c.tx == nil {
		return
	}
	for _, r := range c.tx.frames[c.tx.head:] {
		op := ws.OpCode(r.buf.mem[r.buf.from] & 15)
		p := r.buf.Payload()
		if op == ws.OpClose { // the reason is for people
			p = p[:min(len(p), 2)]
		}
		o.note(fmt.Sprint("frame ", op), p)
	}
}

// fed returns the outcome of a stream that arrives cut as the bytes of cuts say.
func fed(t testing.TB, l *Loop, p protocol, stream, cuts []byte, pause bool) string {
	var o outcome
	c, peer := bareConn(t, l, p, o.recorder(pause), 0)
	defer unix.Close(peer)
	stream = slices.Clone(stream)
	for i := 0; len(stream) > 0 && c.state == stateOpen; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		l.feed(c, stream[:n])
		clear(stream[:n]) // the next read overwrites it
		stream = stream[n:]
		resumeAll(l, c)
	}
	o.answers(c)
	l.destroy(c, EndLocal)
	l.flush()
	if l.out.queued != 0 || l.in.untrusted != 0 || l.out.held != nil {
		t.Fatalf("queued %d, untrusted %d, hold %v", l.out.queued, l.in.untrusted, l.out.held)
	}
	return o.String()
}

// resumeAll resumes the connection until it has no more to say.
func resumeAll(l *Loop, c *Conn) {
	for c.state == stateOpen && c.flags&flagPaused != 0 {
		c.Resume()
		l.readOn()
	}
}

// expected is the outcome of a WebSocket stream according to gobwas/ws and to what is required beyond it.
func expected(o Options, stream []byte) string {
	var out outcome
	r := bytes.NewReader(stream)
	end := func(code ws.StatusCode) string {
		out.note("frame 8", binary.BigEndian.AppendUint16(nil, uint16(code)))
		return out.String()
	}
	var answers outcome // come behind the messages in an outcome
	fail := func(code ws.StatusCode) string { out.WriteString(answers.String()); return end(code) }
	var msg []byte
	var op ws.OpCode
	frags := 0
	for {
		before := len(stream) - r.Len()
		h, err := ws.ReadHeader(r)
		st := ws.StateServerSide
		if op != 0 {
			st = st.Set(ws.StateFragmented)
		}
		switch {
		case errors.Is(err, ws.ErrHeaderLengthMSB):
			return fail(ws.StatusProtocolError)
		case err != nil: // the rest has not arrived
			out.WriteString(answers.String())
			return out.String()
		case ws.CheckHeader(h, st) != nil, len(stream)-r.Len()-before != ws.HeaderSize(h): // not minimal
			return fail(ws.StatusProtocolError)
		case !h.OpCode.IsControl() && h.Length > int64(o.MaxMessageBytes-len(msg)):
			out.note("too big", nil)
			return fail(ws.StatusMessageTooBig)
		}
		p := make([]byte, h.Length)
		n, err := io.ReadFull(r, p)
		p = p[:n]
		ws.Cipher(p, h.Mask, 0)
		if (h.OpCode == ws.OpText || h.OpCode == ws.OpContinuation && op == ws.OpText) && !mayBecomeText(append(bytes.Clone(msg), p...)) {
			return fail(ws.StatusInvalidFramePayloadData)
		}
		if err != nil {
			out.WriteString(answers.String())
			return out.String()
		}
		switch h.OpCode {
		case ws.OpPing:
			answers.note("frame 10", p)
			continue
		case ws.OpPong:
			continue
		case ws.OpClose:
			if len(p) == 0 {
				out.WriteString(answers.String())
				out.note("frame 8", nil)
				return out.String()
			}
			return fail(closeCode(p))
		}
		if h.OpCode != ws.OpContinuation {
			op, msg, frags = h.OpCode, nil, 0
		}
		if frags++; frags > o.MaxFragments {
			return fail(ws.StatusPolicyViolation)
		}
		if msg = append(msg, p...); !h.Fin {
			continue
		}
		if op == ws.OpText && !utf8.Valid(msg) {
			return fail(ws.StatusInvalidFramePayloadData)
		}
		out.note(fmt.Sprint("message ", op == ws.OpBinary), msg)
		op, msg = 0, nil
	}
}

// mayBecomeText reports whether b is the beginning of valid UTF-8.
func mayBecomeText(b []byte) bool {
	for k := 1; k < utf8.UTFMax && k <= len(b); k++ {
		if end := b[len(b)-k:]; !utf8.FullRune(end) && utf8.RuneStart(end[0]) {
			b = b[:len(b)-k]
			break
		}
	}
	return utf8.Valid(b)
}

// closeCode returns the code that a close frame with a payload is answered with.
func closeCode(p []byte) ws.StatusCode {
	if len(p) == 1 {
		return ws.StatusProtocolError
	}
	code, reason := ws.ParseCloseFrameData(p)
	err := ws.CheckCloseFrameData(code, reason)
	switch {
	case code >= 5000:
		return ws.StatusProtocolError
	case errors.Is(err, ws.ErrProtocolInvalidUTF8):
		return ws.StatusInvalidFramePayloadData
	case code > 1011 && code < 1015: // registered since
		if !utf8.ValidString(reason) {
			return ws.StatusInvalidFramePayloadData
		}
	case err != nil:
		return ws.StatusProtocolError
	}
	return code
}

// frameSeeds are streams that show each rule, beside those of protocolErrors.
func frameSeeds() [][]byte {
	var seeds [][]byte
	for _, tt := range protocolErrors {
		seeds = append(seeds, tt.stream)
	}
	part := clientFrame(false, ws.OpContinuation, "x")
	return append(seeds,
		slices.Concat(text("one"), text(""), clientFrame(true, ws.OpBinary, "\xff"), clientFrame(true, ws.OpPing, "p"), clientFrame(true, ws.OpPong, "p")),
		slices.Concat(clientFrame(false, ws.OpText, "\xe2\x82"), clientFrame(true, ws.OpPing, ""), part[:0], clientFrame(true, ws.OpContinuation, "\xac")),
		slices.Concat(clientFrame(false, ws.OpText, "a"), part, part, clientFrame(true, ws.OpContinuation, "b"),
			clientFrame(false, ws.OpText, "a"), part, part, clientFrame(true, ws.OpContinuation, "b"), text("next")[:8]),
		slices.Concat(clientFrame(false, ws.OpText, "a"), part, part, part, part),
		text(strings.Repeat("x", 300)),
		text(strings.Repeat("x", 301)),
		slices.Concat(clientFrame(false, ws.OpText, strings.Repeat("x", 299)), clientFrame(true, ws.OpContinuation, "yz")),
		slices.Concat(text("a"), closing(1000, "bye"), text("late")),
		text("half")[:7],
		rawFrame(ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: 1<<63 - 1}, ""),
	)
}

// FuzzFrames feeds arbitrary bytes to a WebSocket connection: cut anywhere, and paused behind every message, what comes
// of them is the same, and what an oracle says.
func FuzzFrames(f *testing.F) {
	for _, seed := range frameSeeds() {
		f.Add(seed, []byte{})
		f.Add(seed, []byte{0})
		f.Add(seed, []byte{1, 3, 0})
	}
	o := fuzzOptions()
	l := bareLoop(f, o)
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		want := expected(o, stream)
		for _, cuts := range [][]byte{nil, cuts, {0}} {
			for _, pause := range []bool{false, true} {
				if got := fed(t, l, protocolWebSocket, stream, cuts, pause); got != want {
					t.Fatalf("cut %v, paused %v: got\n%swant\n%s", cuts, pause, got, want)
				}
			}
		}
	})
}

// expectedStream is the outcome of a TCP stream, found byte by byte.
func expectedStream(o Options, stream []byte) string {
	var out outcome
	var open []byte // closing brackets that are due
	var value []byte
	inString, escaped := false, false
	for _, b := range stream {
		if len(value) == 0 {
			if strings.IndexByte(" \t\r\n", b) >= 0 {
				continue
			}
			if b != '{' {
				out.note("not JSON", nil)
				return out.String()
			}
		}
		value = append(value, b)
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = b == '\\', b != '"'
		case b == '"':
			inString = true
		case b == '{' || b == '[':
			if open = append(open, b+2); len(open) > jsonstream.MaxDepth+1 {
				out.note("not JSON", nil)
				return out.String()
			}
		case b == '}' || b == ']':
			if open[len(open)-1] != b {
				out.note("not JSON", nil)
				return out.String()
			}
			open = open[:len(open)-1]
		}
		if len(value) > o.MaxMessageBytes {
			out.note("too big", nil)
			return out.String()
		}
		if len(open) == 0 {
			out.note("message false", value)
			value = value[:0]
		}
	}
	return out.String()
}

// FuzzStream does the same to a connection of the TCP listener.
func FuzzStream(f *testing.F) {
	for _, stream := range []string{
		"", " \t\r\n", `{"op":3}{"op":4}{}`, "{\"op\":3}\n{\"op\":4}\r\n\n", `{"}]":"{[}}]]"}{}`, `{"a\"}":"\\"}{"\\\"":1}`,
		`{"op":3}  {"op":`, `{"op":"\`, `[]`, `{},{}`, "{}\x00", `{]`, `{"a":[{"b":1]}`, "GET / HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(stream), []byte{})
		f.Add([]byte(stream), []byte{0})
		f.Add([]byte(stream+` {"a":[{"b":"\"]"}]}`), []byte{4, 0})
	}
	f.Add([]byte(`{"a":"`+strings.Repeat("x", 291)+`"} {}`), []byte{100})
	f.Add([]byte(`{"a":"`+strings.Repeat("x", 292)+`"} {}`), []byte{100})
	f.Add([]byte(strings.Repeat(`{"a":[`, 40)+strings.Repeat("]}", 40)), []byte{7})
	f.Add([]byte(strings.Repeat(" ", 400)+"{}"), []byte{9})
	o := fuzzOptions()
	l := bareLoop(f, o)
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		want := expectedStream(o, stream)
		for _, cuts := range [][]byte{nil, cuts, {0}} {
			for _, pause := range []bool{false, true} {
				if got := fed(t, l, protocolTCP, stream, cuts, pause); got != want {
					t.Fatalf("cut %v, paused %v: got\n%swant\n%s", cuts, pause, got, want)
				}
			}
		}
	})
}
