package opcodes

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestAppendPresence(t *testing.T) {
	t.Parallel()
	a, b := uuid.MustParse("0b8e41d7-0000-8000-8000-000000000001"), uuid.MustParse("0b8e41d7-0000-8000-8000-000000000002")
	m := func(s string) []byte { return []byte(s) }
	for _, test := range []struct {
		p    PresenceData
		want string
	}{
		{
			PresenceData{Group: "workers", Snapshot: true, Complete: true},
			`{"op":10,"data":{"group":"workers","members":[],"complete":true}}`,
		},
		{
			PresenceData{Group: `w"`, Snapshot: true, Members: [][]byte{m(`{"id":"1"}`), m(`{"id":"2"}`)}},
			`{"op":10,"data":{"group":"w\"","members":[{"id":"1"},{"id":"2"}]}}`,
		},
		{
			PresenceData{
				Group: "w", Left: []PresenceLeft{{a, "LOST"}, {b, "KICKED"}}, Moved: []PresenceMoved{{a, m(`{"id":"3"}`)}},
				Joined: [][]byte{m(`{"id":"4"}`)}, Updated: [][]byte{m(`{"id":"5"}`)},
			},
			`{"op":10,"data":{"group":"w","left":[{"id":"0b8e41d7-0000-8000-8000-000000000001","reason":"LOST"},` +
				`{"id":"0b8e41d7-0000-8000-8000-000000000002","reason":"KICKED"}],` +
				`"moved":[{"from":"0b8e41d7-0000-8000-8000-000000000001","to":{"id":"3"}}],` +
				`"joined":[{"id":"4"}],"updated":[{"id":"5"}]}}`,
		},
		{PresenceData{Group: "w", Missing: []string{}}, `{"op":10,"data":{"group":"w","missing":[]}}`},
		{PresenceData{Group: "w", Missing: []string{"host-3"}}, `{"op":10,"data":{"group":"w","missing":["host-3"]}}`},
		{PresenceData{Group: "w", Counts: true}, `{"op":10,"data":{"group":"w","count":0}}`},
		{PresenceData{Group: "w", Counts: true, Count: 12840}, `{"op":10,"data":{"group":"w","count":12840}}`},
	} {
		got := AppendPresence(nil, &test.p)
		if string(got) != test.want {
			t.Errorf("AppendPresence(%+v) = %s, want %s", test.p, got, test.want)
		}
		if !json.Valid(got) {
			t.Errorf("%s is no JSON", got)
		}
		if size := PresenceSize(&test.p); len(got) > size {
			t.Errorf("%s has %d bytes, PresenceSize says %d", got, len(got), size)
		}
		if err := new(Envelope).Scan(got); err == nil || err.(*ScanError).Reason != UnknownOp {
			t.Errorf("a client may send %s: %v", got, err)
		}
	}
}

func TestAppendPresenceMember(t *testing.T) {
	t.Parallel()
	m := PresenceMember{
		ID: uuid.MustParse("0b8e41d7-0000-8000-8000-000000000001"), Node: "host-1", Weight: DefaultWeight,
		Since: time.Unix(1_796_061_600, 5).In(time.FixedZone("", 3600)),
	}
	want := `{"id":"0b8e41d7-0000-8000-8000-000000000001","node":"host-1","since":"2026-11-30T18:00:00Z"}`
	if got := string(AppendPresenceMember(nil, &m)); got != want {
		t.Errorf("AppendPresenceMember = %s, want %s", got, want)
	}
	m.Name, m.Version, m.Weight = "a\"", "2.1", 0
	m.Meta = map[string]string{"z": "1", "a": "\x01"}
	want = `{"id":"0b8e41d7-0000-8000-8000-000000000001","name":"a\"","version":"2.1","meta":{"a":"\u0001","z":"1"},"weight":0,` +
		`"node":"host-1","since":"2026-11-30T18:00:00Z"}`
	if got := string(AppendPresenceMember(nil, &m)); got != want {
		t.Errorf("AppendPresenceMember = %s, want %s", got, want)
	}
}

// TestOneMemberFitsAFrame: what a client may say of itself at most has room in one part of a snapshot.
func TestOneMemberFitsAFrame(t *testing.T) {
	t.Parallel()
	worst := func(n int) string { return strings.Repeat("\x01", n) }
	m := PresenceMember{Name: worst(maxNameBytes), Version: worst(maxVersionBytes), Meta: map[string]string{}, Node: worst(64)}
	for i := range maxMetaMembers {
		m.Meta[worst(maxMetaKeyBytes-1)+string(rune('a'+i))] = worst(maxMetaValueBytes)
	}
	if n := len(AppendPresenceMember(nil, &m)); n > 32<<10-256 {
		t.Errorf("a member has %d bytes", n)
	}
}
