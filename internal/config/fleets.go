package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/internal/yamldoc"
)

// Fleet has the settings of one fleet of --fleet-file.
type Fleet struct {
	Name              string
	Token             Secret // given to its bots; empty for none
	VitalCogs         []string
	HealthyPercentage float64
	ShutDownOutdated  bool // outdated: shutdown
	ReadyTimeout      time.Duration
	HealthTimeout     time.Duration
}

// Bounds of a file with fleets.
const (
	maxFleets       = 1000
	maxFleetSecret  = 4096 // bytes
	maxVitalCogs    = 1000
	maxFleetTimeout = time.Hour
)

var (
	fleetName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	commandEvent = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
)

// fleetKeys are the keys of an entry of the file.
func fleetKeys() []string {
	return []string{"token", "token-file", "vital-cogs", "healthy-percentage", "outdated", "ready-timeout", "health-timeout"}
}

// fleets checks the settings about fleets that are not in the file.
func (v *validation) fleets() {
	if e := v.s.FleetCommandEvent; !commandEvent.MatchString(e) || slices.Contains([]string{"connect", "connect_error", "disconnect", "hello"}, e) {
		v.addf("fleet-command-event", "%q can't be the name of the event; write 1 to 64 letters, digits, or any of _ . : -, and no event that has a meaning already", e)
	}
	if slices.Contains(v.s.Enable, "fleet") && v.s.FleetFile == "" {
		v.addf("enable", "fleet needs --fleet-file, which says what fleets there are")
	}
}

// loadFleets reads the file with the fleets.
func (v *validation) loadFleets(l *Loaded) {
	if v.s.FleetFile == "" {
		return
	}
	b, err := readFile(v.s.FleetFile, maxFileBytes)
	if err != nil {
		v.addf("fleet-file", "can't read %s: %v", v.s.FleetFile, err)
		return
	}
	l.Fleets = v.parseFleets(b, v.s.FleetFile)
}

// parseFleets reads the file with the fleets that b holds.
func (v *validation) parseFleets(b []byte, path string) []Fleet {
	p := fleetParser{v: v, path: path}
	found := false
	for _, pair := range pairs(b, path, &v.problems) {
		if pair.Key.Value != "fleets" {
			p.addf(pair.At, "unknown key %s; the file has the key fleets alone", keyName(pair.Key.Value))
			continue
		}
		found = true
		p.fleets(pair.Value)
	}
	if !found && len(v.problems) == 0 {
		v.problems.addf(path, "the file names no fleets; write them under the key fleets, as in fleets: {default: {token-file: bot.token}}")
	}
	if p.secrets && readableByAll(path) {
		v.warnings = append(v.warnings, path+": every user of this machine can read this file, and it holds a secret; chmod o-r it, or use token-file")
	}
	return p.all
}

// fleetParser reads a file with fleets.
type fleetParser struct {
	v       *validation
	path    string
	all     []Fleet
	secrets bool // the file has tokens in it
}

func (p *fleetParser) addf(n *yaml.Node, format string, args ...any) {
	p.v.problems.addf(at(p.path, yamldoc.Line(n)), format, args...)
}

// fleets reads the fleets by their names.
func (p *fleetParser) fleets(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.addf(n, "fleets must have the names of the fleets as keys, as in fleets: {default: {token-file: bot.token}}")
		return
	}
	for _, pair := range yamldoc.Pairs(n, keyName, p.addf) {
		switch {
		case !fleetName.MatchString(pair.Key.Value):
			p.addf(pair.At, "%s is no name for a fleet; write 1 to 64 letters, digits, or any of _ -", keyName(pair.Key.Value))
		case len(p.all) >= maxFleets:
			p.addf(pair.At, "there are more than %d fleets", maxFleets)
			return
		default:
			p.all = append(p.all, p.fleet(pair.Key.Value, pair.Value))
		}
	}
}

