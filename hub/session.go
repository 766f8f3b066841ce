package hub

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// phase is how far a session has come.
type phase uint8

const (
	phaseStranger   phase = iota // connected
	phaseVerifying               // its token is being verified
	phaseJoining                 // IDENTIFY accepted, waiting for the broker
	phaseIdentified              // messages flow
	phaseOver                    // disconnected
)

// sender is what a message is sent by: a client, the agent of a service type on a loop, or a call of Publish. It belongs to
// its loop.
type sender struct {
	id      uuid.UUID
	sent    uint32 // EVENTs, REPLYs and FENCEs so far; wraps
	kind    uint8  // of the service types; 0 for the hub's own protocol
	noEcho  bool   // its own messages to many are not for it
	phase   phase  // of a session
	warned  bool   // of a session: it was told that what it identified with ends
	numbers bool   // messages to a group with history are on their way: see numbering.go
}

// unordered reports whether an ANY of the sender may be drawn again though it sent more since. Clients of the hub's own
// protocol are promised the order of their messages; for service types each arrival matters more.
func (f *sender) unordered() bool { return f.kind != 0 }

// session is a client, of the master socket protocol or of a service type. It belongs to its shard's loop. There is one for
// every connection, so its size counts.
type session struct {
	sender
	expires uint32 // Unix time at which its token or certificate ends; 0 for never
	shard   *shard
	conn    *transport.Conn
	grant   *auth.Grant
	about   *about  // what the client says of itself; nil for nothing
	limit   *limits // nil for a client without a token

	everyone place // in the list of all clients; of strangers, before IDENTIFY
	first    place // in its group
	rest     *rest // nil for a client that has none of it

	since      uint32 // Unix time of IDENTIFY
	pingedAt   uint32 // loop clock at the last PING
	departedAt uint32 // loop clock at its last FENCE over the new connection

	// See pressure.go.
	ahead  uint16 // what it has sent to other loops since its last mark, in units of markUnit bytes
	waits  uint16 // reasons why nothing is read from it
	heldAt uint16 // loop clock, shifted by holdUnit, when senders began to wait
	marks  bool   // a mark is on its way
	full   bool   // it waits for the mark
	holds  bool   // senders wait for its backlog to become short
	spent  bool   // they waited long enough: until it is short, none does

	features  opcodes.Feature
	pinged    bool  // a PING is out and nothing arrived since
	told      bool  // a DRAIN was sent
	departing bool  // it is about to leave: see depart
	weight    uint8 // its share of the ANYs of its groups
	fenced    uint8 // FENCEs that it has sent in that second
	fencedIn  uint8 // the second of its last FENCE: see mayFence
}

// rest is what only clients of several groups, or with features, have.
type rest struct {
	more  []place // in the groups beyond the first, in the order of their addresses
	extra *extra  // nil for nothing: see others and extra
}

// extra is what only some clients with features have.
type extra struct {
	changes  changes // of its groups
	watches  []*watching
	reading  []*watching // of these, those that wait for the client to read what it was sent
	holdings []*holding  // exclusive groups
	goodbye  bool        // it said that it goes
	moving   *moving     // nil for a client that does not move

	readers   []*catchup // recoveries of groups with history: one at a time reads
	recovered int        // bytes queued by these and not read yet

	requests ownRequests // open ones
	past     past        // parts in requests that are over
}

// others returns the place for what only some clients have, for the client to keep something there.
func (s *session) others() *extra {
	if s.rest == nil {
		s.rest = new(rest)
	}
	if s.rest.extra == nil {
		s.rest.extra = new(extra)
	}
	return s.rest.extra
}

// extra returns what others has kept, to be read only: of a client that has kept nothing it is noExtra.
func (s *session) extra() *extra {
	if s.rest == nil || s.rest.extra == nil {
		return &noExtra
	}
	return s.rest.extra
}

// noExtra is what all clients have that have kept nothing. It is never changed.
var noExtra extra

// more returns the client's places in its groups beyond the first.
func (s *session) more() []place {
	if s.rest == nil {
		return nil
	}
	return s.rest.more
}

