package transport

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// pauser is an Endpoint whose sessions pause at the message "pause", and later resume by themselves.
func pauser(e *tape) *tape {
	e.message = func(c *Conn, _ bool, p []byte) {
		if strings.Contains(string(p), "pause") {
			c.Pause()
		}
	}
	return e
}

// TestPauseCutEverywhere has a connection paused in a stream that arrives cut at each of its bytes, the second part
// while it is paused or after it resumed.
func TestPauseCutEverywhere(t *testing.T) {
	t.Parallel()
	webSocket := bytes.Join([][]byte{
		text("1"), text("pause"), text("2"), clientFrame(false, ws.OpText, "3"), clientFrame(true, ws.OpPing, ""),
		clientFrame(true, ws.OpContinuation, "4"), text("5"),
	}, nil)
	tcp := []byte(`{"n":1} {"n":"pause"}{"n":2} {"n":34}` + "\n" + `{"n":5}`)
	o := testOptions()
	s := startServer(t, o)
	for _, p := range []protocol{protocolWebSocket, protocolTCP} {
		stream, pause, want := webSocket, text("pause"), []string{"text 1", "text pause", "text 2", "text 34", "text 5"}
		e := pauser(newTape())
		addr := listen(t, s, e)
		if p == protocolTCP {
			stream, pause, want = tcp, []byte(`{"n":"pause"}`), []string{`text {"n":1}`, `text {"n":"pause"}`, `text {"n":2}`, `text {"n":34}`, `text {"n":5}`}
			addr = listenTCP(t, s, e)
		}
		behind := bytes.Index(stream, pause) + len(pause)
		for cut := range stream {
			for _, late := range []bool{false, true} {
				c := dial(t, addr)
				if p == protocolWebSocket {
					c.write([]byte(upgradeRequest("")))
					c.accepted()
				}
				r := e.expect(t, "open")
				late = late && cut >= behind // the rest is sent while the connection is paused
				c.write(stream[:cut])
				if !late {
					c.write(stream[cut:])
				}
				e.expect(t, want[0], want[1])
				if late {
					onLoop(t, r.Loop(), func() {}) // what came in one read with the message that paused is kept by now
					c.write(stream[cut:])
				}
				onLoop(t, r.Loop(), func() {})
				e.nothing(t)
				onLoop(t, r.Loop(), func() { r.Conn().Resume() })
				e.expect(t, want[2:]...)
				c.reset()
				e.expect(t, "closed by an error")
			}
		}
	}
}

// TestPausedReadsNothing: what a paused connection sends waits in the kernel, its end included.
func TestPausedReadsNothing(t *testing.T) {
	t.Parallel()
	e := pauser(newTape())
	e.message = func(c *Conn, b bool, p []byte) {
		if string(p) == "pause" {
			c.Pause()
			return
		}
		echo(c, b, p)
	}
	s := startServer(t, testOptions())
	c := connect(t, listen(t, s, e))
	c.write(text("pause"))
	r := e.expect(t, "open", "text pause")
	var in uint64
	onLoop(t, r.Loop(), func() { in = r.Loop().stats.bytesIn })
	c.write(bytes.Repeat(text("more"), 1000))
	_ = c.CloseWrite()
	for range 10 {
		onLoop(t, r.Loop(), func() {
			if conn := r.Conn(); conn == nil {
				t.Error("ended while paused")
			}
			if n := r.Loop().stats.bytesIn - in; n != 0 {
				t.Errorf("%d bytes were read while paused", n)
			}
		})
	}
	onLoop(t, r.Loop(), func() { r.Conn().Resume() })
	for range 1000 {
		e.expect(t, "text more")
		c.expect(ws.OpText, "more")
	}
	c.expectEOF()
	e.expect(t, "closed at the end of its stream")
}

// TestPauseInOpen pauses before the first message, which is there already.
func TestPauseInOpen(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.open = func(c *Conn, _ *Request) *Rejection { c.Pause(); return nil }
	c := dial(t, listen(t, startServer(t, testOptions()), e))
	c.write([]byte(upgradeRequest("")), text("1"), text("2"))
	r := e.expect(t, "open")
	c.accepted()
	c.write(text("3"))
	onLoop(t, r.Loop(), func() {})
	e.nothing(t)
	onLoop(t, r.Loop(), func() {
		conn := r.Conn()
		conn.Resume()
		conn.Pause()
		conn.Resume()
		conn.Resume()
	})
	e.expect(t, "text 1", "text 2", "text 3")
}

