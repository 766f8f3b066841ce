package fleet

import (
	"errors"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// lead is the leader of a fleet. It belongs to the first loop.
type lead struct {
	f     *fleet
	term  uint64
	state *lifecycle.Fleet
	ended bool // another one leads

	sites map[string]*site       // the other instances with bots, by their inboxes
	at    map[lifecycle.ID]*site // by the ids of their bots

	// What is to be done, in its order: the next one begins when the one before is carried out, so that a bot stops before
	// another one starts, also on another loop or instance.
	outbox  []func(done func())
	sending bool

	task   *task // that the agent works on; nil for none
	wanted wanted
	alarm  lifecycle.Reason // why an operator is needed; empty for none
}

// hear handles a word of a bot of any instance. answer, where not nil, is called once, behind what the word leads to.
func (l *lead) hear(w word, answer func(code, message string), now time.Time) {
	actions, err := l.apply(&w, now)
	l.do(actions)
	if answer == nil {
		return
	}
	code, message := "", ""
	if err != nil {
		code, message = codeOf(err), err.Error()
	}
	l.queue(func(done func()) { answer(code, message); done() })
}

// apply has the state machine decide about a word.
func (l *lead) apply(w *word, now time.Time) ([]lifecycle.Action, error) {
	switch w.Kind {
	case wordIdentify:
		return l.state.Identify(w.ID, w.Version, now), nil
	case wordReady:
		return l.state.Ready(w.ID, now)
	case wordHealthCheck:
		return l.state.HealthCheck(w.ID, *w.Report, now)
	case wordComa:
		return l.state.Coma(w.ID, now)
	case wordShutdown:
		return l.state.ShutDown(w.ID, now)
	case wordTryAgain:
		l.alarm = ""
		return l.state.TryAgain(now), nil
	case wordLeft:
		if w.Moving {
			return l.state.Moved(w.ID, now), nil
		}
		return l.state.Left(w.ID, now), nil
	}
	return nil, errUnknownWord
}

var errUnknownWord = errors.New("the leader is of a release that does not know this")

// codeOf returns the code with which a word is refused.
func codeOf(err error) string {
	switch {
	case errors.Is(err, lifecycle.ErrNotIdentified):
		return "NOT_IDENTIFIED"
	case errors.Is(err, lifecycle.ErrNotAsked):
		return "NOT_ASKED"
	}
	return "UNKNOWN_EVENT"
}

// do carries out actions in their order.
func (l *lead) do(actions []lifecycle.Action) {
	if l.ended {
		return
	}
	for _, a := range actions {
		if o, ok := orderOf(a); ok {
			l.logOrder(a)
			l.queue(func(done func()) { l.obey(a.To, o, done) })
			continue
		}
		switch a.Verb {
		case lifecycle.Alarm:
			l.alarm = a.Reason
			l.f.s.count.alarms.Add(1)
			l.log(slog.LevelError, "fleet is not sane: nothing is spawned until an operator says try again", slog.String("reason", string(a.Reason)))
		default:
			l.startTask(a, time.Now())
		}
	}
}

// obey has a bot, of whatever instance, carry out an order.
func (l *lead) obey(id lifecycle.ID, o order, done func()) {
	if s := l.at[id]; s != nil {
		l.order(s, id, o, done)
		return
	}
	l.f.obey(id, o, l.term, done)
}

// queue adds one thing to do.
func (l *lead) queue(f func(done func())) {
	l.outbox = append(l.outbox, f)
	l.pump()
}

// pump does what is queued, one thing after the other.
func (l *lead) pump() {
	for !l.sending && !l.ended && len(l.outbox) > 0 {
		next := l.outbox[0]
		l.outbox = l.outbox[1:]
		if len(l.outbox) == 0 {
			l.outbox = nil
		}
		l.sending = true
		returned, over := false, false
		next(func() {
			l.sending, over = false, true
			if returned {
				l.pump()
			}
		})
		if returned = true; !over {
			return
		}
	}
}

// tick looks at deadlines.
func (l *lead) tick(now time.Time) {
	l.checkSites(now)
	l.do(l.state.Tick(now))
	l.checkTask(now)
}

// log writes a line about the fleet. Nothing in it is chosen by a bot but its version, which is bounded.
func (l *lead) log(level slog.Level, message string, attrs ...slog.Attr) {
	l.f.s.first.Log().LogAttrs(noContext, level, message, append([]slog.Attr{slog.String("fleet", l.f.name)}, attrs...)...)
}

// logOrder writes what operators should find in the log: who works, and who is told to stop.
func (l *lead) logOrder(a lifecycle.Action) {
	c := &l.f.s.count
	level := slog.LevelInfo
	switch a.Verb {
	case lifecycle.ProcessCommands:
		c.promotions.Add(1)
	case lifecycle.HealthCheck:
		c.healthChecks.Add(1)
	case lifecycle.Shutdown:
		c.shutdowns.Add(1)
		switch a.Reason {
		case lifecycle.VitalCogFailure, lifecycle.HealthCheckFailure, lifecycle.HealthCheckTimeout:
			c.healthFailures.Add(1)
			level = slog.LevelWarn
		case lifecycle.ReadyTimeout:
			level = slog.LevelWarn
		}
	case lifecycle.Coma:
	default:
		level = slog.LevelDebug
	}
	o, _ := orderOf(a)
	attrs := []slog.Attr{slog.String("order", o.Verb), slog.String("client", string(a.To))}
	if a.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(a.Reason)))
	}
	l.log(level, "fleet order", attrs...)
}
