package opcodes

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// seedMessages gives the fuzzer all messages of the tables.
func seedMessages(add func(msg []byte)) {
	for _, tc := range accepted {
		add([]byte(tc.msg))
	}
	for _, tc := range refused {
		if len(tc.msg) < 4096 {
			add([]byte(tc.msg))
		}
	}
	add(event(250))
	add(manyNames(512))
}

// FuzzScan compares Scan with the oracle: they must accept the same messages and find the same in them. What Scan
// accepts, encoding/json must read the same way.
func FuzzScan(f *testing.F) {
	seedMessages(func(msg []byte) { f.Add(msg) })
	var reused Envelope
	f.Fuzz(func(t *testing.T, msg []byte) {
		err := scan(&reused, msg)
		if diff := disagreement(msg, &reused, err); diff != "" {
			t.Fatal(diff)
		}
		var fresh Envelope
		if again := scan(&fresh, msg); again != err {
			t.Fatalf("%v, but %v in an Envelope used before", again, err)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(fields(&fresh), fields(&reused)); diff != "" {
			t.Fatalf("fresh and used Envelope differ: %s", diff)
		}
		if err := decodesTo(msg, &reused); err != nil {
			t.Fatalf("encoding/json disagrees: %v", err)
		}
	})
}

// FuzzDelivery checks that a delivery is the message with an id and the sender, and nothing else.
func FuzzDelivery(f *testing.F) {
	seedMessages(func(msg []byte) { f.Add(msg, bytes.Repeat([]byte{0xa5}, 16)) })
	f.Fuzz(func(t *testing.T, msg, random []byte) {
		var e Envelope
		if scan(&e, msg) != nil {
			return
		}
		var id, sender uuid.UUID
		copy(id[:], random)
		copy(sender[:], bytes.ToUpper(random))
		out := AppendDelivery(nil, &e, id, sender)
		if len(out) > DeliverySize(&e) {
			t.Errorf("%d bytes, DeliverySize says %d", len(out), DeliverySize(&e))
		}
		if !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatalf("not JSON: %s", out)
		}
		want, _ := object(jsontext.Value(e.Raw))
		want = slices.DeleteFunc(want, func(m member) bool { return m.name == "id" && m.value.Kind() == 'n' })
		got, ok := object(out)
		if !ok {
			t.Fatalf("duplicate names: %s", out)
		}
		if e.ID == nil {
			at := slices.IndexFunc(got, func(m member) bool { return m.name == "id" })
			if string(got[at].value) != `"`+id.String()+`"` {
				t.Fatalf("id is %s, want %v", got[at].value, id)
			}
			got = slices.Delete(got, at, at+1)
		}
		want = append(want, member{"sender", jsontext.Value(`"` + sender.String() + `"`)})
		if !slices.EqualFunc(want, got, func(a, b member) bool { return a.name == b.name && bytes.Equal(a.value, b.value) }) {
			t.Fatalf("members differ: %s", out)
		}
	})
}

// identification is what json makes of an IDENTIFY's data, before any limits.
type identification struct {
	Token    *string            `json:"token"`
	Group    *string            `json:"group"`
	Groups   []*string          `json:"groups"`
	Name     string             `json:"name"`
	Version  string             `json:"version"`
	Meta     map[string]*string `json:"meta"`
	Features []*string          `json:"features"`
	Echo     *bool              `json:"echo"`

	Watch     jsontext.Value `json:"watch"`
	Replaces  jsontext.Value `json:"replaces"`
	Exclusive jsontext.Value `json:"exclusive"`
	Weight    jsontext.Value `json:"weight"`
	Recover   jsontext.Value `json:"recover"`
}

