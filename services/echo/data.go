package echo

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// appendMessage appends the data of a message event: {"key":…,"text":"…"}.
func appendMessage(dst []byte, key uint64, text []byte) []byte {
	dst = append(dst, `{"key":`...)
	dst = appendKey(dst, key)
	dst = append(dst, `,"text":`...)
	dst, _ = jsontext.AppendQuote(dst, text) // valid UTF-8: the transport has checked it
	return append(dst, '}')
}

// parseMessage parses the data that appendMessage wrote on another instance. text is a JSON string, quotes included,
// and aliases data.
func parseMessage(data []byte) (key uint64, text []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"key":`))
	if !ok {
		return 0, nil, false
	}
	digits, rest, ok := bytes.Cut(rest, []byte(`,"text":`))
	if !ok {
		return 0, nil, false
	}
	if key, ok = parseKey(digits); !ok {
		return 0, nil, false
	}
	text, ok = bytes.CutSuffix(rest, []byte("}"))
	return key, text, ok
}

func appendKey(dst []byte, key uint64) []byte { return strconv.AppendUint(dst, key, 10) }

func parseKey(digits []byte) (uint64, bool) {
	key, err := strconv.ParseUint(string(digits), 10, 64)
	return key, err == nil
}
