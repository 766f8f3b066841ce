// Package yamldoc reads YAML files that people write: files with settings and files with tokens. It tells on which line
// something is wrong, and refuses what would not do what its author meant: a second document, a key that is given twice.
//
// Anchors, aliases and merge keys (<<: *name) work everywhere.
package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Mistake is one thing wrong with a file.
type Mistake struct {
	Line    int    // counted from 1
	Problem string // what is wrong and what to do
}

// Root returns the root of the one YAML document in b; nil where b holds nothing but comments.
func Root(b []byte) (*yaml.Node, *Mistake) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxError(b, err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, &Mistake{Line(&next), "a second YAML document begins here; put everything into one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(b, err)
	}
	if root := Resolve(doc.Content[0]); root.Kind != yaml.ScalarNode || IsText(root) {
		return root, nil
	}
	return nil, nil
}

// syntaxError turns an error of the YAML parser about the file b into a Mistake.
func syntaxError(b []byte, err error) *Mistake {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if n, serr := fmt.Sscanf(text, "line %d: ", &line); serr == nil && n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	const star = "a * outside of quotes means something else in YAML"
	if strings.Contains(text, "alphabetic or numeric") {
		text = star
	}
	// This one comes without a line, and repeats the name.
	var anchor string
	if n, serr := fmt.Sscanf(text, "unknown anchor '%s", &anchor); serr == nil && n == 1 {
		text = star
		if at := bytes.Index(b, []byte("*"+strings.TrimSuffix(anchor, "'"))); at >= 0 {
			line = 1 + bytes.Count(b[:at], []byte("\n"))
		}
	}
	return &Mistake{max(line, 1), "not valid YAML: " + text}
}

// Line returns the line on which n begins, counted from 1.
func Line(n *yaml.Node) int { return max(n.Line, 1) }

// Resolve follows an alias to what it stands for.
func Resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// IsText reports whether n is a scalar other than null.
func IsText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" }

// Bounds of merge keys in one mapping.
const (
	maxMergeDepth = 8
	maxMerged     = 64
)

// Pair is one key of a mapping with its value. Both are resolved, and the key is text.
type Pair struct {
	Key, Value *yaml.Node
	// At is where the key stands, which for a key by an alias is not where Key does.
	At *yaml.Node
}

// Pairs returns the pairs of a mapping: its own, in their order, and behind them those of its merge keys that it does not
// have itself. problem is called for what is wrong, and shown says how it may name a key.
func Pairs(n *yaml.Node, shown func(key string) string, problem func(at *yaml.Node, format string, args ...any)) []Pair {
	m := merge{seen: make(map[string]int), shown: shown, problem: problem}
	m.add(n, 0)
	return m.pairs
}

// merge is the state of one call of Pairs.
type merge struct {
	pairs   []Pair
	seen    map[string]int // the line of each key
	merged  int            // mappings so far
	stopped bool           // there was too much; it has been said
	shown   func(key string) string
	problem func(at *yaml.Node, format string, args ...any)
}

// add adds the pairs of n that are not there yet. depth counts the merge keys that led to n.
func (m *merge) add(n *yaml.Node, depth int) {
	var bases []*yaml.Node
	own := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		at, key, value := n.Content[i], Resolve(n.Content[i]), Resolve(n.Content[i+1])
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			bases = append(bases, m.bases(at, value)...)
			continue
		}
		if !IsText(key) {
			m.problem(at, "a key here is not a plain word")
			continue
		}
		if line, ok := own[key.Value]; ok {
			m.problem(at, "the key %s is already on line %d", m.shown(key.Value), line)
			continue
		}
		own[key.Value] = at.Line
		if _, ok := m.seen[key.Value]; !ok {
			m.seen[key.Value] = at.Line
			m.pairs = append(m.pairs, Pair{key, value, at})
		}
	}
	for _, base := range bases {
		if m.merged++; depth >= maxMergeDepth || m.merged > maxMerged {
			if !m.stopped {
				m.problem(base, "merge keys (<<) lead to more than %d mappings, or are nested deeper than %d", maxMerged, maxMergeDepth)
			}
			m.stopped = true
			return
		}
		m.add(base, depth+1)
	}
}

// bases returns the mappings that the value of a merge key names: one, or several of which the first counts most.
func (m *merge) bases(at, value *yaml.Node) []*yaml.Node {
	list := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		list = value.Content
	}
	var bases []*yaml.Node
	for _, item := range list {
		if item = Resolve(item); item.Kind != yaml.MappingNode {
			m.problem(at, "a merge key (<<) must have a mapping, or a list of them, such as <<: *defaults")
			return nil
		}
		bases = append(bases, item)
	}
	return bases
}
