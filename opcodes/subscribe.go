package opcodes

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Change is the data of a SUBSCRIBE or UNSUBSCRIBE. Each list has each name once, in the order of the request, and is nil
// where the request has no such member. Names are not checked: see intent.CheckGroup.
type Change struct {
	Groups    []string // to join or leave
	Watch     []string // to be told about, or no more
	Exclusive []string // to hold, or to give up

	// Of a SUBSCRIBE alone.
	Recover []Recovery        // from where on the client wants messages of groups with history, each group once
	Meta    map[string]string // in place of that of IDENTIFY; nil for no change
	Weight  int               // in place of that of IDENTIFY, 0 to MaxWeight; KeepWeight for no change

	// Of an UNSUBSCRIBE alone.
	To uuid.UUID // the client that shall hold the groups in Exclusive next; zero for none
}

// KeepWeight stands for a weight that does not change.
const KeepWeight = -1

// ErrChangePayload: the data of a SUBSCRIBE or UNSUBSCRIBE is malformed. The reason is InvalidPayload.
var ErrChangePayload = errors.New("invalid data of a change of groups")

var errNoData = errors.New("no data")

// Size returns how many names the change has.
func (c *Change) Size() int {
	return len(c.Groups) + len(c.Watch) + len(c.Exclusive) + len(c.Recover)
}

// ParseChange reads the data of a SUBSCRIBE or UNSUBSCRIBE, [Envelope.Data], of a client with those features. The result
// shares no memory with data.
//
//	groups     array of strings
//	watch      array of strings
//	exclusive  array of strings
//	meta       in a SUBSCRIBE: as in an IDENTIFY
//	weight     in a SUBSCRIBE: as in an IDENTIFY
//	to         in an UNSUBSCRIBE: string, a client's id
//	recover    in a SUBSCRIBE, with FeatureHistory: as in an IDENTIFY
//
// As in an IDENTIFY, a null member counts as absent, unknown members are ignored, and two members of the same name are
// refused. The error wraps ErrChangePayload and names the member at fault without quoting the data.
func ParseChange(op Op, data []byte, features Feature) (Change, error) {
	c := Change{Weight: KeepWeight}
	if len(data) == 0 || string(data) == "null" {
		return c, fmt.Errorf("%w: %w", ErrChangePayload, errNoData)
	}
	p := dataParser{jsontext.NewDecoder(bytes.NewReader(data))}
	if err := p.whole(func(name string) error { return c.read(op, name, features, p) }); err != nil {
		return Change{Weight: KeepWeight}, fmt.Errorf("%w: %w", ErrChangePayload, err)
	}
	return c, nil
}

// read reads the value of the member with the given name.
func (c *Change) read(op Op, name string, features Feature, p dataParser) (err error) {
	if p.dec.PeekKind() == 'n' {
		return p.skip()
	}
	switch {
	case name == "groups":
		c.Groups, err = p.texts(name)
	case name == "watch":
		c.Watch, err = p.texts(name)
	case name == "exclusive":
		c.Exclusive, err = p.texts(name)
	case name == "meta" && op == Subscribe:
		c.Meta, err = p.meta()
	case name == "weight" && op == Subscribe:
		c.Weight, err = p.integer(name, MaxWeight)
	case name == "recover" && op == Subscribe && features.Has(FeatureHistory):
		c.Recover, err = p.recoveries(name)
	case name == "to" && op == Unsubscribe:
		c.To, err = p.clientID(name)
	default:
		err = p.skip()
	}
	return err
}

// Changed is the hub's answer to a SUBSCRIBE or UNSUBSCRIBE that it carried out, or tells a client what it changed unasked. A
// nil list is left out.
type Changed struct {
	Op     Op
	ID     []byte // the request's, still escaped ([Envelope.ID]); nil for what the client did not ask for
	Groups []string
	Watch  []string
	Holds  []Hold   // of a SUBSCRIBE: the groups in its member exclusive
	GaveUp []string // of an UNSUBSCRIBE: the groups in its member exclusive
	Joined []Joined // of a SUBSCRIBE: the groups with history that were joined
	By     string   // who asked for it, other than the client itself; empty for the client
}

// Hold is how a client stands with an exclusive group.
type Hold struct {
	Group  string
	Held   bool
	Term   int64         // of a holder
	Valid  time.Duration // of a holder, from when it sent its request; 0 where it didn't ask. Whole milliseconds on the wire
	Reason string        // why it holds the group no more; empty for none
}

