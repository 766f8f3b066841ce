package opcodes

import "strings"

// Feature is a set of opt-in extensions of the protocol, one bit each. Clients ask for them in IDENTIFY.
type Feature uint8

// The features, to be combined with |.
const (
	FeatureErrors    Feature = 1 << iota // "errors": ERROR for a message that was not delivered
	FeatureAcks                          // "acks": ACK for a message that was handed over
	FeatureDrain                         // "drain": DRAIN ahead of a disconnect, and FENCE
	FeatureGroups                        // "groups": SUBSCRIBE and UNSUBSCRIBE
	FeaturePresence                      // "presence": PRESENCE for the groups in the member watch
	FeatureExclusive                     // "exclusive": the member exclusive, for groups with one holder
	FeatureRequests                      // "requests": the member expect, SETTLED and CANCEL
	FeatureHistory                       // "history": the member recover, HISTORY, and positions in answers
)

// featureNames holds the names on the wire: featureNames[n] belongs to the feature 1<<n.
var featureNames = [...]string{"errors", "acks", "drain", "groups", "presence", "exclusive", "requests", "history"}

// parseFeature reads a feature's name. It reports false for an unknown one.
func parseFeature(name string) (Feature, bool) {
	for i, n := range featureNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Has reports whether the set has all features of want.
func (f Feature) Has(want Feature) bool { return f&want == want }

// Names returns the names on the wire, in the order of the bits; an empty slice for the empty set. The slice is the
// caller's.
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
