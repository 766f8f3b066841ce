package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// rule says for whom a grant is that is not the holder of a token in the table. It is immutable.
type rule interface {
	// appendIdentity appends what tells the rule from others. Rules of one meaning, written alike, append the same.
	appendIdentity(b []byte) []byte
}

// identityOf returns what stands in a Grant for the hash of a token. It is no such hash: the table has it for those who
// hold the Grant, and Authenticate never looks there.
func identityOf(name string, r rule) hash {
	return sha256.Sum256(r.appendIdentity(appendText(nil, name)))
}

// appendText appends s so that where it ends can be told from b alone.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// text is what a claim, or a name in a certificate, may be: one text, or all that begin with a prefix.
type text struct {
	prefix bool
	value  string
}

// parseText reads a text: a * at the end stands for whatever follows, any other for itself.
func parseText(s string) text {
	value, prefix := strings.CutSuffix(s, "*")
	return text{prefix, value}
}

// match reports whether s is such a text. The empty one never is.
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
