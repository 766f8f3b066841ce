package admin

import (
	"cmp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/metrics"
	"github.com/mastersocket/mastersocket/transport"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return metrics.Desc("mastersocket_"+name, help, labels...)
}

// The metrics. No label has a value that a client chooses.
var (
	descConnections = desc("connections", "Identified clients.", "type")
	descStrangers   = desc("connections_unidentified", "Connections that have not sent IDENTIFY.")
	descSockets     = desc("sockets", "Open connections of all kinds, by loop.", "loop")
	descGroups      = desc("groups", "Groups with a member on this instance.")
	descReceived    = desc("messages_received_total", "EVENT and REPLY messages accepted from clients, and, with the type api, from callers without a connection: of the admin API and of POST /v1/events.", "type", "target")
	descDeliveries  = desc("deliveries_total", "Messages queued for clients of this instance.", "type")
	descDrops       = desc("drops_total", "Messages that did not reach a receiver.", "reason")
	descDisconnects = desc("disconnects_total", "Sessions that ended.", "reason")
	descNotices     = desc("drain_notices_total", "DRAIN notices sent to clients, which ask them to connect again.", "reason")
	descFences      = desc("fences_total", "FENCE messages queued for clients of this instance.")
	descHeld        = desc("senders_held_total", "Times that nothing was read from a client until one of its receivers had caught up.")
	descChanges     = desc("group_changes_total", "SUBSCRIBE and UNSUBSCRIBE, by result: done, or the code of the refusal.", "op", "result")
	descWatched     = desc("presence_groups", "Groups that are watched: by clients of this instance, or by other instances.")
	descWatchers    = desc("presence_watchers", "Groups that clients of this instance watch, counted for each client.")
	descPresence    = desc("presence_frames_total", "PRESENCE messages queued for watchers of this instance.")
	descRestarts    = desc("presence_restarts_total", "Times that a watcher that did not keep up got a new snapshot in the place of what it missed.")
	descPresenceOut = desc("presence_published_total", "Messages about watched groups to other instances.")
	descAsks        = desc("presence_asks_total", "Times that another instance was asked for the members of a group.")
	descGaps        = desc("presence_gaps_total", "Losses in what other instances say of a group's members, each made up for by asking again.")
	descExclusive   = desc("exclusive_claims", "Claims of this instance's clients to exclusive groups, by state: held or waiting.", "state")
	descGranted     = desc("exclusive_granted_total", "Times that an exclusive group was granted to a client of this instance.")
	descLost        = desc("exclusive_lost_total", "Times that clients of this instance lost an exclusive group, as the broker was away or lost its data.")
	descRequests    = desc("requests_open", "Open requests of clients of this instance: EVENTs with expect.")
	descSettle      = desc("request_settle_seconds", "Time from a request to its SETTLED, by outcome: answered, answered_in_part, unanswered, undelivered, timed_out or cancelled.", "outcome")
	descRetries     = desc("request_retries_total", "Times that a request to any member of a group was handed to another one.")
	descPasses      = desc("request_passes_total", "Receivers that said that they don't answer a request of a client of this instance.")
	descExpired     = desc("requests_expired_total", "Requests that were not delivered to clients of a loop, because their time was over.")
	descReleased    = desc("requests_released_total", "Requests of other instances that were never cancelled here, and were given up long after their time.")
	descRequestMax  = desc("request_memory_limit_bytes", "Bound of request_memory_bytes: the setting request-memory; 0 for none.")
	descRequestMem  = desc("request_memory_bytes", "What open requests, and answers that clients owe, take of request-memory.")
	descAppended    = desc("history_appended_total", "Messages of clients of this instance that got a number in a group with history.")
	descRepeated    = desc("history_duplicates_total", "Messages to groups with history that were not appended, as one with their id was before.")
	descUnnumbered  = desc("history_refused_total", "Messages of clients of this instance to groups with history that got no number.", "reason")
	descRecovering  = desc("history_recovering", "Members on this instance that get what they missed in a group with history.")
	descCaughtUp    = desc("history_recoveries_total", "Times that a member on this instance had got what it missed, and went on with what is live.")
	descHistoryOut  = desc("history_recovered_total", "Messages that members on this instance got as ones that they had missed.")
	descHistorySize = desc("history_recovered_bytes_total", "Bytes of the messages that members got as ones that they had missed.")
	descHistoryGaps = desc("history_gaps_total", "Gaps in groups with history: of a loop with members, or of a member that recovers.", "reason")
	descRefusals    = desc("refusals_total", "Refused connections, handshakes and frames.", "cause")
	descTLSDone     = desc("tls_handshakes_total", "TLS handshakes of the hub's listener, by result: done, resumed, or the cause of the failure.", "result")
	descTLSEnd      = desc("tls_certificate_expiry_timestamp_seconds", "End of the certificate in force, in Unix time.")
	descAccepted    = desc("accepted_total", "Connections accepted by the listeners.")
	descBytesIn     = desc("received_bytes_total", "Bytes read from clients.", "loop")
	descBytesOut    = desc("sent_bytes_total", "Bytes written to clients.", "loop")
	descWrites      = desc("writes_total", "System calls that wrote to clients.", "loop")
	descQueue       = desc("queue_bytes", "Unsent backlog of all clients.", "loop")
	descQueueMemory = desc("queue_memory_bytes", "Memory of the unsent backlogs: a message for many receivers counts once. Its sum is bounded by send-queue-total.", "loop")
	descQueueLimit  = desc("queue_memory_limit_bytes", "Bound of the memory of all unsent backlogs (send-queue-total).")
	descInbox       = desc("inbox_bytes", "Work of other goroutines that waits for a loop.", "loop")
	descTurns       = desc("loop_turn_seconds", "Duration of the loops' turns, an upper bound of the latency that a loop adds.", "loop")
	descGated       = desc("gated", "1 while nothing is read from clients because a loop or the broker can't keep up.")
	descBroker      = desc("broker_available", "1 while other instances can be reached.")
	descBrokerRTT   = desc("broker_round_trip_seconds", "Last round trip through the broker.")
	descPublished   = desc("broker_published_total", "Messages handed to the broker for other instances.")
	descBrokerIn    = desc("broker_received_total", "Messages from other instances.")
	descDuplicates  = desc("broker_duplicates_total", "Messages received again after a broken connection and ignored.")
	descRecovered   = desc("broker_recovered_total", "Messages missed on a broken connection and recovered.")
	descMissed      = desc("broker_missed_total", "Messages of other instances for clients of this one that were lost.")
	descIgnored     = desc("broker_ignored_total", "Messages on the broker's channels that do not belong to this hub.", "cause")
	descRefused     = desc("broker_refused_total", "Messages that the broker did not pass on to other instances.", "cause")
	descReconnects  = desc("broker_reconnects_total", "Connections to the broker made after the first.")
	descBuffered    = desc("broker_buffer_bytes", "Bytes of messages that wait for the broker.")
	descLostNodes   = desc("broker_lost_nodes_total", "Other instances whose lease ended without notice.")
	descNodes       = desc("nodes", "Live instances, this one included.")
	descAttempts    = desc("authentication_failures_total", "Attempts to authenticate with a wrong token, on all listeners.")
	descThrottled   = desc("authentication_throttled_total", "Attempts that were not looked at, since too many failed from their address.")
	descVerified    = desc("identity_verifications_total", "Verifications of signed tokens, by result.", "result")
	descVerifying   = desc("identity_verifying", "Tokens in verification or waiting for it.")
	descKeys        = desc("identity_keys", "Keys of an issuer in use.", "issuer")
	descKeysAge     = desc("identity_keys_age_seconds", "Time since an issuer's keys were fetched, or since the start if they never were.", "issuer")
	descKeyFetches  = desc("identity_key_fetches_total", "Attempts to fetch an issuer's keys, by result.", "issuer", "result")
	descDraining    = desc("draining", "1 while the instance drains.")
	descReloads     = desc("reload_total", "Reloads of the configuration, by result.", "result")
	descReloaded    = desc("reload_last_success_timestamp_seconds", "Time of the last successful reload, or of the start, in Unix time.")
	descFailing     = desc("reload_failing", "1 if the last reload failed: the next start would fail, too.")
	descStarted     = desc("start_time_seconds", "Start of the hub, in Unix time.")
	descLimit       = desc("sockets_limit", "Bound of open connections of all kinds.")
	descInstance    = desc("instance_info", "Always 1. The labels name the instance as the log and the admin API do.", "node", "id", "version")
)

