package auth

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/internal/yamldoc"
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
	*p = append(*p, &FileError{Line: yamldoc.Line(at), Problem: fmt.Sprintf(format, args...)})
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
	root, err := yamldoc.Root(b)
	switch {
	case err != nil && strings.HasPrefix(err.Problem, "not valid YAML"):
		return nil, &FileError{Line: err.Line, Problem: err.Problem +
			`; put quotes around patterns, such as "billing.*", and permissions, such as "GROUP:billing.*"`}
	case err != nil:
		return nil, &FileError{Line: err.Line, Problem: err.Problem}
	case root == nil:
		return nil, &FileError{Line: 1, Problem: "the file is empty; write a list of tokens under the key tokens"}
	}
	return root, nil
}

// fields calls each with every pair of the mapping n. at is where the key stands.
func (p *problems) fields(n *yaml.Node, each func(key string, at, value *yaml.Node)) {
	for _, pair := range yamldoc.Pairs(n, keyName, p.addf) {
		each(pair.Key.Value, pair.At, pair.Value)
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
	if yamldoc.IsText(n) {
		return []*yaml.Node{n}
	}
	if n.Kind != yaml.SequenceNode {
		p.addf(n, "%s must be a list of %s", key, what)
		return nil
	}
	var list []*yaml.Node
	for _, item := range n.Content {
		item = yamldoc.Resolve(item)
		if !yamldoc.IsText(item) {
			p.addf(item, "each item of %s must be one of %s; put it in quotes if it has a colon", key, what)
			continue
		}
		list = append(list, item)
	}
	return list
}
