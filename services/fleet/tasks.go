package fleet

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
)

// agentSilence is how long an agent that works on a task may be silent before the task counts as failed.
const agentSilence = 3 * wire.BusyInterval

// task is what the agent works on.
type task struct {
	id       string // secret: only who has it can say how the task ended
	verb     lifecycle.Verb
	version  string
	revision string
	since    time.Time
	heard    time.Time // the agent's last word about it
}

// wanted is what the fleet would last have asked an agent for, had there been one.
type wanted struct {
	task string // empty for nothing
	at   time.Time
}

var noContext = context.Background()

// taskName is the word for an agent's task.
func taskName(v lifecycle.Verb) string {
	switch v {
	case lifecycle.Spawn:
		return wire.Spawn
	case lifecycle.Rollback:
		return wire.Rollback
	case lifecycle.Deploy:
		return wire.Deploy
	case lifecycle.Revision:
		return wire.Revision
	}
	return ""
}

// startTask asks the agent for something.
func (l *lead) startTask(a lifecycle.Action, now time.Time) {
	t := &task{id: rand.Text(), verb: a.Verb, version: a.Version, revision: a.Revision, since: now, heard: now}
	l.task = t
	data, err := json.Marshal(wire.Task{Fleet: l.f.name, Task: t.id, Do: taskName(t.verb), Version: strings.ToValidUTF8(t.version, ""), Revision: t.revision})
	if err != nil { // it can't: the names are checked
		l.finish(t, lifecycle.Result{Outcome: lifecycle.Failed}, err.Error())
		return
	}
	l.f.s.count.tasks.Add(1)
	l.log(slog.LevelInfo, "agent asked", slog.String("task", taskName(t.verb)), slog.String("version", t.version), slog.String("revision", t.revision))
	l.f.s.first.PublishAndHear(&opcodes.Message{
		Op: opcodes.Event, Event: wire.EventTask, Data: data, Target: intent.Any, Group: []byte(wire.AgentGroup(l.f.name)),
	}, func(_ int, code opcodes.ErrorCode) {
		switch {
		case l.task != t || l.ended || code == "":
		case code == opcodes.CodeNoReceiver && t.verb == lifecycle.Revision: // the rollback has the version alone
			l.conclude(t, lifecycle.Result{Outcome: lifecycle.NoAgent})
		case code == opcodes.CodeNoReceiver:
			l.wanted = wanted{taskName(t.verb), time.Now()}
			l.f.s.count.tasksNoAgent.Add(1)
			l.log(slog.LevelWarn, "no agent: the fleet would have asked for this", slog.String("task", taskName(t.verb)),
				slog.String("version", t.version), slog.String("revision", t.revision))
			l.conclude(t, lifecycle.Result{Outcome: lifecycle.NoAgent})
		default:
			l.finish(t, lifecycle.Result{Outcome: lifecycle.Failed}, "the task was not delivered: "+string(code))
		}
	})
}

// checkTask gives up a task whose agent says nothing any more.
func (l *lead) checkTask(now time.Time) {
	if t := l.task; t != nil && now.Sub(t.heard) > agentSilence {
		l.finish(t, lifecycle.Result{Outcome: lifecycle.Failed}, "the agent says nothing any more")
	}
}

// finish ends the task with a result of the agent.
func (l *lead) finish(t *task, r lifecycle.Result, failure string) {
	attrs := []slog.Attr{slog.String("task", taskName(t.verb)), slog.Duration("took", time.Since(t.since).Round(time.Millisecond))}
	if r.Outcome == lifecycle.Failed {
		l.f.s.count.tasksFailed.Add(1)
		l.log(slog.LevelError, "the agent failed", append(attrs, slog.String("error", failure))...)
	} else {
		l.log(slog.LevelInfo, "the agent is done", append(attrs, slog.String("revision", r.Revision))...)
	}
	l.conclude(t, r)
}

// conclude tells the state machine how the task ended.
func (l *lead) conclude(t *task, r lifecycle.Result) {
	l.task = nil
	l.do(l.state.Done(t.verb, r, time.Now()))
}

// parseAgentWord reads what an agent says.
func parseAgentWord(m *opcodes.Envelope) (w wire.Word, ok bool) {
	switch string(m.Event) {
	case wire.EventHere, wire.EventBusy, wire.EventDone:
		return w, json.Unmarshal(m.Data, &w) == nil
	}
	return w, false
}

// agentSays handles a word of the fleet's agent. Who knows the task's id has the task.
func (l *lead) agentSays(event string, w *wire.Word, now time.Time) {
	t := l.task
	mine := t != nil && w.Task == t.id
	switch {
	case event == wire.EventHere:
		l.wanted = wanted{}
		l.do(l.state.AgentCame(now))
	case !mine:
	case event == wire.EventBusy:
		t.heard = now
	case w.OK:
		l.finish(t, lifecycle.Result{Revision: clean(w.Revision)}, "")
	default:
		l.finish(t, lifecycle.Result{Outcome: lifecycle.Failed}, clean(w.Error))
	}
}

// maxAgentText bounds what is kept of an agent's texts, in bytes.
const maxAgentText = 200

// clean returns a text of the agent as one short line.
func clean(s string) string {
	if len(s) > maxAgentText {
		s = s[:maxAgentText]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
