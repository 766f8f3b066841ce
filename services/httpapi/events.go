package httpapi

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// jsonSpace is the white space of JSON (RFC 8259 §2).
const jsonSpace = " \t\r\n"

// publish handles a call of eventsPath.
func (l *loop) publish(x *transport.Exchange, c *hub.Caller) {
	body := bytes.Trim(x.Body, jsonSpace)
	if len(body) > 0 && body[0] == '[' {
		l.publishAll(x, c, body)
		return
	}
	err := l.send(c, body, func(r hub.Receipt) {
		p := append(l.answer[:0], '{')
		l.answer = append(appendReceipt(p, &r), '}')
		x.Respond(http.StatusAccepted, jsonType, l.answer)
	})
	if err != nil {
		status, detail := refusal(err, body)
		l.fail(x, status, detail)
	}
}

// send sends the event that body stands for.
func (l *loop) send(c *hub.Caller, body []byte, done func(hub.Receipt)) error {
	message, ok := opcodes.AppendEvent(l.message[:0], body)
	if !ok {
		message = body // which the hub refuses
	} else if cap(message) <= keptScratch {
		l.message = message
	}
	err := l.on.PublishAs(c, message, done)
	if err != nil {
		l.count.refusedEvents.Add(1)
		return err
	}
	l.count.events.Add(1)
	return nil
}

// batch is an array of events that is being sent.
type batch struct {
	loop     *loop
	exchange *transport.Exchange
	caller   *hub.Caller
	elements [][]byte
	outcomes []outcome
	sent     int  // elements so far
	open     int  // events whose receipts are to come
	gone     bool // the caller has hung up
}

// outcome is what became of one element.
type outcome struct {
	status  int
	receipt hub.Receipt // of one that was taken
	detail  string      // of any other
}

// batchTurn is how many events of a batch are sent in one turn of the loop.
const batchTurn = 64

// publishAll sends an array of events. Nothing is sent of one that is malformed.
func (l *loop) publishAll(x *transport.Exchange, c *hub.Caller, body []byte) {
	b := &batch{loop: l, exchange: x, caller: c}
	tooMany := false
	err := opcodes.Elements(body, func(element []byte) bool {
		tooMany = len(b.elements) == maxEvents
		b.elements = append(b.elements, element)
		return !tooMany
	})
	switch {
	case err != nil:
		_, detail := refusal(err, nil)
		l.refuse(x, http.StatusBadRequest, detail)
		return
	case tooMany:
		l.refuse(x, http.StatusRequestEntityTooLarge, "the array has more than "+strconv.Itoa(maxEvents)+" events")
		return
	}
	b.outcomes = make([]outcome, len(b.elements))
	x.OnGone(func() { b.gone = true })
	b.proceed()
}

// proceed sends the events of one turn.
func (b *batch) proceed() {
	if b.gone {
		return
	}
	for n := 0; n < batchTurn && b.sent < len(b.elements); n++ {
		i := b.sent
		b.sent++
		b.open++
		err := b.loop.send(b.caller, b.elements[i], func(r hub.Receipt) {
			b.outcomes[i] = outcome{status: http.StatusAccepted, receipt: r}
			b.open--
			b.finish()
		})
		if err != nil {
			b.open--
			o := &b.outcomes[i]
			o.status, o.detail = refusal(err, b.elements[i])
		}
	}
	if b.sent < len(b.elements) {
		b.loop.on.Post(b.proceed)
		return
	}
	b.finish()
}

// finish answers the call if all is known.
func (b *batch) finish() {
	if b.open > 0 || b.sent < len(b.elements) {
		return
	}
	p := append([]byte(nil), '[')
	for i := range b.outcomes {
		if i > 0 {
			p = append(p, ',')
		}
		o := &b.outcomes[i]
		p = append(p, '{')
		if o.status == http.StatusAccepted {
			p = append(p, `"status":202,`...)
			p = appendReceipt(p, &o.receipt)
		} else {
			p = appendProblem(p, o.status, o.detail)
		}
		p = append(p, '}')
	}
	b.exchange.Respond(http.StatusOK, jsonType, append(p, ']'))
}
