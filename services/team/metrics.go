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
	synchronized, incomplete       atomic.Uint64
	refused                        [numRefusals]atomic.Uint64
}

// Metrics implements hub.Meter.
func (s *Service) Metrics() []hub.Metric {
	present, remembered := s.store.size()
	tickets, displaced := s.tickets.stats()
	c := &s.count
	all := []hub.Metric{
		gauge("teams", "Teams that are there.", present),
		gauge("teams_left", "Teams that left and are remembered for it.", remembered),
		gauge("global_connections", "Open Global connections.", int(c.globals.Load())),
		gauge("team_connections", "Open Team connections.", int(c.sockets.Load())),
		gauge("tickets", "Tickets that are neither used nor over.", tickets),
		counter("teams_refused_total", "Joins of teams that there was no room for.", &s.store.refused),
		counter("tickets_issued_total", "Tickets given to clients.", &c.issued),
		counter("tickets_exhausted_total", "Tickets that were not given: too many were open on this instance.", &c.exhausted),
		counter("tickets_exhausted_each_total", "Tickets that were not given: too many of the connection's own were open.", &c.exhaustedEach),
		{Name: "tickets_displaced_total", Help: "Tickets that ended early to make room for those of connections with fewer.", Counter: true, Value: float64(displaced)},
		counter("tickets_redeemed_total", "Tickets that opened a Team connection here.", &c.redeemed),
		counter("tickets_asked_total", "Tickets that another instance was asked about.", &c.asked),
		counter("replaced_total", "Team connections that gave way to another one of their team.", &c.replaced),
		counter("messages_total", "Messages queued for Team connections.", &c.messages),
		counter("messages_props_total", "Messages with \"props\" in the text queued for Team connections.", &c.props),
		counter("pings_total", "Pings of clients that were answered.", &c.pings),
		counter("errors_total", "Error events sent to clients.", &c.errors),
		counter("bad_events_total", "Events for teams that were malformed.", &c.badEvents),
		counter("healthchecks_total", "Healthchecks sent to clients.", &c.healthchecks),
		counter("healthcheck_answers_total", "Answers to healthchecks.", &c.answers),
		counter("healthcheck_unasked_total", "Healthcheck answers without a question: stored, but not published.", &c.unasked),
		counter("synchronized_total", "Times that the list of teams was compared with those of other instances.", &c.synchronized),
		counter("synchronized_incomplete_total", "Times that an instance did not answer then.", &c.incomplete),
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
