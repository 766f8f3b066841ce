package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pinned are messages that must go over one connection, whichever sends the others: answers to requests that came over it,
// and what is said of requests that were sent over it.
type pinned struct {
	wake chan struct{} // wakes up the writer; capacity 1

	mu    sync.Mutex
	calls []*call
	ended bool // nothing is written any more
}

// post has the session write a message. Where it has ended, the message fails.
func (s *session) post(ca *call) {
	s.pinned.mu.Lock()
	ended := s.pinned.ended
	if !ended {
		s.pinned.calls = append(s.pinned.calls, ca)
	}
	s.pinned.mu.Unlock()
	if ended {
		ca.complete(0, ErrRequestOver)
		return
	}
	signal(s.pinned.wake)
}

// take returns the messages to write.
func (p *pinned) take(end bool) []*call {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = p.ended || end
	calls := p.calls
	p.calls = nil
	return calls
}

// writePinned writes what was posted. It returns false when the session has ended.
func (s *session) writePinned() bool {
	var written []*call
	var err error
	s.link.cork()
	for _, ca := range s.pinned.take(false) {
		if err != nil {
			ca.complete(0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
			continue
		}
		if !ca.claim() {
			continue
		}
		written = append(written, ca)
		err = s.conn.Write(context.Background(), websocket.MessageText, ca.frame)
	}
	if flushErr := s.link.uncork(); err == nil {
		err = flushErr
	}
	if err != nil {
		err = fmt.Errorf("write: %w", err)
		s.end(err)
	}
	s.reportWritten(written, err)
	return err == nil
}

// isLeaving reports whether nothing can be sent over the session any more.
func (s *session) isLeaving() bool {
	s.pinned.mu.Lock()
	defer s.pinned.mu.Unlock()
	return s.pinned.ended
}

// dutyTime is how long a connection that the Client leaves waits for the answers to the requests that came over it last.
const dutyTime = 2 * time.Second

// finishDuties goes on to write answers until none is owed, and then nothing more.
func (s *session) finishDuties() {
	timer := time.NewTimer(dutyTime)
	defer timer.Stop()
	tick := time.NewTicker(moveTick)
	defer tick.Stop()
	for s.c.duties.count(s) > 0 {
		select {
		case <-s.pinned.wake:
			if !s.writePinned() {
				return
			}
		case <-tick.C:
		case <-timer.C:
			return
		case <-s.ended:
			return
		case <-s.c.closing.Done():
			return
		}
	}
	s.writePinned()
}

// endPinned fails what was posted and will not be written.
func (s *session) endPinned() {
	for _, ca := range s.pinned.take(true) {
		ca.complete(0, ErrRequestOver)
	}
}
