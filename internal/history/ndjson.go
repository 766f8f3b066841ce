package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// line is one line of NDJSON: a session, or a batch of its sends or arrivals.
type line struct {
	Session int                `json:"session"`
	Name    string             `json:"name,omitempty"`
	Life    *life              `json:"life,omitempty"`
	Stamps  map[int32][]string `json:"stamps,omitempty"`
	Odd     *notes             `json:"odd,omitempty"`
	Leaks   *notes             `json:"leaks,omitempty"`
	Sent    []sentLine         `json:"sent,omitempty"`
	Got     [][3]int64         `json:"got,omitempty"` // when, sender's session, message
}

// sentLine is a send on the wire.
type sentLine struct {
	At      int64   `json:"at"`
	Settled int64   `json:"settled,omitempty"`
	Target  Target  `json:"target"`
	To      string  `json:"to,omitempty"`
	Outcome outcome `json:"outcome,omitempty"`
	Code    string  `json:"code,omitempty"`
}

// perLine bounds the messages of one line.
const perLine = 512

// WriteNDJSON writes the history, one JSON value a line.
func (h *History) WriteNDJSON(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(buf)
	for _, s := range h.table {
		if err := s.encode(enc); err != nil {
			return fmt.Errorf("write history of %v: %w", s, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func (s *Session) encode(enc *json.Encoder) error {
	head := line{Session: s.index, Name: s.name, Life: &s.life, Stamps: s.stamps, Odd: &s.oddities, Leaks: &s.leaks}
	if err := enc.Encode(head); err != nil {
		return err
	}
	for rest := s.sends; len(rest) > 0; {
		k := min(perLine, len(rest))
		l := line{Session: s.index, Sent: make([]sentLine, k)}
		for i, m := range rest[:k] {
			l.Sent[i] = sentLine{m.at, m.settled, m.to.Target, m.to.Name, m.outcome, m.code}
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
		rest = rest[k:]
	}
	for rest := s.arrivals; len(rest) > 0; {
		k := min(perLine, len(rest))
		l := line{Session: s.index, Got: make([][3]int64, k)}
		for i, a := range rest[:k] {
			l.Got[i] = [3]int64{a.at, int64(a.sender), int64(a.n)}
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
		rest = rest[k:]
	}
	return nil
}

// ReadNDJSON adds to h the sessions that another history wrote. Their numbers must be new to h.
func (h *History) ReadNDJSON(r io.Reader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := make(map[int]bool, len(h.table))
	for _, s := range h.table {
		known[s.index] = true
	}
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var current *Session
	for n := 1; ; n++ {
		var l line
		err := dec.Decode(&l)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read history, value %d: %w", n, err)
		case l.Life != nil:
			if known[l.Session] {
				return fmt.Errorf("read history, value %d: there are two sessions with the number %d", n, l.Session)
			}
			known[l.Session] = true
			current = l.open(h)
			h.table = append(h.table, current)
		case current == nil || current.index != l.Session:
			return fmt.Errorf("read history, value %d: session %d has not begun", n, l.Session)
		}
		l.addTo(current)
	}
}

func (l *line) open(h *History) *Session {
	s := &Session{h: h, index: l.Session, name: l.Name, life: *l.Life, stamps: l.Stamps}
	if l.Odd != nil {
		s.oddities = *l.Odd
	}
	if l.Leaks != nil {
		s.leaks = *l.Leaks
	}
	return s
}

func (l *line) addTo(s *Session) {
	for _, m := range l.Sent {
		s.sends = append(s.sends, send{m.At, m.Settled, To{m.Target, m.To}, m.Code, m.Outcome})
	}
	for _, a := range l.Got {
		s.arrivals = append(s.arrivals, arrival{a[0], int32(a[1]), int32(a[2])})
	}
}
