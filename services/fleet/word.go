package fleet

import (
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// The words of bots, which are the names of their events. wordLeft stands for the end of a connection.
const (
	wordIdentify    = "identify"
	wordReady       = "ready"
	wordHealthCheck = "health_check"
	wordComa        = "coma"
	wordShutdown    = "shutdown"
	wordTryAgain    = "try_again"
	wordLeft        = "left"
)

// word is what a bot says.
type word struct {
	Kind    string            `json:"kind"`
	ID      lifecycle.ID      `json:"id"`
	Version string            `json:"version,omitzero"` // of identify
	Report  *lifecycle.Report `json:"report,omitzero"`  // of health_check
	Moving  bool              `json:"moving,omitzero"`  // of left: the instance drains
}

// parseWord reads an event of a bot. code is not empty where it is refused.
func parseWord(name string, args []byte) (w word, code, message string) {
	w.Kind = name
	switch name {
	case wordIdentify:
		var d struct {
			Version string `json:"version"`
		}
		if !readObject(args, &d) || len(d.Version) > maxVersion || strings.ContainsFunc(d.Version, unicode.IsControl) {
			return w, "INVALID_PAYLOAD", "identify wants an object whose version is a text of at most 128 bytes"
		}
		w.Version = d.Version
	case wordHealthCheck:
		var d struct {
			OK      bool            `json:"OK"`
			Percent float64         `json:"percent"`
			Cogs    map[string]bool `json:"cogs"`
		}
		if !readObject(args, &d) || len(d.Cogs) > maxCogs {
			return w, "INVALID_PAYLOAD", "health_check wants an object with OK (true or false), percent (a number) and cogs (names to true or false)"
		}
		w.Report = &lifecycle.Report{OK: d.OK, Percent: d.Percent, Cogs: d.Cogs}
	case wordReady, wordComa, wordShutdown, wordTryAgain:
	default:
		return w, "UNKNOWN_EVENT", "a bot says identify, ready, health_check, coma, shutdown or try_again"
	}
	return w, "", ""
}

// readObject reads the argument of an event; none, and null, are an empty object.
func readObject(args []byte, to any) bool {
	if len(args) == 0 || string(args) == "null" {
		return true
	}
	return jsontext.Value(args).Kind() == '{' && json.Unmarshal(args, to) == nil
}

// order is what the leader wants a bot to do.
type order struct {
	Verb    string           `json:"verb"`
	Process bool             `json:"process,omitzero"` // of hello
	Reason  lifecycle.Reason `json:"reason,omitzero"`
	token   string           // filled in where the bot is: it does not travel between instances
}

// The verbs of orders: the names of commands, and those of what is no command.
const (
	verbHello       = "hello"
	verbOK          = "ok"
	verbProcess     = "process_commands"
	verbHealthCheck = "health_check"
	verbComa        = "coma"
	verbShutdown    = "shutdown"
	verbKeep        = "keep" // the bot is told nothing
)

// orderOf returns an action that is for a bot as an order.
func orderOf(a lifecycle.Action) (o order, ok bool) {
	o = order{Process: a.Process, Reason: a.Reason}
	switch a.Verb {
	case lifecycle.Hello:
		o.Verb = verbHello
	case lifecycle.OK:
		o.Verb = verbOK
	case lifecycle.ProcessCommands:
		o.Verb = verbProcess
	case lifecycle.HealthCheck:
		o.Verb = verbHealthCheck
	case lifecycle.Coma:
		o.Verb = verbComa
	case lifecycle.Shutdown:
		o.Verb = verbShutdown
	case lifecycle.Keep:
		o.Verb = verbKeep
	default:
		return o, false
	}
	return o, true
}

// startsWork and stopsWork report what the order changes.
func (o *order) startsWork() bool {
	return o.Verb == verbProcess || o.Verb == verbKeep || o.Verb == verbOK || o.Verb == verbHello && o.Process
}
func (o *order) stopsWork() bool {
	return o.Verb == verbComa || o.Verb == verbShutdown || o.Verb == verbHello && !o.Process
}

// message returns the event that tells the bot, and its argument; an empty one for nothing.
func (o *order) message(commandEvent string) (event string, argument []byte) {
	var data any
	switch o.Verb {
	case verbHello:
		argument, _ = json.Marshal(struct { // a text and a boolean can't fail
			Token   string `json:"token"`
			Process bool   `json:"process_commands"`
		}{o.token, o.Process})
		return verbHello, argument
	case verbKeep:
		return "", nil
	case verbProcess:
		data = struct {
			Token string `json:"token"`
		}{o.token}
	case verbComa, verbShutdown:
		data = struct {
			Reason lifecycle.Reason `json:"reason"`
		}{o.Reason}
	default:
		data = struct{}{}
	}
	argument, _ = json.Marshal(struct {
		Type string `json:"t"`
		Data any    `json:"d"`
	}{o.Verb, data})
	return commandEvent, argument
}
