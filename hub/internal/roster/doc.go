// Package roster keeps who is in a group that is watched, and what watchers have been told of it. It is pure: it knows no
// connections, no clocks and no other instances. What it holds belongs to one goroutine.
//
// A [Ledger] has the members on one instance. It says what changed since it was asked last, for the other instances and
// for the instance's own watchers.
//
// A [Roster] has the members on all instances, as far as their ledgers have said. It says what changed since the watchers
// were told last, and knows what they were told: a newcomer gets that, page by page.
//
// A member that moves to another connection has two ids for a while. Both are in one line of the Roster, of which the last
// id is shown. So the watchers see one member that changes its id.
package roster

import "github.com/google/uuid"

// Member is a client in the group.
type Member struct {
	ID       uuid.UUID
	Replaces uuid.UUID // the id that it had before, over another connection; zero for none
	About    []byte    // what watchers are shown of it: a JSON object, which must not be changed any more
}

// Op is a change of the members on one instance.
type Op struct {
	Member           // Left: with the ID alone
	Left      bool   // the member left; else it joined, or is shown in another way
	Reason    string // Left: why
	Successor uuid.UUID
}

// The reasons of a member's leaving beside those to disconnect a client.
const (
	Unsubscribed = "UNSUBSCRIBED"  // it left the group, not the hub
	Lost         = "LOST"          // its connection broke, or it left while its instance could not be reached
	InstanceLost = "INSTANCE_LOST" // its instance is gone
)
