package admin

import (
	"encoding/json"
	"time"
)

// This file has the parts of the API's vocabulary that are not the hub's own. The doc tags, here and at the hub's types,
// become the OpenAPI document.

// Listed has the members of all lists of the cluster.
type Listed struct {
	At      time.Time `json:"at" doc:"When the instance that was asked answered, by its own clock."`
	Missing []string  `json:"missing" nullable:"false" doc:"Names of the instances that did not answer in time; the list lacks their entries."`
}

// Intent selects the receivers of an event.
type Intent struct {
	Target     string `json:"target" enum:"GLOBAL,GROUP,DIRECT,ANY"`
	Identifier string `json:"identifier,omitempty" doc:"GROUP and ANY: the group; ANY without a group draws among all clients. DIRECT: the client's id."`

	Identifiers []string `json:"identifiers,omitempty" minItems:"1" maxItems:"16" doc:"GROUP and DIRECT, in the place of identifier: several groups or ids, each once. Each receiver gets one copy."`
	Except      []string `json:"except,omitempty" minItems:"1" maxItems:"16" doc:"GLOBAL, GROUP and DIRECT: names of groups whose members, and ids of clients that, don't get the event."`
}

// Event describes the body of POST /v1/events in the OpenAPI document. The hub's scanner parses it.
type Event struct {
	_ struct{} `additionalProperties:"true"`

	ID     string          `json:"id,omitempty" minLength:"1" maxLength:"64" doc:"Default: made by the hub."`
	Event  string          `json:"event,omitempty" maxLength:"128" example:"order.created"`
	Data   json.RawMessage `json:"data,omitempty" doc:"Any JSON value. It is forwarded byte for byte, as are members that are not named here."`
	Intent Intent          `json:"intent"`
}

// ReloadResult lists what a reload of the configuration changed.
type ReloadResult struct {
	At            time.Time `json:"at"`
	Changed       []string  `json:"changed" nullable:"false" doc:"Changed settings that have taken effect, tokens included." example:"[\"tokens\",\"log-level\"]"`
	TokensAdded   []string  `json:"tokens_added" nullable:"false" doc:"Names of tokens."`
	TokensChanged []string  `json:"tokens_changed" nullable:"false"`
	TokensRevoked []string  `json:"tokens_revoked" nullable:"false" doc:"Their holders were disconnected as UNAUTHORIZED."`
	NeedRestart   []string  `json:"need_restart" nullable:"false" doc:"Changed settings that need a restart."`
}

// Drain is the state of a drain.
type Drain struct {
	Node        string  `json:"node" doc:"The instance that drains: the one that answers."`
	Connections int     `json:"connections" doc:"Connections still open."`
	OverSeconds float64 `json:"over_seconds" doc:"The time over which clients are told to move."`
	Began       bool    `json:"began" doc:"false if a drain had begun before."`
}

// Team is a team of the service type team.
type Team struct {
	ID           json.RawMessage `json:"id" doc:"The id as announced: a string or a number."`
	Since        time.Time       `json:"since" doc:"When an instance first heard that the team joined."`
	Connection   *TeamConnection `json:"connection,omitempty" doc:"The team's open connection, if any."`
	MessageCount uint64          `json:"message_count" doc:"Messages that were queued for its connections."`
	PropsCount   uint64          `json:"props_count" doc:"Those among them with props in their text."`
	Claims       []TeamClaim     `json:"claims" nullable:"false" doc:"The clients' last answers to a healthcheck about the team."`
}

// TeamConnection is an open connection of a team.
type TeamConnection struct {
	Node    string    `json:"node"`
	Client  string    `json:"client" format:"uuid" doc:"The connection's id as a client."`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
}

// TeamClaim is a client's answer to a healthcheck about a team.
type TeamClaim struct {
	Node         string    `json:"node"`
	Client       string    `json:"client" format:"uuid"`
	At           time.Time `json:"at"`
	Connected    bool      `json:"connected"`
	MessageCount uint64    `json:"message_count"`
	PropsCount   uint64    `json:"props_count"`
}

// listed returns the common members of a list.
func listed(missing []string) Listed { return Listed{time.Now().UTC(), orEmpty(missing)} }

// orEmpty returns all, or an empty list for nil: JSON shows no null there.
func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
