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

// window is how many events may wait for the hub's acknowledgement.
const window = 4096

// leftSlack is how long before the loss of the hub a team may have left to have that announced again.
const leftSlack = time.Minute

// publisher hands what is in the outbox to the hub.
type publisher struct {
	b   *Bridge
	hub *client.Client
	// ctx ends when what is still queued is given up.
	ctx      context.Context
	inflight chan flight
}

// flight is an event whose outcome is awaited.
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
			p.settle(f.name, err)
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

// announce tells the hub which teams there are, and which have left lately: it may have forgotten, or may have missed it.
// It comes before what is queued, so that the last word about each team is the newest.
func (p *publisher) announce() {
	since := p.b.hubLostAt().Add(-leftSlack)
	for _, t := range p.b.teams.all() {
		switch present, leftAt := p.b.teams.presence(t); {
		case present:
			p.publish(event{team: t, name: eventJoin, data: teamData(t.id)})
		case leftAt.After(since):
			p.publish(event{team: t, name: eventLeft, data: teamData(t.id)})
		}
	}
}

// publish sends an event to all that it is for. It waits while the hub is away.
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
		p.settle(e.name, err)
		return
	}
	p.inflight <- flight{e.name, receipt} // the other end goes on until this one closes it
}

// settle counts what became of an event.
func (p *publisher) settle(name string, err error) {
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

// teamDataWith adds a string.
func teamDataWith(id rtm.ID, name, value string) []byte {
	dst := id.Append(append(make([]byte, 0, len(value)+len(id.String())+len(name)+32), `{"team_id":`...))
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return append(rtm.AppendString(dst, value), '}')
}