// about is what operators see of a client, and what a service type knows of its own.
type about struct {
	*labels         // never nil
	foreign foreign // nil for a client of the hub's own protocol
	native  bool    // of a foreign client: it identified as those of the hub's own protocol do
}

// labels are the texts about a client. They are apart, since most clients of service types have none.
type labels struct {
	name, version string
	meta          map[string]string
	subject       string // of its signed token or certificate; empty for other tokens
	right         string // of a foreign client that is not native: the group that its token must allow to join; empty for none
}

// unlabelled are the labels of all clients that have none. They are never changed.
var unlabelled = new(labels)

// isEmpty reports whether the client has no labels.
func (l *labels) isEmpty() bool {
	return l.name == "" && l.version == "" && len(l.meta) == 0 && l.subject == "" && l.right == ""
}

// label gives the session labels in place of those that it had.
func (s *session) label(l labels) {
	if s.about == nil {
		if l.isEmpty() {
			return
		}
		s.about = new(about)
	}
	s.about.labels = unlabelled
	if !l.isEmpty() {
		kept := l // l itself would be allocated for every client
		s.about.labels = &kept
	}
}

// foreign is a service type's end of one connection.
type foreign interface {
	receive(binary bool, b []byte)
	handle(m *opcodes.Envelope) Outcome
	identified() // the client is a member of its groups
	sweep()
	answers() bool                               // the client can answer requests
	cancelled(requester uuid.UUID, id string)    // the answer to a request of it is not wanted any more
	settled(id string, s *opcodes.Settlement)    // a request of the client is over; s is valid during the call
	farewell(r opcodes.Reason) *transport.Buffer // nil for none; the caller takes over the reference
	closed()
}

// Outcome is what became of a message handed to a PeerHandler.
type Outcome uint8

// The outcomes.
const (
	Taken   Outcome = iota // queued for the client
	Ignored                // it means nothing in the client's protocol; an ANY goes to another client
	Refused                // the client can't be sent it any more; an ANY goes to another client
)

// foreign returns the service type's end, nil for a client of the hub's own protocol.
func (s *session) foreign() foreign {
	if s.about == nil {
		return nil
	}
	return s.about.foreign
}

// place is where a session stands in a list, so that it can leave in constant time.
type place struct {
	group *group
	at    uint32
}

// placeIn returns the session's place in a group that it is a member of.
func (s *session) placeIn(g *group) *place {
	p := s.placeOf(g)
	if p == nil {
		panic("hub: session is not in the group")
	}
	return p
}

// placeOf returns the session's place in a group; nil if it is no member.
func (s *session) placeOf(g *group) *place {
	switch g {
	case s.everyone.group:
		return &s.everyone
	case s.first.group:
		return &s.first
	}
	more := s.more()
	if i, ok := slices.BinarySearchFunc(more, g, comparePlace); ok {
		return &more[i]
	}
	return nil
}

// comparePlace compares the group of a place with another by their addresses, which do not change.
func comparePlace(p place, g *group) int {
	return cmp.Compare(uintptr(unsafe.Pointer(p.group)), uintptr(unsafe.Pointer(g)))
}

// eachPlace calls f for the client's places in all of its groups, that of all clients included.
func (s *session) eachPlace(f func(place)) {
	f(s.everyone)
	if s.first.group != nil {
		f(s.first)
	}
	for _, p := range s.more() {
		f(p)
	}
}

// groupNames returns the names of the client's groups, that of its IDENTIFY first, the others in the order of their names.
func (s *session) groupNames() []string {
	names := []string{}
	for _, p := range s.more() {
		names = append(names, p.group.name)
	}
	slices.Sort(names)
	if s.first.group != nil {
		names = slices.Insert(names, 0, s.first.group.name)
	}
	return names
}

// tokenName returns the name of the client's token, empty if it showed none.
func (s *session) tokenName() string {
	if s.grant == nil {
		return ""
	}
	return s.grant.Name
}
