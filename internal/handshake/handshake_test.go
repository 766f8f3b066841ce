package handshake

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// upgradeFieldLines are the header lines of a valid handshake, Host aside.
const upgradeFieldLines = "Upgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// handshake returns a request for target with more header lines.
func handshake(target, fields string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: hub.example:42069\r\n" + upgradeFieldLines + fields + "\r\n"
}

// edited returns the plain handshake with one part replaced.
func edited(old, new string) string {
	plain := handshake("/", "")
	if !strings.Contains(plain, old) {
		panic("nothing to replace: " + old)
	}
	return strings.Replace(plain, old, new, 1)
}

// answerTo answers a request as a listener does that serves /; nil stands for a 101.
func answerTo(head string, origins *OriginPolicy) (*Rejection, *Request) {
	r := new(Request)
	if _, err := Parse([]byte(head), 0, r); err != nil {
		var rej *Rejection
		if !errors.As(err, &rej) {
			rej = &Rejection{Cause: err.Error()}
		}
		return rej, r
	}
	if string(r.Path) != "/" {
		return RejectNotFound, r
	}
	return CheckUpgrade(r, origins), r
}

// handshakes are requests with what they are answered; nil for a 101.
var handshakes = []struct {
	name, head string
	want       *Rejection
}{
	{"plain", handshake("/", ""), nil},
	{"own origin", handshake("/", "Origin: http://hub.example:42069\r\n"), nil},
	{"query", handshake("/?v=1&format=json&;=", ""), nil},
	{"query with odd escapes", handshake("/?a=100%&b=%zz", ""), nil},
	{"empty query", handshake("/?", ""), nil},
	{"absolute form", handshake("http://hub.example:42069/", ""), nil},
	{"absolute form without a path", handshake("HTTPS://hub.example:42069?v=1", ""), nil},
	{"names in other cases", edited("Sec-WebSocket-Key", "sec-websocket-KEY"), nil},
	{"no space behind the colon", edited("Upgrade: websocket", "Upgrade:WebSocket"), nil},
	{"white space around a value", edited("Version: 13", "Version: \t13 \t"), nil},
	{"Firefox's connection", edited("Connection: Upgrade", "Connection: keep-alive, Upgrade"), nil},
	{"lists on several lines", edited("Connection: Upgrade", "Connection: keep-alive\r\nConnection: ,upgrade ,"), nil},
	{"several upgrades offered", edited("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: foo/2, WebSocket"), nil},
	{"extension offer", handshake("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"), nil},
	{"nonsensical extension offer", handshake("/", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99, ;;\r\n"), nil},
	{"subprotocols", handshake("/", "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n"), nil},
	{"Latin-1 in a value", handshake("/", "X-Name: J\xfcrgen\r\n"), nil},
	{"empty value", handshake("/", "X-Empty:\r\n"), nil},
	{"empty content", handshake("/", "Content-Length: 00\r\n"), nil},
	{"IPv6 host", edited("hub.example:42069", "[::1]:42069"), nil},
	{"host without a port", edited("hub.example:42069", "10.0.0.1"), nil},
	{"the key of RFC 6455 §4.1", edited("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC=="), nil},

	{"TLS", "\x16\x03\x01\x02\x00", rejectRequestLine},
	{"empty line first", "\r\n" + handshake("/", ""), rejectRequestLine},
	{"no method", edited("GET ", " "), rejectRequestLine},
	{"method is no token", edited("GET ", "G(T "), rejectRequestLine},
	{"two spaces", edited("GET ", "GET  "), rejectRequestLine},
	{"tab", edited("GET ", "GET\t"), rejectRequestLine},
	{"no target", edited("GET / ", "GET "), rejectRequestLine},
	{"space in the target", edited("GET / ", "GET /a b "), rejectRequestLine},
	{"space behind the version", edited("HTTP/1.1", "HTTP/1.1 "), rejectRequestLine},
	{"HTTP/0.9", "GET /\r\n\r\n", rejectRequestLine},
	{"HTTP/1.0", edited("HTTP/1.1", "HTTP/1.0"), rejectRequestLine},
	{"version in lower case", edited("HTTP/1.1", "http/1.1"), rejectRequestLine},
	{"longer version", edited("HTTP/1.1", "HTTP/1.10"), rejectRequestLine},
	{"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", rejectHTTPVersion},
	{"no line is ended by CRLF", strings.ReplaceAll(handshake("/", ""), "\r\n", "\n"), rejectLineEnd},
	{"one bare LF", edited("websocket\r\n", "websocket\n"), rejectLineEnd},
	{"bare LF ends the head", strings.TrimSuffix(handshake("/", ""), "\r\n") + "\n", rejectLineEnd},
	{"bare CR in a value", edited("websocket", "web\rsocket"), rejectField},
	{"CR CR LF", edited("websocket\r\n", "websocket\r\r\n"), rejectField},
	{"bare CR in the request line", edited("/ HTTP", "/\r HTTP"), rejectTarget},

	{"empty target", edited("GET / ", "GET  "), rejectTarget},
	{"relative target", edited("GET / ", "GET a "), rejectTarget},
	{"fragment", edited("GET / ", "GET /#a "), rejectTarget},
	{"raw UTF-8 in the target", edited("GET / ", "GET /ü "), rejectTarget},
	{"NUL in the target", edited("GET / ", "GET /\x00 "), rejectTarget},
	{"DEL in the query", edited("GET / ", "GET /?\x7f "), rejectTarget},
	{"bad escape", edited("GET / ", "GET /%zz "), rejectTarget},
	{"cut escape", edited("GET / ", "GET /%4 "), rejectTarget},
	{"escaped NUL", edited("GET / ", "GET /%00 "), rejectTarget},
	{"escaped line end", edited("GET / ", "GET /%0d%0a "), rejectTarget},
	{"other scheme", edited("GET / ", "GET ftp://hub.example:42069/ "), rejectTarget},
	{"asterisk form", edited("GET / ", "OPTIONS * "), rejectTarget},
	{"authority form", edited("GET / ", "CONNECT hub.example:42069 "), rejectTarget},

	{"no colon", handshake("/", "X-Name\r\n"), rejectField},
	{"no name", handshake("/", ": x\r\n"), rejectField},
	{"space before the colon", handshake("/", "Transfer-Encoding : chunked\r\n"), rejectField},
	{"folded line", handshake("/", "X-Name: a\r\n b\r\n"), rejectField},
	{"folded first line", edited("Host:", " Host:"), rejectField},
	{"name is no token", handshake("/", "X(Name: a\r\n"), rejectField},
	{"name is not ASCII", handshake("/", "X-N\xe4me: a\r\n"), rejectField},
	{"NUL in a value", handshake("/", "X-Name: a\x00b\r\n"), rejectField},
	{"escape character in a value", handshake("/", "X-Name: \x1b[2J\r\n"), rejectField},

	{"no host", edited("Host: hub.example:42069\r\n", ""), rejectHost},
	{"empty host", edited("hub.example:42069", ""), rejectHost},
	{"two hosts", handshake("/", "Host: hub.example:42069\r\n"), rejectDuplicate},
	{"list of hosts", edited("hub.example:42069", "a, b"), rejectHost},
	{"user in the host", edited("hub.example:42069", "u@hub.example"), rejectHost},
	{"path in the host", edited("hub.example:42069", "hub.example/"), rejectHost},
	{"escape in the host", edited("hub.example:42069", "hub%2eexample"), rejectHost},
	{"host is not ASCII", edited("hub.example:42069", "hüb.example"), rejectHost},
	{"only a port", edited("hub.example:42069", ":80"), rejectHost},
	{"port is no number", edited("42069", "4206x"), rejectHost},
	{"port is too large", edited("42069", "65536"), rejectHost},
	{"IPv6 without brackets", edited("hub.example:42069", "::1"), rejectHost},
	{"open bracket", edited("hub.example:42069", "[::1"), rejectHost},
	{"empty brackets", edited("hub.example:42069", "[]"), rejectHost},
	{"IPv4 in brackets", edited("hub.example:42069", "[10.0.0.1]"), rejectHost},
	{"IPv6 with a zone", edited("hub.example:42069", "[fe80::1%25eth0]"), rejectHost},
	{"behind the brackets", edited("hub.example:42069", "[::1]a"), rejectHost},
	{"host longer than a name can be", edited("hub.example:42069", strings.Repeat("a", 256)), rejectHost},
	{"absolute form of another host", handshake("http://evil.example/", ""), rejectHost},
	{"absolute form with a user", handshake("http://u:p@hub.example:42069/", ""), rejectHost},
	{"absolute form without a host", handshake("http:///", ""), rejectHost},

	{"length and encoding", handshake("/", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), rejectFraming},
	{"two lengths", handshake("/", "Content-Length: 0\r\nContent-Length: 0\r\n"), rejectDuplicate},
	{"list of lengths", handshake("/", "Content-Length: 0, 0\r\n"), rejectFraming},
	{"signed length", handshake("/", "Content-Length: +0\r\n"), rejectFraming},
	{"hexadecimal length", handshake("/", "Content-Length: 0x0\r\n"), rejectFraming},
	{"empty length", handshake("/", "Content-Length:\r\n"), rejectFraming},
	{"content", handshake("/", "Content-Length: 5\r\n"), rejectBody},
	{"overflowing length", handshake("/", "Content-Length: 18446744073709551616\r\n"), rejectBody},
	{"chunked content", handshake("/", "Transfer-Encoding: chunked\r\n"), rejectBody},

	{"unknown path", handshake("/nowhere", ""), RejectNotFound},
	{"unknown path, not a handshake", "POST /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", RejectNotFound},
	{"POST with content", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", rejectMethod},
	{"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", rejectMethod},
	{"method in lower case", edited("GET", "get"), rejectMethod},
	{"plain GET", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", rejectNoUpgrade},
	{"other upgrade", edited("Upgrade: websocket", "Upgrade: h2c"), rejectNoUpgrade},
	{"upgrade to something like it", edited("Upgrade: websocket", "Upgrade: websockets"), rejectNoUpgrade},
	{"upgrade with a long s", edited("Upgrade: websocket", "Upgrade: webſocket"), rejectNoUpgrade},
	{"connection without it", edited("Connection: Upgrade", "Connection: close"), rejectNoUpgrade},
	{"no connection", edited("Connection: Upgrade\r\n", ""), rejectNoUpgrade},
	{"no version", edited("Sec-WebSocket-Version: 13\r\n", ""), rejectVersion},
	{"version 8", edited("Version: 13", "Version: 8"), rejectVersion},
	{"version 013", edited("Version: 13", "Version: 013"), rejectVersion},
	{"two versions", handshake("/", "Sec-WebSocket-Version: 13\r\n"), rejectDuplicate},
	{"no key", edited("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), rejectKey},
	{"empty key", edited("dGhlIHNhbXBsZSBub25jZQ==", ""), rejectKey},
	{"two keys", handshake("/", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), rejectDuplicate},
	{"key of 15 bytes", edited("dGhlIHNhbXBsZSBub25jZQ==", "MTIzNDU2Nzg5MDEyMzQ1"), rejectKey},
	{"key of 17 bytes", edited("dGhlIHNhbXBsZSBub25jZQ==", "MTIzNDU2Nzg5MDEyMzQ1Njc="), rejectKey},
	{"key of 18 bytes", edited("dGhlIHNhbXBsZSBub25jZQ==", "MTIzNDU2Nzg5MDEyMzQ1Njc4"), rejectKey},
	{"key without padding", edited("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), rejectKey},
	{"key in the URL alphabet", edited("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j_Q=="), rejectKey},
	{"24 bytes that are no key", edited("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!=="), rejectKey},
	{"two authorizations", handshake("/", "Authorization: a\r\nAuthorization: a\r\n"), rejectDuplicate},
	{"two origins", handshake("/", "Origin: null\r\nOrigin: null\r\n"), rejectDuplicate},
	{"foreign origin", handshake("/", "Origin: https://evil.example\r\n"), RejectOrigin},
	{"opaque origin", handshake("/", "Origin: null\r\n"), RejectOrigin},
	{"empty origin", handshake("/", "Origin:\r\n"), RejectOrigin},

	{"token", handshake("/?token=abc", ""), RejectTokenInURL},
	{"token without a value", handshake("/?a=1&TOKEN", ""), RejectTokenInURL},
	{"escaped token", handshake("/?a=1;%74ok%65n=abc", ""), RejectTokenInURL},
	{"token in absolute form", handshake("http://hub.example:42069?access_token=abc", ""), RejectTokenInURL},
	{"camel case", handshake("/?accessToken=abc", ""), RejectTokenInURL},
	{"nested", handshake("/?auth[token]=abc", ""), RejectTokenInURL},
	{"api-key", handshake("/?api-key=abc", ""), RejectTokenInURL},
	{"not quite a token", handshake("/?tokens=3&tokenizer=x&keyboard=de&authentications=1&%=&%7=", ""), nil},
	{"a token elsewhere", handshake("/?a=token", ""), nil},
}

func TestHandshakeAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range handshakes {
		if got, _ := answerTo(tc.head, nil); got != tc.want {
			t.Errorf("%s: %v, want %v\n%q", tc.name, got, tc.want, tc.head)
		}
	}
}

// Every cause is known beforehand, has one status, and a line for the client.
func TestHandshakeStatus(t *testing.T) {
	t.Parallel()
	want := map[*Rejection]int{
		rejectHTTPVersion: 505, rejectHeadTooLarge: 431, RejectNotFound: 404, rejectMethod: 405,
		rejectNoUpgrade: 426, rejectVersion: 426, RejectOrigin: 403, RejectOverload: 503,
		rejectTransferCoding: 501, RejectBodyTooLarge: 413, RejectMisdirected: 421,
	}
	seen := map[string]bool{}
	for _, rej := range rejections {
		status, ok := want[rej]
		if !ok {
			status = 400
		}
		if rej.Status != status || rej.Cause == "" || rej.Line == "" || seen[rej.Cause] {
			t.Errorf("%+v: want status %d, a line, and a cause of its own", rej, status)
		}
		if !strings.Contains(rej.Error(), strconv.Itoa(status)) || !strings.Contains(rej.Error(), rej.Line) {
			t.Errorf("%s as an error: %v", rej.Cause, rej)
		}
		seen[rej.Cause] = true
	}
	for _, tc := range handshakes {
		if tc.want != nil && !seen[tc.want.Cause] {
			t.Errorf("%s is not in rejections", tc.want.Cause)
		}
	}
}

func TestParseFields(t *testing.T) {
	t.Parallel()
	head := "GET http://h:80/a%20b?c=d?e HTTP/1.1\r\nHost: h:80\r\nOrigin: null\r\nAuthorization: Bearer x\r\n" +
		"User-Agent: a b\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nSec-WebSocket-Key: k\r\n" +
		"X-Forwarded-Proto: https\r\n" +
		"Sec-WebSocket-Version: v\r\nSec-WebSocket-Protocol: p, q\r\nSec-WebSocket-Protocol: r\r\n\r\n"
	var r Request
	n, err := Parse([]byte(head+"\x81\x80frames"), 0, &r)
	if n != len(head) || err != nil {
		t.Fatalf("n = %d, err = %v; want %d", n, err, len(head))
	}
	for _, f := range []struct {
		name      string
		got, want string
	}{
		{"Method", string(r.Method), "GET"}, {"Target", string(r.Target), "http://h:80/a%20b?c=d?e"},
		{"Path", string(r.Path), "/a%20b"}, {"Query", string(r.Query), "c=d?e"}, {"Host", string(r.Host), "h:80"},
		{"Origin", string(r.Origin), "null"}, {"Authorization", string(r.Authorization), "Bearer x"},
		{"UserAgent", string(r.UserAgent), "a b"}, {"ForwardedFor", string(r.ForwardedFor), "2.2.2.2"},
		{"ForwardedProto", string(r.ForwardedProto), "https"},
		{"Key", string(r.Key), "k"}, {"Version", string(r.Version), "v"}, {"Protocols", string(r.Protocols), "p, q"},
	} {
		if f.got != f.want {
			t.Errorf("%s = %q, want %q", f.name, f.got, f.want)
		}
	}
}

func TestParseDripping(t *testing.T) {
	t.Parallel()
	for _, tc := range handshakes {
		b := []byte(tc.head)
		var whole, dripped Request
		n, err := Parse(b, 0, &whole)
		gotN, gotErr := 0, ErrIncomplete
		for i := 0; i < len(b) && gotErr == ErrIncomplete; i++ {
			gotN, gotErr = Parse(b[:i+1], i, &dripped)
		}
		if gotN != n || gotErr != err || err == nil && !reflect.DeepEqual(dripped, whole) {
			t.Errorf("%s: byte by byte %d, %v; at once %d, %v", tc.name, gotN, gotErr, n, err)
		}
	}
}

func TestParseSizeLimit(t *testing.T) {
	t.Parallel()
	sized := func(n int) []byte {
		return []byte(handshake("/", "X: "+strings.Repeat("x", n-len(handshake("/", "X: \r\n")))+"\r\n"))
	}
	endless := bytes.Repeat([]byte("x"), 4*maxHead)
	for _, tc := range []struct {
		name string
		b    []byte
		err  error
	}{
		{"at the limit", sized(maxHead), nil},
		{"at the limit, with frames behind it", append(sized(maxHead), endless...), nil},
		{"beyond the limit", sized(maxHead + 1), rejectHeadTooLarge},
		{"far beyond the limit", sized(2 * maxHead), rejectHeadTooLarge},
		{"an endless line", endless, rejectHeadTooLarge},
		{"a bare LF beyond the limit", append(endless[:maxHead:maxHead], '\n'), rejectHeadTooLarge},
		{"unfinished below the limit", endless[:maxHead-1], ErrIncomplete},
	} {
		for _, chunk := range []int{len(tc.b), 1, 1000, maxHead} {
			var r Request
			err, from := ErrIncomplete, 0
			for from < len(tc.b) && err == ErrIncomplete {
				to := min(from+chunk, len(tc.b))
				_, err = Parse(tc.b[:to], from, &r)
				from = to
			}
			if err != tc.err {
				t.Errorf("%s, in pieces of %d bytes: %v, want %v", tc.name, chunk, err, tc.err)
			}
		}
	}
}

// A client of another making finds its handshake answered as it should be.
func TestHandshakeWithDialer(t *testing.T) {
	t.Parallel()
	server, client := net.Pipe()
	served := make(chan *Rejection, 1)
	go func() {
		defer server.Close()
		var b []byte
		var r Request
		for from := 0; ; from = len(b) {
			b = append(b, 0)
			if _, err := server.Read(b[from:]); err != nil {
				return
			}
			if _, err := Parse(b, from, &r); err != ErrIncomplete {
				break
			}
		}
		rej := CheckUpgrade(&r, nil)
		if rej == nil {
			_, _ = server.Write(AppendAccept(nil, &r))
		}
		served <- rej
	}()
	_, hs, err := ws.Dialer{
		Protocols: []string{"a"},
		Header:    ws.HandshakeHeaderHTTP{"Origin": {"http://hub.example"}},
	}.Upgrade(client, &url.URL{Scheme: "ws", Host: "hub.example", Path: "/"})
	client.Close()
	if rej := <-served; rej != nil || err != nil || hs.Protocol != "" || len(hs.Extensions) > 0 {
		t.Errorf("%v, %v, %+v", rej, err, hs)
	}
}

// browserHead is what Chromium sends.
var browserHead = []byte(handshake("/socket", "Pragma: no-cache\r\nCache-Control: no-cache\r\n"+
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n"+
	"Origin: https://hub.example:42069\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n"+
	"Cookie: a=0123456789abcdef0123456789abcdef; b=0123456789abcdef\r\n"+
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"))

func TestHandshakeAllocations(t *testing.T) {
	var r Request
	for _, host := range []string{"[2001:db8:1234:5678:9abc:def0:1234:5678]:42069", "hub.example:42069"} {
		head := bytes.ReplaceAll(browserHead, []byte("hub.example:42069"), []byte(host))
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(head, 0, &r); err != nil || CheckUpgrade(&r, nil) != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: parsing and checking allocate %v times", host, n)
		}
	}
	dst := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { AppendAccept(dst, &r) }); n != 0 {
		t.Errorf("accepting allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { AppendResponse(dst, rejectNoUpgrade, &r, time.Time{}) }); n != 0 {
		t.Errorf("refusing allocates %v times", n)
	}
}

func BenchmarkHandshake(b *testing.B) {
	var r Request
	dst := make([]byte, 0, 512)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Parse(browserHead, 0, &r)
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			CheckUpgrade(&r, nil)
		}
	})
	b.Run("accept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendAccept(dst, &r)
		}
	})
	b.Run("refuse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendResponse(dst, rejectNoUpgrade, &r, time.Time{})
		}
	})
}

// FuzzParse asks of any bytes, cut anywhere: nothing panics, the cut makes no difference, and what is accepted
// means the same to net/http.
func FuzzParse(f *testing.F) {
	for _, tc := range handshakes {
		f.Add([]byte(tc.head), uint16(len(tc.head)/2))
	}
	f.Add(browserHead, uint16(1))
	policy, err := ParseOrigins([]string{"https://*.example.com", "https://app.example"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var whole, parts Request
		n, err := Parse(b, 0, &whole)
		at := min(int(cut), len(b))
		gotN, gotErr := Parse(b[:at], 0, &parts)
		if gotErr == ErrIncomplete {
			gotN, gotErr = Parse(b, at, &parts)
		}
		if gotN != n || gotErr != err || !reflect.DeepEqual(parts, whole) {
			t.Fatalf("cut at %d: %d, %v, %+v; at once: %d, %v, %+v", at, gotN, gotErr, parts, n, err, whole)
		}
		if err != nil {
			return
		}
		if CheckUpgrade(&whole, policy) == nil && len(AppendAccept(nil, &whole)) != AcceptBytes {
			t.Fatal("accepted otherwise than usual")
		}
		if whole.HasBody { // net/http refuses some transfer codings; so do we, later
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:n])))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b[:n], err)
		}
		path, err := url.PathUnescape(string(whole.Path))
		if err != nil || path != req.URL.Path && !(path == "/" && req.URL.Path == "") || string(whole.Query) != req.URL.RawQuery {
			t.Fatalf("path %q and query %q, net/http has %q", whole.Path, whole.Query, req.URL)
		}
		if string(whole.Method) != req.Method || string(whole.Host) != req.Host ||
			string(whole.Key) != req.Header.Get("Sec-WebSocket-Key") || string(whole.Origin) != req.Header.Get("Origin") {
			t.Fatalf("%+v differs from what net/http has: %+v", whole, req)
		}
	})
}
