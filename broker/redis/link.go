package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// link is one set of connections to Redis, which live and die together: for the lease's commands, the subscriber and the
// publisher. When one fails, all are closed and replaced. Messages in flight are sent again, and missed ones are asked
// for.
type link struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu    sync.Mutex
	conns []*connection
}

func newLink(ctx context.Context) *link {
	l := &link{}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(l.ctx, l.closeConns)
	return l
}

// use closes c when the link ends.
func (l *link) use(c *connection) {
	l.mu.Lock()
	l.conns = append(l.conns, c)
	ended := l.ctx.Err() != nil
	l.mu.Unlock()
	if ended {
		c.Close()
	}
}

func (l *link) closeConns() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

// goes runs a task until the link ends. Its error ends the link.
func (l *link) goes(task func() error) {
	l.tasks.Go(func() {
		if err := task(); err != nil {
			l.cancel(err)
		}
	})
}

// end ends the link, waits for its tasks and returns why it ended.
func (l *link) end(err error) error {
	l.cancel(err)
	l.tasks.Wait()
	l.closeConns()
	return context.Cause(l.ctx)
}

// manage makes links until ctx ends. The result of the first attempt goes to first.
func (r *Broker) manage(ctx context.Context, first chan<- error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = r.opt.ProbeInterval/20, r.opt.ProbeInterval
	pause.Reset()
	for ctx.Err() == nil {
		up, began := false, time.Now()
		err := r.runLink(ctx, func() {
			up = true
			if first != nil {
				first <- nil
				first = nil
			}
		})
		if ctx.Err() != nil {
			break
		}
		r.linkEnded(err, up)
		if first != nil {
			first <- err
			first = nil
		}
		if up && time.Since(began) > r.opt.ProbeInterval {
			pause.Reset()
			continue // at once: it was a connection that broke
		}
		wait := pause.NextBackOff()
		if up || isCut(err) {
			wait = min(wait, r.opt.ProbeInterval/10)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if first != nil {
		first <- ctx.Err()
	}
}

// linkEnded tells operators the reason. A broken connection makes the broker unavailable only if it was silent, or if it
// can't be replaced in time: see watch. An attempt that Redis refuses makes it unavailable at once.
func (r *Broker) linkEnded(err error, wasUp bool) {
	r.lastError.Store(&err)
	if isSilence(err) || !wasUp && !isCut(err) {
		r.state.setAway(err.Error())
	}
	if wasUp {
		r.log.Warn("connection to Redis lost", "error", err)
	} else if r.unlogged.Add(1)%32 == 1 {
		r.log.Warn("no connection to Redis, trying on", "error", err)
	}
}

// isCut says whether err means that a connection was made and then closed by the other side.
func isCut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// isSilence says whether err means that an answer did not come, to a probe or to a command.
func isSilence(err error) bool {
	var e net.Error
	return errors.Is(err, errSilent) || errors.As(err, &e) && e.Timeout()
}

// runLink makes a link, calls up when it works, and returns why it ended.
func (r *Broker) runLink(ctx context.Context, up func()) error {
	l := newLink(ctx)
	r.link.Store(l)
	err := r.connect(l, up)
	if err == nil {
		<-l.ctx.Done()
	}
	err = l.end(err)
	r.link.Store(nil)
	r.commands.Store(nil)
	r.state.setLinked(false)
	r.completeAt.Store(math.MaxInt64)
	r.subs.disconnected()
	r.recv.disconnected()
	r.pub.requeue()
	return err
}

// connect brings l up: lease, subscriptions, knowledge of the other instances, publisher, in this order, as each needs
// the former.
func (r *Broker) connect(l *link, up func()) error {
	addr, commands, err := r.openMaster(l)
	if err != nil {
		return err
	}
	if err := r.leaseRound(l.ctx, commands); err != nil {
		return err
	}
	// The other instances know this one before it subscribes: see expected.
	sent := r.now()
	if err := r.announce(l.ctx, commands); err != nil {
		return err
	}
	r.holding.begin(sent)
	r.commands.Store(commands)
	r.noteServer(l.ctx, commands)
	r.holds.reconnected()
	l.goes(func() error { return r.leaseLoop(l.ctx, commands) })
	if err := r.connectSubscriber(l, addr); err != nil {
		return err
	}
	if r.links.Add(1) > 1 {
		r.stats.reconnects.Add(1)
		r.peers.outdated() // a group may have got its first member meanwhile
		r.counts.rejoined()
		r.awaitOthers(l.ctx, commands)
	}
	if err := r.connectPublisher(l, addr); err != nil {
		return err
	}
	r.awaitCounts(l.ctx)
	up()
	r.unlogged.Store(0)
	r.log.Info("connected to Redis", "address", addr)
	return nil
}

// openMaster opens the connection for commands to the server that carries the hub: the first of those found that works and
// is no replica.
func (r *Broker) openMaster(l *link) (addr string, c *connection, err error) {
	found, err := r.dial.resolve(l.ctx, r.names.nodesKey())
	if err != nil {
		return "", nil, err
	}
	var errs []error
	for _, addr := range found {
		c, err := r.open(l, addr, "lease")
		if err == nil && r.url.Kind != redisurl.Server {
			err = c.checkMaster(l.ctx)
		}
		if err == nil {
			return addr, c, nil
		}
		if c != nil {
			c.Close()
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if len(errs) == 1 {
		return "", nil, errors.Unwrap(errs[0])
	}
	return "", nil, errors.Join(errs...)
}

func (r *Broker) open(l *link, addr, role string) (*connection, error) {
	c, err := r.dial.dial(l.ctx, addr, role)
	if err != nil {
		return nil, err
	}
	l.use(c)
	return c, nil
}

// connectSubscriber returns once every channel is subscribed.
func (r *Broker) connectSubscriber(l *link, addr string) error {
	conn, err := r.open(l, addr, "subscriber")
	if err != nil {
		return err
	}
	if r.links.Load() > 0 {
		r.recv.connected(r.peers.keys())
	}
	joined := r.subs.connected()
	l.goes(func() error { return r.readPushes(conn) })
	l.goes(func() error { return r.subs.write(l.ctx, conn, r.opt.writeTimeout()) })
	return r.awaitProgress(l, joined, errors.New("subscribe: Redis has stopped to confirm"))
}

// awaitProgress waits until done is closed, for as long as Redis goes on to answer. It returns stuck where nothing was
// read for two to four times DialTimeout, or why the link ended.
func (r *Broker) awaitProgress(l *link, done <-chan struct{}, stuck error) error {
	tick := time.NewTicker(2 * r.opt.DialTimeout)
	defer tick.Stop()
	read := func() uint64 { return r.heardPushes.Reads.Load() + r.heardReplies.Reads.Load() }
	for last := read(); ; {
		select {
		case <-done:
			return nil
		case <-tick.C:
			now := read()
			if now == last {
				return stuck
			}
			last = now
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
}

// awaitOthers waits a moment for instances that lost their connections too, as in a restart of Redis, to subscribe again
// before this one publishes. It saves them requests, and makes the numbers of receivers right.
func (r *Broker) awaitOthers(ctx context.Context, c *connection) {
	wait := r.opt.ProbeInterval
	if r.State().Available { // only a connection broke, perhaps of this instance alone
		wait /= 20
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		reply, err := c.client.Do(ctx, "PUBSUB", r.names.subscribers, r.names.global()).Slice()
		if err != nil || len(reply) < 2 {
			return // it is a courtesy; an error of the connection will show elsewhere
		}
		n, _ := strconv.Atoi(fmt.Sprint(reply[1]))
		if n > len(r.peers.ids()) {
			return
		}
		select {
		case <-time.After(r.opt.ProbeInterval / 50):
		case <-ctx.Done():
			return
		}
	}
}

// connectPublisher returns once a probe has made the whole round.
func (r *Broker) connectPublisher(l *link, addr string) error {
	conn, err := r.open(l, addr, "publisher")
	if err != nil {
		return err
	}
	if err := r.loadHistory(l.ctx, conn); err != nil {
		return err
	}
	r.addr.Store(&addr)
	r.askWhoIsThere()
	r.completeAt.Store(r.now() + int64(r.opt.LeaseTTL)/3)
	returned := r.probes.reset()
	r.state.setLinked(true)
	r.probe()
	l.goes(func() error { return r.writeCommands(l.ctx, conn) })
	l.goes(func() error { return r.readReplies(conn) })
	r.recv.joined() // not before a request can be sent at once: see kindResume
	if err := r.awaitProgress(l, returned, fmt.Errorf("%w: the first probe did not come back", errSilent)); err != nil {
		return err
	}
	r.state.setAvailable() // the goroutine that read it may not have come to that yet
	return nil
}

// awaitCounts waits a moment for the member counts of the other instances.
func (r *Broker) awaitCounts(ctx context.Context) {
	timeout := time.NewTimer(r.opt.ProbeInterval / 2)
	defer timeout.Stop()
	for {
		synced, change := r.peers.synced()
		if synced {
			return
		}
		select {
		case <-change:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// writeCommands sends what the publisher has until ctx ends.
func (r *Broker) writeCommands(ctx context.Context, conn net.Conn) error {
	buf := make([]byte, 0, 2*writeBytes)
	for {
		r.counts.flushUrgent()
		buf = r.pub.fill(buf[:0])
		if len(buf) == 0 {
			if r.counts.flushUrgent() {
				continue // it came before fill marked the writer as waiting
			}
			select {
			case <-r.pub.wake:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if err := conn.SetWriteDeadline(time.Now().Add(r.opt.writeTimeout())); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if _, err := conn.Write(buf); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if cap(buf) > 1<<20 {
			buf = make([]byte, 0, 2*writeBytes)
		}
	}
}

// readReplies takes the answers to what was published, until the connection fails.
func (r *Broker) readReplies(conn net.Conn) error {
	in := resp.NewReader(conn, &r.heardReplies)
	var replies []reply
	var outcomes []outcome
	for {
		n, err := in.Number(':')
		if err != nil {
			err = fmt.Errorf("broker: publish: %w", err)
			if !isRefusal(err) {
				return err
			}
			r.logRefusal(err)
		}
		replies = append(replies, reply{n, err})
		if in.Buffered() && len(replies) < 256 {
			continue
		}
		var ok bool
		if outcomes, ok = r.pub.complete(replies, outcomes[:0]); !ok {
			return fmt.Errorf("broker: publish: %w: a reply to no command", resp.ErrProtocol)
		}
		report(outcomes)
		clear(outcomes)
		replies = replies[:0]
	}
}

// logRefusal logs Redis' refusal of a message.
func (r *Broker) logRefusal(err error) {
	var e resp.ServerError
	errors.As(err, &e)
	r.refusals.Warn("Redis refused a message", e.Code(), slog.String("error", string(e)))
}

// isRefusal says whether err is the server's answer to one command, and final. On the publisher's connection the script for
// groups with history alone has keys: while they are on their way to another node of a cluster it is refused, and
// messages without keys pass.
func isRefusal(err error) bool {
	var e resp.ServerError
	return errors.As(err, &e) && (!e.Transient() || e.Code() == "ASK" || e.Code() == "TRYAGAIN")
}

// newNonce draws a random number that is not zero.
func newNonce() uint64 { return rand.Uint64() | 1 }
