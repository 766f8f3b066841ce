package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/internal/yamldoc"
)

// maxFileBytes bounds a file with settings; a tokens file may be greater.
const (
	maxFileBytes   = 1 << 20
	maxTokensBytes = 32 << 20
)

// readFile returns the content of a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err) // without the path, which the caller gives
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %v", Size(limit))
	}
	return b, nil
}

// pairs returns what is in a YAML file with settings, which b holds.
func pairs(b []byte, path string, p *problems) []yamldoc.Pair {
	root, err := yamldoc.Root(b)
	switch {
	case err != nil && strings.HasPrefix(err.Problem, "not valid YAML"):
		p.addf(at(path, err.Line), "%s; put values with * or : into quotes", err.Problem)
		return nil
	case err != nil:
		p.addf(at(path, err.Line), "%s", err.Problem)
		return nil
	case root == nil:
		return nil
	case root.Kind != yaml.MappingNode:
		p.addf(at(path, yamldoc.Line(root)), "the file must have one setting a line, such as listen: \":42069\"")
		return nil
	}
	return yamldoc.Pairs(root, keyName, func(n *yaml.Node, format string, args ...any) {
		p.addf(at(path, yamldoc.Line(n)), format, args...)
	})
}

func at(path string, line int) string { return fmt.Sprintf("%s:%d", path, line) }

// keyName is how an error names a key; a long one may be something secret that slipped into its place.
func keyName(key string) string {
	if len(key) > 40 {
		return "(not shown)"
	}
	return key
}

// readSettings reads the file at path as parseSettings does.
func readSettings(path string, flags map[string]*kong.Flag, p *problems, set func(name, text, where string)) {
	b, err := readFile(path, maxFileBytes)
	if err != nil {
		p.addf(path, "can't read the file with the settings: %v", err)
		return
	}
	parseSettings(b, path, flags, p, set)
}

// parseSettings hands each setting in b that is known and well-formed to set, as the text of a flag with the place where
// it stands. Everything else is a problem.
func parseSettings(b []byte, path string, flags map[string]*kong.Flag, p *problems, set func(name, text, where string)) {
	for _, pair := range pairs(b, path, p) {
		name, where := pair.Key.Value, at(path, yamldoc.Line(pair.At))
		flag := flags[name]
		if flag == nil || name == "config" {
			p.addf(where, "%s", unknownKey(name, flags))
			continue
		}
		text, wrong := settingText(flag, pair.Value)
		if wrong == "" {
			text = besideFile(flag, text, path)
			wrong = decodable(flag, text)
		}
		if wrong != "" {
			p.addf(where, "%s: %s", name, wrong)
			continue
		}
		set(name, text, where)
	}
}

// settingText returns a value of the file as one would write it after the flag, or what is wrong with it.
func settingText(flag *kong.Flag, value *yaml.Node) (text, wrong string) {
	switch {
	case yamldoc.IsText(value):
		return value.Value, ""
	case value.Kind != yaml.ScalarNode && flag.Tag.Has("structured"):
		return structuredText(value)
	case value.Kind == yaml.ScalarNode:
		return "", "there is no value; write one, or remove the line for the default"
	case value.Kind != yaml.SequenceNode || !flag.IsSlice():
		return "", "the value must be a plain one, such as " + example(flag)
	}
	var items []string
	for _, item := range value.Content {
		item = yamldoc.Resolve(item)
		if !yamldoc.IsText(item) {
			return "", "each item of the list must be plain text, in quotes if it has a colon"
		}
		items = append(items, item.Value)
	}
	return kong.JoinEscaped(items, flag.Tag.Sep), ""
}

// besideFile makes a path that stands in the file relative to the file's folder.
func besideFile(flag *kong.Flag, text, file string) string {
	if text == "" || filepath.IsAbs(text) || !flag.Tag.Has("path") || strings.Contains(text, "://") {
		return text
	}
	return filepath.Join(filepath.Dir(file), text)
}

// unknownKey says what to do about a key of the file that is no setting.
func unknownKey(name string, flags map[string]*kong.Flag) string {
	switch {
	case name == "config":
		return "a file can't name another one; remove config"
	case name == "tokens":
		return "tokens have a file of their own; move them there and name it here as tokens-file"
	case keyName(name) != name:
		return "unknown setting; see mastersocket serve --help for those that there are"
	}
	var names []string
	for n := range flags {
		if n != "config" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	meant := suggest(strings.ToLower(strings.ReplaceAll(name, "_", "-")), names)
	if meant == "" {
		meant = "; see mastersocket serve --help for those that there are"
	}
	return fmt.Sprintf("unknown setting %q%s", name, meant)
}
