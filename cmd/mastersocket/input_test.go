package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// TestErrorsOfInput: an error in JSON says where it is.
func TestErrorsOfInput(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{\"a\":1}\n{\"a\":2}\n{\"a\":x}\n": "standard input: value 3 is not JSON: line 3, byte 6: ",
		"1 2 nope":                          "standard input: value 3 is not JSON: line 1, byte 6: ",
		"[1,\n 2,\n ,]":                     "standard input: value 1 is not JSON: line 3, byte 2: ",
		"1\n{\"a\":\n":                      "standard input: value 2 is not JSON: line 3, byte 1: ",
		"\"a\x01\"":                         "standard input: value 1 is not JSON: line 1, byte 3: ",
		"1\n" + strings.Repeat("\n", 70000) + "}": "standard input: value 2 is not JSON: line 70002, byte 1: ",
	} {
		next := valuesOf(strings.NewReader(text))
		var err error
		for err == nil {
			_, err = next(context.Background())
		}
		if err == io.EOF || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"hello": "DATA is not JSON: line 1, byte 1: ", `{"a":}`: "DATA is not JSON: line 1, byte 6: ", "1 2": "DATA is not JSON: there is more than one",
		"{\n\"a\": tru }": "DATA is not JSON: line 2, byte ",
	} {
		if _, err := parseData(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if v, err := parseData(` {"a":1,"a":2} `); err != nil || string(v) != `{"a":1,"a":2}` {
		t.Errorf("%s, %v", v, err)
	}
	if _, err := onlyValueOf(strings.NewReader("1 2")); err == nil || err.Error() != "standard input: want one JSON value: there is more than one" {
		t.Errorf("two values: %v", err)
	}
}
