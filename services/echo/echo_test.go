package echo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// texts are texts of all kinds.
var texts = []string{
	"hello", "", " ", "a b", "line\nline\r\n", "\x00\x01\x1f\x7f", "größe 漢字 \U0001F600 \u2028", `"quoted" \n <b>&amp;</b>`,
	`{"key":1,"text":"x"}`, `1,"text":"x"}`, "message x", "ok ", strings.Repeat("x", 32<<10-8), strings.Repeat("\x01", 32<<10-8),
}

func TestMessageAndOK(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	only := n.dial()
	for _, text := range texts {
		only.send("message " + text)
		only.want("message " + text)
		only.send("ok " + text)
		only.want("ok " + text)
	}
	if sent := len(texts); n.metric("messages_total") != sent || n.metric("oks_total") != sent || n.metric("answered_total") != sent || n.metric("unasked_oks_total") != 0 {
		t.Error(n.echo.Metrics())
	}
	only.leave()
	n.awaitZero()
}

func TestEverybodyWhoWaitsIsTold(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	var all []*talker
	for range 8 {
		all = append(all, n.dial())
	}
	for _, c := range all[:5] {
		c.send("message x")
	}
	n.awaitMetric("waiting", 5)
	n.awaitMetric("given", 5)
	all[7].send("ok x") // a client may send an ok without having been given the message
	n.awaitMetric("answered_total", 5)
	for i, c := range all {
		got := 0
		c.send("message fence") // one fence each: the message before it has been answered
		c.send("ok fence")
		for s := ""; s != "ok fence"; {
			if s = c.read(); s == "ok x" {
				got++
			}
		}
		if want := map[bool]int{true: 1}[i < 5]; got != want {
			t.Errorf("connection %d was told %d times, want %d", i, got, want)
		}
	}
	for _, c := range all {
		c.leave()
	}
	n.awaitZero()
}

func TestNobodyIsToldTwice(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	c := n.dial()
	c.send("message x")
	c.send("message x")
	c.want("message x")
	c.want("message x")
	n.awaitMetric("waiting", 1)
	n.awaitMetric("given", 1)
	c.send("ok x")
	c.send("ok x")
	c.want("ok x")
	c.send("message y")
	c.want("message y") // and no second ok before it
	n.awaitMetric("unasked_oks_total", 1)
}

func TestPassedOnWhenTheReceiverLeaves(t *testing.T) {
	t.Parallel()
	for _, abrupt := range []bool{false, true} {
		n := alone(t, DefaultLimits())
		sender := n.dial()
		holders := []*talker{n.dial(), n.dial()}
		sender.send("message y")
		n.awaitMetric("given", 1)
		for _, h := range holders {
			if abrupt {
				_ = h.conn.CloseNow()
			} else {
				h.leave()
			}
		}
		n.awaitClients(1)
		sender.want("message y") // the sender is the only connection left
		if n.metric("returned_total") != n.metric("passed_on_total") {
			t.Error(n.echo.Metrics())
		}
		sender.send("ok y")
		sender.want("ok y")
		sender.leave()
		n.awaitZero()
	}
}

// One ok answers all messages of the same text that a connection was given, from several senders.
func TestOneOKForEqualTexts(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	a, b := n.dial(), n.dial()
	for i := range 20 { // in half of the rounds one receiver is given both
		for _, c := range []*talker{a, b} {
			c.send(fmt.Sprint("message ", i))
		}
		n.awaitMetric("given", 2)
		for _, c := range []*talker{a, b} {
			c.send(fmt.Sprint("ok ", i))
		}
		n.awaitMetric("given", 0)
		n.awaitMetric("waiting", 0)
	}
}

// Messages that take several turns of the loop to pass on are all passed on.
func TestManyMessagesArePassedOn(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.Waiting, limits.Given = 2000, 2000
	n := start(t, memory.NewBus().Broker(), limits, 1)
	sender, holder := n.dial(), n.dial()
	const messages = 4 * returnsPerTurn
	for i := range messages {
		sender.send(fmt.Sprint("message ", i))
	}
	n.awaitMetric("given", messages)
	holder.leave()
	n.awaitClients(1)
	n.awaitMetric("given", messages)
	if returned := n.metric("returned_total"); returned <= returnsPerTurn || n.metric("passed_on_total") != returned {
		t.Error(n.echo.Metrics())
	}
	sender.leave()
	n.awaitZero()
}

func TestNotPassedOnWhenNobodyWaits(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), DefaultLimits(), 1)
	holder := n.dial()
	for i := range 50 {
		sender := n.dial()
		sender.send("message z")
		n.awaitMetric("messages_total", i+1) // with one loop it is given by now
		sender.leave()
		n.awaitClients(1)
		n.awaitMetric("waiting", 0)
	}
	if n.metric("given") == 0 {
		t.Error("in 50 draws the other connection was never drawn")
	}
	bystander := n.dial()
	holder.leave()
	n.awaitClients(1)
	n.awaitMetric("given", 0)
	if n.metric("passed_on_total") != 0 {
		t.Error("a message was passed on without a waiting sender")
	}
	bystander.send("message fence")
	bystander.want("message fence")
}

// A message that makes its receivers leave is given up after Passes of them.
func TestPassesAreBounded(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.Passes = 5
	n := start(t, memory.NewBus().Broker(), limits, 1)
	sender := n.raw() // never looks at what it gets
	if err := sender.Send("message poison"); err != nil {
		t.Fatal(err)
	}
	n.awaitMetric("waiting", 1)
	for n.metric("given_up_total") == 0 {
		victim := n.dial()
		l := n.echo.loops[0]
		taken := make(chan bool)
		l.on.Post(func() { // the sender drops the messages that it was given itself
			c := l.waiting.byHash[l.hash([]byte("poison"))].conn
			own := len(c.owes) > 0
			if own {
				l.count.given.Add(-int64(len(c.owes)))
				l.giveBack(c.owes)
				c.owes = nil
			}
			taken <- own
		})
		<-taken
		victim.leave()
		n.awaitClients(1)
	}
	if got := n.metric("passed_on_total"); got != 5 {
		t.Errorf("passed on %d times, want 5", got)
	}
	n.awaitMetric("waiting", 1)
}

func TestInvalidFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	for i, frame := range []string{"", "message", "ok", "hello", "Message x", `{"op":3}`, " ok x"} {
		c := n.dial()
		c.send(frame)
		c.wantClosed(websocket.StatusCode(opcodes.InvalidPayload.CloseCode()), "INVALID_PAYLOAD")
		n.awaitMetric("refused_frame_total", i+1)
		n.awaitZero()
	}
	c := n.dial()
	if err := c.conn.Write(c.ctx, websocket.MessageBinary, []byte("message x")); err != nil {
		t.Fatal(err)
	}
	c.wantClosed(4002, "INVALID_PAYLOAD")
	c = n.dial()
	c.send("message " + strings.Repeat("x", 32<<10-7))
	c.wantClosed(websocket.StatusMessageTooBig, "MESSAGE_TOO_BIG")
	n.awaitZero()
	if n.metric("messages_total") != 0 {
		t.Error("a message was accepted")
	}
}
