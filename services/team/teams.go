package team

import (
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// MaxPage is the greatest number of entries in one page of [Service.Teams].
const MaxPage = 500

// Team is what operators see of a team.
type Team struct {
	ID    rtm.ID    `json:"id"`    // as it was announced first
	Since time.Time `json:"since"` // when an instance first heard that the team joined
	// Connection is the team's open connection; nil if there is none.
	Connection *Connection `json:"connection"`
	// MessageCount and PropsCount are the messages, and those among them with "props" in the text, that the hub queued for
	// the team's connections, this one and those before, since the instances that had them started.
	MessageCount uint64 `json:"message_count"`
	PropsCount   uint64 `json:"props_count"`
	// Claims are what clients said of the team in their last answer to a healthcheck, one entry for each Global connection
	// that named it, MaxClaims of each instance at most.
	Claims []Claim `json:"claims"`
}

// Connection is an open connection of a team.
type Connection struct {
	Node    string    `json:"node"`   // the instance's name
	Client  uuid.UUID `json:"client"` // the connection's id in the hub
	Address string    `json:"address,omitempty"`
	Since   time.Time `json:"since"`
}

// Claim is what the client at a Global connection says of a team. Whether it is true shows in the comparison with what
// the hub counted.
type Claim struct {
	Node         string    `json:"node"`   // the instance that the Global connection is on
	Client       uuid.UUID `json:"client"` // the Global connection's id in the hub
	At           time.Time `json:"at"`     // when the claim arrived
	Connected    bool      `json:"connected"`
	MessageCount uint64    `json:"message_count"`
	PropsCount   uint64    `json:"props_count"`
}

// MaxClaims is how many claims about one team an instance lists.
const MaxClaims = 8

// Page is a part of the cluster's teams, in the order of their ids' texts.
type Page struct {
	Teams   []Team
	Next    string   // cursor of the page that follows; empty for none
	Missing []string // names of the instances that did not answer in time: what only they know is not in the page
}