// typeAPI is the label type of events from POST /v1/events.
const typeAPI = "api"

// collector turns the hub's counts into metrics at each scrape.
type collector struct {
	hub    *hub.Hub
	reload Reloader         // nil: no metrics of reloads
	end    func() time.Time // end of the certificate; nil without TLS
}

// collect writes the hub's counts.
func (c collector) collect(w metrics.Writer) {
	s := c.hub.Stats()
	w.Gauge(descStrangers, float64(s.Strangers))
	w.Gauge(descGroups, float64(s.Groups))
	for i := range s.Types {
		collectType(&s.Types[i], w)
	}
	for target, n := range s.Published {
		w.Counter(descReceived, n, typeAPI, target.String())
	}
	for d, n := range s.Drops {
		w.Counter(descDrops, n, d.String())
	}
	for r, n := range s.Disconnects {
		w.Counter(descDisconnects, n, r.String())
	}
	w.Counter(descFences, s.Fences)
	w.Counter(descHeld, s.Held)
	for k, n := range s.Changes {
		w.Counter(descChanges, n, k.Op.String(), cmp.Or(string(k.Result), "done"))
	}
	collectPresence(&s.Presence, w)
	w.Gauge(descExclusive, float64(s.Exclusive.Held), "held")
	w.Gauge(descExclusive, float64(s.Exclusive.Waiting), "waiting")
	w.Counter(descGranted, s.Exclusive.Granted)
	w.Counter(descLost, s.Exclusive.Lost)
	collectRequests(&s.Requests, w)
	collectHistory(&s.History, w)
	for r, n := range s.Notices {
		w.Counter(descNotices, n, string(r))
	}
	for cause, n := range s.Transport.Refusals {
		w.Counter(descRefusals, n, cause)
	}
	w.Counter(descAccepted, s.Transport.Accepted)
	w.Gauge(descLimit, float64(s.Transport.Limit))
	w.Gauge(descQueueLimit, float64(s.Transport.QueueLimit))
	if c.end != nil {
		c.collectTLS(&s.Transport.TLS, w)
	}
	w.Flag(descGated, s.Transport.Gated)
	w.Flag(descBroker, s.Broker.Available)
	w.Flag(descDraining, s.Draining)
	w.Gauge(descStarted, float64(s.Started.UnixMilli())/1000)
	n := c.hub.Node()
	w.Gauge(descInstance, 1, n.Name, n.ID.String(), n.Version)
	c.collectBroker(&s.BrokerStats, w)
	w.Counter(descAttempts, s.Attempts.Failed)
	w.Counter(descThrottled, s.Attempts.Refused)
	collectVerifier(s.Verifier, w)
	if c.reload != nil {
		r := c.reload.Reloads()
		w.Counter(descReloads, r.Succeeded, "success")
		w.Counter(descReloads, r.Failed, "failure")
		w.Gauge(descReloaded, float64(r.LastSuccess.UnixMilli())/1000)
		w.Flag(descFailing, r.Failing)
	}
	for i, l := range s.Transport.Loops {
		loop := strconv.Itoa(i)
		w.Gauge(descSockets, float64(l.Connections), loop)
		w.Counter(descBytesIn, l.BytesIn, loop)
		w.Counter(descBytesOut, l.BytesOut, loop)
		w.Counter(descWrites, l.Writes, loop)
		w.Gauge(descQueue, float64(l.QueueBytes), loop)
		w.Gauge(descQueueMemory, float64(l.QueueMemory), loop)
		w.Gauge(descInbox, float64(l.InboxBytes), loop)
		w <- turns(&l, loop)
	}
}

