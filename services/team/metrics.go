package team

import (
	"strings"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/hub"
)

// counts has counters of events, and the numbers of open connections.
type counts struct {
	globals, sockets               atomic.Int64
	issued, redeemed, asked        atomic.Uint64
	exhausted, exhaustedEach       atomic.Uint64
	replaced, errors, badEvents    atomic.Uint64
	messages, props, pings         atomic.Uint64
	healthchecks, answers, unasked atomic.Uint64
	healthUnknown                  atomic.Uint64
	synchronized, incomplete       atomic.Uint64
	refused                        [numRefusals]atomic.Uint64
}

// Metrics implements hub.Meter.
func (s *Service) Metrics() []hub.Metric {
	present, remembered := s.store.size()
	tickets, displaced := s.tickets.stats()
	c := &s.count
	all := []hub.Metric{
		gauge("teams", "Present teams.", present),
		gauge("teams_left", "Teams that left and are still remembered.", remembered),
		gauge("global_connections", "Open Global connections.", int(c.globals.Load())),
		gauge("team_connections", "Open Team connections.", int(c.sockets.Load())),
		gauge("tickets", "Open tickets: neither redeemed nor expired.", tickets),
		counter("teams_refused_total", "Refused joins: there were too many teams.", &s.store.refused),
		counter("tickets_issued_total", "Tickets issued to clients.", &c.issued),
		counter("tickets_exhausted_total", "Tickets not issued: too many were open on this instance.", &c.exhausted),
		counter("tickets_exhausted_each_total", "Tickets not issued: too many of the connection were open.", &c.exhaustedEach),
		{Name: "tickets_displaced_total", Help: "Tickets that ended early to make room for those of connections with fewer.", Counter: true, Value: float64(displaced)},
		counter("tickets_redeemed_total", "Tickets that opened a Team connection here.", &c.redeemed),
		counter("tickets_asked_total", "Tickets that another instance was asked to redeem.", &c.asked),
		counter("replaced_total", "Team connections replaced by another one of their team.", &c.replaced),
		counter("messages_total", "Messages queued for Team connections.", &c.messages),
		counter("messages_props_total", "Messages with \"props\" in the text queued for Team connections.", &c.props),
		counter("pings_total", "Answered pings of clients.", &c.pings),
		counter("errors_total", "Error events sent to clients.", &c.errors),
		counter("bad_events_total", "Malformed events for teams.", &c.badEvents),
		counter("healthchecks_total", "Healthchecks sent to clients.", &c.healthchecks),
		counter("healthcheck_answers_total", "Answers to healthchecks.", &c.answers),
		counter("healthcheck_unasked_total", "Healthcheck answers without a question: stored, but not published.", &c.unasked),
		counter("healthcheck_unknown_total", "Entries of healthcheck answers that were ignored: about teams that the client was not told of, or repeated.", &c.healthUnknown),
		counter("synchronized_total", "Comparisons of the list of teams with those of other instances.", &c.synchronized),
		counter("synchronized_incomplete_total", "Comparisons in which an instance did not answer.", &c.incomplete),
	}
	for why := granted + 1; why < numRefusals; why++ {
		name := "refused_" + strings.TrimPrefix(why.String(), "team_") + "_total"
		all = append(all, counter(name, "Connections refused: "+refusals[why].Line+".", &c.refused[why]))
	}
	return all
}

func gauge(name, help string, n int) hub.Metric {
	return hub.Metric{Name: name, Help: help, Value: float64(n)}
}

func counter(name, help string, n *atomic.Uint64) hub.Metric {
	return hub.Metric{Name: name, Help: help, Counter: true, Value: float64(n.Load())}
}
