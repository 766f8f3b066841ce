package history

import (
	"fmt"
	"sync"
	"time"
)

// Target is the kind of a message's target.
type Target uint8

// The targets of the protocol.
const (
	Global Target = iota // every identified client
	Group                // every client in a group
	Direct               // one client
	Any                  // one client of a group, or of all
)

var targetNames = [...]string{Global: "GLOBAL", Group: "GROUP", Direct: "DIRECT", Any: "ANY"}

// String returns the target's name on the wire.
func (t Target) String() string { return targetNames[t] }

// To is a message's target.
type To struct {
	Target Target
	Name   string // Group: the group; Direct: the client's id; Any: the group, or empty for all clients
}

// String returns the target and its name, separated by a colon.
func (to To) String() string {
	if to.Name == "" {
		return to.Target.String()
	}
	return to.Target.String() + ":" + to.Name
}

// Departure is the way in which a session ended.
type Departure uint8

// The ways to end.
const (
	Stayed    Departure = iota // connected until the end of the history
	Left                       // closed gracefully, and the hub's answer arrived
	Cut                        // the connection broke, or the client dropped it
	Dismissed                  // the hub disconnected it with a reason
)

var departureNames = [...]string{Stayed: "stayed", Left: "left", Cut: "was cut off", Dismissed: "was disconnected"}

// String returns the departure in words.
func (d Departure) String() string { return departureNames[d] }

// outcome is a sender's knowledge of its message.
type outcome uint8

const (
	pending  outcome = iota // no answer so far
	accepted                // ACK
	refused                 // ERROR
	unsent                  // not written, or not completely
)

// send is a message as its sender knows it.
type send struct {
	at      int64 // before it was written
	settled int64 // time of the outcome; 0: none
	to      To
	code    string // refused: the ERROR's code
	outcome outcome
}

// arrival is one delivery.
type arrival struct {
	at     int64
	sender int32
	n      int32
}

// notes are findings made while recording: all are counted, the first ones described.
type notes struct {
	Count int      `json:"count,omitempty"`
	Texts []string `json:"texts,omitempty"`
}

// maxNotes bounds the texts of one notes.
const maxNotes = 16

func (l *notes) add(format string, args ...any) {
	l.Count++
	if len(l.Texts) < maxNotes {
		l.Texts = append(l.Texts, fmt.Sprintf(format, args...))
	}
}

// History is a recording.
type History struct {
	base  int
	now   func() int64
	mu    sync.Mutex // guards sessions
	table []*Session
}

// New returns an empty history whose sessions are numbered from base. Parts that are to be merged need ranges of
// numbers that don't overlap.
func New(base int) *History { return &History{base: base, now: Now} }

// started anchors Now: the wall clock once, so that several processes agree, then the monotonic clock, so that a
// correction of the wall clock can't swap two events.
var started = time.Now()

// Now returns the time of a record: nanoseconds since 1970, never decreasing within a process.
func Now() int64 { return started.UnixNano() + int64(time.Since(started)) }

// Session is the record of one connection, or of a client that continues over others: see [Session.Moved].
type Session struct {
	h     *History
	index int
	name  string

	mu       sync.Mutex // guards the fields below
	life     life
	sends    []send
	arrivals []arrival
	stamps   map[int32][]string // sender's session: the ids that the hub gave as its sender
	oddities notes
	leaks    notes        // deliveries before the IDENTIFY answer
	late     map[int]bool // messages with an ACK and an ERROR
	moving   int64        // when the client began to open another connection; 0: it is not
}

// life has a session's identity and its times. A time is 0 if the event did not happen.
type life struct {
	ID          string       `json:"id,omitempty"`       // the client id that the hub assigned
	Names       []naming     `json:"names,omitempty"`    // further ids, in order
	Absences    []absence    `json:"absences,omitempty"` // in order
	Groups      []string     `json:"groups,omitempty"`
	Memberships []membership `json:"memberships,omitempty"` // in further groups, in the order in which they were asked for
	NoEcho      bool         `json:"noEcho,omitempty"`
	Reports     bool         `json:"reports,omitempty"`
	Identifying int64        `json:"identifying,omitempty"` // before IDENTIFY was written
	Identified  int64        `json:"identified,omitempty"`  // after its answer was read
	Leaving     int64        `json:"leaving,omitempty"`     // before the client began to end it
	Ended       int64        `json:"ended,omitempty"`       // after the client saw the end
	Departure   Departure    `json:"departure,omitempty"`
	Reason      string       `json:"reason,omitempty"` // of the hub, with Dismissed
	Late        int          `json:"late,omitempty"`   // messages with an ACK and an ERROR
}

// Session opens the record of a new connection, or of a client with several in succession. The name appears in reports.
func (h *History) Session(name string) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Session{h: h, index: h.base + len(h.table), name: name}
	h.table = append(h.table, s)
	return s
}

// Index returns the session's number, unique in the history; it stands for the sender in payloads.
func (s *Session) Index() int { return s.index }

