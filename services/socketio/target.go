package socketio

import (
	"strings"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// target is the receivers of an event.
type target struct {
	to       intent.Target
	group    []byte    // for Group and Any
	receiver uuid.UUID // for Direct
}

// parseTarget reads a target in text: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY or ANY:<group>. ok is false for any
// other text, such as the name of an event.
func parseTarget(text string) (t target, ok bool) {
	word, rest, named := strings.Cut(text, ":")
	switch word {
	case "GLOBAL":
		return target{to: intent.Global}, !named
	case "ANY":
		if !named {
			return target{to: intent.Any}, true
		}
		return target{to: intent.Any, group: []byte(rest)}, intent.CheckGroup(rest) == nil
	case "GROUP":
		return target{to: intent.Group, group: []byte(rest)}, named && intent.CheckGroup(rest) == nil
	case "DIRECT":
		id, err := uuid.Parse(rest)
		return target{to: intent.Direct, receiver: id}, named && err == nil && len(rest) == 36
	}
	return target{}, false
}
