package faultproxy_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/faultproxy"
)

// echo is a server that sends back what it reads.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *faultproxy.Proxy) net.Conn {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends a byte and waits for the echo.
func exchange(c net.Conn, wait time.Duration) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	_, err := c.Read(make([]byte, 1))
	return err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p := faultproxy.Start(t, echo(t))
	for name, c := range map[string]struct {
		fault    faultproxy.Fault
		survives bool
	}{
		"replies":  {faultproxy.SwallowReplies, false},
		"requests": {faultproxy.SwallowRequests, false},
		"both":     {faultproxy.Swallow, false},
		"stall":    {faultproxy.Stall, true},
	} {
		conn := dial(t, p)
		if err := exchange(conn, time.Minute); err != nil {
			t.Fatalf("%s: healthy: %v", name, err)
		}
		p.Set(c.fault)
		if err := exchange(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: broken: %v, want silence", name, err)
		}
		p.Set(faultproxy.None)
		if err := exchange(conn, time.Minute); (err == nil) != c.survives {
			t.Errorf("%s: old connection after healing: %v", name, err)
		}
		if err := exchange(dial(t, p), time.Minute); err != nil {
			t.Errorf("%s: new connection after healing: %v", name, err)
		}
	}
}

// SwallowReplies lets requests pass: the server still hears its client.
func TestRequestsPassWhileRepliesAreSwallowed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := faultproxy.Start(t, l.Addr().String())
	client := dial(t, p)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p.Set(faultproxy.SwallowReplies)
	for range 3 {
		if _, err := server.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("r")); err != nil {
			t.Fatal(err)
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatalf("request: %v", err)
		}
	}
	_ = client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reply: %v, want silence", err)
	}
}

func TestRefuseAndCut(t *testing.T) {
	t.Parallel()
	p := faultproxy.Start(t, echo(t))
	conn := dial(t, p)
	if err := exchange(conn, time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := exchange(conn, time.Minute); err == nil {
		t.Error("a cut connection answered")
	}
	p.Set(faultproxy.Refuse)
	if err := exchange(dial(t, p), time.Minute); err == nil {
		t.Error("a refused connection answered")
	}
	p.Set(faultproxy.None)
	if err := exchange(dial(t, p), time.Minute); err != nil {
		t.Error(err)
	}
	if p.Accepted() != 3 {
		t.Errorf("%d connections, want 3", p.Accepted())
	}
}
