package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// variables are the values of words that begin with $. $i is the number of a repetition; a word in capitals is the id of the
// connection with that name. Any other word takes the first value that it is compared with.
type variables map[string]any

var connectionIDs = uuid.MustParse("6f9a1c3e-0000-4000-8000-000000000000")

// connectionID returns the id of a connection's client. The first eight digits tell connections with different names apart,
// so that each is one to another instance; a name that ends with a digit is one to the same instance as its name without.
func connectionID(name string) string {
	id := uuid.NewSHA1(connectionIDs, []byte(name))
	instance := uuid.NewSHA1(connectionIDs, []byte(strings.TrimRight(name, "0123456789")))
	return instance.String()[:8] + id.String()[8:]
}

func isConnection(word string) bool { return word != "" && strings.ToUpper(word) == word }

// value returns v with its variables replaced.
func (vars variables) value(v any) any {
	switch v := v.(type) {
	case string:
		word, ok := strings.CutPrefix(v, "$")
		if !ok {
			return v
		}
		if known, ok := vars[word]; ok {
			return known
		}
		if isConnection(word) {
			return connectionID(word)
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			out[key] = vars.value(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = vars.value(element)
		}
		return out
	}
	return v
}

// match returns why got is not what is wanted, "" if it is. An object may have more members than wanted.
func (vars variables) match(path string, want, got any) string {
	switch want := vars.value(want).(type) {
	case string:
		switch {
		case want == "$any":
			return ""
		case strings.HasPrefix(want, "$contains "):
			if text, ok := got.(string); ok && strings.Contains(text, want[len("$contains "):]) {
				return ""
			}
		case strings.HasPrefix(want, "$near "):
			most, err := strconv.ParseFloat(want[len("$near "):], 64)
			if n, ok := got.(float64); err == nil && ok && n > most/2 && n <= most {
				return ""
			}
		case strings.HasPrefix(want, "$"):
			vars[want[1:]] = got
			return ""
		case want == got:
			return ""
		}
	case map[string]any:
		return vars.matchObject(path, want, got)
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			break
		}
		for i := range want {
			if why := vars.match(fmt.Sprintf("%s[%d]", path, i), want[i], list[i]); why != "" {
				return why
			}
		}
		return ""
	default:
		if reflect.DeepEqual(normal(want), got) {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s, want %s", path, text(got), text(vars.value(want)))
}

func (vars variables) matchObject(path string, want map[string]any, got any) string {
	object, ok := got.(map[string]any)
	if !ok {
		return fmt.Sprintf("%s is %s, want an object", path, text(got))
	}
	for key, member := range want {
		value, has := object[key]
		if member == "$absent" {
			if has {
				return fmt.Sprintf("%s.%s is %s, want none", path, key, text(value))
			}
			continue
		}
		if !has {
			return fmt.Sprintf("%s has no %s: %s", path, key, text(got))
		}
		if why := vars.match(path+"."+key, member, value); why != "" {
			return why
		}
	}
	return ""
}

// normal returns v as encoding/json decodes it: all numbers are floats.
func normal(v any) (out any) {
	if err := json.Unmarshal([]byte(text(v)), &out); err != nil {
		panic(err)
	}
	return out
}

// text returns v as JSON.
func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{`1`, `1`, true},
		{`1`, `"1"`, false},
		{`{"a":1}`, `{"a":1,"b":2}`, true},
		{`{"a":1}`, `{"b":1}`, false},
		{`{"a":"$absent"}`, `{"b":1}`, true},
		{`{"a":"$absent"}`, `{"a":null}`, false},
		{`["$x","$x"]`, `[1,1]`, true},
		{`["$x","$x"]`, `[1,2]`, false},
		{`[1]`, `[1,2]`, false},
		{`"$contains cat"`, `"a cat"`, true},
		{`"$contains dog"`, `"a cat"`, false},
		{`"$any"`, `null`, true},
		{`null`, `null`, true},
		{`"$B"`, `"` + connectionID("B") + `"`, true},
	} {
		var want, got any
		for text, v := range map[string]*any{c.want: &want, c.got: &got} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				t.Fatal(err)
			}
		}
		if c.want == c.got {
			want = got
		}
		if why := (variables{}).match("it", want, got); (why == "") != c.ok {
			t.Errorf("%s, %s: %q", c.want, c.got, why)
		}
	}
}
