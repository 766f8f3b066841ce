// Package intent is the addressing of messages: the four targets, the grammar of group names, and the patterns and
// permissions of tokens.
//
// All types are values; all functions and methods may be called from any goroutine. Those that run once per message
// ([ParseTarget], [CheckGroup], [Pattern.Match], [Permissions.Allow]) do not allocate.
package intent

// Target is the kind of receivers that a message is addressed to.
type Target uint8

// The targets of the protocol. None, the zero value, is no target.
const (
	None   Target = iota
	Global        // every identified client of the cluster
	Group         // every client in the group named by the identifier
	Direct        // the one client whose id is the identifier
	Any           // one client drawn at random, from the named group or, without a name, from all clients
)

var targetNames = [...]string{None: "NONE", Global: "GLOBAL", Group: "GROUP", Direct: "DIRECT", Any: "ANY"}

// ParseTarget reads a target's name as on the wire: GLOBAL, GROUP, DIRECT or ANY, in capitals. It reports false for
// anything else.
func ParseTarget(b []byte) (Target, bool) {
	switch string(b) {
	case "GLOBAL":
		return Global, true
	case "GROUP":
		return Group, true
	case "DIRECT":
		return Direct, true
	case "ANY":
		return Any, true
	}
	return None, false
}

// String returns the target's name on the wire; NONE for None, UNKNOWN for a value that is not a target.
func (t Target) String() string {
	if int(t) < len(targetNames) {
		return targetNames[t]
	}
	return "UNKNOWN"
}
