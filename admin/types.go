package admin

import (
	"encoding/json"
	"time"

	"github.com/mastersocket/mastersocket/hub"
)

// This file is the vocabulary of the API. It is apart from the hub's own, so that the hub can change without its
// operators' programs. The doc tags become the OpenAPI document.

// Listed is what all lists of the cluster have.
type Listed struct {
	At      time.Time `json:"at" doc:"When the instance that was asked answered, by its own clock."`
	Missing []string  `json:"missing" nullable:"false" doc:"Names of the instances that did not answer in time: what only they know is not in the list."`
}

// Node is an instance.
type Node struct {
	ID               string            `json:"id" doc:"Eight hexadecimal digits, with which the ids of its clients begin." example:"0b8e41d7"`
	Name             string            `json:"name" example:"hub-0"`
	Version          string            `json:"version"`
	At               time.Time         `json:"at" doc:"When the instance said this. Counts are those since it started: the rate between two answers is the difference of the counts by that of the times."`
	Started          time.Time         `json:"started"`
	Self             bool              `json:"self" doc:"Whether it is the instance that answers this request."`
	Draining         bool              `json:"draining" doc:"Its clients are told to go elsewhere."`
	Connections      map[string]int    `json:"connections" doc:"Identified clients by service type."`
	Unidentified     int               `json:"unidentified" doc:"Connections that have not identified."`
	Groups           int               `json:"groups" doc:"Groups with a member on it."`
	MessagesReceived uint64            `json:"messages_received" doc:"EVENT and REPLY messages accepted from its clients, and by its admin API."`
	Deliveries       uint64            `json:"deliveries" doc:"Messages queued for its clients."`
	Drops            map[string]uint64 `json:"drops" doc:"Messages that did not reach somebody they were meant for, by reason."`
	Disconnects      map[string]uint64 `json:"disconnects" doc:"Sessions that ended, by reason."`
	QueueBytes       int64             `json:"queue_bytes" doc:"Unsent backlog of all its clients."`
	ReceivedBytes    uint64            `json:"received_bytes"`
	SentBytes        uint64            `json:"sent_bytes"`
	LoopTurnP99      float64           `json:"loop_turn_p99_seconds" doc:"How long 99 of 100 turns of its busiest loop took at most: how long anything waits there. Of the last 10 to 20 seconds while somebody asks, else since somebody asked last."`
	Gated            bool              `json:"gated" doc:"Nothing is read from its clients at the moment, as a loop or the broker can't keep up."`
	Broker           Broker            `json:"broker"`
}

// Broker is an instance's connection to the others.
type Broker struct {
	Available        bool      `json:"available"`
	Since            time.Time `json:"since" doc:"When that last changed."`
	Error            *string   `json:"error" doc:"Why it is not available."`
	RoundTripSeconds float64   `json:"round_trip_seconds" doc:"The last round trip through the broker; 0 before the first."`
}

func nodeOf(s hub.NodeStatus, self string) Node {
	n := Node{
		ID: s.ID, Name: s.Name, Version: s.Version, At: s.At, Started: s.Started, Self: s.ID == self, Draining: s.Draining,
		Connections: s.Connections, Unidentified: s.Unidentified, Groups: s.Groups, MessagesReceived: s.MessagesReceived,
		Deliveries: s.Deliveries, Drops: s.Drops, Disconnects: s.Disconnects, QueueBytes: s.QueueBytes,
		ReceivedBytes: s.ReceivedBytes, SentBytes: s.SentBytes, LoopTurnP99: s.LoopTurnP99, Gated: s.Gated,
		Broker: Broker{Available: s.Broker.Available, Since: s.Broker.Since, RoundTripSeconds: s.Broker.RoundTripSeconds},
	}
	if s.Broker.Error != "" {
		n.Broker.Error = &s.Broker.Error
	}
	return n
}

// Client is a client of the hub.
type Client struct {
	ID             string            `json:"id" format:"uuid"`
	Node           string            `json:"node" doc:"Name of the instance that it is connected to."`
	Type           string            `json:"type" doc:"Its service type." example:"service"`
	Name           string            `json:"name" doc:"What it calls itself; empty for nothing, as is the version."`
	Version        string            `json:"version"`
	Groups         []string          `json:"groups" nullable:"false"`
	Meta           map[string]string `json:"meta" doc:"What it says of itself beyond that."`
	Address        string            `json:"address" doc:"Where it connects from, host:port; empty if that can't be told any more."`
	Token          string            `json:"token" doc:"The name of its token, never the token; of a signed token or a certificate, the name of the entry of the tokens file that is for it."`
	Subject        string            `json:"subject" doc:"Whom its signed token (the claim sub) or certificate is about; empty for other tokens." example:"system:serviceaccount:shop:billing"`
	ConnectedSince time.Time         `json:"connected_since" doc:"When it identified."`
	IdleMillis     int64             `json:"idle_ms" doc:"Milliseconds since anything arrived from it."`
	LastSeen       time.Time         `json:"last_seen" doc:"When anything arrived from it last."`
	MessagesIn     uint64            `json:"messages_in" doc:"EVENT and REPLY messages from it."`
	MessagesOut    uint64            `json:"messages_out" doc:"Messages that left for it whole, PING, ACK and the like included."`
	BytesIn        uint64            `json:"bytes_in"`
	BytesOut       uint64            `json:"bytes_out"`
	QueueBytes     int               `json:"queue_bytes" doc:"What was sent to it and has not left. A client that does not read has much of it, and is disconnected as SLOW_CONSUMER when it passes send_queue_bytes."`
	StalledMillis  int64             `json:"stalled_ms" doc:"Milliseconds since anything of that left; 0 without a backlog. At write_timeout the client is disconnected as SLOW_CONSUMER."`
}

