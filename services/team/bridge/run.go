package bridge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// newBackoff returns waits that are uniform between 0 and a bound ("full jitter"), which doubles from MinBackoff to
// MaxBackoff.
func (b *Bridge) newBackoff() *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = max(b.opts.MinBackoff/2, 1) // ± 100 %
	wait.MaxInterval = max(b.opts.MaxBackoff/2, 1)
	wait.RandomizationFactor = 1
	wait.Multiplier = 2
	return wait
}

// sleep waits, and returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runTeam lives a team's lives, one after the other. All events of the team come from here, so that they are in order.
func (b *Bridge) runTeam(t *team) {
	for {
		life := b.teams.lifeOf(t)
		b.tell(t, eventJoin, teamData(t.id))
		b.keep(life, t)
		if errors.Is(context.Cause(life), errLeft) {
			b.tell(t, eventLeft, teamData(t.id))
		}
		if !b.teams.again(t, life) {
			return
		}
	}
}

// keep keeps the team connected until its life ends.
func (b *Bridge) keep(life context.Context, t *team) {
	wait := b.newBackoff()
	for life.Err() == nil {
		t.setPhase(phaseWaiting)
		began := time.Now()
		connected, reason := b.connectOnce(life, t)
		t.setPhase(phaseWaiting)
		switch {
		case life.Err() != nil:
			return
		case reason == ReasonGlobalLost:
			continue // no fault of the team's: it waits for the next Global connection
		case connected && time.Since(began) >= b.opts.MaxBackoff:
			// A server that accepts and at once drops its clients must not be asked again and again without a wait.
			wait.Reset()
		}
		if !sleep(life, wait.NextBackOff()) {
			return
		}
	}
}

// connectOnce connects the team and serves the connection until it ends. It returns whether there was one, and why it
// ended or could not be made.
func (b *Bridge) connectOnce(life context.Context, t *team) (connected bool, reason Reason) {
	s, err := b.open(life, t)
	if err == nil {
		connected, err = s.serve(life)
	}
	reason = reasonOf(err)
	if life.Err() != nil && !connected {
		return false, reason
	}
	if !connected {
		b.counts.failed.add(reason)
		t.lastFailure.Store(&reason)
		b.rate.Warn("a team is not connected", string(reason), teamAttr(t), errAttr(err))
	}
	return connected, reason
}

// ask waits until there is a Global connection and it is the team's turn, asks for the team's connection, and returns its
// URL, as it came.
func (b *Bridge) ask(life context.Context, t *team) (url string, err error) {
	for {
		g, err := b.gate.await(life)
		if err != nil {
			return "", fail(lifeReason(context.Cause(life)), err)
		}
		var answer <-chan rtm.Frame
		var failed error
		asked := false
		err = b.asks.do(life, func() bool {
			if g.isOver() {
				return false // it goes on with the next one
			}
			t.setPhase(phaseConnecting)
			answer, failed = g.ask(t.id)
			asked = true
			return true
		})
		switch {
		case err != nil:
			return "", fail(lifeReason(context.Cause(life)), err)
		case failed != nil:
			return "", failed
		case asked:
			url, err := g.answerOf(life, t.id, answer)
			b.refused(g, t, reasonOf(err) == ReasonRefused)
			return url, err
		}
	}
}

// refused notes whether the server has refused to connect the team. A team of which that is all that is heard, though
// the Global connection is there for long enough, has left: its team.left was sent while there was none.
func (b *Bridge) refused(g *global, t *team, yes bool) {
	if !yes || t.refusedOn != g.n {
		t.refusals = 0
	}
	if !yes {
		return
	}
	t.refusedOn = g.n
	t.refusals++
	if b.opts.LeftAfter < 0 || t.refusals < b.opts.LeftAfter || time.Since(g.hello) < b.opts.Settle || !b.teams.presumeLeft(t, g.n) {
		return
	}
	b.counts.presumed.Add(1)
	b.rate.Warn("a team is taken to have left while there was no Global connection", "presumed_left", teamAttr(t),
		slog.Int("refusals", t.refusals))
}

// failure is an error with the word that it is counted by.
type failure struct {
	reason Reason
	err    error
}

func (f *failure) Error() string { return string(f.reason) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(r Reason, err error) error { return &failure{r, err} }

// reasonOf returns the word of an error.
func reasonOf(err error) Reason {
	var f *failure
	if errors.As(err, &f) {
		return f.reason
	}
	return ReasonLost
}
