package opcodes

// Member returns the value of the envelope's member of that name, as it was sent; nil if there is none. It is for members
// that the protocol does not know. It is valid after Scan or ScanDelivery, and takes time proportional to the message.
func (e *Envelope) Member(name string) []byte {
	b := e.Raw
	i := skipSpace(b, 1)
	for i < len(b) && b[i] == '"' {
		end, escaped, err := scanString(b, i)
		if err != nil {
			return nil
		}
		start, err := scanColon(b, end)
		if err != nil {
			return nil
		}
		value, err := scanValue(b, start, 1)
		if err != nil {
			return nil
		}
		if !escaped && string(b[i+1:end-1]) == name {
			return b[start:value]
		}
		if i = skipSpace(b, value); i >= len(b) || b[i] != ',' {
			return nil
		}
		i = skipSpace(b, i+1)
	}
	return nil
}

// EachMember calls f for each member of the envelope, in their order, with its name between the quotes and its value as they
// were sent. It is valid after Scan or ScanDelivery.
func (e *Envelope) EachMember(f func(name, value []byte)) {
	b := e.Raw
	i := skipSpace(b, 1)
	for i < len(b) && b[i] == '"' {
		end, _, err := scanString(b, i)
		if err != nil {
			return
		}
		start, err := scanColon(b, end)
		if err != nil {
			return
		}
		value, err := scanValue(b, start, 1)
		if err != nil {
			return
		}
		f(b[i+1:end-1], b[start:value])
		if i = skipSpace(b, value); i >= len(b) || b[i] != ',' {
			return
		}
		i = skipSpace(b, i+1)
	}
}

// Elements calls each for every element of the JSON array in b, in their order, each as it was sent, until each returns
// false. It checks all that it passes as [Envelope.Scan] does. The error is nil or a predeclared [*ScanError].
func Elements(b []byte, each func(element []byte) bool) error {
	if err := scanElements(b, each); err != nil {
		return err
	}
	return nil
}

func scanElements(b []byte, each func(element []byte) bool) *ScanError {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return errNotArray
	}
	i = skipSpace(b, i+1)
	for more := i >= len(b) || b[i] != ']'; more; {
		end, err := scanValue(b, i, 0)
		if err != nil {
			return err
		}
		if !each(b[i:end]) {
			return nil
		}
		if i = skipSpace(b, end); i >= len(b) {
			return errTruncated
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case ']':
			more = false
		default:
			return errSeparator
		}
	}
	if skipSpace(b, i+1) != len(b) {
		return errTrailing
	}
	return nil
}
