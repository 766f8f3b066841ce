package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/opcodes"
)

// batchMessages is the most messages in one write.
const batchMessages = 256

var (
	pingFrame    = []byte(`{"op":3}`)
	pongFrame    = []byte(`{"op":4}`)
	goodbyeFrame = []byte(`{"op":2}`)
	movedFrame   = []byte(`{"op":2,"data":` + opcodes.MovedData + `}`) // another connection has what this one does not answer
)

// mode is what the writer of a session is to do. Only the last one set counts, so that a writer that was blocked does nothing
// that has been revoked.
type mode uint32

const (
	waiting   mode = iota // send nothing from the queue: another session may
	sending               // send from the queue; no other session does
	leaving               // write DISCONNECT and nothing more; the reader goes on to the end
	revoking              // as leaving, on a connection that the move does not need
	closing               // write DISCONNECT and close
	finishing             // as closing, but write the queue before
)

func (s *session) setMode(m mode) {
	s.mode.Store(uint32(m))
	signal(s.wake)
}

// writeLoop writes queued messages until the session ends. A message that it took from the queue but did not begin to write
// stays in Client.carry for the next session.
func (s *session) writeLoop() {
	ping := s.identity.Ping
	tick := make(<-chan time.Time)
	if ping > 0 {
		ticker := time.NewTicker(max(ping/4, time.Millisecond))
		defer ticker.Stop()
		tick = ticker.C
	}
	var queue <-chan *call // nil while another session sends
	for ok := true; ok; {
		select {
		case <-s.ended:
			return
		case <-s.wake:
			queue, ok = s.enterMode()
		case <-s.pong:
			ok = s.writeControl(pongFrame)
		case <-s.fence:
			ok = s.writeFence()
		case frame := <-s.requests:
			ok = s.writeControl(frame)
		case <-tick:
			ok = s.checkAlive(ping)
		case <-s.pinned.wake:
			ok = s.writePinned()
		case ca := <-queue:
			ok = s.writeBatch(ca)
		}
	}
}

// enterMode returns the queue to send from, nil for none, and false if the writer must end.
func (s *session) enterMode() (queue <-chan *call, ok bool) {
	switch mode(s.mode.Load()) {
	case waiting:
		s.c.stream.stopped(s)
		return nil, true
	case sending:
		return s.c.queue, s.writeCarried()
	case leaving:
		s.finishDuties()
		s.endPinned()
		s.c.holds.leave(s)
		if s.c.duties.count(s) > 0 { // the new connection may have passed their copies
			s.writeControl(goodbyeFrame)
		} else {
			s.writeControl(movedFrame)
		}
	case revoking:
		s.endPinned()
		s.writeControl(movedFrame)
	case closing:
		s.goodbye(nil)
	case finishing:
		if s.writeCarried() {
			s.goodbye(s.c.queue)
		}
	}
	return nil, false
}

// writeCarried writes the message that another session took from the queue and did not begin to write.
func (s *session) writeCarried() bool { return s.c.carry == nil || s.writeBatch(s.c.carry) }

// writeFence writes a FENCE to the other connection of a move.
func (s *session) writeFence() bool {
	id, to := s.c.stream.nextFence(s)
	return id == "" || s.writeControl(appendFence(id, to))
}

// appendFence returns a FENCE to the client with the given id.
func appendFence(id, to string) []byte {
	return fmt.Appendf(nil, `{"op":%d,"id":%q,"intent":{"target":"DIRECT","identifier":%q}}`, opcodes.Fence, id, to)
}

// checkAlive sends a PING to a hub that was silent for a ping interval, and ends the session if the hub stays silent. While
// the reader waits for handlers, silence means nothing. The session then sends PONGs, so that the hub applies its rules for
// slow consumers and not its ping timeout.
//
// A pause of this process, such as SIGSTOP or a suspended machine, looks like silence too. So the hub has time to answer
// a PING after each pause.
func (s *session) checkAlive(ping time.Duration) bool {
	if s.stalled.Load() > 0 {
		s.liveness.heard()
		return s.writeControl(pongFrame)
	}
	silent := s.link.silence()
	switch s.liveness.check(time.Now(), silent, ping) {
	case askPeer:
		return s.writeControl(pingFrame)
	case givePeerUp:
		s.end(fmt.Errorf("%w for %v and did not answer PINGs", ErrSilent, silent.Round(time.Millisecond)))
		return false
	}
	return true
}

func (s *session) writeControl(frame []byte) bool {
	if err := s.conn.Write(context.Background(), websocket.MessageText, frame); err != nil {
		s.end(fmt.Errorf("write: %w", err))
		return false
	}
	return true
}

// writeBatch writes ca and other queued messages with one write. It returns false when the session has ended.
func (s *session) writeBatch(ca *call) bool {
	s.link.cork()
	var written []*call
	var err error
	for n, size := 0, 0; ca != nil && err == nil; n++ {
		select {
		case <-s.ended:
			s.c.carry = ca
			err = errors.New("session ended")
			continue
		default:
		}
		s.c.carry = nil
		size += len(ca.frame)
		var taken bool
		if taken, err = s.writeCall(ca); taken {
			written = append(written, ca)
		}
		if ca = nil; n < batchMessages && size < corkBytes {
			select {
			case ca = <-s.c.queue:
			default:
			}
		}
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

// writeCall registers and writes one message. It returns false if it wrote nothing, because the sender gave up or the message
// can't be sent.
func (s *session) writeCall(ca *call) (bool, error) {
	if ca.via != nil && ca.via != s {
		ca.via.post(ca)
		return false, nil
	}
	if !ca.claim() {
		return false, nil
	}
	if err := s.checkCall(ca); err != nil {
		ca.complete(0, err)
		return false, nil
	}
	if ca.kind != callPlain {
		if err := s.c.pending.add(ca, s); err != nil {
			ca.complete(0, err)
			return false, nil
		}
	}
	s.c.sent.add(ca)
	return true, s.conn.Write(context.Background(), websocket.MessageText, ca.frame)
}

func (s *session) checkCall(ca *call) error {
	if ca.kind == callAcked && !s.identity.has("acks") {
		return ErrNoAcks
	}
	return checkSize(ca, s.identity.MaxMessageBytes)
}

func checkSize(ca *call, limit int) error {
	if limit > 0 && len(ca.frame) > limit {
		return fmt.Errorf("%w: the message has %d bytes, the hub accepts at most %d", ErrTooBig, len(ca.frame), limit)
	}
	return nil
}

// reportWritten completes the plain calls of a batch. Other calls wait for the hub's answer or the session's end.
func (s *session) reportWritten(written []*call, err error) {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	for _, ca := range written {
		if ca.kind == callPlain {
			ca.complete(0, err)
		}
	}
}

// goodbye writes the queue and DISCONNECT, and closes the WebSocket.
func (s *session) goodbye(queue <-chan *call) {
	for {
		select {
		case ca := <-queue:
			if !s.writeBatch(ca) {
				return
			}
			continue
		default:
		}
		break
	}
	s.c.holds.leave(s)
	if !s.writeControl(goodbyeFrame) {
		return
	}
	_ = s.conn.Close(websocket.StatusNormalClosure, "")
	s.end(ErrClosed)
}
