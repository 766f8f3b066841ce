package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// rule says which clients without a token of the table a grant is for. It is immutable.
type rule interface {
	// appendIdentity appends what distinguishes the rule from others. Rules that are written alike append the same.
	appendIdentity(b []byte) []byte
}

// identityOf returns what stands in a Grant by a rule in place of a token's hash. Authenticate never compares it.
func identityOf(name string, r rule) hash {
	return sha256.Sum256(r.appendIdentity(appendText(nil, name)))
}

// appendText appends s with its length, so that two texts in a row can't be confused with one.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// text is what a claim, or a name in a certificate, may be: one text, or all that begin with a prefix.
type text struct {
	prefix bool
	value  string
}

// parseText reads a text: a * at the end matches any rest, and any other * itself.
func parseText(s string) text {
	value, prefix := strings.CutSuffix(s, "*")
	return text{prefix, value}
}

// match reports whether s is such a text. The empty text never is.
func (t text) match(s string) bool {
	if t.prefix {
		return s != "" && strings.HasPrefix(s, t.value)
	}
	return s != "" && s == t.value
}

func (t text) String() string {
	if t.prefix {
		return t.value + "*"
	}
	return t.value
}

// texts is a union of texts.
type texts []text

func (ts texts) match(s string) bool {
	for _, t := range ts {
		if t.match(s) {
			return true
		}
	}
	return false
}

func (ts texts) appendIdentity(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(ts)))
	for _, t := range ts {
		b = appendText(b, t.String())
	}
	return b
}

func countTrue(all ...bool) int {
	n := 0
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}
