package hub

import (
	"reflect"
	"testing"
)

// TestExtra: of a client that has kept nothing there is an empty extra to read, and what others keeps is read there. TestMain
// checks that no test of this package has changed the empty one.
func TestExtra(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*session{"nothing": {}, "several groups": {rest: &rest{more: make([]place, 1)}}} {
		if s.extra() == nil || !reflect.ValueOf(*s.extra()).IsZero() {
			t.Errorf("%s: there is %+v to read", name, s.extra())
		}
		s.dropChanges()
		s.sweepChanges()
		s.dropHoldings()
		s.dropRequests()
		s.unwatchAll()
		if s.isHidden() || s.openRequests() > 0 || s.holdingOf("g") != nil || s.watchOf("g") >= 0 || s.extra().past.has(1) {
			t.Errorf("%s: the client has something", name)
		}
		if s.extra() != &noExtra {
			t.Errorf("%s: something is kept for a client that was only looked at", name)
		}
		s.others().requests.open = 3
		if s.extra() != s.others() || s.openRequests() != 3 || len(s.more()) != cap(s.more()) {
			t.Errorf("%s: what is kept is not read", name)
		}
	}
}
