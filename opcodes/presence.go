package opcodes

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// PresenceMember is a member of a group as its watchers see it.
type PresenceMember struct {
	ID      uuid.UUID
	Name    string            // empty: left out
	Version string            // empty: left out
	Meta    map[string]string // empty: left out
	Weight  int               // DefaultWeight: left out
	Node    string            // the name of its instance
	Since   time.Time         // of its IDENTIFY; on the wire in UTC and whole seconds
}

// AppendPresenceMember appends m, of which equal ones have the same bytes.
func AppendPresenceMember(dst []byte, m *PresenceMember) []byte {
	dst = append(dst, `{"id":"`...)
	dst = appendUUID(dst, m.ID)
	dst = append(dst, '"')
	if m.Name != "" {
		dst = appendString(append(dst, `,"name":`...), m.Name)
	}
	if m.Version != "" {
		dst = appendString(append(dst, `,"version":`...), m.Version)
	}
	if len(m.Meta) > 0 {
		dst = append(dst, `,"meta":{`...)
		for i, key := range slices.Sorted(maps.Keys(m.Meta)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(append(appendString(dst, key), ':'), m.Meta[key])
		}
		dst = append(dst, '}')
	}
	if m.Weight != DefaultWeight {
		dst = strconv.AppendInt(append(dst, `,"weight":`...), int64(m.Weight), 10)
	}
	dst = appendString(append(dst, `,"node":`...), m.Node)
	dst = append(dst, `,"since":"`...)
	dst = m.Since.UTC().AppendFormat(dst, time.RFC3339)
	return append(dst, `"}`...)
}

// PresenceData is what a PRESENCE says of a group. Members are as AppendPresenceMember makes them.
type PresenceData struct {
	Group string

	Snapshot bool     // it has members: a part of those that are there
	Members  [][]byte // of a snapshot
	Complete bool     // of a snapshot: the last part

	Left    []PresenceLeft
	Moved   []PresenceMoved
	Joined  [][]byte
	Updated [][]byte

	Missing []string // names of the instances that don't answer; nil: it says nothing of them
	Counts  bool     // it has a count: the group is too large for its members to be named
	Count   int
}

// PresenceLeft is a member that left.
type PresenceLeft struct {
	ID     uuid.UUID
	Reason string
}

// PresenceMoved is a member that has another id now.
type PresenceMoved struct {
	From uuid.UUID
	To   []byte
}

// PresenceSize returns the most that [AppendPresence] appends, in bytes.
func PresenceSize(p *PresenceData) int {
	const (
		frame = len(`{"op":10,"data":{"group":"","members":[],"complete":true,"left":[],"moved":[],"joined":[],"updated":[],`+
			`"missing":[],"count":}}`) + 20
		left  = len(`{"id":"","reason":""},`) + uuidBytes
		moved = len(`{"from":"","to":},`) + uuidBytes
		quote = len(`"",`)
	)
	n := frame + 6*len(p.Group)
	for _, list := range [][][]byte{p.Members, p.Joined, p.Updated} {
		for _, m := range list {
			n += len(m) + 1
		}
	}
	for i := range p.Left {
		n += left + 6*len(p.Left[i].Reason)
	}
	for i := range p.Moved {
		n += moved + len(p.Moved[i].To)
	}
	for _, name := range p.Missing {
		n += quote + 6*len(name)
	}
	return n
}

// AppendPresence appends a PRESENCE. Lists of changes that are empty are left out.
func AppendPresence(dst []byte, p *PresenceData) []byte {
	dst = appendString(append(dst, `{"op":10,"data":{"group":`...), p.Group)
	if p.Snapshot {
		dst = appendMembers(dst, `,"members":[`, p.Members)
		if p.Complete {
			dst = append(dst, `,"complete":true`...)
		}
	}
	if len(p.Left) > 0 {
		dst = append(dst, `,"left":[`...)
		for i := range p.Left {
			dst = append(appendUUID(append(comma(dst, i), `{"id":"`...), p.Left[i].ID), `","reason":`...)
			dst = append(appendString(dst, p.Left[i].Reason), '}')
		}
		dst = append(dst, ']')
	}
	if len(p.Moved) > 0 {
		dst = append(dst, `,"moved":[`...)
		for i := range p.Moved {
			dst = append(appendUUID(append(comma(dst, i), `{"from":"`...), p.Moved[i].From), `","to":`...)
			dst = append(append(dst, p.Moved[i].To...), '}')
		}
		dst = append(dst, ']')
	}
	if len(p.Joined) > 0 {
		dst = appendMembers(dst, `,"joined":[`, p.Joined)
	}
	if len(p.Updated) > 0 {
		dst = appendMembers(dst, `,"updated":[`, p.Updated)
	}
	dst = appendNames(dst, `,"missing":[`, p.Missing)
	if p.Counts {
		dst = strconv.AppendInt(append(dst, `,"count":`...), int64(p.Count), 10)
	}
	return append(dst, `}}`...)
}

// appendMembers appends a JSON member that is an array of group members.
func appendMembers(dst []byte, name string, members [][]byte) []byte {
	dst = append(dst, name...)
	for i, m := range members {
		dst = append(comma(dst, i), m...)
	}
	return append(dst, ']')
}

// comma appends what stands before the element i of an array.
func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}
