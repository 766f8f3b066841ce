package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// inWatch runs a test with a rig whose hub tells of presence: a SUBSCRIBE is granted, then comes what snapshot returns for
// the connection.
func inWatch(t *testing.T, snapshot func(n int) []string, f func(t *testing.T, r *rig)) {
	t.Helper()
	inRig(t, func(t *testing.T, r *rig) {
		r.features += `,"groups","presence"`
		r.hear = func(l *line, f frame) {
			if f.Op != 8 && f.Op != 9 {
				return
			}
			grant(l, f)
			if f.Op == 8 {
				deliverAll(l, snapshot(l.n))
			}
		}
		f(t, r)
	})
}

// deliverAll delivers PRESENCEs about the group w with these members of their data.
func deliverAll(l *line, frames []string) {
	for _, f := range frames {
		l.deliver(`{"op":10,"data":{"group":"w",%s}}`, f)
	}
}

// who is what a member is called in a change: its id, and its meta behind a slash.
func who(m client.Member) string {
	if m.Meta["k"] != "" {
		return m.ID + "/" + m.Meta["k"]
	}
	return m.ID
}

// recordWatch records changes in l, as "+a -b:KICKED c>d ~e".
func recordWatch(l *journal) client.WatchOptions {
	return client.WatchOptions{OnChange: func(w *client.Watch, p client.PresenceChange) {
		var all []string
		for _, m := range p.Joined {
			all = append(all, "+"+who(m))
		}
		for _, d := range p.Left {
			all = append(all, "-"+who(d.Member)+":"+d.Reason)
		}
		for _, m := range p.Moved {
			all = append(all, m.From+">"+who(m.To))
		}
		for _, m := range p.Updated {
			all = append(all, "~"+who(m))
		}
		if p.Totals {
			n, named := w.Count()
			all = append(all, fmt.Sprintf("(%d,%v,%v)", n, named, w.Missing()))
		}
		l.add(strings.Join(all, ","))
	}}
}

func ids(w *client.Watch) string {
	var all []string
	for _, m := range w.Members() {
		all = append(all, who(m))
	}
	return strings.Join(all, " ")
}

func TestWatch(t *testing.T) {
	snapshot := []string{
		`"members":[{"id":"a","name":"n","version":"1","meta":{"k":"v"},"node":"x","since":"2026-01-02T03:04:05Z"}]`,
		`"joined":[{"id":"j"}]`, `"members":[{"id":"b","weight":0}],"complete":true`, `"missing":["host-3"]`,
	}
	inWatch(t, func(int) []string { return snapshot }, func(t *testing.T, r *rig) {
		ctx := context.Background()
		c, a := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		var l journal
		w, err := c.Watch(ctx, "w", recordWatch(&l))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		first := w.Members()[0]
		if first.Name != "n" || first.Version != "1" || first.Node != "x" || first.Since.Year() != 2026 || first.Weight != 1 || w.Members()[1].Weight != 0 {
			t.Errorf("Members = %+v", w.Members())
		}
		wantLog(t, "the set", ids(w), "a/v b j")
		if _, err := c.Watch(ctx, "w", client.WatchOptions{}); err == nil {
			t.Error("the group was watched twice")
		}
		deliverAll(a, []string{
			`"left":[{"id":"a","reason":"KICKED"}],"moved":[{"from":"j","to":{"id":"k"}}],"joined":[{"id":"l"}],"updated":[{"id":"b","meta":{"k":"2"}}]`,
			`"missing":[]`,
		})
		synctest.Wait()
		wantLog(t, "the set", ids(w), "b/2 k l")
		deliverAll(a, []string{`"count":12840`, `"count":12841`, `"members":[{"id":"b"}],"complete":true`})
		synctest.Wait()
		wantLog(t, "the set", ids(w), "b")
		wantLog(t, "the changes", l.String(), "+a/v,+b,+j (3,true,[host-3]) +l,-a/v:KICKED,j>k,~b/2 (3,true,[]) "+
			"(12840,false,[]) (12841,false,[]) +b,(1,true,[])")
		if err := w.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Watch(ctx, "w", client.WatchOptions{}); err != nil {
			t.Errorf("watched again: %v", err)
		}
	})
}

func TestWatchOnAnOldHub(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.features += `,"groups"`
		c, _ := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		_, err := c.Watch(context.Background(), "w", client.WatchOptions{})
		wantErr(t, "a hub without presence", err, client.ErrNoPresence)
	})
}

func TestWatchWithoutTheRight(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.features += `,"groups","presence"`
		r.hear = func(l *line, f frame) {
			l.deliver(`{"op":8,"id":%q,"data":{"error":{"code":"FORBIDDEN","group":"w","message":"no"}}}`, f.ID)
		}
		c, _ := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		for range 2 {
			_, err := c.Watch(context.Background(), "w", client.WatchOptions{})
			wantErr(t, "without the right", err, client.ErrForbidden)
		}
	})
}

// A reconnect brings the difference, and no set in between.
func TestWatchAfterReconnect(t *testing.T) {
	inWatch(t, func(int) []string { return []string{`"members":[{"id":"a"},{"id":"b"}],"complete":true`} }, func(t *testing.T, r *rig) {
		c, a := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		var l journal
		w, err := c.Watch(context.Background(), "w", recordWatch(&l))
		if err != nil {
			t.Fatal(err)
		}
		a.cut()
		b := <-r.opened
		synctest.Wait()
		wantLog(t, "the set before the snapshot", ids(w), "a b")
		if data := string(b.got[0].Data); !strings.Contains(data, `"watch":["w"]`) || strings.Contains(data, "replaces") {
			t.Errorf("IDENTIFY has %s", data)
		}
		deliverAll(b, []string{`"members":[{"id":"c"}]`, `"members":[{"id":"b"}],"complete":true`})
		synctest.Wait()
		wantLog(t, "the changes", l.String(), "+a,+b +c,-a:")
	})
}

// In a move what the old connection says counts until the new one has said all; what it says more is left out. If the new one
// is lost, the old one counts again.
func TestWatchInAMove(t *testing.T) {
	inWatch(t, func(int) []string { return []string{`"members":[{"id":"a"},{"id":"b"}],"complete":true`} }, func(t *testing.T, r *rig) {
		c, a := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		var l journal
		w, err := c.Watch(context.Background(), "w", recordWatch(&l))
		if err != nil {
			t.Fatal(err)
		}
		ask(c) // keeps the old connection
		a.drain(restart)
		b := <-r.opened
		var identify struct {
			Watch    []string `json:"watch"`
			Replaces string   `json:"replaces"`
		}
		if err := json.Unmarshal(b.got[0].Data, &identify); err != nil || !slices.Equal(identify.Watch, []string{"w"}) || identify.Replaces != a.id {
			t.Errorf("IDENTIFY has %+v, %v", identify, err)
		}
		time.Sleep(100 * time.Millisecond) // on the virtual clock
		deliverAll(b, []string{`"members":[{"id":"a"}]`})
		deliverAll(a, []string{`"joined":[{"id":"c"}]`})
		synctest.Wait()
		deliverAll(b, []string{`"members":[{"id":"b"},{"id":"c"}],"complete":true`, `"joined":[{"id":"d"}]`})
		synctest.Wait()
		deliverAll(a, []string{`"joined":[{"id":"d"},{"id":"e"}]`})
		synctest.Wait()
		wantLog(t, "the changes", l.String(), "+a,+b +c +d")
		b.cut()
		synctest.Wait()
		wantLog(t, "the set once the new connection is lost", ids(w), "a b c d e")
	})
}
