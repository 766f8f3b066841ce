//go:build linux

package hubtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// state is the state of a client that sends bad input.
type state string

const (
	stranger   state = "stranger"
	identified state = "identified"
)

var states = []state{stranger, identified}

// limit is the hub's default for --max-message-bytes.
const limit = 32768

// atOnce bounds the hub's answer to bad input, the close included. It is far below every deadline of the hub.
const atOnce = 3 * time.Second

// arena is a hub under attack with bystander clients that must not notice it.
type arena struct {
	*Server
	bystanders map[string]*rawclient.Conn
	began      time.Time
	base       usage
	tls        *tls.Config // if set, HubAddr is the TLS listener
}

// usage is a hub's use of resources.
type usage struct {
	descriptors int
	goroutines  float64
	rss         int64
}

// newArena starts a hub with long deadlines, and the bystanders.
func newArena(t *testing.T, flags ...string) *arena {
	t.Helper()
	flags = append([]string{"--identify-timeout", "10m", "--ping-interval", "10m"}, flags...)
	return openArena(t, Start(t, Options{Flags: flags, TCP: true}), nil)
}

// newTLSArena is newArena over TLS.
func newTLSArena(t *testing.T, flags ...string) *arena {
	t.Helper()
	s, cfg := startTLS(t, tlstest.Template{}, append(flags, "--identify-timeout", "10m", "--ping-interval", "10m")...)
	s.HubAddr = s.TLSAddr
	return openArena(t, s, cfg)
}

// openArena connects the bystanders.
func openArena(t *testing.T, s *Server, cfg *tls.Config) *arena {
	t.Helper()
	a := &arena{Server: s, tls: cfg, bystanders: make(map[string]*rawclient.Conn), began: time.Now()}
	a.bystanders["stranger"] = a.open(t, stranger)
	a.bystanders["identified"] = a.open(t, identified)
	tcp := a.dialTCP(t)
	if _, err := tcp.Identify(Token, "g", ""); err != nil {
		t.Fatal(err)
	}
	a.bystanders["identified over TCP"] = tcp
	a.base = a.usage(t)
	return a
}

func (a *arena) usage(t *testing.T) usage {
	t.Helper()
	return usage{a.Descriptors(), a.Metrics().Sum("go_goroutines"), a.RSS()}
}

func (a *arena) dial(t *testing.T) *rawclient.Conn {
	return dialWith(t, a.HubAddr, rawclient.Options{TLS: a.tls})
}

func (a *arena) dialTCP(t *testing.T) *rawclient.Conn { return dialRaw(t, a.TCPAddr) }

func dialRaw(t *testing.T, addr string) *rawclient.Conn {
	t.Helper()
	return dialWith(t, addr, rawclient.Options{})
}

