package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// hello returns the first record that a client sends.
func hello(t testing.TB) []byte {
	t.Helper()
	var b helloWriter
	_ = tls.Client(&b, &tls.Config{ServerName: "127.0.0.1"}).Handshake()
	return b.Bytes()
}

// helloWriter keeps what is written to it and answers nothing.
type helloWriter struct {
	chopped
	bytes.Buffer
}

func (b *helloWriter) Write(p []byte) (int, error)   { return b.Buffer.Write(p) }
func (b *helloWriter) Read([]byte) (int, error)      { return 0, io.EOF }
func (*helloWriter) Close() error                    { return nil }
func (*helloWriter) SetDeadline(time.Time) error     { return nil }
func (*helloWriter) SetReadDeadline(time.Time) error { return nil }

// TestTLSGarbage: what is no TLS is told so, or cut off at once, and costs no handshake.
func TestTLSGarbage(t *testing.T) {
	t.Parallel()
	long := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, 16<<10-4)...) // a ClientHello of 64 KiB
	more := append([]byte{22, 3, 1, 0x40, 0}, make([]byte, 16<<10)...)
	for name, tt := range map[string]struct {
		sent   string
		reason string // counted
		answer bool
	}{
		"HTTP":                          {"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", "not_tls", true},
		"one letter":                    {"G", "not_tls", true},
		"a WebSocket":                   {upgradeRequest(""), "not_tls", true},
		"zeros":                         {"\x00\x00\x00\x00\x00\x00", "not_tls", false},
		"SSL 2":                         {"\x80\x2e\x01\x00\x02", "not_tls", false},
		"an alert":                      {"\x15\x03\x01\x00\x02\x02\x28", "not_tls", false},
		"a record that is too long":     {"\x16\x03\x01\x40\x01", "not_tls", false},
		"a record of another version":   {"\x16\x04\x01\x00\x05hello", "not_tls", false},
		"a message that is none":        {"\x16\x03\x01\x00\x05hello", "protocol", false},
		"an empty record":               {"\x16\x03\x01\x00\x00", "protocol", false},
		"an endless hello":              {string(long) + strings.Repeat(string(more), 5), "protocol", false},
		"a record within the handshake": {string(hello(t)) + "\x17\x03\x03\x00\x05hello", "protocol", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTape()
			s := startServer(t, testOptions())
			addr, cfg := listenTLS(t, s, e)
			c := dial(t, addr)
			_, _ = c.tcp.Write([]byte(tt.sent))
			if tt.answer {
				if res := c.response(); res.StatusCode != http.StatusBadRequest {
					t.Errorf("answered %s", res.Status)
				}
			} else if b, err := io.ReadAll(c.tcp); err != nil && !gone(err) || bytes.Contains(b, []byte("HTTP")) {
				t.Errorf("answered %q, %v", b, err)
			}
			_ = c.Close()
			if n := s.Stats().TLS.Failed[tt.reason]; n != 1 {
				t.Errorf("counted %v", s.Stats().TLS.Failed)
			}
			dialTLS(t, addr, cfg) // others are served
			e.nothing(t)
		})
	}
}

// TestTLSParameters: what can't be agreed on is counted by what it is.
func TestTLSParameters(t *testing.T) {
	t.Parallel()
	for reason, change := range map[string]func(*tls.Config){
		"version":              func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"application_protocol": func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"parameters": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		},
		"client_refused": func(c *tls.Config) { c.RootCAs = nil },
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, testOptions())
			addr, cfg := listenTLS(t, s, newTape())
			change(cfg)
			c := dial(t, addr)
			if err := tls.Client(c.Conn, cfg).Handshake(); err == nil {
				t.Fatal("the handshake succeeded")
			}
			_, _ = io.Copy(io.Discard, c.tcp) // until the server has ended it
			if n := s.Stats().TLS.Failed[reason]; n != 1 {
				t.Errorf("counted %v", s.Stats().TLS.Failed)
			}
		})
	}
}

