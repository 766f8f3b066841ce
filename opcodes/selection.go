package opcodes

import (
	"bytes"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// MaxSelected is how many names each of the members identifiers and except of an intent may have.
const MaxSelected = 16

// selection is the members identifiers and except of an intent. Its memory is the Envelope's own.
type selection struct {
	targets, except     [MaxSelected][]byte
	numTargets, numLeft int
	receivers           [MaxSelected]uuid.UUID // of DIRECT
}

// Selects reports whether the intent has identifiers or except. Identifier and Receiver are then unset: Targets, Receivers
// and Except have what it names.
func (e *Envelope) Selects() bool { return e.selected.numTargets+e.selected.numLeft > 0 }

// Targets returns the names of the groups that an intent to GROUP names, where Selects holds: one or more, each once.
func (e *Envelope) Targets() [][]byte {
	if e.Target != intent.Group {
		return nil
	}
	return e.selected.targets[:e.selected.numTargets]
}

// Receivers returns the ids of the clients that an intent to DIRECT names, where Selects holds: one or more, each once.
func (e *Envelope) Receivers() []uuid.UUID {
	if e.Target != intent.Direct {
		return nil
	}
	return e.selected.receivers[:e.selected.numTargets]
}

// Except returns the names of groups, and ids of clients, that the intent leaves out. A name that is a client's id in form
// may also be a group's.
func (e *Envelope) Except() [][]byte {
	if e.Target == intent.None {
		return nil
	}
	return e.selected.except[:e.selected.numLeft]
}

// ParseID reads the id of a client, and reports whether the text is one in form. It does not allocate.
func ParseID(text []byte) (uuid.UUID, bool) { return parseUUID(text) }

// scanNames reads the array of names at b[i], or null, which counts as absent.
func (e *Envelope) scanNames(b []byte, i int, list *[MaxSelected][]byte, n *int) (int, *ScanError) {
	if b[i] == 'n' {
		return scanScalar(b, i)
	}
	if b[i] != '[' {
		return i, errNamesType
	}
	for i = skipSpace(b, i+1); ; {
		if i >= len(b) {
			return i, errTruncated
		}
		if b[i] != '"' {
			if b[i] == ']' && *n == 0 {
				return i, errNamesEmpty
			}
			return i, errNamesType
		}
		text, end, err := e.scanText(b, i)
		if err != nil {
			return end, err
		}
		if *n == MaxSelected {
			return end, errNamesMany
		}
		for _, other := range list[:*n] {
			if bytes.Equal(other, text) {
				return end, errNamesRepeated
			}
		}
		list[*n] = text
		*n++
		if i = skipSpace(b, end); i >= len(b) {
			return i, errTruncated
		}
		switch b[i] {
		case ']':
			return i + 1, nil
		case ',':
			i = skipSpace(b, i+1)
		default:
			return i, errSeparator
		}
	}
}

// resolveSelection checks an intent with identifiers or except.
func (e *Envelope) resolveSelection(in *rawIntent) *ScanError {
	s := &e.selected
	switch {
	case s.numTargets > 0 && in.identifier != nil:
		return errIdentifiersMixed
	case e.Target == intent.Global && s.numTargets > 0, e.Target == intent.Any:
		return errSelectionTarget
	case e.Target == intent.None:
		return errTargetUnknown
	case e.Target == intent.Global && in.identifier != nil:
		return errIdentifierGlobal
	case e.Target != intent.Global && s.numTargets == 0:
		if in.identifier == nil {
			return errIdentifierMissing
		}
		s.targets[0], s.numTargets = in.identifier, 1
	}
	for i, name := range s.targets[:s.numTargets] {
		if e.Target == intent.Direct {
			id, ok := parseUUID(name)
			if !ok {
				return errIdentifierUUID
			}
			for _, other := range s.receivers[:i] { // in another case
				if other == id {
					return errNamesRepeated
				}
			}
			s.receivers[i] = id
		} else if err := e.checkName(name); err != nil {
			return err
		}
	}
	for _, name := range s.except[:s.numLeft] {
		if err := e.checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func (e *Envelope) checkName(name []byte) *ScanError {
	err := intent.CheckGroup(name)
	if err == intent.ErrGroupReserved && e.delivered {
		return nil
	}
	return groupError(err)
}
