package opcodes

// ScanValue checks the JSON value that begins at b[i], as strictly as Envelope.Scan checks the data of a message, and
// returns the index behind it. i must be less than len(b), and b[i] no white space. level is how many objects and arrays
// the value is inside of; the deepest level is 64. It allocates nothing.
func ScanValue(b []byte, i, level int) (int, error) {
	end, err := scanValue(b, i, uint(level))
	if err != nil {
		return end, err
	}
	return end, nil
}

// SkipSpace returns the index of the first byte at or behind b[i] that is not white space (RFC 8259, section 2).
func SkipSpace(b []byte, i int) int { return skipSpace(b, i) }
