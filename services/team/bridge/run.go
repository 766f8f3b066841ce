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

// sleep waits for d. It returns false if ctx ended first.
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

// runTeam runs a team's lives, one after the other. Only this goroutine queues events of the team, so they are in
// order.
func (b *Bridge) runTeam(t *team) {
	for {
		life := b.teams.lifeOf(t)
		b.queueEvent(t, eventJoin, teamData(t.id))
		b.keep(life, t)
		if errors.Is(context.Cause(life), errLeft) {
			b.queueEvent(t, eventLeft, teamData(t.id))
		}
		if !b.teams.nextLife(t, life) {
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
			continue // not the team's fault: wait for the next Global connection
		case connected && time.Since(began) >= b.opts.MaxBackoff:
			// A server that drops its clients at once must not be asked again without a backoff.
			wait.Reset()
		}
		if !sleep(life, wait.NextBackOff()) {
			return
		}
	}
}

// connectOnce connects the team and serves the connection until it ends. It returns whether there was one, and the
// cause of its end or failure.
func (b *Bridge) connectOnce(life context.Context, t *team) (connected bool, reason Reason) {
	s, err := b.openSession(life, t)
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

// requestURL waits for a Global connection and for the team's turn, sends a team.connect, and returns the URL of the
// answer.
func (b *Bridge) requestURL(life context.Context, t *team) (url string, err error) {
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
				return false // the loop waits for the next one
			}
			t.setPhase(phaseConnecting)
			answer, failed = g.requestTeam(t.id)
			asked = true
			return true
		})
		switch {
		case err != nil:
			return "", fail(lifeReason(context.Cause(life)), err)
		case failed != nil:
			return "", failed
		case asked:
			url, err := g.awaitURL(life, t.id, answer)
			if err != nil && reasonOf(err) == ReasonRefused {
				b.noteRefusal(g, t)
			} else {
				t.refusals = 0
			}
			return url, err
		}
	}
}

// noteRefusal counts a refused team.connect. After LeftAfter consecutive ones on a settled Global connection that did
// not announce the team, the team is presumed to have left: its team.left was sent while there was no Global
// connection.
func (b *Bridge) noteRefusal(g *global, t *team) {
	if t.refusedOn != g.n {
		t.refusals = 0
	}
	t.refusedOn = g.n
	t.refusals++
	if b.opts.LeftAfter < 0 || t.refusals < b.opts.LeftAfter || time.Since(g.hello) < b.opts.Settle || !b.teams.presumeLeft(t, g.n) {
		return
	}
	b.counts.presumed.Add(1)
	b.rate.Warn("a team is presumed to have left while there was no Global connection", "presumed_left", teamAttr(t),
		slog.Int("refusals", t.refusals))
}

// failure is an error with the reason that counts it.
type failure struct {
	reason Reason
	err    error
}

func (f *failure) Error() string { return string(f.reason) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(r Reason, err error) error { return &failure{r, err} }

// reasonOf returns the reason of an error.
func reasonOf(err error) Reason {
	var f *failure
	if errors.As(err, &f) {
		return f.reason
	}
	return ReasonLost
}
