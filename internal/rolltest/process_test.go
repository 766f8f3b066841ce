//go:build linux

package rolltest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/history"
)

// A load process is the test program, run again in the namespace of the clients. It reads commands as JSON values from
// its standard input, and answers each with one on its standard output:
//
//	loadSettings → {}        all its clients are connected
//	"go"         → {}        they send
//	"stop"       → {}        sending has ended, and all questions are answered
//	"end"        → counts    arrivals have ended; the history is written

// loadSettings is the part of one process in a load.
type loadSettings struct {
	URL, Token string
	Trust      []byte  // see tlsConfig
	File       string  // for the history
	First      int     // number of its first client
	Clients    int     // how many it has
	Total      int     // of all processes
	Rate       float64 // messages a second, without GLOBALs
	GlobalRate float64 // GLOBALs a second
	NoDrain    bool    // clients don't ask for feature drain: they are disconnected
}

const (
	// numbersPerProcess bounds the sessions of a process: the number of a session identifies its process.
	numbersPerProcess = 1 << 20
	// groupSize is the number of clients in a group.
	groupSize = 5
	// busyShare: one client in busyShare is busy; these send half of all messages, some in quick succession.
	busyShare = 20
	burst     = 3
	// connectAtOnce bounds the clients of a process that connect at the same time.
	connectAtOnce = 64
	// quiet is the time without arrivals that ends a run.
	quiet = 2 * time.Second
)

// loadProcess is the process side.
type loadProcess struct {
	loadSettings
	history *history.History
	agents  []*agent
	tally   *tally
	arrived atomic.Int64
	frozen  atomic.Bool // the test is ending, and nothing is recorded
	sending sync.WaitGroup
	stop    context.CancelFunc
}

// runLoad serves the commands of the test and returns the exit code.
func runLoad(in io.Reader, out io.Writer) int {
	p := &loadProcess{tally: newTally()}
	commands, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	err := p.serve(commands, answers)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (p *loadProcess) serve(commands *json.Decoder, answers *json.Encoder) error {
	if err := commands.Decode(&p.loadSettings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	p.history = history.New(p.First / p.Clients * numbersPerProcess)
	if err := p.connect(); err != nil {
		return err
	}
	for {
		if err := answers.Encode(struct{}{}); err != nil {
			return err
		}
		var command string
		if err := commands.Decode(&command); err != nil {
			return fmt.Errorf("command: %w", err)
		}
		switch command {
		case "go":
			p.start()
		case "stop":
			p.halt()
		case "end":
			if err := p.end(); err != nil {
				return err
			}
			return answers.Encode(p.tally.counts)
		}
	}
}

func (p *loadProcess) options(o client.Options) client.Options { return o }

// connect connects all clients.
func (p *loadProcess) connect() error {
	var connecting errgroup.Group
	connecting.SetLimit(connectAtOnce)
	for i := range p.Clients {
		k := p.First + i
		a := &agent{
			p: p, tally: p.tally, group: fmt.Sprintf("group-%d", k%max(p.Total/groupSize, 1)), noEcho: k%2 == 0,
			record: p.history.Session(fmt.Sprintf("client-%d", k)),
		}
		p.agents = append(p.agents, a)
		connecting.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return a.connect(ctx)
		})
	}
	return connecting.Wait()
}

// start makes all clients send at their rates until halt.
func (p *loadProcess) start() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	busy := max(p.Clients/busyShare, 1)
	for i, a := range p.agents {
		rate, each := p.Rate/2/float64(max(p.Clients-busy, 1)), 1
		if i%busyShare == 0 {
			rate, each = p.Rate/2/float64(busy)/burst, burst
		}
		p.sending.Go(func() { a.live(ctx, rate, each) })
	}
	if p.GlobalRate > 0 {
		p.sending.Go(func() { p.shout(ctx) })
	}
}

// shout sends a GLOBAL from a random client at regular intervals: each keeps all processes busy for a while, and
// overlapping ones would make the figures random.
func (p *loadProcess) shout(ctx context.Context) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / p.GlobalRate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.agents[rand.IntN(len(p.agents))].sendTo(context.Background(), history.To{Target: history.Global}, false)
		}
	}
}

// live sends bursts of messages until ctx ends.
func (a *agent) live(ctx context.Context, rate float64, each int) {
	interval := time.Duration(float64(time.Second) / rate)
	timer := time.NewTimer(rand.N(interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(interval)
		for range each {
			a.send(context.Background())
		}
	}
}

// draw draws a message's target, and whether it is a question.
func (p *loadProcess) draw(a *agent) (to history.To, ask bool) {
	group := history.To{Target: history.Group, Name: fmt.Sprintf("group-%d", rand.IntN(max(p.Total/groupSize, 1)))}
	switch k := rand.IntN(100); {
	case k < 30:
		if rand.IntN(2) == 0 {
			group.Name = a.group
		}
		return group, false
	case k < 60:
		if id := a.acquaintance(); id != "" {
			return history.To{Target: history.Direct, Name: id}, k < 35 && !a.isItself(id)
		}
		return group, false
	}
	group.Target = history.Any
	return group, rand.IntN(4) == 0
}

// halt waits until all sending, asking and answering has ended.
func (p *loadProcess) halt() {
	p.stop()
	p.sending.Wait()
	for _, a := range p.agents {
		a.answering.Wait()
	}
}

// end waits until arrivals end, and writes the history.
func (p *loadProcess) end() error {
	last := p.arrived.Load()
	for since := time.Now(); time.Since(since) < quiet; {
		<-time.After(quiet / 20)
		if n := p.arrived.Load(); n != last {
			last, since = n, time.Now()
		}
	}
	p.frozen.Store(true)
	var closing errgroup.Group
	closing.SetLimit(connectAtOnce)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, a := range p.agents {
		closing.Go(func() error { return a.client.Close(ctx) })
	}
	if err := closing.Wait(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	f, err := os.Create(p.File)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer f.Close()
	return p.history.WriteNDJSON(f)
}
