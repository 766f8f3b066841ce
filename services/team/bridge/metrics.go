package bridge

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/internal/metrics"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return metrics.Desc("mastersocket_bridge_"+name, help, labels...)
}

// The metrics. No label has a value that the server can choose.
var (
	descTeams      = desc("teams", "Teams that are remembered, by state.", "state")
	descGlobal     = desc("global_connected", "1 while the Global connection is there.")
	descHub        = desc("hub_connected", "1 while the hub is there.")
	descGlobals    = desc("global_connects_total", "Global connections made.")
	descAttempts   = desc("attempts_total", "Connections of teams that were asked for.")
	descRate       = desc("attempts_limit", "The most connections of teams that are asked for per second.")
	descPeak       = desc("attempts_peak", "The most connections of teams that were asked for within any second.")
	descDials      = desc("dials_total", "Network connections to teams' addresses begun.")
	descDialsPeak  = desc("dials_peak", "The most network connections to teams' addresses begun within any second.")
	descConnects   = desc("connects_total", "Connections of teams made.")
	descReconnects = desc("reconnects_total", "Connections of teams made that were not their team's first.")
	descFailures   = desc("failures_total", "Attempts to connect a team that failed.", "reason")
	descEnded      = desc("disconnects_total", "Connections of teams that ended.", "reason")
	descReceived   = desc("messages_received_total", "Messages of teams.")
	descProps      = desc("props_received_total", "Messages of teams with props in the text.")
	descEvents     = desc("events_total", "Events for the hub, by outcome.", "kind", "outcome")
	descQueue      = desc("queue_events", "Events that wait for the hub.")
	descQueueBytes = desc("queue_bytes", "Memory of the events that wait for the hub.")
	descIgnored    = desc("ignored_total", "Invalid input from the server, ignored.", "kind")
	descHealth     = desc("healthchecks_total", "Healthchecks answered.")
	descForgotten  = desc("teams_forgotten_total", "Teams that left and were forgotten to make room for others.")
	descPresumed   = desc("teams_presumed_left_total", "Teams presumed to have left: refused, and not announced again.")
)

// metricsHandler serves the metrics from a registry of the bridge's own.
func (b *Bridge) metricsHandler() http.Handler {
	return metrics.Handler(metrics.NewRegistry(b.collect))
}

// collect writes the bridge's counts.
func (b *Bridge) collect(w metrics.Writer) {
	s, n := b.Status(), b.counts
	w.Gauge(descTeams, float64(s.Teams.Connected), phaseNames[phaseConnected])
	w.Gauge(descTeams, float64(s.Teams.Connecting), phaseNames[phaseConnecting])
	w.Gauge(descTeams, float64(s.Teams.Waiting), phaseNames[phaseWaiting])
	w.Gauge(descTeams, float64(s.Teams.Seen-s.Teams.Present), phaseNames[phaseGone])
	w.Flag(descGlobal, s.Global.Connected)
	w.Flag(descHub, s.Hub.Connected)
	w.Gauge(descRate, s.Connections.RateLimit)
	w.Gauge(descPeak, float64(s.Connections.Peak))
	w.Gauge(descDialsPeak, float64(s.Connections.DialsPeak))
	w.Gauge(descQueue, float64(s.Queue.Events))
	w.Gauge(descQueueBytes, float64(s.Queue.Bytes))
	w.Counter(descGlobals, s.Global.Connects)
	w.Counter(descAttempts, s.Connections.Attempts)
	w.Counter(descConnects, s.Connections.Made)
	w.Counter(descReconnects, s.Connections.Reconnects)
	w.Counter(descReceived, s.Messages.Received)
	w.Counter(descProps, s.Messages.Props)
	w.Counter(descHealth, s.Healthchecks)
	w.Counter(descForgotten, s.Teams.Forgotten)
	w.Counter(descPresumed, s.Teams.PresumedLeft)
	w.Counter(descDials, s.Connections.Dials)
	each(n.failed, func(word string, v uint64) { w.Counter(descFailures, v, word) })
	each(n.ended, func(word string, v uint64) { w.Counter(descEnded, v, word) })
	each(n.bad, func(word string, v uint64) { w.Counter(descIgnored, v, word) })
	each(n.messages, func(word string, v uint64) { w.Counter(descEvents, v, "message", word) })
	each(n.otherOutcome, func(word string, v uint64) { w.Counter(descEvents, v, "other", word) })
}

// each calls f for every label, including those with count 0.
func each[K ~string](c counters[K], f func(word string, v uint64)) {
	for word, v := range c.snapshot() {
		f(string(word), v)
	}
}
