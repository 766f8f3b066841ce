//go:build linux

package client_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestRecover has a client miss messages while it has no connection. It gets each once, in order, and is told of those that
// are not kept.
func TestRecover(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--history", `[{groups: kept, messages: 8, age: 1h}]`}})
	var conn atomic.Pointer[net.Conn]
	var closed atomic.Bool // no connection can be made
	got := make(chan string, 64)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{
		URL: s.URL(), Token: s.Token, Group: "kept",
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		OnMessage: func(_ context.Context, m *client.Message) { got <- fmt.Sprint(m.Offset) },
		OnGap:     func(g client.Gap) { got <- fmt.Sprint(g.Group, " ", g.Reason, " ", g.Offset) },
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if closed.Load() {
				return nil, net.ErrClosed
			}
			var d net.Dialer
			n, err := d.DialContext(ctx, network, addr)
			if err == nil {
				conn.Store(&n)
			}
			return n, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	sender, err := client.Connect(ctx, client.Options{URL: s.URL(), Token: s.Token, Group: "senders"})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close(ctx)
	sent := 0
	send := func(n int) {
		t.Helper()
		for range n {
			r, err := sender.Queue(ctx, client.Group("kept"), "e", sent, client.WithOnce(fmt.Sprint("id ", sent)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if sent++; r.Offset() != uint64(sent) {
				t.Errorf("message %d has the number %d", sent, r.Offset())
			}
		}
	}
	want := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			select {
			case g := <-got:
				if g != text {
					t.Fatalf("got %q, want %q", g, text)
				}
			case <-ctx.Done():
				t.Fatalf("waited for %q in vain", text)
			}
		}
	}
	away := func(n int) { // n messages are sent while there is no connection
		id := c.Identity().ID
		closed.Store(true)
		_ = (*conn.Load()).Close()
		send(n)
		closed.Store(false)
		eventually.True(t, "another connection", func() bool { return c.Identity().ID != id })
	}
	send(2)
	want("1", "2")
	away(3)
	want("3", "4", "5")
	send(1)
	want("6")
	away(10)
	want("kept TRIMMED 8", "9", "10", "11", "12", "13", "14", "15", "16")
	eventually.True(t, "the position behind the last message", func() bool {
		p, ok := c.Position("kept")
		return ok && p.Offset == 16 && p.Epoch != ""
	})
}
