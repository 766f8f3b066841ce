package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// Intent addresses a message. Make one with [Global], [Group], [Groups], [Direct], [Directs], [Any] or [ParseIntent].
type Intent struct {
	Target     intent.Target
	Identifier string // for Group and Any the group's name; for Direct the client's id; else empty

	selection *selection // nil for an intent without several targets and exceptions
}

// selection is what an intent has beyond one target. It does not change.
type selection struct {
	targets []string // in the place of Identifier; nil for that
	except  []string
}

// Global addresses every identified client of the hub. The sender is included unless it has [Options.NoEcho].
func Global() Intent { return Intent{Target: intent.Global} }

// Group addresses every client in the group. A sender that is a member is included unless it has [Options.NoEcho].
func Group(name string) Intent { return Intent{Target: intent.Group, Identifier: name} }

// Direct addresses the client with the given id, which comes from [Message.Sender] or [Identity].
func Direct(id string) Intent { return Intent{Target: intent.Direct, Identifier: id} }

// Any addresses one client of the group, drawn at random by the hub; one of all clients if name is empty.
func Any(name string) Intent { return Intent{Target: intent.Any, Identifier: name} }

// Groups addresses every client in one of the groups, 1 to 16 and each named once. Each client gets one copy. It is not for
// requests.
func Groups(names ...string) Intent {
	return Intent{Target: intent.Group, selection: &selection{targets: slices.Clone(names)}}
}

// Directs addresses the clients with the given ids, 1 to 16 and each named once. It is not for requests.
func Directs(ids ...string) Intent {
	return Intent{Target: intent.Direct, selection: &selection{targets: slices.Clone(ids)}}
}

// Except returns the intent, which is to Global, Group, Groups, Direct or Directs, without the members of the groups and the
// clients with the ids that are named: 1 to 16, each once. It is not for requests.
func (i Intent) Except(names ...string) Intent {
	s := selection{except: slices.Clone(names)}
	if i.selection != nil {
		s.targets = i.selection.targets
	}
	i.selection = &s
	return i
}

// ParseIntent reads an intent in the form used on command lines: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> or
// ANY.
func ParseIntent(s string) (Intent, error) {
	target, identifier, err := intent.ParseTo(s)
	return Intent{Target: target, Identifier: identifier}, err
}

// String returns the intent in the form that [ParseIntent] reads. Several targets stand in it with commas between them, and
// exceptions behind a space and a minus each: that form is for people alone.
func (i Intent) String() string {
	text := i.Target.String()
	if i.Identifier != "" {
		text += ":" + i.Identifier
	}
	if s := i.selection; s != nil {
		if s.targets != nil {
			text += ":" + strings.Join(s.targets, ",")
		}
		for _, name := range s.except {
			text += " -" + name
		}
	}
	return text
}

// toMany reports whether a message goes to all matching clients, so that both connections of a move get it.
func (i Intent) toMany() bool { return i.Target == intent.Global || i.Target == intent.Group }

// check checks the intent by the hub's rules.
func (i Intent) check() error {
	if i.selection != nil {
		return i.selection.check(i)
	}
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

// maxSelected is how many targets or exceptions an intent may have.
const maxSelected = 16

// check checks the selection of an intent.
func (s *selection) check(of Intent) error {
	targets := s.targets
	if targets == nil && of.Target != intent.Global {
		targets = []string{of.Identifier}
	}
	switch {
	case of.Target == intent.Any:
		return errors.New("an intent to Any has no exceptions")
	case s.targets != nil && of.Identifier != "":
		return errors.New("an intent has either one target or several")
	case of.Target != intent.Global && len(targets) == 0, len(targets) > maxSelected, s.except != nil && len(s.except) == 0, len(s.except) > maxSelected:
		return fmt.Errorf("want 1 to %d targets, and as many exceptions", maxSelected)
	}
	for _, list := range [][]string{targets, s.except} {
		seen := make(map[string]bool, len(list))
		for _, name := range list {
			if seen[name] {
				return fmt.Errorf("%.50q is named twice", name)
			}
			seen[name] = true
		}
	}
	for _, name := range targets {
		if err := (Intent{Target: of.Target, Identifier: name}).check(); err != nil {
			return err
		}
	}
	for _, name := range s.except {
		if err := intent.CheckGroup(name); err != nil {
			return err
		}
	}
	return nil
}
