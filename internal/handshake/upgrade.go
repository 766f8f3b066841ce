package handshake

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
)

// CheckUpgrade says why r, whose path is known, can't become a WebSocket connection; nil if it can. RFC 6455 §4.2.1.
func CheckUpgrade(r *Request, origins *OriginPolicy) *Rejection {
	switch {
	case string(r.Method) != http.MethodGet:
		return rejectMethod
	case r.HasBody:
		return rejectBody
	case hasCredential(r.Query):
		return RejectTokenInURL
	case !r.Upgrade || !r.ConnectionUpgrade:
		return rejectNoUpgrade
	case string(r.Version) != "13":
		return rejectVersion
	case !validKey(r.Key):
		return rejectKey
	case !origins.allows(r.Origin, r.Host):
		return RejectOrigin
	}
	return nil
}

// keyBytes is the length of a valid key.
const keyBytes = 24

// validKey reports whether key is the base64 form of 16 bytes. Bits behind the 128th are ignored: the example that
// RFC 6455 §4.1 gives has one set.
func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != keyBytes {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// hasCredential reports whether a parameter of the query is named like a credential. Names are compared as services
// understand them: percent-decoded, without regard to case, separators and brackets.
func hasCredential(query []byte) bool {
	for len(query) > 0 {
		var pair []byte
		if i := bytes.IndexAny(query, "&;"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			pair, query = query, nil
		}
		name, _, _ := bytes.Cut(pair, equals)
		var buf [16]byte
		switch string(appendPlain(buf[:0], name)) {
		case "token", "accesstoken", "authtoken", "bearertoken", "idtoken", "auth", "authorization", "bearer", "jwt",
			"key", "apikey", "apitoken", "accesskey", "password", "passwd", "secret", "clientsecret":
			return true
		}
	}
	return false
}

// appendPlain appends the letters and digits of a percent-encoded name, in lower case, as far as dst has room.
func appendPlain(dst, name []byte) []byte {
	for i := 0; i < len(name) && len(dst) < cap(dst); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]) {
			c = unhex(name[i+1])<<4 | unhex(name[i+2])
			i += 2
		}
		if c = lower(c); 'a' <= c && c <= 'z' || isDigit(c) {
			dst = append(dst, c)
		}
	}
	return dst
}

// AcceptBytes is the length of what AppendAccept appends, in bytes.
const AcceptBytes = 129

const (
	acceptHead = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

	// keySuffix is the GUID of RFC 6455 §1.3.
	keySuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// AppendAccept appends the response that turns r's connection into a WebSocket (RFC 6455 §4.2.2), without extension or
// subprotocol. CheckUpgrade must have passed r.
func AppendAccept(dst []byte, r *Request) []byte {
	var proof [keyBytes + len(keySuffix)]byte
	copy(proof[copy(proof[:], r.Key):], keySuffix)
	sum := sha1.Sum(proof[:]) // the protocol's choice; nothing is kept secret by it
	dst = base64.StdEncoding.AppendEncode(append(dst, acceptHead...), sum[:])
	return append(dst, "\r\n\r\n"...)
}
