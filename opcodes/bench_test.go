package opcodes

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// event returns an EVENT of a kind that services send, padded to n bytes by a string in its data.
func event(n int) []byte {
	const format = `{"id":"70653cb0-5f6d-41fe-acbf-ea8f37a73034","op":0,"event":"ORDER_PLACED",` +
		`"data":{"order":4711,"paid":true,"total":129.95,"note":"%s"},"intent":{"target":"GROUP","identifier":"billing"}}`
	return fmt.Appendf(nil, format, strings.Repeat("x", max(0, n-len(fmt.Sprintf(format, "")))))
}

// sized are messages of a range of shapes, for benchmarks.
var sized = []struct {
	name string
	msg  []byte
}{
	{"ping", []byte(PingMessage)},
	{"event250", event(250)},
	{"event1k", event(1 << 10)},
	{"event32k", event(32 << 10)},
	{"numbers32k", wrapData("[" + strings.Repeat("1234.5,-7,", 3250) + "0]")},
	{"objects32k", wrapData("[" + strings.Repeat(`{"a":1,"b":[true,null]},`, 1350) + "0]")},
	{"cyrillic32k", wrapData(`"` + strings.Repeat("привет мир ", 1630) + `"`)},
	{"chinese32k", wrapData(`"` + strings.Repeat("消息枢纽", 2700) + `"`)},
	{"escapes32k", wrapData(`"` + strings.Repeat(`\n\u00e9`, 4070) + `"`)},
	{"names32k", manyNames(32 << 10)},
}

func wrapData(data string) []byte {
	return []byte(`{"op":0,"data":` + data + `,"intent":{"target":"GLOBAL"}}`)
}

// manyNames returns a message of at most n bytes with as many distinct names of its own as fit.
func manyNames(n int) []byte {
	msg := []byte(`{"op":3`)
	for i := 0; len(msg) < n-16; i++ {
		msg = fmt.Appendf(msg, `,"%s":0`, strings.ToLower(fmt.Sprintf("%x", i)))
	}
	return append(msg, '}')
}

func BenchmarkScan(b *testing.B) {
	for _, s := range sized {
		b.Run(s.name, func(b *testing.B) {
			var e Envelope
			b.SetBytes(int64(len(s.msg)))
			b.ReportAllocs()
			for b.Loop() {
				if err := e.Scan(s.msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJSONText does the work of Scan by way of jsontext's tokens; see walker.
func BenchmarkJSONText(b *testing.B) {
	for _, s := range sized {
		b.Run(s.name, func(b *testing.B) {
			w := newWalker()
			b.SetBytes(int64(len(s.msg)))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.scan(s.msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncodingJSON decodes with the standard library into a struct that keeps data raw.
func BenchmarkEncodingJSON(b *testing.B) {
	for _, s := range sized {
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(s.msg)))
			b.ReportAllocs()
			for b.Loop() {
				var e struct {
					ID     *string
					Op     int
					Event  string
					Data   json.RawMessage
					Intent struct {
						Target     string
						Identifier *string
					}
				}
				if err := json.Unmarshal(s.msg, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendDelivery(b *testing.B) {
	var e Envelope
	if err := e.Scan(event(250)); err != nil {
		b.Fatal(err)
	}
	id := uuid.New()
	buf := make([]byte, 0, DeliverySize(&e))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDelivery(buf[:0], &e, id, id)
	}
}
