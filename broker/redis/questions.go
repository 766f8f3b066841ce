package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

// Measures of the readers.
const (
	readerCount = 2                     // goroutines, each with a connection of its own
	cachedBytes = 2 << 20               // of pages that were read lately
	cachedFor   = int64(time.Second)    // such a page is used
	readPause   = 20 * time.Millisecond // before a second attempt
)

// readers answer questions about groups with history, on connections that carry nothing else. A question waits until it is
// answered or its time is over, whatever links come and go.
type readers struct {
	wake chan struct{} // holds a token when there may be a question

	mu        sync.Mutex
	questions []*question
	cache     []*cachedPage // oldest first
	bytes     int           // of cache
	closed    bool
}

// question is a call of the script, and for a page what is read behind it.
type question struct {
	command  string // of the script
	group    string
	limits   broker.Limits
	from     broker.Position // of a page
	fresh    bool            // no page will do that was read before
	deadline int64
	by       []publication // of the messages of a fresh page
	done     func(*broker.Page, error)
}

// cachedPage is a page that was read.
type cachedPage struct {
	group  string
	page   *broker.Page
	epochs epochs
	at     int64
	bytes  int
}

func newReaders() *readers { return &readers{wake: make(chan struct{}, 1)} }

func (s *readers) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ask has q answered. It returns false if the Broker was closed.
func (s *readers) ask(q *question) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.questions = append(s.questions, q)
	s.signal()
	return true
}

// take returns the question that waits for longest, nil for none.
func (s *readers) take() *question {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.questions) == 0 {
		return nil
	}
	q := s.questions[0]
	s.questions[0] = nil
	if s.questions = s.questions[1:]; len(s.questions) > 0 {
		s.signal()
	}
	return q
}

// expire refuses the questions that have waited for too long.
func (s *readers) expire(now int64) {
	var late []*question
	s.mu.Lock()
	s.forgetPages("", now)
	left := s.questions[:0]
	for _, q := range s.questions {
		if q.deadline < now {
			late = append(late, q)
		} else {
			left = append(left, q)
		}
	}
	clear(s.questions[len(left):])
	s.questions = left
	s.mu.Unlock()
	for _, q := range late {
		q.done(nil, broker.ErrUnavailable)
	}
}

func (s *readers) close() {
	s.mu.Lock()
	left := s.questions
	s.questions, s.closed = nil, true
	s.mu.Unlock()
	for _, q := range left {
		q.done(nil, broker.ErrClosed)
	}
}

// cached returns the part of a page that was read lately which answers q, nil for none.
func (s *readers) cached(q *question, now int64) *broker.Page {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cache {
		m := c.page.Messages
		if c.group != q.group || now-c.at > cachedFor || !c.epochs.good(q.from, c.page.Last) {
			continue
		}
		if next := q.from.Offset + 1; next >= m[0].Offset && next <= m[len(m)-1].Offset {
			return &broker.Page{Extent: c.page.Extent, Messages: m[next-m[0].Offset:]}
		}
	}
	return nil
}

// keep puts a page into the cache.
func (s *readers) keep(c *cachedPage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache = append(s.cache, c)
	s.bytes += c.bytes
	n := 0
	for n < len(s.cache) && (s.bytes > cachedBytes || c.at-s.cache[n].at > cachedFor) {
		s.bytes -= s.cache[n].bytes
		s.cache[n] = nil
		n++
	}
	s.cache = s.cache[n:]
}

// forget drops the pages of a group from the cache.
func (s *readers) forget(group string, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetPages(group, now)
}

// forgetPages drops the pages of a group, and all that are too old. It needs mu.
func (s *readers) forgetPages(group string, now int64) {
	left := s.cache[:0]
	for _, c := range s.cache {
		if c.group == group || now-c.at > cachedFor {
			s.bytes -= c.bytes
		} else {
			left = append(left, c)
		}
	}
	clear(s.cache[len(left):])
	s.cache = left
}

// Extent implements Broker.
func (r *Broker) Extent(group string, l broker.Limits, done func(broker.Extent, error)) {
	r.askExtent(&question{command: "E", group: group, limits: l}, done)
}

// Purge implements Broker.
func (r *Broker) Purge(group string, done func(broker.Extent, error)) {
	r.askExtent(&question{command: "P", group: group}, done)
}

func (r *Broker) askExtent(q *question, done func(broker.Extent, error)) {
	r.inquire(q, func(p *broker.Page, err error) {
		if err != nil {
			done(broker.Extent{}, err)
			return
		}
		done(p.Extent, nil)
	})
}

// Read implements Broker.
func (r *Broker) Read(group string, from broker.Position, done func(*broker.Page, error)) {
	r.inquire(&question{command: "R", group: group, from: from}, done)
}