// ByOperator is [Changed].By for what an operator asked for.
const ByOperator = "operator"

// ChangedSize returns the most that [AppendChanged] appends, in bytes.
func ChangedSize(c *Changed) int {
	const (
		frame = len(`{"op":9,"id":"","data":{"groups":[],"watch":[],"exclusive":{},"history":{},"by":""}}`)
		hold  = len(`"":{"held":false,"term":,"valid_ms":,"reason":""},`) + 2*20
		quote = len(`"",`)
	)
	n := frame + len(c.ID) + 6*len(c.By)
	for _, list := range [][]string{c.Groups, c.Watch, c.GaveUp} {
		for _, g := range list {
			n += quote + 6*len(g)
		}
	}
	for i := range c.Holds {
		n += hold + 6*(len(c.Holds[i].Group)+len(c.Holds[i].Reason))
	}
	return n + joinedSize(c.Joined)
}

// AppendChanged appends a SUBSCRIBE or UNSUBSCRIBE as its client gets it.
func AppendChanged(dst []byte, c *Changed) []byte {
	dst = appendAnswer(dst, c.Op, c.ID)
	start := len(dst)
	dst = appendNames(dst, `,"groups":[`, c.Groups)
	dst = appendNames(dst, `,"watch":[`, c.Watch)
	dst = appendHolds(dst, c.Holds)
	dst = appendNames(dst, `,"exclusive":[`, c.GaveUp)
	dst = appendJoined(dst, c.Joined)
	if c.By != "" {
		dst = append(dst, `,"by":`...)
		dst = appendString(dst, c.By)
	}
	if len(dst) > start { // the first member has no comma before it
		dst = append(dst[:start], dst[start+1:]...)
	}
	return append(dst, `}}`...)
}

// appendAnswer appends a SUBSCRIBE or UNSUBSCRIBE up to the first member of its data.
func appendAnswer(dst []byte, op Op, id []byte) []byte {
	dst = append(dst, `{"op":`...)
	dst = strconv.AppendInt(dst, int64(op), 10)
	dst = appendID(dst, id)
	return append(dst, `,"data":{`...)
}

// appendNames appends a member that is an array of names, unless it is nil.
func appendNames(dst []byte, member string, names []string) []byte {
	if names == nil {
		return dst
	}
	dst = append(dst, member...)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
	}
	return append(dst, ']')
}

// appendHolds appends the member exclusive of an answer to a SUBSCRIBE or IDENTIFY, unless holds is nil.
func appendHolds(dst []byte, holds []Hold) []byte {
	if holds == nil {
		return dst
	}
	dst = append(dst, `,"exclusive":{`...)
	for i := range holds {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendHold(dst, &holds[i])
	}
	return append(dst, '}')
}

func appendHold(dst []byte, h *Hold) []byte {
	dst = appendString(dst, h.Group)
	if !h.Held {
		dst = append(dst, `:{"held":false`...)
		if h.Reason != "" {
			dst = append(dst, `,"reason":`...)
			dst = appendString(dst, h.Reason)
		}
		return append(dst, '}')
	}
	dst = append(dst, `:{"held":true,"term":`...)
	dst = strconv.AppendInt(dst, h.Term, 10)
	if h.Valid > 0 {
		dst = append(dst, `,"valid_ms":`...)
		dst = strconv.AppendInt(dst, h.Valid.Milliseconds(), 10)
	}
	return append(dst, '}')
}

// Refused is the hub's answer to a SUBSCRIBE or UNSUBSCRIBE of which it carried out nothing.
type Refused struct {
	Op      Op
	ID      []byte // the request's, still escaped
	Code    ErrorCode
	Group   string // the one at fault; empty for none
	Message string // for people
}

// RefusedSize returns the most that [AppendRefused] appends, in bytes.
func RefusedSize(r *Refused) int {
	const frame = len(`{"op":9,"id":"","data":{"error":{"code":"","group":"","message":""}}}`)
	return frame + len(r.ID) + 6*(len(r.Code)+len(r.Group)+len(r.Message))
}

// AppendRefused appends r as its client gets it.
func AppendRefused(dst []byte, r *Refused) []byte {
	dst = appendAnswer(dst, r.Op, r.ID)
	dst = append(dst, `"error":{"code":`...)
	dst = appendString(dst, string(r.Code))
	if r.Group != "" {
		dst = append(dst, `,"group":`...)
		dst = appendString(dst, r.Group)
	}
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, r.Message)
	return append(dst, `}}}`...)
}
