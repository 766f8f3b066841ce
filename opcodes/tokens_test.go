package opcodes

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// vocabulary maps each byte of a text to a word, so that mutations keep more of a message's structure than mutations of
// its bytes. The first 128 words are the ASCII characters, so that any ASCII message can be encoded.
var vocabulary = func() (v [256]string) {
	for c := range 128 {
		v[c] = string(rune(c))
	}
	words := []string{
		`{"op":0,`, `{"op":3,`, `{"op":`, `"op":`, `"id":`, `"event":`, `"data":`, `"intent":{`, `"intent":`, `"sender":`,
		`"target":`, `"identifier":`, `"GLOBAL"`, `"GROUP"`, `"DIRECT"`, `"ANY"`, toAll, `"` + client + `"`, `"x":`, `"y":`, `"":`,
		`\u006f`, `\u0000`, `\u0085`, `\u0024`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\ud800`, `\udfff`, `\"`, `\\`, `\/`, `\n`, `\u`, `\`,
		`é`, `日`, `😀`, "\u0080", "\u009f", "\ufeff", "\ufffd", "\x80", "\xbf", "\xc0", "\xc2", "\xe0", "\xe2\x82", "\xed", "\xed\xa0\x80",
		"\xf0", "\xf0\x9f\x98", "\xf4", "\xf4\x90\x80\x80", "\xf5", "\xff",
		`null`, `true`, `false`, `-0`, `0.0`, `-1`, `1e5`, `1E+10`, `12345678901234567890`, `01`, `99`,
		`[[[[[[[[`, `]]]]]]]]`, `[]`, `{}`, `{"x":`, `}}`, `},`, `],`, `",`, `":`, `":"`, `","`, `:[`, `:{"`,
		strings.Repeat("i", 31), strings.Repeat("é", 16), strings.Repeat(`\u00e9`, 16), strings.Repeat(" ", 16), `12345678`, `1234567`,
		`"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,`, `"i":1`, `"h":1`,
	}
	for n := range 128 {
		v[128+n] = words[n%len(words)]
	}
	return v
}()

// decodeTokens returns the message that a text encodes.
func decodeTokens(text []byte) []byte {
	var msg []byte
	for _, c := range text {
		msg = append(msg, vocabulary[c]...)
	}
	return msg
}

// encodeTokens encodes a message with the longest possible words. It reports false if that is impossible.
func encodeTokens(msg []byte) (text []byte, ok bool) {
	for rest := string(msg); rest != ""; {
		best := -1
		for n, word := range vocabulary {
			if strings.HasPrefix(rest, word) && (best < 0 || len(word) > len(vocabulary[best])) {
				best = n
			}
		}
		if best < 0 {
			return nil, false
		}
		text = append(text, byte(best))
		rest = rest[len(vocabulary[best]):]
	}
	return text, true
}

// FuzzScanTokens is FuzzScan with messages that are mutated token by token.
func FuzzScanTokens(f *testing.F) {
	seedMessages(func(msg []byte) {
		if text, ok := encodeTokens(msg); ok {
			f.Add(text)
		}
	})
	var e Envelope
	f.Fuzz(func(t *testing.T, text []byte) {
		msg := decodeTokens(text)
		err := scan(&e, msg)
		if diff := disagreement(msg, &e, err); diff != "" {
			t.Fatalf("%q: %s", msg, diff)
		}
		if err != nil {
			return
		}
		if err := decodesTo(msg, &e); err != nil {
			t.Fatalf("%q: encoding/json disagrees: %v", msg, err)
		}
	})
}

// A fixed sample of the mutations that FuzzScanTokens tries.
func TestScanRandomTokens(t *testing.T) {
	t.Parallel()
	var texts [][]byte
	for _, tc := range accepted {
		if text, ok := encodeTokens([]byte(tc.msg)); ok {
			texts = append(texts, text)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var e Envelope
	good := 0
	for range 20_000 {
		text := append([]byte(nil), texts[random.IntN(len(texts))]...)
		for range 1 + random.IntN(3) {
			at, token := random.IntN(len(text)+1), byte(random.IntN(256))
			switch random.IntN(3) {
			case 0:
				text = append(text[:at], append([]byte{token}, text[at:]...)...)
			case 1:
				text = append(text[:at], text[min(at+1, len(text)):]...)
			default:
				text = append(append(text[:at:at], token), text[min(at+1, len(text)):]...)
			}
		}
		msg := decodeTokens(text)
		err := scan(&e, msg)
		if diff := disagreement(msg, &e, err); diff != "" {
			t.Fatalf("%q: %s", msg, diff)
		}
		if err == nil {
			good++
		}
	}
	if good < 1000 {
		t.Errorf("only %d messages were accepted: the sample shows little", good)
	}
}
