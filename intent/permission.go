package intent

import (
	"fmt"
	"strings"
)

// Permission allows its holder to send one kind of message. The zero Permission allows nothing.
//
// A Group or Any permission with the zero Pattern covers every group. Target None with the Pattern * means all targets.
type Permission struct {
	Target  Target
	Pattern Pattern
}

// ParsePermission reads a permission:
//
//	GLOBAL           to all clients
//	DIRECT           to any client by its id
//	GROUP            to any group
//	GROUP:<pattern>  to the groups that the pattern matches
//	ANY              to one client of any group, or of all clients
//	ANY:<pattern>    to one client of a group that the pattern matches; even ANY:* does not include one of all clients
//	*                all of these
//
// For patterns see [ParsePattern].
func ParsePermission(s string) (Permission, error) {
	if s == "*" {
		return Permission{Pattern: Pattern{kind: matchPrefix}}, nil
	}
	name, pattern, limited := strings.Cut(s, ":")
	target, ok := ParseTarget([]byte(name))
	if !ok {
		return Permission{}, fmt.Errorf("permission %q: no such target; have GLOBAL, GROUP, DIRECT, ANY and *", s)
	}
	if !limited {
		return Permission{Target: target}, nil
	}
	if target == Global || target == Direct {
		return Permission{}, fmt.Errorf("permission %q: %v takes no pattern", s, target)
	}
	p, err := ParsePattern(pattern)
	if err != nil {
		return Permission{}, fmt.Errorf("permission %q: %w", s, err)
	}
	return Permission{Target: target, Pattern: p}, nil
}

// Allow reports whether the permission covers a message to t. identifier is the group name for Group and Any, empty for Any
// among all clients, and ignored for Global and Direct. Allow does not allocate.
func (p Permission) Allow(t Target, identifier []byte) bool {
	if t == None || t > Any {
		return false
	}
	if p.Target == None {
		return p.Pattern == Pattern{kind: matchPrefix}
	}
	if p.Target != t {
		return false
	}
	if t == Global || t == Direct || p.Pattern == (Pattern{}) {
		return true
	}
	return p.Pattern.Match(identifier)
}

// String returns the permission in the form that [ParsePermission] reads; NONE for the zero Permission.
func (p Permission) String() string {
	switch {
	case p.Pattern == Pattern{}:
		return p.Target.String()
	case p.Target == None:
		return p.Pattern.String()
	}
	return p.Target.String() + ":" + p.Pattern.String()
}

// Permissions is a union of permissions. It must not be changed while it is read concurrently.
type Permissions []Permission

// Allow reports whether any of the permissions covers the message; see [Permission.Allow].
func (ps Permissions) Allow(t Target, identifier []byte) bool {
	for _, p := range ps {
		if p.Allow(t, identifier) {
			return true
		}
	}
	return false
}
