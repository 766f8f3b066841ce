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
	// redeemTimeout bounds the wait for another instance to redeem its ticket.
	redeemTimeout = 2 * time.Second
	// maxPending bounds the connections of a loop that wait so.
	maxPending = 4096
)

// Events about tickets between instances: a question goes to the inbox of the loop that issued the ticket, the answer
// to the inbox of the loop that asked.
const (
	eventRedeem   = "redeem"
	eventRedeemed = "redeemed"
)

// redeemQuestion asks the issuer to redeem a ticket.
type redeemQuestion struct {
	Number uint64 `json:"number"`
	Reply  string `json:"reply"` // the inbox for the answer
	Secret string `json:"secret"`
	Team   string `json:"team"` // the text of the team's id
}

// redeemAnswer is the result.
type redeemAnswer struct {
	Number uint64  `json:"number"`
	Why    refusal `json:"why"`
	Team   rtm.ID  `json:"team"`            // in the form of the team.connect
	Token  string  `json:"token,omitempty"` // name of the token of the ticket's holder; empty: none
}

// askIssuer asks the instance that issued a ticket to redeem it. The connection waits for the answer. It returns false
// if too many connections wait.
func (l *loop) askIssuer(c *teamConn, box inbox, s secret, text string) bool {
	if len(l.pending) >= maxPending {
		return false
	}
	l.question++
	c.question = l.question
	l.pending[c.question] = c
	l.s.count.asked.Add(1)
	c.peer.Pause()
	data, _ := json.Marshal(redeemQuestion{ // text is valid UTF-8, so this can't fail
		Number: c.question, Reply: hex.EncodeToString(l.inbox[:]), Secret: hex.EncodeToString(s[:]), Team: text,
	})
	number := l.question
	l.on.PublishAndHear(message(box.group(), eventRedeem, data), func(_ int, code opcodes.ErrorCode) { l.issuerAsked(number, code) })
	return true
}

// issuerAsked handles the broker's feedback about the question.
func (l *loop) issuerAsked(number uint64, code opcodes.ErrorCode) {
	c := l.pending[number]
	if c == nil {
		return
	}
	switch code {
	case opcodes.CodeNoReceiver: // the issuer, if there was one, is gone, and the Global connection with it
		c.refuse(refusedTicket)
	case opcodes.CodeBrokerUnavailable:
		c.refuse(refusedTimeout)
	default: // handed over or unknown: redeemTimeout decides
	}
}

// onInboxEvent handles the messages for the loop's inbox.
func (l *loop) onInboxEvent(m *opcodes.Envelope) {
	switch string(m.Event) {
	case eventRedeem:
		var q redeemQuestion
		if json.Unmarshal(m.Data, &q) == nil {
			l.answerRedeem(&q)
		}
	case eventRedeemed:
		var a redeemAnswer
		if json.Unmarshal(m.Data, &a) == nil {
			l.on.Post(func() { l.redeemed(&a) }) // identifying must not happen during a delivery
		}
	}
}

// answerRedeem redeems a ticket for another instance.
func (l *loop) answerRedeem(q *redeemQuestion) {
	var s secret
	var reply inbox
	if !unhex(s[:], q.Secret) || !unhex(reply[:], q.Reply) {
		return
	}
	a := redeemAnswer{Number: q.Number}
	var grant *auth.Grant
	a.Team, grant, a.Why = l.s.redeemHere(s, q.Team)
	if grant != nil {
		a.Token = grant.Name
	}
	data, err := json.Marshal(a)
	if err != nil {
		return // a token's name that is not UTF-8
	}
	l.publishTo(reply.group(), eventRedeemed, data)
}

// unhex decodes s, which must fill dst.
func unhex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// redeemed handles the answer to a question.
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
		// The rights are those of the token on this instance, and end with the token here.
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

// refuse ends a waiting connection with the reason that its handshake would have been refused with.
func (c *teamConn) refuse(why refusal) {
	l := c.loop
	delete(l.pending, c.question)
	c.question = 0
	l.s.reject(why)
	code := ws.StatusPolicyViolation
	if why == refusedTimeout {
		code = ws.StatusGoingAway // 1013 is a protocol error to older WebSocket libraries
	}
	line := refusals[why].Line
	c.end(why.String(), uint16(code), cut(line, 120), newFrame(&rtm.Frame{Type: rtm.Error, Text: line}))
}