// collectType turns the counts of a service type into metrics.
func collectType(t *hub.TypeStats, w metrics.Writer) {
	w.Gauge(descConnections, float64(t.Clients), t.Type)
	for target, n := range t.Received {
		w.Counter(descReceived, n, t.Type, target.String())
	}
	w.Counter(descDeliveries, t.Deliveries, t.Type)
	for _, m := range t.Metrics {
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		w <- prometheus.MustNewConstMetric(desc(t.Type+"_"+m.Name, m.Help), kind, m.Value)
	}
}

// collectBroker turns the broker's counts into metrics.
func (c collector) collectBroker(s *broker.Stats, w metrics.Writer) {
	w.Gauge(descNodes, float64(len(c.hub.Nodes())))
	w.Gauge(descBrokerRTT, s.ProbeRTT.Seconds())
	w.Gauge(descBuffered, float64(s.BufferedBytes))
	w.Counter(descPublished, s.Published)
	w.Counter(descBrokerIn, s.Received)
	w.Counter(descDuplicates, s.Duplicates)
	w.Counter(descRecovered, s.Recovered)
	w.Counter(descMissed, s.Missed)
	w.Counter(descReconnects, s.Reconnects)
	w.Counter(descLostNodes, s.LostNodes)
	w.Counter(descIgnored, s.Foreign, "foreign")
	w.Counter(descIgnored, s.OtherVersion, "other_version")
	w.Counter(descIgnored, s.Corrupt, "corrupt")
	w.Counter(descIgnored, s.Forged, "forged")
	w.Counter(descRefused, s.RefusedFull, "buffer_full")
	w.Counter(descRefused, s.RefusedExpired, "expired")
	w.Counter(descRefused, s.RefusedUnknown, "outcome_unknown")
	w.Counter(descRefused, s.RefusedBroker, "broker_error")
	w.Counter(descRefused, s.RefusedClosed, "closed")
}

