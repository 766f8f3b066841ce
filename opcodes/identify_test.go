package opcodes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// with returns the data of an IDENTIFY with a token, a group and further members.
func with(members string) string { return `{"token":"t","group":"g",` + members + `}` }

// list returns an array of n distinct strings.
func list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"g%d"`, i)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

// metaOf returns an object of n strings.
func metaOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":"v"`, i)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

func TestParseIdentify(t *testing.T) {
	t.Parallel()
	plain := Identification{Token: "t", Groups: []string{"g"}, Echo: true, Weight: 1}
	change := func(f func(*Identification)) Identification {
		id := plain
		f(&id)
		return id
	}
	for name, tc := range map[string]struct {
		data string
		want Identification
	}{
		"plain": {`{"group":"g","token":"t"}`, plain},
		"everything": {with(`"groups":["h"],"name":"n","version":"1","meta":{"k":"v"},"features":["errors","acks"],"echo":false`),
			Identification{
				Token: "t", Groups: []string{"g", "h"}, Name: "n", Version: "1", Meta: map[string]string{"k": "v"},
				Features: FeatureErrors | FeatureAcks, Weight: 1,
			}},
		"escapes":       {`{"t\u006fken":"\u0074","group":"g\ud83d\ude00"}`, change(func(id *Identification) { id.Groups = []string{"g😀"} })},
		"empty token":   {`{"token":"","group":"g"}`, change(func(id *Identification) { id.Token = "" })},
		"repeated":      {with(`"groups":["h","g","h","a","g"]`), change(func(id *Identification) { id.Groups = []string{"g", "h", "a"} })},
		"groups before": {`{"groups":["h","i"],"group":"g","token":"t"}`, change(func(id *Identification) { id.Groups = []string{"g", "h", "i"} })},
		"nulls":         {with(`"groups":null,"name":null,"version":null,"meta":null,"features":null,"echo":null`), plain},
		"unknown":       {with(`"ping":true,"x":{"y":[1]},"Token":7`), plain},
		"recover": {with(`"recover":{"g":{"epoch":"e","offset":12}},"features":["history"]`), change(func(id *Identification) {
			id.Features, id.Recover = FeatureHistory, []Recovery{{"g", Position{"e", 12}}}
		})},
		"recover without the feature": {with(`"recover":[7]`), plain},
		"new feature":                 {with(`"features":["telepathy","acks","acks"]`), change(func(id *Identification) { id.Features = FeatureAcks })},
		"watch": {with(`"watch":["a","b","a"],"replaces":"` + client + `","features":["presence"]`), change(func(id *Identification) {
			id.Features, id.Watch, id.Replaces = FeaturePresence, []string{"a", "b"}, uuid.MustParse(client)
		})},
		"features last, none of them": {with(`"watch":["a"],"replaces":"` + client + `","exclusive":["a"],"weight":7,"features":["errors"]`),
			change(func(id *Identification) { id.Features = FeatureErrors })},
		"members of features not asked for": {with(`"watch":{},"replaces":[1],"exclusive":5,"weight":"heavy"`), plain},
		"exclusive": {with(`"features":["exclusive"],"exclusive":["a","$b",""]`), change(func(id *Identification) {
			id.Features, id.Exclusive = FeatureExclusive, []string{"a", "$b", ""}
		})},
		"weight":      {with(`"weight":100,"features":["groups"]`), change(func(id *Identification) { id.Features, id.Weight = FeatureGroups, 100 })},
		"weight 0":    {with(`"weight":0,"features":["groups"]`), change(func(id *Identification) { id.Features, id.Weight = FeatureGroups, 0 })},
		"null weight": {with(`"weight":null,"features":["groups"]`), change(func(id *Identification) { id.Features = FeatureGroups })},
		"empty meta":  {with(`"meta":{}`), change(func(id *Identification) { id.Meta = map[string]string{} })},
	} {
		got, err := ParseIdentify([]byte(tc.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if id, err := ParseIdentify([]byte(with(`"groups":` + list(31)))); err != nil || len(id.Groups) != 32 {
		t.Errorf("32 groups: %d, %v", len(id.Groups), err)
	}
	if id, err := ParseIdentify([]byte(with(`"meta":` + metaOf(16)))); err != nil || len(id.Meta) != 16 {
		t.Errorf("16 meta members: %d, %v", len(id.Meta), err)
	}
}

func TestParseIdentifyMalformed(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for _, data := range []string{
		`[]`, `"t"`, `0`, `true`, `{`, `{"token":"t","group":"g"`, `{"token":"t","group":"g"}x`, `{"token"}`, "{\"token\":\"\xff\"}",
		`{"token":"t","token":"t","group":"g"}`, `{"token":"t","t\u006fken":"t","group":"g"}`, with(`"x":1,"x":2`), with(`"x":{"a":1,"a":2}`),
		`{"token":1,"group":"g"}`, `{"token":"t","group":["g"]}`, `{"token":["t"],"group":"g"}`,
		with(`"groups":"h"`), with(`"groups":{"a":"h"}`), with(`"groups":[1]`), with(`"groups":[null]`), with(`"groups":["h",["i"]]`),
		with(`"groups":` + list(32)), `{"groups":` + list(33) + `}`, `{"groups":` + list(3000) + `}`,
		with(`"name":1`), with(`"name":` + long(129)), with(`"version":{}`), with(`"version":` + long(65)),
		with(`"meta":[]`), with(`"meta":"x"`), with(`"meta":{"k":1}`), with(`"meta":{"k":null}`), with(`"meta":{"k":"v","k":"v"}`),
		with(`"meta":` + metaOf(17)), with(`"meta":{` + long(65) + `:"v"}`), with(`"meta":{"k":` + long(257) + `}`),
		with(`"features":"errors"`), with(`"features":[1]`), with(`"features":{"errors":true}`), with(`"echo":"false"`), with(`"echo":0`),
		with(`"watch":"a","features":["presence"]`), with(`"features":["presence"],"watch":[1]`), with(`"replaces":"x","features":["presence"]`),
		with(`"replaces":["` + client + `"],"features":["presence"]`), with(`"exclusive":{"a":1},"features":["exclusive"]`),
		with(`"weight":101,"features":["groups"]`), with(`"weight":-1,"features":["groups"]`), with(`"weight":1.0,"features":["groups"]`),
		with(`"weight":1e1,"features":["groups"]`), with(`"weight":"1","features":["groups"]`), with(`"weight":-0,"features":["groups"]`),
		with(`"recover":{"a":{}},"features":["history"]`), with(`"features":["history"],"recover":["a"]`),
		with(`"watch":[`), with(`"watch":{"a":1,"a":2}`), with(`"watch":["a"],"watch":["a"]`),
		`{"groups":["a",}`, `{"groups":["a"`, `{"meta":{"a"`, `{"meta":`,
	} {
		id, err := ParseIdentify([]byte(data))
		if !errors.Is(err, ErrIdentifyPayload) || errors.Is(err, ErrIdentifyIncomplete) {
			t.Errorf("%.80s: %v", data, err)
		}
		if diff := cmp.Diff(Identification{}, id); diff != "" {
			t.Errorf("%.80s: a result with the error: %s", data, diff)
		}
	}
	_, err := ParseIdentify([]byte(with(`"name":` + long(129))))
	if want := "invalid IDENTIFY data: name: longer than 128 bytes"; err == nil || err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestParseIdentifyIncomplete(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		``, `null`, `{}`, `{"token":"t"}`, `{"group":"g"}`, `{"token":null,"group":"g"}`, `{"token":"t","group":null}`,
		`{"token":"t","group":""}`, `{"token":"t","groups":["g"]}`, `{"token":"t","group":"$g"}`, with(`"groups":[""]`),
		with(`"groups":["a\u0000"]`), with(`"groups":["` + strings.Repeat("x", 129) + `"]`),
	} {
		_, err := ParseIdentify([]byte(data))
		if !errors.Is(err, ErrIdentifyIncomplete) || errors.Is(err, ErrIdentifyPayload) {
			t.Errorf("%.80s: %v", data, err)
		}
	}
	// The result is filled as far as possible, so that all refusals take the same time.
	id, err := ParseIdentify([]byte(`{"token":"t","group":"$g"}`))
	if id.Token != "t" || !errors.Is(err, intent.ErrGroupReserved) {
		t.Errorf("%+v, %v", id, err)
	}
}

// A missing token is distinguishable from other causes.
func TestParseIdentifyNoToken(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]bool{
		`{"group":"a"}`:              true,
		`{"group":"a","token":null}`: true,
		`{"group":"a","token":""}`:   false,
		`{"group":"$a"}`:             false,
		`{}`:                         false,
		`{"group":"a","token":1}`:    false,
		`null`:                       false,
	} {
		id, err := ParseIdentify([]byte(data))
		if errors.Is(err, ErrIdentifyNoToken) != want {
			t.Errorf("ParseIdentify(%s) = %v", data, err)
		}
		if want && (!errors.Is(err, ErrIdentifyIncomplete) || len(id.Groups) != 1) {
			t.Errorf("ParseIdentify(%s) = %+v, %v", data, id, err)
		}
	}
}
