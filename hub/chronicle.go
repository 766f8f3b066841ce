package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
)

// This file says which groups have a history. The operator names them by rules, of which the first that matches a group
// counts. Without rules a message pays one comparison for all of it.

// HistoryRule makes the groups that match it groups with history.
type HistoryRule struct {
	Groups    intent.Patterns
	Limits    broker.Limits // of what is kept of each group
	MaxGroups int           // to which this instance appends within Limits.Age; further ones are refused
}

// chronicle is a rule in force.
type chronicle struct {
	HistoryRule
	mu       sync.Mutex
	appended map[string]*time.Time // the groups and the times of their last messages from this instance
	swept    time.Time             // when the old ones were last dropped
}

// chronicles are the rules in force. The zero chronicles are none.
type chronicles struct {
	all atomic.Pointer[[]*chronicle] // nil for none
}

// set puts rules in force.
func (c *chronicles) set(rules []HistoryRule) {
	if len(rules) == 0 {
		c.all.Store(nil)
		return
	}
	all := make([]*chronicle, len(rules))
	for i, r := range rules {
		all[i] = &chronicle{HistoryRule: r, appended: make(map[string]*time.Time)}
	}
	c.all.Store(&all)
}

// unruled are the limits of a group with history that no rule matches any more: they leave it as it is.
var unruled = broker.Limits{Messages: 1 << 30, Age: 365 * 24 * time.Hour, Bytes: 1 << 40}

// find returns the rule of the group, nil for a group without history. Reserved groups have none.
func (c *chronicles) find(group []byte) *chronicle {
	all := c.all.Load()
	if all == nil || len(group) == 0 || group[0] == '$' {
		return nil
	}
	for _, r := range *all {
		if r.Groups.Match(group) {
			return r
		}
	}
	return nil
}

// chronicleSweep is the least time between two looks for groups whose messages are too old to count.
const chronicleSweep = time.Second

// admits notes a message to the group, and reports whether it is not one group too many.
func (c *chronicle) admits(group []byte) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.appended[string(group)]; last != nil {
		*last = now
		return true
	}
	if len(c.appended) >= c.MaxGroups {
		if now.Sub(c.swept) < chronicleSweep {
			return false
		}
		c.swept = now
		for name, at := range c.appended {
			if now.Sub(*at) > c.Limits.Age {
				delete(c.appended, name)
			}
		}
		if len(c.appended) >= c.MaxGroups {
			return false
		}
	}
	at := new(time.Time)
	*at = now
	c.appended[string(group)] = at
	return true
}
