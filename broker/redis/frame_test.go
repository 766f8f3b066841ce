package redis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

func sampleFrame() *frame {
	return &frame{
		Message: broker.Message{
			Kind: broker.KindGroup, Flags: 0x10, From: 0xDEADBEEF, To: 7, Sender: uuid.New(), Receiver: uuid.New(),
			Seq: 99, Group: []byte("workers"), Payload: []byte(`{"op":0}`),
		},
		run: 1 << 63, pubSeq: 1<<40 + 1, chanSeq: 12,
	}
}

func mustAppend(tb testing.TB, dst []byte, f *frame) []byte {
	tb.Helper()
	b, err := appendFrame(dst, f, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// withChecksum puts the right checksum into b, so that a test reaches the checks behind it.
func withChecksum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], frameChecksum(b))
	return b
}

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	long := sampleFrame()
	long.Group, long.Payload = bytes.Repeat([]byte("g"), 255), make([]byte, 1<<20)
	extra := sampleFrame()
	extra.Extra = bytes.Repeat([]byte{7}, broker.MaxExtra)
	for name, f := range map[string]*frame{"usual": sampleFrame(), "extra": extra, "zero": {Message: broker.Message{Group: []byte{}, Payload: []byte{}}}, "long": long} {
		b := mustAppend(t, []byte("before"), f)
		if len(b) != len("before")+frameLen(f, nil) {
			t.Errorf("%s: length %d, frameLen says %d", name, len(b)-len("before"), frameLen(f, nil))
		}
		var got frame
		if err := parseFrame(b[len("before"):], &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(*f, got, cmp.AllowUnexported(frame{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	tooLong := sampleFrame()
	tooLong.Group = make([]byte, 256)
	if _, err := appendFrame(nil, tooLong, nil); err == nil {
		t.Error("a group name of 256 bytes was accepted")
	}
	tooLong = sampleFrame()
	tooLong.Extra = make([]byte, broker.MaxExtra+1)
	if _, err := appendFrame(nil, tooLong, nil); err == nil {
		t.Error("too much that goes along with a message was accepted")
	}
}

func TestFrameFromLaterMinor(t *testing.T) {
	t.Parallel()
	f := sampleFrame()
	b := mustAppend(t, nil, f)
	end := headerFixed + len(f.Group)
	later := append(append(bytes.Clone(b[:end]), "a field of a later release"...), b[end:]...)
	later[2] = headerMajor<<4 | 9
	binary.BigEndian.PutUint16(later[4:], uint16(end+len("a field of a later release")))
	var got frame
	if err := parseFrame(withChecksum(later), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*f, got, cmp.AllowUnexported(frame{})); d != "" {
		t.Error(d)
	}
}

func TestFrameRefused(t *testing.T) {
	t.Parallel()
	edit := func(change func([]byte)) []byte {
		b := mustAppend(t, nil, sampleFrame())
		change(b)
		return withChecksum(b)
	}
	whole := mustAppend(t, nil, sampleFrame())
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":         {nil, errForeign},
		"text":          {[]byte(`{"op":0,"event":"somebody else's message on our channel, long enough to be a header"}`), errForeign},
		"other major":   {edit(func(b []byte) { b[2] = 2 << 4 }), errVersion},
		"major alone":   {[]byte{0xE5, 'M', 2 << 4}, errVersion},
		"cut header":    {whole[:headerFixed-1], errCorrupt},
		"cut group":     {whole[:headerFixed+3], errCorrupt},
		"cut payload":   {whole[:len(whole)-1], errCorrupt},
		"added byte":    {append(bytes.Clone(whole), 0), errCorrupt},
		"size too big":  {edit(func(b []byte) { b[4], b[5] = 0xFF, 0xFF }), errCorrupt},
		"size in group": {edit(func(b []byte) { b[5]-- }), errCorrupt},
		"group too big": {edit(func(b []byte) { b[7] = 255 }), errCorrupt},
	} {
		if err := parseFrame(c.in, new(frame)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if parseFrame(b, new(frame)) == nil {
			t.Errorf("a flipped bit in byte %d went unnoticed", i)
		}
	}
}

func TestFrameAllocations(t *testing.T) {
	f, buf := sampleFrame(), make([]byte, 0, 1024)
	var got frame
	if n := testing.AllocsPerRun(100, func() {
		b, _ := appendFrame(buf, f, nil)
		if parseFrame(b, &got) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations for one append and one parse, want 0", n)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(mustAppend(f, nil, sampleFrame()), true)
	f.Add(mustAppend(f, nil, &frame{}), false)
	f.Add([]byte{0xE5, 'M', 0x10}, false)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= headerFixed {
			b = withChecksum(bytes.Clone(b))
		}
		var got, again frame
		if parseFrame(b, &got) != nil {
			return
		}
		if len(got.Group)+len(got.Payload)+headerFixed > len(b) {
			t.Fatal("more was parsed than there is")
		}
		if err := parseFrame(mustAppend(t, nil, &got), &again); err != nil {
			t.Fatalf("re-encoded: %v", err)
		}
		if d := cmp.Diff(got, again, cmp.AllowUnexported(frame{})); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	f, buf := sampleFrame(), make([]byte, 0, 1024)
	f.Payload = make([]byte, 250)
	var got frame
	b.ReportAllocs()
	for b.Loop() {
		w, _ := appendFrame(buf, f, nil)
		_ = parseFrame(w, &got)
	}
}
