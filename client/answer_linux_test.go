package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// These tests send requests between two instances that a Redis connects.

// cutter dials connections that a test cuts off, as the kernel does for a process that is killed.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

// cut resets the connections.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	c.conns = nil
}

func TestRequestsOverRedis(t *testing.T) {
	t.Parallel()
	hubs, _ := startHubs(t, 2, hubtest.Options{})
	asker := dialReal(t, hubs[0], client.Options{Group: "askers", NoEcho: true})
	began := make(chan *client.Message, 8)
	over := make(chan error, 8)
	lines := &cutter{}
	dialReal(t, hubs[1], client.Options{Group: "shards", Name: "shard-1", Dial: lines.dial, MinBackoff: time.Hour, MaxBackoff: time.Hour,
		On: map[string]client.Handler{
			"hang": func(ctx context.Context, m *client.Message) {
				began <- m
				go func() { <-ctx.Done(); over <- context.Cause(ctx) }()
			},
			"info": client.HandleFunc(func(context.Context, *client.Message) (any, error) { return 1, nil }),
			"fail": client.HandleFunc(func(context.Context, *client.Message) (any, error) {
				return nil, fmt.Errorf("no disk: %w", &client.RemoteError{Code: "FULL", Message: "no space left"})
			}),
			"panic": func(context.Context, *client.Message) { panic("on purpose") },
			"big":   client.HandleFunc(func(context.Context, *client.Message) (any, error) { return strings.Repeat("x", 100_000), nil }),
			"list": func(ctx context.Context, m *client.Message) {
				for i := range 10 {
					_ = m.ReplyMore(ctx, i)
				}
				_ = m.Reply(ctx, "end")
				if err := m.Reply(ctx, "twice"); !errors.Is(err, client.ErrRequestOver) {
					t.Errorf("a second answer: %v", err)
				}
			},
		}})
	dialReal(t, hubs[0], client.Options{Group: "shards", Name: "mute"})
	dialReal(t, hubs[0], client.Options{Group: "shards", Name: "shard-2", On: map[string]client.Handler{
		"info": client.HandleFunc(func(context.Context, *client.Message) (any, error) { return 2, nil }),
	}})
	ctx, cancel := within(30 * time.Second)
	defer cancel()

	// Everything that one member answers, the others pass.
	replies, s, err := asker.RequestAll(ctx, client.Group("shards"), "info", nil)
	if err != nil || len(replies) != 2 || s.Receivers != 3 || s.Replied != 2 || s.Passed != 1 || len(s.Missing) != 0 {
		t.Errorf("RequestAll: %d replies, %+v, %v", len(replies), s, err)
	}
	if m, err := asker.Request(ctx, client.Any("shards"), "list", nil, client.WithRetry()); err != nil || string(m.Data) != "0" || !m.More {
		t.Errorf("with a retry: %+v, %v", m, err)
	}
	var got []string
	for m, err := range asker.Stream(ctx, client.Group("shards"), "list", nil) {
		if err != nil {
			t.Error(err)
			break
		}
		got = append(got, string(m.Data))
	}
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", `"end"`}; !slices.Equal(got, want) {
		t.Errorf("a stream of answers: %v", got)
	}

	// Errors of handlers travel back.
	for event, code := range map[string]string{"fail": "FULL", "panic": "PANIC", "big": "ERROR"} {
		var remote *client.RemoteError
		if _, err := asker.Request(ctx, client.Group("shards"), event, nil); !errors.As(err, &remote) || remote.Code != code {
			t.Errorf("%s: %v", event, err)
		}
	}
	var refused *client.RequestError
	if _, err := asker.Request(ctx, client.Group("shards"), "unknown", nil); !errors.As(err, &refused) || refused.Passed != 3 {
		t.Errorf("an event without a handler: %v", err)
	}
	_, err = asker.Request(ctx, client.Any("nobody"), "info", nil)
	wantErr(t, "nobody", err, client.ErrNoReceiver)

	// A deadline and a cancellation reach the handler's context.
	short, cancelShort := within(300 * time.Millisecond)
	defer cancelShort()
	_, s, err = asker.RequestAll(short, client.Group("shards"), "hang", nil)
	if err != nil || s == nil || len(s.Missing) != 1 || s.Missing[0].Name != "shard-1" || s.Missing[0].Reason != "TIMEOUT" {
		t.Errorf("a deadline: %+v, %v", s, err)
	}
	late := <-began
	<-over
	wantErr(t, "an answer that is too late", late.Reply(ctx, 1), client.ErrRequestOver)
	stopped, stop := context.WithCancel(ctx)
	asked := later2(func() error { _, err := asker.Request(stopped, client.Group("shards"), "hang", nil); return err })
	<-began
	stop()
	wantErr(t, "the caller", <-asked, context.Canceled)
	<-over

	// The worker dies: the request fails at once, and says which worker.
	failed := later2(func() error { _, err := asker.Request(ctx, client.Group("shards"), "hang", nil); return err })
	<-began
	cut := time.Now()
	lines.cut()
	err = <-failed
	took := time.Since(cut)
	if !errors.As(err, &refused) || len(refused.Missing) != 1 || refused.Missing[0].Name != "shard-1" || refused.Missing[0].Reason != "LOST" {
		t.Errorf("a worker that died: %v", err)
	}
	figure.Printf(t, "a request failed %v after the death of its worker on another instance: %v", took.Round(10*time.Microsecond), err)
}