// FuzzIdentify compares ParseIdentify with a decoder that goes by reflection.
func FuzzIdentify(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"token":"t","group":"g"}`, `{"token":"t","group":"$g"}`, `{"token":"t","token":"t"}`,
		with(`"groups":["h","g"],"name":"n","version":"1","meta":{"k":"v"},"features":["errors","acks","x"],"echo":false`),
		with(`"groups":` + list(31)), with(`"groups":` + list(32)), with(`"meta":` + metaOf(17)), with(`"x":{"a":1,"a":1}`),
		with(`"watch":["a","a"],"replaces":"` + client + `","exclusive":["b"],"weight":3,"features":["presence","exclusive","groups"]`),
		with(`"watch":1,"replaces":"","exclusive":[null],"weight":101,"features":["presence","exclusive","groups"]`),
		with(`"recover":{"a":{"offset":7,"epoch":"k"},"b":{"offset":0}},"features":["history"]`),
		with(`"recover":{"a":{"offset":1.0}},"features":["history"]`), with(`"recover":{"a":7}`),
		with(`"groups":null,"meta":{"k":null},"echo":null`), `{"t\u006fken":"` + strings.Repeat("t", 300) + `"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseIdentify(data)
		want, payload := identify(data)
		if payload != errors.Is(err, ErrIdentifyPayload) {
			t.Fatalf("malformed by json: %v; ParseIdentify: %v", payload, err)
		}
		if payload {
			return
		}
		complete := want.Token != nil && want.Group != nil && *want.Group != ""
		for _, g := range groupsOf(want) {
			complete = complete && intent.CheckGroup(g) == nil
		}
		if complete != (err == nil) || !complete && !errors.Is(err, ErrIdentifyIncomplete) {
			t.Fatalf("complete by json: %v; ParseIdentify: %v", complete, err)
		}
		if !complete {
			return
		}
		flat := Identification{
			Token: *want.Token, Groups: groupsOf(want), Name: want.Name, Version: want.Version, Echo: want.Echo == nil || *want.Echo,
		}
		for k, v := range want.Meta {
			if flat.Meta == nil {
				flat.Meta = map[string]string{}
			}
			flat.Meta[k] = *v
		}
		flat.Features = featuresOf(want)
		flat.Watch, flat.Replaces, flat.Exclusive, flat.Weight, _ = optional(want)
		if flat.Features.Has(FeatureHistory) {
			flat.Recover, _ = recoveriesIn(want.Recover)
			sortRecoveries(got.Recover)
		}
		if len(got.Meta) == 0 {
			got.Meta = nil
		}
		if diff := cmp.Diff(flat, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// identify decodes the data of an IDENTIFY and tells whether it is malformed.
func identify(data []byte) (id identification, malformed bool) {
	if len(data) == 0 || string(data) == "null" {
		return id, false
	}
	// json takes null for any value; as the whole of data, white space around it included, it is no object.
	if err := json.Unmarshal(data, &id); err != nil || jsontext.Value(data).Kind() == 'n' {
		return id, true
	}
	malformed = len(groupsOf(id)) > maxGroups || len(id.Name) > maxNameBytes ||
		len(id.Version) > maxVersionBytes || len(id.Meta) > maxMetaMembers ||
		slices.Contains(id.Groups, nil) || slices.Contains(id.Features, nil)
	if !malformed {
		_, _, _, _, ok := optional(id)
		malformed = !ok
		if featuresOf(id).Has(FeatureHistory) {
			_, ok := recoveriesIn(id.Recover)
			malformed = malformed || !ok
		}
	}
	for k, v := range id.Meta {
		malformed = malformed || v == nil || len(k) > maxMetaKeyBytes || len(*v) > maxMetaValueBytes
	}
	return id, malformed
}

// featuresOf returns the known features asked for.
func featuresOf(id identification) (all Feature) {
	for _, name := range id.Features {
		f, _ := parseFeature(*name)
		all |= f
	}
	return all
}

// optional decodes the members that belong to features, as far as these were asked for.
func optional(id identification) (watch []string, replaces uuid.UUID, exclusive []string, weight int, ok bool) {
	f, weight := featuresOf(id), DefaultWeight
	ok = true
	if f.Has(FeaturePresence) {
		watch, ok = names(id.Watch)
		var r bool
		replaces, r = clientIn(id.Replaces)
		ok = ok && r
	}
	if f.Has(FeatureExclusive) {
		var e bool
		exclusive, e = names(id.Exclusive)
		ok = ok && e
	}
	if f.Has(FeatureGroups) && given(id.Weight) {
		var w bool
		weight, w = weightIn(id.Weight)
		ok = ok && w
	}
	return watch, replaces, exclusive, weight, ok
}

// given reports whether a member is there and not null.
func given(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }

// names decodes an array of names, each once.
func names(v jsontext.Value) (all []string, ok bool) {
	if !given(v) {
		return nil, true
	}
	var list []*string
	if json.Unmarshal(v, &list) != nil || slices.Contains(list, nil) {
		return nil, false
	}
	all = []string{}
	seen := make(map[string]bool)
	for _, s := range list {
		if !seen[*s] {
			seen[*s], all = true, append(all, *s)
		}
	}
	return all, true
}

// clientIn decodes a client's id.
func clientIn(v jsontext.Value) (id uuid.UUID, ok bool) {
	if !given(v) {
		return id, true
	}
	var s string
	if json.Unmarshal(v, &s) != nil || len(s) != 36 {
		return id, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

// recoveriesIn decodes positions, in the order of the groups' names.
func recoveriesIn(v jsontext.Value) (all []Recovery, ok bool) {
	if !given(v) {
		return nil, true
	}
	var positions map[string]jsontext.Value
	if json.Unmarshal(v, &positions) != nil {
		return nil, false
	}
	all = []Recovery{}
	for group, v := range positions {
		var p struct {
			Epoch  *string        `json:"epoch"`
			Offset jsontext.Value `json:"offset"`
		}
		if v.Kind() != '{' || json.Unmarshal(v, &p) != nil || len(p.Offset) == 0 {
			return nil, false
		}
		n, err := strconv.ParseUint(string(p.Offset), 10, 64)
		if err != nil || n > MaxOffset || p.Epoch != nil && len(*p.Epoch) > MaxEpochBytes {
			return nil, false
		}
		r := Recovery{Group: group, Position: Position{Offset: n}}
		if p.Epoch != nil {
			r.Epoch = *p.Epoch
		}
		all = append(all, r)
	}
	sortRecoveries(all)
	return all, true
}

func sortRecoveries(all []Recovery) {
	slices.SortFunc(all, func(a, b Recovery) int { return strings.Compare(a.Group, b.Group) })
}

// weightIn decodes a weight.
func weightIn(v jsontext.Value) (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil && n >= 0 && n <= 100 && v[0] != '-'
}

// FuzzChange compares ParseChange with a decoder that goes by reflection.
func FuzzChange(f *testing.F) {
	for _, s := range changes {
		f.Add([]byte(s.data), s.op == Subscribe)
	}
	for _, s := range malformedChanges {
		f.Add([]byte(s), len(s)%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, subscribe bool) {
		op := Unsubscribe
		if subscribe {
			op = Subscribe
		}
		got, err := ParseChange(op, data, FeatureHistory)
		sortRecoveries(got.Recover)
		want, ok := change(op, data)
		if ok != (err == nil) || err != nil && !errors.Is(err, ErrChangePayload) {
			t.Fatalf("well-formed by json: %v; ParseChange: %v", ok, err)
		}
		if diff := cmp.Diff(want, got); ok && diff != "" {
			t.Fatal(diff)
		}
	})
}

// change decodes the data of a SUBSCRIBE or UNSUBSCRIBE.
func change(op Op, data []byte) (c Change, ok bool) {
	c.Weight = KeepWeight
	var d struct {
		Groups    jsontext.Value `json:"groups"`
		Watch     jsontext.Value `json:"watch"`
		Exclusive jsontext.Value `json:"exclusive"`
		Meta      jsontext.Value `json:"meta"`
		Weight    jsontext.Value `json:"weight"`
		To        jsontext.Value `json:"to"`
		Recover   jsontext.Value `json:"recover"`
	}
	if len(data) == 0 || json.Unmarshal(data, &d) != nil || jsontext.Value(data).Kind() == 'n' {
		return c, false
	}
	lists := [3]*[]string{&c.Groups, &c.Watch, &c.Exclusive}
	for i, v := range []jsontext.Value{d.Groups, d.Watch, d.Exclusive} {
		if *lists[i], ok = names(v); !ok {
			return c, false
		}
	}
	if op == Unsubscribe {
		c.To, ok = clientIn(d.To)
		return c, ok
	}
	if given(d.Meta) {
		var m map[string]*string
		if json.Unmarshal(d.Meta, &m) != nil || len(m) > maxMetaMembers {
			return c, false
		}
		c.Meta = map[string]string{}
		for k, v := range m {
			if v == nil || len(k) > maxMetaKeyBytes || len(*v) > maxMetaValueBytes {
				return c, false
			}
			c.Meta[k] = *v
		}
	}
	if given(d.Weight) {
		if c.Weight, ok = weightIn(d.Weight); !ok {
			return c, false
		}
	}
	c.Recover, ok = recoveriesIn(d.Recover)
	return c, ok
}

// groupsOf lists the groups, the first one first, each once. An empty group counts as none.
func groupsOf(id identification) []string {
	var all []string
	for _, g := range append([]*string{id.Group}, id.Groups...) {
		if g != nil && !slices.Contains(all, *g) && (g != id.Group || *g != "") {
			all = append(all, *g)
		}
	}
	return all
}
