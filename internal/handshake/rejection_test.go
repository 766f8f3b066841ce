package handshake

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestAppendResponse(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	for _, method := range []string{"GET", "HEAD"} {
		for _, rej := range rejections {
			b := AppendResponse(nil, rej, &Request{Method: []byte(method)}, now)
			if len(b) > ResponseBytes(rej) {
				t.Errorf("%s: %d bytes", rej.Cause, len(b))
			}
			in := bufio.NewReader(bytes.NewReader(b))
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%s: %v\n%s", rej.Cause, err, b)
			}
			body, err := io.ReadAll(res.Body)
			want := rej.Line + "\n"
			if res.ContentLength != int64(len(want)) {
				t.Errorf("%s: Content-Length %d, want %d", rej.Cause, res.ContentLength, len(want))
			}
			if method == "HEAD" {
				want = ""
			}
			if _, end := in.ReadByte(); string(body) != want || err != nil || end != io.EOF || res.StatusCode != rej.Status || !res.Close {
				t.Errorf("%s %s: %s\n%s", method, rej.Cause, res.Status, b)
			}
			fields := map[string]string{
				"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff",
				"Date": "Tue, 03 Feb 2026 03:05:06 GMT", "Sec-Websocket-Version": "", "Upgrade": "", "Allow": "",
			}
			switch rej.Status {
			case 426:
				fields["Sec-Websocket-Version"], fields["Upgrade"] = "13", "websocket"
			case 405:
				fields["Allow"] = "GET"
			}
			for name, value := range fields {
				if got := res.Header.Get(name); got != value {
					t.Errorf("%s: %s is %q, want %q", rej.Cause, name, got, value)
				}
			}
		}
	}
}

func TestAppendAccept(t *testing.T) {
	t.Parallel()
	rej, r := answerTo(handshake("/", "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a\r\n"), nil)
	if rej != nil {
		t.Fatal(rej)
	}
	const want = "xHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" // RFC 6455 §1.3
	if got := AppendAccept([]byte("x"), r); string(got) != want || len(got) != 1+AcceptBytes {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAcceptAsTheLibrary compares the answer with that of the upgrader of gobwas/ws, for keys of all bytes.
func TestAcceptAsTheLibrary(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, 16))
		head := edited("dGhlIHNhbXBsZSBub25jZQ==", key)
		rej, r := answerTo(head, nil)
		if rej != nil {
			t.Fatal(rej)
		}
		var want bytes.Buffer
		if _, err := (ws.Upgrader{}).Upgrade(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(head), &want}); err != nil {
			t.Fatal(err)
		}
		if got := AppendAccept(nil, r); !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("key %s: got %q, want %q", key, got, want.Bytes())
		}
	}
}