// later2 calls f on a goroutine, and returns a channel for its error.
func later2(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// TestRequestsMove: a request whose requester, or receiver, moves to another instance meanwhile is answered.
func TestRequestsMove(t *testing.T) {
	t.Parallel()
	hubs, _ := startHubs(t, 2, hubtest.Options{Flags: []string{"--drain-rate=100"}})
	e := &elsewhere{hubs: []string{hubs[0].HubAddr, hubs[1].HubAddr}}
	asker := dialReal(t, hubs[0], client.Options{Group: "askers", Dial: e.dial})
	var held sync.Map
	release := make(chan struct{})
	shard := dialReal(t, hubs[0], client.Options{Group: "shards", Name: "shard-1", Dial: e.dial, On: map[string]client.Handler{
		"slow": func(ctx context.Context, m *client.Message) {
			held.Store(m.Sender, m)
			go func() {
				<-release
				if err := m.Reply(ctx, "done"); err != nil {
					t.Errorf("reply: %v", err)
				}
			}()
		},
		"quick": client.HandleFunc(func(context.Context, *client.Message) (any, error) { return 1, nil }),
	}})
	stays := dialReal(t, hubs[1], client.Options{Group: "askers"})
	ctx, cancel := within(60 * time.Second)
	defer cancel()
	var asked []<-chan error
	for _, c := range []*client.Client{asker, stays} {
		asked = append(asked, later2(func() error {
			m, err := c.Request(ctx, client.Group("shards"), "slow", nil)
			if err == nil && string(m.Data) != `"done"` {
				err = fmt.Errorf("answer %s", m.Data)
			}
			return err
		}))
	}
	eventually.True(t, "both requests have arrived", func() bool {
		n := 0
		held.Range(func(any, any) bool { n++; return true })
		return n == 2
	})
	// While they move, requests go on.
	e.at.Store(1)
	moved := make(chan struct{})
	counted := later2(func() error {
		for n := 0; ; n++ {
			select {
			case <-moved:
				figure.Printf(t, "%d requests during a move", n)
				return nil
			default:
			}
			replies, s, err := stays.RequestAll(ctx, client.Group("shards"), "quick", nil)
			if err != nil || len(replies) != 1 || s.Replied+s.Passed != s.Receivers {
				return fmt.Errorf("request %d during a move: %d replies, %+v, %w", n, len(replies), s, err)
			}
		}
	})
	hubs[0].Signal(syscall.SIGTERM)
	eventually.True(t, "both send on their new connections", func() bool {
		return asker.Identity().Node == "b" && shard.Identity().Node == "b"
	})
	close(release)
	for i, a := range asked {
		if err := <-a; err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if _, ok := hubs[0].Wait(20 * time.Second); !ok {
		t.Error("the instance did not end")
	}
	close(moved)
	if err := <-counted; err != nil {
		t.Error(err)
	}
}
