package admin

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/transport"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mastersocket_"+name, help, labels, nil)
}

// The metrics. No label has a value that a client can choose.
var (
	descConnections = desc("connections", "Identified clients.", "type")
	descStrangers   = desc("connections_unidentified", "Connections that have not identified.")
	descSockets     = desc("sockets", "Open connections of all kinds, by loop.", "loop")
	descGroups      = desc("groups", "Groups with a member on this instance.")
	descReceived    = desc("messages_received_total", "EVENT and REPLY messages accepted from clients, and, with the type api, from the admin API.", "type", "target")
	descDeliveries  = desc("deliveries_total", "Messages queued for clients of this instance.", "type")
	descDrops       = desc("drops_total", "Messages that did not reach somebody they were meant for.", "reason")
	descDisconnects = desc("disconnects_total", "Sessions that ended.", "reason")
	descNotices     = desc("drain_notices_total", "DRAIN notices sent to clients: they are to connect anew.", "reason")
	descFences      = desc("fences_total", "FENCE messages queued for clients of this instance.")
	descRefusals    = desc("refusals_total", "Handshakes, frames and connections refused before they meant anything.", "cause")
	descTLSDone     = desc("tls_handshakes_total", "TLS handshakes of the hub's listener, by what came of them: done, resumed, or why they failed.", "result")
	descTLSEnd      = desc("tls_certificate_expiry_timestamp_seconds", "When the certificate in force ends, in Unix time.")
	descAccepted    = desc("accepted_total", "Connections taken from the listeners.")
	descBytesIn     = desc("received_bytes_total", "Bytes read from clients.", "loop")
	descBytesOut    = desc("sent_bytes_total", "Bytes written to clients.", "loop")
	descWrites      = desc("writes_total", "System calls that wrote to clients.", "loop")
	descQueue       = desc("queue_bytes", "Unsent backlog of all clients.", "loop")
	descInbox       = desc("inbox_bytes", "Work from elsewhere that waits for a loop.", "loop")
	descTurns       = desc("loop_turn_seconds", "Duration of the loops' turns: the longest that anything on a loop waits for its turn.", "loop")
	descGated       = desc("gated", "1 while nothing is read from clients because a loop or the broker can't keep up.")
	descBroker      = desc("broker_available", "1 while other instances can be reached.")
	descBrokerRTT   = desc("broker_round_trip_seconds", "Last round trip through the broker.")
	descPublished   = desc("broker_published_total", "Messages handed to the broker for other instances.")
	descBrokerIn    = desc("broker_received_total", "Messages from other instances.")
	descDuplicates  = desc("broker_duplicates_total", "Messages that came again after a broken connection, and were ignored.")
	descRecovered   = desc("broker_recovered_total", "Messages missed on a broken connection that were had again.")
	descMissed      = desc("broker_missed_total", "Messages of other instances for clients here that were lost on the way.")
	descIgnored     = desc("broker_ignored_total", "Messages on the broker's channels that are none of this hub's.", "cause")
	descRefused     = desc("broker_refused_total", "Messages that other instances did not get.", "cause")
	descReconnects  = desc("broker_reconnects_total", "Connections to the broker made after the first.")
	descBuffered    = desc("broker_buffer_bytes", "Memory of messages that wait for the broker.")
	descLostNodes   = desc("broker_lost_nodes_total", "Other instances that ended without a goodbye.")
	descNodes       = desc("nodes", "Live instances, this one included.")
	descVerified    = desc("identity_verifications_total", "Tokens that looked signed by an issuer, by what was found.", "result")
	descVerifying   = desc("identity_verifying", "Tokens that are being verified, or wait for it.")
	descKeys        = desc("identity_keys", "Keys of the issuer that tokens are verified with.")
	descKeysAge     = desc("identity_keys_age_seconds", "Time since the issuer's keys were fetched; where they never were, since the start.")
	descKeyFetches  = desc("identity_key_fetches_total", "Attempts to fetch the issuer's keys, by what came of them.", "result")
	descDraining    = desc("draining", "1 while clients are told to go elsewhere.")
	descReloads     = desc("reload_total", "Times that the configuration was read again, by what came of it.", "result")
	descReloaded    = desc("reload_last_success_timestamp_seconds", "When the configuration in force was read, in Unix time.")
	descFailing     = desc("reload_failing", "1 while the last attempt to read the configuration again failed: the next start would fail too.")
	descStarted     = desc("start_time_seconds", "When the hub started, in Unix time.")
	descLimit       = desc("sockets_limit", "Connections of all kinds that may be open at the same time.")
	descInstance    = desc("instance_info", "Always 1; the labels say which instance this is, as log lines and the admin API name it.", "node", "id", "version")
)

// typeAPI stands in the place of a client's type for what comes by POST /v1/events.
const typeAPI = "api"

// collector turns the hub's counts into metrics when somebody asks.
type collector struct {
	hub    *hub.Hub
	reload Reloader         // nil for none
	end    func() time.Time // of the certificate; nil for none
}