func clientOf(c *hub.Client, now time.Time) Client {
	groups, meta := c.Groups, c.Meta
	if groups == nil {
		groups = []string{}
	}
	if meta == nil {
		meta = map[string]string{}
	}
	return Client{
		ID: c.ID.String(), Node: c.Node, Type: c.Type, Name: c.Name, Version: c.Version, Groups: groups, Meta: meta,
		Address: c.Address, Token: c.Token, Subject: c.Subject, ConnectedSince: c.ConnectedSince, IdleMillis: c.IdleMillis,
		LastSeen:   now.Add(-time.Duration(c.IdleMillis) * time.Millisecond).UTC(),
		MessagesIn: c.MessagesIn, MessagesOut: c.MessagesOut, BytesIn: c.BytesIn, BytesOut: c.BytesOut,
		QueueBytes: c.QueueBytes, StalledMillis: c.StalledMillis,
	}
}

// Group is a group with members.
type Group struct {
	Name    string         `json:"name"`
	Members int            `json:"members"`
	Nodes   map[string]int `json:"nodes" doc:"Members by the name of their instance."`
}

// Intent says whom an event is for.
type Intent struct {
	Target     string `json:"target" enum:"GLOBAL,GROUP,DIRECT,ANY"`
	Identifier string `json:"identifier,omitempty" doc:"GROUP and ANY: the group, which may be left out for ANY among all clients. DIRECT: the client's id."`
}

// Event is a message to publish.
type Event struct {
	_ struct{} `additionalProperties:"true"`

	ID     string          `json:"id,omitempty" minLength:"1" maxLength:"64" doc:"Left out, the hub makes one."`
	Event  string          `json:"event,omitempty" maxLength:"128" example:"order.created"`
	Data   json.RawMessage `json:"data,omitempty" doc:"Any JSON value. It is forwarded byte for byte, as are members that are not named here."`
	Intent Intent          `json:"intent"`
}

// Receipt is what became of an event.
type Receipt struct {
	ID        string         `json:"id" doc:"The event's."`
	Instances *int           `json:"instances" doc:"How many instances it was handed to. null if that was not known within a second, as while the broker is away: it may still be delivered."`
	Clients   *int           `json:"clients" doc:"For how many clients, on all these instances, it was queued. null if an instance did not say within a second."`
	Dropped   map[string]int `json:"dropped" doc:"By reason, the names being those of the metric mastersocket_drops_total: 1 for the event itself if it could not be handed to anybody, or to other instances; closing counts receivers that were being disconnected."`
}

// ReloadResult is what a reload of the configuration changed.
type ReloadResult struct {
	At            time.Time `json:"at"`
	Changed       []string  `json:"changed" nullable:"false" doc:"Settings that changed and have taken effect, tokens among them." example:"[\"tokens\",\"log-level\"]"`
	TokensAdded   []string  `json:"tokens_added" nullable:"false" doc:"Names of tokens."`
	TokensChanged []string  `json:"tokens_changed" nullable:"false"`
	TokensRevoked []string  `json:"tokens_revoked" nullable:"false" doc:"Their holders were disconnected as UNAUTHORIZED."`
	NeedRestart   []string  `json:"need_restart" nullable:"false" doc:"Settings that changed and take effect at the next start only."`
}

// Drain is the progress of leaving service.
type Drain struct {
	Node        string  `json:"node" doc:"The instance that is draining: the one that was asked."`
	Connections int     `json:"connections" doc:"Connections still open."`
	OverSeconds float64 `json:"over_seconds" doc:"The time over which they are told to go elsewhere."`
	Began       bool    `json:"began" doc:"false if it was draining already."`
}

// Team is a team of the service type team.
type Team struct {
	ID           json.RawMessage `json:"id" doc:"As it was announced: text or a number."`
	Since        time.Time       `json:"since" doc:"When an instance first heard that the team joined."`
	Connection   *TeamConnection `json:"connection,omitempty" doc:"Its open connection; left out if there is none."`
	MessageCount uint64          `json:"message_count" doc:"Messages that were queued for its connections."`
	PropsCount   uint64          `json:"props_count" doc:"Those among them with props in their text."`
	Claims       []TeamClaim     `json:"claims" nullable:"false" doc:"What clients said of the team in their last answer to a healthcheck."`
}

// TeamConnection is an open connection of a team.
type TeamConnection struct {
	Node    string    `json:"node"`
	Client  string    `json:"client" format:"uuid" doc:"The connection's id as a client."`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
}

// TeamClaim is what a client says of a team.
type TeamClaim struct {
	Node         string    `json:"node"`
	Client       string    `json:"client" format:"uuid"`
	At           time.Time `json:"at"`
	Connected    bool      `json:"connected"`
	MessageCount uint64    `json:"message_count"`
	PropsCount   uint64    `json:"props_count"`
}

// listed is what all lists have, now.
func listed(missing []string) Listed { return Listed{time.Now().UTC(), none(missing)} }

// none is missing as JSON has it: a list, if an empty one.
func none(missing []string) []string {
	if missing == nil {
		return []string{}
	}
	return missing
}
