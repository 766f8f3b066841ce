package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// session is one connection of a team.
type session struct {
	*socket
	t *team

	ended    chan struct{} // closed by end
	endOnce  sync.Once
	endErr   error // cause; set before ended is closed
	closing  sync.WaitGroup
	stalled  atomic.Bool            // the reader waits for the outbox, so a missing pong says nothing about the server
	pongs    chan rtm.ID            // to the pinger; capacity 1
	awaited  atomic.Pointer[rtm.ID] // id of the open ping
	greeted  bool                   // owned by the reader: a valid frame arrived
	watchdog *time.Timer            // for the hello
	pinging  sync.WaitGroup
	cause    error // owned by the reader: cause from a frame that ends the connection
}

// openSession requests the team's URL and opens its connection.
func (b *Bridge) openSession(life context.Context, t *team) (*session, error) {
	raw, err := b.requestURL(life, t)
	if err != nil {
		return nil, err
	}
	u, err := parseURL(raw)
	if err != nil {
		return nil, fail(ReasonBadURL, err)
	}
	socket, err := b.dialSocket(life, u, nil, b.guard.dial, b.dials)
	if err != nil {
		return nil, err
	}
	return &session{socket: socket, t: t, ended: make(chan struct{}), pongs: make(chan rtm.ID, 1)}, nil
}

// end ends the connection; the first cause wins. code 0 means without a Close frame. Any goroutine may call it.
func (s *session) end(err error, code websocket.StatusCode) {
	s.endOnce.Do(func() {
		s.endErr = err
		close(s.ended)
		if code == 0 {
			_ = s.ws.CloseNow()
			return
		}
		_ = s.ws.Close(code, "")
	})
}

// serve reads the connection until it or the team's life ends. It returns whether the server sent any valid frame, and
// the cause of the end.
func (s *session) serve(life context.Context) (connected bool, err error) {
	s.closing.Add(1)
	stop := context.AfterFunc(life, func() {
		defer s.closing.Done()
		cause := context.Cause(life)
		s.drain()
		s.end(fail(lifeReason(cause), cause), websocket.StatusNormalClosure)
	})
	s.watchdog = time.AfterFunc(s.b.opts.ConnectTimeout, func() {
		s.end(fail(ReasonNoHello, errors.New("the connection is open, but the server sent no frame")), websocket.StatusPolicyViolation)
	})
	s.readAllFrames()
	s.watchdog.Stop()
	if stop() {
		s.closing.Done()
	}
	s.closing.Wait()
	s.pinging.Wait()
	if s.greeted {
		reason := reasonOf(s.endErr)
		s.b.counts.ended.add(reason)
		s.t.setPhase(phaseWaiting)
		if life.Err() == nil {
			s.b.rate.Warn("a team's connection ended", string(reason), teamAttr(s.t), errAttr(s.endErr))
		}
		s.b.queueEvent(s.t, eventDisconnected, teamDataWith(s.t.id, "reason", string(reason)))
	}
	return s.greeted, s.endErr
}

// drainTimeout bounds the wait for frames under way before a connection is closed.
const drainTimeout = 2 * time.Second

// drain waits until the reader has read all frames that the server has sent so far: the pong comes behind them. Closing
// would discard them.
func (s *session) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	_ = s.ws.Ping(ctx) // without an answer there is nothing to wait for
}

// lifeReason returns the reason for the end of a team's life.
func lifeReason(cause error) Reason {
	switch {
	case errors.Is(cause, errLeft):
		return ReasonLeft
	case errors.Is(cause, errGoodbye):
		return ReasonGoodbye
	}
	return ReasonShutdown
}

// readAllFrames reads until the connection ends, and sets the cause.
func (s *session) readAllFrames() {
	for {
		if err := s.read(s.frame); err != nil {
			s.end(endOf(err), 0)
			return
		}
		if s.cause != nil {
			s.end(s.cause, websocket.StatusNormalClosure)
			return
		}
	}
}

// frame handles one message of the server.
func (s *session) frame(msg []byte, text bool) {
	f, ok := s.b.parse(msg, text)
	if !ok {
		return
	}
	switch f.Type {
	case rtm.Hello:
		s.greet()
	case rtm.Message:
		s.greet()
		s.message(f.Text)
	case rtm.Pong:
		s.pong(f.UniqueID)
	case rtm.TeamLeft:
		s.left(f.TeamID)
	case rtm.Goodbye:
		s.cause = fail(ReasonGoodbye, errGoodbye)
	case rtm.Error:
		s.b.badInput(badServerError, f.Text)
	default:
		s.b.badInput(badMisplaced, string(f.Type))
	}
}

// greet notes the first valid frame: now the team is connected.
func (s *session) greet() {
	if s.greeted {
		return
	}
	s.greeted = true
	s.watchdog.Stop()
	s.t.setPhase(phaseConnected)
	s.b.counts.connects.Add(1)
	if s.t.connects.Add(1) > 1 {
		s.b.counts.reconnects.Add(1)
	}
	s.b.queueEvent(s.t, eventConnected, teamData(s.t.id))
	s.pinging.Go(s.ping)
}

// message counts a message and queues it for the hub. It waits while there is no room.
func (s *session) message(text string) {
	s.t.messages.Add(1)
	s.b.counts.received.Add(1)
	if strings.Contains(text, "props") {
		s.t.props.Add(1)
		s.b.counts.props.Add(1)
	}
	data := teamDataWith(s.t.id, "text", text)
	if limit := s.b.hubLimit.Load(); limit > 0 && int64(len(data)) > limit {
		s.b.counts.outcome(eventMessage, outTooBig)
		s.b.rate.Warn("a message is larger than the hub takes", string(outTooBig), teamAttr(s.t))
		return
	}
	s.stalled.Store(true)
	s.b.queueEvent(s.t, eventMessage, data)
	s.stalled.Store(false)
}

// left handles a team.left on the team's own connection. One that names another team is invalid.
func (s *session) left(id rtm.ID) {
	if !id.IsZero() && id != s.t.id {
		s.b.badInput(badUnknownTeam, "team.left for another team")
		return
	}
	s.b.teams.leave(s.t.id)
}

// pong handles a pong. One without an open ping is ignored.
func (s *session) pong(id rtm.ID) {
	if awaited := s.awaited.Load(); awaited == nil || *awaited != id || !s.awaited.CompareAndSwap(awaited, nil) {
		s.b.badInput(badPong, "")
		return
	}
	s.pongs <- id // there is room: the pinger receives it before the next ping
}

// ping pings the server at intervals, and ends the connection if it does not answer.
func (s *session) ping() {
	timer := time.NewTimer(rand.N(s.b.opts.PingInterval + 1)) // not all at once
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.ended:
			return
		}
		id := rtm.IntID(s.b.pings.Add(1))
		s.awaited.Store(&id)
		f := rtm.Frame{Type: rtm.Ping, UniqueID: id}
		if err := s.write(context.Background(), f.Append(nil)); err != nil {
			s.end(fail(ReasonLost, err), 0)
			return
		}
		if !s.awaitPong(timer) {
			return
		}
		timer.Reset(s.b.opts.PingInterval)
	}
}

// awaitPong waits for the pong. Time in which the reader waits for the hub does not count.
func (s *session) awaitPong(timer *time.Timer) bool {
	for {
		timer.Reset(s.b.opts.PongTimeout)
		select {
		case <-s.pongs:
			return true
		case <-s.ended:
			return false
		case <-timer.C:
		}
		if !s.stalled.Load() {
			break
		}
	}
	s.end(fail(ReasonPongTimeout, errors.New("a ping was not answered")), 0)
	return false
}
