package transport

import (
	"log/slog"
	"net/netip"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// cause is why the transport itself refused something. Causes are few and fixed: they label metrics, and those of
// frames are the reasons in close frames.
type cause string

const (
	causeFrame            cause = "invalid frame"
	causeClose            cause = "invalid close frame"
	causeUTF8             cause = "invalid text encoding"
	causeFragments        cause = "too many fragments"
	causeUnfinished       cause = "message unfinished for too long"
	causeHandshakeTimeout cause = "handshake timeout"
	causeDescriptors      cause = "out of file descriptors"
	causeLimit            cause = "connection limit"
	causeAddress          cause = "connection limit of an address"
	causeService          cause = "refused by service type"
	causeRecord           cause = "invalid TLS record"
	causeQueues           cause = "send queues full"
	causeChunk            cause = "message too big for a tcp client"
	causePipelined        cause = "requests sent before an answer"
)

var causes = [...]cause{
	causeFrame, causeClose, causeUTF8, causeFragments, causeUnfinished, causeHandshakeTimeout, causeDescriptors, causeLimit, causeAddress,
	causeService, causeRecord, causeQueues, causeChunk, causePipelined,
}

// count notes one refusal of a connection.
func (s *Server) count(why cause, attrs ...slog.Attr) { s.countAs("connection refused", why, attrs...) }

// countUnsent notes one message that was not sent to a client.
func (s *Server) countUnsent(why cause, to netip.AddrPort) {
	s.countAs("message not sent", why, slog.String("to", to.String()))
}

// countAs notes one refusal, and logs it as msg.
func (s *Server) countAs(msg string, why cause, attrs ...slog.Attr) {
	for i, c := range causes {
		if c == why {
			s.refusals[i].Add(1)
			s.opts.Log.Warn(msg, string(why), attrs...)
		}
	}
}

// countRejection notes one refused handshake. Those that an Endpoint refused are counted as one cause: it counts them by
// causes of its own.
func (s *Server) countRejection(why *Rejection, r *Request, from netip.AddrPort) {
	for i, known := range handshake.Rejections() {
		if known == why {
			s.rejected[i].Add(1)
			s.opts.Log.Warn("handshake refused", why.Cause, append(fromAttr(from), remedy(why, r)...)...)
			return
		}
	}
	s.count(causeService)
}

// maxLogged is how much of a header field a log line repeats, in bytes.
const maxLogged = 256

// remedy is what an operator needs to allow what was refused, for the log.
func remedy(why *Rejection, r *Request) []slog.Attr {
	switch why {
	case handshake.RejectOrigin:
		return []slog.Attr{slog.String("origin", string(r.Origin[:min(len(r.Origin), maxLogged)])), slog.String("flag", "--allowed-origins")}
	case handshake.RejectMisdirected:
		return []slog.Attr{slog.String("host", string(r.Host[:min(len(r.Host), maxLogged)])), slog.String("flag", "--allowed-hosts")}
	}
	return nil
}

// fromAttr is the address of a refused client, for the log; nothing if the connection had broken already.
func fromAttr(from netip.AddrPort) []slog.Attr {
	if !from.IsValid() {
		return nil
	}
	return []slog.Attr{slog.String("from", from.String())}
}
