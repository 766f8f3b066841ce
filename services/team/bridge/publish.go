package bridge

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// The events that the bridge sends into the hub.
const (
	eventMessage      = "team.message"      // team_id, text
	eventJoin         = "team.join"         // team_id
	eventLeft         = "team.left"         // team_id
	eventConnected    = "team.connected"    // team_id
	eventDisconnected = "team.disconnected" // team_id, reason
	eventGoodbye      = "goodbye"
)

// window bounds the events without an acknowledgement of the hub.
const window = 4096

// leftSlack extends the period before the loss of the hub whose team.left events are announced again.
const leftSlack = time.Minute

// publisher publishes the outbox to the hub.
type publisher struct {
	b   *Bridge
	hub *client.Client
	// ctx ends when the remaining events are given up.
	ctx      context.Context
	inflight chan flight
}

// flight is an event without a known outcome.
type flight struct {
	name    string
	receipt *client.Receipt
}

// run publishes until the outbox is closed and empty, and every outcome is known.
func (p *publisher) run() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range p.inflight {
			_, err := f.receipt.Wait(p.ctx)
			p.countOutcome(f.name, err)
		}
	}()
	p.publishAll()
	close(p.inflight)
	<-done
}

func (p *publisher) publishAll() {
	for {
		e, what := p.b.out.pop(p.ctx)
		switch what {
		case nextEnd:
			return
		case nextAnnounce:
			p.announce()
		case nextEvent:
			p.publish(e)
		}
	}
}

// announce publishes the present teams and those that left recently: the hub may have forgotten or missed them. It
// precedes the queued events, so that the last event about each team is the newest.
func (p *publisher) announce() {
	since := p.b.hubLostAt().Add(-leftSlack)
	for _, t := range p.b.teams.list() {
		switch present, leftAt := p.b.teams.presence(t); {
		case present:
			p.publish(event{team: t, name: eventJoin, data: teamData(t.id)})
		case leftAt.After(since):
			p.publish(event{team: t, name: eventLeft, data: teamData(t.id)})
		}
	}
}

// publish sends an event to all its targets. It waits while the hub is away.
func (p *publisher) publish(e event) {
	to, ok := p.b.general, true
	if e.team != nil {
		to, ok = e.team.to, e.team.toErr == nil
	}
	teams := client.Group(teamsGroup)
	if e.name == eventJoin || e.name == eventLeft {
		p.send(teams, e)
		if to == teams {
			return
		}
	}
	if !ok {
		p.b.counts.outcome(e.name, outBadTarget)
		p.b.rate.Warn("an event has no target", string(outBadTarget), teamAttr(e.team), errAttr(e.team.toErr))
		return
	}
	p.send(to, e)
}

func (p *publisher) send(to client.Intent, e event) {
	var data any
	if e.data != nil {
		data = stdjson.RawMessage(e.data)
	}
	receipt, err := p.hub.Queue(p.ctx, to, e.name, data)
	if err != nil {
		p.countOutcome(e.name, err)
		return
	}
	p.inflight <- flight{e.name, receipt} // the receiver runs until inflight is closed
}

// countOutcome counts the outcome of an event.
func (p *publisher) countOutcome(name string, err error) {
	o := outcomeOf(err)
	p.b.counts.outcome(name, o)
	switch o {
	case outPublished, outNoReceiver:
	default:
		p.b.rate.Warn("an event did not reach the hub", string(o))
	}
}

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return outPublished
	case errors.Is(err, client.ErrNoReceiver), errors.Is(err, client.ErrReceiverGone):
		return outNoReceiver
	case errors.Is(err, client.ErrOutcomeUnknown):
		return outUnknown
	case errors.Is(err, client.ErrForbidden):
		return outForbidden
	case errors.Is(err, client.ErrBrokerUnavailable):
		return outBroker
	case errors.Is(err, client.ErrTooBig):
		return outTooBig
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, client.ErrClosed):
		return outUndeliverd
	}
	return outFailed
}

// teamData is the data of an event about a team.
func teamData(id rtm.ID) []byte { return append(id.Append([]byte(`{"team_id":`)), '}') }

// teamDataWith returns teamData with one more member, a string.
func teamDataWith(id rtm.ID, name, value string) []byte {
	dst := id.Append(append(make([]byte, 0, len(value)+len(id.String())+len(name)+32), `{"team_id":`...))
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return append(rtm.AppendString(dst, value), '}')
}
