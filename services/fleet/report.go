package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// State is what operators see of a fleet.
type State struct {
	Name         string    `json:"name"`
	Leader       string    `json:"leader"`  // name of the instance that leads it; empty while none does
	Running      string    `json:"running"` // id of the client that runs, or is reserved to; empty for none
	Sane         bool      `json:"sane"`
	Alarm        string    `json:"alarm"` // why it is not sane, if that is known
	GoodVersion  string    `json:"good_version"`
	GoodRevision string    `json:"good_revision"`
	Task         string    `json:"task"` // what the agent works on; empty for nothing
	TaskSince    time.Time `json:"task_since"`
	Wanted       string    `json:"wanted"` // what it would last have asked an agent for
	WantedAt     time.Time `json:"wanted_at"`
	NextSpawn    time.Time `json:"next_spawn"` // zero for none
	Bots         []Bot     `json:"bots"`
}

// Bot is what operators see of a bot.
type Bot struct {
	Client  string `json:"client"`
	Version string `json:"version"`
	State   string `json:"state"`
}

// The operations of operators.
const (
	OpPromote  = "promote"
	OpRollback = "rollback"
	OpTryAgain = "try_again"
	OpDeploy   = "deploy"
)

// The errors of [Service.Operate], besides those of package lifecycle.
var (
	ErrNoFleet  = errors.New("no fleet has this name")
	ErrNoLeader = errors.New("no instance leads the fleet at the moment")
	ErrNoAnswer = errors.New("the fleet's leader did not answer in time")
)

// refusals are the errors that an answer of another instance can carry.
func refusals() []error {
	return []error{ErrNoLeader, lifecycle.ErrUnknown, lifecycle.ErrNotReady, lifecycle.ErrRuns, lifecycle.ErrNotIdentified}
}

// query asks an instance for the fleets that it leads.
type query struct {
	Name      string `json:"name,omitzero"`      // empty for all
	Operation string `json:"operation,omitzero"` // empty for none
	Client    string `json:"client,omitzero"`    // of OpPromote
}

// answer is what an instance answers about fleets that it leads.
type answer struct {
	States  []State `json:"states"`
	Refused string  `json:"refused,omitzero"`
}

// Fleets returns the state of the fleet of that name, or of all for an empty one, sorted. It waits for other instances until
// ctx ends; missing names those that did not answer.
func (s *Service) Fleets(ctx context.Context, name string) (all []State, missing []string, err error) {
	a, missing, err := s.gather(ctx, query{Name: name})
	if err != nil {
		return nil, missing, err
	}
	for known := range *s.served.Load() {
		led := slices.ContainsFunc(a.States, func(st State) bool { return st.Name == known })
		if !led && (name == "" || name == known) {
			a.States = append(a.States, State{Name: known, Sane: true})
		}
	}
	if name != "" && len(a.States) == 0 {
		return nil, missing, ErrNoFleet
	}
	slices.SortFunc(a.States, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return a.States, missing, nil
}

// Operate has the leader of the fleet carry out an operation, and returns the fleet's state after it.
func (s *Service) Operate(ctx context.Context, name, operation, client string) (State, error) {
	if (*s.served.Load())[name] == nil {
		return State{}, ErrNoFleet
	}
	if id, err := uuid.Parse(client); err == nil {
		client = id.String()
	}
	a, missing, err := s.gather(ctx, query{name, operation, client})
	switch {
	case err != nil:
		return State{}, err
	case a.Refused != "":
		for _, r := range refusals() {
			if r.Error() == a.Refused {
				return State{}, r
			}
		}
		return State{}, errors.New(a.Refused)
	case len(a.States) == 0 && len(missing) > 0:
		return State{}, ErrNoAnswer
	case len(a.States) == 0:
		return State{}, ErrNoLeader
	}
	return a.States[0], nil
}

// gather asks this instance and, if it does not lead the one fleet that is asked for, the others.
func (s *Service) gather(ctx context.Context, q query) (all answer, missing []string, err error) {
	if all, err = s.here(ctx, q); err != nil || q.Name != "" && (len(all.States) > 0 || all.Refused != "") {
		return all, nil, err
	}
	encoded, err := json.Marshal(q)
	if err != nil {
		return all, nil, err
	}
	missing, err = s.hub.Ask(ctx, s.Name(), encoded, func(_ string, b []byte) {
		var a answer
		if len(b) > 0 && json.Unmarshal(b, &a) == nil {
			all.States = append(all.States, a.States...)
			if a.Refused != "" {
				all.Refused = a.Refused
			}
		}
	})
	return all, missing, err
}

// here answers for the fleets that this instance leads.
func (s *Service) here(ctx context.Context, q query) (answer, error) {
	done := make(chan answer, 1)
	if !s.first.Post(func() { done <- s.look(q, time.Now()) }) {
		return answer{}, ErrNoLeader
	}
	select {
	case a := <-done:
		return a, nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// look is here on the first loop.
func (s *Service) look(q query, now time.Time) (a answer) {
	for _, f := range s.fleets() {
		if f.lead == nil || q.Name != "" && q.Name != f.name {
			continue
		}
		if q.Operation != "" {
			if err := f.lead.operate(q, now); err != nil {
				a.Refused = err.Error()
				return a
			}
		}
		a.States = append(a.States, f.lead.report())
	}
	return a
}

// operate carries out an operation.
func (l *lead) operate(q query, now time.Time) error {
	var actions []lifecycle.Action
	var err error
	switch q.Operation {
	case OpPromote:
		actions, err = l.state.Promote(lifecycle.ID(q.Client), now)
	case OpRollback:
		actions = l.state.RollBackNow()
	case OpTryAgain:
		l.alarm = ""
		actions = l.state.TryAgain(now)
	case OpDeploy:
		actions = l.state.DeployNow()
	default:
		err = errUnknownWord
	}
	l.do(actions)
	return err
}

// report returns the state of the fleet.
func (l *lead) report() State {
	good := l.state.LastGood()
	st := State{
		Name: l.f.name, Leader: l.f.s.hub.Node().Name, Sane: l.state.Sane(), Alarm: string(l.alarm), GoodVersion: good.Version,
		GoodRevision: good.Revision, Wanted: l.wanted.task, WantedAt: l.wanted.at, NextSpawn: l.state.NextSpawn(),
	}
	if id, ok := l.state.Runner(); ok {
		st.Running = string(id)
	}
	if t := l.task; t != nil {
		st.Task, st.TaskSince = taskName(t.verb), t.since
	}
	for _, c := range l.state.Clients() {
		st.Bots = append(st.Bots, Bot{string(c.ID), c.Version, c.State.String()})
	}
	return st
}

// answerTimeout bounds the wait for the first loop, for another instance that waits for an answer.
const answerTimeout = time.Second

// Answer implements hub.Answerer.
func (s *Service) Answer(encoded []byte) []byte {
	var q query
	if json.Unmarshal(encoded, &q) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	a, err := s.here(ctx, q)
	if err != nil || len(a.States) == 0 && a.Refused == "" {
		return nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return b
}
