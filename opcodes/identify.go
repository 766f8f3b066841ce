package opcodes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

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
// A null member counts as absent. Unknown members and features are ignored, so that newer clients can talk to older hubs.
// Two members of the same name are refused at any level.
//
// The error wraps ErrIdentifyPayload or ErrIdentifyIncomplete and names the member at fault without quoting the data.
// With ErrIdentifyIncomplete the Identification is filled as far as possible, so that a caller can let all refusals take
// the same time.
func ParseIdentify(data []byte) (Identification, error) {
	id := Identification{Echo: true}
	if len(data) == 0 || string(data) == "null" {
		return id, fmt.Errorf("%w: no data", ErrIdentifyIncomplete)
	}
	p := identifyParser{dec: jsontext.NewDecoder(bytes.NewReader(data))}
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

// Errors of jsontext are not returned, because they quote the data.
var (
	errDataNotJSON   = errors.New("not a JSON value, or two members of the same name")
	errDataNotObject = errors.New("not an object")

	errTooManyGroups = fmt.Errorf("groups: more than %d", maxGroups)
)

// identifyParser reads the data of one IDENTIFY token by token.
type identifyParser struct {
	dec      *jsontext.Decoder
	hasToken bool
	group    string
	groups   []string
}

func (p *identifyParser) parse(id *Identification) error {
	if p.dec.PeekKind() != '{' {
		return errDataNotObject
	}
	err := p.object(func(name string) error { return p.member(id, name) })
	if err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return errDataNotJSON
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
	default:
		err = p.skip()
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

func (p *identifyParser) meta() (map[string]string, error) {
	if p.dec.PeekKind() != '{' {
		return nil, errors.New("meta: not an object")
	}
	meta := map[string]string{}
	err := p.object(func(key string) (err error) {
		if len(meta) == maxMetaMembers {
			return fmt.Errorf("meta: more than %d members", maxMetaMembers)
		}
		if len(key) > maxMetaKeyBytes {
			return fmt.Errorf("meta: a key is longer than %d bytes", maxMetaKeyBytes)
		}
		meta[key], err = p.text("meta", maxMetaValueBytes)
		return err
	})
	return meta, err
}

// object reads the next object; it calls value to read each member's value.
func (p *identifyParser) object(value func(name string) error) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return errDataNotJSON
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return errDataNotJSON
		}
		if err := value(name.String()); err != nil {
			return err
		}
	}
	return p.skip()
}

// array reads the next array; it calls value to read each element.
func (p *identifyParser) array(member string, value func() error) error {
	if p.dec.PeekKind() != '[' {
		return fmt.Errorf("%s: not an array", member)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return errDataNotJSON
	}
	for p.dec.PeekKind() != ']' {
		if err := value(); err != nil {
			return err
		}
	}
	return p.skip()
}

// text reads the next string. A negative maxBytes means no limit.
func (p *identifyParser) text(member string, maxBytes int) (string, error) {
	token, err := p.dec.ReadToken()
	switch {
	case err != nil:
		return "", errDataNotJSON
	case token.Kind() != '"':
		return "", fmt.Errorf("%s: not a string", member)
	}
	s := token.String()
	if maxBytes >= 0 && len(s) > maxBytes {
		return "", fmt.Errorf("%s: longer than %d bytes", member, maxBytes)
	}
	return s, nil
}

func (p *identifyParser) boolean(member string) (bool, error) {
	token, err := p.dec.ReadToken()
	switch {
	case err != nil:
		return false, errDataNotJSON
	case token.Kind() != 't' && token.Kind() != 'f':
		return false, fmt.Errorf("%s: not a boolean", member)
	}
	return token.Bool(), nil
}

// skip reads the next value or closing bracket.
func (p *identifyParser) skip() error {
	var err error
	switch p.dec.PeekKind() {
	case '}', ']':
		_, err = p.dec.ReadToken()
	default:
		err = p.dec.SkipValue()
	}
	if err != nil {
		return errDataNotJSON
	}
	return nil
}
