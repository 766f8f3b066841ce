package team

import (
	"context"
	"math"
	"time"

	"github.com/go-json-experiment/json"
)

// noEpoch is greater than the number of every observation.
const noEpoch = uint64(math.MaxUint64)

const (
	// syncPage bounds the teams in one answer.
	syncPage = 1000
	// askTimeout bounds the wait for answers of other instances.
	askTimeout = 3 * time.Second
	// syncTries bounds how often Synchronize asks again when an instance does not answer.
	syncTries = 5
)

// question is a question to all other instances.
type question struct {
	Kind  string `json:"kind"`
	After string `json:"after"` // only teams whose texts sort behind this one
	Limit int    `json:"limit"`
}

// The kinds of questions.
const (
	askFacts = "facts"
	askTeams = "teams"
)

// answerFacts is an answer to askFacts.
type answerFacts struct {
	Facts []fact `json:"facts"`
	More  bool   `json:"more,omitzero"`
}

// Answer implements hub.Answerer.
func (s *Service) Answer(query []byte) []byte {
	var q question
	if json.Unmarshal(query, &q) != nil {
		return nil
	}
	var answer any
	switch q.Kind {
	case askFacts:
		s.barrier()
		facts, more := s.store.facts(q.After, min(max(q.Limit, 1), syncPage))
		answer = answerFacts{facts, more}
	case askTeams:
		answer = s.teamsHere(q.After, min(max(q.Limit, 1), MaxPage))
	default:
		return nil
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return nil
	}
	return b
}

// barrier waits briefly until the events that arrived before are in the store. The asking instance relies on the answer
// for events that were sent before its own subscription.
func (s *Service) barrier() {
	done := make(chan struct{})
	if !s.loops[0].on.Post(func() { close(done) }) {
		return
	}
	timeout := time.NewTimer(askTimeout / 4)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}

// Synchronize implements hub.Synchronizer.
func (s *Service) Synchronize(ctx context.Context) {
	epoch := s.store.epoch()
	wait := time.Second
	for range syncTries {
		ok := s.synchronizeOnce(ctx, epoch)
		s.count.synchronized.Add(1)
		if ok {
			break
		}
		s.count.incomplete.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait *= 2
		}
	}
	here := s.store.connections()
	s.loops[0].on.Post(func() { s.loops[0].announce(here) })
}

// synchronizeOnce compares the list of teams with those of the other instances. It returns false if one did not answer.
func (s *Service) synchronizeOnce(ctx context.Context, epoch uint64) bool {
	complete := true
	for after, more := "", true; more; {
		var r round
		ok := r.collect(ctx, s, after)
		complete = complete && ok
		if r.answers == 0 {
			return complete
		}
		s.store.merge(r.facts, epoch)
		news := r.news(s.store, after)
		if len(news) > 0 && !s.loops[0].on.Post(func() { publishState(s.loops[0], eventFacts, news) }) {
			return true // the hub has ended
		}
		after, more = r.end, r.more
	}
	return complete
}

// round is one question for facts with its answers.
type round struct {
	answers int
	facts   []fact
	more    bool   // an instance has teams behind end
	end     string // all answers are complete up to this team; empty: to the last
}

// collect asks all other instances and collects their answers. It returns false if one did not answer.
func (r *round) collect(ctx context.Context, s *Service, after string) bool {
	query, err := json.Marshal(question{Kind: askFacts, After: after, Limit: syncPage})
	if err != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	missing, err := s.hub.Ask(ctx, s.Name(), query, func(_ string, b []byte) {
		var a answerFacts
		if len(b) == 0 || json.Unmarshal(b, &a) != nil {
			return // it does not serve teams
		}
		r.answers++
		r.facts = append(r.facts, a.Facts...)
		if last := len(a.Facts) - 1; a.More && last >= 0 {
			if text := a.Facts[last].ID.String(); !r.more || text < r.end {
				r.end = text
			}
			r.more = true
		}
	})
	return err == nil && len(missing) == 0
}

// news returns the facts about this round's teams that an answering instance lacks.
func (r *round) news(s *store, after string) []fact {
	agree := make(map[string]int, len(r.facts))
	newer := make(map[string]bool)
	for _, f := range r.facts {
		agree[f.ID.String()]++
	}
	s.mu.RLock()
	for _, f := range r.facts {
		if e := s.byText[f.ID.String()]; e != nil && e.present != f.Present && e.changed > f.Changed {
			newer[e.text] = true
		}
	}
	s.mu.RUnlock()
	var news []fact
	for _, e := range s.behind(after) {
		if r.more && e.text > r.end {
			break
		}
		s.mu.RLock()
		if newer[e.text] || e.present && agree[e.text] < r.answers {
			news = append(news, e.fact())
		}
		s.mu.RUnlock()
	}
	return news
}
