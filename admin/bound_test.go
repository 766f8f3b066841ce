package admin

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/ratelog"
)

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	const most = 3
	b := newBounded(inner, most, ratelog.New(slog.New(slog.DiscardHandler)), prometheus.NewRegistry())
	accepted := make(chan net.Conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var open []net.Conn
	for range most {
		dial()
		open = append(open, <-accepted)
	}
	for range 2 {
		c := dial()
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("a connection too many: %v", err)
		}
	}
	for range 2 { // one that is closed twice counts once
		_ = open[0].Close()
	}
	dial()
	open = append(open[1:], <-accepted)
	if n, refused := b.open.Load(), b.refused.Load(); n != most || refused != 2 {
		t.Errorf("%d are open, %d were refused", n, refused)
	}
	for _, c := range open {
		_ = c.Close()
	}
	_ = inner.Close()
	<-ended
	if n := b.open.Load(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

func TestMetricsOfConnections(t *testing.T) {
	t.Parallel()
	_, _, base := start(t, memory.NewBus().Broker(), true)
	resp, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nmastersocket_admin_connections 1\n", "\nmastersocket_admin_connections_refused_total 0\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q", want)
		}
	}
}
