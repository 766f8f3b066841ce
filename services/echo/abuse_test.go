package echo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/echo/wire"
)

// small are limits that a test reaches quickly.
func small() Limits {
	return Limits{Waiting: 4, WaitingBytes: 4096, TotalBytes: 16 << 10, Given: 10, Passes: 100}
}

func TestTooManyMessagesWait(t *testing.T) {
	t.Parallel()
	n := alone(t, small())
	c := n.dial()
	for i := range 5 {
		c.send(fmt.Sprint("message ", i))
	}
	c.wantClosed(4009, "RATE_LIMITED")
	n.awaitMetric("refused_waiting_total", 1)
	n.awaitZero()

	c = n.dial()
	c.send("message " + strings.Repeat("x", 5000)) // one may always wait
	c.want("message " + strings.Repeat("x", 5000))
	c.send("message y")
	c.wantClosed(4009, "RATE_LIMITED")
	n.awaitZero()
}

func TestTooMuchWaitsInAll(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), small(), 1)
	var all []*talker
	for i := range 5 {
		c := n.dial()
		c.send(fmt.Sprint("message ", i, strings.Repeat("x", 3500)))
		if i < 4 {
			n.awaitMetric("waiting", i+1)
			all = append(all, c)
			continue
		}
		c.wantClosed(1001, "TRY_AGAIN_LATER")
	}
	n.awaitMetric("refused_memory_total", 1)
	all[0].send("ok 1" + strings.Repeat("x", 3500))
	n.awaitMetric("waiting", 3)
	all[1].send("message now there is room" + strings.Repeat("x", 3000))
	n.awaitMetric("waiting", 4)
	for _, c := range all {
		_ = c.conn.CloseNow()
	}
	n.awaitZero()
	if n.echo.loops[0].waiting.bytes != 0 {
		t.Error("texts are counted that don't wait any more")
	}
}

// A client that never answers is disconnected; the messages that it was given go to others.
func TestWhoNeverAnswersIsDisconnected(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), small(), 1)
	idle, sender := n.dial(), n.dial()
	const messages = 200
	for i := range messages {
		text := fmt.Sprint(i)
		sender.send("message " + text)
		n.awaitMetric("messages_total", i+1) // with one loop it is given by now
		sender.send("ok " + text)            // any client may send the ok
		for sender.read() != "ok "+text {
		}
	}
	idle.wantClosed(4008, "SLOW_CONSUMER")
	if n.metric("refused_given_total") != 1 {
		t.Error(n.echo.Metrics())
	}
	// The client had answered all ten, so none is passed on. The next client's are.
	if n.metric("returned_total") != 10 || n.metric("passed_on_total") != 0 {
		t.Error(n.echo.Metrics())
	}
	sender.leave()
	n.awaitZero()
}

// The messages of a full connection go to others as long as their senders wait.
func TestFullConnectionsMessagesArePassedOn(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	there, n := start(t, bus.Broker(), small(), 1), start(t, bus.Broker(), DefaultLimits(), 1)
	there.dial() // never answers
	sender := n.dial()
	const messages = 60
	done := make(chan bool)
	go func() {
		defer close(done)
		for oks := 0; oks < messages; {
			got := sender.read()
			if text, ok := strings.CutPrefix(got, "message "); ok {
				sender.send("ok " + text)
			} else {
				oks++
			}
		}
	}()
	for i := range messages { // about half of them are given to the other one, more than it may have
		sender.send(fmt.Sprint("message ", i))
	}
	<-done
	if n.metric("answered_total") != messages || n.metric("passed_on_total") < 10 {
		t.Error(n.echo.Metrics())
	}
	there.awaitMetric("refused_given_total", 1)
	there.awaitZero()
}

func TestUnknownAndRepeatedOKs(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	c := n.dial()
	const oks = 500
	for range oks {
		c.send("ok of a text that was never sent")
	}
	c.send("message x")
	c.want("message x") // nothing came before it
	for range 3 {
		c.send("ok x")
	}
	c.want("ok x")
	n.awaitMetric("unasked_oks_total", oks+2)
	n.awaitMetric("answered_total", 1)
	c.leave()
	n.awaitZero()
}

