//go:build linux

package monitoring_test

import (
	"strings"
	"testing"
	"time"
)

// situation has series that make an alert fire, and similar ones that must not. Series are in the notation of
// Prometheus's tests, with a sample per minute; {A} and {B} are the labels of two instances.
type situation struct {
	fires string // it fires once
	quiet string
	at    int // minute of the evaluation
}

const (
	labelsA = `namespace="n",job="hub",instance="a"`
	labelsB = `namespace="n",job="hub",instance="b"`
)

// situations has every alert.
var situations = map[string]situation{
	"MastersocketAbsent": {
		fires: `up{A} 0x20`,
		quiet: `mastersocket_nodes{A} 1x20`,
		at:    10,
	},
	"MastersocketInstanceDown": {
		fires: `up{A} 1x10 0x20
			mastersocket_nodes{A} 2x10 _x20
			up{job="other",instance="c"} 0x40`,
		quiet: `up{A} 1x40
			mastersocket_nodes{A} 2x40
			up{job="other",instance="c"} 0x40`,
		at: 15,
	},
	"MastersocketRestarting": {
		fires: `mastersocket_start_time_seconds{A} 10x5 400x5 700x5 1000x10`,
		quiet: `mastersocket_start_time_seconds{A} 10x5 400x5 700x20`,
		at:    20,
	},
	"MastersocketInstanceLost": {
		fires: `mastersocket_broker_lost_nodes_total{A} 0x5 1x20
			mastersocket_broker_lost_nodes_total{B} 0x5 1x20`,
		quiet: `mastersocket_broker_lost_nodes_total{A} 1x30`,
		at:    8,
	},
	"MastersocketDrainStuck": {
		fires: `mastersocket_draining{A} 1x60`,
		quiet: `mastersocket_draining{A} 0x20 1x40`,
		at:    40,
	},
	"MastersocketBrokerUnavailable": {
		fires: `mastersocket_broker_available{A} 1x5 0x10
			mastersocket_broker_available{B} 1x15`,
		quiet: `mastersocket_broker_available{A} 1x5 0 1x10`,
		at:    8,
	},
	"MastersocketBrokerSlow": {
		fires: `mastersocket_broker_round_trip_seconds{A} 0.2x20
			mastersocket_broker_available{A} 1x20`,
		quiet: `mastersocket_broker_round_trip_seconds{A} 0.2x20
			mastersocket_broker_available{A} 0x20
			mastersocket_broker_round_trip_seconds{B} 0.001x20
			mastersocket_broker_available{B} 1x20`,
		at: 10,
	},
	"MastersocketBrokerReconnecting": {
		fires: `mastersocket_broker_reconnects_total{A} 0+3x20`,
		quiet: `mastersocket_broker_reconnects_total{A} 0x10 3x10`,
		at:    18,
	},
	"MastersocketBrokerBacklog": {
		fires: `mastersocket_broker_buffer_bytes{A} 8000000x10
			mastersocket_broker_available{A} 1x10`,
		quiet: `mastersocket_broker_buffer_bytes{A} 8000000x10
			mastersocket_broker_available{A} 0x10
			mastersocket_broker_buffer_bytes{B} 1000x10
			mastersocket_broker_available{B} 1x10`,
		at: 5,
	},
	"MastersocketMessagesRefused": {
		fires: `mastersocket_drops_total{A,reason="broker_unavailable"} 0x5 9x10
			mastersocket_drops_total{A,reason="no_receiver"} 0+100x15`,
		quiet: `mastersocket_drops_total{A,reason="no_receiver"} 0+100x15
			mastersocket_drops_total{A,reason="outcome_unknown"} 4x15`,
		at: 8,
	},
	"MastersocketMessagesMissed": {
		fires: `mastersocket_broker_missed_total{A} 0x5 2x10`,
		quiet: `mastersocket_broker_missed_total{A} 2x15`,
		at:    8,
	},
	"MastersocketForeignMessages": {
		fires: `mastersocket_broker_ignored_total{A,cause="foreign"} 0x5 2x10`,
		quiet: `mastersocket_broker_ignored_total{A,cause="other_version"} 0x5 2x10`,
		at:    8,
	},
	"MastersocketVersionsApart": {
		fires: `mastersocket_broker_ignored_total{A,cause="other_version"} 0+2x30`,
		quiet: `mastersocket_broker_ignored_total{A,cause="other_version"} 0x20 2x10`,
		at:    25,
	},
	"MastersocketSplit": {
		fires: `mastersocket_nodes{A} 2x5 1x10
			mastersocket_nodes{B} 2x5 2x10
			mastersocket_broker_available{A} 1x15
			mastersocket_broker_available{B} 1x15`,
		quiet: `mastersocket_nodes{A} 2x5 1x10
			mastersocket_nodes{B} 2x15
			mastersocket_broker_available{A} 1x5 0x10
			mastersocket_broker_available{B} 1x15`,
		at: 10,
	},
	"MastersocketClientsLost": {
		fires: `mastersocket_connections{A,type="service"} 500x10 0x10
			mastersocket_connections{B,type="service"} 500x10 400x10`,
		quiet: `mastersocket_connections{A,type="service"} 500x10 0x10
			mastersocket_connections{B,type="service"} 500x10 900x10`,
		at: 14,
	},
	"MastersocketConnectionsRefused": {
		fires: `mastersocket_refusals_total{A,cause="connection_limit"} 0x5 1x10`,
		quiet: `mastersocket_refusals_total{A,cause="not_found"} 0x5 1x10`,
		at:    7,
	},
	"MastersocketConnectionsNearLimit": {
		fires: `mastersocket_sockets{A,loop="0"} 450x20
			mastersocket_sockets{A,loop="1"} 450x20
			mastersocket_sockets_limit{A} 1000x20`,
		quiet: `mastersocket_sockets{A,loop="0"} 400x20
			mastersocket_sockets{A,loop="1"} 400x20
			mastersocket_sockets_limit{A} 1000x20`,
		at: 10,
	},
	"MastersocketFileDescriptorsLow": {
		fires: `process_open_fds{A} 990x20
			process_max_fds{A} 1000x20
			mastersocket_nodes{A} 1x20`,
		quiet: `process_open_fds{job="other",instance="c"} 990x20
			process_max_fds{job="other",instance="c"} 1000x20
			mastersocket_nodes{A} 1x20`,
		at: 10,
	},
	"MastersocketSlowConsumers": {
		fires: `mastersocket_disconnects_total{A,reason="SLOW_CONSUMER"} 0+5x20`,
		quiet: `mastersocket_disconnects_total{A,reason="SLOW_CONSUMER"} 0x15 5x5
			mastersocket_disconnects_total{A,reason="NO_REASON"} 0+50x20`,
		at: 18,
	},
	"MastersocketSendQueueLarge": {
		fires: `mastersocket_queue_bytes{A,loop="0"} 200000000x20
			mastersocket_queue_bytes{A,loop="1"} 200000000x20`,
		quiet: `mastersocket_queue_bytes{A,loop="0"} 0x6 200000000 0x20
			mastersocket_queue_bytes{A,loop="1"} 200000000x20`,
		at: 10,
	},
	"MastersocketRateLimited": {
		fires: `mastersocket_disconnects_total{A,reason="RATE_LIMITED"} 0+5x20`,
		quiet: `mastersocket_disconnects_total{A,reason="RATE_LIMITED"} 0x15 5x5`,
		at:    18,
	},
	"MastersocketTokensRefused": {
		fires: `mastersocket_disconnects_total{A,reason="IDENTIFY_FAILED"} 0+2x20
			mastersocket_disconnects_total{A,reason="UNAUTHORIZED"} 0+2x20`,
		quiet: `mastersocket_disconnects_total{A,reason="IDENTIFY_FAILED"} 0+1x20`,
		at:    18,
	},
	"MastersocketMessagesForbidden": {
		fires: `mastersocket_drops_total{A,reason="forbidden"} 0+50x40`,
		quiet: `mastersocket_drops_total{A,reason="forbidden"} 0+1x40`,
		at:    30,
	},
	"MastersocketPingTimeouts": {
		fires: `mastersocket_disconnects_total{A,reason="PING_TIMEOUT"} 0+10x20
			mastersocket_connections{A,type="service"} 1000x20`,
		quiet: `mastersocket_disconnects_total{A,reason="PING_TIMEOUT"} 0+10x20
			mastersocket_connections{A,type="service"} 10000x20`,
		at: 18,
	},
	"MastersocketConnectionChurn": {
		fires: `mastersocket_accepted_total{A} 0+500x40
			mastersocket_connections{A,type="service"} 1000x40`,
		quiet: `mastersocket_accepted_total{A} 0+100x40
			mastersocket_connections{A,type="service"} 1000x40`,
		at: 30,
	},
	"MastersocketHandshakesRefused": {
		fires: `mastersocket_refusals_total{A,cause="origin"} 0+100x40`,
		quiet: `mastersocket_refusals_total{A,cause="origin"} 0+10x40
			mastersocket_refusals_total{A,cause="connection_limit"} 0+100x40`,
		at: 30,
	},
	"MastersocketUnidentified": {
		fires: `mastersocket_connections_unidentified{A} 2000x20
			mastersocket_connections{A,type="service"} 5000x20`,
		quiet: `mastersocket_connections_unidentified{A} 2000x20
			mastersocket_connections{A,type="service"} 15000x20`,
		at: 10,
	},
	"MastersocketUnbalanced": {
		fires: `mastersocket_connections{A,type="service"} 5000x40
			mastersocket_connections{B,type="service"} 100x40`,
		quiet: `mastersocket_connections{A,type="service"} 5000x40
			mastersocket_connections{B,type="service"} 3000x40`,
		at: 30,
	},
	"MastersocketLoopBusy": {
		fires: `mastersocket_loop_turn_seconds_sum{A,loop="0"} 0+57x40`,
		quiet: `mastersocket_loop_turn_seconds_sum{A,loop="0"} 0+30x40`,
		at:    30,
	},
	"MastersocketLoopSlow": {
		fires: `mastersocket_loop_turn_seconds_bucket{A,loop="0",le="0.1"} 0+90x40
			mastersocket_loop_turn_seconds_bucket{A,loop="0",le="0.5"} 0+100x40
			mastersocket_loop_turn_seconds_bucket{A,loop="0",le="+Inf"} 0+100x40`,
		quiet: `mastersocket_loop_turn_seconds_bucket{A,loop="0",le="0.1"} 0+995x40
			mastersocket_loop_turn_seconds_bucket{A,loop="0",le="0.5"} 0+1000x40
			mastersocket_loop_turn_seconds_bucket{A,loop="0",le="+Inf"} 0+1000x40`,
		at: 30,
	},
	"MastersocketLoopStuck": {
		fires: `mastersocket_loop_turn_seconds_count{A,loop="0"} 0+60x10 600x20
			mastersocket_loop_turn_seconds_count{A,loop="1"} 0+60x30`,
		quiet: `mastersocket_loop_turn_seconds_count{A,loop="0"} 0+60x40`,
		at:    20,
	},
	"MastersocketGated": {
		fires: `mastersocket_gated{A} 1x40`,
		quiet: `mastersocket_gated{A} 0x20 1 0x20`,
		at:    22,
	},
	"MastersocketMemoryNearLimit": {
		fires: `go_memstats_sys_bytes{A} 1000x20
			go_memstats_heap_released_bytes{A} 50x20
			go_gc_gomemlimit_bytes{A} 1000x20
			mastersocket_nodes{A} 1x20`,
		quiet: `go_memstats_sys_bytes{A} 1000x20
			go_memstats_heap_released_bytes{A} 500x20
			go_gc_gomemlimit_bytes{A} 1000x20
			mastersocket_nodes{A} 1x20
			go_memstats_sys_bytes{B} 1000x20
			go_memstats_heap_released_bytes{B} 0x20
			go_gc_gomemlimit_bytes{B} 9.2e18x20
			mastersocket_nodes{B} 1x20`,
		at: 10,
	},
	"MastersocketRequestsUnanswered": {
		fires: `mastersocket_request_settle_seconds_count{A,outcome="answered"} 0+30x40
			mastersocket_request_settle_seconds_count{A,outcome="timed_out"} 0+10x40
			mastersocket_request_settle_seconds_count{A,outcome="undelivered"} 0+5x40`,
		quiet: `mastersocket_request_settle_seconds_count{A,outcome="answered"} 0+30x40
			mastersocket_request_settle_seconds_count{A,outcome="answered_in_part"} 0+30x40
			mastersocket_request_settle_seconds_count{A,outcome="cancelled"} 0+30x40
			mastersocket_request_settle_seconds_count{A,outcome="timed_out"} 0+10x40`,
		at: 30,
	},
	"MastersocketRequestMemoryNearLimit": {
		fires: `mastersocket_request_memory_bytes{A} 60e6x20
			mastersocket_request_memory_limit_bytes{A} 67e6x20`,
		quiet: `mastersocket_request_memory_bytes{A} 20e6x20
			mastersocket_request_memory_limit_bytes{A} 67e6x20
			mastersocket_request_memory_bytes{B} 90e6x20
			mastersocket_request_memory_limit_bytes{B} 0x20`,
		at: 10,
	},
	"MastersocketCertificateExpiring": {
		fires: `mastersocket_tls_certificate_expiry_timestamp_seconds{A} 500000x20`,
		quiet: `mastersocket_tls_certificate_expiry_timestamp_seconds{A} 700000x20`,
		at:    15,
	},
	"MastersocketCertificateExpired": {
		fires: `mastersocket_tls_certificate_expiry_timestamp_seconds{A} 60x20`,
		quiet: `mastersocket_tls_certificate_expiry_timestamp_seconds{A} 500000x20`,
		at:    15,
	},
	"MastersocketTLSHandshakesFailing": {
		fires: `mastersocket_tls_handshakes_total{A,result="client_refused"} 0+100x40`,
		quiet: `mastersocket_tls_handshakes_total{A,result="client_refused"} 0+10x40
			mastersocket_tls_handshakes_total{A,result="done"} 0+1000x40
			mastersocket_tls_handshakes_total{A,result="resumed"} 0+1000x40`,
		at: 30,
	},
	"MastersocketIdentityKeysOld": {
		fires: `mastersocket_identity_keys_age_seconds{A} 1900+60x20`,
		quiet: `mastersocket_identity_keys_age_seconds{A} 290x20`,
		at:    10,
	},
	"MastersocketFleetNotSane": {
		fires: `mastersocket_fleet_fleets_not_sane{A} 0x5 1x5`,
		quiet: `mastersocket_fleet_fleets_not_sane{A} 0x10`,
		at:    6,
	},
	"MastersocketFleetWithoutRunner": {
		fires: `mastersocket_fleet_fleets_without_runner{A} 1x10`,
		quiet: `mastersocket_fleet_fleets_without_runner{A} 1x1 0x10`,
		at:    5,
	},
	"MastersocketIdentityKeysMissing": {
		fires: `mastersocket_identity_keys{A} 0x20`,
		quiet: `mastersocket_identity_keys{A} 2x20`,
		at:    10,
	},
	"MastersocketReloadFailed": {
		fires: `mastersocket_reload_failing{A} 1x20`,
		quiet: `mastersocket_reload_failing{A} 0x10 1 0x10`,
		at:    10,
	},
}

// Every alert fires in its situation, once per affected instance, and not in the similar one.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	expand := strings.NewReplacer("{A", "{"+labelsA, "{B", "{"+labelsB)
	known := map[string]bool{}
	for _, r := range alerts(t) {
		known[r.Alert] = true
		s, ok := situations[r.Alert]
		if !ok {
			t.Errorf("%s: no situation is known in which it fires", r.Alert)
			continue
		}
		at := time.Duration(s.at) * time.Minute
		m := newMemory()
		m.load(t, expand.Replace(s.fires))
		if v := m.firing(t, e, r, at); len(v) != 1 {
			t.Errorf("%s should fire once: %v", r.Alert, v)
		}
		m = newMemory()
		m.load(t, expand.Replace(s.quiet))
		if v := m.firing(t, e, r, at); len(v) != 0 {
			t.Errorf("%s should not fire: %v", r.Alert, v)
		}
	}
	for name := range situations {
		if !known[name] {
			t.Errorf("%s is no alert", name)
		}
	}
}
