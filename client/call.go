package client

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
)

// callKind is what completes a call.
type callKind uint8

const (
	callPlain   callKind = iota // it is written
	callAcked                   // the hub's ACK or ERROR
	callRequest                 // its caller, after enough replies; or an ERROR
)

// call is one message from its send to its outcome.
type call struct {
	kind    callKind
	id      string
	event   string
	to      Intent
	frame   []byte
	via     *session // that must write it; nil for any
	members string   // further members of the envelope, each with a comma before it
	retry   bool     // of a request to any: see WithRetry
	key     string   // see WithKey

	// limit is how many replies may be unread.
	limit int

	// taken decides the race between the writer, which claims the call to write it, and a sender that gives up.
	taken atomic.Bool

	session *session // that wrote it and receives its answer; guarded by pending.mu

	once    sync.Once
	done    chan struct{} // closed once nodes and err are set
	nodes   int
	offset  uint64 // of a message to a group with history
	err     error
	settled *Settlement // of a request that the hub has settled; set before done is closed

	mu       sync.Mutex
	replies  []*Message
	answered bool          // a reply came that no other of the same client follows
	full     bool          // a reply was dropped; later ones are ignored
	more     chan struct{} // signals new replies; capacity 1
}

// SendOption changes how a message is sent.
type SendOption func(*call)

// WithID sets the message's id, of 1 to 64 bytes, instead of a random UUID. Receivers see it, and their REPLYs carry it.
func WithID(id string) SendOption { return func(ca *call) { ca.id = id } }

// withMembers adds members to the envelope.
func withMembers(members string) SendOption { return func(ca *call) { ca.members += members } }

func newCall(op opcodes.Op, to Intent, event string, data any, opts []SendOption) (*call, error) {
	ca := &call{event: event, to: to, done: make(chan struct{})}
	for _, opt := range opts {
		opt(ca)
	}
	if ca.id == "" {
		ca.id = uuid.NewString()
	}
	encoded, err := encodeData(data)
	if err != nil {
		return nil, fmt.Errorf("event %.80q: %w", event, err)
	}
	ca.frame, err = appendEnvelope(make([]byte, 0, len(encoded)+192), op, ca.id, to, event, encoded, ca.members)
	return ca, err
}

// claim claims the call for the writer or for a sender that gives up. Only the first call returns true.
func (ca *call) claim() bool { return ca.taken.CompareAndSwap(false, true) }

// complete sets the outcome. Only the first call has an effect.
func (ca *call) complete(nodes int, err error) {
	ca.once.Do(func() {
		ca.nodes = nodes
		if _, named := err.(*HubError); err != nil && !named {
			err = fmt.Errorf("event %.80q: %w", ca.event, err)
		}
		ca.err = err
		close(ca.done)
	})
}

// reply adds a reply for RequestMany.
func (ca *call) reply(m *Message) {
	ca.mu.Lock()
	ca.full = ca.full || len(ca.replies) >= ca.limit
	full := ca.full
	if !full {
		ca.replies = append(ca.replies, m)
		ca.answered = ca.answered || !m.More
	}
	ca.mu.Unlock()
	if full {
		ca.complete(0, ErrTooManyReplies)
		return
	}
	select {
	case ca.more <- struct{}{}:
	default:
	}
}

// takeReplies returns the replies since its last call.
func (ca *call) takeReplies() []*Message {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	replies := ca.replies
	ca.replies = nil
	return replies
}

// pending holds the written calls that await an answer, by id. During a move they belong to two sessions; each receives the
// answers to its own.
type pending struct {
	mu    sync.Mutex
	calls map[string]*call
}

// add registers the call for the session that is about to write it.
func (p *pending) add(ca *call, s *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.calls[ca.id]; ok {
		return ErrDuplicateID
	}
	if p.calls == nil {
		p.calls = make(map[string]*call)
	}
	ca.session = s
	p.calls[ca.id] = ca
	return nil
}

// request returns the request with the given id; nil for none. Its REPLYs may arrive on either connection.
func (p *pending) request(id string) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ca := p.calls[id]; ca != nil && ca.kind == callRequest {
		return ca
	}
	return nil
}

// writtenBy returns the call with the given id that the session wrote; nil for none.
func (p *pending) writtenBy(s *session, id string) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ca := p.calls[id]; ca != nil && ca.session == s {
		return ca
	}
	return nil
}

// sessionOf returns the session that wrote the call; nil if it was not written, or awaits no answer any more.
func (p *pending) sessionOf(ca *call) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[ca.id] != ca {
		return nil
	}
	return ca.session
}

// count returns how many answers the session awaits.
func (p *pending) count(s *session) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, ca := range p.calls {
		if ca.session == s {
			n++
		}
	}
	return n
}

// remove removes the call, if it is registered.
func (p *pending) remove(ca *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[ca.id] == ca {
		delete(p.calls, ca.id)
	}
}

// fail completes all calls that await an answer on the session.
func (p *pending) fail(s *session, err error) {
	var failed []*call
	p.mu.Lock()
	for id, ca := range p.calls {
		if ca.session == s {
			failed = append(failed, ca)
			delete(p.calls, id)
		}
	}
	p.mu.Unlock()
	for _, ca := range failed {
		ca.complete(0, err)
	}
}
