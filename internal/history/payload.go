package history

import (
	"bytes"
	"fmt"
	"strconv"
)

// maxPad bounds the padding of a payload, in bytes.
const maxPad = 64 << 20

// AppendPayload appends the data of message n of the session with index sender: a JSON object
// {"s":sender,"n":n,"pad":"…"} whose pad has pad bytes that follow from the three numbers. A receiver checks every byte
// with [ParsePayload].
func AppendPayload(dst []byte, sender, n, pad int) []byte {
	dst = append(dst, `{"s":`...)
	dst = strconv.AppendInt(dst, int64(sender), 10)
	dst = append(dst, `,"n":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, `,"pad":"`...)
	dst = appendPad(dst, sender, n, pad)
	return append(dst, `"}`...)
}

// appendPad appends pad characters drawn from a generator (xorshift64*) that is seeded with all three numbers: a pad
// that was truncated, swapped or belongs to another message differs from the expected one in nearly every character.
func appendPad(dst []byte, sender, n, pad int) []byte {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	x := uint64(sender+1)*0x9E3779B97F4A7C15 ^ uint64(n+1)*0xBF58476D1CE4E5B9 ^ uint64(pad+1)*0x94D049BB133111EB
	if x == 0 {
		x = 1
	}
	var word uint64
	for i := range pad {
		if i%8 == 0 {
			x ^= x >> 12
			x ^= x << 25
			x ^= x >> 27
			word = x * 0x2545F4914F6CDD1D
		}
		dst = append(dst, alphabet[word&63])
		word >>= 8
	}
	return dst
}

// ParsePayload parses a payload of AppendPayload. The error says how data differs from the payload sent; sender and n
// are right even then if known is true.
func ParsePayload(data []byte) (sender, n int, known bool, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"s":`))
	if !ok {
		return 0, 0, false, fmt.Errorf("payload does not begin with its sender: %.80q", data)
	}
	sender, rest, ok = cutInt(rest, `,"n":`)
	if !ok {
		return 0, 0, false, fmt.Errorf("payload has no sender number: %.80q", data)
	}
	n, rest, ok = cutInt(rest, `,"pad":"`)
	if !ok {
		return 0, 0, false, fmt.Errorf("payload has no message number: %.80q", data)
	}
	pad, ok := bytes.CutSuffix(rest, []byte(`"}`))
	if !ok || len(pad) > maxPad {
		return sender, n, true, fmt.Errorf("payload does not end as it was sent: %.80q", data)
	}
	var buf [512]byte
	if want := AppendPayload(buf[:0], sender, n, len(pad)); !bytes.Equal(want, data) {
		return sender, n, true, fmt.Errorf("payload differs: got %.80q, sent %.80q", data, want)
	}
	return sender, n, true, nil
}

// cutInt reads at most nine digits up to sep and returns their value and what follows sep.
func cutInt(b []byte, sep string) (int, []byte, bool) {
	v, i := 0, 0
	for i < len(b) && i < 9 && '0' <= b[i] && b[i] <= '9' {
		v = v*10 + int(b[i]-'0')
		i++
	}
	rest, ok := bytes.CutPrefix(b[i:], []byte(sep))
	return v, rest, ok && i > 0
}

// AppendID appends the id under which message n of the session with index sender is sent.
func AppendID(dst []byte, sender, n int) []byte {
	dst = append(dst, 'm')
	dst = strconv.AppendInt(dst, int64(sender), 10)
	dst = append(dst, '-')
	return strconv.AppendInt(dst, int64(n), 10)
}

// ParseID reads the message number from an id that AppendID made for the session with index sender.
func ParseID(id []byte, sender int) (n int, ok bool) {
	var buf [48]byte
	prefix := append(strconv.AppendInt(append(buf[:0], 'm'), int64(sender), 10), '-')
	rest, ok := bytes.CutPrefix(id, prefix)
	if !ok {
		return 0, false
	}
	n, rest, ok = cutInt(rest, "")
	return n, ok && len(rest) == 0
}
