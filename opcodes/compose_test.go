package opcodes

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

func TestAppendMessage(t *testing.T) {
	t.Parallel()
	sender, receiver := uuid.New(), uuid.New()
	for name, m := range map[string]Message{
		"everything":  {Op: Reply, ID: `a"b`, Event: "e\n", Data: []byte(`{"x":[1,2]}`), Target: intent.Group, Group: []byte(`g"h`)},
		"reserved":    {Op: Event, ID: "1", Event: "e", Data: []byte(`1`), Target: intent.Any, Group: []byte(`$echo`)},
		"any at all":  {Op: Event, ID: "1", Target: intent.Any},
		"direct":      {Op: Event, ID: "1", Target: intent.Direct, Receiver: receiver},
		"global":      {Op: Event, ID: "1", Target: intent.Global},
		"assigned id": {Op: Event, Target: intent.Global},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := AppendMessage(nil, &m, sender)
			if len(b) > MessageSize(&m) {
				t.Errorf("%d bytes, announced were %d at most", len(b), MessageSize(&m))
			}
			if !json.Valid(b) {
				t.Fatalf("not JSON: %s", b)
			}
			var e Envelope
			if err := e.ScanDelivery(b); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if e.Op != m.Op || string(e.Event) != m.Event || string(e.Data) != string(m.Data) || e.Target != m.Target ||
				string(e.Identifier) != string(m.Group) || e.Receiver != m.Receiver || e.Sender != sender {
				t.Errorf("%s was read as %+v", b, e)
			}
			var id string
			if err := json.Unmarshal([]byte(`"`+string(e.ID)+`"`), &id); err != nil || m.ID != "" && id != m.ID || id == "" {
				t.Errorf("id %q: %v", id, err)
			}
		})
	}
}

func TestScanDeliveryRefuses(t *testing.T) {
	t.Parallel()
	var e Envelope
	for _, msg := range []string{
		`{"op":0,"intent":{"target":"GLOBAL"},"sender":7}`,
		`{"op":0,"intent":{"target":"GLOBAL"},"sender":"x"}`,
		`{"op":0,"intent":{"target":"GLOBAL"},"sender":"6f1d3a52-6a7e-4c8b-9d43-0f6a5b1c2d3e","sender":"6f1d3a52-6a7e-4c8b-9d43-0f6a5b1c2d3e"}`,
	} {
		if err := e.ScanDelivery([]byte(msg)); err == nil {
			t.Errorf("accepted %s", msg)
		}
	}
	if err := e.Scan([]byte(`{"op":0,"intent":{"target":"GROUP","identifier":"$x"}}`)); err != errIdentifierReserved {
		t.Errorf("a client's message to a reserved group: %v", err)
	}
}
