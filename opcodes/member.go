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
