package opcodes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// The limits of IDENTIFY; lengths in bytes.
const (
	maxGroups         = 32 // group and groups together, repetitions not counted
	maxNameBytes      = 128
	maxVersionBytes   = 64
	maxMetaMembers    = 16
	maxMetaKeyBytes   = 64
	maxMetaValueBytes = 256
)

// The share of a member in the ANYs of its groups, in relation to the shares of the others. One with 0 gets none.
const (
	DefaultWeight = 1
	MaxWeight     = 100
)

// The errors of [ParseIdentify], for errors.Is.
var (
	// ErrIdentifyPayload: the data of IDENTIFY is malformed. The reason is InvalidPayload.
	ErrIdentifyPayload = errors.New("invalid IDENTIFY data")
	// ErrIdentifyIncomplete: the data is well-formed, but has no token, no group, or a group name that
	// intent.CheckGroup refuses, which no token may join. The reason is IdentifyFailed.
	ErrIdentifyIncomplete = errors.New("incomplete IDENTIFY data")
	// ErrIdentifyNoToken: only the token is missing. It wraps ErrIdentifyIncomplete.
	ErrIdentifyNoToken = fmt.Errorf("%w: no token", ErrIdentifyIncomplete)
)

// Identification is the data of an IDENTIFY.
type Identification struct {
	Token    string            // not verified here; may be empty
	Groups   []string          // the groups to join: group first, then groups, each once
	Name     string            // the service's name
	Version  string            // the service's version
	Meta     map[string]string // shown to operators; nil if absent
	Features Feature           // the known ones of those asked for
	Echo     bool              // deliver the client's own GLOBAL and GROUP messages to it

	Watch     []string   // groups to be told about, each once; nil without FeaturePresence
	Replaces  uuid.UUID  // the client that this one takes the place of; zero for none, and without FeaturePresence
	Exclusive []string   // groups to hold, each once; nil without FeatureExclusive
	Recover   []Recovery // from where on it wants messages of groups with history; nil without FeatureHistory
	Weight    int        // share of the ANYs of its groups, 0 to MaxWeight; DefaultWeight without FeatureGroups
}

// ParseIdentify reads the data of an IDENTIFY, [Envelope.Data]. The result shares no memory with data.
//
//	token     string; required unless the caller identifies the client by other means
//	group     string; required, not empty
//	groups    array of strings: further groups; at most 32 in all
//	name      string of at most 128 bytes
//	version   string of at most 64 bytes
//	meta      object of at most 16 strings; keys of at most 64 bytes, values of at most 256
//	features  array of strings
//	echo      boolean; true by default
//
// and, where the feature that it belongs to is asked for:
//
//	watch      array of strings
//	replaces   string: a client's id
//	exclusive  array of strings
//	weight     integer from 0 to 100; 1 by default
//	recover    object: for each group the object {"offset":integer,"epoch":string}; epoch is not needed
//
// A null member counts as absent. Unknown members and features are ignored, so that newer clients can talk to older hubs.
// Two members of the same name are refused at any level.
//
// The error wraps ErrIdentifyPayload or ErrIdentifyIncomplete and names the member at fault without quoting the data.
// With ErrIdentifyIncomplete the Identification is filled as far as possible, so that a caller can let all refusals take
// the same time.
func ParseIdentify(data []byte) (Identification, error) {
	id := Identification{Echo: true, Weight: DefaultWeight}
	if len(data) == 0 || string(data) == "null" {
		return id, fmt.Errorf("%w: no data", ErrIdentifyIncomplete)
	}
	d := newDecoder(data)
	defer d.release()
	p := identifyParser{dataParser: dataParser{&d.Decoder}}
	if err := p.parse(&id); err != nil {
		return Identification{}, fmt.Errorf("%w: %w", ErrIdentifyPayload, err)
	}
	if p.group == "" {
		return id, fmt.Errorf("%w: no group", ErrIdentifyIncomplete)
	}
	for _, g := range id.Groups {
		if err := intent.CheckGroup(g); err != nil {
			return id, fmt.Errorf("%w: %w", ErrIdentifyIncomplete, err)
		}
	}
	if !p.hasToken {
		return id, ErrIdentifyNoToken
	}
	return id, nil
}