// collectVerifier turns the counts of signed tokens into metrics; s is nil without an issuer.
func collectVerifier(s *hub.VerifierStats, w metrics.Writer) {
	if s == nil {
		return
	}
	for v, n := range s.Verdicts {
		w.Counter(descVerified, n, auth.Verdict(v).String())
	}
	w.Gauge(descVerifying, float64(s.Running))
	for _, k := range s.Keys {
		w.Gauge(descKeys, float64(k.Keys), k.Issuer)
		w.Gauge(descKeysAge, k.Age(time.Now()).Seconds(), k.Issuer)
		w.Counter(descKeyFetches, k.Fetches, k.Issuer, "success")
		w.Counter(descKeyFetches, k.Failed, k.Issuer, "failure")
	}
}

// turns returns the histogram of a loop's turns.
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

func collectPresence(s *hub.PresenceStats, w metrics.Writer) {
	w.Gauge(descWatched, float64(s.Groups))
	w.Gauge(descWatchers, float64(s.Watchers))
	w.Counter(descPresence, s.Frames)
	w.Counter(descRestarts, s.Restarts)
	w.Counter(descPresenceOut, s.Sent)
	w.Counter(descAsks, s.Asks)
	w.Counter(descGaps, s.Gaps)
}

func collectHistory(s *hub.HistoryStats, w metrics.Writer) {
	w.Counter(descAppended, s.Appended)
	w.Counter(descRepeated, s.Duplicates)
	for r, n := range s.Refused {
		w.Counter(descUnnumbered, n, r.String())
	}
	w.Gauge(descRecovering, float64(s.Recovering))
	w.Counter(descCaughtUp, s.CaughtUp)
	w.Counter(descHistoryOut, s.Recovered)
	w.Counter(descHistorySize, s.RecoveredBytes)
	for r, n := range s.Gaps {
		w.Counter(descHistoryGaps, n, r.String())
	}
}

func collectRequests(s *hub.RequestStats, w metrics.Writer) {
	w.Gauge(descRequests, float64(s.Open))
	w.Gauge(descRequestMem, float64(s.Memory))
	w.Gauge(descRequestMax, float64(s.MemoryLimit))
	w.Counter(descRetries, s.Retries)
	w.Counter(descPasses, s.Passed)
	w.Counter(descExpired, s.Expired)
	w.Counter(descReleased, s.Released)
	for o, t := range s.Settled {
		buckets := make(map[float64]uint64, len(t.Buckets))
		total := uint64(0)
		for i, n := range t.Buckets {
			if total += n; i < len(hub.SettleBounds) {
				buckets[hub.SettleBounds[i].Seconds()] = total
			}
		}
		w <- prometheus.MustNewConstHistogram(descSettle, total, t.Sum.Seconds(), buckets, o.String())
	}
}
