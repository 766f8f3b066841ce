package intent

import (
	"fmt"
	"strings"
)

type patternKind uint8

const (
	matchNothing patternKind = iota
	matchExact
	matchPrefix
)

// Pattern is a set of group names: one name, or every name that begins with a prefix. The zero Pattern is the empty
// set. Patterns are comparable and immutable.
type Pattern struct {
	kind patternKind
	text string // the name or the prefix
}

// ParsePattern reads a pattern:
//
//	billing      the group billing alone
//	billing.*    every group whose name begins with "billing.": billing.eu, billing.eu.invoices and "billing." itself,
//	             but not billing
//	bill*        every group whose name begins with "bill"
//	*            every group
//
// Only a * at the end is special: a*b is the one group with that name. A group whose name ends in * can only be matched by
// a prefix. The name or prefix must be valid by [CheckGroup].
func ParsePattern(s string) (Pattern, error) {
	prefix, isPrefix := strings.CutSuffix(s, "*")
	if isPrefix && prefix == "" {
		return Pattern{kind: matchPrefix}, nil
	}
	if err := CheckGroup(prefix); err != nil {
		return Pattern{}, fmt.Errorf("pattern %q: %w", s, err)
	}
	if isPrefix {
		return Pattern{kind: matchPrefix, text: prefix}, nil
	}
	return Pattern{kind: matchExact, text: prefix}, nil
}

// Match reports whether the pattern matches a group name, which must be valid by [CheckGroup]. No pattern matches the empty
// name.
func (p Pattern) Match(name []byte) bool {
	switch p.kind {
	case matchExact:
		return string(name) == p.text
	case matchPrefix:
		return len(name) > 0 && len(name) >= len(p.text) && string(name[:len(p.text)]) == p.text
	}
	return false
}

// String returns the pattern in the form that [ParsePattern] reads; the empty string for the zero Pattern.
func (p Pattern) String() string {
	if p.kind == matchPrefix {
		return p.text + "*"
	}
	return p.text
}

// Patterns is a union of patterns. It must not be changed while it is read concurrently.
type Patterns []Pattern

// Match reports whether any of the patterns matches the group name. It does not allocate.
func (ps Patterns) Match(name []byte) bool {
	for _, p := range ps {
		if p.Match(name) {
			return true
		}
	}
	return false
}
