package opcodes

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// The limits of an envelope's members, in bytes of what the string stands for.
const (
	MaxIDBytes    = 64
	maxEventBytes = 128
)

// Envelope is a message of a client, taken apart by [Envelope.Scan]. The zero Envelope is ready for use; its owner
// reuses it for one message after the other. It must not be copied between Scan and the last use of its fields.
//
// The fields alias the scanned message or memory of the Envelope. They are valid until either is overwritten: the
// message by its owner, the Envelope by the next Scan. None of them may be written to.
type Envelope struct {
	Op    Op
	Raw   []byte // the object, from { to }, as it was sent
	ID    []byte // id as it was sent, between the quotes and still escaped; nil where it is absent or null
	Event []byte // event, unescaped; nil where it is absent
	Data  []byte // data, one JSON value as it was sent; nil where it is absent

	// The intent of an EVENT, REPLY or FENCE. For the other opcodes, which the hub does not route, Target is None.
	Target     intent.Target
	Identifier []byte    // Group, Any: the group's name, unescaped; nil for Any among all clients
	Receiver   uuid.UUID // Direct: the client's id

	Sender uuid.UUID // of a message that the hub delivers, see ScanDelivery; else zero

	delivered bool // scan as ScanDelivery
	idNull    int  // where the null of "id":null begins in Raw; 0 for none

	scratch     []byte // unescaped strings
	names       nameSet
	intentNames nameSet
}

// keptScratch is how much memory for unescaped strings an Envelope keeps from one message to the next.
const keptScratch = 64 << 10

// unknownOp stands for any integer that is no opcode, however long.
const unknownOp Op = -1

// reset forgets the last message, and keeps the memory.
func (e *Envelope) reset() {
	e.names.reset()
	e.intentNames.reset()
	if cap(e.scratch) > keptScratch {
		e.scratch = nil
	}
	e.scratch = e.scratch[:0]
	e.Op, e.Raw, e.ID, e.Event, e.Data = 0, nil, nil, nil, nil
	e.Target, e.Identifier, e.Receiver, e.Sender = intent.None, nil, uuid.Nil, uuid.Nil
	e.delivered, e.idNull = false, 0
}

// Scan takes the message msg of a client apart and checks all of it, data included: it must be one JSON object (RFC
// 8259) in valid UTF-8, white space around it aside, with no byte order mark, no lone surrogate, nothing nested deeper
// than [maxDepth], no two members of the same name in the object itself or in its intent, and members of the types and
// lengths that the protocol wants. Names are compared as what they stand for: "\u006fp" is op. Duplicates further
// inside, data's for instance, are the receivers' business.
//
// An EVENT or REPLY must have an intent that can be followed, and a REPLY an id. A FENCE has an intent with the target
// DIRECT, perhaps an id, and nothing else. Of the intent of any other message only the types are checked. A null intent counts as absent, as does a null id or intent.identifier; no other member may be
// null, data excepted.
//
// The error is nil or one of the predeclared [*ScanError] values. A message that is invalid and has an unknown op as
// well is refused as invalid: UNKNOWN_OP is for well-formed messages alone. After an error the fields mean nothing.
//
// Scan needs time proportional to the length of msg whatever is in it, and does not allocate, save to grow its scratch
// memory on the first messages that need more of it than any before.
func (e *Envelope) Scan(msg []byte) error {
	e.reset()
	if err := e.scan(msg); err != nil {
		return err
	}
	return nil
}

// ScanDelivery is Scan for a message as the hub delivers it: it has a sender, and may be for a reserved group.
func (e *Envelope) ScanDelivery(msg []byte) error {
	e.reset()
	e.delivered = true
	if err := e.scan(msg); err != nil {
		return err
	}
	return nil
}

// members is what scan has met of an envelope's own members.
type members uint8

const (
	hasOp members = 1 << iota
	hasID
	hasEvent
	hasData
	hasIntent
	hasSender
	hasOther // a member that the protocol does not know
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

// checkStart checks that an object begins at msg[i], the first byte that is not white space.
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

// scanMember reads the name that begins at b[i] and returns it unescaped, with the index of the member's value.
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

// scanNext goes on after a member's value at b[i]: to the next member, if there is one, or to the closing brace.
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

// scanText reads the string whose opening quote is b[i] and returns what it stands for, with the index behind it.
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

// scanField reads the value at msg[i] of the envelope's own member of that name. The object begins at msg[start].
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
	case "sender":
		if !e.delivered {
			return i, errForgedSender
		}
		field = hasSender
	default:
		if !e.names.add(name) {
			return i, errDuplicate
		}
		*seen |= hasOther
		return scanValue(msg, i, 1)
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
	}
	return i, err
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

// scanOp reads the integer at b[i]; unknownOp stands for all that are no opcodes.
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

// opOf returns the opcode of that number.
func opOf(digits []byte) Op {
	if len(digits) == 1 && digits[0] <= '0'+byte(Ack) {
		return Op(digits[0] - '0')
	}
	switch string(digits) {
	case "12":
		return Drain
	case "13":
		return Fence
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

// checkMessage checks what concerns the message as a whole, once all of it has been read.
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
		if in.present && in.hasTarget && in.target != intent.Direct {
			return errFenceTarget
		}
		return e.resolve(in)
	case Error, Ack, Drain:
		return errOpNotAllowed
	case unknownOp:
		return errUnknownOp
	}
	return nil
}
