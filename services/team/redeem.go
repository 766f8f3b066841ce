package team

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

const (
	// redeemTimeout is how long another instance may take to say whether a ticket of its own is good.
	redeemTimeout = 2 * time.Second
	// maxPending bounds the connections of a loop that wait for that.
	maxPending = 4096
)

// What instances ask each other about tickets, in the inbox of the loop that issued the ticket, and answer in that of the
// loop that asked.
const (
	eventRedeem   = "redeem"
	eventRedeemed = "redeemed"
)

// redeemQuestion asks whether a ticket is good, and uses it up.
type redeemQuestion struct {
	Number uint64 `json:"number"`
	Reply  string `json:"reply"` // the inbox of whoever asks
	Secret string `json:"secret"`
	Team   string `json:"team"` // the text of the team's id
}

// redeemAnswer says so.
type redeemAnswer struct {
	Number uint64  `json:"number"`
	Why    refusal `json:"why"`
	Team   rtm.ID  `json:"team"`            // as it was asked for
	Token  string  `json:"token,omitempty"` // the name of the token that the ticket was given to; empty for none
}

// ask asks the instance that issued a ticket whether it is good. Until it answers the connection waits. It returns false
// if too many do.
func (l *loop) ask(c *teamConn, box inbox, s secret, text string) bool {
	if len(l.pending) >= maxPending {
		return false
	}
	l.question++
	c.question = l.question
	l.pending[c.question] = c
	l.s.count.asked.Add(1)
	c.peer.Pause()
	data, _ := json.Marshal(redeemQuestion{ // text is valid UTF-8: nothing here can fail
		Number: c.question, Reply: hex.EncodeToString(l.inbox[:]), Secret: hex.EncodeToString(s[:]), Team: text,
	})
	number := l.question
	l.on.PublishAndHear(message(box.group(), eventRedeem, data), func(_ int, code opcodes.ErrorCode) { l.asked(number, code) })
	return true
}

// asked follows the question on its way.
func (l *loop) asked(number uint64, code opcodes.ErrorCode) {
	c := l.pending[number]
	if c == nil {
		return
	}
	switch code {
	case opcodes.CodeNoReceiver: // whoever issued the ticket, if anybody did, is gone, and the Global connection with it
		c.refuse(refusedTicket)
	case opcodes.CodeBrokerUnavailable:
		c.refuse(refusedTimeout)
	default: // handed over, or nobody knows: time will tell
	}
}

// mail is told of what comes to the loop's inbox.
func (l *loop) mail(m *opcodes.Envelope) {
	switch string(m.Event) {
	case eventRedeem:
		var q redeemQuestion
		if json.Unmarshal(m.Data, &q) == nil {
			l.answer(&q)
		}
	case eventRedeemed:
		var a redeemAnswer
		if json.Unmarshal(m.Data, &a) == nil {
			l.on.Post(func() { l.redeemed(&a) }) // not while a message is being delivered
		}
	}
}

// answer answers another instance's question about a ticket.
func (l *loop) answer(q *redeemQuestion) {
	var s secret
	var reply inbox
	if !unhex(s[:], q.Secret) || !unhex(reply[:], q.Reply) {
		return
	}
	a := redeemAnswer{Number: q.Number}
	var grant *auth.Grant
	a.Team, grant, a.Why = l.s.redeem(s, q.Team)
	if grant != nil {
		a.Token = grant.Name
	}
	data, err := json.Marshal(a)
	if err != nil {
		return // a token's name that is not UTF-8
	}
	l.send(reply.group(), eventRedeemed, data)
}

// unhex decodes s, which must fill dst.
func unhex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// redeemed follows the answer to a question.
func (l *loop) redeemed(a *redeemAnswer) {
	c := l.pending[a.Number]
	if c == nil {
		return
	}
	if a.Why != granted {
		c.refuse(min(a.Why, numRefusals-1))
		return
	}
	var grant *auth.Grant
	if a.Token != "" {
		var ok bool
		// The rights are those that the token has here, and end when it ends here.
		if grant, ok = l.s.hub.GrantNamed(a.Token); !ok || !grant.MayJoin(teamsGroup) {
			c.refuse(refusedToken)
			return
		}
	}
	delete(l.pending, c.question)
	c.question = 0
	c.peer.Resume()
	c.identify(a.Team, grant)
}

// refuse ends a connection that waited, with the reason that would have been the answer to its handshake.
func (c *teamConn) refuse(why refusal) {
	l := c.loop
	delete(l.pending, c.question)
	c.question = 0
	l.s.refuse(why)
	code := ws.StatusPolicyViolation
	if why == refusedTimeout {
		code = 1013 // try again later
	}
	line := refusals[why].Line
	c.end(why.String(), uint16(code), cut(line, 120), newFrame(&rtm.Frame{Type: rtm.Error, Text: line}))
}
