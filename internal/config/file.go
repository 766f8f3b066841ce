package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
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

// mapping returns the root of the one YAML document in b, a mapping; nil if there is nothing in it.
func mapping(b []byte, path string, p *problems) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, next yaml.Node
	err := d.Decode(&doc)
	if err == nil {
		err = d.Decode(&next)
		if err == nil {
			p.addf(at(path, &next), "a second YAML document begins here; put all settings into one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
		if n, serr := fmt.Sscanf(text, "line %d: ", &line); serr == nil && n == 1 {
			_, text, _ = strings.Cut(text, ": ")
		}
		p.addf(fmt.Sprintf("%s:%d", path, max(line, 1)), "not valid YAML: %s; put values with * or : into quotes", text)
		return nil
	}
	if doc.Kind == 0 {
		return nil
	}
	root := resolve(doc.Content[0])
	switch {
	case root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null":
		return nil
	case root.Kind != yaml.MappingNode:
		p.addf(at(path, root), "the file must have one setting a line, such as listen: \":42069\"")
		return nil
	}
	return root
}

func at(path string, n *yaml.Node) string {
	return fmt.Sprintf("%s:%d", path, max(n.Line, 1))
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null"
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
	root := mapping(b, path, p)
	if root == nil {
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], resolve(root.Content[i+1])
		name := resolve(key).Value
		if line, ok := seen[name]; ok {
			p.addf(at(path, key), "%s is already on line %d", name, line)
			continue
		}
		seen[name] = key.Line
		flag := flags[name]
		if flag == nil || name == "config" {
			p.addf(at(path, key), "%s", unknownKey(name, flags))
			continue
		}
		text, wrong := settingText(flag, value)
		if wrong == "" {
			text = besideFile(flag, text, path)
			wrong = decodable(flag, text)
		}
		if wrong != "" {
			p.addf(at(path, key), "%s: %s", name, wrong)
			continue
		}
		set(name, text, at(path, key))
	}
}

// settingText returns a value of the file as one would write it after the flag, or what is wrong with it.
func settingText(flag *kong.Flag, value *yaml.Node) (text, wrong string) {
	switch {
	case isText(value):
		return value.Value, ""
	case value.Kind == yaml.ScalarNode:
		return "", "there is no value; write one, or remove the line for the default"
	case value.Kind != yaml.SequenceNode || !flag.IsSlice():
		return "", "the value must be a plain one, such as " + example(flag)
	}
	var items []string
	for _, item := range value.Content {
		item = resolve(item)
		if !isText(item) {
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
	case len(name) > 40:
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
