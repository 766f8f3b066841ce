package socketio

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// A sid names a session in requests. Its first bytes tell where the session lives, so that a request goes there without a
// directory; the rest is random, so that no client can guess another's.
//
//	4 bytes  instance
//	1 byte   loop
//	4 bytes  slot in the loop's table
//	16 bytes random
type sid [25]byte

const (
	sidSecret = 9  // where the random part begins
	sidChars  = 34 // base64url without padding
)

func newSID(node uint32, loop int, slot uint32) sid {
	var s sid
	binary.BigEndian.PutUint32(s[:], node)
	s[4] = byte(loop)
	binary.BigEndian.PutUint32(s[5:], slot)
	_, _ = rand.Read(s[sidSecret:]) // it never fails
	return s
}

// parseSID returns the sid of a request. Whether there is such a session is another question.
func parseSID(text []byte) (s sid, ok bool) {
	if len(text) != sidChars {
		return s, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(s[:], text)
	return s, err == nil && n == len(s)
}

func (s sid) String() string { return base64.RawURLEncoding.EncodeToString(s[:]) }

// place returns where the session lives, according to the sid.
func (s sid) place() (node uint32, loop int, slot uint32) {
	return binary.BigEndian.Uint32(s[:]), int(s[4]), binary.BigEndian.Uint32(s[5:])
}

// equals compares in constant time.
func (s *sid) equals(other *sid) bool { return subtle.ConstantTimeCompare(s[:], other[:]) == 1 }
