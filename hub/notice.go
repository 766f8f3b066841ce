package hub

import (
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// sendDrain asks the client to connect again when after has passed, and to leave this connection then. deadline, counted
// from now, is when the caller is going to disconnect it; 0 for never. It returns false, and sends nothing, for a client
// that did not ask for such notices or is being disconnected. It belongs on the session's loop.
func (s *session) sendDrain(after, deadline time.Duration, reason opcodes.DrainReason) bool {
	if s.phase != phaseIdentified || !s.features.Has(opcodes.FeatureDrain) {
		return false
	}
	b := transport.AllocBuffer(opcodes.DrainSize)
	b.Seal(opcodes.AppendDrain(b.Room(), after, deadline, reason))
	sent := s.conn.Send(b)
	b.Release()
	s.told = s.told || sent
	if i := slices.Index(drainReasons[:], reason); sent && i >= 0 {
		s.shard.count.notices[i].Add(1)
	}
	return sent
}

// feedbackBytes is the room for an ERROR or ACK without the id.
const feedbackBytes = 256

func (s *session) sendAck(id []byte, instances int) {
	b := transport.AllocBuffer(feedbackBytes + len(id))
	b.Seal(opcodes.AppendAck(b.Room(), id, instances))
	s.conn.Send(b)
	b.Release()
}

func (s *session) sendNumberedAck(id []byte, offset uint64, duplicate bool) {
	b := transport.AllocBuffer(feedbackBytes + len(id))
	b.Seal(opcodes.AppendNumberedAck(b.Room(), id, offset, duplicate))
	s.conn.Send(b)
	b.Release()
}

func (s *session) sendError(id []byte, code opcodes.ErrorCode) {
	b := transport.AllocBuffer(feedbackBytes + len(id))
	b.Seal(opcodes.AppendError(b.Room(), id, code, explanation(code)))
	s.conn.Send(b)
	b.Release()
}