var errTooManyGroups = fmt.Errorf("groups: more than %d", maxGroups)

// identifyParser reads the data of one IDENTIFY token by token.
type identifyParser struct {
	dataParser
	hasToken bool
	group    string
	groups   []string
	optional []optionalMember
}

// optionalMember is a member that counts only where its feature is asked for: a client that asks for none may use its name
// for something else.
type optionalMember struct {
	feature Feature
	name    string
	value   jsontext.Value
}

func (p *identifyParser) parse(id *Identification) error {
	if err := p.whole(func(name string) error { return p.member(id, name) }); err != nil {
		return err
	}
	for _, m := range p.optional {
		if !id.Features.Has(m.feature) {
			continue
		}
		if err := id.readOptional(m.name, dataParser{jsontext.NewDecoder(bytes.NewReader(m.value))}); err != nil {
			return err
		}
	}
	if p.group != "" {
		// group comes first and once.
		further := slices.DeleteFunc(p.groups, func(g string) bool { return g == p.group })
		p.groups = slices.Insert(further, 0, p.group)
	}
	if len(p.groups) > maxGroups {
		return errTooManyGroups
	}
	id.Groups = p.groups
	return nil
}

// member reads the value of the member with the given name.
func (p *identifyParser) member(id *Identification, name string) (err error) {
	if p.dec.PeekKind() == 'n' {
		return p.skip()
	}
	switch name {
	case "token":
		p.hasToken = true
		id.Token, err = p.text(name, -1)
	case "group":
		p.group, err = p.text(name, -1)
	case "groups":
		err = p.readGroups()
	case "name":
		id.Name, err = p.text(name, maxNameBytes)
	case "version":
		id.Version, err = p.text(name, maxVersionBytes)
	case "meta":
		id.Meta, err = p.meta()
	case "features":
		id.Features, err = p.features()
	case "echo":
		id.Echo, err = p.boolean(name)
	case "watch", "replaces":
		err = p.keep(FeaturePresence, name)
	case "exclusive":
		err = p.keep(FeatureExclusive, name)
	case "weight":
		err = p.keep(FeatureGroups, name)
	case "recover":
		err = p.keep(FeatureHistory, name)
	default:
		err = p.skip()
	}
	return err
}

// keep reads the value of a member that counts only with a feature, which may be asked for further on.
func (p *identifyParser) keep(f Feature, name string) error {
	v, err := p.value()
	p.optional = append(p.optional, optionalMember{f, name, v})
	return err
}

// readOptional reads the value of a member whose feature was asked for.
func (id *Identification) readOptional(name string, p dataParser) (err error) {
	switch name {
	case "watch":
		id.Watch, err = p.texts(name)
	case "replaces":
		id.Replaces, err = p.clientID(name)
	case "exclusive":
		id.Exclusive, err = p.texts(name)
	case "weight":
		id.Weight, err = p.integer(name, MaxWeight)
	case "recover":
		id.Recover, err = p.recoveries(name)
	}
	return err
}

func (p *identifyParser) readGroups() error {
	return p.array("groups", func() error {
		g, err := p.text("groups", -1)
		if err != nil {
			return err
		}
		if slices.Contains(p.groups, g) {
			return nil
		}
		if p.groups = append(p.groups, g); len(p.groups) > maxGroups {
			return errTooManyGroups
		}
		return nil
	})
}

func (p *identifyParser) features() (all Feature, err error) {
	err = p.array("features", func() error {
		name, err := p.text("features", -1)
		f, _ := parseFeature(name)
		all |= f
		return err
	})
	return all, err
}