// TestPauseInEachMessage pauses and resumes so often that the two could get out of step.
func TestPauseInEachMessage(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.message = func(c *Conn, _ bool, p []byte) {
		c.Pause()
		if len(p)%2 == 0 {
			c.Resume()
			return
		}
		r := c.Ref()
		c.Loop().Post(job(func(*Loop) {
			if c := r.Conn(); c != nil {
				c.Resume()
			}
		}))
	}
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	e.expect(t, "open")
	go func() {
		var all []byte
		for i := range 5000 {
			all = append(all, text(fmt.Sprint(i))...)
		}
		_, _ = c.Write(all)
	}()
	for i := range 5000 {
		e.expect(t, "text "+fmt.Sprint(i))
	}
}

// TestPausedThatBreaks: a connection that is reset while paused ends, and does not keep the loop busy.
func TestPausedThatBreaks(t *testing.T) {
	t.Parallel()
	e := pauser(newTape())
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	c.write(text("pause"), text("2"))
	e.expect(t, "open", "text pause")
	c.reset()
	e.expect(t, "closed by an error")
}

// TestPausedIsNotIdle: the time in which nothing is read counts neither as silence nor against a message.
func TestPausedIsNotIdle(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MessageTimeout = 200 * time.Millisecond
	e := pauser(newTape())
	var long atomic.Bool
	e.sweep = func(c *Conn) {
		if c.Age() > 3*o.MessageTimeout {
			long.Store(true)
		}
		if c.flags&flagPaused != 0 && c.Idle() > 0 {
			t.Errorf("idle for %v while paused", c.Idle())
		}
	}
	c := connect(t, listen(t, startServer(t, o), e))
	half := append(clientFrame(false, ws.OpText, "ha"), clientFrame(true, ws.OpContinuation, "lf")...)
	c.write(text("pause"), half[:12])
	r := e.expect(t, "open", "text pause")
	for !long.Load() {
		onLoop(t, r.Loop(), func() {})
	}
	onLoop(t, r.Loop(), func() { r.Conn().Resume() })
	c.write(half[12:])
	e.expect(t, "text half")
}

// TestMessageClock: the clock of an unfinished message starts with that message, not with one before it.
func TestMessageClock(t *testing.T) {
	t.Parallel()
	o := testOptions()
	half := uint32(o.MessageTimeout / time.Millisecond / 2)
	second := text("second")
	fragments := append(clientFrame(false, ws.OpText, "fi"), clientFrame(true, ws.OpContinuation, "rst")...)
	for _, tt := range []struct {
		name  string
		first []byte
		cut   int
		stall bool
	}{
		{"a frame", text("first"), 10, false},
		{"a frame that waited", text("first"), 10, true},
		{"fragments", fragments, 8, false},
		{"fragments, one cut", fragments, 10, false},
		{"fragments that waited", fragments, 10, true},
	} {
		var got []string
		s := &hooks{message: func(c *Conn, _ bool, p []byte) { got = append(got, string(p)) }}
		l := bareLoop(t, o)
		c, peer := bareConn(t, l, protocolWebSocket, s, 0)
		defer unix.Close(peer)
		feed := func(p []byte) { l.feed(c, bytes.Clone(p)) }
		feed(tt.first[:tt.cut])
		if tt.stall {
			l.stall(c)
		} else {
			l.clock.now += half + 1
		}
		feed(append(bytes.Clone(tt.first[tt.cut:]), second[:4]...))
		l.clock.now += half
		if l.readOn(); tt.stall && c.Idle() != 0 {
			t.Errorf("%s: idle for %v while it waited", tt.name, c.Idle())
		}
		l.check(c)
		l.clock.now += half
		l.check(c)
		feed(second[4:])
		if strings.Join(got, " ") != "first second" {
			t.Errorf("%s: got %q, state %d", tt.name, got, c.state)
		}
	}
}

// TestPausedMessageClock: a message does not age while its connection is paused.
func TestPausedMessageClock(t *testing.T) {
	t.Parallel()
	o := testOptions()
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	defer unix.Close(peer)
	l.feed(c, clientFrame(false, ws.OpText, "x"))
	c.Pause()
	for range 10 {
		l.clock.now += uint32(o.MessageTimeout / time.Millisecond)
		l.check(c)
	}
	c.Resume()
	l.readOn()
	l.check(c)
	if c.state != stateOpen {
		t.Errorf("state %d", c.state)
	}
}