func dialWith(t *testing.T, addr string, o rawclient.Options) *rawclient.Conn {
	t.Helper()
	c, err := rawclient.Dial(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// open returns a WebSocket client in that state.
func (a *arena) open(t *testing.T, s state) *rawclient.Conn {
	t.Helper()
	c := a.dial(t)
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	if s == identified {
		if _, err := c.Identify(Token, "g", ""); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// finish checks that the bystanders got nothing, that the hub released its resources, and its log.
func (a *arena) finish(t *testing.T) {
	t.Helper()
	if !a.Alive() {
		t.Fatal("the hub has ended")
	}
	for name, c := range a.bystanders {
		if err := c.Quiet(); err != nil {
			t.Errorf("the bystander (%s): %v", name, err)
		}
	}
	var now usage
	if err := eventually.Within(10*time.Second, func() bool {
		now = a.usage(t)
		return now.descriptors <= a.base.descriptors && now.goroutines <= a.base.goroutines+1
	}); err != nil {
		t.Errorf("the hub holds %+v, at first it held %+v: %v", now, a.base, err)
	}
	if grown := now.rss - a.base.rss; grown > 48<<20 && !RaceBinary() {
		t.Errorf("the hub has grown by %d MiB", grown>>20)
	}
	if m := a.Metrics(); m.Sum("mastersocket_sockets") != float64(len(a.bystanders)) || m.Sum("mastersocket_queue_bytes") != 0 {
		t.Errorf("open connections: %v, want %d; queued bytes: %v, want 0",
			m.Sum("mastersocket_sockets"), len(a.bystanders), m.Sum("mastersocket_queue_bytes"))
	}
	a.checkLog(t)
}

// checkLog expects at most one line per second and cause, without control characters.
func (a *arena) checkLog(t *testing.T) {
	t.Helper()
	causes := make(map[string]int)
	for _, text := range a.Log() {
		for _, r := range text {
			if unicode.IsControl(r) || r == unicode.ReplacementChar {
				t.Errorf("log line with a control character: %q", text)
				break
			}
		}
		line := parseLine(text)
		names := line["cause"] == "origin" || line["cause"] == "misdirected" // the origin or host that an operator may allow
		for _, secret := range []string{Token, "attacker"} {
			if strings.Contains(text, secret) && !(names && secret == "attacker") {
				t.Errorf("log line with %q: %q", secret, text)
			}
		}
		causes[line["msg"]+" "+line["cause"]+line["listener"]]++
	}
	most := int(time.Since(a.began)/time.Second) + 2
	for cause, n := range causes {
		if n > most {
			t.Errorf("%d log lines in %v: %s", n, time.Since(a.began).Round(time.Second), cause)
		}
	}
}

// verdict is the required end of a connection.
type verdict struct {
	code   int    // of the close frame
	reason string // of the DISCONNECT and of the Close frame; empty: none required
}

func (v verdict) String() string { return fmt.Sprintf("%d %q", v.code, v.reason) }

// The verdicts of the protocol.
var (
	protocolError  = verdict{1002, ""}
	badUTF8        = verdict{1007, ""}
	policy         = verdict{1008, ""}
	tooBig         = verdict{1009, "MESSAGE_TOO_BIG"}
	goodbye        = verdict{1000, "NO_REASON"}
	unknownOp      = verdict{4001, "UNKNOWN_OP"}
	invalidPayload = verdict{4002, "INVALID_PAYLOAD"}
	unauthorized   = verdict{4003, "UNAUTHORIZED"}
	identifyFailed = verdict{4004, "IDENTIFY_FAILED"}
	identifiedYet  = verdict{4005, "ALREADY_IDENTIFIED"}
)

// expectEnd reads c to its end and compares it with the verdict. Nothing else may arrive before.
func expectEnd(t *testing.T, c *rawclient.Conn, want verdict) {
	t.Helper()
	begin := time.Now()
	end, err := c.End()
	switch {
	case err != nil:
		t.Errorf("want %v: %v (%v)", want, err, end)
	case len(end.Before) > 0:
		t.Errorf("want %v, first got %v", want, end.Before)
	case end.Code != want.code || want.reason != "" && (end.Said != want.reason || end.Reason != want.reason):
		t.Errorf("want %v; got %v", want, end)
	case !errors.Is(end.Transport, io.EOF):
		t.Errorf("want an orderly end after %v; got %v", want, end)
	case time.Since(begin) > atOnce:
		t.Errorf("%v took %v", want, time.Since(begin))
	}
}

// send writes raw bytes. It ignores errors: the hub may close before it has read all of them, and the reader judges
// that.
func send(t *testing.T, c *rawclient.Conn, b []byte) {
	t.Helper()
	if err := c.Write(b); err != nil && !errors.Is(err, rawclient.ErrReset) {
		t.Fatal(err)
	}
}

// everywhere is a valid event that would reach every bystander.
const everywhere = `{"op":0,"event":"attacker","intent":{"target":"GLOBAL"}}`

// TestBadInput sends a hub everything in the protocol's table of bad input.
func TestBadInput(t *testing.T) {
	t.Parallel()
	a := newArena(t, "--allowed-origins", "https://app.example,https://*.pages.example")
	t.Run("handshake", a.handshakes)
	t.Run("origin", a.origins)
	t.Run("frames", a.frames)
	t.Run("sizes", a.sizes)
	t.Run("envelopes", a.envelopes)
	t.Run("identify", a.identifies)
	t.Run("tcp", a.streams)
	t.Run("broken off", a.brokenOff)
	t.Run("flood", a.flood)
	a.finish(t)
}

// TestBadInputOverTLS sends the WebSocket part over TLS.
func TestBadInputOverTLS(t *testing.T) {
	t.Parallel()
	a := newTLSArena(t, "--allowed-origins", "https://app.example,https://*.pages.example")
	t.Run("handshake", a.handshakes)
	t.Run("frames", a.frames)
	t.Run("sizes", a.sizes)
	t.Run("identify", a.identifies)
	t.Run("broken off", a.brokenOff)
	a.finish(t)
}

// brokenOff ends connections in unexpected places.
func (a *arena) brokenOff(t *testing.T) {
	request := rawclient.NewRequest(a.HubAddr, "/").Bytes()
	event := rawclient.Text(everywhere).Bytes()
	for name, part := range map[string][]byte{"": nil, "header": event[:1], "payload": event[:len(event)-1]} {
		for _, abort := range []bool{false, true} {
			t.Run(fmt.Sprintf("frame %s, reset %v", name, abort), func(t *testing.T) {
				for _, s := range states {
					c := a.open(t, s)
					send(t, c, part)
					breakOff(t, c, abort)
				}
			})
		}
	}
	for _, abort := range []bool{false, true} {
		for _, n := range []int{0, 1, len(request) / 2, len(request) - 1, len(request)} {
			c := a.dial(t)
			send(t, c, request[:n])
			breakOff(t, c, abort)
		}
		for _, text := range []string{"", "{", everywhere[:20], `{"op":3}`} {
			c := a.dialTCP(t)
			send(t, c, []byte(text))
			breakOff(t, c, abort)
		}
	}
}

func breakOff(t *testing.T, c *rawclient.Conn, abort bool) {
	t.Helper()
	end := c.Close
	if abort {
		end = c.Abort
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// flood repeats some kinds of bad input often enough to expose unlimited logging.
func (a *arena) flood(t *testing.T) {
	for range scale(2000) / 20 {
		c := a.dial(t)
		send(t, c, []byte("\x1b[31mattacker\r\n\r\n"))
		c.Close()
		c = a.dial(t)
		send(t, c, rawclient.NewRequest(a.HubAddr, "/attacker%1b").Add("Origin: \x1b").Bytes())
		c.Close()
		c = a.open(t, stranger)
		send(t, c, rawclient.Text("attacker\x1b\n").Bytes())
		c.Close()
		c = a.open(t, stranger)
		send(t, c, rawclient.Text(`{"op":1,"data":{"token":"attacker\u001b\n","group":"attacker\u001b"}}`).Bytes())
		c.Close()
		c = a.open(t, stranger)
		send(t, c, []byte("\xff\xff\xff\xff"))
		c.Close()
	}
}