func newCollector(o Options) prometheus.Collector {
	return collector{o.Hub, o.Reload, o.CertificateEnd}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.hub.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descStrangers, float64(s.Strangers))
	gauge(descGroups, float64(s.Groups))
	for i := range s.Types {
		collectType(&s.Types[i], ch, count, gauge)
	}
	for target, n := range s.Published {
		count(descReceived, n, typeAPI, target.String())
	}
	for d, n := range s.Drops {
		count(descDrops, n, d.String())
	}
	for r, n := range s.Disconnects {
		count(descDisconnects, n, r.String())
	}
	count(descFences, s.Fences)
	for r, n := range s.Notices {
		count(descNotices, n, string(r))
	}
	for cause, n := range s.Transport.Refusals {
		count(descRefusals, n, cause)
	}
	count(descAccepted, s.Transport.Accepted)
	gauge(descLimit, float64(s.Transport.Limit))
	if c.end != nil {
		c.collectTLS(&s.Transport.TLS, count, gauge)
	}
	gauge(descGated, flag(s.Transport.Gated))
	gauge(descBroker, flag(s.Broker.Available))
	gauge(descDraining, flag(s.Draining))
	gauge(descStarted, float64(s.Started.UnixMilli())/1000)
	n := c.hub.Node()
	gauge(descInstance, 1, n.Name, hub.NodeName(n.ID), n.Version)
	c.collectBroker(&s.BrokerStats, count, gauge)
	collectVerifier(s.Verifier, count, gauge)
	if c.reload != nil {
		r := c.reload.Reloads()
		count(descReloads, r.Succeeded, "success")
		count(descReloads, r.Failed, "failure")
		gauge(descReloaded, float64(r.LastSuccess.UnixMilli())/1000)
		gauge(descFailing, flag(r.Failing))
	}
	for i, l := range s.Transport.Loops {
		loop := strconv.Itoa(i)
		gauge(descSockets, float64(l.Connections), loop)
		count(descBytesIn, l.BytesIn, loop)
		count(descBytesOut, l.BytesOut, loop)
		count(descWrites, l.Writes, loop)
		gauge(descQueue, float64(l.QueueBytes), loop)
		gauge(descInbox, float64(l.InboxBytes), loop)
		ch <- turns(&l, loop)
	}
}

// collectType turns the counts of a service type into metrics.
func collectType(t *hub.TypeStats, ch chan<- prometheus.Metric, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(descConnections, float64(t.Clients), t.Type)
	for target, n := range t.Received {
		count(descReceived, n, t.Type, target.String())
	}
	count(descDeliveries, t.Deliveries, t.Type)
	for _, m := range t.Metrics {
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(desc(t.Type+"_"+m.Name, m.Help), kind, m.Value)
	}
}

// collectBroker turns the broker's counts into metrics.
func (c collector) collectBroker(s *broker.Stats, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(descNodes, float64(len(c.hub.Nodes())))
	gauge(descBrokerRTT, s.ProbeRTT.Seconds())
	gauge(descBuffered, float64(s.BufferedBytes))
	count(descPublished, s.Published)
	count(descBrokerIn, s.Received)
	count(descDuplicates, s.Duplicates)
	count(descRecovered, s.Recovered)
	count(descMissed, s.Missed)
	count(descReconnects, s.Reconnects)
	count(descLostNodes, s.LostNodes)
	count(descIgnored, s.Foreign, "foreign")
	count(descIgnored, s.OtherVersion, "other_version")
	count(descIgnored, s.Corrupt, "corrupt")
	count(descRefused, s.RefusedFull, "buffer_full")
	count(descRefused, s.RefusedExpired, "expired")
	count(descRefused, s.RefusedUnknown, "outcome_unknown")
	count(descRefused, s.RefusedBroker, "broker_error")
	count(descRefused, s.RefusedClosed, "closed")
}

// collectVerifier turns the counts of tokens that an issuer signed into metrics, where there is one.
func collectVerifier(s *hub.VerifierStats, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	if s == nil {
		return
	}
	for v, n := range s.Verdicts {
		count(descVerified, n, auth.Verdict(v).String())
	}
	gauge(descVerifying, float64(s.Under))
	gauge(descKeys, float64(s.Keys.Keys))
	gauge(descKeysAge, s.Keys.Age(time.Now()).Seconds())
	count(descKeyFetches, s.Keys.Fetches, "success")
	count(descKeyFetches, s.Keys.Failed, "failure")
}

// turns makes the histogram of a loop's turns.
func turns(l *transport.LoopStats, loop string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(transport.TurnBuckets))
	total := uint64(0)
	for i, n := range l.Turns {
		total += n
		if i < len(transport.TurnBuckets) {
			buckets[transport.TurnBuckets[i]] = total
		}
	}
	return prometheus.MustNewConstHistogram(descTurns, total, l.TurnTotal.Seconds(), buckets, loop)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
