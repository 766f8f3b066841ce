//go:build linux

package clustertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// join identifies a client in a group on an instance.
func join(t *testing.T, c *cluster, instance int, group string) *party {
	t.Helper()
	p, err := joinParty(t.Context(), c.urls()[instance], c.hubs[0].Token, group)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// next returns the id of the next message.
func (p *party) next(t *testing.T) string {
	t.Helper()
	f, err := p.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f.ID
}

// TestSelectionAcrossInstances: messages to several groups reach each member once, over Redis, in the order of their sender.
func TestSelectionAcrossInstances(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{})
	sender := join(t, c, 0, "senders")
	var members []*party
	for instance := range 2 {
		for _, group := range []string{"a", "b", "left"} {
			members = append(members, join(t, c, instance, group))
		}
	}
	const rounds = 50
	for n := range rounds {
		_ = sender.send(`{"op":0,"id":"s%d","intent":{"target":"GROUP","identifiers":["a","b","left"],"except":["left"]}}`, n)
		_ = sender.send(`{"op":0,"id":"g%d","intent":{"target":"GLOBAL"}}`, n)
	}
	for i, p := range members {
		for n := range rounds {
			if i%3 != 2 {
				if got := p.next(t); got != fmt.Sprint("s", n) {
					t.Fatalf("member %d got %q, want the message %d to its group", i, got, n)
				}
			}
			if got := p.next(t); got != fmt.Sprint("g", n) {
				t.Fatalf("member %d got %q, want the message %d to all", i, got, n)
			}
		}
	}
	c.understood()
}

// TestSelectionAndAnOldRelease: while an instance of an earlier release has clients, a message with exceptions is refused as a
// whole: that instance would ignore them.
func TestSelectionAndAnOldRelease(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, clusterOptions{})
	c.binary = hubtest.BinaryOf(t, previous)
	c.hubs = append(c.hubs, c.start(1, "", ""))
	c.awaitNodes(patience, 2)
	sender, here, old := join(t, c, 0, "senders"), join(t, c, 0, "a"), join(t, c, 1, "a")
	eventually.True(t, "the old instance's client to be known", func() bool {
		_ = sender.send(`{"op":0,"id":"probe","intent":{"target":"GROUP","identifier":"none","except":["b"]}}`)
		f, err := sender.read(t.Context())
		return err == nil && f.Op == 6 && strings.Contains(string(f.Data), "OLD_RELEASE")
	})
	for _, intent := range []string{
		`{"target":"GROUP","identifiers":["a","b"]}`, `{"target":"GROUP","identifier":"a","except":["b"]}`, `{"target":"GLOBAL","except":["a"]}`,
		fmt.Sprintf(`{"target":"DIRECT","identifier":%q,"except":["a"]}`, old.id),
	} {
		_ = sender.send(`{"op":0,"id":"refused","intent":%s}`, intent)
		if f, err := sender.read(t.Context()); err != nil || f.Op != 6 || !strings.Contains(string(f.Data), "OLD_RELEASE") {
			t.Errorf("%s: %+v, %v", intent, f, err)
		}
	}
	_ = sender.send(`{"op":0,"id":"direct","intent":{"target":"DIRECT","identifiers":[%q,%q]}}`, here.id, old.id)
	for name, p := range map[string]*party{"new": here, "old": old} {
		if got := p.next(t); got != "direct" {
			t.Errorf("the client of the %s instance got %q first", name, got)
		}
	}
	c.understood()
}
