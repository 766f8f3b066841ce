package opcodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var changes = []struct {
	name string
	op   Op
	data string
	want Change
}{
	{"groups", Subscribe, `{"groups":["orders","audit"]}`, Change{Groups: []string{"orders", "audit"}, Weight: KeepWeight}},
	{"all of a subscribe", Subscribe,
		`{"groups":["a"],"watch":["b"],"exclusive":["c"],"meta":{"k":"v"},"weight":0,"recover":{"a":{"offset":0}},"x":[1]}`,
		Change{
			Groups: []string{"a"}, Watch: []string{"b"}, Exclusive: []string{"c"}, Meta: map[string]string{"k": "v"},
			Recover: []Recovery{{Group: "a"}},
		}},
	{"all of an unsubscribe", Unsubscribe, `{"groups":["a"],"watch":["b"],"exclusive":["c"],"to":"` + client + `"}`,
		Change{Groups: []string{"a"}, Watch: []string{"b"}, Exclusive: []string{"c"}, Weight: KeepWeight, To: uuid.MustParse(client)}},
	{"nothing", Subscribe, `{}`, Change{Weight: KeepWeight}},
	{"nulls", Subscribe, `{"groups":null,"watch":null,"exclusive":null,"meta":null,"weight":null}`, Change{Weight: KeepWeight}},
	{"nulls", Unsubscribe, `{"groups":null,"watch":null,"exclusive":null,"to":null}`, Change{Weight: KeepWeight}},
	{"empty lists", Unsubscribe, `{"groups":[],"watch":[],"exclusive":[]}`,
		Change{Groups: []string{}, Watch: []string{}, Exclusive: []string{}, Weight: KeepWeight}},
	{"repeated", Subscribe, `{"groups":["b","a","b","a","c"]}`, Change{Groups: []string{"b", "a", "c"}, Weight: KeepWeight}},
	{"what is no name", Subscribe, `{"groups":["$a","","\u0000"]}`, Change{Groups: []string{"$a", "", "\x00"}, Weight: KeepWeight}},
	{"empty meta", Subscribe, `{"meta":{}}`, Change{Meta: map[string]string{}, Weight: KeepWeight}},
	{"weight", Subscribe, `{"weight":100}`, Change{Weight: 100}},
	{"recover", Subscribe, `{"recover":{"b":{"epoch":"k3","offset":9007199254740991,"x":{}},"a":{"offset":7,"epoch":null}}}`,
		Change{Weight: KeepWeight, Recover: []Recovery{{"b", Position{"k3", MaxOffset}}, {"a", Position{"", 7}}}}},
	{"recover nothing", Subscribe, `{"recover":{}}`, Change{Weight: KeepWeight, Recover: []Recovery{}}},
	{"no recover", Subscribe, `{"recover":null}`, Change{Weight: KeepWeight}},
	{"members of the other one", Subscribe, `{"to":7}`, Change{Weight: KeepWeight}},
	{"members of the other one", Unsubscribe, `{"meta":7,"weight":-1,"recover":1}`, Change{Weight: KeepWeight}},
}

var malformedChanges = []string{
	``, `null`, `[]`, `"groups"`, `7`, `{`, `{"groups":["a"]`, `{"groups":["a"]}{}`, `{"groups":["a"],"groups":["b"]}`,
	`{"groups":["a"],"gr\u006fups":["b"]}`, `{"x":{"a":1,"a":2}}`, `{"groups":"a"}`, `{"groups":{"a":1}}`, `{"groups":[1]}`,
	`{"groups":[null]}`, `{"groups":["a",["b"]]}`, `{"groups":true}`, "{\"groups\":[\"\xff\"]}", `{"watch":"a"}`, `{"watch":[{}]}`,
	`{"exclusive":{"a":{}}}`, `{"exclusive":[0]}`, `{"groups":[`, `{"groups"`, `{"groups":`,
}

