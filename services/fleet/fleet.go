package fleet

import (
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// fleet is what this instance knows of one fleet. It belongs to the first loop, except name and bots.
type fleet struct {
	s        *Service
	name     string
	bots     atomic.Int32 // connected here
	settings Settings
	here     map[lifecycle.ID]*entry
	lead     *lead // nil while another instance leads, or none
	over     bool
}

// entry is a bot of this instance, and what its instance has to know of it.
type entry struct {
	bot   *bot
	known lifecycle.Found
}

func newFleet(s *Service, name string, now time.Time) *fleet {
	f := &fleet{s: s, name: name, here: make(map[lifecycle.ID]*entry)}
	f.lead = newLead(f, now)
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
	f.over = true
	for _, e := range f.here {
		b := e.bot
		b.on.Post(func() { b.client.Peer().Disconnect(opcodes.Unauthorized) })
	}
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
	f.say(word{Kind: wordLeft, ID: b.id}, nil)
}

// heard handles the word of a bot of this instance. answer is called once, behind what the word leads to.
func (f *fleet) heard(w word, answer func(code, message string)) {
	e := f.here[w.ID]
	if e == nil || f.over {
		answer("UNAVAILABLE", "the fleet has ended")
		return
	}
	f.say(w, answer)
}

// say brings the leader a word.
func (f *fleet) say(w word, answer func(code, message string)) {
	if f.lead != nil {
		f.lead.hear(w, answer, time.Now())
	}
}

// note updates what is known of a bot by a word that the leader took.
func (e *entry) note(w *word) {
	k := &e.known
	switch w.Kind {
	case wordIdentify:
		*k = lifecycle.Found{ID: k.ID, Version: w.Version, Term: k.Term}
	case wordReady:
		k.Ready = true
	case wordComa:
		k.Resting, k.Term = k.Term > 0, 0
	case wordShutdown:
		k.Retired, k.Term = true, 0
	}
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
	if f.lead != nil {
		f.lead.tick(now)
	}
}
