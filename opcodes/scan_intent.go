package opcodes

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// rawIntent is an intent whose members have the right types. resolve checks whether they fit together.
type rawIntent struct {
	present    bool // is an object
	hasTarget  bool
	target     intent.Target // None if the string is not a target
	hasID      bool          // identifier is present, possibly null
	identifier []byte        // nil if absent or null
	hasIDs     bool          // identifiers is present, possibly null
	hasExcept  bool          // except is present, possibly null
}

// scanIntent reads the intent at b[i].
func (e *Envelope) scanIntent(b []byte, i int, in *rawIntent) (int, *ScanError) {
	switch b[i] {
	case 'n':
		return scanScalar(b, i)
	case '{':
	default:
		return i, errIntentType
	}
	in.present = true
	i = skipSpace(b, i+1)
	for more := i >= len(b) || b[i] != '}'; more; {
		name, at, err := e.scanMember(b, i)
		if err != nil {
			return at, err
		}
		if i, err = e.scanIntentField(b, at, name, in); err != nil {
			return i, err
		}
		if i, more, err = scanNext(b, i); err != nil {
			return i, err
		}
	}
	return i + 1, nil
}

// scanIntentField reads the value at b[i] of the intent's member with the given name.
func (e *Envelope) scanIntentField(b []byte, i int, name []byte, in *rawIntent) (int, *ScanError) {
	if i >= len(b) {
		return i, errTruncated
	}
	switch string(name) {
	case "target":
		if in.hasTarget {
			return i, errIntentDuplicate
		}
		in.hasTarget = true
		if b[i] != '"' {
			return i, errTargetType
		}
		text, end, err := e.scanText(b, i)
		in.target, _ = intent.ParseTarget(text)
		return end, err
	case "identifier":
		if in.hasID {
			return i, errIntentDuplicate
		}
		in.hasID = true
		switch b[i] {
		case '"':
			text, end, err := e.scanText(b, i)
			in.identifier = text
			return end, err
		case 'n':
			return scanScalar(b, i)
		}
		return i, errIdentifierType
	case "identifiers":
		if in.hasIDs {
			return i, errIntentDuplicate
		}
		in.hasIDs = true
		return e.scanNames(b, i, &e.selected.targets, &e.selected.numTargets)
	case "except":
		if in.hasExcept {
			return i, errIntentDuplicate
		}
		in.hasExcept = true
		return e.scanNames(b, i, &e.selected.except, &e.selected.numLeft)
	}
	if !e.delivered && isVariant(name, intentNames) {
		return i, errIntentNameCase
	}
	if !e.intentNames.add(name) {
		return i, errIntentDuplicate
	}
	return scanValue(b, i, 2)
}

// resolve checks the intent of an EVENT, REPLY or FENCE and copies it to e.
func (e *Envelope) resolve(in *rawIntent) *ScanError {
	switch {
	case !in.present:
		return errIntentMissing
	case !in.hasTarget:
		return errTargetMissing
	}
	e.Target = in.target
	if e.Selects() {
		return e.resolveSelection(in)
	}
	switch in.target {
	case intent.Global:
		if in.identifier != nil {
			return errIdentifierGlobal
		}
		return nil
	case intent.Any:
		if in.identifier == nil {
			return nil
		}
	case intent.Group:
	case intent.Direct:
		return e.resolveReceiver(in)
	default:
		return errTargetUnknown
	}
	if in.identifier == nil {
		return errIdentifierMissing
	}
	e.Identifier = in.identifier
	err := intent.CheckGroup(in.identifier)
	if err == intent.ErrGroupReserved && e.delivered {
		return nil
	}
	return groupError(err)
}

func (e *Envelope) resolveReceiver(in *rawIntent) *ScanError {
	if in.identifier == nil {
		return errIdentifierMissing
	}
	var ok bool
	if e.Receiver, ok = parseUUID(in.identifier); !ok {
		return errIdentifierUUID
	}
	return nil
}

// groupError returns the ScanError for an error of intent.CheckGroup.
func groupError(err error) *ScanError {
	switch err {
	case nil:
		return nil
	case intent.ErrGroupEmpty:
		return errIdentifierEmpty
	case intent.ErrGroupTooLong:
		return errIdentifierLength
	case intent.ErrGroupReserved:
		return errIdentifierReserved
	}
	return errIdentifierControl // not ErrGroupUTF8: scanString has checked the text
}

// uuidDigits holds the index of each byte's two digits in the text of a UUID (RFC 9562, section 4).
var uuidDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

const uuidBytes = 36 // length of a UUID's text

// parseUUID reads a UUID of 36 characters, with digits in either case. Unlike uuid.ParseBytes it accepts no other form,
// and does not allocate on failure.
func parseUUID(b []byte) (id uuid.UUID, ok bool) {
	if len(b) != uuidBytes || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return uuid.Nil, false
	}
	for i, at := range uuidDigits {
		high, low := hexDigit[b[at]], hexDigit[b[at+1]]
		if high|low < 0 {
			return uuid.Nil, false
		}
		id[i] = byte(high<<4 | low)
	}
	return id, true
}
