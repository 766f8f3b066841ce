// Package teamtest has clients of the team protocol (see package rtm) for tests of its servers: connections that a test
// drives, and a [Client] that runs the protocol by itself.
package teamtest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// patience bounds waits; only a failing test waits that long.
const patience = 30 * time.Second

// Conn is a connection that a test drives. One goroutine may use it.
type Conn struct {
	tb  testing.TB
	ws  *websocket.Conn
	ctx context.Context
}

// Bearer returns the header of a handshake with a token; none for an empty token.
func Bearer(token string) http.Header {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// Dial opens a connection, which the end of the test closes.
func Dial(tb testing.TB, url string, header http.Header) *Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header, Host: header.Get("Host")})
	if err != nil {
		tb.Fatalf("teamtest: %v", err)
	}
	c.SetReadLimit(64 << 20)
	tb.Cleanup(func() { _ = c.CloseNow() })
	return &Conn{tb: tb, ws: c, ctx: ctx}
}

// Refused returns the answer to a handshake that must be refused.
func Refused(tb testing.TB, url string, header http.Header) *http.Response {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		_ = c.CloseNow()
		tb.Fatal("teamtest: the handshake was accepted")
	}
	if response == nil {
		tb.Fatalf("teamtest: %v", err)
	}
	return response
}

// Global opens a Global connection of the server at base ("ws://host:port") and reads its hello.
func Global(tb testing.TB, base, token string) *Conn {
	tb.Helper()
	c := Dial(tb, base+"/global", Bearer(token))
	c.Expect(`{"type":"hello"}`)
	return c
}

// Team asks for a team's connection, opens it, and reads its hello. id is JSON.
func (c *Conn) Team(id string) *Conn {
	c.tb.Helper()
	t := Dial(c.tb, c.Ask(id), nil)
	t.Expect(`{"type":"hello"}`)
	return t
}

// Ask asks for a team's connection and returns the ws_url. It skips joins, lefts and healthchecks before the answer.
func (c *Conn) Ask(id string) string {
	c.tb.Helper()
	c.Send(`{"type":"team.connect","team_id":` + id + `}`)
	for {
		switch f := c.Read(); f.Type {
		case rtm.TeamJoin, rtm.TeamLeft, rtm.Healthcheck:
		case rtm.TeamConnect:
			if got := string(f.TeamID.Append(nil)); got != id || f.WSURL == "" {
				c.tb.Fatalf("teamtest: answered %s for %s, %q", got, id, f.WSURL)
			}
			return f.WSURL
		default:
			c.tb.Fatalf("teamtest: got %s, want a team.connect", f.Append(nil))
		}
	}
}

// Send sends a text message.
func (c *Conn) Send(text string) { c.SendRaw(websocket.MessageText, []byte(text)) }

// SendRaw sends a message.
func (c *Conn) SendRaw(kind websocket.MessageType, b []byte) {
	c.tb.Helper()
	if err := c.ws.Write(c.ctx, kind, b); err != nil {
		c.tb.Fatalf("teamtest: %v", err)
	}
}

// Read returns the next frame.
func (c *Conn) Read() rtm.Frame {
	c.tb.Helper()
	_, b, err := c.ws.Read(c.ctx)
	if err != nil {
		c.tb.Fatalf("teamtest: %v", err)
	}
	f, err := rtm.Parse(b)
	if err != nil {
		c.tb.Fatalf("teamtest: %q: %v", b, err)
	}
	return f
}

// Expect reads the next frame, which must be equal to frame, as rtm.Frame.Append writes it.
func (c *Conn) Expect(frame string) {
	c.tb.Helper()
	f := c.Read()
	if got := string(f.Append(nil)); got != frame {
		c.tb.Fatalf("teamtest: got %s, want %s", got, frame)
	}
}

// Quiet sends a ping and fails the test if anything but its pong arrives.
func (c *Conn) Quiet() {
	c.tb.Helper()
	c.Send(`{"type":"ping","unique_id":"quiet"}`)
	c.Expect(`{"type":"pong","unique_id":"quiet"}`)
}

// Ended reads until the server closes and returns the last frame before that, as text, the close code and its reason.
func (c *Conn) Ended() (last string, code int, reason string) {
	c.tb.Helper()
	for {
		_, b, err := c.ws.Read(c.ctx)
		if err == nil {
			last = string(b)
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) {
			c.tb.Fatalf("teamtest: ended with %v, want a close frame", err)
		}
		return last, int(closed.Code), closed.Reason
	}
}

// Close closes the connection with a closing handshake.
func (c *Conn) Close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

// Drop ends the connection without a Close frame.
func (c *Conn) Drop() { _ = c.ws.CloseNow() }

// Hold opens a connection and reads it until it ends or ctx does. It ignores errors.
func Hold(ctx context.Context, url string) {
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return
		}
	}
}
