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
//	billing.*    every group whose name begins with "billing.", however much follows, if anything: billing.eu,
//	             billing.eu.invoices and "billing." itself, but not billing
//	bill*        every group whose name begins with "bill"
//	*            every group
//
// Only a * at the end is special; any other stands for itself, so a*b is the one group of that name. A group whose name
// itself ends in * can only be covered by a prefix. The name or prefix must obey the grammar of [CheckGroup], since no
// other could ever match.
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

// Match tells whether the pattern covers the group name, which must obey the grammar of [CheckGroup]. No pattern covers
// the empty name.
func (p Pattern) Match(name []byte) bool {
	switch p.kind {
	case matchExact:
		return string(name) == p.text
	case matchPrefix:
		return len(name) > 0 && len(name) >= len(p.text) && string(name[:len(p.text)]) == p.text
	}
	return false
}

// String returns the pattern as [ParsePattern] reads it; for the zero Pattern the empty string.
func (p Pattern) String() string {
	if p.kind == matchPrefix {
		return p.text + "*"
	}
	return p.text
}

// Patterns is a union of patterns. It must not be changed while others read it.
type Patterns []Pattern

// Match tells whether any of the patterns covers the group name. It does not allocate.
func (ps Patterns) Match(name []byte) bool {
	for _, p := range ps {
		if p.Match(name) {
			return true
		}
	}
	return false
}
