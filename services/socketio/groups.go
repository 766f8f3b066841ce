package socketio

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/packet"
)

// changeGroups handles the reserved events subscribe and unsubscribe. Their arguments are names of groups, or arrays of them.
func (c *socket) changeGroups(event string, ack []byte, values *packet.Packet) {
	groups, ok := readGroups(values.Args)
	if !ok {
		c.reject(ack, "INVALID_PAYLOAD", "the arguments are names of groups, or arrays of them")
		return
	}
	op := opcodes.Subscribe
	if event == "unsubscribe" {
		op = opcodes.Unsubscribe
	}
	ack = bytes.Clone(ack)
	c.s.peer.ChangeGroupsAs(op, groups, func(e *hub.ChangeError) {
		switch {
		case e != nil:
			c.reject(ack, string(e.Code), e.Explanation())
		case len(ack) > 0:
			c.sendValues(packet.Ack, packet.BinaryAck, ack, nil, appendGroups(nil, groups), false)
		}
	})
}

// readGroups returns the names in JSON values with commas between them. ok is false if there are none, or something else.
func readGroups(values []byte) (groups []string, ok bool) {
	d := jsontext.NewDecoder(bytes.NewReader(append(append([]byte{'['}, values...), ']')))
	for depth := 0; ; {
		t, err := d.ReadToken()
		switch {
		case err != nil:
			return nil, false
		case t.Kind() == '[' && depth < 2:
			depth++
		case t.Kind() == ']':
			if depth--; depth == 0 {
				return groups, len(groups) > 0
			}
		case t.Kind() == '"':
			groups = append(groups, t.String())
		default:
			return nil, false
		}
	}
}

// appendGroups appends the answer that names groups.
func appendGroups(dst []byte, groups []string) []byte {
	dst = append(dst, `{"groups":[`...)
	for i, name := range groups {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, _ = jsontext.AppendQuote(dst, name) // a valid name: the groups were changed
	}
	return append(dst, `]}`...)
}
