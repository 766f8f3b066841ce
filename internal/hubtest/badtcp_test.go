//go:build linux

package hubtest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// openTCP returns a TCP client in that state.
func (a *arena) openTCP(t *testing.T, s state) *rc.Conn {
	t.Helper()
	c := a.dialTCP(t)
	if s == identified {
		if _, err := c.Identify(Token, "g", ""); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// expectSaid reads a TCP client to its end, which must be a DISCONNECT with the reason and nothing else.
func expectSaid(t *testing.T, c *rc.Conn, reason string) {
	t.Helper()
	begin := time.Now()
	end, err := c.End()
	switch {
	case err != nil:
		t.Errorf("want %s: %v (%v)", reason, err, end)
	case end.Said != reason || len(end.Before) > 0:
		t.Errorf("want %s, got %v (first %v)", reason, end, end.Before)
	case !errors.Is(end.Transport, io.EOF):
		t.Errorf("want an orderly end after %s, got %v", reason, end)
	case time.Since(begin) > atOnce:
		t.Errorf("%s took %v", reason, time.Since(begin))
	}
}

// streams sends bad input over TCP, in both states.
func (a *arena) streams(t *testing.T) {
	for _, s := range states {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			t.Run("junk", func(t *testing.T) { a.tcpJunk(t, s) })
			t.Run("envelopes", func(t *testing.T) { a.tcpEnvelopes(t, s) })
			t.Run("sizes", func(t *testing.T) { a.tcpSizes(t, s) })
			t.Run("values", func(t *testing.T) { a.tcpValues(t, s) })
		})
	}
}

// tcpJunk sends input whose first bytes already rule out a JSON object: the hub need not wait for more.
func (a *arena) tcpJunk(t *testing.T, s state) {
	for _, junk := range []string{
		"attacker", "[", "1 ", "12345", `"x"`, "null", "true", "}", "]", ",", ":", "\x00", "\xff", "\ufeff" + everywhere, "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01",
		`{"op":3]`, `{"op":3}}`, `{"op":3},{"op":3}`, `{"op":3}x`, `{"x":[}`,
	} {
		c := a.openTCP(t, s)
		send(t, c, []byte(junk))
		if strings.HasPrefix(junk, `{"op":3}`) { // the first value is whole
			expectPong(t, c, junk)
		}
		t.Run(fmt.Sprintf("%.20q", junk), func(t *testing.T) { expectSaid(t, c, "INVALID_PAYLOAD") })
	}
}

// tcpEnvelopes sends those invalid messages of the WebSocket table that are one complete value.
func (a *arena) tcpEnvelopes(t *testing.T, s state) {
	for _, c := range badEnvelopes() {
		// A string that ends with a backslash does not end: over TCP the value is unfinished, not invalid.
		if strings.HasPrefix(c.name, "escape of nothing") || !strings.HasPrefix(c.text, "{") || !strings.HasSuffix(c.text, "}") || strings.HasPrefix(c.name, "not one") || strings.HasPrefix(c.name, "unfinished") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			conn := a.openTCP(t, s)
			send(t, conn, []byte(c.text+everywhere))
			expectSaid(t, conn, c.want.reason)
		})
	}
	c := a.openTCP(t, s)
	send(t, c, []byte(`{"op":3,"x":"`+"\xff"+`"}`+everywhere))
	expectSaid(t, c, "INVALID_PAYLOAD")
	c = a.openTCP(t, s)
	send(t, c, []byte(`{"op":2}`+everywhere))
	expectSaid(t, c, "NO_REASON")
	if s == stranger {
		c = a.openTCP(t, s)
		send(t, c, []byte(everywhere))
		expectSaid(t, c, "UNAUTHORIZED")
		c = a.openTCP(t, s)
		send(t, c, []byte(`{"op":1,"data":{"token":"attacker","group":"g"}}`+everywhere))
		expectSaid(t, c, "IDENTIFY_FAILED")
	}
}

func (a *arena) tcpSizes(t *testing.T, s state) {
	whole := func(n int) string { return `{"op":3,"x":"` + strings.Repeat("a", n-len(`{"op":3,"x":""}`)) + `"}` }
	c := a.openTCP(t, s)
	for range 3 {
		send(t, c, []byte(whole(limit)))
		expectPong(t, c, "exactly the limit")
	}
	for name, text := range map[string]string{
		"one byte too many": whole(limit + 1), "unfinished": whole(limit + 1)[:limit+1], "a megabyte": whole(1 << 20),
	} {
		t.Run(name, func(t *testing.T) {
			c := a.openTCP(t, s)
			send(t, c, []byte(text))
			end, err := c.End()
			// A client that sent more than the hub read may see a reset instead of the end.
			if err != nil || end.Said != "MESSAGE_TOO_BIG" || end.Transport != io.EOF && len(text) <= 2*limit {
				t.Errorf("got %v, %v", end, err)
			}
		})
	}
	t.Run("endless white space", func(t *testing.T) {
		c := a.openTCP(t, s)
		for range 64 {
			send(t, c, []byte(strings.Repeat(" \r\n\t", limit/4)))
		}
		if err := c.Quiet(); err != nil { // it is not part of a message
			t.Errorf("%v", err)
		}
	})
}

// tcpValues sends successive values with every allowed separator, split at every byte.
func (a *arena) tcpValues(t *testing.T, s state) {
	c := a.openTCP(t, s)
	values := []string{`{"op":3}`, `{"op":3,"x":"}{\"]["}`, `{ "x" : [ { } , "\\" ] , "op" : 3 }`, `{"op":3,"x":"ä😀"}`}
	for _, between := range []string{"", "\n", "\r\n", " \t\r\n "} {
		stream := strings.Join(values, between) + between
		send(t, c, []byte(stream))
		for range values {
			expectPong(t, c, "values in one piece")
		}
		for i := range len(stream) {
			if err := c.WriteSplit([]byte(stream), i); err != nil {
				t.Fatal(err)
			}
			for range values {
				expectPong(t, c, fmt.Sprintf("values cut at %d", i))
			}
		}
	}
	send(t, c, []byte(strings.Repeat(`{"op":3}`, 5000)))
	for range 5000 {
		expectPong(t, c, "many values")
	}
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
}
