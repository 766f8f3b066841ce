package echo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker"
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
	n.await("waiting", 5)
	n.await("given", 5)
	all[7].send("ok x") // whether or not it was given it
	n.await("answered_total", 5)
	for i, c := range all {
		got := 0
		c.send("message fence") // of each its own: the one before it has been answered
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
	n.await("waiting", 1)
	n.await("given", 1)
	c.send("ok x")
	c.send("ok x")
	c.want("ok x")
	c.send("message y")
	c.want("message y") // and no second ok before it
	n.await("unasked_oks_total", 1)
}

func TestPassedOnWhenTheReceiverLeaves(t *testing.T) {
	t.Parallel()
	for _, abrupt := range []bool{false, true} {
		n := alone(t, DefaultLimits())
		sender := n.dial()
		holders := []*talker{n.dial(), n.dial()}
		sender.send("message y")
		n.await("given", 1)
		for _, h := range holders {
			if abrupt {
				_ = h.conn.CloseNow()
			} else {
				h.leave()
			}
		}
		n.awaitClients(1)
		sender.want("message y") // whoever had it, the sender is the only one left
		if n.metric("returned_total") != n.metric("passed_on_total") {
			t.Error(n.echo.Metrics())
		}
		sender.send("ok y")
		sender.want("ok y")
		sender.leave()
		n.awaitZero()
	}
}

// One ok answers all that a connection was given of one text, of several senders.
func TestOneOKForEqualTexts(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	a, b := n.dial(), n.dial()
	for i := range 20 { // in half of the rounds one of them is given both
		for _, c := range []*talker{a, b} {
			c.send(fmt.Sprint("message ", i))
		}
		n.await("given", 2)
		for _, c := range []*talker{a, b} {
			c.send(fmt.Sprint("ok ", i))
		}
		n.await("given", 0)
		n.await("waiting", 0)
	}
}

// What takes several turns of the loop is passed on entirely.
func TestManyMessagesArePassedOn(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.Waiting, limits.Given = 2000, 2000
	n := start(t, broker.NewMemory().Broker(), limits, 1)
	sender, holder := n.dial(), n.dial()
	const messages = 4 * returnsPerTurn
	for i := range messages {
		sender.send(fmt.Sprint("message ", i))
	}
	n.await("given", messages)
	holder.leave()
	n.awaitClients(1)
	n.await("given", messages)
	if returned := n.metric("returned_total"); returned <= returnsPerTurn || n.metric("passed_on_total") != returned {
		t.Error(n.echo.Metrics())
	}
	sender.leave()
	n.awaitZero()
}

func TestNotPassedOnWhenNobodyWaits(t *testing.T) {
	t.Parallel()
	n := start(t, broker.NewMemory().Broker(), DefaultLimits(), 1)
	holder := n.dial()
	for i := range 50 {
		sender := n.dial()
		sender.send("message z")
		n.await("messages_total", i+1) // with one loop it is given by now
		sender.leave()
		n.awaitClients(1)
		n.await("waiting", 0)
	}
	if n.metric("given") == 0 {
		t.Error("in 50 draws the other connection was never drawn")
	}
	bystander := n.dial()
	holder.leave()
	n.awaitClients(1)
	n.await("given", 0)
	if n.metric("passed_on_total") != 0 {
		t.Error("a message was passed on for which nobody waits")
	}
	bystander.send("message fence")
	bystander.want("message fence")
}

// A message that makes whoever gets it leave ends after so many.
func TestPassesAreBounded(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.Passes = 5
	n := start(t, broker.NewMemory().Broker(), limits, 1)
	sender := n.raw() // never looks at what it gets
	if err := sender.Send("message poison"); err != nil {
		t.Fatal(err)
	}
	n.await("waiting", 1)
	for n.metric("given_up_total") == 0 {
		victim := n.dial()
		l := n.echo.loops[0]
		taken := make(chan bool)
		l.on.Post(func() { // the sender loses it whenever it was drawn itself
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
	n.await("waiting", 1)
}

func TestInvalidFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	for i, frame := range []string{"", "message", "ok", "hello", "Message x", `{"op":3}`, " ok x"} {
		c := n.dial()
		c.send(frame)
		c.wantClosed(websocket.StatusCode(opcodes.InvalidPayload.CloseCode()), "INVALID_PAYLOAD")
		n.await("refused_frame_total", i+1)
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
