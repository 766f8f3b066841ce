package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/eventually"
)

// player plays one scenario against one adapter.
type player struct {
	s       scenario
	hub     *hub
	sdk     *process
	vars    variables
	last    *conn          // the connection that was accepted last
	calls   map[string]int // the number of the last command with this name
	results map[int]map[string]any
	n       int       // the number of the last command
	before  time.Time // the end of the step before
}

func play(t *testing.T, s scenario, command []string, dir string) {
	p := &player{
		s: s, hub: newHub(t, s), sdk: startProcess(t, command, dir), vars: variables{}, calls: map[string]int{}, results: map[int]map[string]any{},
		before: time.Now(),
	}
	for i, st := range s.Steps {
		for n := range max(1, st.Times) {
			p.vars["i"] = float64(n + 1)
			if err := p.do(st); err != nil {
				t.Fatalf("step %d (%s), repetition %d: %v", i+1, st.verbs()[0], n+1, err)
			}
		}
		if early := time.Duration(st.After) - time.Since(p.before); early > 0 {
			t.Fatalf("step %d (%s): %v too early", i+1, st.verbs()[0], early)
		}
		p.before = time.Now()
	}
	if line := p.unexpected(); line != "" && !s.OpenEnd {
		t.Errorf("after the last step: %s", line)
	}
}

func (p *player) do(st step) error {
	within := time.Duration(cmp.Or(st.Within, duration(30*time.Second)))
	switch verb := st.verbs()[0]; verb {
	case "call", "result", "event", "events", "log":
		return p.doSDK(st, within)
	case "accept", "identify", "refuse", "ignore":
		return p.doListen(st, within)
	case "publish":
		return p.hub.publish(p.vars.value(st.Publish).(map[string]any))
	case "quiet":
		return p.quiet(time.Duration(st.Quiet))
	default:
		on := cmp.Or(st.On, st.Hang, st.Drop, st.Gone)
		c := p.last
		if on != "" {
			c = p.hub.conns[on]
		}
		if c == nil {
			return fmt.Errorf("there is no connection %s", on)
		}
		return p.doConn(st, c, within)
	}
}

func (p *player) doSDK(st step, within time.Duration) error {
	switch {
	case st.Call != nil:
		return p.call(p.vars.value(st.Call).(map[string]any))
	case st.Result != nil:
		return p.result(st.Result, within)
	case st.Log != "":
		return eventually.Within(within, func() bool { return p.sdk.hasLogged(st.Log) })
	}
	if st.Event != nil {
		return p.events([]any{st.Event}, within)
	}
	return p.events(st.Events, within)
}

// events waits for the SDK's next events, in any order.
func (p *player) events(want []any, within time.Duration) error {
	timeout := time.After(within)
	for want = slices.Clone(want); len(want) > 0; {
		select {
		case got := <-p.sdk.events:
			why := ""
			at := slices.IndexFunc(want, func(w any) bool {
				why = p.vars.match("the event", w, got)
				return why == ""
			})
			if at < 0 {
				return asError(why)
			}
			want = slices.Delete(want, at, at+1)
		case <-p.sdk.ended:
			return fmt.Errorf("the adapter has ended")
		case <-timeout:
			return fmt.Errorf("no event %s within %v", text(want[0]), within)
		}
	}
	return nil
}

func asError(why string) error {
	if why == "" {
		return nil
	}
	return fmt.Errorf("%s", why)
}

// call gives the SDK a command, with the scenario's options if it is connect.
func (p *player) call(command map[string]any) error {
	p.n++
	name := fmt.Sprint(cmp.Or(command["as"], command["cmd"]))
	delete(command, "as")
	p.calls[name] = p.n
	command["n"] = p.n
	if name, ok := command["of"].(string); ok {
		command["of"] = p.calls[name]
	}
	if command["cmd"] == "connect" {
		options := map[string]any{"url": p.hub.url(), "token": "secret", "group": "workers"}
		maps.Copy(options, p.s.Options)
		if options["tokens"] != nil {
			delete(options, "token")
		}
		command["options"] = options
	}
	return p.sdk.call(command)
}

// result waits for the outcome of a command.
func (p *player) result(want map[string]any, within time.Duration) error {
	want = maps.Clone(want)
	of := fmt.Sprint(p.vars.value(want["of"]))
	delete(want, "of")
	n, known := p.calls[of]
	if !known {
		return fmt.Errorf("there is no command %s", of)
	}
	for deadline := time.After(within); p.results[n] == nil; {
		select {
		case line := <-p.sdk.results:
			p.results[int(line["n"].(float64))] = line
		case <-p.sdk.ended:
			return fmt.Errorf("the adapter has ended")
		case <-deadline:
			return fmt.Errorf("no outcome of %s within %v", of, within)
		}
	}
	return asError(p.vars.match("the outcome of "+of, want, p.results[n]))
}

func (p *player) doListen(st step, within time.Duration) (err error) {
	switch {
	case st.Accept != "":
		p.last, err = p.hub.open(st.Accept, within)
		return err
	case st.Identify != "":
		for {
			if p.last, err = p.hub.open(st.Identify, within); err != nil {
				return err
			}
			if err = p.identify(p.last, st.With, within); !errors.Is(err, errUnused) {
				return err
			}
			p.hub.forget(p.last)
		}
	case st.Refuse != nil:
		return p.hub.refuse(*st.Refuse, within)
	default:
		_, err = p.hub.next(within)
		return err
	}
}

