package intent

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// ParseTo reads an intent in the form used on command lines: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> or ANY.
// The identifier is the group name, the client id in lower case, or empty. A * has no special meaning: GROUP:a* is the one
// group with that name.
func ParseTo(s string) (Target, string, error) {
	name, identifier, has := strings.Cut(s, ":")
	target, ok := ParseTarget([]byte(name))
	switch {
	case !ok:
		return None, "", fmt.Errorf("intent %q: want GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> or ANY", s)
	case has && target == Global:
		return None, "", fmt.Errorf("intent %q: GLOBAL takes no identifier", s)
	case !has && target == Group:
		return None, "", fmt.Errorf("intent %q: want GROUP:<group>", s)
	case !has && target == Direct:
		return None, "", fmt.Errorf("intent %q: want DIRECT:<client id>", s)
	case !has:
		return target, "", nil
	}
	if target == Direct {
		id, err := uuid.Parse(identifier)
		if err != nil || len(identifier) != len(id.String()) {
			return None, "", fmt.Errorf("intent %q: a client id is a UUID of 36 characters", s)
		}
		return target, id.String(), nil
	}
	if err := CheckGroup(identifier); err != nil {
		return None, "", fmt.Errorf("intent %q: %w", s, err)
	}
	return target, identifier, nil
}
