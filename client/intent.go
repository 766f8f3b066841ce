package client

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// Intent addresses a message. Make one with [Global], [Group], [Direct], [Any] or [ParseIntent].
type Intent struct {
	Target     intent.Target
	Identifier string // for Group and Any the group's name; for Direct the client's id; else empty
}

// Global addresses every identified client of the hub. The sender is included unless it has [Options.NoEcho].
func Global() Intent { return Intent{Target: intent.Global} }

// Group addresses every client in the group. A sender that is a member is included unless it has [Options.NoEcho].
func Group(name string) Intent { return Intent{intent.Group, name} }

// Direct addresses the client with the given id, which comes from [Message.Sender] or [Identity].
func Direct(id string) Intent { return Intent{intent.Direct, id} }

// Any addresses one client of the group, drawn at random by the hub; one of all clients if name is empty.
func Any(name string) Intent { return Intent{intent.Any, name} }

// ParseIntent reads an intent in the form used on command lines: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> or
// ANY.
func ParseIntent(s string) (Intent, error) {
	target, identifier, err := intent.ParseTo(s)
	return Intent{target, identifier}, err
}

// String returns the intent in the form that [ParseIntent] reads.
func (i Intent) String() string {
	if i.Identifier == "" {
		return i.Target.String()
	}
	return i.Target.String() + ":" + i.Identifier
}

// toMany reports whether a message goes to all matching clients, so that both connections of a move get it.
func (i Intent) toMany() bool { return i.Target == intent.Global || i.Target == intent.Group }

// check checks the intent by the hub's rules.
func (i Intent) check() error {
	switch i.Target {
	case intent.Global:
		return nil
	case intent.Any:
		if i.Identifier == "" {
			return nil
		}
		fallthrough
	case intent.Group:
		return intent.CheckGroup(i.Identifier)
	case intent.Direct:
		if _, err := uuid.Parse(i.Identifier); err != nil || len(i.Identifier) != 36 {
			return fmt.Errorf("%.50q is not a client id, which is a UUID of 36 characters", i.Identifier)
		}
		return nil
	}
	return fmt.Errorf("no target: use Global, Group, Direct or Any")
}
