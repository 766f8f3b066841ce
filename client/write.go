package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/opcodes"
)

// batchMessages bounds how many messages wait for each other to be written together.
const batchMessages = 256

var (
	pingFrame    = []byte(`{"op":3}`)
	pongFrame    = []byte(`{"op":4}`)
	goodbyeFrame = []byte(`{"op":2}`)
)

// order is what run tells the writer of a session.
type order uint8

const (
	startSending order = iota // take messages from the queue, as no other session does
	stopSending               // leave them to another session, from a last FENCE to it on
	leave                     // say DISCONNECT, write nothing more, let the reader read what the hub still has
	closeDown                 // write what is queued, if it is this session's to write, say DISCONNECT, and close
)

// maxOrders is more than a session gets before its writer looks.
const maxOrders = 8

// tell gives an order to the writer, unless the session has ended.
func (s *session) tell(o order) {
	s.told.Add(1)
	select {
	case s.orders <- o:
	case <-s.ended:
	}
}

// hasStopped tells run whether the writer stopped by its last order, rather than by one that was taken back.
func (s *session) hasStopped() bool { return s.stoppedAt.Load() == s.told.Load() }

// writeLoop writes what is queued until the session ends. A message that it took and could not begin to write stays in
// Client.carry for the next session.
func (s *session) writeLoop(sending bool) {
	ping := s.identity.Ping
	tick := make(<-chan time.Time)
	if ping > 0 {
		ticker := time.NewTicker(max(ping/4, time.Millisecond))
		defer ticker.Stop()
		tick = ticker.C
	}
	var queue <-chan *call
	if sending {
		queue = s.c.queue
	}
	for ok := !sending || s.writeCarried(); ok; {
		select {
		case <-s.ended:
			return
		case o := <-s.orders:
			queue, ok = s.obey(o, queue)
		case <-s.pong:
			ok = s.writeControl(pongFrame)
		case <-s.fence:
			ok = s.writeFence(false)
		case <-tick:
			ok = s.checkAlive(ping)
		case ca := <-queue:
			ok = s.writeBatch(ca)
		}
	}
}

// obey does as run says, and returns the queue to take messages from, and whether to go on.
func (s *session) obey(o order, queue <-chan *call) (<-chan *call, bool) {
	s.obeyed++
	switch o {
	case startSending:
		s.stoppedAt.Store(0)
		return s.c.queue, s.writeCarried()
	case stopSending:
		s.stoppedAt.Store(s.obeyed)
		return nil, s.writeFence(true)
	case leave:
		s.writeControl(goodbyeFrame)
	case closeDown:
		s.goodbye(queue)
	}
	return nil, false
}

// writeCarried writes the message that another session took and could not begin to write.
func (s *session) writeCarried() bool { return s.c.carry == nil || s.writeBatch(s.c.carry) }

// writeFence writes a FENCE to the other connection of a move; last says that no message follows it.
func (s *session) writeFence(last bool) bool {
	id, to := s.c.stream.fencing(s, last)
	if id == "" {
		return true
	}
	return s.writeControl(appendFence(id, to))
}

// appendFence returns a FENCE to the client of that id.
func appendFence(id, to string) []byte {
	return fmt.Appendf(nil, `{"op":%d,"id":%q,"intent":{"target":"DIRECT","identifier":%q}}`, opcodes.Fence, id, to)
}

// checkAlive asks after a hub that was silent for a ping interval, and gives up one that stays silent. While the reader
// waits for handlers nothing can arrive: then it tells the hub that this end is alive, so that it decides by its rules
// for slow consumers and not by its ping.
func (s *session) checkAlive(ping time.Duration) bool {
	if s.stalled.Load() > 0 {
		return s.writeControl(pongFrame)
	}
	switch silent := s.link.silent(); {
	case silent > 2*ping+silenceGrace:
		s.end(fmt.Errorf("%w for %v, although it was asked twice", ErrSilent, silent.Round(time.Millisecond)))
		return false
	case silent > ping:
		return s.writeControl(pingFrame)
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

// writeBatch writes ca and what else is queued in one go. It returns false when the session has ended.
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
		if taken, err = s.write(ca); taken {
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
	s.settle(written, err)
	return err == nil
}

// write registers and writes one message. It returns false if the message was not begun, because its sender gave up or
// it can't be sent at all.
func (s *session) write(ca *call) (bool, error) {
	if !ca.take() {
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
		return fmt.Errorf("%w: the message has %d bytes, the hub takes at most %d", ErrTooBig, len(ca.frame), limit)
	}
	return nil
}

// settle tells the plain senders of a batch what became of it. The others wait for the hub, or for the session's end.
func (s *session) settle(written []*call, err error) {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	for _, ca := range written {
		if ca.kind == callPlain {
			ca.complete(0, err)
		}
	}
}

// goodbye writes what is still queued, says DISCONNECT and closes the WebSocket.
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
	if !s.writeControl(goodbyeFrame) {
		return
	}
	_ = s.conn.Close(websocket.StatusNormalClosure, "")
	s.end(ErrClosed)
}
