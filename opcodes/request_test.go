package opcodes

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// request returns an EVENT with the given member expect.
func request(expect string) string {
	return `{"op":0,"id":"q","intent":{"target":"ANY","identifier":"g"},"expect":` + expect + `}`
}

func TestExpectation(t *testing.T) {
	t.Parallel()
	second := Expectation{Timeout: time.Second}
	for msg, want := range map[string]Expectation{
		request(`{"timeout_ms":1000}`):                                                             second,
		request(`{ "timeout_ms" : 1000 }`):                                                         second,
		request(`{"time\u006fut_ms":1000,"retry":false}`):                                          second,
		request(`{"timeout_ms":1000,"later":{"a":[1]}}`):                                           second,
		request(`{"timeout_ms":1}`):                                                                {Timeout: time.Millisecond},
		request(`{"timeout_ms":3600000}`):                                                          {Timeout: time.Hour},
		request(`{"retry":true,"timeout_ms":1000}`):                                                {Timeout: time.Second, Retry: true},
		request(`{"key":"k","timeout_ms":1000}`):                                                   {Timeout: time.Second, Key: []byte("k")},
		request(`{"key":"\u00e9\n","timeout_ms":1000}`):                                            {Timeout: time.Second, Key: []byte("é\n")},
		request(`{"key":"` + key(128) + `","timeout_ms":1000}`):                                    {Timeout: time.Second, Key: []byte(key(128))},
		`{"expect":{"timeout_ms":1000,"retry":false},"op":0,"id":"q",` + toAll + `}`:               second,
		`{"op":0,"id":"q","attempts":1,"mores":2,"":0,` + toAll + `,"expect":{"timeout_ms":1000}}`: second,
	} {
		var e Envelope
		if err := e.Scan([]byte(msg)); err != nil {
			t.Errorf("%s: %v", msg, err)
			continue
		}
		got, err := e.Expectation()
		if err != nil {
			t.Errorf("%s: %v", msg, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", msg, diff)
		}
	}
}

func key(n int) string { return strings.Repeat("k", n) }

func TestExpectationRefuses(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]*ScanError{
		request(`null`):                                                                 errExpectType,
		request(`7`):                                                                    errExpectType,
		request(`[]`):                                                                   errExpectType,
		request(`"soon"`):                                                               errExpectType,
		request(`{}`):                                                                   errExpectTimeout,
		request(`{"timeout_ms":0}`):                                                     errExpectTimeout,
		request(`{"timeout_ms":-1}`):                                                    errExpectTimeout,
		request(`{"timeout_ms":3600001}`):                                               errExpectTimeout,
		request(`{"timeout_ms":31536000000}`):                                           errExpectTimeout,
		request(`{"timeout_ms":99999999999999999999999}`):                               errExpectTimeout,
		request(`{"timeout_ms":1.0}`):                                                   errExpectTimeout,
		request(`{"timeout_ms":1e3}`):                                                   errExpectTimeout,
		request(`{"timeout_ms":"1000"}`):                                                errExpectTimeout,
		request(`{"timeout_ms":null}`):                                                  errExpectTimeout,
		request(`{"retry":true}`):                                                       errExpectTimeout,
		request(`{"timeout_ms":1,"retry":1}`):                                           errExpectRetry,
		request(`{"timeout_ms":1,"retry":null}`):                                        errExpectRetry,
		request(`{"timeout_ms":1,"key":""}`):                                            errExpectKey,
		request(`{"timeout_ms":1,"key":7}`):                                             errExpectKey,
		request(`{"timeout_ms":1,"key":"` + key(129) + `"}`):                            errExpectKey,
		request(`{"timeout_ms":1,"timeout_ms":1}`):                                      errExpectName,
		request(`{"timeout_ms":1,"timeout\u005fms":2}`):                                 errExpectName,
		request(`{"timeout_ms":1,"Retry":true}`):                                        errExpectName,
		request(`{"timeout_ms":1,"\u212aey":"k"}`):                                      errExpectName, // the Kelvin sign
		`{"op":0,` + toAll + `,"expect":{"timeout_ms":1}}`:                              errExpectID,
		`{"op":0,"id":null,` + toAll + `,"expect":{"timeout_ms":1}}`:                    errExpectID,
		`{"op":0,"id":"q",` + toAll + `,"expect":{"timeout_ms":1,"retry":true}}`:        errExpectTarget,
		`{"op":0,"id":"q",` + toAll + `,"expect":{"timeout_ms":1,"key":"k"}}`:           errExpectTarget,
		`{"op":0,"id":"q","attempt":2,` + toAll + `,"expect":{"timeout_ms":1}}`:         errForgedAttempt,
		`{"op":0,"id":"q","\u0061ttempt":null,` + toAll + `,"expect":{"timeout_ms":1}}`: errForgedAttempt,
		`{"op":0,"id":"q","ATTEMPT":2,` + toAll + `,"expect":{"timeout_ms":1}}`:         errNameCase,
		`{"op":0,"id":"q","Expect":2,` + toAll + `,"expect":{"timeout_ms":1}}`:          errNameCase,
	} {
		var e Envelope
		if err := e.Scan([]byte(msg)); err != nil {
			t.Errorf("%s: Scan: %v", msg, err)
			continue
		}
		if _, err := e.Expectation(); err != error(want) {
			t.Errorf("%s: %v, want %v", msg, err, want)
		}
	}
	if err := new(Envelope).Scan([]byte(`{"op":0,"expect":1,"expect":2,` + toAll + `}`)); err != errDuplicate {
		t.Errorf("expect twice: %v", err)
	}
}

