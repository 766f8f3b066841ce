package opcodes

import (
	"bytes"
	"errors"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// walker is Scan written with jsontext, as a baseline for benchmarks. It reuses one Decoder, reads token by token to check
// the depth, and cuts values out of the message by their offsets, so that it does not allocate.
type walker struct {
	buf     bytes.Buffer
	dec     *jsontext.Decoder
	msg     []byte
	scratch []byte
	names   map[string]struct{}
	e       envelope
	in      struct{ target, identifier []byte }
}

var errRefused = errors.New("refused")

func newWalker() *walker {
	w := &walker{names: map[string]struct{}{}}
	w.dec = jsontext.NewDecoder(&w.buf, jsontext.AllowDuplicateNames(true))
	return w
}

func (w *walker) scan(msg []byte) error {
	w.buf = *bytes.NewBuffer(msg)
	w.dec.Reset(&w.buf, jsontext.AllowDuplicateNames(true))
	w.msg, w.scratch, w.e = msg, w.scratch[:0], envelope{}
	w.in.target, w.in.identifier = nil, nil
	clear(w.names)
	op, err := "", error(nil)
	var seen uint
	err = w.object(func(name []byte) error {
		bit, ok := uint(0), true
		switch string(name) {
		case "op":
			bit = 1
			var raw []byte
			raw, err = w.token('0')
			op = opText(raw)
		case "id":
			bit = 2
			w.e.ID, err = w.token('"')
			ok = len(w.e.ID) <= 64+2
		case "event":
			bit = 4
			w.e.Event, err = w.text()
			ok = len(w.e.Event) <= 128
		case "data":
			bit = 8
			w.e.Data, err = w.value()
		case "intent":
			bit = 16
			err = w.intent()
		case "sender":
			return errRefused
		default:
			if _, twice := w.names[string(name)]; twice {
				return errRefused
			}
			w.names[string(name)] = struct{}{}
			_, err = w.value()
		}
		if !ok || seen&bit != 0 {
			return errRefused
		}
		seen |= bit
		return err
	})
	if err != nil {
		return err
	}
	return w.check(op)
}

func (w *walker) check(op string) error {
	switch op {
	case "0", "5":
	case "":
		return errRefused
	default:
		return nil
	}
	var ok bool
	w.e.Target, ok = intent.ParseTarget(w.in.target)
	w.e.Identifier = w.in.identifier
	switch {
	case !ok:
		return errRefused
	case w.e.Target == intent.Direct:
		w.e.Receiver = uuid.Nil
		return nil
	case w.e.Target == intent.Global:
		return nil
	}
	return intent.CheckGroup(w.e.Identifier)
}

// opText returns the text of an op without allocating.
func opText(raw []byte) string {
	const digits = "012345"
	if len(raw) == 1 && raw[0] <= '5' {
		return digits[raw[0]-'0':][:1]
	}
	return ""
}

func (w *walker) intent() error {
	return w.object(func(name []byte) (err error) {
		switch string(name) {
		case "target":
			w.in.target, err = w.text()
		case "identifier":
			w.in.identifier, err = w.text()
		default:
			_, err = w.value()
		}
		return err
	})
}

// object walks an object's members.
func (w *walker) object(member func(name []byte) error) error {
	if tok, err := w.dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return errRefused
	}
	for w.dec.PeekKind() != '}' {
		name, err := w.text()
		if err == nil {
			err = member(name)
		}
		if err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// text reads a string, unescaped.
func (w *walker) text() ([]byte, error) {
	raw, err := w.token('"')
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	from := len(w.scratch)
	w.scratch, err = jsontext.AppendUnquote(w.scratch, raw)
	return w.scratch[from:], err
}

// token reads a token of the given kind.
func (w *walker) token(kind jsontext.Kind) ([]byte, error) {
	from := w.dec.InputOffset()
	tok, err := w.dec.ReadToken()
	if err != nil || tok.Kind() != kind {
		return nil, errRefused
	}
	return w.since(from), nil
}

// value walks any value.
func (w *walker) value() ([]byte, error) {
	from, outer := w.dec.InputOffset(), w.dec.StackDepth()
	for {
		if _, err := w.dec.ReadToken(); err != nil {
			return nil, err
		}
		depth := w.dec.StackDepth()
		if depth > maxDepth {
			return nil, errRefused
		}
		if depth == outer {
			return w.since(from), nil
		}
	}
}

// since returns what was read from the given offset on, without leading punctuation.
func (w *walker) since(from int64) []byte {
	for {
		switch w.msg[from] {
		case ' ', '\t', '\r', '\n', ',', ':':
			from++
		default:
			return w.msg[from:w.dec.InputOffset()]
		}
	}
}

func TestWalkerAgrees(t *testing.T) {
	t.Parallel()
	w := newWalker()
	for _, s := range sized {
		var e Envelope
		if err := e.Scan(s.msg); err != nil {
			t.Errorf("%s: Scan: %v", s.name, err)
		}
		if err := w.scan(s.msg); err != nil {
			t.Errorf("%s: walker: %v", s.name, err)
		}
		if !bytes.Equal(w.e.Data, e.Data) || !bytes.Equal(w.e.Event, e.Event) || !bytes.Equal(w.e.Identifier, e.Identifier) {
			t.Errorf("%s: the walker reads something else", s.name)
		}
	}
}
