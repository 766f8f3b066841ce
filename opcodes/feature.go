package opcodes

import "strings"

// Feature is a set of the protocol's opt-in extensions, one bit each. Clients ask for them in IDENTIFY, and get nothing
// of them otherwise.
type Feature uint8

// The features, to be combined with |.
const (
	FeatureErrors Feature = 1 << iota // "errors": ERROR for a message that was not delivered
	FeatureAcks                       // "acks": ACK for a message that was handed over
	FeatureDrain                      // "drain": DRAIN ahead of a disconnect, and FENCE
)

// featureNames are the names on the wire; that of the feature 1<<n is featureNames[n].
var featureNames = [...]string{"errors", "acks", "drain"}

// ParseFeature reads a feature's name as it stands on the wire. It reports false for a feature that it doesn't know.
func ParseFeature(name string) (Feature, bool) {
	for i, n := range featureNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Has tells whether all features of want are in the set.
func (f Feature) Has(want Feature) bool { return f&want == want }

// Names returns the names on the wire, in the order of the bits; an empty slice for the empty set. It is the caller's.
func (f Feature) Names() []string {
	names := []string{}
	for i, n := range featureNames {
		if f.Has(1 << i) {
			names = append(names, n)
		}
	}
	return names
}

// String returns the names, separated by commas.
func (f Feature) String() string { return strings.Join(f.Names(), ",") }