// errUnused is the error of a connection that the client has ended without a message. Node.js opens one for a handshake that it
// gave up.
var errUnused = errors.New("the client has ended a connection without a message")

// identify answers IDENTIFY.
func (p *player) identify(c *conn, w with, within time.Duration) error {
	want := map[string]any{"op": 1, "data": map[string]any{"token": cmp.Or(w.Token, "secret"), "group": "$any"}}
	if w.Recover != nil {
		want["data"].(map[string]any)["recover"] = w.Recover
	}
	got, err := c.next(within)
	select {
	case <-c.gone:
		if err != nil {
			return errUnused
		}
	default:
	}
	if err != nil {
		return err
	}
	if why := p.vars.match("IDENTIFY", want, got); why != "" {
		return asError(why)
	}
	features := w.Features
	if features == nil {
		features = []string{"errors", "acks", "drain"}
	}
	data := map[string]any{
		"id": connectionID(c.name), "ping": cmp.Or(w.Ping, 30_000), "node": "host-" + c.name,
		"session_started": "2026-11-21T10:14:54.802Z", "max_message_bytes": cmp.Or(w.MaxMessageBytes, 32768), "features": features,
	}
	if w.History != nil {
		data["history"] = w.History
	}
	return c.send(map[string]any{"op": 1, "data": data})
}

// next returns the client's next message.
func (c *conn) next(within time.Duration) (map[string]any, error) {
	timeout := time.After(within)
	select {
	case m := <-c.messages:
		return m, nil
	case <-c.gone:
		select {
		case m := <-c.messages:
			return m, nil
		default:
			return nil, fmt.Errorf("%s: the client has ended the connection", c.name)
		}
	case <-timeout:
		return nil, fmt.Errorf("%s: no message within %v", c.name, within)
	}
}

func (p *player) doConn(st step, c *conn, within time.Duration) error {
	switch {
	case st.Expect != nil:
		return p.expect(st.Expect, c, within)
	case st.Send != nil:
		return c.send(p.vars.value(st.Send).(map[string]any))
	case st.SendText != "":
		return c.sendText(st.SendText)
	case st.SendBinary != "":
		return c.write(ws.OpBinary, []byte(st.SendBinary), len(st.SendBinary))
	case st.SendPart != nil:
		whole := []byte(text(p.vars.value(st.SendPart)))
		return c.write(ws.OpText, whole, len(whole)/2)
	case st.SendBig > 0:
		_ = c.sendText(`{"op":0,"event":"big","data":"` + strings.Repeat("x", st.SendBig) + `","intent":{"target":"GLOBAL"}}`)
		return nil // the client may end the connection before it has read all
	case st.Flood != nil:
		return p.flood(st.Flood, c)
	default:
		return p.endConn(st, c, within)
	}
}

// expect waits for the client's next message. It skips FENCEs, of which a move sends as many as it needs, unless it waits for one.
func (p *player) expect(want map[string]any, c *conn, within time.Duration) error {
	for until := time.Now().Add(within); ; {
		got, err := c.next(time.Until(until))
		if err != nil {
			return err
		}
		if got["op"] == 13.0 && want["op"] != 13 {
			continue
		}
		return asError(p.vars.match("the message", want, got))
	}
}

// flood sends until the client reads no more. $flooded is then the number of messages.
func (p *player) flood(f *flood, c *conn) error {
	n, err := c.flood(func(i int) map[string]any {
		p.vars["i"] = float64(i)
		return p.vars.value(f.Message).(map[string]any)
	}, f.Bytes)
	p.vars["flooded"] = float64(n)
	return err
}

func (p *player) endConn(st step, c *conn, within time.Duration) error {
	switch {
	case st.Hang != "":
		c.hang()
		return nil
	case st.Disconnect != "":
		if err := c.send(map[string]any{"op": 2, "data": st.Disconnect}); err != nil {
			return err
		}
		return c.close(4000, st.Disconnect, within)
	case st.Close != nil:
		return c.close(st.Close.Code, st.Close.Reason, within)
	case st.Drop != "":
		_ = c.net.(*net.TCPConn).SetLinger(0)
		return c.net.Close()
	}
	select {
	case <-c.gone:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s: the client is still there after %v", c.name, within)
	}
}

// close sends a close frame and waits for the client's.
func (c *conn) close(code int, reason string, within time.Duration) error {
	body := ws.NewCloseFrameBody(ws.StatusCode(code), reason)
	if err := c.write(ws.OpClose, body, len(body)); err != nil {
		return err
	}
	select {
	case <-c.gone:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s: the client has not closed within %v", c.name, within)
	}
}

// quiet checks that nothing happens for d.
func (p *player) quiet(d time.Duration) error {
	for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if line := p.unexpected(); line != "" {
			return fmt.Errorf("%s", line)
		}
	}
	return nil
}

// unexpected returns what no step has waited for; "" for nothing.
func (p *player) unexpected() string {
	select {
	case line := <-p.sdk.events:
		return "the SDK's event " + text(line)
	case c := <-p.hub.accepted:
		// Node.js opens one for a handshake that was given up, and sends nothing.
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			return "a connection from " + c.RemoteAddr().String()
		}
	default:
	}
	for name, c := range p.hub.conns {
		select {
		case m := <-c.messages:
			if m["op"] != 13.0 {
				return "on " + name + " the message " + text(m)
			}
		default:
		}
	}
	return ""
}