func TestReplyMembers(t *testing.T) {
	t.Parallel()
	var e Envelope
	for members, want := range map[string]struct {
		more    bool
		failure string
	}{
		``:                                 {},
		`,"more":true`:                     {true, ""},
		`,"more":false`:                    {},
		`,"more":1`:                        {},
		`,"more":"true"`:                   {},
		`,"error":{"code":"X"}`:            {false, `{"code":"X"}`},
		`,"error": null ,"mor\u0065":true`: {true, `null`},
	} {
		msg := `{"op":5,"id":"q",` + toAll + members + `}`
		if err := e.Scan([]byte(msg)); err != nil || e.More != want.more || string(e.Failure) != want.failure {
			t.Errorf("%s: %v, more %v, error %s", msg, err, e.More, e.Failure)
		}
	}
}

func TestPlainID(t *testing.T) {
	t.Parallel()
	var e Envelope
	for id, want := range map[string]string{`q`: "q", `\u0071`: "q", `a\"b`: `a"b`, strings.Repeat(`\u00e9`, 32): strings.Repeat("é", 32)} {
		if err := e.Scan([]byte(`{"op":15,"id":"` + id + `"}`)); err != nil || string(e.PlainID()) != want {
			t.Errorf("%s: %v, %q", id, err, e.PlainID())
		}
	}
	if err := e.Scan([]byte(`{"op":15}`)); err != nil || e.PlainID() != nil {
		t.Error("a CANCEL without an id has one")
	}
}

func TestAppendSettled(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse(client)
	for want, s := range map[string]Settlement{
		`{"op":14,"id":"q\"1","data":{"receivers":1,"replied":1,"passed":0,"missing":[]}}`: {Receivers: 1, Replied: 1},
		`{"op":14,"id":"q\"1","data":{"receivers":5,"replied":3,"passed":1,"missing":[{"id":"` + client + `","name":"shard-3","reason":"PING_TIMEOUT"}]}}`: {
			Receivers: 5, Replied: 3, Passed: 1, Missing: []Missing{{ID: id, Name: "shard-3", Reason: "PING_TIMEOUT"}}},
		`{"op":14,"id":"q\"1","data":{"receivers":3,"replied":0,"passed":0,"missing":[{"node":"host-2","reason":"INSTANCE_LOST","count":3},{"reason":"NOT_DELIVERED"}],"more":7}}`: {
			Receivers: 3, Missing: []Missing{{Node: "host-2", Reason: MissingInstance, Count: 3}, {Reason: MissingNotDelivered}}, More: 7},
	} {
		got := string(AppendSettled(nil, `q"1`, &s))
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if len(got) > SettledSize(`q"1`, &s) {
			t.Errorf("SettledSize: %d, has %d", SettledSize(`q"1`, &s), len(got))
		}
	}
	nasty := strings.Repeat("\x01", 64)
	worst := Settlement{math.MaxInt, math.MaxInt, math.MaxInt, []Missing{{id, nasty, nasty, nasty, math.MaxInt}}, math.MaxInt}
	if got := AppendSettled(nil, nasty, &worst); !json.Valid(got) || len(got) > SettledSize(nasty, &worst) {
		t.Errorf("%d bytes, SettledSize %d: %s", len(got), SettledSize(nasty, &worst), got)
	}
}

