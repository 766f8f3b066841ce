package client

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// Intent says who should get a message. Make one with [Global], [Group], [Direct], [Any] or [ParseIntent].
type Intent struct {
	Target     intent.Target
	Identifier string // Group, Any: the group's name; Direct: the client's id; else empty
}

// Global addresses every identified client of the hub, the sender among them unless it has [Options.NoEcho].
func Global() Intent { return Intent{Target: intent.Global} }

// Group addresses every client in the group, the sender too if it is a member and has no [Options.NoEcho].
func Group(name string) Intent { return Intent{intent.Group, name} }

// Direct addresses the one client that has the id, as [Message.Sender] or [Identity] tell it.
func Direct(id string) Intent { return Intent{intent.Direct, id} }

// Any addresses one client of the group that the hub draws at random, or one of all its clients where name is empty.
func Any(name string) Intent { return Intent{intent.Any, name} }

// ParseIntent reads an intent as it is written on a command line: GLOBAL, GROUP:<group>, DIRECT:<client id>,
// ANY:<group> or ANY.
func ParseIntent(s string) (Intent, error) {
	target, identifier, err := intent.ParseTo(s)
	return Intent{target, identifier}, err
}

// String returns the intent as [ParseIntent] reads it.
func (i Intent) String() string {
	if i.Identifier == "" {
		return i.Target.String()
	}
	return i.Target.String() + ":" + i.Identifier
}

// many tells whether a message goes to all who match, so that two connections of one client both get it.
func (i Intent) many() bool { return i.Target == intent.Global || i.Target == intent.Group }

// check finds what the hub would refuse the intent for.
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
