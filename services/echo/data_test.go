package echo

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

func TestMessageData(t *testing.T) {
	t.Parallel()
	for _, text := range texts {
		data := appendMessage(nil, 123, []byte(text))
		var v struct {
			Key  uint64
			Text string
		}
		if err := json.Unmarshal(data, &v); err != nil || v.Key != 123 || v.Text != text {
			t.Errorf("%q was written as %s", text, brief(string(data)))
		}
		key, quoted, ok := parseMessage(data)
		got, err := jsontext.AppendUnquote(nil, quoted)
		if !ok || key != 123 || err != nil || string(got) != text {
			t.Errorf("%s was read as %d %q", brief(string(data)), key, got)
		}
	}
	for _, data := range []string{"", "{}", `{"key":1}`, `{"key":,"text":"x"}`, `{"key":-1,"text":"x"}`, `{"key":1,"text":"x"`, `{"text":"x","key":1}`, `{"key":99999999999999999999,"text":"x"}`} {
		if _, _, ok := parseMessage([]byte(data)); ok {
			t.Errorf("%s was accepted", data)
		}
	}
}

func FuzzMessageData(f *testing.F) {
	for _, text := range texts[:len(texts)-2] {
		f.Add(uint64(7), text, string(appendMessage(nil, 7, []byte(text))))
	}
	f.Fuzz(func(t *testing.T, key uint64, text, data string) {
		if utf8.ValidString(text) {
			k, quoted, ok := parseMessage(appendMessage(nil, key, []byte(text)))
			if got, err := jsontext.AppendUnquote(nil, quoted); !ok || err != nil || k != key || string(got) != text {
				t.Errorf("%d %q was read as %d %q", key, text, k, got)
			}
		}
		if _, quoted, ok := parseMessage([]byte(data)); ok {
			if got, err := jsontext.AppendUnquote(nil, quoted); err == nil && len(got) > len(quoted) {
				t.Errorf("%q unquotes to more than it is", quoted)
			}
		}
	})
}
