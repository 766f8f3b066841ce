package auth

import "testing"

func TestEntropyBits(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]int{
		"":                                 0,
		"7391":                             13,
		"0123456789abcdef":                 64, // hexadecimal digits
		"0123456789abcdef0123456789abcdef": 128,
		"abcdefghij":                       47,
		"abcdefghijABCDEFGHIJ01":           130, // as of base64
		"correct horse":                    76,
	} {
		if got := EntropyBits(token); got != want {
			t.Errorf("%d bits of %d characters, want %d", got, len(token), want)
		}
	}
	if got := EntropyBits(Generate()); got < 200 {
		t.Errorf("%d bits of a generated token", got)
	}
}
