package opcodes

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestAppendHistory(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]HistoryData{
		`{"op":11,"data":{"group":"orders","epoch":"k3v9","offset":1050,"live":true}}`: {
			Group: "orders", Position: Position{"k3v9", 1050}, Live: true,
		},
		`{"op":11,"data":{"group":"a\"b","epoch":"","offset":0}}`: {Group: `a"b`},
		`{"op":11,"data":{"group":"orders","epoch":"x7","offset":1046,"gap":{"reason":"EPOCH"}}}`: {
			Group: "orders", Position: Position{"x7", 1046}, Gap: GapEpoch,
		},
		`{"op":11,"data":{"group":"orders","epoch":"x7","offset":9007199254740991,"gap":{"reason":"TRIMMED","first":9007199254740991}}}`: {
			Group: "orders", Position: Position{"x7", MaxOffset}, Gap: GapTrimmed, First: MaxOffset,
		},
	} {
		got := AppendHistory(nil, &h)
		if string(got) != want || !json.Valid(got) || len(got) > HistorySize(&h) {
			t.Errorf("got  %s\nwant %s\n%d bytes, HistorySize says %d", got, want, len(got), HistorySize(&h))
		}
	}
}

func TestAppendJoined(t *testing.T) {
	t.Parallel()
	c := Changed{Op: Subscribe, ID: []byte("s"), Groups: []string{"a"}, Joined: []Joined{
		{Group: "a", Position: Position{"k", 1042}, Recovers: true, Recovering: 12}, {Group: "b", Position: Position{"x", 0}},
	}}
	want := `"history":{"a":{"epoch":"k","offset":1042,"recovering":12},"b":{"epoch":"x","offset":0}}}}`
	if got := AppendChanged(nil, &c); !strings.HasSuffix(string(got), want) || !json.Valid(got) || len(got) > ChangedSize(&c) {
		t.Errorf("got %s, ChangedSize says %d", got, ChangedSize(&c))
	}
	if got := AppendIdentified(nil, Identified{Joined: c.Joined}); !strings.HasSuffix(string(got), want) || !json.Valid(got) {
		t.Errorf("got %s", got)
	}
}

func TestAppendNumbered(t *testing.T) {
	t.Parallel()
	var e Envelope
	if err := e.Scan([]byte(`{"op":0,"id":"1","data":7,"intent":{"target":"GROUP","identifier":"orders"}}`)); err != nil {
		t.Fatal(err)
	}
	delivery := AppendDelivery(nil, &e, uuid.Nil, sender)
	got := string(AppendNumbered(nil, delivery, MaxOffset))
	want := `{"op":0,"id":"1","data":7,"intent":{"target":"GROUP","identifier":"orders"},"offset":9007199254740991,"sender":"` + sender.String() + `"}`
	if got != want || len(got) > NumberedSize(delivery) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, other := range []string{``, `{}`, PingMessage, want[1:], want[:len(want)-1], string(AppendFence(nil, sender))[:40]} {
		if strings.HasSuffix(other, sender.String()+`"}`) {
			continue
		}
		if n := len(AppendNumbered(nil, []byte(other), 7)); n > 0 {
			t.Errorf("%q counts as a delivery", other)
		}
	}
}

// A message with a member that a decoder may take for offset is told apart, as is one that is to be appended once.
func TestScanOfNumbered(t *testing.T) {
	t.Parallel()
	for members, want := range map[string][2]bool{ // Numbered, Once
		``:                         {false, false},
		`"offset":1,`:              {true, false},
		`"offset":null,`:           {true, false},
		`"\u006fffset":1,`:         {true, false},
		`"OFFSET":1,`:              {true, false},
		"\"off\u017fet\":1,":       {true, false},
		`"offsets":1,`:             {false, false},
		`"data":{"offset":1},`:     {false, false},
		`"once":true,`:             {false, true},
		`"once":false,`:            {false, false},
		`"once":"true",`:           {false, false},
		`"Once":true,`:             {false, false},
		`"once":true,"offset":{},`: {true, true},
	} {
		var e Envelope
		if err := e.Scan([]byte(`{"op":0,` + members + `"intent":{"target":"GLOBAL"}}`)); err != nil || e.Numbered != want[0] || e.Once != want[1] {
			t.Errorf("%s: %v, numbered %v, once %v", members, err, e.Numbered, e.Once)
		}
	}
}
