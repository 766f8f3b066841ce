package bridge

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// Status is the state of a bridge.
type Status struct {
	Started time.Time    `json:"started"`
	Global  GlobalStatus `json:"global"`
	Hub     HubStatus    `json:"hub"`
	Teams   TeamCounts   `json:"teams"`
	// Connections counts the connections of teams.
	Connections ConnectionCounts `json:"connections"`
	Messages    MessageCounts    `json:"messages"`
	// Events counts the outcomes of all events except messages, per target.
	Events map[string]uint64 `json:"events"`
	Queue  QueueStatus       `json:"queue"`
	// Healthchecks counts answered healthchecks.
	Healthchecks uint64 `json:"healthchecks"`
	// Ignored counts invalid input from the server, by kind.
	Ignored map[string]uint64 `json:"ignored"`
}

// GlobalStatus is the state of the Global connection.
type GlobalStatus struct {
	Server    string    `json:"server"` // host, and port where the URL has one
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Connects  uint64    `json:"connects"`             // number of connections made
	LastError string    `json:"last_error,omitempty"` // cause of the last loss or failure
}

// HubStatus is the state of the connection to the hub.
type HubStatus struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	ID        string    `json:"id,omitempty"`
	Node      string    `json:"node,omitempty"`
	LastError string    `json:"last_error,omitempty"`
}

// TeamCounts counts teams by state.
type TeamCounts struct {
	Seen       int    `json:"seen"` // all remembered teams
	Present    int    `json:"present"`
	Connected  int    `json:"connected"`
	Connecting int    `json:"connecting"`
	Waiting    int    `json:"waiting"` // for the Global connection, their turn, or the next attempt
	Forgotten  uint64 `json:"forgotten"`
	// PresumedLeft counts teams presumed to have left: refused, and not announced again.
	PresumedLeft uint64 `json:"presumed_left"`
}

// ConnectionCounts counts the connections of teams and the attempts to make them.
type ConnectionCounts struct {
	RateLimit  float64           `json:"rate_limit"` // attempts per second, at most
	Attempts   uint64            `json:"attempts"`
	LastSecond int               `json:"attempts_last_second"`
	Peak       int               `json:"attempts_peak_second"` // greatest number of attempts within any second
	Dials      uint64            `json:"dials"`                // network connections begun
	DialsPeak  int               `json:"dials_peak_second"`    // greatest number within any second
	Made       uint64            `json:"made"`
	Reconnects uint64            `json:"reconnects"` // connections that were not their team's first
	Failed     map[string]uint64 `json:"failed"`     // attempts, by reason
	Ended      map[string]uint64 `json:"ended"`      // connections, by reason
}

// MessageCounts counts the messages of all teams.
type MessageCounts struct {
	Received uint64            `json:"received"`
	Props    uint64            `json:"props"`
	Outcomes map[string]uint64 `json:"outcomes"`
}

// QueueStatus is the state of the queue of events.
type QueueStatus struct {
	Events int `json:"events"`
	Bytes  int `json:"bytes"`
}

// TeamStatus is the state of one team.
type TeamStatus struct {
	ID           rtm.ID    `json:"id"`
	State        string    `json:"state"` // connected, connecting, waiting, gone
	Since        time.Time `json:"since"` // time of the last change of state
	MessageCount uint64    `json:"message_count"`
	PropsCount   uint64    `json:"props_count"`
	Connects     uint64    `json:"connects"`
	LastFailure  Reason    `json:"last_failure,omitempty"` // reason of the last failed attempt
}