// One client's flood costs others nothing and leaves nothing behind.
func TestFlood(t *testing.T) {
	t.Parallel()
	n := start(t, memory.NewBus().Broker(), DefaultLimits(), 1)
	other, flooder := n.dial(), n.dial()
	const messages = 20_000
	sent := make(chan bool)
	go func() {
		defer close(sent)
		for range messages {
			flooder.send("message same")
		}
	}()
	counts := make(chan int, 2)
	for _, c := range []*talker{other, flooder} {
		go func() {
			got := 0
			for {
				_, b, err := c.conn.Read(c.ctx)
				if err != nil || bytes.HasPrefix(b, []byte("ok ")) {
					break
				}
				if string(b) == "message same" {
					got++
				}
			}
			counts <- got
		}()
	}
	<-sent
	n.awaitMetric("messages_total", messages)
	if w, g := n.metric("waiting"), n.metric("given"); w != 1 || g > 2 {
		t.Errorf("%d wait and %d are given, want one and at most one of each connection", w, g)
	}
	other.send("ok same") // the flooding client waits for that
	other.send("message end")
	other.send("ok end")
	if a, b := <-counts, <-counts; a+b != messages {
		t.Errorf("%d and %d of %d messages arrived", a, b, messages)
	}
	_ = other.conn.CloseNow()
	_ = flooder.conn.CloseNow()
	n.awaitZero()
}

// Echo clients neither get nor react to messages of other kinds.
func TestClientsOfTheHubCannotForge(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	c := n.dial()
	c.send("message x")
	c.want("message x")
	var id string
	var key uint64
	l := n.echo.loops
	for _, l := range l {
		done := make(chan bool)
		l.on.Post(func() {
			for _, w := range l.waiting.byHash {
				id, key = w.conn.peer.ID().String(), w.key
			}
			close(done)
		})
		<-done
	}
	h, err := rawclient.Dial(n.addr, rawclient.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Identify("secret", "g", `,"features":["errors"]`); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{fmt.Sprint(key + 1), `"x"`, `{}`, `null`, fmt.Sprintf(`"%d"`, key)} {
		if err := h.Send(fmt.Sprintf(`{"op":0,"event":"back","data":%s,"intent":{"target":"DIRECT","identifier":%q}}`, data, id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, event := range []string{"message", "ok", "other"} {
		if err := h.Send(fmt.Sprintf(`{"op":0,"id":"1","event":%q,"data":{"key":1,"text":"forged"},"intent":{"target":"DIRECT","identifier":%q}}`, event, id)); err != nil {
			t.Fatal(err)
		}
		if e, err := h.Receive(); err != nil || !e.Is(rawclient.OpError) {
			t.Errorf("%s: %v, %v", event, e, err)
		}
	}
	if err := h.Quiet(); err != nil {
		t.Error(err)
	}
	c.send("ok x")
	c.want("ok x")
	if n.metric("passed_on_total") != 0 {
		t.Error("a forged message was drawn again")
	}
}

// A client that closes its sending half counts as gone.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	c := n.raw()
	if err := c.Send("message x"); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.ReadMessage(); err != nil || string(got) != "message x" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	n.awaitZero()
	if _, err := c.End(); err != nil {
		t.Error(err)
	}
}

// The unfinished messages of unidentified clients share one bound.
func TestUnfinishedMessagesAreBounded(t *testing.T) {
	t.Parallel()
	n := startWith(t, memory.NewBus().Broker(), DefaultLimits(), 1, func(o *hub.Options) { o.Transport.UntrustedBytes = 256 << 10 })
	unfinished := rawclient.Frame{Op: rawclient.OpText, Declared: 32 << 10, Payload: make([]byte, 30<<10)}.Bytes()
	var all []*rawclient.Conn
	for range 40 {
		c, err := rawclient.Dial(n.addr, rawclient.Options{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Upgrade(wire.Path); err != nil {
			break // refused before it could send anything
		}
		if err := c.Write(unfinished); err != nil {
			break
		}
		all = append(all, c)
	}
	if err := eventually.Within(patience, func() bool {
		s := n.hub.Stats()
		return s.Disconnects[opcodes.TryAgainLater] > 0 || len(all) < 40
	}); err != nil {
		t.Error("no client was told to try again later")
	}
	for _, c := range all {
		_ = c.Close()
	}
	n.awaitZero()
}

func TestFragmentedMessage(t *testing.T) {
	t.Parallel()
	n := alone(t, DefaultLimits())
	c := n.raw()
	if err := c.Write(rawclient.Frames(rawclient.Fragment(rawclient.OpText, "mess"), rawclient.Control(rawclient.OpPing, "p"),
		rawclient.Fragment(rawclient.OpContinuation, "age fr"), rawclient.LastFragment("agments"))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"p", "message fragments"} {
		if _, got, err := c.ReadMessage(); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if err := c.Write(rawclient.Text("ok \xff").Bytes()); err != nil {
		t.Fatal(err)
	}
	if end, err := c.End(); err != nil || end.Code != 1007 {
		t.Errorf("%v, %v", end, err)
	}
	n.awaitZero()
}
