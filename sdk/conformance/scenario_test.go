package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// scenario is a file of the folder scenarios; README.md describes its members.
type scenario struct {
	name    string
	Tells   string         `yaml:"tells"`    // what a reader learns from the scenario
	Needs   []string       `yaml:"needs"`    // capabilities of an adapter; see adapters
	Options map[string]any `yaml:"options"`  // of connect, beside url and token
	Fences  string         `yaml:"fences"`   // "manual": the scripted hub does not pass on FENCEs
	Acks    string         `yaml:"acks"`     // "manual": it sends no ACKs
	Pings   string         `yaml:"pings"`    // "manual": PINGs and PONGs are messages like any other
	OpenEnd bool           `yaml:"open_end"` // what comes behind the last step is not judged
	Steps   []step         `yaml:"steps"`
}

// step has one verb, which is one of the pointers, maps and strings, and perhaps modifiers.
type step struct {
	// The SDK.
	Call   map[string]any `yaml:"call"`   // a command of the adapter; as names it
	Result map[string]any `yaml:"result"` // the outcome of the command that of names
	Event  map[string]any `yaml:"event"`  // the SDK's next event, apart from log
	Events []any          `yaml:"events"` // the SDK's next events, in any order
	Log    string         `yaml:"log"`    // the SDK has logged, or logs, at this level

	// The hub.
	Accept     string         `yaml:"accept"`    // takes the next connection and gives it this name
	Identify   string         `yaml:"identify"`  // accept, and answers IDENTIFY
	Refuse     *refusal       `yaml:"refuse"`    // answers the next handshake otherwise
	Ignore     bool           `yaml:"ignore"`    // takes the next TCP connection and never answers
	Expect     map[string]any `yaml:"expect"`    // the next message of the client
	Send       map[string]any `yaml:"send"`      // sends a message
	Publish    map[string]any `yaml:"publish"`   // sends a message on all connections, with no FENCE between
	SendText   string         `yaml:"send_text"` // sends a text message as it stands here
	SendBinary string         `yaml:"send_binary"`
	SendPart   map[string]any `yaml:"send_part"`  // sends the first half of a message's frame
	SendBig    int            `yaml:"send_big"`   // sends an EVENT with data of this many bytes
	Flood      *flood         `yaml:"flood"`      // sends until the SDK reads no more
	Hang       string         `yaml:"hang"`       // this connection's PINGs stay unanswered
	Disconnect string         `yaml:"disconnect"` // sends DISCONNECT with this reason and closes
	Close      *closing       `yaml:"close"`      // sends a close frame, and closes
	Drop       string         `yaml:"drop"`       // cuts this connection without a word
	Gone       string         `yaml:"gone"`       // the client ends this connection

	// Both.
	Quiet duration `yaml:"quiet"` // for so long there is no event, no message and no connection

	// Modifiers.
	On     string   `yaml:"on"`     // the connection, by default the last one
	Within duration `yaml:"within"` // default 30 s
	After  duration `yaml:"after"`  // not earlier than this, counted from the step before
	Times  int      `yaml:"times"`  // repeats the step; $i counts from 1
	With   with     `yaml:"with"`   // of identify
}

// with is what an answer to IDENTIFY has beside its defaults.
type with struct {
	Token           string   `yaml:"token"` // that IDENTIFY must have
	Ping            int      `yaml:"ping"`
	MaxMessageBytes int      `yaml:"max_message_bytes"`
	Features        []string `yaml:"features"`

	History map[string]any `yaml:"history"` // positions, by group
	Recover map[string]any `yaml:"recover"` // that IDENTIFY must have
}

type refusal struct {
	Status int               `yaml:"status"` // 0 closes the connection without an answer
	Header map[string]string `yaml:"header"`
	Body   string            `yaml:"body"`
}

type closing struct {
	Code   int    `yaml:"code"`
	Reason string `yaml:"reason"`
}

type flood struct {
	Message map[string]any `yaml:"message"`
	Bytes   int            `yaml:"bytes"` // the SDK must stop reading before
}

// duration is written like 1.5s.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// scenarios returns all scenarios, by the names of their files.
func scenarios(t *testing.T) (all []scenario) {
	t.Helper()
	files, err := filepath.Glob("scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		s, err := readScenario(file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, s)
	}
	return all
}

func readScenario(file string) (s scenario, err error) {
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return s, err
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return s, errors.New("more than one document")
	}
	s.name = strings.TrimSuffix(filepath.Base(file), ".yaml")
	if s.Tells == "" || len(s.Steps) == 0 {
		return s, errors.New("no tells or no steps")
	}
	for i, st := range s.Steps {
		if n := len(st.verbs()); n != 1 {
			return s, fmt.Errorf("step %d has %d verbs: %v", i+1, n, st.verbs())
		}
	}
	return s, nil
}

// verbs returns the names of the step's verbs.
func (st step) verbs() (all []string) {
	for verb, has := range map[string]bool{
		"call": st.Call != nil, "result": st.Result != nil, "event": st.Event != nil, "events": st.Events != nil, "log": st.Log != "", "accept": st.Accept != "",
		"identify": st.Identify != "", "refuse": st.Refuse != nil, "ignore": st.Ignore, "expect": st.Expect != nil,
		"send": st.Send != nil, "publish": st.Publish != nil, "send_text": st.SendText != "", "send_binary": st.SendBinary != "", "send_part": st.SendPart != nil,
		"send_big": st.SendBig != 0, "flood": st.Flood != nil, "hang": st.Hang != "", "disconnect": st.Disconnect != "",
		"close": st.Close != nil, "drop": st.Drop != "", "gone": st.Gone != "", "quiet": st.Quiet != 0,
	} {
		if has {
			all = append(all, verb)
		}
	}
	return all
}