func TestParseChange(t *testing.T) {
	t.Parallel()
	for _, tc := range changes {
		got, err := ParseChange(tc.op, []byte(tc.data), FeatureHistory)
		if err != nil {
			t.Errorf("%v, %s: %v", tc.op, tc.name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%v, %s (-want +got):\n%s", tc.op, tc.name, diff)
		}
	}
	malformed := func(op Op, data string) {
		if c, err := ParseChange(op, []byte(data), FeatureHistory); !errors.Is(err, ErrChangePayload) || c.Size() > 0 {
			t.Errorf("%v %.80s: %+v, %v", op, data, c, err)
		}
	}
	for _, data := range malformedChanges {
		malformed(Subscribe, data)
		malformed(Unsubscribe, data)
	}
	for _, data := range []string{
		`{"meta":[]}`, `{"meta":"x"}`, `{"meta":{"k":1}}`, `{"meta":{"k":null}}`, `{"meta":` + metaOf(17) + `}`,
		`{"weight":101}`, `{"weight":-1}`, `{"weight":1.5}`, `{"weight":"1"}`, `{"weight":1e1}`, `{"weight":-0}`, `{"weight":[1]}`,
		`{"weight":99999999999999999999}`, `{"recover":[]}`, `{"recover":{"a":1}}`, `{"recover":{"a":null}}`, `{"recover":{"a":{}}}`,
		`{"recover":{"a":{"offset":-1}}}`, `{"recover":{"a":{"offset":-0}}}`, `{"recover":{"a":{"offset":1.0}}}`, `{"recover":{"a":{"offset":"1"}}}`,
		`{"recover":{"a":{"offset":null}}}`, `{"recover":{"a":{"offset":9007199254740992}}}`, `{"recover":{"a":{"offset":1,"epoch":1}}}`,
		`{"recover":{"a":{"offset":1,"epoch":"` + strings.Repeat("e", 65) + `"}}}`, `{"recover":{"a":{"offset":1},"a":{"offset":1}}}`,
	} {
		malformed(Subscribe, data)
	}
	if c, err := ParseChange(Subscribe, []byte(`{"groups":["a"],"recover":7}`), FeatureHistory-1); err != nil || c.Recover != nil {
		t.Errorf("recover without the feature: %+v, %v", c, err)
	}
	for _, data := range []string{`{"to":7}`, `{"to":""}`, `{"to":"orders"}`, `{"to":["` + client + `"]}`, `{"to":"` + client + `0"}`} {
		malformed(Unsubscribe, data)
	}
}

// Many names are read in time proportional to their number, and each is there once.
func TestParseChangeOfManyNames(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"group %d"`, i%50_000)
	}
	start := time.Now()
	c, err := ParseChange(Subscribe, []byte(`{"groups":[`+b.String()[1:]+`]}`), 0)
	if err != nil || c.Size() != 50_000 || c.Groups[49_999] != "group 49999" {
		t.Fatalf("%d names, %v", c.Size(), err)
	}
	if took := time.Since(start); took > 2*time.Second { // one by one it takes a minute
		t.Errorf("%v", took)
	}
}

func TestAppendChanged(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Changed{
		`{"op":8,"id":"s1","data":{"groups":["orders","a\"b"]}}`: {Op: Subscribe, ID: []byte("s1"), Groups: []string{"orders", `a"b`}},
		`{"op":9,"id":"\u0041","data":{"groups":[]}}`:            {Op: Unsubscribe, ID: []byte(`\u0041`), Groups: []string{}},
		`{"op":8,"id":"s","data":{}}`:                            {Op: Subscribe, ID: []byte("s")},
		`{"op":8,"data":{"groups":["orders"],"by":"operator"}}`:  {Op: Subscribe, Groups: []string{"orders"}, By: ByOperator},
		`{"op":8,"id":"s","data":{"groups":["a"],"watch":["b"],"exclusive":{"c":{"held":false},"d":{"held":true,"term":9}}}}`: {
			Op: Subscribe, ID: []byte("s"), Groups: []string{"a"}, Watch: []string{"b"},
			Holds: []Hold{{Group: "c"}, {Group: "d", Held: true, Term: 9}},
		},
		`{"op":8,"id":"s","data":{"exclusive":{"c":{"held":true,"term":1795000000018,"valid_ms":2100}}}}`: {
			Op: Subscribe, ID: []byte("s"), Holds: []Hold{{Group: "c", Held: true, Term: 1795000000018, Valid: 2100 * time.Millisecond}},
		},
		`{"op":8,"data":{"exclusive":{"c":{"held":false,"reason":"BROKER_LOST"}}}}`: {
			Op: Subscribe, Holds: []Hold{{Group: "c", Reason: "BROKER_LOST"}},
		},
		`{"op":8,"id":"s","data":{"exclusive":{}}}`:                      {Op: Subscribe, ID: []byte("s"), Holds: []Hold{}},
		`{"op":9,"id":"u","data":{"watch":["b"],"exclusive":["c","d"]}}`: {Op: Unsubscribe, ID: []byte("u"), Watch: []string{"b"}, GaveUp: []string{"c", "d"}},
	} {
		got := AppendChanged(nil, &c)
		if string(got) != want || !json.Valid(got) || len(got) > ChangedSize(&c) {
			t.Errorf("got  %s\nwant %s\n%d bytes, ChangedSize says %d", got, want, len(got), ChangedSize(&c))
		}
	}
	for want, r := range map[string]Refused{
		`{"op":8,"id":"s2","data":{"error":{"code":"FORBIDDEN","group":"payroll","message":"no"}}}`: {
			Subscribe, []byte("s2"), CodeForbidden, "payroll", "no",
		},
		`{"op":9,"id":"u","data":{"error":{"code":"PRIMARY_GROUP","message":"\u0001\"\ufffd"}}}`: {
			Unsubscribe, []byte("u"), CodePrimaryGroup, "", "\x01\"\xff",
		},
	} {
		got := AppendRefused(nil, &r)
		var g, w any
		if json.Unmarshal(got, &g) != nil || json.Unmarshal([]byte(want), &w) != nil || !cmp.Equal(g, w) || len(got) > RefusedSize(&r) {
			t.Errorf("got  %s\nwant %s\n%d bytes, RefusedSize says %d", got, want, len(got), RefusedSize(&r))
		}
	}
	at := time.Unix(0, 0)
	got := string(AppendIdentified(nil, Identified{
		SessionStarted: at, Features: FeaturePresence | FeatureExclusive, Watch: []string{"a"}, Holds: []Hold{{Group: "b"}},
	}))
	if want := `"features":["presence","exclusive"],"watch":["a"],"exclusive":{"b":{"held":false}}}}`; !strings.HasSuffix(got, want) {
		t.Errorf("got %s", got)
	}
}
