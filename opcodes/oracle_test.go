package opcodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// envelope is the oracle's result: the fields of Envelope, which share no memory with the message.
type envelope struct {
	Op             Op
	Raw, ID, Event []byte
	Data           []byte
	Target         intent.Target
	Identifier     []byte
	Receiver       uuid.UUID
	Selected       selected
}

// selected is what an intent with identifiers or except names.
type selected struct {
	Targets   []string
	Receivers []uuid.UUID
	Except    []string
}

func (s selected) any() bool { return len(s.Targets)+len(s.Receivers)+len(s.Except) > 0 }

var (
	errOracleInvalid   = errors.New("invalid")
	errOracleUnknownOp = errors.New("unknown op")

	integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
)

type member struct {
	name  string
	value jsontext.Value
}

// oracle is a slow reference implementation of Envelope.Scan on top of jsontext.
func oracle(msg []byte) (*envelope, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(msg), jsontext.AllowDuplicateNames(true))
	raw, err := dec.ReadValue()
	if err != nil || raw.Kind() != '{' {
		return nil, errOracleInvalid
	}
	raw = raw.Clone()
	if _, err := dec.ReadToken(); err != io.EOF || depth(raw) > 64 {
		return nil, errOracleInvalid
	}
	fields, ok := object(raw)
	if !ok || hasVariant(fields, "op", "id", "event", "data", "intent", "sender") {
		return nil, errOracleInvalid
	}
	e := &envelope{Raw: raw}
	var op string
	var notOfFence bool
	var in map[string]jsontext.Value
	for _, f := range fields {
		text, isText := "", f.value.Kind() == '"'
		if isText {
			text = unquote(f.value)
		}
		switch f.name {
		case "op":
			op, ok = string(f.value), integer.Match(f.value)
		case "id":
			ok = f.value.Kind() == 'n' || isText && len(text) >= 1 && len(text) <= 64
			if isText {
				e.ID = f.value[1 : len(f.value)-1]
			}
		case "event":
			ok = isText && len(text) <= 128
			e.Event = []byte(text)
		case "data":
			e.Data = f.value
		case "sender":
			ok = false
		case "intent":
			in, ok = intentMembers(f.value)
		}
		notOfFence = notOfFence || f.name != "op" && f.name != "id" && f.name != "intent"
		if !ok {
			return nil, errOracleInvalid
		}
	}
	switch op {
	case "":
		return nil, errOracleInvalid
	case "0", "5":
		if op == "5" && e.ID == nil || in == nil || !e.resolve(in) {
			return nil, errOracleInvalid
		}
	case "13":
		if notOfFence || in == nil || !e.resolve(in) || e.Target != intent.Direct || e.Selected.any() {
			return nil, errOracleInvalid
		}
	case "14":
		if in == nil || !e.resolve(in) || e.Target != intent.Direct || e.Selected.any() {
			e.Target, e.Identifier, e.Receiver, e.Selected = intent.None, nil, uuid.Nil, selected{}
		}
	case "1", "2", "3", "4", "8", "9", "15":
	default:
		return nil, errOracleUnknownOp
	}
	number, err := strconv.Atoi(op)
	e.Op = Op(number)
	return e, err
}

// intentMembers checks the types of an intent and returns its members; nil for null.
func intentMembers(v jsontext.Value) (map[string]jsontext.Value, bool) {
	if v.Kind() == 'n' {
		return nil, true
	}
	if v.Kind() != '{' {
		return nil, false
	}
	fields, ok := object(v)
	if !ok || hasVariant(fields, "target", "identifier", "identifiers", "except") {
		return nil, false
	}
	in := map[string]jsontext.Value{}
	for _, f := range fields {
		in[f.name] = f.value
	}
	if t, ok := in["target"]; ok && t.Kind() != '"' {
		return nil, false
	}
	if id, ok := in["identifier"]; ok && id.Kind() != '"' && id.Kind() != 'n' {
		return nil, false
	}
	for _, name := range []string{"identifiers", "except"} {
		if v := in[name]; v != nil && v.Kind() != 'n' {
			if all := texts(v); len(all) == 0 || len(all) > 16 || len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
				return nil, false
			}
		}
	}
	return in, true
}

// texts returns the strings of an array; nil for anything else.
func texts(v jsontext.Value) []string {
	var all []string
	if v.Kind() != '[' {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true))
	must(dec.ReadToken())
	for dec.PeekKind() != ']' {
		item := must(dec.ReadValue()).Clone()
		if item.Kind() != '"' {
			return nil
		}
		all = append(all, unquote(item))
	}
	return all
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (e *envelope) resolve(in map[string]jsontext.Value) bool {
	if in["target"] == nil {
		return false
	}
	identifier, named := "", false
	if v := in["identifier"]; v != nil && v.Kind() == '"' {
		identifier, named = unquote(v), true
	}
	if ids, except := texts(in["identifiers"]), texts(in["except"]); ids != nil || except != nil {
		return e.resolveSelection(unquote(in["target"]), identifier, named, ids, except)
	}
	switch unquote(in["target"]) {
	case "GLOBAL":
		e.Target = intent.Global
		return !named
	case "DIRECT":
		e.Target = intent.Direct
		id, err := uuid.Parse(identifier)
		e.Receiver = id
		return err == nil && uuidForm.MatchString(identifier)
	case "ANY":
		e.Target = intent.Any
		if !named {
			return true
		}
	case "GROUP":
		e.Target = intent.Group
	default:
		return false
	}
	e.Identifier = []byte(identifier)
	return groupForm.MatchString(identifier) && len(identifier) <= 128
}

