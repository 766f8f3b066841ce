package opcodes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Errors of jsontext are not returned, because they quote the data.
var (
	errDataNotJSON   = errors.New("not a JSON value, or two members of the same name")
	errDataNotObject = errors.New("not an object")
)

// dataParser reads the data of one message token by token.
type dataParser struct{ dec *jsontext.Decoder }

// decoder is a decoder whose memory is used again.
type decoder struct {
	jsontext.Decoder
	src bytes.Reader
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// maxReused is the most bytes that a decoder which is used again has read: it keeps as many.
const maxReused = 4096

// newDecoder returns a decoder of data. The caller releases it once nothing refers to what it returned.
func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.src.Reset(data)
	d.Reset(&d.src)
	return d
}

func (d *decoder) release() {
	if d.src.Size() <= maxReused {
		d.src.Reset(nil)
		decoders.Put(d)
	}
}

// whole reads an object, behind which nothing may follow; it calls value to read each member's value.
func (p dataParser) whole(value func(name string) error) error {
	if p.dec.PeekKind() != '{' {
		return errDataNotObject
	}
	if err := p.object(value); err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return errDataNotJSON
	}
	return nil
}

// object reads the next object; it calls value to read each member's value.
func (p dataParser) object(value func(name string) error) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return errDataNotJSON
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return errDataNotJSON
		}
		if err := value(name.String()); err != nil {
			return err
		}
	}
	return p.skip()
}

// array reads the next array; it calls value to read each element.
func (p dataParser) array(member string, value func() error) error {
	if p.dec.PeekKind() != '[' {
		return fmt.Errorf("%s: not an array", member)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return errDataNotJSON
	}
	for p.dec.PeekKind() != ']' {
		if err := value(); err != nil {
			return err
		}
	}
	return p.skip()
}

// fewNames is how many names are compared one by one before a map is made of them.
const fewNames = 64

// texts reads the next array of strings, and returns each once, in the order of their first places. The result is not nil.
func (p dataParser) texts(member string) ([]string, error) {
	all := []string{}
	var known map[string]struct{} // the same names, where there are many
	err := p.array(member, func() error {
		s, err := p.text(member, -1)
		if err != nil {
			return err
		}
		if known == nil {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
			if len(all) > fewNames {
				known = make(map[string]struct{}, 2*len(all))
				for _, s := range all {
					known[s] = struct{}{}
				}
			}
			return nil
		}
		if _, ok := known[s]; !ok {
			known[s] = struct{}{}
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// meta reads the next object as what a client says of itself. The result is not nil.
func (p dataParser) meta() (map[string]string, error) {
	if p.dec.PeekKind() != '{' {
		return nil, errors.New("meta: not an object")
	}
	meta := map[string]string{}
	err := p.object(func(key string) (err error) {
		if len(meta) == maxMetaMembers {
			return fmt.Errorf("meta: more than %d members", maxMetaMembers)
		}
		if len(key) > maxMetaKeyBytes {
			return fmt.Errorf("meta: a key is longer than %d bytes", maxMetaKeyBytes)
		}
		meta[key], err = p.text("meta", maxMetaValueBytes)
		return err
	})
	return meta, err
}

// text reads the next string. A negative maxBytes means no limit.
func (p dataParser) text(member string, maxBytes int) (string, error) {
	token, err := p.dec.ReadToken()
	switch {
	case err != nil:
		return "", errDataNotJSON
	case token.Kind() != '"':
		return "", fmt.Errorf("%s: not a string", member)
	}
	s := token.String()
	if maxBytes >= 0 && len(s) > maxBytes {
		return "", fmt.Errorf("%s: longer than %d bytes", member, maxBytes)
	}
	return s, nil
}

// clientID reads the next string as a client's id.
func (p dataParser) clientID(member string) (uuid.UUID, error) {
	s, err := p.text(member, uuidBytes)
	if err != nil {
		return uuid.Nil, err
	}
	id, ok := parseUUID([]byte(s))
	if !ok {
		return uuid.Nil, fmt.Errorf("%s: not a UUID of 36 characters", member)
	}
	return id, nil
}

func (p dataParser) boolean(member string) (bool, error) {
	token, err := p.dec.ReadToken()
	switch {
	case err != nil:
		return false, errDataNotJSON
	case token.Kind() != 't' && token.Kind() != 'f':
		return false, fmt.Errorf("%s: not a boolean", member)
	}
	return token.Bool(), nil
}

// integer reads the next number, which must be written as an integer from 0 to most.
func (p dataParser) integer(member string, most int) (int, error) {
	token, err := p.dec.ReadToken()
	if err != nil {
		return 0, errDataNotJSON
	}
	if token.Kind() == '0' {
		if n, err := strconv.Atoi(token.String()); err == nil && n >= 0 && n <= most && token.String()[0] != '-' {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: not an integer from 0 to %d", member, most)
}

// value reads the next value and returns it as it was sent.
func (p dataParser) value() (jsontext.Value, error) {
	v, err := p.dec.ReadValue()
	if err != nil {
		return nil, errDataNotJSON
	}
	return v.Clone(), nil
}

// skip reads the next value or closing bracket.
func (p dataParser) skip() error {
	var err error
	switch p.dec.PeekKind() {
	case '}', ']':
		_, err = p.dec.ReadToken()
	default:
		err = p.dec.SkipValue()
	}
	if err != nil {
		return errDataNotJSON
	}
	return nil
}
