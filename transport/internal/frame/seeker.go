package frame

import "github.com/gobwas/ws"

// Seeker finds the close frame in what a client sends, and passes over all other frames without looking at what is in
// them. Its zero value expects the beginning of a frame.
type Seeker struct {
	skip int64                // bytes of the current frame that have not arrived
	head [maxHeaderBytes]byte // the incomplete header of the next
	n    uint8                // bytes of head
	last bool                 // the current frame is a close frame
	lost bool
}

// maxHeaderBytes is the longest header of a client's frame (RFC 6455 section 5.2).
const maxHeaderBytes = 14

// maxSkip is the longest frame that is passed over, in bytes: no client gets through more than the transport discards.
const maxSkip = 4 << 20

// Lose gives up the search: the bytes that follow are no frames.
func (s *Seeker) Lose() { s.lost = true }

// Lost reports whether the search was given up.
func (s *Seeker) Lost() bool { return s.lost }

// Seek reports whether the next bytes of the stream contain the end of a close frame.
func (s *Seeker) Seek(p []byte) bool {
	for len(p) > 0 && !s.lost {
		if s.skip > 0 {
			n := min(s.skip, int64(len(p)))
			s.skip -= n
			if p = p[n:]; s.last && s.skip == 0 {
				return true
			}
			continue
		}
		head := p
		if s.n > 0 {
			head = append(s.head[:s.n], p[:min(len(p), maxHeaderBytes-int(s.n))]...)
		}
		h, size, _, ok := ParseHeader(head)
		switch {
		case size == 0:
			s.n = uint8(copy(s.head[:], head))
			return false
		case !ok, h.Length > maxSkip:
			s.lost = true
			return false
		case h.OpCode == ws.OpClose && h.Length == 0:
			return true
		}
		p = p[size-int(s.n):]
		s.skip, s.n, s.last = h.Length, 0, h.OpCode == ws.OpClose
	}
	return false
}