// String returns the session's name and number.
func (s *Session) String() string { return fmt.Sprintf("%s#%d", s.name, s.index) }

// Identity is the content of an IDENTIFY.
type Identity struct {
	Groups  []string
	NoEcho  bool // without its own GLOBAL and GROUP messages
	Reports bool // with acks and errors: each message must be answered by one of them
}

// Identifying must be called before IDENTIFY is written.
func (s *Session) Identifying(as Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.Groups, s.life.NoEcho, s.life.Reports = as.Groups, as.NoEcho, as.Reports
	s.life.Identifying = s.h.now()
}

// Identified must be called by the reader when it has read the answer, before it reads on. id is the client's id.
func (s *Session) Identified(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.ID, s.life.Identified = id, s.h.now()
}

// Leaving must be called before the client begins to end the connection.
func (s *Session) Leaving() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Leaving == 0 {
		s.life.Leaving = s.h.now()
	}
}

// Ended records the end of the connection, after all arrivals. reason is the hub's, or empty.
func (s *Session) Ended(how Departure, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.Ended, s.life.Departure, s.life.Reason = s.h.now(), how, reason
	if s.life.Leaving == 0 {
		s.life.Leaving = s.life.Ended
	}
}

// Send must be called before a message is written. It returns the message's number, for AppendPayload and AppendID.
// Messages of one session must be written in the order of their numbers.
func (s *Session) Send(to To) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends = append(s.sends, send{at: s.h.now(), to: to})
	return len(s.sends) - 1
}

// Accepted records the ACK of message n, and Refused the ERROR for it with its code. They report whether it is the
// first answer to that message. Both may come only if another instance was drawn or addressed and the receiver is gone:
// see [Report.Late].
func (s *Session) Accepted(n int) (first bool) { return s.settle(n, accepted, "") }

// Refused records an ERROR: see Accepted.
func (s *Session) Refused(n int, code string) (first bool) { return s.settle(n, refused, code) }

// Unsent records that message n could not be written.
func (s *Session) Unsent(n int) { s.settle(n, unsent, "") }

func (s *Session) settle(n int, o outcome, code string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 || n >= len(s.sends) {
		s.oddities.add("an ACK or ERROR for message %d, which was never sent", n)
		return false
	}
	switch m := &s.sends[n]; {
	case m.outcome == pending:
		m.outcome, m.code, m.settled = o, code, s.h.now()
		return true
	case s.mayFollow(n, o, code):
		s.life.Late++
		s.late[n] = true
		if o == refused {
			m.outcome, m.code = o, code
		}
	default:
		s.oddities.add("a second ACK or ERROR for message %d", n)
	}
	return false
}

// mayFollow reports whether a second answer to message n may be right: a message to one receiver was handed to its
// instance (ACK), which had no such receiver (ERROR). The answers take different ways, so either may come first.
func (s *Session) mayFollow(n int, o outcome, code string) bool {
	m := &s.sends[n]
	if m.outcome == refused {
		code = m.code
	}
	both := m.outcome == accepted && o == refused || m.outcome == refused && o == accepted
	if !both || s.late[n] || m.to.Target != Direct && m.to.Target != Any || code != "NO_RECEIVER" && code != "RECEIVER_GONE" {
		return false
	}
	if s.late == nil {
		s.late = make(map[int]bool)
	}
	return true
}

// Arrived records an EVENT or REPLY with its id, sender and data as on the wire. It returns the origin in the payload,
// if readable. It does not keep the arguments.
func (s *Session) Arrived(id, sender, data []byte) (from, n int, ok bool) {
	from, n, known, err := ParsePayload(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Identified == 0 {
		s.leaks.add("message %.70q of %.50q", id, sender)
	}
	if err != nil {
		s.oddities.add("%v", err)
	}
	if !known {
		return 0, 0, false
	}
	var buf [48]byte
	if want := AppendID(buf[:0], from, n); string(want) != string(id) {
		s.oddities.add("message %d-%d arrived with the id %.70q", from, n, id)
	}
	s.keepStamp(int32(from), sender)
	s.arrivals = append(s.arrivals, arrival{at: s.h.now(), sender: int32(from), n: int32(n)})
	return from, n, true
}

// Stray records a described arrival that no message of the history explains. Before the IDENTIFY answer it counts as
// leaked, afterwards as corrupted.
func (s *Session) Stray(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Identified == 0 {
		s.leaks.add(format, args...)
		return
	}
	s.oddities.add(format, args...)
}

// maxStamps bounds the distinct stamps of one sender that are kept. A correct hub gives one.
const maxStamps = 4

// keepStamp keeps each distinct sender stamp of a session's messages, for a comparison with its id at the end.
func (s *Session) keepStamp(from int32, sender []byte) {
	known := s.stamps[from]
	for _, k := range known {
		if k == string(sender) {
			return
		}
	}
	if s.stamps == nil {
		s.stamps = make(map[int32][]string)
	}
	if len(known) < maxStamps {
		s.stamps[from] = append(known, string(sender))
	}
}
