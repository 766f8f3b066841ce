package config

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/internal/yamldoc"
)

// HistoryRule says what is kept of the groups with history that match it.
type HistoryRule struct {
	Groups    intent.Patterns
	Messages  int           // of each group
	Age       time.Duration // of a message
	Bytes     Size          // of each group
	MaxGroups int           // that have messages at the same time
}

// Bounds of a rule, and what holds where it does not say.
const (
	maxHistoryRules    = 100
	maxHistoryMessages = 100_000_000
	maxHistoryAge      = 366 * 24 * time.Hour
	minHistoryAge      = time.Second
	minHistoryBytes    = 1 << 10
	maxHistoryBytes    = 1 << 40
	maxHistoryGroups   = 10_000_000

	defaultHistoryMessages = 10_000
	defaultHistoryBytes    = 64 << 20
	defaultHistoryGroups   = 10_000
)

// historyKeys are the keys of a rule.
const historyKeys = "groups, messages, age, bytes and max_groups"

// structuredText returns a value of the file that has parts as one would write it after the flag: as JSON.
func structuredText(value *yaml.Node) (text, wrong string) {
	var v any
	if err := value.Decode(&v); err != nil {
		return "", "the value is malformed: a key may be given twice"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", "the value has a key that is no plain word"
	}
	return string(b), ""
}

// loadHistory reads the rules about groups with history.
func (v *validation) loadHistory(l *Loaded) {
	if v.s.History == "" {
		return
	}
	root, mistake := yamldoc.Root([]byte(v.s.History))
	switch {
	case mistake != nil:
		v.addf("history", "%s", mistake.Problem)
		return
	case root == nil:
		return
	case root.Kind != yaml.SequenceNode || len(root.Content) > maxHistoryRules:
		v.addf("history", `the value must be a list of at most %d rules, such as [{groups: "orders.*", messages: 10000, age: 24h}]`, maxHistoryRules)
		return
	}
	for i, n := range root.Content {
		p := historyParser{v: v, number: i + 1}
		if rule, ok := p.rule(yamldoc.Resolve(n)); ok {
			l.History = append(l.History, rule)
		}
	}
}

// historyParser reads one rule.
type historyParser struct {
	v      *validation
	number int
	failed bool
}

func (p *historyParser) addf(format string, args ...any) {
	p.failed = true
	p.v.addf("history", "rule "+strconv.Itoa(p.number)+": "+format, args...)
}

func (p *historyParser) rule(n *yaml.Node) (HistoryRule, bool) {
	r := HistoryRule{Messages: defaultHistoryMessages, Bytes: defaultHistoryBytes, MaxGroups: defaultHistoryGroups}
	if n.Kind != yaml.MappingNode {
		p.addf("a rule has the keys %s", historyKeys)
		return r, false
	}
	pairs := yamldoc.Pairs(n, keyName, func(_ *yaml.Node, format string, args ...any) { p.addf(format, args...) })
	for _, pair := range pairs {
		p.value(&r, pair.Key.Value, pair.Value)
	}
	if !p.failed && len(r.Groups) == 0 {
		p.addf(`groups is missing; write a group's name, a prefix with a star, such as "orders.*", or a list of them`)
	}
	if !p.failed && r.Age == 0 {
		p.addf("age is missing; write for how long a message is kept, such as 24h")
	}
	return r, !p.failed
}

func (p *historyParser) value(r *HistoryRule, key string, n *yaml.Node) {
	switch key {
	case "groups":
		r.Groups = p.groups(n)
		return
	case "messages", "age", "bytes", "max_groups":
		if !yamldoc.IsText(n) {
			p.addf("%s must be a plain value", key)
			return
		}
	default:
		p.addf("unknown key %s; a rule has %s", keyName(key), historyKeys)
		return
	}
	switch key {
	case "messages":
		r.Messages = p.integer(key, n.Value, maxHistoryMessages)
	case "max_groups":
		r.MaxGroups = p.integer(key, n.Value, maxHistoryGroups)
	case "age":
		var err error
		if r.Age, err = time.ParseDuration(n.Value); err != nil || r.Age < minHistoryAge || r.Age > maxHistoryAge {
			p.addf("age must be a duration from %v to %v, such as 24h", minHistoryAge, maxHistoryAge)
		}
	case "bytes":
		if r.Bytes.UnmarshalText([]byte(n.Value)) != nil || r.Bytes < minHistoryBytes || r.Bytes > maxHistoryBytes {
			p.addf("bytes must be a size from %v to %v, such as 64MiB", Size(minHistoryBytes), Size(maxHistoryBytes))
		}
	}
}

func (p *historyParser) integer(key, text string, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most || strings.HasPrefix(text, "+") {
		p.addf("%s must be a number from 1 to %d", key, most)
	}
	return n
}

func (p *historyParser) groups(n *yaml.Node) (all intent.Patterns) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for _, item := range list {
		if item = yamldoc.Resolve(item); !yamldoc.IsText(item) {
			p.addf("groups must be a group's name or pattern, or a list of them")
			return nil
		}
		pattern, err := intent.ParsePattern(item.Value)
		if err != nil {
			p.addf(`groups: %v; write a group's name, a prefix with a star, such as "orders.*", or "*" for every group`, err)
			continue
		}
		all = append(all, pattern)
	}
	return all
}
