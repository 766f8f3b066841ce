package hub

import (
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/meter"
)

// traffic measures which clients, groups and tokens are busiest on a loop. Up to some thousand messages a second each one is
// counted, beyond that a sample.
type traffic struct {
	in, out meter.Sampler
	clients meter.Table[uuid.UUID, busyClient]
	groups  meter.Table[string, struct{}]
	tokens  meter.Table[string, struct{}]
}

// busyClient is what is known of a client that may have gone since.
type busyClient struct {
	kind        uint8
	name, token string
}

// measureIn measures an EVENT or REPLY of so many bytes that the client sent. group is empty where it is not for one group.
func (s *session) measureIn(group []byte, bytes int) {
	t, now, weight := &s.shard.traffic, s.shard.loop.Clock(), 1.0
	if bytes < meter.Large {
		if t.in.Pass(1) {
			return
		}
		_, weight = t.in.Take(now)
	}
	c := meter.Counts{meter.In: weight, meter.InBytes: weight * float64(bytes)}
	t.addClient(now, s, c)
	t.addGroup(now, s.shard.hub.groupName(group), c)
}

// measureCall measures a message that a holder of the token sends without being a client.
func (sh *shard) measureCall(token string, group []byte, bytes int) {
	t, now := &sh.traffic, sh.loop.Clock()
	c := meter.Counts{meter.In: 1, meter.InBytes: float64(bytes)}
	t.tokens.Add(now, token, c)
	t.addGroup(now, sh.hub.groupName(group), c)
}

// groupName returns the name of a group, without an allocation where the group has members here.
func (h *Hub) groupName(name []byte) string {
	if len(name) == 0 {
		return ""
	}
	if g := h.groups.find(name); g != nil {
		return g.name
	}
	return string(name)
}

// measureOut measures a message of so many bytes that was queued for a client, as a member of g where that is not nil.
func (sh *shard) measureOut(s *session, g *group, bytes int) {
	now, weight := sh.loop.Clock(), 1.0
	if bytes < meter.Large {
		if sh.traffic.out.Pass(1) {
			return
		}
		_, weight = sh.traffic.out.Take(now)
	}
	sh.traffic.addOut(now, s, g, weight, bytes)
}

// measureSpread measures a message of so many bytes that was queued for the group's members on the loop but one.
func (sh *shard) measureSpread(g *group, except *session, bytes int) {
	now := sh.loop.Clock()
	for list := g.local[sh.index].list; !sh.traffic.out.Pass(len(list)); {
		at, weight := sh.traffic.out.Take(now)
		if s := list[at]; s != except {
			sh.traffic.addOut(now, s, g, weight, bytes)
		}
		list = list[at+1:]
	}
}

func (t *traffic) addOut(now uint32, s *session, g *group, weight float64, bytes int) {
	c := meter.Counts{meter.Out: weight, meter.OutBytes: weight * float64(bytes)}
	t.addClient(now, s, c)
	if g != nil {
		t.addGroup(now, g.name, c)
	}
}

func (t *traffic) addClient(now uint32, s *session, c meter.Counts) {
	if b := t.clients.Add(now, s.id, c); b != nil {
		*b = s.busy()
	}
	if s.grant != nil {
		t.tokens.Add(now, s.grant.Name, c)
	}
}

// addGroup adds to the sums of a group; that of all clients has no name, and is not measured.
func (t *traffic) addGroup(now uint32, name string, c meter.Counts) {
	if name != "" {
		t.groups.Add(now, name, c)
	}
}

func (s *session) busy() busyClient {
	b := busyClient{kind: s.kind, token: s.tokenName()}
	if s.about != nil {
		b.name = s.about.name
	}
	return b
}