// TestTLSHandshakeTimeout: clients that stop at any point of the handshake are cut off when their time is over.
func TestTLSHandshakeTimeout(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.HandshakeTimeout = 2 * time.Second // time enough for those that finish theirs
	s := startServer(t, o)
	e := newTape()
	addr, cfg := listenTLS(t, s, e)
	first := hello(t)
	var stalled []*client
	for _, n := range []int{0, 1, 4, 5, len(first) - 1, len(first)} {
		c := dial(t, addr)
		_, _ = c.tcp.Write(first[:n])
		stalled = append(stalled, c)
	}
	silent := dialTLS(t, addr, cfg) // done, but says nothing
	for _, c := range stalled {
		if _, err := io.Copy(io.Discard, c.tcp); err != nil && !gone(err) {
			t.Error(err)
		}
	}
	if _, err := silent.br.ReadByte(); !gone(err) {
		t.Error(err)
	}
	st := s.Stats()
	if n, m := st.TLS.Failed["timeout"], st.Refusals["handshake_timeout"]; n != 6 || m != 7 {
		t.Errorf("counted %d of TLS, %d in all", n, m)
	}
}

// TestTLSHandshakesBounded: as many clients as may shake hands at a time stop in the middle of it; others wait for their
// turn, and get it long before those have had all their time.
func TestTLSHandshakesBounded(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops, o.TLSHandshakes, o.HandshakeTimeout = 1, 4, patience
	s := startServer(t, o)
	e := newTape()
	addr, cfg := listenTLS(t, s, e)
	first := hello(t)
	var stalled []*client
	for range 4 {
		c := dial(t, addr)
		_, _ = c.tcp.Write(first)
		_, _ = c.tcp.Read(make([]byte, 1)) // its handshake has begun
		stalled = append(stalled, c)
	}
	onLoop(t, s.Loops()[0], func() {
		if n := len(s.Loops()[0].tls.shaking); n != 4 {
			t.Errorf("%d handshakes are under way", n)
		}
	})
	done := make(chan *client)
	for range 20 {
		go func() {
			c := dial(t, addr)
			conn := tls.Client(c.Conn, cfg)
			c.Conn, c.br = conn, bufio.NewReader(conn)
			if _, err := c.Write([]byte(upgradeRequest(""))); err != nil {
				t.Error(err)
			}
			done <- c
		}()
	}
	for range 20 {
		(<-done).accepted()
	}
	onLoop(t, s.Loops()[0], func() {
		if l := s.Loops()[0]; len(l.tls.shaking) > 4 || len(l.tls.waiting) > 0 {
			t.Errorf("%d handshakes under way, %d wait", len(l.tls.shaking), len(l.tls.waiting))
		}
	})
	if n := s.Stats().TLS.Failed["timeout"]; n == 0 {
		t.Error("no handshake had to make room")
	}
	for _, c := range stalled {
		_ = c.Close()
	}
}

// TestTLSCloseDuringHandshakes: a server that ends has ended the handshakes too; the leak check of the package sees them.
func TestTLSCloseDuringHandshakes(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.TLSHandshakes = 8
	s := startServer(t, o)
	addr, _ := listenTLS(t, s, newTape())
	first := hello(t)
	for i := range 40 {
		c := dial(t, addr)
		_, _ = c.tcp.Write(first[:len(first)-i%2])
	}
	s.Close()
}

// TestTLSOpenSSL: another implementation shakes hands, has the keys updated in both directions (RFC 8446 section 4.6.3)
// before and between its messages, and takes its leave.
func TestTLSOpenSSL(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	e := newTape()
	e.message = echo
	addr, _ := listenTLS(t, startServer(t, testOptions()), e)
	cmd := exec.CommandContext(t.Context(), "openssl", "s_client", "-quiet", "-no_ign_eof", "-tls1_3", "-connect", addr.String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(said)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, br: bufio.NewReader(out)}
	write := func(p []byte) {
		if _, err := in.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte(upgradeRequest("")))
	c.accepted()
	e.expect(t, "open")
	for range 3 {
		write([]byte("K\n"))                          // a command: update the keys, and ask for the same
		for log.Scan() && log.Text() != "KEYUPDATE" { // what stands behind the command in the same read is thrown away
		}
		write(text("hello"))
		e.expect(t, "text hello")
		c.expect(ws.OpText, "hello")
	}
	_ = in.Close()
	e.expect(t, "closed at the end of its stream")
	_, _ = io.Copy(io.Discard, said)
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}
