package auth

import (
	"math"
	"unicode/utf8"
)

// MinTokenChars is the least number of characters of a token that strangers can try to guess. In one of fewer, few are
// random.
const MinTokenChars = 16

// StrongBits is the entropy of a token that can't be guessed.
const StrongBits = 128

// EntropyBits returns how much entropy a token has at most, in bits: that of random characters of the kinds that are in
// it. A token that means something has much less.
func EntropyBits(token string) int {
	var digit, hex, lower, upper, other bool
	for _, r := range token {
		switch {
		case '0' <= r && r <= '9':
			digit = true
		case 'a' <= r && r <= 'f':
			hex = true
		case 'g' <= r && r <= 'z':
			lower = true
		case 'A' <= r && r <= 'Z':
			upper = true
		default:
			other = true
		}
	}
	letters := 0
	for _, kind := range []struct {
		found   bool
		letters int
	}{
		{digit, 10}, {hex && !lower && !upper && !other, 6}, {hex && (upper || other) || lower, 26}, {upper, 26}, {other, 32},
	} {
		if kind.found {
			letters += kind.letters
		}
	}
	return int(float64(utf8.RuneCountInString(token)) * math.Log2(float64(max(letters, 1))))
}