// Status returns the current state.
func (b *Bridge) Status() Status {
	s := Status{Started: b.began, Healthchecks: b.counts.healthchecks.Load()}
	s.Global.Server = b.global.Host
	s.Global.Connected, s.Global.Since = b.gate.state()
	s.Global.Connects = b.counts.globals.Load()
	if err := b.lastGlobalErr.Load(); err != nil {
		s.Global.LastError = clip((*err).Error())
	}
	hub := b.hub.Load()
	s.Hub = HubStatus{Connected: hub.connected, Since: hub.since, ID: hub.id, Node: hub.node}
	if hub.err != nil {
		s.Hub.LastError = clip(hub.err.Error())
	}
	s.Teams = b.teamCounts()
	c := &s.Connections
	c.RateLimit, c.Made, c.Reconnects = b.opts.ConnectRate, b.counts.connects.Load(), b.counts.reconnects.Load()
	now := time.Now()
	c.Attempts, c.LastSecond, c.Peak = b.asks.started.counts(now)
	c.Dials, _, c.DialsPeak = b.dials.started.counts(now)
	c.Failed, c.Ended = words(b.counts.failed), words(b.counts.ended)
	s.Messages = MessageCounts{
		Received: b.counts.received.Load(), Props: b.counts.props.Load(), Outcomes: words(b.counts.messages),
	}
	s.Events, s.Ignored = words(b.counts.otherOutcome), words(b.counts.bad)
	s.Queue.Events, s.Queue.Bytes = b.out.sizes()
	return s
}

// words returns the counts that are not 0.
func words[K ~string](c counters[K]) map[string]uint64 {
	m := make(map[string]uint64)
	for k, n := range c.snapshot() {
		if n > 0 {
			m[string(k)] = n
		}
	}
	return m
}

func (b *Bridge) teamCounts() TeamCounts {
	all := b.teams.list()
	c := TeamCounts{Seen: len(all), Forgotten: b.counts.evicted.Load(), PresumedLeft: b.counts.presumed.Load()}
	for _, t := range all {
		switch phase(t.phase.Load()) {
		case phaseConnected:
			c.Connected++
		case phaseConnecting:
			c.Connecting++
		case phaseWaiting:
			c.Waiting++
		}
	}
	c.Present = c.Connected + c.Connecting + c.Waiting
	return c
}

// Teams returns the state of every remembered team, in the order of first announcement.
func (b *Bridge) Teams() []TeamStatus {
	all := b.teams.list()
	teams := make([]TeamStatus, len(all))
	for i, t := range all {
		stat := t.stat()
		teams[i] = TeamStatus{
			ID: t.id, State: phaseNames[t.phase.Load()], Since: time.Unix(0, t.since.Load()),
			MessageCount: stat.MessageCount, PropsCount: stat.PropsCount, Connects: t.connects.Load(),
		}
		if reason := t.lastFailure.Load(); reason != nil {
			teams[i].LastFailure = *reason
		}
	}
	return teams
}

// Handler serves GET /v1/status, GET /v1/teams (?state=, ?limit=, default 1000), GET /metrics for Prometheus, GET
// /healthz (the process is up) and GET /readyz (both the server and the hub are connected).
func (b *Bridge) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, b.Status()) })
	mux.HandleFunc("GET /v1/teams", b.serveTeams)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch open, _ := b.gate.state(); {
		case !open:
			answerText(w, http.StatusServiceUnavailable, "the Global server is away")
		case !b.hub.Load().connected:
			answerText(w, http.StatusServiceUnavailable, "the hub is away")
		default:
			answerText(w, http.StatusOK, "ready")
		}
	})
	mux.Handle("GET /metrics", b.metricsHandler())
	return mux
}

// defaultLimit is the default of the parameter limit.
const defaultLimit = 1000

func (b *Bridge) serveTeams(w http.ResponseWriter, r *http.Request) {
	limit := defaultLimit
	if s := r.FormValue("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			answerText(w, http.StatusBadRequest, "limit: want a number from 1")
			return
		}
		limit = n
	}
	teams := b.Teams()
	if state := r.FormValue("state"); state != "" {
		if !slices.Contains(phaseNames[:], state) {
			answerText(w, http.StatusBadRequest, "state: want connected, connecting, waiting or gone")
			return
		}
		teams = slices.DeleteFunc(teams, func(t TeamStatus) bool { return t.State != state })
	}
	answerJSON(w, struct {
		Total int          `json:"total"` // before limit
		Teams []TeamStatus `json:"teams"`
	}{len(teams), teams[:min(limit, len(teams))]})
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the peer has gone away
}

func answerText(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(line + "\n")) // as above
}
