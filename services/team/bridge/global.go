package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// global is one Global connection.
type global struct {
	*socket
	n     uint64    // number of the connection, from 1
	hello time.Time // time of the first frame; set before teams see g

	over      chan struct{} // closed when it has ended
	endOnce   sync.Once
	endErr    error         // cause; set before over is closed
	questions chan struct{} // signalled when a healthcheck needs an answer; capacity 1

	mu      sync.Mutex
	pending map[rtm.ID]chan rtm.Frame // channels for the answers to team.connect; capacity 1 each
}

func (g *global) isOver() bool {
	select {
	case <-g.over:
		return true
	default:
		return false
	}
}

// end ends the connection; the first cause wins. code 0 means without a Close frame.
func (g *global) end(err error, code websocket.StatusCode) {
	g.endOnce.Do(func() {
		g.endErr = err
		close(g.over)
		g.b.gate.unset(g) // first, so that no team uses g any more
		if code == 0 {
			_ = g.ws.CloseNow()
			return
		}
		_ = g.ws.Close(code, "")
	})
}

// runGlobal keeps a Global connection open. It returns nil after a goodbye or when ctx ends, and an error if a new
// attempt would fail as well.
func (b *Bridge) runGlobal(ctx context.Context) error {
	wait := b.newBackoff()
	for {
		began := time.Now()
		err := b.globalOnce(ctx)
		var status statusError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errGoodbye) && !b.opts.Stay:
			return nil
		case b.counts.globals.Load() == 0 && errors.As(err, &status) && status.permanent():
			return fmt.Errorf("global connection: %w", err)
		}
		b.lastGlobalErr.Store(&err)
		if time.Since(began) >= b.opts.MaxBackoff {
			wait.Reset()
		}
		delay := wait.NextBackOff()
		b.log.Warn("no Global connection", "error", err, "next_attempt_in", delay.Round(time.Millisecond))
		if !sleep(ctx, delay) {
			return nil
		}
	}
}

// globalOnce runs one Global connection and returns the cause of its end.
func (b *Bridge) globalOnce(ctx context.Context) error {
	header := http.Header{}
	if b.opts.GlobalToken != nil {
		token, err := b.opts.GlobalToken()
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		header.Set("Authorization", "Bearer "+token)
	}
	socket, err := b.dialSocket(ctx, b.global, header, b.guard.dialGlobal, nil)
	if err != nil {
		return err
	}
	b.lives++
	g := &global{
		socket: socket, n: b.lives, over: make(chan struct{}), questions: make(chan struct{}, 1), pending: make(map[rtm.ID]chan rtm.Frame),
	}
	var helpers sync.WaitGroup
	helpers.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer helpers.Done()
		g.end(errShutdown, websocket.StatusNormalClosure)
	})
	helpers.Go(g.probe)
	helpers.Go(g.answerHealthchecks)
	b.readGlobal(g)
	if stop() {
		helpers.Done()
	}
	helpers.Wait()
	return g.endErr
}

// errNoHello is the error for a Global connection on which no frame arrives.
var errNoHello = errors.New("the Global connection is open, but the server sent no hello")

// readGlobal reads until the connection ends.
func (b *Bridge) readGlobal(g *global) {
	watchdog := time.AfterFunc(b.opts.ConnectTimeout, func() { g.end(errNoHello, websocket.StatusPolicyViolation) })
	defer watchdog.Stop()
	greeted, goodbye := false, false
	handle := func(msg []byte, text bool) {
		f, ok := b.parse(msg, text)
		if !ok {
			return
		}
		if !greeted && f.Type != rtm.Goodbye {
			greeted, g.hello = true, time.Now()
			watchdog.Stop()
			b.counts.globals.Add(1)
			b.gate.set(g)
			b.log.Info("connected to the Global server", "server", b.global.Host)
		}
		goodbye = f.Type == rtm.Goodbye
		b.globalFrame(g, &f)
	}
	for {
		if err := g.read(handle); err != nil {
			g.end(endOf(err), 0)
			return
		}
		if goodbye {
			g.end(errGoodbye, websocket.StatusNormalClosure)
			return
		}
	}
}

