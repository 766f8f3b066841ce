// Package intent says whom a message is for and who may say so: the four targets, the grammar of group names, and the
// patterns and permissions in which a token's rights are written.
//
// Everything here is a value without hidden state: all functions and methods may be called from any goroutine. What is
// asked once per message ([ParseTarget], [CheckGroup], [Pattern.Match], [Permissions.Allow]) does not allocate.
package intent

// Target is the kind of receiver that a message names.
type Target uint8

// The targets of the protocol. None is the zero value: a message that names nobody.
const (
	None   Target = iota
	Global        // every identified client of the cluster
	Group         // every client in the group named by the identifier
	Direct        // the one client whose id is the identifier
	Any           // one client drawn at random: of the named group, or of all where no group is named
)

var targetNames = [...]string{None: "NONE", Global: "GLOBAL", Group: "GROUP", Direct: "DIRECT", Any: "ANY"}

// ParseTarget reads a target's name as it stands on the wire, in capitals: GLOBAL, GROUP, DIRECT or ANY. It reports
// false for anything else.
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

// String returns the target's name on the wire; NONE for None, which has none, and UNKNOWN for any other value.
func (t Target) String() string {
	if int(t) < len(targetNames) {
		return targetNames[t]
	}
	return "UNKNOWN"
}
