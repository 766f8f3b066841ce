package resp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestRespPushes reads the same pushes whole and byte by byte.
func TestRespPushes(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 200_000)
	stream := "*3\r\n$9\r\nsubscribe\r\n$4\r\nms:g\r\n:1\r\n" +
		"*3\r\n$7\r\nmessage\r\n$4\r\nms:g\r\n$0\r\n\r\n" +
		"*3\r\n$8\r\nsmessage\r\n$4\r\nms:g\r\n$7\r\nhe\r\nllo\r\n" +
		"*3\r\n$7\r\nmessage\r\n$1\r\ng\r\n$200000\r\n" + big + "\r\n" +
		"*3\r\n$12\r\nsunsubscribe\r\n$4\r\nms:h\r\n:0\r\n"
	type push struct {
		kind PushKind
		what string
	}
	want := []push{
		{PushSubscribed, "ms:g"}, {PushMessage, ""}, {PushMessage, "he\r\nllo"}, {PushMessage, big}, {pushUnsubscribed, "ms:h"},
	}
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(stream), "bytes": iotest.OneByteReader(strings.NewReader(stream)),
		"halves": iotest.HalfReader(strings.NewReader(stream)),
	} {
		in := NewReader(src, new(Hearing))
		var got []push
		for {
			kind, what, err := in.Push()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			got = append(got, push{kind, string(what)})
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(push{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRespRefused(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{
		"\r\n", "\n", "x\r\n", "*x\r\n", "*-\r\n", "*3\n", "*2\r\n$7\r\nmessage\r\n", "*3\r\n$5\r\nother\r\n$1\r\na\r\n$1\r\nb\r\n",
		"*3\r\n$7\r\nmessage\r\n:1\r\n", "*99999999999999999999\r\n", strings.Repeat("*", 2*maxLine),
	} {
		_, _, err := NewReader(strings.NewReader(stream), new(Hearing)).Push()
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%.20q: %v", stream, err)
		}
	}
	_, _, err := NewReader(strings.NewReader("-NOPERM no\r\n"), new(Hearing)).Push()
	var refused ServerError
	if !errors.As(err, &refused) || refused != "NOPERM no" || refused.Transient() {
		t.Errorf("an error reply: %v", err)
	}
	if !ServerError("MOVED 1 h:1").Transient() || !ServerError("LOADING").Transient() {
		t.Error("a passing error is taken for a final one")
	}
}

func FuzzResp(f *testing.F) {
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\ng\r\n$2\r\nhi\r\n"), 3)
	f.Add([]byte("*3\r\n$9\r\nsubscribe\r\n$1\r\ng\r\n:1\r\n"), 1)
	f.Add([]byte("-ERR x\r\n"), 100)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		read := func(src io.Reader) (got []string) {
			in := NewReader(src, new(Hearing))
			for {
				kind, what, err := in.Push()
				if err != nil {
					return got
				}
				got = append(got, string(rune(kind))+string(what))
			}
		}
		split = max(0, min(split, len(b)))
		parts := io.MultiReader(bytes.NewReader(b[:split]), bytes.NewReader(b[split:]))
		if d := cmp.Diff(read(bytes.NewReader(b)), read(parts)); d != "" {
			t.Error(d)
		}
	})
}
