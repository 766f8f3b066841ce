package opcodes

import (
	"bytes"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// The limits of an envelope's members, in bytes of the unescaped string.
const (
	MaxIDBytes    = 64
	maxEventBytes = 128
)

// Envelope is a client's message, parsed by [Envelope.Scan]. The zero Envelope is ready for use and is meant to be reused.
// It must not be copied between Scan and the last use of its fields.
//
// The fields alias the scanned message or the Envelope's own memory. They are read-only, and valid until the message is
// overwritten or the Envelope scans another one.
type Envelope struct {
	Op    Op
	Raw   []byte // the object from { to }, as it was sent
	ID    []byte // id between the quotes, still escaped; nil if absent or null
	Event []byte // event, unescaped; nil if absent
	Data  []byte // data, one JSON value as it was sent; nil if absent

	// The intent of an EVENT, REPLY or FENCE. Target is None for other opcodes, which are not routed.
	Target     intent.Target
	Identifier []byte    // for Group and Any: the group's name, unescaped; nil for Any among all clients
	Receiver   uuid.UUID // for Direct: the client's id

	Sender uuid.UUID // set by ScanDelivery; else zero

	// The members of tracked requests. They mean something only where the client has FeatureRequests, or the message answers
	// a request: for any other client they are members like any other. See Expectation.
	Expect  []byte // expect, one JSON value as it was sent; nil if absent
	Failure []byte // error, likewise
	More    bool   // more is true
	attempt bool   // there is a member attempt, which only the hub may add to a request
	variant bool   // the name of a member differs from one of these only in case

	// The members of messages to groups with history; elsewhere they are members like any other.
	Once     bool // once is true
	Numbered bool // there is a member offset, which only the hub may add, or one whose name differs only in case

	delivered bool // ScanDelivery: sender and reserved groups are allowed
	idNull    int  // index in Raw of the null of "id":null; 0 for none

	selected selection // of an intent with identifiers or except

	scratch     []byte // unescaped strings
	names       nameSet
	intentNames nameSet
}

// keptScratch is how much scratch memory an Envelope keeps for its next message, in bytes.
const keptScratch = 64 << 10

// unknownOp stands for every integer that is not an opcode.
const unknownOp Op = -1

// reset clears the fields and keeps the memory.
func (e *Envelope) reset() {
	e.names.reset()
	e.intentNames.reset()
	if cap(e.scratch) > keptScratch {
		e.scratch = nil
	}
	e.scratch = e.scratch[:0]
	e.Op, e.Raw, e.ID, e.Event, e.Data = 0, nil, nil, nil, nil
	e.Target, e.Identifier, e.Receiver, e.Sender = intent.None, nil, uuid.Nil, uuid.Nil
	e.Expect, e.Failure, e.More, e.attempt, e.variant = nil, nil, false, false, false
	e.Once, e.Numbered = false, false
	e.delivered, e.idNull = false, 0
	e.selected.numTargets, e.selected.numLeft = 0, 0
}

// Scan parses a client's message and checks all of it, data included:
//
//   - It is one JSON object (RFC 8259) with optional white space around it, in valid UTF-8, without a byte order mark and
//     without lone surrogates, nested at most 64 levels deep.
//   - Neither the object nor its intent has two members of the same name. Names are compared unescaped: "\u006fp" is op.
//     Duplicates in nested objects, such as data, are allowed. No name differs from a name of the protocol only in case.
//   - Members have the types and lengths of the protocol. A null id, intent or intent.identifier counts as absent; of the
//     other members only data may be null.
//   - An EVENT or REPLY has a valid intent, and a REPLY an id. A FENCE has an intent with the target DIRECT and no member
//     but op, id and intent. For other opcodes only the types within intent are checked.
//
// Whether the client may send a SUBSCRIBE, UNSUBSCRIBE, SETTLED or CANCEL at all is the caller's to check, and whether it has
// an id. The Target of a SETTLED is Direct, or None where its intent is anything else.
//
// The error is nil or a predeclared [*ScanError]. A message that is malformed and has an unknown op is refused as
// malformed. After an error the fields are undefined.
//
// Scan takes time proportional to the length of msg. It allocates only to grow its scratch memory.
func (e *Envelope) Scan(msg []byte) error {
	e.reset()
	if err := e.scan(msg); err != nil {
		return err
	}
	return nil
}

// ScanDelivery is Scan for a message as the hub delivers it, which has a sender and may go to a reserved group.
func (e *Envelope) ScanDelivery(msg []byte) error {
	e.reset()
	e.delivered = true
	if err := e.scan(msg); err != nil {
		return err
	}
	return nil
}

// members is the set of an envelope's members that scan has read.
type members uint8

const (
	hasOp members = 1 << iota
	hasID
	hasEvent
	hasData
	hasIntent
	hasSender
	hasExpect
	hasOther // any other member
)

func (e *Envelope) scan(msg []byte) *ScanError {
	start := skipSpace(msg, 0)
	if err := checkStart(msg, start); err != nil {
		return err
	}
	var seen members
	var in rawIntent
	i := skipSpace(msg, start+1)
	for more := i >= len(msg) || msg[i] != '}'; more; {
		name, at, err := e.scanMember(msg, i)
		if err != nil {
			return err
		}
		if i, err = e.scanField(msg, start, at, name, &seen, &in); err != nil {
			return err
		}
		if i, more, err = scanNext(msg, i); err != nil {
			return err
		}
	}
	e.Raw = msg[start : i+1]
	if skipSpace(msg, i+1) != len(msg) {
		return errTrailing
	}
	return e.checkMessage(seen, &in)
}

// checkStart checks that an object begins at msg[i], the first byte behind white space.
func checkStart(msg []byte, i int) *ScanError {
	switch {
	case i >= len(msg):
		return errEmpty
	case msg[i] == '{':
		return nil
	case i == 0 && len(msg) >= 3 && string(msg[:3]) == "\xef\xbb\xbf":
		return errByteOrderMark
	}
	return errNotObject
}

// scanMember reads the name at b[i] and returns it unescaped, with the index of the member's value.
func (e *Envelope) scanMember(b []byte, i int) (name []byte, value int, err *ScanError) {
	if i >= len(b) {
		return nil, i, errTruncated
	}
	if b[i] != '"' {
		return nil, i, errName
	}
	name, i, err = e.scanText(b, i)
	if err != nil {
		return nil, i, err
	}
	i, err = scanColon(b, i)
	return name, i, err
}

// scanNext reads what follows a member's value at b[i]: a comma, and returns the index of the next member; or the closing
// brace, and returns its index.
func scanNext(b []byte, i int) (next int, more bool, err *ScanError) {
	if i = skipSpace(b, i); i >= len(b) {
		return i, false, errTruncated
	}
	switch b[i] {
	case ',':
		return skipSpace(b, i+1), true, nil
	case '}':
		return i, false, nil
	}
	return i, false, errSeparator
}

// scanText reads the string whose opening quote is b[i] and returns it unescaped, with the index behind it.
func (e *Envelope) scanText(b []byte, i int) (text []byte, end int, err *ScanError) {
	end, escaped, err := scanString(b, i)
	if err != nil {
		return nil, end, err
	}
	text = b[i+1 : end-1]
	if escaped {
		from := len(e.scratch)
		e.scratch = appendUnescaped(e.scratch, text)
		text = e.scratch[from:]
	}
	return text, end, nil
}

// scanField reads the value at msg[i] of the envelope's member with the given name. The object begins at msg[start].
func (e *Envelope) scanField(msg []byte, start, i int, name []byte, seen *members, in *rawIntent) (int, *ScanError) {
	if i >= len(msg) {
		return i, errTruncated
	}
	var field members
	switch string(name) {
	case "op":
		field = hasOp
	case "id":
		field = hasID
	case "event":
		field = hasEvent
	case "data":
		field = hasData
	case "intent":
		field = hasIntent
	case "expect":
		field = hasExpect
	case "sender":
		if !e.delivered {
			return i, errForgedSender
		}
		field = hasSender
	default:
		if !e.delivered && isVariant(name, envelopeNames) {
			return i, errNameCase
		}
		if !e.names.add(name) {
			return i, errDuplicate
		}
		*seen |= hasOther
		end, err := scanValue(msg, i, 1)
		if err == nil {
			e.noteMember(name, msg[i:end])
		}
		return end, err
	}
	if *seen&field != 0 {
		return i, errDuplicate
	}
	*seen |= field

	var err *ScanError
	switch at := i; field {
	case hasOp:
		e.Op, i, err = scanOp(msg, i)
	case hasID:
		i, err = e.scanID(msg, start, i)
	case hasEvent:
		i, err = e.scanEvent(msg, i)
	case hasIntent:
		i, err = e.scanIntent(msg, i, in)
	case hasData:
		i, err = scanValue(msg, i, 1)
		e.Data = msg[at:i]
	case hasSender:
		i, err = e.scanSender(msg, i)
	case hasExpect:
		i, err = scanValue(msg, i, 1)
		e.Expect = msg[at:i]
	}
	return i, err
}

// The names that isVariant compares with, in the envelope and in its intent.
var (
	envelopeNames = [][]byte{[]byte("op"), []byte("id"), []byte("event"), []byte("data"), []byte("intent"), []byte("sender")}
	intentNames   = [][]byte{[]byte("target"), []byte("identifier"), []byte("identifiers"), []byte("except")}
)

// isVariant reports whether name equals one of the names under Unicode case folding. Many decoders, such as encoding/json,
// would take it for that name, so that a client could forge members that only the hub may set.
func isVariant(name []byte, names [][]byte) bool {
	for _, n := range names {
		// Of their letters only s has a variant of more than one byte, U+017F. It occurs once.
		if d := len(name) - len(n); d != 0 && d != 1 {
			continue
		}
		if (name[0]|0x20 == n[0] || name[0] >= utf8.RuneSelf) && bytes.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// scanSender reads the sender at msg[i].
func (e *Envelope) scanSender(msg []byte, i int) (int, *ScanError) {
	if msg[i] != '"' {
		return i, errForgedSender
	}
	text, end, err := e.scanText(msg, i)
	if err != nil {
		return end, err
	}
	var ok bool
	if e.Sender, ok = parseUUID(text); !ok {
		return end, errForgedSender
	}
	return end, nil
}

// scanOp reads the integer at b[i] as an opcode or unknownOp.
func scanOp(b []byte, i int) (Op, int, *ScanError) {
	start := i
	if b[i] != '-' && !isDigit(b[i]) {
		return unknownOp, i, errOpType
	}
	i = scanInteger(b, i)
	digits := b[start:i]
	switch {
	case !isDigit(b[i-1]), string(digits) == "-0":
		return unknownOp, i, errOpType
	case i < len(b) && (b[i] == '.' || b[i]|0x20 == 'e'):
		return unknownOp, i, errOpType
	}
	return opOf(digits), i, nil
}

// opOf returns the opcode with the given number, or unknownOp.
func opOf(digits []byte) Op {
	if len(digits) == 1 && digits[0] <= '0'+byte(Unsubscribe) {
		return Op(digits[0] - '0')
	}
	switch string(digits) {
	case "12":
		return Drain
	case "13":
		return Fence
	case "14":
		return Settled
	case "15":
		return Cancel
	}
	return unknownOp
}

// scanID reads the id at msg[i]; the object begins at msg[start].
func (e *Envelope) scanID(msg []byte, start, i int) (int, *ScanError) {
	switch msg[i] {
	case '"':
		text, end, err := e.scanText(msg, i)
		if err == nil && (len(text) == 0 || len(text) > MaxIDBytes) {
			err = errIDLength
		}
		if err != nil {
			return end, err
		}
		e.ID = msg[i+1 : end-1]
		return end, nil
	case 'n':
		e.idNull = i - start
		return scanScalar(msg, i)
	}
	return i, errIDType
}

// scanEvent reads the event at msg[i].
func (e *Envelope) scanEvent(msg []byte, i int) (int, *ScanError) {
	if msg[i] != '"' {
		return i, errEventType
	}
	text, end, err := e.scanText(msg, i)
	if err == nil && len(text) > maxEventBytes {
		err = errEventLength
	}
	e.Event = text
	return end, err
}

// checkMessage checks the rules that involve several members, once all have been read.
func (e *Envelope) checkMessage(seen members, in *rawIntent) *ScanError {
	if seen&hasOp == 0 {
		return errOpMissing
	}
	switch e.Op {
	case Event, Reply:
		if e.Op == Reply && e.ID == nil {
			return errIDMissing
		}
		return e.resolve(in)
	case Fence:
		if seen&^(hasOp|hasID|hasIntent) != 0 {
			return errFenceMember
		}
		if in.present && in.hasTarget && in.target != intent.Direct || e.Selects() {
			return errFenceTarget
		}
		return e.resolve(in)
	case Settled:
		if e.resolve(in) != nil || e.Target != intent.Direct || e.Selects() {
			e.Target, e.Identifier = intent.None, nil
		}
	case Error, Ack, Drain:
		return errOpNotAllowed
	case unknownOp:
		return errUnknownOp
	}
	return nil
}
