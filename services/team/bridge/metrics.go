package bridge

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mastersocket_bridge_"+name, help, labels, nil)
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
	descEvents     = desc("events_total", "What became of the events for the hub.", "kind", "outcome")
	descQueue      = desc("queue_events", "Events that wait for the hub.")
	descQueueBytes = desc("queue_bytes", "Memory of the events that wait for the hub.")
	descIgnored    = desc("ignored_total", "Things that the server should not have sent.", "kind")
	descHealth     = desc("healthchecks_total", "Healthchecks answered.")
	descForgotten  = desc("teams_forgotten_total", "Teams that left and were forgotten to make room for others.")
	descPresumed   = desc("teams_presumed_left_total", "Teams taken to have left: refused, and not announced again.")
)

// metrics serves the metrics from a registry of the bridge's own.
func (b *Bridge) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{b}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// collector turns the bridge's counts into metrics when somebody asks.
type collector struct{ b *Bridge }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, n := c.b.Status(), c.b.counts
	gauge(descTeams, float64(s.Teams.Connected), phaseNames[phaseConnected])
	gauge(descTeams, float64(s.Teams.Connecting), phaseNames[phaseConnecting])
	gauge(descTeams, float64(s.Teams.Waiting), phaseNames[phaseWaiting])
	gauge(descTeams, float64(s.Teams.Seen-s.Teams.Present), phaseNames[phaseGone])
	gauge(descGlobal, flag(s.Global.Connected))
	gauge(descHub, flag(s.Hub.Connected))
	gauge(descRate, s.Connections.RateLimit)
	gauge(descPeak, float64(s.Connections.Peak))
	gauge(descDialsPeak, float64(s.Connections.DialsPeak))
	gauge(descQueue, float64(s.Queue.Events))
	gauge(descQueueBytes, float64(s.Queue.Bytes))
	count(descGlobals, s.Global.Connects)
	count(descAttempts, s.Connections.Attempts)
	count(descConnects, s.Connections.Made)
	count(descReconnects, s.Connections.Reconnects)
	count(descReceived, s.Messages.Received)
	count(descProps, s.Messages.Props)
	count(descHealth, s.Healthchecks)
	count(descForgotten, s.Teams.Forgotten)
	count(descPresumed, s.Teams.PresumedLeft)
	count(descDials, s.Connections.Dials)
	each(n.failed, func(word string, v uint64) { count(descFailures, v, word) })
	each(n.ended, func(word string, v uint64) { count(descEnded, v, word) })
	each(n.bad, func(word string, v uint64) { count(descIgnored, v, word) })
	each(n.messages, func(word string, v uint64) { count(descEvents, v, "message", word) })
	each(n.otherOutcome, func(word string, v uint64) { count(descEvents, v, "other", word) })
}

// each calls f with every count, those of 0 too.
func each[K ~string](c counters[K], f func(word string, v uint64)) {
	for word, v := range c.snapshot() {
		f(string(word), v)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
