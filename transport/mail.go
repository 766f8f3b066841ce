package transport

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// Mail is work that is posted to a loop.
type Mail interface {
	// Deliver does the work on the loop's goroutine.
	Deliver(l *Loop)
	// Size is the number of bytes that the mail keeps in memory until it is delivered; the inbox is bounded by it.
	Size() int
}

// wakeEvent is the epoll data of the eventfd.
const wakeEvent = -1

// mailOverhead is what a mail costs beside its own Size.
const mailOverhead = 64

// inbox is how other goroutines reach a loop: a slice that the loop swaps for an empty one, and an eventfd that is
// written only when the loop sleeps.
type inbox struct {
	evfd int
	high int // bytes beyond which the gate is held

	mu       sync.Mutex
	mail     []Mail
	accepted []accepted
	bytes    int
	sleeping bool // the loop is about to wait, or waits, for events
	held     bool // this inbox holds the gate
	room     *sync.Cond
	closed   bool
}

func (b *inbox) init(evfd, high int) {
	b.evfd, b.high = evfd, high
	b.room = sync.NewCond(&b.mu)
}

// Post hands m to the loop, in the order of the calls of each goroutine. It never blocks. It returns false if the loop
// has ended, and m is the caller's again.
func (l *Loop) Post(m Mail) bool {
	b := &l.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.putLocked(l, m)
}

// PostWait is Post for goroutines that may be slowed down: it first waits until the inbox is within its bound.
// A loop must not call it.
func (l *Loop) PostWait(m Mail) bool {
	b := &l.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.bytes > b.high && !b.closed {
		b.room.Wait()
	}
	return b.putLocked(l, m)
}

// putLocked adds m to the mail of l, whose inbox it is, unless l has ended. b.mu must be held.
func (b *inbox) putLocked(l *Loop, m Mail) bool {
	if b.closed {
		return false
	}
	b.mail = append(b.mail, m)
	b.addLocked(l, m.Size()+mailOverhead)
	return true
}

// addLocked counts n bytes of mail for l, whose inbox it is, and wakes it. b.mu must be held.
func (b *inbox) addLocked(l *Loop, n int) {
	b.bytes += n
	if b.bytes > b.high && !b.held {
		b.held = true
		l.srv.gate.Hold()
	}
	b.signalLocked()
}

// outbox is mail from one loop for another that leaves together: what a turn makes of several messages is then also
// handled, and written, together.
type outbox struct {
	mail  []Mail
	bytes int
}

// outboxes is a loop's mail for the others.
type outboxes struct {
	of  []outbox // by the index of the loop that it is for
	any bool     // there is mail in one of them
}

// maxOutbox is how many bytes of mail leave before the turn is over.
const maxOutbox = 256 << 10

// Forward hands m to another loop before this loop writes, in the order of the calls: mail for many is worth
// collecting. Mail that is posted may overtake what is forwarded. Forward must be called on l's goroutine. If the other
// loop has ended, m is lost.
func (l *Loop) Forward(to *Loop, m Mail) {
	o := l.outbox(to)
	o.mail = append(o.mail, m)
	o.bytes += m.Size() + mailOverhead
	l.outboxes.any = true
	if o.bytes > maxOutbox {
		o.moveTo(to)
	}
}

// ForwardUrgent is Forward for mail that the other loop should work on meanwhile, such as a message for one client: it
// leaves at once, unless other mail waits to leave before it.
func (l *Loop) ForwardUrgent(to *Loop, m Mail) {
	if len(l.outbox(to).mail) > 0 {
		l.Forward(to, m)
		return
	}
	to.Post(m)
}

// outbox returns the mail that is collected for another loop.
func (l *Loop) outbox(to *Loop) *outbox {
	if l.outboxes.of == nil {
		l.outboxes.of = make([]outbox, len(l.srv.loops))
	}
	return &l.outboxes.of[to.index]
}

// SendMail hands over what was forwarded so far. The loop does so at the end of each turn; before that it is for what another
// goroutine posts next, and must not overtake it. It must be called on the goroutine of l.
func (l *Loop) SendMail() {
	if !l.outboxes.any {
		return
	}
	l.outboxes.any = false
	for i := range l.outboxes.of {
		if o := &l.outboxes.of[i]; len(o.mail) > 0 {
			o.moveTo(l.srv.loops[i])
		}
	}
}

// moveTo moves the mail to the inbox of the loop that it is for.
func (o *outbox) moveTo(l *Loop) {
	b := &l.inbox
	b.mu.Lock()
	if !b.closed {
		b.mail = append(b.mail, o.mail...)
		b.addLocked(l, o.bytes)
	}
	b.mu.Unlock()
	clear(o.mail)
	o.mail, o.bytes = o.mail[:0], 0
}

// postAccepted hands over a connection.
func (l *Loop) postAccepted(a accepted) bool {
	b := &l.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.accepted = append(b.accepted, a)
	b.signalLocked()
	return true
}

// wake makes the loop take a turn.
func (l *Loop) wake() {
	l.inbox.mu.Lock()
	defer l.inbox.mu.Unlock()
	if !l.inbox.closed {
		l.inbox.signalLocked()
	}
}

// signalLocked wakes the loop if it sleeps. b.mu must be held.
func (b *inbox) signalLocked() {
	if !b.sleeping {
		return
	}
	b.sleeping = false
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// Each write makes one event (EPOLLET), so that the counter is never read. It can't overflow: it is written once per
	// sleep. An error would mean a closed descriptor, which b.closed rules out.
	_, _ = unix.Write(b.evfd, one[:])
}

// sleep reports whether the loop may wait for events; if so, the next post wakes it.
func (b *inbox) sleep() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sleeping = len(b.mail) == 0 && len(b.accepted) == 0
	return b.sleeping
}

// takeMail takes all that was posted, leaving the given empty slices in its place.
func (l *Loop) takeMail(mail []Mail, acc []accepted) ([]Mail, []accepted) {
	b := &l.inbox
	b.mu.Lock()
	b.sleeping = false
	mail, b.mail = b.mail, mail
	acc, b.accepted = b.accepted, acc
	b.bytes = 0
	held := b.held
	b.held = false
	b.room.Broadcast()
	b.mu.Unlock()
	if held {
		l.srv.gate.Release()
	}
	return mail, acc
}

// close refuses all further posts and returns what still waits.
func (l *Loop) closeInbox() ([]Mail, []accepted) {
	b := &l.inbox
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return l.takeMail(nil, nil)
}

// backlog returns the bytes that wait in the inbox.
func (b *inbox) backlog() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}
