package fleet

import (
	"net/netip"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/socketio"
)

// Bounds of one bot. Beyond the rate it is disconnected, beyond the others its word is refused.
const (
	wordsPerSecond = 20
	maxWordsOpen   = 32
	maxVersion     = 128 // bytes
	maxCogs        = 10_000
)

// bot is the connection of a bot process. It belongs to its loop; id is constant once it is connected.
type bot struct {
	s       *Service
	fleet   *fleet
	client  *socketio.Client
	on      *hub.ServiceLoop
	payload jsontext.Value // IDENTIFY's data; nil for a client without a token
	id      lifecycle.ID   // empty before it is connected
	admin   bool           // its token has admin rights
	open    int            // words that are not answered yet
	since   uint32         // loop clock when it was connected
	named   bool           // it has said identify
	second  uint32         // loop clock when the present second began
	words   int            // in it
	over    bool
}

var _ socketio.ClientHandler = (*bot)(nil)

// connectPayload is what CONNECT of a bot carries.
type connectPayload struct {
	Token string            `json:"token,omitzero"`
	Fleet *string           `json:"fleet"`
	Name  string            `json:"name,omitzero"`
	Meta  map[string]string `json:"meta,omitzero"`
}

// identifyPayload is the same as the data of IDENTIFY.
type identifyPayload struct {
	Token string            `json:"token"`
	Group string            `json:"group"`
	Name  string            `json:"name,omitzero"`
	Meta  map[string]string `json:"meta,omitzero"`
}

// Accept implements socketio.Application: it takes clients that name a fleet, and those without a payload if there is a
// default fleet.
func (s *Service) Accept(c *socketio.Client, payload []byte) (socketio.ClientHandler, bool) {
	members := 0
	var p connectPayload
	if len(payload) > 0 {
		var all map[string]jsontext.Value
		if json.Unmarshal(payload, &all) != nil {
			return nil, false
		}
		members = len(all)
		if members > 0 && all["fleet"] == nil {
			return nil, false
		}
	}
	b := &bot{s: s, client: c, on: s.loops[c.Loop()]}
	served := *s.served.Load()
	switch {
	case members == 0:
		b.fleet = served[DefaultName]
		return b, b.fleet != nil
	case json.Unmarshal(payload, &p) != nil || p.Fleet == nil || served[*p.Fleet] == nil:
		return b, true // refused
	}
	b.fleet = served[*p.Fleet]
	data, err := json.Marshal(identifyPayload{p.Token, groupPrefix + *p.Fleet, p.Name, p.Meta})
	if err != nil {
		b.fleet = nil
		return b, true
	}
	b.payload = data
	return b, true
}

// Identify implements socketio.ClientHandler.
func (b *bot) Identify() {
	peer := b.client.Peer()
	switch {
	case b.fleet == nil:
		b.refuse("fleet", opcodes.IdentifyFailed)
	case b.fleet.bots.Load() >= MaxBots:
		b.refuse("full", opcodes.TryAgainLater)
	case b.payload != nil:
		peer.IdentifyAs(b.payload)
		b.payload = nil
	case !b.s.opts.Anonymous && !isHere(peer.RemoteAddr().Addr()):
		b.refuse("address", opcodes.IdentifyFailed)
	default:
		peer.Identify(hub.Identity{Groups: []string{b.fleet.group()}})
	}
}

// isHere reports whether the address is one of this machine that no other machine can have.
func isHere(a netip.Addr) bool { return a.Unmap().IsLoopback() }

// refuse turns the client away.
func (b *bot) refuse(cause string, r opcodes.Reason) {
	b.s.count.refusedBots.Add(1)
	b.on.Warn("bot refused", cause)
	b.client.Peer().Disconnect(r)
}

// Connected implements socketio.ClientHandler.
func (b *bot) Connected() {
	peer := b.client.Peer()
	b.id, b.admin = lifecycle.ID(peer.ID().String()), peer.IsAdmin()
	b.since, b.second = b.on.Clock(), b.on.Clock()
	b.fleet.bots.Add(1)
	b.s.count.bots.Add(1)
	b.s.first.Post(func() { b.fleet.came(b) })
}

// Event implements socketio.ClientHandler.
func (b *bot) Event(name string, args, ack []byte) {
	if b.id == "" || !b.withinRate() {
		return
	}
	w, code, message := parseWord(name, args)
	switch {
	case code != "":
	case b.open >= maxWordsOpen:
		code, message = "TOO_MANY_REQUESTS", "too many events of this bot have no answer yet"
	case w.Kind == wordTryAgain && !b.admin:
		code, message = string(opcodes.CodeForbidden), "try_again needs a token with admin rights"
	}
	if code != "" {
		b.s.count.refusedWords.Add(1)
		b.client.Fail(ack, code, message)
		return
	}
	b.s.count.words.Add(1)
	b.named = b.named || w.Kind == wordIdentify
	b.open++
	w.ID = b.id
	ack = append([]byte(nil), ack...)
	answer := func(code, message string) { // on the first loop
		b.on.Post(func() { b.answered(ack, code, message) })
	}
	b.s.first.Post(func() { b.fleet.heard(w, answer) })
}

// answered acknowledges a word, which was refused if code is not empty.
func (b *bot) answered(ack []byte, code, message string) {
	b.open--
	switch {
	case code != "":
		b.s.count.refusedWords.Add(1)
		b.client.Fail(ack, code, message)
	case len(ack) > 0:
		b.client.Acknowledge(ack, nil)
	}
}

// withinRate reports whether the bot may say one more word. One that floods is disconnected.
func (b *bot) withinRate() bool {
	now := b.on.Clock()
	if time.Duration(now-b.second)*time.Millisecond >= time.Second {
		b.second, b.words = now, 0
	}
	b.words++
	if b.words <= wordsPerSecond {
		return true
	}
	if b.words == wordsPerSecond+1 {
		b.s.count.floods.Add(1)
		b.on.Warn("bot disconnected", "it said too much")
		b.client.End()
	}
	return false
}

// carryOut does what the fleet's leader orders.
func (b *bot) carryOut(o order) {
	if b.over {
		return
	}
	event, argument := o.message(b.s.opts.CommandEvent)
	if event != "" {
		b.s.count.orders.Add(1)
		b.client.Emit(event, argument)
	}
}

// Sweep implements socketio.ClientHandler. A bot that never says what it is takes a place that others could have.
func (b *bot) Sweep() {
	if b.id != "" && !b.named && time.Duration(b.on.Clock()-b.since)*time.Millisecond > b.s.opts.IdentifyTimeout {
		b.s.count.silent.Add(1)
		b.on.Warn("bot disconnected", "it did not identify")
		b.client.End()
	}
}

// Closed implements socketio.ClientHandler.
func (b *bot) Closed() {
	b.over = true
	if b.id == "" {
		return
	}
	b.fleet.bots.Add(-1)
	b.s.count.bots.Add(-1)
	b.s.first.Post(func() { b.fleet.left(b) })
}
