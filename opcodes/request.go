package opcodes

import (
	"bytes"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// The limits of a request.
const (
	maxExpected = time.Hour // timeout_ms
	maxKeyBytes = 128       // key, unescaped
)

// Expectation is what the member expect of an EVENT asks for: with it the EVENT is a request.
type Expectation struct {
	Timeout time.Duration // whole milliseconds, one at least
	Retry   bool          // of an ANY: another member gets the request if the one drawn does not answer it
	Key     []byte        // of an ANY: names the member, which stays the same; nil to draw one at random
}

// The names of the members that only requests have, and of those in expect.
var (
	requestNames = [][]byte{[]byte("more"), []byte("error"), []byte("expect"), []byte("attempt")}
	offsetNames  = [][]byte{[]byte("offset")}
	expectNames  = [][]byte{[]byte("timeout_ms"), []byte("retry"), []byte("key")}
)

// noteMember notes a member that is not one of every message. Its value is valid JSON.
func (e *Envelope) noteMember(name, value []byte) {
	if len(name) < len("more") || len(name) > len("attempt")+1 {
		return
	}
	switch string(name) {
	case "more":
		e.More = string(value) == "true"
	case "error":
		e.Failure = value
	case "attempt":
		e.attempt = true
	case "once":
		e.Once = string(value) == "true"
	default:
		e.Numbered = e.Numbered || isVariant(name, offsetNames)
		e.variant = e.variant || isVariant(name, requestNames)
	}
}

// Expectation reads the member expect of an EVENT, which must be there:
//
//	timeout_ms  integer from 1 to 3,600,000; required
//	retry       boolean; true only with the target ANY
//	key         string of 1 to 128 bytes; only with the target ANY
//
// Unknown members are ignored. The EVENT needs an id, and may have no member attempt, which the hub adds. The error is nil
// or a predeclared [*ScanError]. Key is valid as long as the Envelope's other fields. It allocates only to grow the
// Envelope's scratch memory.
func (e *Envelope) Expectation() (x Expectation, err error) {
	switch {
	case e.ID == nil:
		return x, errExpectID
	case e.attempt:
		return x, errForgedAttempt
	case e.variant:
		return x, errNameCase
	case e.Selects():
		return x, errExpectMany
	}
	if x, fault := e.scanExpect(e.Expect); fault != nil {
		return x, fault
	} else if e.Target != intent.Any && (x.Retry || x.Key != nil) {
		return x, errExpectTarget
	} else {
		return x, nil
	}
}

// scanExpect reads the value of expect, which is valid JSON.
func (e *Envelope) scanExpect(b []byte) (x Expectation, err *ScanError) {
	if b[0] != '{' {
		return x, errExpectType
	}
	var seen uint8
	i := skipSpace(b, 1)
	for more := b[i] != '}'; more; {
		name, at, err := e.scanMember(b, i)
		if err != nil {
			return x, err
		}
		end, err := scanValue(b, at, 2)
		if err != nil {
			return x, err
		}
		var field uint8
		value := b[at:end]
		switch string(name) {
		case "timeout_ms":
			field = 1
			x.Timeout, err = expectTimeout(value)
		case "retry":
			field = 2
			x.Retry, err = expectRetry(value)
		case "key":
			field = 4
			x.Key, err = e.expectKey(value)
		default:
			if isVariantOf(name, expectNames) {
				err = errExpectName
			}
		}
		if err != nil {
			return x, err
		}
		if seen&field != 0 {
			return x, errExpectName
		}
		seen |= field
		if i, more, err = scanNext(b, end); err != nil {
			return x, err
		}
	}
	if x.Timeout == 0 {
		return x, errExpectTimeout
	}
	return x, nil
}

// isVariantOf is isVariant for names of any length, the empty one too.
func isVariantOf(name []byte, names [][]byte) bool {
	for _, n := range names {
		if bytes.EqualFold(name, n) {
			return true
		}
	}
	return false
}

func expectTimeout(value []byte) (time.Duration, *ScanError) {
	const most = len("3600000")
	if len(value) > most || !isDigit(value[0]) {
		return 0, errExpectTimeout
	}
	ms := 0
	for _, c := range value {
		if !isDigit(c) {
			return 0, errExpectTimeout
		}
		ms = 10*ms + int(c-'0')
	}
	if d := time.Duration(ms) * time.Millisecond; d > 0 && d <= maxExpected {
		return d, nil
	}
	return 0, errExpectTimeout
}

func expectRetry(value []byte) (bool, *ScanError) {
	switch string(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errExpectRetry
}

func (e *Envelope) expectKey(value []byte) ([]byte, *ScanError) {
	if value[0] != '"' {
		return nil, errExpectKey
	}
	text, _, err := e.scanText(value, 0)
	if err == nil && (len(text) == 0 || len(text) > maxKeyBytes) {
		err = errExpectKey
	}
	return text, err
}

// PlainID returns the id unescaped, nil if there is none. It is valid as long as the Envelope's other fields.
func (e *Envelope) PlainID() []byte {
	if bytes.IndexByte(e.ID, '\\') < 0 {
		return e.ID
	}
	from := len(e.scratch)
	e.scratch = appendUnescaped(e.scratch, e.ID)
	return e.scratch[from:]
}

// MovedData is the data of the DISCONNECT of a client that goes on over another connection, which has everything to many that
// this one has got and not answered.
const MovedData = `"MOVED"`

// The reasons for which an answer to a request is missing, beside those of DISCONNECT. Clients must accept others.
const (
	MissingLost           = "LOST"               // the receiver's connection broke
	MissingTimeout        = "TIMEOUT"            // it did not answer in time
	MissingCancelled      = "CANCELLED"          // it had not answered when the request was cancelled
	MissingInstance       = "INSTANCE_LOST"      // its instance is gone
	MissingNotDelivered   = "NOT_DELIVERED"      // no client got the request
	MissingUnavailable    = "BROKER_UNAVAILABLE" // other instances did not get it
	MissingOutcomeUnknown = "OUTCOME_UNKNOWN"    // an instance may have got it, and did not say
	MissingOldRelease     = "OLD_RELEASE"        // the instance is of a release that does not track requests
)

// Missing is an answer that a request did not get, or several of one instance.
type Missing struct {
	ID     uuid.UUID // of the receiver; zero where it can't be named
	Name   string    // that it gave in IDENTIFY; empty for none
	Node   string    // the name of an instance; empty for none
	Reason string
	Count  int // of receivers where they can't be named; 0 to leave it out
}

// Settlement is the data of a SETTLED.
type Settlement struct {
	Receivers int       // clients that the request was queued for
	Replied   int       // of these, those that answered it
	Passed    int       // of these, those that said that they don't
	Missing   []Missing // the others, and what was not delivered
	More      int       // of these, those left out
}

// SettledSize returns the most that [AppendSettled] appends, in bytes.
func SettledSize(id string, s *Settlement) int {
	const fixed, entry, escaped = 160, 128, 6
	n := fixed + escaped*len(id)
	for i := range s.Missing {
		m := &s.Missing[i]
		n += entry + escaped*(len(m.Name)+len(m.Node)+len(m.Reason))
	}
	return n
}

// AppendSettled appends the SETTLED of the request with the given id, which is not escaped.
func AppendSettled(dst []byte, id string, s *Settlement) []byte {
	dst = append(dst, `{"op":14,"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"data":{`...)
	return append(AppendSettlement(dst, s), `}}`...)
}

// AppendSettlement appends the members of a SETTLED's data, without the braces.
func AppendSettlement(dst []byte, s *Settlement) []byte {
	dst = append(dst, `"receivers":`...)
	dst = strconv.AppendInt(dst, int64(s.Receivers), 10)
	dst = append(dst, `,"replied":`...)
	dst = strconv.AppendInt(dst, int64(s.Replied), 10)
	dst = append(dst, `,"passed":`...)
	dst = strconv.AppendInt(dst, int64(s.Passed), 10)
	dst = append(dst, `,"missing":[`...)
	for i := range s.Missing {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendMissing(dst, &s.Missing[i])
	}
	dst = append(dst, ']')
	if s.More > 0 {
		dst = append(dst, `,"more":`...)
		dst = strconv.AppendInt(dst, int64(s.More), 10)
	}
	return dst
}

func appendMissing(dst []byte, m *Missing) []byte {
	dst = append(dst, '{')
	if m.ID != uuid.Nil {
		dst = append(dst, `"id":"`...)
		dst = appendUUID(dst, m.ID)
		dst = append(dst, `",`...)
	}
	if m.Name != "" {
		dst = append(dst, `"name":`...)
		dst = append(appendString(dst, m.Name), ',')
	}
	if m.Node != "" {
		dst = append(dst, `"node":`...)
		dst = append(appendString(dst, m.Node), ',')
	}
	dst = append(dst, `"reason":`...)
	dst = appendString(dst, m.Reason)
	if m.Count > 0 {
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendInt(dst, int64(m.Count), 10)
	}
	return append(dst, '}')
}

// CancelSize returns the most that [AppendCancel] appends, in bytes.
func CancelSize(id string) int {
	return len(`{"op":15,"id":""}`) + 6*len(id) + len(memberSender) + uuidBytes + len(`"`)
}

// AppendCancel appends the CANCEL that tells a receiver that the answer to the request of the sender with that id, which is
// not escaped, is not wanted any more.
func AppendCancel(dst []byte, id string, sender uuid.UUID) []byte {
	dst = append(dst, `{"op":15,"id":`...)
	dst = appendString(dst, id)
	dst = append(dst, memberSender...)
	dst = appendUUID(dst, sender)
	return append(dst, `"}`...)
}

// memberAttempt is the member that says how often a request was handed to a member.
const memberAttempt = `,"attempt":`

// AttemptSize returns the most that [AppendAttempt] appends, in bytes.
func AttemptSize(delivery []byte) int { return len(delivery) + len(memberAttempt) + 20 }

// AppendAttempt appends a delivery as [AppendDelivery] made it, with the member attempt before its last member, sender.
func AppendAttempt(dst, delivery []byte, attempt int) []byte {
	const tail = len(memberSender) + uuidBytes + len(`"}`)
	at := len(delivery) - tail
	dst = append(dst, delivery[:at]...)
	dst = append(dst, memberAttempt...)
	dst = strconv.AppendInt(dst, int64(attempt), 10)
	return append(dst, delivery[at:]...)
}
