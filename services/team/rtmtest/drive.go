package rtmtest

import (
	"context"
	"fmt"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// Join makes teams join. Present teams are announced again.
func (s *Server) Join(ids ...rtm.ID) {
	for _, id := range ids {
		s.mu.Lock()
		t := s.teams[id]
		if t == nil {
			t = &team{}
			s.teams[id] = t
		}
		t.present = true
		g := s.global
		s.notify()
		s.mu.Unlock()
		f := rtm.Frame{Type: rtm.TeamJoin, TeamID: id}
		if g != nil {
			g.write(string(f.Append(nil)))
		}
	}
}

// Leave makes a team leave and announces that on Global. The team need not exist.
func (s *Server) Leave(id rtm.ID) {
	s.mu.Lock()
	c := s.global
	s.remove(id)
	s.mu.Unlock()
	if c != nil {
		c.write(string((&rtm.Frame{Type: rtm.TeamLeft, TeamID: id}).Append(nil)))
	}
}

// LeaveOnTeam makes a team leave and announces that on its own connection, if there is one.
func (s *Server) LeaveOnTeam(id rtm.ID) {
	s.mu.Lock()
	var c *conn
	if t := s.remove(id); t != nil {
		c = t.sock
	}
	s.mu.Unlock()
	if c != nil {
		c.write(string((&rtm.Frame{Type: rtm.TeamLeft}).Append(nil)))
	}
}

// remove marks a team as gone and returns it, if it exists. mu must be held.
func (s *Server) remove(id rtm.ID) *team {
	t := s.teams[id]
	if t != nil {
		t.present = false
	}
	s.notify()
	return t
}

// Message sends a message to a team and counts it. It reports whether the team's connection was open.
func (s *Server) Message(id rtm.ID, text string) bool {
	f := rtm.Frame{Type: rtm.Message, Text: text}
	s.mu.Lock()
	t := s.teams[id]
	c := t.sock
	s.mu.Unlock()
	if c == nil || !c.write(string(f.Append(nil))) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.sent++
	t.props += countProps(text)
	return true
}

// SendTeam sends a raw frame on the team's connection, without counting it.
func (s *Server) SendTeam(id rtm.ID, frame string) bool {
	s.mu.Lock()
	c := s.teams[id].sock
	s.mu.Unlock()
	return c != nil && c.write(frame)
}

// SendGlobal sends a raw frame on the Global connection.
func (s *Server) SendGlobal(frame string) bool {
	s.mu.Lock()
	c := s.global
	s.mu.Unlock()
	return c != nil && c.write(frame)
}

// SendRaw writes raw bytes, frame headers included, to the team's connection and ends it.
func (s *Server) SendRaw(id rtm.ID, raw []byte) {
	if c := s.sendPart(id, raw); c != nil {
		c.drop()
	}
}

// SendPart writes raw bytes, frame headers included, to the team's connection, and nothing afterwards.
func (s *Server) SendPart(id rtm.ID, raw []byte) { s.sendPart(id, raw) }

func (s *Server) sendPart(id rtm.ID, raw []byte) *conn {
	s.mu.Lock()
	c := s.teams[id].sock
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Write(raw)
	return c
}

// Goodbye says goodbye on the Global connection and closes it.
func (s *Server) Goodbye() {
	s.mu.Lock()
	c := s.global
	s.mu.Unlock()
	if c != nil {
		c.write(`{"type":"goodbye"}`)
		c.bye(ws.StatusNormalClosure)
	}
}

// Drop ends the team's connection without a Close frame, as a broken network does. Data sent before still arrives.
func (s *Server) Drop(id rtm.ID) {
	s.mu.Lock()
	c := s.teams[id].sock
	s.mu.Unlock()
	if c != nil {
		c.drop()
	}
}

// DropGlobal ends only the Global connection.
func (s *Server) DropGlobal() {
	s.mu.Lock()
	c := s.global
	s.mu.Unlock()
	if c != nil {
		c.drop()
	}
}

// DropAll ends all connections at once.
func (s *Server) DropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.global != nil {
		s.global.drop()
	}
	for _, t := range s.teams {
		if t.sock != nil {
			t.sock.drop()
		}
	}
}

// Healthcheck sends a healthcheck and returns the answer.
func (s *Server) Healthcheck(ctx context.Context) ([]rtm.Stat, error) {
	s.mu.Lock()
	n := len(s.answers)
	s.mu.Unlock()
	if !s.SendGlobal(`{"type":"healthcheck"}`) {
		return nil, fmt.Errorf("rtmtest: there is no Global connection")
	}
	if err := s.Await(ctx, func() bool { return s.Answers() > n }); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers[n], nil
}

// Answers returns the number of healthcheck answers.
func (s *Server) Answers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.answers)
}

// Connected returns the number of teams with an open connection.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.teams {
		if t.sock != nil && t.sock.open.Load() {
			n++
		}
	}
	return n
}

// AwaitConnected waits until exactly n teams have an open connection.
func (s *Server) AwaitConnected(ctx context.Context, n int) error {
	if err := s.Await(ctx, func() bool { return s.Connected() == n }); err != nil {
		return fmt.Errorf("%d teams are connected, want %d: %w", s.Connected(), n, err)
	}
	return nil
}

// Changes returns the number of changes of the server's state.
func (s *Server) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// Globals returns the number of Global connections so far.
func (s *Server) Globals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.globals
}

// GlobalOpen reports whether there is a Global connection.
func (s *Server) GlobalOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.global != nil && s.global.open.Load()
}

// Asks returns the number of requests for the team's connection, Sockets the number opened with a valid ticket, and
// Replaced the number of those opened while another was open.
func (s *Server) Asks(id rtm.ID) int     { return s.team(id).asks }
func (s *Server) Sockets(id rtm.ID) int  { return s.team(id).sockets }
func (s *Server) Replaced(id rtm.ID) int { return s.team(id).replaced }

// Sent returns the entry of the team that a healthcheck answer should have, by the server's own count.
func (s *Server) Sent(id rtm.ID) rtm.Stat {
	t := s.team(id)
	return rtm.Stat{ID: id, Connected: t.sock != nil, MessageCount: t.sent, PropsCount: t.props}
}

func (s *Server) team(id rtm.ID) team {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.teams[id]; t != nil {
		return *t
	}
	return team{}
}

// AskRate returns the number of requests for connections since a time, and the greatest number within any window of the
// given length.
func (s *Server) AskRate(since time.Time, window time.Duration) (total, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := 0
	for i, at := range s.asks {
		if at.Before(since) {
			first = i + 1
			continue
		}
		for at.Sub(s.asks[first]) > window {
			first++
		}
		total++
		most = max(most, i-first+1)
	}
	return total, most
}