// fleet reads one fleet. Nothing is a fleet with the defaults.
func (p *fleetParser) fleet(name string, n *yaml.Node) Fleet {
	f := Fleet{Name: name, HealthyPercentage: 100, ReadyTimeout: time.Minute, HealthTimeout: 30 * time.Second}
	if n.Kind == yaml.ScalarNode && !yamldoc.IsText(n) {
		return f
	}
	if n.Kind != yaml.MappingNode {
		p.addf(n, "the fleet %s must have keys such as token-file and vital-cogs", name)
		return f
	}
	seen := make(map[string]bool)
	for _, pair := range yamldoc.Pairs(n, keyName, p.addf) {
		key := pair.Key.Value
		seen[key] = true
		if !slices.Contains(fleetKeys(), key) {
			p.addf(pair.At, "unknown key %s%s; a fleet has %s", keyName(key), suggest(key, fleetKeys()), strings.Join(fleetKeys(), ", "))
			continue
		}
		p.value(&f, key, pair.Value)
	}
	if seen["token"] && seen["token-file"] {
		p.addf(n, "the fleet %s has both token and token-file; remove one of them", name)
	}
	return f
}

// value reads one value of a fleet. No error repeats it, as it could be a token.
func (p *fleetParser) value(f *Fleet, key string, n *yaml.Node) {
	switch key {
	case "vital-cogs":
		f.VitalCogs = p.cogs(n)
		return
	default:
		if !yamldoc.IsText(n) {
			p.addf(n, "%s must be a plain value", key)
			return
		}
	}
	switch text := n.Value; key {
	case "token":
		f.Token, p.secrets = Secret(text), true
		if wrong := checkFleetSecret(text); wrong != "" {
			p.addf(n, "token: %s", wrong)
		}
	case "token-file":
		f.Token = p.tokenFile(n, text)
	case "healthy-percentage":
		percent, err := strconv.ParseFloat(text, 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			p.addf(n, "healthy-percentage must be a number greater than 0, and 100 at most")
		}
		f.HealthyPercentage = percent
	case "outdated":
		if f.ShutDownOutdated = text == "shutdown"; text != "shutdown" && text != "standby" {
			p.addf(n, "outdated must be standby or shutdown")
		}
	case "ready-timeout":
		f.ReadyTimeout = p.timeout(n, key)
	case "health-timeout":
		f.HealthTimeout = p.timeout(n, key)
	}
}

func (p *fleetParser) timeout(n *yaml.Node, key string) time.Duration {
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < time.Second || d > maxFleetTimeout {
		p.addf(n, "%s must be a duration from 1s to %v", key, maxFleetTimeout)
	}
	return d
}

// cogs reads the list of vital cogs.
func (p *fleetParser) cogs(n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxVitalCogs {
		p.addf(n, "vital-cogs must be a list of at most %d names", maxVitalCogs)
		return nil
	}
	var all []string
	for _, item := range n.Content {
		if item = yamldoc.Resolve(item); !yamldoc.IsText(item) || item.Value == "" {
			p.addf(item, "each of vital-cogs must be a name")
			continue
		}
		all = append(all, item.Value)
	}
	return all
}

// tokenFile reads the token of a fleet from a file beside the one with the fleets.
func (p *fleetParser) tokenFile(n *yaml.Node, name string) Secret {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(p.path), name)
	}
	b, err := readFile(name, maxFleetSecret+2)
	if err != nil {
		p.addf(n, "token-file: can't read %s: %v", name, err)
		return ""
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if wrong := checkFleetSecret(text); wrong != "" {
		p.addf(n, "token-file: %s: %s", name, wrong)
	}
	if readableByAll(name) {
		p.v.warnings = append(p.v.warnings, name+": every user of this machine can read this file, and it holds a secret; chmod o-r it")
	}
	return Secret(text)
}

// checkFleetSecret returns what is wrong with the token of a fleet, or nothing.
func checkFleetSecret(text string) string {
	if text == "" || len(text) > maxFleetSecret || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n") {
		return "a fleet's token must be one line of 1 to 4096 bytes of text"
	}
	return ""
}
