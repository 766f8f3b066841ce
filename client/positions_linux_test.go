//go:build linux

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

const keepsHistory = `[{groups: "kept*", messages: 1000, age: 1h}]`

// number sends n messages to the group, and waits until each has its number.
func number(t *testing.T, sender *client.Client, group string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range n {
		if _, err := sender.SendAcked(ctx, client.Group(group), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPositions starts a program three times. Each goes on behind the last message that the one before has handled: what its
// handler did not finish comes again.
func TestPositions(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--history", keepsHistory}})
	path := filepath.Join(t.TempDir(), "positions.json")
	sender := dialReal(t, s, client.Options{Group: "senders"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	program := func(handle func(ctx context.Context, m *client.Message)) *client.Client {
		t.Helper()
		return dialReal(t, s, client.Options{
			Group: "kept", Groups: []string{"plain"}, OnMessage: handle,
			Positions: client.PositionsFile(path), PositionsEvery: time.Millisecond,
		})
	}
	got := make(chan string, 16)
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
	first := program(func(_ context.Context, m *client.Message) { got <- fmt.Sprint("first ", m.Offset) })
	number(t, sender, "kept", 3)
	want("first 1", "first 2", "first 3")
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	number(t, sender, "kept", 2)

	second := program(func(ctx context.Context, m *client.Message) {
		got <- fmt.Sprint("second ", m.Offset)
		if m.Offset == 5 {
			<-ctx.Done() // it is killed in the middle of its work
		}
	})
	want("second 4", "second 5")
	eventually.True(t, "the position behind the message before", func() bool {
		kept, err := client.PositionsFile(path).Load(ctx)
		return err == nil && kept["kept"].Offset == 4
	})
	short, giveUp := context.WithTimeout(ctx, 10*time.Millisecond)
	defer giveUp()
	if err := second.Close(short); err == nil {
		t.Error("Close returned no error while a handler was running")
	}
	third := program(func(_ context.Context, m *client.Message) { got <- fmt.Sprint("third ", m.Offset) })
	want("third 5")
	number(t, sender, "kept", 1)
	want("third 6")
	if err := third.Close(ctx); err != nil {
		t.Error(err)
	}
	if rest, err := os.ReadDir(filepath.Dir(path)); err != nil || len(rest) != 1 {
		t.Errorf("beside the file: %v, %v", rest, err)
	}
}

// TestSubscribedGroupRecovers: a group that the program has subscribed to is recovered as those of Options are, and forgotten
// with the membership.
func TestSubscribedGroupRecovers(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--history", keepsHistory}})
	sender := dialReal(t, s, client.Options{Group: "senders"})
	var conn atomic.Pointer[net.Conn]
	var closed atomic.Bool // no connection can be made
	got := make(chan uint64, 16)
	c := dialReal(t, s, client.Options{
		Group: "plain", MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		OnMessage: func(_ context.Context, m *client.Message) { got <- m.Offset },
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
	number(t, sender, "kept.later", 2) // before the client is in the group
	if err := c.Subscribe(t.Context(), "kept.later"); err != nil {
		t.Fatal(err)
	}
	number(t, sender, "kept.later", 1)
	if n := <-got; n != 3 {
		t.Fatalf("got %d, want 3", n)
	}
	closed.Store(true)
	_ = (*conn.Load()).Close()
	number(t, sender, "kept.later", 2)
	closed.Store(false)
	for want := uint64(4); want <= 5; want++ {
		if n := <-got; n != want {
			t.Fatalf("got %d, want %d", n, want)
		}
	}
	if err := c.Unsubscribe(t.Context(), "kept.later"); err != nil {
		t.Fatal(err)
	}
	if p, ok := c.Position("kept.later"); ok {
		t.Errorf("after Unsubscribe the position is %v", p)
	}
}

// TestPositionsFile: what is saved is loaded, and what is no such file is refused.
func TestPositionsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "positions.json")
	file := client.PositionsFile(path)
	if all, err := file.Load(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("without a file: %v, %v", all, err)
	}
	want := map[string]client.Position{"orders": {Epoch: "k3v9", Offset: 1042}, "ä\"": {}}
	for range 2 {
		if err := file.Save(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	all, err := file.Load(t.Context())
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"empty": "", "half": `{"version":1,"posi`, "another version": `{"version":2,"positions":{}}`, "no object": `[]`,
		"an offset that is none": `{"version":1,"positions":{"g":{"offset":-1}}}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Load(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.Connect(t.Context(), client.Options{URL: "ws://127.0.0.1:1/", Token: "t", Group: "g", Positions: file}); err == nil ||
			!strings.Contains(err.Error(), "positions") {
			t.Errorf("%s: Connect: %v", name, err)
		}
	}
	if err := client.PositionsFile(filepath.Join(dir, "none", "x")).Save(t.Context(), want); err == nil {
		t.Error("saved in a folder that is not there")
	}
}

// refusing is a store that refuses the first saves.
type refusing struct {
	left  atomic.Int32
	saved chan map[string]client.Position
}

func (*refusing) Load(context.Context) (map[string]client.Position, error) { return nil, nil }

func (r *refusing) Save(_ context.Context, all map[string]client.Position) error {
	if r.left.Add(-1) >= 0 {
		return errors.New("no space")
	}
	select {
	case r.saved <- all:
	default:
	}
	return nil
}

// TestPositionsAreSavedAgain: the hook is told of a save that fails, and it is tried again.
func TestPositionsAreSavedAgain(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--history", keepsHistory}})
	store := &refusing{saved: make(chan map[string]client.Position, 1)}
	store.left.Store(3)
	told := make(chan error, 8)
	dialReal(t, s, client.Options{
		Group: "kept", Positions: store, PositionsEvery: time.Millisecond, OnPositionsError: func(err error) { told <- err },
	})
	if err := <-told; !strings.Contains(err.Error(), "no space") {
		t.Errorf("told %v", err)
	}
	if all := <-store.saved; len(all) != 1 || all["kept"].Epoch == "" {
		t.Errorf("saved %v", all)
	}
}