func TestAppendCancel(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse(client)
	got := string(AppendCancel(nil, "q\n1", id))
	if want := `{"op":15,"id":"q\n1","sender":"` + client + `"}`; got != want || len(got) > CancelSize("q\n1") {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAppendAttempt(t *testing.T) {
	t.Parallel()
	var e Envelope
	if err := e.Scan([]byte(request(`{"timeout_ms":1,"retry":true}`))); err != nil {
		t.Fatal(err)
	}
	first := AppendDelivery(nil, &e, uuid.Nil, uuid.MustParse(client))
	got := string(AppendAttempt(nil, first, 2))
	tail := `,"sender":"` + client + `"}`
	if want := strings.TrimSuffix(string(first), tail) + `,"attempt":2` + tail; got != want || len(got) > AttemptSize(first) {
		t.Errorf("%s, want %s", got, want)
	}
	if err := e.ScanDelivery([]byte(got)); err != nil || e.Sender.String() != client {
		t.Errorf("a delivery with an attempt: %v, sender %v", err, e.Sender)
	}
}

// TestRequestAllocations: a request costs the scan no allocation.
func TestRequestAllocations(t *testing.T) {
	var e Envelope
	msg := []byte(`{"op":0,"id":"\u0071","intent":{"target":"ANY","identifier":"g"},"expect":{"timeout_ms":1000,"retry":true,"key":"\u0065x"}}`)
	n := testing.AllocsPerRun(100, func() {
		if e.Scan(msg) != nil {
			panic("refused")
		}
		if _, err := e.Expectation(); err != nil {
			panic(err)
		}
		e.PlainID()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzExpectation compares what Expectation finds with what encoding/json reads.
func FuzzExpectation(f *testing.F) {
	for _, expect := range []string{
		`{"timeout_ms":1000}`, `{"timeout_ms":1,"retry":true,"key":"k"}`, `{"timeout_ms":1e3}`, `{"key":"\u00e9","timeout_ms":3600000}`, `null`, `[]`, `{}`,
	} {
		f.Add(expect)
	}
	var e Envelope
	f.Fuzz(func(t *testing.T, expect string) {
		if e.Scan([]byte(request(expect))) != nil || string(e.Expect) != strings.TrimSpace(expect) {
			return // expect is no JSON value, or more than one
		}
		got, err := e.Expectation()
		if err != nil {
			return
		}
		var want struct {
			Timeout json.RawMessage `json:"timeout_ms"`
			Retry   bool            `json:"retry"`
			Key     *string         `json:"key"`
		}
		if err := json.Unmarshal(e.Expect, &want); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		ms, err := strconv.Atoi(string(want.Timeout))
		if err != nil || got.Timeout != time.Duration(ms)*time.Millisecond || ms < 1 || ms > 3600000 {
			t.Errorf("timeout %v of %s", got.Timeout, want.Timeout)
		}
		if got.Retry != want.Retry || (got.Key == nil) != (want.Key == nil) || got.Key != nil && string(got.Key) != *want.Key {
			t.Errorf("retry %v, key %q", got.Retry, got.Key)
		}
	})
}
