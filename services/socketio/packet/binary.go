package packet

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Binary data is no JSON. Socket.IO puts a placeholder, {"_placeholder":true,"num":0}, where it belongs, and sends the bytes
// behind the packet. The hub's envelopes are JSON alone: there the object {"$binary":"<base64>"} stands for the bytes.
const (
	placeholderName = "_placeholder"
	numberName      = "num"
	binaryName      = "$binary"
)

// Inline appends the JSON values with each placeholder replaced by the attachment of its number, as base64. It refuses
// placeholders that are not exactly those of the attachments, each used once. values is what Parse found valid. The time
// is proportional to the length of values and attachments.
func Inline(dst, values []byte, attachments [][]byte) ([]byte, error) {
	var used uint32
	copied := 0
	for i := 0; i < len(values); {
		switch values[i] {
		case '"':
			start := i
			i, _ = opcodes.ScanValue(values, i, 0)
			if isName(values[start:i], placeholderName) && isFollowedByColon(values, i) {
				return nil, ErrPacket // a member of an object that is no placeholder, but one to the libraries of clients
			}
		case '{':
			n, end, ok := placeholderAt(values, i)
			if !ok {
				i++
				break
			}
			if n >= len(attachments) || used>>n&1 != 0 {
				return nil, ErrPacket
			}
			used |= 1 << n
			dst = append(dst, values[copied:i]...)
			dst = append(dst, `{"`+binaryName+`":"`...)
			dst = base64.StdEncoding.AppendEncode(dst, attachments[n])
			dst = append(dst, `"}`...)
			i, copied = end, end
		default:
			i++
		}
	}
	if used != 1<<len(attachments)-1 {
		return nil, ErrPacket
	}
	return append(dst, values[copied:]...), nil
}

// Outline is the reverse of Inline: it appends the JSON values with each {"$binary":"<base64>"} replaced by a placeholder,
// and returns the bytes. An object of that name that is not base64, and all beyond MaxAttachments, stay as they are. values
// must be valid JSON values with commas between them.
func Outline(dst, values []byte) (out []byte, attachments [][]byte) {
	copied := 0
	for i := 0; i < len(values); {
		switch values[i] {
		case '"':
			i, _ = opcodes.ScanValue(values, i, 0)
		case '{':
			data, end, ok := binaryAt(values, i)
			if !ok || len(attachments) == MaxAttachments {
				i++
				break
			}
			dst = append(dst, values[copied:i]...)
			dst = append(dst, `{"`+placeholderName+`":true,"`+numberName+`":`...)
			dst = strconv.AppendInt(dst, int64(len(attachments)), 10)
			dst = append(dst, '}')
			attachments = append(attachments, data)
			i, copied = end, end
		default:
			i++
		}
	}
	return append(dst, values[copied:]...), attachments
}

func isFollowedByColon(values []byte, i int) bool {
	i = opcodes.SkipSpace(values, i)
	return i < len(values) && values[i] == ':'
}

// isName reports whether the JSON string, with its quotes, is the name, however it is escaped.
func isName(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	plain, err := jsontext.AppendUnquote(nil, quoted)
	return err == nil && string(plain) == name
}

// placeholderAt returns the number of the placeholder that begins at values[start], an opening brace, and the index
// behind it. ok is false where the object there is none.
func placeholderAt(values []byte, start int) (n, end int, ok bool) {
	n, marked := -1, false
	i := start
	for range 2 {
		i = opcodes.SkipSpace(values, i+1) // behind the brace or the comma
		if values[i] != '"' {
			return 0, 0, false
		}
		end, _ := opcodes.ScanValue(values, i, 0)
		name := values[i:end]
		i = opcodes.SkipSpace(values, end)
		i = opcodes.SkipSpace(values, i+1) // behind the colon
		switch {
		case !marked && isName(name, placeholderName) && bytes.HasPrefix(values[i:], []byte("true")):
			marked = true
			i += len("true")
		case n < 0 && isName(name, numberName):
			digits := countDigits(values[i:])
			if n = number(values[i : i+digits]); n < 0 {
				return 0, 0, false
			}
			i += digits
		default:
			return 0, 0, false
		}
		i = opcodes.SkipSpace(values, i)
		if !(marked && n >= 0) && values[i] != ',' {
			return 0, 0, false
		}
	}
	return n, i + 1, values[i] == '}'
}

// number returns the attachment that the JSON value names, or -1 where it names none exactly.
func number(value []byte) int {
	if len(value) == 0 || len(value) > 2 || countDigits(value) != len(value) {
		return -1
	}
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return -1
	}
	return n
}

// binaryAt returns the bytes of the object {"$binary":"<base64>"} that begins at values[start], and the index behind it.
func binaryAt(values []byte, start int) (data []byte, end int, ok bool) {
	i := opcodes.SkipSpace(values, start+1)
	if values[i] != '"' {
		return nil, 0, false
	}
	end, _ = opcodes.ScanValue(values, i, 0)
	if !isName(values[i:end], binaryName) {
		return nil, 0, false
	}
	i = opcodes.SkipSpace(values, end)
	i = opcodes.SkipSpace(values, i+1) // behind the colon
	if values[i] != '"' {
		return nil, 0, false
	}
	end, _ = opcodes.ScanValue(values, i, 0)
	text := values[i+1 : end-1]
	if i = opcodes.SkipSpace(values, end); values[i] != '}' || bytes.IndexByte(text, '\\') >= 0 {
		return nil, 0, false
	}
	data = make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], i + 1, err == nil
}