func (e *envelope) resolveSelection(target, identifier string, named bool, ids, except []string) bool {
	isGroup := func(name string) bool { return groupForm.MatchString(name) && len(name) <= 128 }
	switch {
	case named && ids != nil:
		return false
	case target == "GLOBAL":
		e.Target = intent.Global
		if named || ids != nil {
			return false
		}
	case target != "GROUP" && target != "DIRECT" || !named && ids == nil:
		return false
	case named:
		ids = []string{identifier}
	}
	for _, id := range ids {
		if target == "GROUP" {
			e.Target, e.Selected.Targets = intent.Group, append(e.Selected.Targets, id)
			if !isGroup(id) {
				return false
			}
			continue
		}
		receiver, err := uuid.Parse(id)
		if err != nil || !uuidForm.MatchString(id) || slices.Contains(e.Selected.Receivers, receiver) {
			return false
		}
		e.Target, e.Selected.Receivers = intent.Direct, append(e.Selected.Receivers, receiver)
	}
	e.Selected.Except = except
	return !slices.ContainsFunc(except, func(name string) bool { return !isGroup(name) })
}

var groupForm = regexp.MustCompile(`^[^$\x00-\x1f\x7f-\x{9f}][^\x00-\x1f\x7f-\x{9f}]*$`)

// object lists the members of an object. It reports false if two have the same name.
func object(v jsontext.Value) ([]member, bool) {
	var all []member
	names := map[string]bool{}
	dec := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true))
	must(dec.ReadToken())
	for dec.PeekKind() != '}' {
		name := must(dec.ReadToken()).String()
		if names[name] {
			return nil, false
		}
		names[name] = true
		all = append(all, member{name, must(dec.ReadValue()).Clone()})
	}
	return all, true
}

// hasVariant reports whether the name of a member differs from one of names only in case.
func hasVariant(fields []member, names ...string) bool {
	return slices.ContainsFunc(fields, func(f member) bool {
		return slices.ContainsFunc(names, func(name string) bool { return f.name != name && strings.EqualFold(f.name, name) })
	})
}

// depth returns how deep objects and arrays are nested in a valid value.
func depth(v jsontext.Value) (deepest int) {
	dec := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true))
	for {
		if _, err := dec.ReadToken(); err != nil {
			return deepest
		}
		deepest = max(deepest, dec.StackDepth())
	}
}

func unquote(v jsontext.Value) string {
	return string(must(jsontext.AppendUnquote(nil, v)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// decodesTo compares e with what encoding/json reads from msg.
func decodesTo(msg []byte, e *Envelope) error {
	// A struct, for which encoding/json ignores the case of names.
	var fields struct {
		Op                      Op
		ID, Event, Data, Intent json.RawMessage
		Sender                  *json.RawMessage
	}
	if err := json.Unmarshal(msg, &fields); err != nil {
		return err
	}
	if fields.Op != e.Op {
		return errors.New("op differs")
	}
	if fields.Sender != nil {
		return errors.New("there is a sender")
	}
	var id, event *string
	if fields.ID != nil {
		if err := json.Unmarshal(fields.ID, &id); err != nil {
			return err
		}
	}
	if (id == nil) != (e.ID == nil) || id != nil && string(fields.ID) != `"`+string(e.ID)+`"` {
		return errors.New("id differs")
	}
	if fields.Event != nil {
		if err := json.Unmarshal(fields.Event, &event); err != nil {
			return err
		}
	}
	if (event == nil) != (e.Event == nil) || event != nil && *event != string(e.Event) {
		return errors.New("event differs")
	}
	if !bytes.Equal(fields.Data, e.Data) {
		return errors.New("data differs")
	}
	if e.Target == intent.None {
		return nil
	}
	return intentDecodesTo(fields.Intent, e)
}

func intentDecodesTo(raw []byte, e *Envelope) error {
	var in struct {
		Target      string
		Identifier  *string
		Identifiers []string
		Except      []string
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	if in.Target != e.Target.String() {
		return errors.New("target differs")
	}
	identifier, named := "", in.Identifier != nil
	if named {
		identifier = *in.Identifier
	}
	if e.Selects() {
		if want := max(len(in.Identifiers), 1); e.Target != intent.Global && len(e.Targets())+len(e.Receivers()) != want || len(e.Except()) != len(in.Except) {
			return errors.New("what it selects differs")
		}
		return nil
	}
	switch e.Target {
	case intent.Direct:
		if id, err := uuid.Parse(identifier); err != nil || id != e.Receiver {
			return errors.New("receiver differs")
		}
	default:
		if named != (e.Identifier != nil) || identifier != string(e.Identifier) {
			return errors.New("identifier differs")
		}
	}
	return nil
}
