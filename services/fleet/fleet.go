package fleet

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// fleet is what this instance knows of one fleet: its bots here, and who leads it. It belongs to the first loop, except name and
// bots.
type fleet struct {
	s        *Service
	name     string
	bots     atomic.Int32 // connected here
	settings Settings
	here     map[lifecycle.ID]*entry
	claim    leadership
	over     bool

	// Where this instance leads: one of the two is not nil.
	gathering *gathering // it asks all instances for their bots
	lead      *lead

	// Where another one does.
	leader     string // its inbox; empty for none
	leaderTerm uint64
	rosterSent bool   // the leader has the bots of this instance, and hears their words
	orders     uint64 // the number of the leader's last order that was carried out

	memory     lifecycle.Memory // of the last leader
	memoryTerm uint64           // its term

	pending []*pending // words without an answer
	words   uint64     // the number of the last word
}

// entry is a bot of this instance, and what its instance has to know of it.
type entry struct {
	bot        *bot
	known      lifecycle.Found
	identified bool
}

// pending is a word that has no answer yet.
type pending struct {
	n      uint64
	word   word
	answer func(code, message string)
	sent   bool // to the present leader
	at     time.Time
}

// wordTimeout is how long a word may wait for a leader and its answer.
const wordTimeout = 15 * time.Second

// cutOff is the reason for bots of an instance that can't reach the fleet's leader any more.
const cutOff lifecycle.Reason = "cut_off"

func newFleet(s *Service, name string) *fleet {
	f := &fleet{s: s, name: name, here: make(map[lifecycle.ID]*entry)}
	f.claim = s.claim(name, func(term uint64) { f.gather(term, time.Now()) }, func() { f.stepDown() })
	return f
}

// group returns the group of the fleet's bots.
func (f *fleet) group() string { return groupPrefix + f.name }

// configure puts settings in force.
func (f *fleet) configure(s Settings) {
	f.settings = s
	if f.lead != nil {
		f.lead.state.Configure(s.Config)
	}
}

// end disconnects the bots of a fleet that is managed no more.
func (f *fleet) end() {
	if !f.over {
		f.over = true
		f.claim.Release()
		f.endLead()
	}
	for _, e := range f.here {
		b := e.bot
		b.on.Post(func() { b.client.Peer().Disconnect(opcodes.Unauthorized) })
	}
	for _, p := range f.pending {
		p.answer("UNAVAILABLE", "the fleet has ended")
	}
	f.pending = nil
}

// came notes a bot that is connected.
func (f *fleet) came(b *bot) {
	f.here[b.id] = &entry{bot: b, known: lifecycle.Found{ID: b.id}}
	if f.over {
		f.end()
	}
}

// left notes that a bot's connection has ended.
func (f *fleet) left(b *bot) {
	if f.here[b.id] == nil {
		return
	}
	delete(f.here, b.id)
	f.pending = slices.DeleteFunc(f.pending, func(p *pending) bool { return p.word.ID == b.id && !p.sent })
	w := word{Kind: wordLeft, ID: b.id, Moving: errors.Is(f.s.hub.Ready(), hub.ErrDraining)}
	switch {
	case f.lead != nil:
		f.lead.hear(w, nil, time.Now())
	case f.rosterSent:
		f.send(&mail{Kind: mailWord, Word: &w})
	}
}

// heard handles the word of a bot of this instance. answer is called once, behind what the word leads to.
func (f *fleet) heard(w word, answer func(code, message string)) {
	if f.here[w.ID] == nil || f.over {
		answer("UNAVAILABLE", "the fleet has ended")
		return
	}
	f.words++
	f.pending = append(f.pending, &pending{n: f.words, word: w, answer: answer, at: time.Now()})
	f.flush()
}

// flush brings the leader the words that it has not got.
func (f *fleet) flush() {
	if f.lead == nil && !f.rosterSent || !f.s.link.isReached() {
		return
	}
	for _, p := range slices.Clone(f.pending) {
		if p.sent {
			continue
		}
		p.sent = true
		if f.lead != nil {
			f.lead.hear(p.word, func(code, message string) { f.answered(p.n, code, message) }, time.Now())
			continue
		}
		f.send(&mail{Kind: mailWord, N: p.n, Word: &p.word})
	}
}

// answered handles the leader's answer to a word.
func (f *fleet) answered(n uint64, code, message string) {
	i := slices.IndexFunc(f.pending, func(p *pending) bool { return p.n == n })
	if i < 0 {
		return
	}
	p := f.pending[i]
	f.pending = slices.Delete(f.pending, i, i+1)
	if e := f.here[p.word.ID]; e != nil && code == "" {
		e.note(&p.word)
	}
	p.answer(code, message)
}

// send sends the leader mail. If that fails, the leader gets the roster again.
func (f *fleet) send(m *mail) {
	m.Fleet, m.Term = f.name, f.leaderTerm
	f.s.link.post(f.leader, m, f.resync)
}

