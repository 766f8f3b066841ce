package opcodes

// maxDepth is how deep objects and arrays may be nested in a message. The envelope is the first level.
const maxDepth = 64

// skipSpace returns the index of the first byte at or after b[i] that is not white space (RFC 8259, section 2).
func skipSpace(b []byte, i int) int {
	const space = 1<<' ' | 1<<'\n' | 1<<'\r' | 1<<'\t'
	for i < len(b) && b[i] <= ' ' && uint64(space)>>b[i]&1 != 0 {
		i++
	}
	return i
}

// scanValue checks the value that begins at b[i], inside depth objects and arrays, and returns the index behind it. It
// keeps one bit per level instead of recursing.
func scanValue(b []byte, i int, depth uint) (int, *ScanError) {
	var objects uint64 // bit n: the value at level n+1 is an object, not an array
	var err *ScanError
	outer := depth
	for {
		// A value begins at b[i].
		if i >= len(b) {
			return i, errTruncated
		}
		switch c := b[i]; c {
		case '"':
			i, _, err = scanString(b, i)
		case '{', '[':
			if depth == maxDepth {
				return i, errTooDeep
			}
			bit := uint64(1) << depth
			depth++
			i = skipSpace(b, i+1)
			if c == '[' {
				objects &^= bit
				if i < len(b) && b[i] == ']' {
					break // closed below
				}
				continue
			}
			objects |= bit
			if i < len(b) && b[i] == '}' {
				break
			}
			if i, err = scanName(b, i); err != nil {
				return i, err
			}
			continue
		default:
			i, err = scanScalar(b, i)
		}
		if err != nil {
			return i, err
		}

		// A value ended: close the objects and arrays that end with it, then go to the next value.
		more := false
		for !more {
			if depth == outer {
				return i, nil
			}
			if i = skipSpace(b, i); i >= len(b) {
				return i, errTruncated
			}
			object := objects>>(depth-1)&1 != 0
			switch c := b[i]; {
			case c == ',':
				i = skipSpace(b, i+1)
				if object {
					if i, err = scanName(b, i); err != nil {
						return i, err
					}
				}
				more = true
			case c == '}' && object, c == ']' && !object:
				depth--
				i++
			default:
				return i, errSeparator
			}
		}
	}
}

// scanName checks the name and colon at b[i], and returns the index of the value.
func scanName(b []byte, i int) (int, *ScanError) {
	if i >= len(b) {
		return i, errTruncated
	}
	if b[i] != '"' {
		return i, errName
	}
	i, _, err := scanString(b, i)
	if err != nil {
		return i, err
	}
	return scanColon(b, i)
}

// scanColon checks the colon at or behind b[i], with optional white space around it, and returns the index of the value.
func scanColon(b []byte, i int) (int, *ScanError) {
	if i = skipSpace(b, i); i >= len(b) {
		return i, errTruncated
	}
	if b[i] != ':' {
		return i, errColon
	}
	return skipSpace(b, i+1), nil
}

// scanScalar checks the number or literal that begins at b[i], which must exist, and returns the index behind it.
func scanScalar(b []byte, i int) (int, *ScanError) {
	literal := ""
	switch c := b[i]; {
	case c == '-' || isDigit(c):
		return scanNumber(b, i)
	case c == 't':
		literal = "true"
	case c == 'f':
		literal = "false"
	case c == 'n':
		literal = "null"
	default:
		return i, errValue
	}
	if len(b)-i < len(literal) || string(b[i:i+len(literal)]) != literal {
		return i, errValue
	}
	return i + len(literal), nil
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// scanNumber checks the number that begins at b[i] (RFC 8259, section 6) and returns the index behind it.
func scanNumber(b []byte, i int) (int, *ScanError) {
	i = scanInteger(b, i)
	if !isDigit(b[i-1]) {
		return i, errNumber
	}
	if i < len(b) && b[i] == '.' {
		start := i + 1
		if i = skipDigits(b, start); i == start {
			return i, errNumber
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start := i
		if i = skipDigits(b, start); i == start {
			return i, errNumber
		}
	}
	return i, nil
}

// scanInteger returns the index behind the integer at b[i], -?(0|[1-9][0-9]*). If no digit follows a minus, the index is
// behind the minus.
func scanInteger(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		return i + 1
	}
	return skipDigits(b, i)
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}
