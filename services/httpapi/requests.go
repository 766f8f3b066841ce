package httpapi

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// The members of a request's body that are no members of the envelope.
const (
	memberTimeout = "timeout_ms"
	memberReplies = "replies"
	memberExpect  = "expect" // in place of timeout_ms: it may have retry and key
)

const (
	// maxReplyBytes bounds the replies in one answer.
	maxReplyBytes = 4 << 20
	// maxHeldBytes bounds the replies that wait for the rest of their answers, on the instance.
	maxHeldBytes = 64 << 20
)

// asked is what a body asks for beside the message.
type asked struct {
	id    string // of the message
	first bool   // one reply is enough
}

// request is a request of a caller. While it is open it is a client of the hub, whose PeerHandler it is.
type request struct {
	loop     *loop
	peer     *hub.Peer
	exchange *transport.Exchange // nil until it is identified
	asked

	replies []byte // JSON, with a comma between two
	omitted int    // replies without room in it
	over    bool
	why     opcodes.Reason // of the end of its connection
}

// request handles a call of requestsPath.
func (l *loop) request(x *transport.Exchange, c *hub.Caller) {
	message, asked, status, detail := l.compose(x.Body)
	if status != 0 {
		l.refuse(x, status, detail)
		return
	}
	peer, rejection := l.on.OpenDetached(x, silence{})
	if rejection != nil {
		l.fail(x, rejection.Status, rejection.Line)
		return
	}
	q, ok := peer.Handler().(*request)
	if !ok { // the hub turned it away: there are too many connections, or it is about to end
		l.fail(x, http.StatusServiceUnavailable, "the instance takes no requests at the moment")
		return
	}
	q.exchange, q.asked = x, asked
	x.OnGone(func() {
		if !q.over {
			l.count.cancelledRequests.Add(1)
			q.end()
		}
	})
	if peer.IdentifyCaller(c); q.over {
		return
	}
	if err := peer.Ask(c, message); err != nil {
		status, detail := refusal(err, x.Body)
		q.fail(status, detail)
		return
	}
	l.count.requests.Add(1)
}

// compose makes the message of a request's body. status is not 0 where it is none.
func (l *loop) compose(body []byte) (message []byte, q asked, status int, detail string) {
	message, ok := opcodes.AppendEvent(nil, body)
	if !ok {
		message = body // which is refused
	}
	e := &l.envelope
	if err := e.Scan(message); err != nil {
		status, detail = refusal(err, body)
		return nil, q, status, detail
	}
	q.id = string(e.PlainID())
	timeout, replies := e.Member(memberTimeout), e.Member(memberReplies)
	switch string(replies) {
	case "", `"all"`:
	case `"first"`:
		q.first = true
	default:
		return nil, q, http.StatusUnprocessableEntity, `replies is neither "first" nor "all"`
	}
	if (timeout == nil) == (e.Expect == nil) {
		return nil, q, http.StatusUnprocessableEntity, "one of timeout_ms and expect is required"
	}
	p := append(make([]byte, 0, len(message)+128), `{"op":0`...)
	if q.id == "" {
		q.id = uuid.New().String()
		p = append(append(append(p, `,"id":"`...), q.id...), '"')
	}
	if timeout != nil {
		p = append(append(append(p, `,"expect":{"timeout_ms":`...), timeout...), '}')
	}
	e.EachMember(func(name, value []byte) {
		switch string(name) {
		case "op", memberTimeout, memberReplies:
			return
		case "id":
			if string(value) == "null" {
				return
			}
		}
		p = append(append(append(p, `,"`...), name...), `":`...)
		p = append(p, value...)
	})
	return append(p, '}'), q, 0, ""
}

// Receive implements hub.PeerHandler. Nothing is received.
func (q *request) Receive(bool, []byte) {}

// Identified implements hub.PeerHandler.
func (q *request) Identified() {}

// Sweep implements hub.PeerHandler. The request has its own deadline.
func (q *request) Sweep() {}

// Deliver implements hub.PeerHandler: it takes the replies.
func (q *request) Deliver(m *opcodes.Envelope) hub.Outcome {
	if q.over {
		return hub.Refused
	}
	if m.Op != opcodes.Reply || string(m.PlainID()) != q.id {
		return hub.Ignored
	}
	held := &q.loop.count.replyBytes
	before := len(q.replies)
	if size := before + len(m.Raw); size > maxReplyBytes || held.Load()+int64(len(m.Raw)) > maxHeldBytes {
		q.omitted++
		q.loop.count.omittedReplies.Add(1)
	} else {
		q.replies = appendReply(q.replies, m)
		held.Add(int64(len(q.replies) - before))
	}
	if q.first && !m.More {
		q.answer(nil)
	}
	return hub.Taken
}

