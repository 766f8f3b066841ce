package redis

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// numberedMessage makes what the script publishes for messages in the form of frame.go.
func numberedMessage(epoch string, first uint64, messages ...[]byte) []byte {
	be := binary.BigEndian
	b := []byte{0xE5, 'M', numberedMajor << 4, byte(len(epoch))}
	b = be.AppendUint64(be.AppendUint16(b, uint16(len(messages))), first)
	b = append(b, epoch...)
	for _, m := range messages {
		b = append(be.AppendUint32(b, uint32(len(m))), m...)
	}
	return b
}

// sampleNumbered is a message of a group with history.
func sampleNumbered(pubSeq uint64, payload string) *frame {
	return &frame{
		Message: broker.Message{Kind: kindNumbered, From: 0x01020304, Sender: uuid.UUID{1, 2, 3}, Group: []byte("log"), Payload: []byte(payload)},
		run:     10, pubSeq: pubSeq,
	}
}

// allNumbered reads the messages of b with their numbers; ok is false where b is not well-formed.
func allNumbered(b []byte) (epoch string, numbers []uint64, raw [][]byte, ok bool) {
	n, ok := parseNumbered(b)
	for ok && n.count > 0 {
		var m []byte
		var offset uint64
		if m, offset, ok = n.next(); ok {
			numbers, raw = append(numbers, offset), append(raw, m)
		}
	}
	return string(n.epoch), numbers, raw, ok
}

// TestNumberedWireForm holds numbered messages to their bytes: those of a release before are in Redis, and its instances
// run beside this one.
func TestNumberedWireForm(t *testing.T) {
	t.Parallel()
	one := "e54d124e00570003" + "ec91d8fe" + "01020304" + "00000000" + "000000000000000a" + "000000000000000b" + "0000000000000000" +
		"0000000000000000" + "01020300000000000000000000000000" + "00000000000000000000000000000000" + "6c6f67" + "7b7d"
	if got := hex.EncodeToString(mustAppend(t, nil, sampleNumbered(11, "{}"))); got != one {
		t.Errorf("a message:\n%s, want\n%s", got, one)
	}
	raw, err := hex.DecodeString(one)
	if err != nil {
		t.Fatal(err)
	}
	const head = "e54d200400020000000000000411" + "6b337639"
	both := hex.EncodeToString(numberedMessage("k3v9", 1041, raw, raw))
	if want := head + "00000059" + one + "00000059" + one; both != want {
		t.Errorf("two messages:\n%s, want\n%s", both, want)
	}
	for name, tt := range map[string]struct {
		b  string
		ok bool
	}{
		"two":                 {both, true},
		"a later minor":       {"e54d27" + both[6:], true},
		"another major":       {"e54d30" + both[6:], false},
		"the major of others": {"e54d10" + both[6:], false},
		"no epoch":            {"e54d2000" + both[8:], false},
		"none":                {"e54d20040000" + both[12:], false},
		"one too many":        {"e54d20040003" + both[12:], false},
		"number zero":         {"e54d200400020000000000000000" + both[28:], false},
		"number of 64 bits":   {"e54d20040002f000000000000000" + both[28:], false},
		"cut":                 {both[:len(both)-2], false},
		"a length too big":    {head + "ffffffff" + one, false},
		"head alone":          {head[:20], false},
	} {
		b, err := hex.DecodeString(tt.b)
		if err != nil {
			t.Fatal(err)
		}
		epoch, numbers, messages, ok := allNumbered(b)
		if ok != tt.ok || ok && (epoch != "k3v9" || !cmp.Equal(numbers, []uint64{1041, 1042}) || !bytes.Equal(messages[1], raw)) {
			t.Errorf("%s: %s, %d, %x, %v", name, epoch, numbers, messages, ok)
		}
	}
}

func FuzzNumbered(f *testing.F) {
	raw := mustAppend(f, nil, sampleNumbered(1, "{}"))
	f.Add(numberedMessage("k3v9", 1041, raw, raw))
	f.Add(numberedMessage("e", 1, nil))
	f.Add([]byte{0xE5, 'M', 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 'e'})
	f.Fuzz(func(t *testing.T, b []byte) {
		epoch, numbers, messages, ok := allNumbered(b)
		for i, n := range numbers {
			if n != numbers[0]+uint64(i) || n == 0 {
				t.Fatalf("numbers %d", numbers)
			}
			_ = parseFrame(messages[i], new(frame))
		}
		if !ok {
			return
		}
		again := numberedMessage(epoch, numbers[0], messages...)
		if again[2] = b[2]; !bytes.HasPrefix(b, again) {
			t.Errorf("%x was read as %x", b, again)
		}
	})
}
