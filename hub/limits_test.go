package hub

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/opcodes"
)

// startLimited starts a hub of two loops whose token has those further members.
func startLimited(t *testing.T, members string) (*Hub, string) {
	t.Helper()
	tokens := tokenTable(t, `- {name: limited, sha256: `+auth.Hash(testToken)+`, groups: "*", send: "*", `+members+`}`)
	return startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = auth.NewStore(tokens) })
}

func TestConnectionsOfAToken(t *testing.T) {
	t.Parallel()
	h, url := startLimited(t, "total_connections: 3")
	var peers []*peer
	for range 3 {
		peers = append(peers, identify(t, url, "g", withDrain))
	}
	refused := connect(t, url)
	refused.send(identification("g"))
	refused.wantDisconnect("the fourth connection", "TRY_AGAIN_LATER", 1001)
	peers[1].send(m{"op": 2})
	peers[1].wantDisconnect("a goodbye", "NO_REASON", 1000)
	identify(t, url, "g", nil)
	holders := func() int {
		h.holders.mu.Lock()
		defer h.holders.mu.Unlock()
		return len(h.holders.all)
	}
	if n := holders(); n != 1 {
		t.Errorf("%d holders, want 1", n)
	}
	if err := h.onLoops(t.Context(), func(sh *shard) { sh.dropAll() }); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "all connections to be given back", func() bool { return holders() == 0 })
}

// TestRateOfAToken: messages of all connections of a token count together, as do their bytes.
func TestRateOfAToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		members string
		message m // ten of these are allowed at once
	}{
		{"total_rate: 10", m{"op": 3}},
		{"total_bytes: 302000", m{"op": 0, "data": strings.Repeat("x", 30_000), "intent": to("GROUP", "nobody")}},
	} {
		t.Run(tt.members, func(t *testing.T) {
			t.Parallel()
			h, url := startLimited(t, tt.members)
			var ids []uuid.UUID
			for range 14 {
				ids = append(ids, uuid.MustParse(identify(t, url, "g", nil).id))
			}
			raw := encode(t, tt.message)
			for _, id := range ids {
				sh := h.shardOf(&id)
				onLoop(sh, func() {
					s := sh.client(&id)
					s.Message(s.conn, false, raw)
				})()
			}
			if n := h.Stats().Disconnects[opcodes.RateLimited]; n == 0 {
				t.Error("the messages of 14 connections pass a limit of ten for all")
			}
		})
	}
}

// TestFencesOfAToken: FENCEs of all connections of a token count together, whatever it may send.
func TestFencesOfAToken(t *testing.T) {
	t.Parallel()
	tokens := tokenTable(t, `- {name: mute, sha256: `+auth.Hash(testToken)+`, groups: "*"}`)
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = auth.NewStore(tokens) })
	const connections = 10
	var peers []*peer
	for range connections {
		peers = append(peers, identify(t, url, "g", withDrain))
	}
	raw := encode(t, fenceTo(peers[0], "f"))
	for _, p := range peers {
		id := uuid.MustParse(p.id)
		sh := h.shardOf(&id)
		onLoop(sh, func() {
			s := sh.client(&id)
			for range maxFences {
				s.Message(s.conn, false, raw)
			}
		})()
	}
	most := uint64(2 * (connections*fencesPerConnection + fencesAnyway)) // within a second
	if n := h.Stats().Fences; n > most {
		t.Errorf("%d FENCEs pass, want %d at most", n, most)
	}
	if n := h.Stats().Drops[DropOverloaded]; n < connections*maxFences-most {
		t.Errorf("%d are dropped", n)
	}
}
