package chunked

import (
	"bufio"
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

// decode reads a body that arrives in pieces of n bytes.
func decode(body []byte, n int) (content []byte, rest int, done bool, err error) {
	var d Decoder
	for len(body) > 0 {
		p := body[:min(n, len(body))]
		body = body[len(p):]
		for len(p) > 0 {
			var piece []byte
			if piece, p, done, err = d.Next(p); err != nil || done {
				return append(content, piece...), len(p) + len(body), done, err
			}
			content = append(content, piece...)
		}
	}
	return content, 0, false, nil
}

func TestBodies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"0\r\n\r\n":                            "",
		"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n": "Wikipedia",
		"00a\r\n0123456789\r\n0\r\n\r\n":       "0123456789",
		"4;name=value\r\nWiki\r\n0\r\n\r\n":    "Wiki",
		"4 \r\nWiki\r\n0;last\r\n\r\n":         "Wiki",
		"1\r\n\n\r\n0\r\nA: b\r\nC: d\r\n\r\n": "\n",
	} {
		for n := 1; n <= len(body)+3; n++ {
			got, rest, done, err := decode([]byte(body+"GET"), n)
			if err != nil || !done || rest != 3 || string(got) != want {
				t.Fatalf("%q by %d: %q, %d bytes left, done %t, %v", body, n, got, rest, done, err)
			}
		}
	}
}

func TestWhatIsNoBody(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"\r\n", "x", "-1\r\n", "0x4\r\nWiki\r\n", "4\nWiki\r\n", "4\r\nWikix", "4\r\nWiki\n", "4\r\nWiki\rx", "4\rx", "123456789\r\n", "0\r\n\n", "0\r\n\rx",
		"0\r\nA\nB", "4;\nWiki", "4;" + strings.Repeat("x", 2000), "0\r\n" + strings.Repeat("x", 2000), "0\r\n" + strings.Repeat("a: b\r\n", 40),
	} {
		for n := 1; n <= len(body); n++ {
			if _, _, _, err := decode([]byte(body), n); err == nil {
				t.Errorf("%.40q by %d is taken for chunks", body, n)
			}
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"), 3)
	f.Add([]byte("4;a=b\r\nWiki\r\n0\r\nA: b\r\n\r\nGET"), 1)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		if len(body) > 1<<14 {
			return
		}
		whole, rest, done, err := decode(body, max(len(body), 1))
		content, rest2, done2, err2 := decode(body, max(1, n&0xff))
		if !bytes.Equal(whole, content) || done != done2 || err != err2 || done && rest != rest2 {
			t.Fatalf("%q depends on how it is cut: %q and %q", body, whole, content)
		}
		if !done {
			return
		}
		// The standard library is more lenient: what is strict here, it must read as the same.
		want, err := io.ReadAll(httputil.NewChunkedReader(bufio.NewReader(bytes.NewReader(body))))
		if err == nil && !bytes.Equal(want, content) {
			t.Fatalf("%q: %q, the standard library reads %q", body, content, want)
		}
	})
}
