package engineio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// next is NextFrame with the packet taken apart.
func next(payload []byte) (p Packet, rest []byte, err error) {
	frame, binary, rest, err := NextFrame(payload)
	switch {
	case err != nil:
		return Packet{}, nil, err
	case binary:
		return Packet{Type: Message, Binary: true, Data: frame}, rest, nil
	}
	p, err = ParseText(frame)
	return p, rest, err
}

func TestPayloadsComeApartAsTheyWereMade(t *testing.T) {
	t.Parallel()
	for _, packets := range [][]Packet{
		{{Type: Message, Data: []byte("hello")}},
		{{Type: Message, Data: []byte("test1")}, {Type: Message, Data: []byte("test2")}, {Type: Message, Data: []byte("test3")}},
		{{Type: Message, Data: []byte("hello")}, {Type: Message, Binary: true, Data: []byte{1, 2, 3, 4}}},
		{{Type: Ping}, {Type: Noop}, {Type: Close}},
		{{Type: Message, Binary: true, Data: []byte{}}, {Type: Message, Data: []byte("b")}},
	} {
		var payload []byte
		for _, p := range packets {
			before := len(payload)
			if payload = AppendPolled(payload, p); len(payload)-before > 2+base64.StdEncoding.EncodedLen(len(p.Data)) {
				t.Errorf("%+v took %d bytes, more than its base64 and two", p, len(payload)-before)
			}
		}
		for i, want := range packets {
			got, rest, err := next(payload)
			if err != nil || got.Type != want.Type || got.Binary != want.Binary || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("packet %d: %+v, %v, want %+v", i, got, err, want)
			}
			if last := i == len(packets)-1; (rest == nil) != last {
				t.Errorf("packet %d: rest %q", i, rest)
			}
			payload = rest
		}
	}
}

func TestTheDocumentedPayload(t *testing.T) {
	t.Parallel()
	payload := AppendPolled(nil, Packet{Type: Message, Data: []byte("hello")})
	payload = AppendPolled(payload, Packet{Type: Message, Binary: true, Data: []byte{1, 2, 3, 4}})
	if want := "4hello\x1ebAQIDBA=="; string(payload) != want {
		t.Errorf("%q, want %q", payload, want)
	}
}

func TestWhatIsNoPacket(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "abc", "7", "\x1e4a", "4a\x1e", "4a\x1e\x1e4b", "bAQ", "b!!!!", "bAQIDBA=\n=", "bAQIDBB=="} {
		rest := []byte(payload)
		var err error
		for ok := true; ok && err == nil; ok = rest != nil {
			_, rest, err = next(rest)
		}
		if err == nil {
			t.Errorf("%q is taken for a payload", payload)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, upgrades := range []bool{false, true} {
		open := AppendOpen(nil, Handshake{
			SID: "lv_VI97HAXpY6yYWAAAB", Upgrades: upgrades, PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second, MaxPayload: 1_000_000,
		})
		want := `0{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
		if upgrades {
			want = strings.Replace(want, "[]", `["websocket"]`, 1)
		}
		if string(open) != want {
			t.Errorf("%s, want %s", open, want)
		}
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		query     string
		want      *Error
		transport Transport
		sid       string
	}{
		{query: "EIO=4&transport=polling"},
		{query: "transport=websocket&EIO=4", transport: WebSocket},
		{query: "EIO=4&transport=polling&t=PSbVJ2h&sid=abc", sid: "abc"},
		{query: "EIO=4&transport=polling&b64=1&sid=", sid: ""},
		{query: "", want: ErrTransport},
		{query: "EIO=4", want: ErrTransport},
		{query: "EIO=4&transport=abc", want: ErrTransport},
		{query: "EIO=4&transport=webtransport", want: ErrTransport},
		{query: "EIO=4&transport=%70olling", want: ErrTransport},
		{query: "transport=polling", want: ErrRevision},
		{query: "EIO=abc&transport=polling", want: ErrRevision},
		{query: "EIO=3&transport=polling", want: ErrRevision},
		{query: "EIO=4&EIO=3&transport=polling", want: ErrBadRequest},
		{query: "EIO=4&transport=polling&transport=websocket", want: ErrBadRequest},
		{query: "EIO=4&transport=polling&sid=a&sid=b", want: ErrBadRequest},
		{query: "EIO=4&transport=polling&sid=" + strings.Repeat("a", 129), want: ErrSession},
	} {
		q, err := ParseQuery([]byte(c.query))
		if err != c.want || err == nil && (q.Transport != c.transport || string(q.SID) != c.sid) {
			t.Errorf("%q: %+v, %v; want %+v", c.query, q, err, c)
		}
	}
}

func TestErrorBodiesAreJSON(t *testing.T) {
	t.Parallel()
	for _, e := range []*Error{ErrTransport, ErrSession, ErrMethod, ErrBadRequest, ErrForbidden, ErrRevision} {
		var body struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(e.AppendBody(nil), &body); err != nil || body.Code != e.Code || body.Message != e.Message {
			t.Errorf("%s: %+v, %v", e.AppendBody(nil), body, err)
		}
	}
}

func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"4hello\x1ebAQIDBA==", "2", "1\x1e6", "b", "\x1e", "bAQ=="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 1<<16 {
			return
		}
		want := bytes.Clone(payload)
		var again []byte
		for rest := payload; rest != nil; {
			p, following, err := next(rest)
			if err != nil {
				return
			}
			again, rest = AppendPolled(again, p), following
		}
		if !bytes.Equal(again, want) {
			t.Errorf("%q came back as %q", want, again)
		}
	})
}
