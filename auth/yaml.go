package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes bounds a tokens file: room for some hundred thousand tokens.
const maxFileBytes = 32 << 20

// FileError is one thing wrong with a tokens file. It never repeats what might be a token.
type FileError struct {
	Line    int    // counted from 1
	Problem string // what is wrong and what to do
}

// Error is "line N: " and the problem.
func (e *FileError) Error() string {
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

// problems gathers what is wrong with a file, so that one run shows all of it.
type problems []error

func (p *problems) addf(at *yaml.Node, format string, args ...any) {
	*p = append(*p, &FileError{Line: max(at.Line, 1), Problem: fmt.Sprintf(format, args...)})
}

// err joins the problems, in the order found; nil if there are none.
func (p problems) err() error {
	return errors.Join(p...)
}

// document returns the root of the one YAML document in b.
func document(b []byte) (*yaml.Node, error) {
	if len(b) > maxFileBytes {
		return nil, &FileError{Line: 1, Problem: fmt.Sprintf(
			"the file has %d bytes, more than %d; is it a tokens file?", len(b), maxFileBytes)}
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, &FileError{Line: 1, Problem: "the file is empty; write a list of tokens under the key tokens"}
	case err != nil:
		return nil, syntaxError(b, err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, &FileError{Line: max(next.Line, 1),
			Problem: "a second YAML document begins here; put all tokens into one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(b, err)
	}
	return resolve(doc.Content[0]), nil
}

// syntaxError turns an error of the YAML parser about the file b into a FileError, with a hint at the usual cause.
func syntaxError(b []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
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
	return &FileError{Line: max(line, 1), Problem: "not valid YAML: " + text +
		`; put quotes around patterns, such as "billing.*", and permissions, such as "GROUP:billing.*"`}
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// isText tells whether n is a scalar other than null.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null"
}

// fields calls each with every pair of the mapping n; a key that recurs or is no text is a problem.
func (p *problems) fields(n *yaml.Node, each func(key string, at, value *yaml.Node)) {
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		if !isText(key) {
			p.addf(n.Content[i], "a key here is not a plain word")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			p.addf(n.Content[i], "the key %s is already on line %d", keyName(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		each(key.Value, n.Content[i], value)
	}
}

// keyName quotes a key for an error, unless it looks like a token that slipped into its place.
func keyName(key string) string {
	if len(key) > 24 || strings.Contains(key, TokenPrefix) {
		return "(not shown)"
	}
	return fmt.Sprintf("%q", key)
}

// texts returns the scalars of n, which is one or a list of them. what describes a right value in the errors, which
// don't repeat a wrong one.
func (p *problems) texts(key string, n *yaml.Node, what string) []*yaml.Node {
	if isText(n) {
		return []*yaml.Node{n}
	}
	if n.Kind != yaml.SequenceNode {
		p.addf(n, "%s must be a list of %s", key, what)
		return nil
	}
	var list []*yaml.Node
	for _, item := range n.Content {
		item = resolve(item)
		if !isText(item) {
			p.addf(item, "each item of %s must be one of %s; put it in quotes if it has a colon", key, what)
			continue
		}
		list = append(list, item)
	}
	return list
}
