//go:build linux

package clustertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// previous is the state of main that was in use before the changes since. Set it once those are in use.
const previous = "817156526a08d09cd0b3290bb5e32e1a06915410"

// TestUpgrade replaces three instances of the previous release one after the other under load, and goes back with one of
// them. In every mixture nothing is lost, and each instance understands what the others say.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	old := hubtest.BinaryOf(t, previous)
	drain := figure.Choose(time.Second, 5*time.Second)
	c := startCluster(t, 3, clusterOptions{flags: []string{"--drain-timeout", drain.String()}, binary: old})
	l := startLoad(t, c.urls(), loadOptions{roam: true})
	replace := func(i int, binary string) {
		t.Helper()
		l.runFor(time.Second)
		c.understood()
		c.terminate(i)
		c.awaitNodes(patience, 2)
		c.binary = binary
		c.restart(i)
		c.awaitNodes(patience, 3)
	}
	replace(0, "")
	missing := watchMissing(t, c.hubs[0], l.group(0))
	missing("b c") // they know nothing of presence
	replace(1, "")
	missing("c")
	replace(2, "")
	missing("")
	replace(1, old)
	missing("b")
	l.runFor(time.Second)
	c.understood()
	r := l.finish(c)
	if r.Counted > 0 || r.CutOff > 0 || len(r.Disconnects) != 1 || r.Disconnects["SERVER_RESTART"] == 0 {
		t.Errorf("want nothing lost, and SERVER_RESTART for every disconnect: %v", r)
	}
	figure.Printf(t, "upgrade from %.7s and back: %d messages, %d deliveries; refused %v", previous, r.Messages, r.Arrivals, r.Refused)
}

// understood expects that every running instance understood what came from the others.
func (c *cluster) understood() {
	c.t.Helper()
	for _, cause := range []string{"foreign", "other_version", "corrupt"} {
		if n := c.sum("mastersocket_broker_ignored_total", `cause="`+cause+`"`); n > 0 {
			c.t.Errorf("the instances ignored %d messages of each other: %s", n, cause)
		}
	}
	for _, h := range c.alive() {
		for _, line := range h.Log() {
			if strings.Contains(line, "level=ERROR") {
				c.t.Errorf("instance %s: %s", h.HubAddr, line)
			}
		}
	}
}

// watchMissing watches a group on an instance. The function that it returns waits until these instances are missing. No
// message of the load is for this client alone: its weight is 0.
func watchMissing(t *testing.T, h *hubtest.Server, group string) func(want string) {
	t.Helper()
	conn, _, err := dial(h, "watchers", fmt.Sprintf(`,"features":["groups","presence"],"weight":0,"watch":[%q]`, group))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	conn.SetTimeout(10 * time.Minute)
	var mu sync.Mutex
	missing := []string{}
	go func() {
		for {
			e, err := conn.Receive()
			if err != nil {
				return
			}
			var d struct {
				Missing *[]string `json:"missing"`
			}
			switch {
			case e.Is(rc.OpPING):
				_ = conn.Send(`{"op":4}`)
			case e.Is(10) && json.Unmarshal(e.Data, &d) == nil && d.Missing != nil:
				mu.Lock()
				missing = *d.Missing
				mu.Unlock()
			}
		}
	}()
	return func(want string) {
		t.Helper()
		eventually.True(t, "the instances "+want+" to be missing", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Join(missing, " ") == want
		})
	}
}