// led handles the word of an instance that it leads the fleet.
func (f *fleet) led(leader string, l led) {
	if l.Term < f.leaderTerm {
		return
	}
	if own := f.term(); own != 0 {
		if own > l.Term {
			return
		}
		f.stepDown() // the end of this instance's lease is about to be known
	}
	if l.Term > f.leaderTerm || leader != f.leader {
		f.leader, f.leaderTerm, f.orders = leader, l.Term, 0
		f.resync()
	}
	f.memory, f.memoryTerm = l.Memory, l.Term
	f.sendRoster()
	f.flush()
}

// term returns the term in which this instance leads the fleet, zero for none.
func (f *fleet) term() uint64 {
	switch {
	case f.lead != nil:
		return f.lead.term
	case f.gathering != nil:
		return f.gathering.term
	}
	return 0
}

// resync has the leader told everything again.
func (f *fleet) resync() {
	f.rosterSent = false
	for _, p := range f.pending {
		p.sent = false
	}
}

// sendRoster tells the leader of all bots here.
func (f *fleet) sendRoster() {
	if f.rosterSent || f.leader == "" || !f.s.link.isReached() {
		return
	}
	f.rosterSent = true
	f.send(&mail{Kind: mailRoster, Node: f.s.node(), Bots: f.roster(), Memory: f.memory, Last: f.memoryTerm})
}

// roster returns what is known of the bots here that have identified.
func (f *fleet) roster() []lifecycle.Found {
	var all []lifecycle.Found
	for _, e := range f.here {
		if e.identified || e.known.Term > 0 {
			all = append(all, e.known)
		}
	}
	return all
}

// note updates what is known of a bot by a word that the leader took.
func (e *entry) note(w *word) {
	k := &e.known
	switch w.Kind {
	case wordIdentify:
		*k = lifecycle.Found{ID: k.ID, Version: w.Version, Term: k.Term}
		e.identified = true
	case wordReady:
		k.Ready = true
	case wordComa:
		k.Resting, k.Term = k.Term > 0, 0
	case wordShutdown:
		k.Retired, k.Term = true, 0
	}
}

// ordered handles an order of a leader on another instance. One that comes again is confirmed again.
func (f *fleet) ordered(m *mail) {
	if m.Term != f.leaderTerm || m.From != f.leader || m.Order == nil {
		return
	}
	done := func() {
		f.s.link.post(m.From, &mail{Kind: mailDone, Fleet: f.name, Term: m.Term, N: m.N}, nil)
	}
	if m.N <= f.orders {
		done()
		return
	}
	f.orders = m.N
	f.obey(m.To, *m.Order, m.Term, done)
}

// obey has a bot of this instance carry out what the leader of that term orders, and calls done on the first loop when the
// bot's loop has queued it.
func (f *fleet) obey(id lifecycle.ID, o order, term uint64, done func()) {
	e := f.here[id]
	if e == nil {
		done()
		return
	}
	switch k := &e.known; {
	case o.startsWork():
		k.Term, k.Resting = term, false
	case o.stopsWork():
		k.Term = 0
		k.Retired = k.Retired || o.Verb == verbShutdown
	}
	b := e.bot
	o.token = f.settings.Token
	if !b.on.Post(func() { b.carryOut(o); f.s.first.Post(done) }) {
		done()
	}
}

// tick looks at deadlines.
func (f *fleet) tick(now time.Time) {
	if f.term() != 0 && f.claim.Left() < leaseMargin {
		f.stepDown()
	}
	switch {
	case f.lead != nil:
		f.lead.tick(now)
	case f.gathering != nil:
		f.gathering.tick(now)
	default:
		f.checkLink(now)
	}
	for len(f.pending) > 0 && now.Sub(f.pending[0].at) > wordTimeout {
		f.answered(f.pending[0].n, "UNAVAILABLE", "the fleet has no leader that answers")
	}
}

// checkLink stops the bots that work here if this instance may be cut off, and forgets a leader that is gone.
func (f *fleet) checkLink(now time.Time) {
	if !f.s.link.isReached() {
		f.stopHere()
	}
	if f.leader != "" && f.s.link.isSilent(f.leader, now) {
		f.leader = ""
		f.resync()
	}
}

// stopHere tells the bots that work here to stop, without a leader's order. They can be promoted again.
func (f *fleet) stopHere() {
	for id, e := range f.here {
		if e.known.Term > 0 {
			f.s.count.cutOffs.Add(1)
			f.obey(id, order{Verb: verbComa, Reason: cutOff}, 0, func() {})
			f.resync()
		}
	}
}

// stepDown ends the leadership of this instance. The bots that work here stop; the next leader decides.
func (f *fleet) stepDown() {
	f.endLead()
	f.stopHere()
}

// endLead forgets what this instance has as the leader.
func (f *fleet) endLead() {
	if f.lead != nil {
		f.memory, f.memoryTerm = f.lead.state.Memory(), f.lead.term
		f.lead.end()
	}
	if f.gathering != nil {
		f.gathering.end()
	}
	f.lead, f.gathering = nil, nil
	f.resync()
}