// globalFrame handles one frame on the Global connection.
func (b *Bridge) globalFrame(g *global, f *rtm.Frame) {
	switch f.Type {
	case rtm.Hello:
	case rtm.Goodbye:
		b.log.Info("the server said goodbye")
		b.queueEvent(nil, eventGoodbye, nil)
	case rtm.TeamJoin:
		b.teams.join(f.TeamID, g.n)
	case rtm.TeamLeft:
		if !b.teams.leave(f.TeamID) {
			b.badInput(badUnknownTeam, "team.left")
		}
	case rtm.TeamConnect:
		if !g.deliverAnswer(f) {
			b.badInput(badUnasked, "team.connect")
		}
	case rtm.Error:
		b.badInput(badServerError, f.Text)
		if !f.TeamID.IsZero() {
			g.deliverAnswer(f)
		}
	case rtm.Healthcheck:
		poke(g.questions)
	default:
		b.badInput(badMisplaced, string(f.Type))
	}
}

// deliverAnswer hands an answer to the waiting team. It returns false if none waits.
func (g *global) deliverAnswer(f *rtm.Frame) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := g.pending[f.TeamID]
	if answer == nil {
		return false
	}
	delete(g.pending, f.TeamID)
	answer <- *f
	return true
}

// requestTeam sends a team.connect. [global.awaitURL] must follow, unless there is an error.
func (g *global) requestTeam(id rtm.ID) (answer chan rtm.Frame, err error) {
	answer = make(chan rtm.Frame, 1)
	g.mu.Lock()
	g.pending[id] = answer
	g.mu.Unlock()
	f := rtm.Frame{Type: rtm.TeamConnect, TeamID: id}
	// Not with the team's context: cancelling a write breaks the shared connection.
	if err := g.write(context.Background(), f.Append(nil)); err != nil {
		g.end(fmt.Errorf("write: %w", err), 0)
		return nil, fail(ReasonGlobalLost, err)
	}
	return answer, nil
}

// awaitURL waits for the answer and returns the URL in it.
func (g *global) awaitURL(ctx context.Context, id rtm.ID, answer <-chan rtm.Frame) (url string, err error) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.pending, id)
	}()
	timer := time.NewTimer(g.b.opts.ConnectTimeout)
	defer timer.Stop()
	select {
	case f := <-answer:
		if f.Type == rtm.Error {
			return "", fail(ReasonRefused, fmt.Errorf("the server answered %.200q", f.Text))
		}
		return f.WSURL, nil
	case <-timer.C:
		return "", fail(ReasonNoAnswer, fmt.Errorf("no answer to team.connect within %v", g.b.opts.ConnectTimeout))
	case <-g.over:
		return "", fail(ReasonGlobalLost, g.endErr)
	case <-ctx.Done():
		return "", fail(lifeReason(context.Cause(ctx)), context.Cause(ctx))
	}
}

// probe sends WebSocket pings, since the protocol has no pings on the Global connection.
func (g *global) probe() {
	tick := time.NewTicker(g.b.opts.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-g.over:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), g.b.opts.PongTimeout)
		err := g.ws.Ping(ctx)
		cancel()
		if err != nil {
			g.end(fmt.Errorf("a ping was not answered: %w", err), 0)
			return
		}
	}
}

// healthcheckPause is the minimum time between two healthcheck answers, which may be large.
const healthcheckPause = 50 * time.Millisecond

// answerHealthchecks answers healthchecks one at a time; those that come meanwhile share the next answer.
func (g *global) answerHealthchecks() {
	for {
		select {
		case <-g.questions:
		case <-g.over:
			return
		}
		f := rtm.Frame{Type: rtm.Healthcheck, Stats: g.b.teams.stats()}
		if err := g.write(context.Background(), f.Append(nil)); err != nil {
			g.end(fmt.Errorf("write: %w", err), 0)
			return
		}
		g.b.counts.healthchecks.Add(1)
		select {
		case <-time.After(healthcheckPause):
		case <-g.over:
			return
		}
	}
}

// gate lets teams wait for a Global connection.
type gate struct {
	mu      sync.Mutex
	current *global
	since   time.Time     // time of the last change of current
	opened  chan struct{} // closed while current is not nil
}

func newGate() *gate { return &gate{opened: make(chan struct{}), since: time.Now()} }

func (w *gate) set(g *global) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.isOver() {
		return
	}
	w.current, w.since = g, time.Now()
	close(w.opened)
}

// unset removes g, if it is current.
func (w *gate) unset(g *global) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == g {
		w.current, w.since, w.opened = nil, time.Now(), make(chan struct{})
	}
}

// state returns whether there is a Global connection, and since when.
func (w *gate) state() (open bool, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current != nil, w.since
}

// await waits for a Global connection.
func (w *gate) await(ctx context.Context) (*global, error) {
	for {
		w.mu.Lock()
		g, opened := w.current, w.opened
		w.mu.Unlock()
		if g != nil {
			return g, nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