// appendReply appends a reply as answers have it.
func appendReply(dst []byte, m *opcodes.Envelope) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"sender":"`...)
	dst = append(append(dst, m.Sender.String()...), '"')
	if m.Event != nil {
		dst = appendJSON(append(dst, `,"event":`...), string(m.Event))
	}
	if m.Data != nil {
		dst = append(append(dst, `,"data":`...), m.Data...)
	}
	if m.Failure != nil {
		dst = append(append(dst, `,"error":`...), m.Failure...)
	}
	if m.More {
		dst = append(dst, `,"more":true`...)
	}
	return append(dst, '}')
}

// Settled implements hub.RequestSender.
func (q *request) Settled(_ string, s *opcodes.Settlement) {
	if !q.over {
		q.answer(s)
	}
}

// answer answers the call. s is what became of the request; nil where the first reply is all that is asked for.
func (q *request) answer(s *opcodes.Settlement) {
	status, detail := http.StatusOK, ""
	if len(q.replies) == 0 && q.omitted == 0 && s != nil {
		status, detail = failure(s)
		q.loop.count.unansweredRequests.Add(1)
	}
	p, contentType := append(make([]byte, 0, len(q.replies)+256), '{'), jsonType
	if status != http.StatusOK {
		contentType = problemType
		p = append(appendProblem(p, status, detail), ',')
	}
	p = appendJSON(append(p, `"id":`...), q.id)
	p = append(append(append(p, `,"replies":[`...), q.replies...), ']')
	if q.omitted > 0 {
		p = strconv.AppendInt(append(p, `,"omitted":`...), int64(q.omitted), 10)
	}
	if s != nil {
		p = opcodes.AppendSettlement(append(p, ','), s)
	}
	q.end()
	q.exchange.Respond(status, contentType, append(p, '}'))
}

// failure returns the status and the explanation for a request without a reply.
func failure(s *opcodes.Settlement) (status int, detail string) {
	for i := range s.Missing {
		switch s.Missing[i].Reason {
		case opcodes.MissingUnavailable, opcodes.MissingOutcomeUnknown:
			return http.StatusServiceUnavailable, "other instances can't be reached at the moment; they may or may not have got the request"
		}
	}
	if s.Receivers == 0 {
		return http.StatusNotFound, "no client matches the intent"
	}
	return http.StatusGatewayTimeout, "no receiver answered in time; missing says why"
}

// fail answers the call with a problem.
func (q *request) fail(status int, detail string) {
	q.end()
	q.loop.fail(q.exchange, status, detail)
}

// end ends the client; what it asked for is cancelled.
func (q *request) end() {
	q.over = true
	q.loop.count.replyBytes.Add(-int64(len(q.replies)))
	q.peer.Close(goingAway, "", nil)
}

// goingAway is a close code that no one sees: the connection has no socket.
const goingAway = 1001

// Farewell implements hub.PeerHandler.
func (q *request) Farewell(r opcodes.Reason) *transport.Buffer {
	q.why = r
	return nil
}

// Closed implements hub.PeerHandler: the hub has ended the client.
func (q *request) Closed() {
	if q.over || q.exchange == nil {
		return
	}
	switch q.why {
	case opcodes.TryAgainLater:
		q.fail(http.StatusTooManyRequests, "the token has as many connections and open requests as it may have; try again later")
	case opcodes.Unauthorized:
		q.fail(http.StatusUnauthorized, "the token is not in force any more")
	default:
		q.fail(http.StatusServiceUnavailable, "the instance has ended the request ("+q.why.String()+"); its receivers may have got it")
	}
}

// silence is the transport.Carrier of a request: what is queued for its client, a ping at most, means nothing to a caller.
type silence struct{}

// Queued implements transport.Carrier.
func (silence) Queued(c *transport.Conn) {
	c.Take(maxReplyBytes, func(*transport.Buffer) bool { return true })
}

// Resumed implements transport.Carrier.
func (silence) Resumed(*transport.Conn) {}

// Released implements transport.Carrier.
func (silence) Released() {}
