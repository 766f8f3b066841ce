package redis

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
	"sync/atomic"
)

// tagLen is the length of a tag, the last bytes of a header: an HMAC-SHA-256 (RFC 2104), cut to 128 bits, of everything but
// the checksum and the tag.
const tagLen = 16

// signer authenticates what instances send each other, by secrets that they share. A nil signer neither signs nor checks.
// It does not protect from a frame that is sent again as it was: the publishers' numbers do.
//
// Its methods may be called from any goroutine.
type signer struct {
	secrets func() []string
	domain  string // of the hub: its frames are none of another hub with the same secrets
	ring    atomic.Pointer[ring]
}

// ring are the keys in force. It is immutable but for the pools in it.
type ring struct {
	secrets []string
	keys    []*signingKey // the first signs, all are accepted
}

// signingKey is a key with room to compute tags.
type signingKey struct{ macs sync.Pool } // of *mac

// mac is the state of one computation.
type mac struct {
	hash.Hash
	sum [sha256.Size]byte
}

// newSigner returns the signer for the hub whose channels begin with domain; nil if secrets is nil. ok is false if there is
// no secret.
func newSigner(secrets func() []string, domain string) (s *signer, ok bool) {
	if secrets == nil {
		return nil, true
	}
	s = &signer{secrets: secrets, domain: domain}
	s.refresh()
	return s, s.ring.Load() != nil
}

// refresh takes changed secrets over. Without any, those before stay in force.
func (s *signer) refresh() {
	if s == nil {
		return
	}
	secrets := s.secrets()
	if now := s.ring.Load(); len(secrets) == 0 || now != nil && slices.Equal(now.secrets, secrets) {
		return
	}
	r := &ring{secrets: slices.Clone(secrets)}
	for _, secret := range secrets {
		derive := hmac.New(sha256.New, []byte(secret))
		derive.Write([]byte("mastersocket " + s.domain))
		key := derive.Sum(nil)
		r.keys = append(r.keys, &signingKey{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}})
	}
	s.ring.Store(r)
}

// room returns how many bytes of a frame are for the tag.
func (s *signer) room() int {
	if s == nil {
		return 0
	}
	return tagLen
}

// sign writes the tag of the frame b, and then its checksum.
func (s *signer) sign(b []byte) {
	if s != nil {
		key, tag := s.ring.Load().keys[0], tagOf(b)
		m := key.compute(b, tag)
		copy(b[tag:tag+tagLen], m.sum[:])
		key.macs.Put(m)
	}
	binary.BigEndian.PutUint32(b[8:], frameChecksum(b))
}

// genuine reports whether one of the secrets signed the frame b, which has been parsed.
func (s *signer) genuine(b []byte) bool {
	if s == nil {
		return true
	}
	tag := tagOf(b)
	if tag < headerFixed+int(b[7]) {
		return false // the header has no room for one
	}
	for _, key := range s.ring.Load().keys {
		m := key.compute(b, tag)
		equal := subtle.ConstantTimeCompare(m.sum[:tagLen], b[tag:tag+tagLen]) == 1
		key.macs.Put(m)
		if equal {
			return true
		}
	}
	return false
}

// tagOf returns the offset of the tag in the frame b.
func tagOf(b []byte) int { return int(binary.BigEndian.Uint16(b[4:])) - tagLen }

// compute returns a mac with the sum of the frame b. The caller puts it back.
func (k *signingKey) compute(b []byte, tag int) *mac {
	m := k.macs.Get().(*mac)
	m.Reset()
	m.Write(b[:8])
	m.Write(b[12:tag])
	m.Write(b[tag+tagLen:])
	m.Sum(m.sum[:0])
	return m
}
