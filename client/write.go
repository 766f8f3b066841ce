package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
)

// batchMessages bounds how many messages wait for each other to be written together.
const batchMessages = 256

var (
	pingFrame    = []byte(`{"op":3}`)
	pongFrame    = []byte(`{"op":4}`)
	goodbyeFrame = []byte(`{"op":2}`)
)

// writeLoop writes what is queued until the session ends. A message that it took and could not begin to write stays in
// Client.carry for the next session.
func (s *session) writeLoop() {
	ping := s.identity.Ping
	tick := make(<-chan time.Time)
	if ping > 0 {
		ticker := time.NewTicker(max(ping/4, time.Millisecond))
		defer ticker.Stop()
		tick = ticker.C
	}
	if s.c.carry != nil && !s.writeBatch(s.c.carry) {
		return
	}
	for {
		ok := true
		select {
		case <-s.ended:
			return
		case <-s.c.closing.Done():
			s.goodbye()
			return
		case <-s.pong:
			ok = s.writeControl(pongFrame)
		case <-tick:
			ok = s.checkAlive(ping)
		case ca := <-s.c.queue:
			ok = s.writeBatch(ca)
		}
		if !ok {
			return
		}
	}
}

// checkAlive asks after a hub that was silent for a ping interval, and gives up one that stays silent. While the reader
// waits for handlers nothing can arrive: then it tells the hub that this end is alive, so that it decides by its rules
// for slow consumers and not by its ping.
func (s *session) checkAlive(ping time.Duration) bool {
	if s.stalled.Load() {
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
		if err := s.c.pending.add(ca); err != nil {
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
func (s *session) goodbye() {
	for {
		select {
		case ca := <-s.c.queue:
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