// inquire asks a question of the Handler. The group is followed from what is answered.
func (r *Broker) inquire(q *question, done func(*broker.Page, error)) {
	err := r.started()
	if err == nil && !r.state.get().Available {
		err = broker.ErrUnavailable
	}
	if err != nil {
		done(nil, err)
		return
	}
	from := r.recv.stand(q.group)
	q.deadline = r.now() + appendTimeout
	q.done = func(p *broker.Page, err error) {
		if err == nil {
			r.recv.follow(q.group, from, broker.Position{Epoch: p.Epoch, Offset: p.Last})
		}
		done(p, err)
	}
	if !r.readers.ask(q) {
		done(nil, broker.ErrClosed)
	}
}

// readFresh reads what a sequence misses.
func (r *Broker) readFresh(group string, from broker.Position, done func(*broker.Page, []publication, error)) {
	q := &question{command: "R", group: group, from: from, fresh: true, deadline: r.now() + appendTimeout}
	q.done = func(p *broker.Page, err error) { done(p, q.by, err) }
	r.readers.ask(q)
}

// reader is one connection for questions.
type reader struct {
	conn    *connection
	link    *link // that it belongs to
	in      *resp.Reader
	hearing resp.Hearing
	server  string
	buf     []byte
}

func (c *reader) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// readLoop answers questions until ctx ends.
func (r *Broker) readLoop(ctx context.Context) {
	c := &reader{}
	defer c.close()
	for {
		q := r.readers.take()
		if q == nil {
			select {
			case <-r.readers.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		p, err := r.lookUp(ctx, c, q)
		if ctx.Err() != nil {
			err = broker.ErrClosed
		}
		q.done(p, err)
	}
}

// lookUp answers q, on one link after the other until its deadline.
func (r *Broker) lookUp(ctx context.Context, c *reader, q *question) (*broker.Page, error) {
	for {
		if !q.fresh && q.command == "R" {
			if p := r.readers.cached(q, r.now()); p != nil {
				r.stats.pagesShared.Add(1)
				return p, nil
			}
		}
		p, err := r.attempt(ctx, c, q)
		if err == nil {
			return p, nil
		}
		if e, ok := serverError(err); ok && !e.Transient() {
			r.logRefusal(err)
			return nil, fmt.Errorf("%w: %w", broker.ErrRefused, err)
		}
		c.close()
		if r.now() > q.deadline {
			return nil, broker.ErrUnavailable
		}
		select {
		case <-time.After(readPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var errNoLink = errors.New("no connection to Redis")

// attempt answers q on the current link.
func (r *Broker) attempt(ctx context.Context, c *reader, q *question) (*broker.Page, error) {
	l := r.link.Load()
	if l == nil || !r.state.isLinked() {
		return nil, errNoLink
	}
	if c.conn == nil || c.link != l {
		c.close()
		if err := r.openReader(l, c); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	extent, epochs, batches, err := r.askScript(ctx, c, q)
	if err != nil {
		return nil, err
	}
	p := &broker.Page{Extent: extent}
	if q.command != "R" {
		if q.command == "P" {
			r.readers.forget(q.group, r.now())
		}
		return p, nil
	}
	from := epochs.settle(q.from, p)
	q.by = nil
	return p, r.readPage(c, q, from, epochs, batches, p)
}

// openReader opens a connection of l.
func (r *Broker) openReader(l *link, c *reader) error {
	addr := r.addr.Load()
	if addr == nil {
		return errNoLink
	}
	conn, err := r.open(l, *addr, "history")
	if err != nil {
		return err
	}
	server, err := conn.runID(l.ctx)
	if err != nil {
		conn.Close()
		return err
	}
	c.conn, c.link, c.server = conn, l, server
	c.in = resp.NewReader(conn, &c.hearing)
	return nil
}

// askScript runs the script for q. batches is the length of the stream.
func (r *Broker) askScript(ctx context.Context, c *reader, q *question) (e broker.Extent, known epochs, batches int64, err error) {
	age := max(q.limits.Age.Milliseconds(), 1)
	values, err := historyScript.Run(ctx, c.conn.client, []string{r.names.historyState(q.group), r.names.historyStream(q.group)},
		q.command, c.server, newEpoch(), q.limits.Messages, q.limits.Bytes, age, broker.KeepPositions.Milliseconds()).StringSlice()
	if err != nil {
		return e, nil, 0, asServerError(err)
	}
	if len(values) != 6 {
		return e, nil, 0, resp.ErrProtocol
	}
	number := func(i int) (n uint64) {
		n, bad := strconv.ParseUint(values[i], 10, 63)
		if bad != nil {
			err = resp.ErrProtocol
		}
		return n
	}
	e = broker.Extent{Last: number(0), Epoch: values[1], First: number(2), Bytes: int64(number(3))}
	known, ok := parseEpochs(values[4])
	if !ok {
		err = resp.ErrProtocol
	}
	return e, known, int64(number(5)), err
}
