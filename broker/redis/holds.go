package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

//go:embed exclusive.lua
var exclusiveLua string

var exclusiveScript = goredis.NewScript(exclusiveLua)

// holdsBatch is how many operations one call of the script carries out at most: Redis does nothing else meanwhile.
const holdsBatch = 64

// noEpoch asks for a new one.
const noEpoch = "0"

// holds are the claims of this instance's clients to exclusive groups, and the lease under which it holds them. The
// script keeps that lease apart from the instance's own: an instance of an older release has none, and one without
// claims needs none. The records in Redis are the truth: a lost answer or notice is made up for by the next round, and
// by reading all entries on a new connection.
type holds struct {
	ttl   int64         // of the lease
	limit int64         // of waiting for a place
	now   func() int64  // nanoseconds since the Broker was made
	mark  func(func())  // calls it behind everything that was published before
	wake  chan struct{} // holds a token when ops has something, or there is news
	turn  sync.Mutex    // held by a round

	mu      sync.Mutex // held during the calls of a Claimant
	claims  map[claimKey]*claim
	claimed uint64 // claims so far
	waiting int    // claims that never had a place
	ops     []holdOp
	lease   *broker.Lease
	epoch   string
	lapses  int64 // broker.BootTime at which the lease in Redis may be over
	unread  bool  // answers may have been lost: the entries are to be read
	refused bool  // Redis refuses the script
	closed  bool
}

type claimKey struct {
	group  string
	client uuid.UUID
}

// claim is a claim of a client. Its place in holds.claims is its identity.
type claim struct {
	claimant broker.Claimant
	number   uint64
	state    claimState
	placed   bool  // it had a place: it is not refused any more
	since    int64 // when it was made
	term     uint64
}

// claimState is how far a claim has come.
type claimState uint8

const (
	claimAsking   claimState = iota // it is to be sent
	claimWaiting                    // it has a place
	claimGranting                   // it is granted, and older messages are still to be delivered
	claimHeld
)

// holdOp is a claim or a release that is to be carried out.
type holdOp struct {
	claimKey
	kind opKind
	to   uuid.UUID // of opHand
	at   broker.NodeID
}

// opKind is what an operation does, as the script knows it.
type opKind string

const (
	opClaim   opKind = "C"
	opRelease opKind = "R"
	opHand    opKind = "H"
)

// holdMargin is the part of a lease that is not used: for clocks that run differently.
func holdMargin(ttl int64) int64 { return ttl / 6 }

func newHolds(o *Options, now func() int64) *holds {
	return &holds{
		ttl: int64(o.LeaseTTL), limit: int64(o.SubscribeTimeout), now: now, wake: make(chan struct{}, 1),
		claims: make(map[claimKey]*claim), lease: new(broker.Lease), epoch: noEpoch,
	}
}

func (h *holds) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Claim implements Broker.
func (r *Broker) Claim(group string, client uuid.UUID, c broker.Claimant) {
	if err := r.started(); err != nil {
		c.Refused(err)
		return
	}
	r.holds.claim(claimKey{group, client}, c)
}

func (h *holds) claim(key claimKey, c broker.Claimant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		c.Refused(broker.ErrClosed)
		return
	}
	h.claimed++
	h.waiting++
	h.claims[key] = &claim{claimant: c, number: h.claimed, since: h.now()}
	h.send(holdOp{claimKey: key, kind: opClaim})
}

// send has op carried out. Without a lease nothing is in Redis, and all claims are sent with the next one. It needs mu.
func (h *holds) send(op holdOp) {
	if h.epoch != noEpoch {
		h.ops = append(h.ops, op)
	}
	h.signal()
}

// Release implements Broker.
func (r *Broker) Release(group string, client uuid.UUID) {
	h := r.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if key := (claimKey{group, client}); h.claims[key] != nil {
		h.forget(key)
		h.send(holdOp{claimKey: key, kind: opRelease})
	}
}

// forget takes a claim that has ended from the claims. It needs mu.
func (h *holds) forget(key claimKey) {
	h.placed(h.claims[key])
	delete(h.claims, key)
}

// placed notes that a claim has had a place, or needs none. It needs mu.
func (h *holds) placed(c *claim) {
	if !c.placed {
		c.placed = true
		h.waiting--
	}
}

// HandOver implements Broker.
func (r *Broker) HandOver(group string, client, to uuid.UUID, at broker.NodeID) {
	h := r.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if key := (claimKey{group, client}); h.claims[key] != nil {
		h.send(holdOp{claimKey: key, kind: opHand, to: to, at: at})
	}
}

// holdRound keeps the lease, carries out what waits, and takes what was granted, where there are claims. It returns an
// error if the connection is of no use any more.
func (r *Broker) holdRound(ctx context.Context, c *connection) error {
	h := r.holds
	h.turn.Lock()
	defer h.turn.Unlock()
	for begun := r.now(); ; {
		ops, epoch, ok := h.begin()
		if !ok {
			return nil
		}
		sent := broker.BootTime()
		reply, err := r.runExclusive(ctx, c, ops, epoch)
		switch {
		case isScriptRefusal(err), isMigrating(err), errors.Is(err, errNoRunID):
			r.exclusiveRefused(err)
			return nil
		case err != nil:
			return fmt.Errorf("exclusive groups: %w", err)
		}
		again := h.take(ops, epoch, reply, sent)
		for _, id := range reply.news {
			r.pub.send(&frame{Message: broker.Message{Kind: kindGrant, To: id}}, nil)
		}
		if !again && h.mustRead() {
			if err := r.readEntries(ctx, c, reply.epoch); err != nil {
				return err
			}
			again = h.hasOps()
		}
		if !again {
			return nil
		}
		if r.now()-begun > int64(r.opt.LeaseTTL)/6 { // the instance's own lease is due
			h.signal()
			return nil
		}
	}
}

// isScriptRefusal says whether err is the server's answer to the script, which it may not run or not now. All else goes on.
func isScriptRefusal(err error) bool {
	var e goredis.Error
	return errors.As(err, &e) && !resp.ServerError(e.Error()).Transient()
}

func (r *Broker) exclusiveRefused(err error) {
	h := r.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.refused {
		h.refused = true
		r.log.Warn("Redis refuses the script for exclusive groups: none is granted", "error", err)
	}
}

// exclusiveReply is what the script returns.
type exclusiveReply struct {
	epoch   string
	more    bool
	results []string
	grants  []grantEntry
	news    []broker.NodeID
}

type grantEntry struct {
	claimKey
	term uint64 // zero: it waits
}

var errNoRunID = errors.New("the server doesn't tell its run_id")

func (r *Broker) runExclusive(ctx context.Context, c *connection, ops []holdOp, epoch string) (reply exclusiveReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	args := r.exclusiveArgs(epoch, len(ops))
	for _, op := range ops {
		to, at := "", ""
		if op.to != uuid.Nil {
			to, at = op.to.String(), nodeHex(op.at)
		}
		args = append(args, string(op.kind), op.client.String(), op.group, to, at)
	}
	values, err := r.callExclusive(ctx, c, args)
	if err != nil {
		return reply, err
	}
	return parseExclusiveReply(values)
}

func (r *Broker) exclusiveArgs(epoch string, ops int) []any {
	return []any{
		r.names.holdRoot(), nodeHex(r.self.ID), formatRun(r.run), epoch, r.opt.LeaseTTL.Milliseconds(), broker.MaxWaiters, ops,
	}
}

func (r *Broker) callExclusive(ctx context.Context, c *connection, args []any) ([]string, error) {
	return exclusiveScript.Run(ctx, c.client, []string{r.names.holdRoot() + "state"}, args...).StringSlice()
}

// noteServer has Redis note which process it is, so that a lease has passed since then by the time of the first claim.
// Where Redis refuses that, the first claim will.
func (r *Broker) noteServer(ctx context.Context, c *connection) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	_, _ = r.callExclusive(ctx, c, r.exclusiveArgs(noEpoch, -1))
}

// parseExclusiveReply reads the script's reply.
func parseExclusiveReply(values []string) (reply exclusiveReply, err error) {
	next := func() string {
		if len(values) == 0 {
			err = errors.New("a reply that is too short")
			return ""
		}
		v := values[0]
		values = values[1:]
		return v
	}
	count := func() int {
		n, _ := strconv.Atoi(next())
		return min(n, len(values))
	}
	if status := next(); status != "ok" {
		return reply, errNoRunID
	}
	reply.epoch, reply.more = next(), next() == "1"
	for range count() {
		reply.results = append(reply.results, next())
	}
	for range count() {
		g, ok := parseEntry(next(), next())
		if !ok {
			return reply, errors.New("an entry that can't be read")
		}
		reply.grants = append(reply.grants, g)
	}
	for len(values) > 0 {
		if id, ok := parseNodeHex(next()); ok {
			reply.news = append(reply.news, id)
		}
	}
	return reply, err
}

func parseEntry(field, term string) (g grantEntry, ok bool) {
	if len(field) < 36 {
		return g, false
	}
	client, err := uuid.Parse(field[:36])
	n, err2 := strconv.ParseUint(term, 10, 64)
	return grantEntry{claimKey{field[36:], client}, n}, err == nil && err2 == nil
}

// begin returns the operations of the next call; they stay in ops. ok is false where there is nothing to do.
func (h *holds) begin() (ops []holdOp, epoch string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.claims) == 0 && len(h.ops) == 0 {
		return nil, "", false
	}
	return slices.Clone(h.ops[:min(len(h.ops), holdsBatch)]), h.epoch, true
}

// take takes the reply to ops, sent at that time under that epoch, and returns whether the script is to be called again
// at once.
func (h *holds) take(ops []holdOp, epoch string, reply exclusiveReply, sent int64) (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = false
	switch {
	case epoch != h.epoch: // the lease ended here meanwhile: what the script did is void under the next epoch
		return true
	case epoch != reply.epoch:
		h.restart()
		h.epoch, h.lease, h.unread = reply.epoch, new(broker.Lease), false
	default:
		h.ops = slices.Delete(h.ops, 0, len(ops))
		h.takeResults(ops, reply)
	}
	h.lapses = sent + h.ttl
	h.lease.Extend(h.lapses - holdMargin(h.ttl))
	return reply.more || len(h.ops) > 0
}

// takeResults needs mu.
func (h *holds) takeResults(ops []holdOp, reply exclusiveReply) {
	granted := make(map[claimKey]uint64, len(reply.grants))
	for _, g := range reply.grants {
		granted[g.claimKey] = g.term
	}
	for i, op := range ops {
		c := h.claims[op.claimKey]
		if c == nil || i >= len(reply.results) {
			continue
		}
		switch result := reply.results[i]; {
		case result == "handed":
			h.forget(op.claimKey)
		case op.kind != opClaim || c.state != claimAsking:
		case result == "full":
			h.forget(op.claimKey)
			c.claimant.Refused(broker.ErrTooManyWaiters)
		default:
			if c.state = claimWaiting; granted[op.claimKey] == 0 {
				h.place(c)
			}
		}
	}
	for key, term := range granted {
		h.granted(key, term)
	}
}

// place tells a claim that it has its place. It needs mu.
func (h *holds) place(c *claim) {
	if !c.placed {
		h.placed(c)
		c.claimant.Waiting()
	}
}

// granted takes a grant, which counts once everything that was published before it has been delivered. It needs mu.
func (h *holds) granted(key claimKey, term uint64) {
	c, lease := h.claims[key], h.lease
	if c == nil || c.state != claimWaiting {
		return
	}
	c.state, c.term = claimGranting, term
	h.placed(c)
	h.mark(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.claims[key] == c && c.state == claimGranting && c.term == term && h.lease == lease {
			c.state = claimHeld
			c.claimant.Granted(term, lease)
		}
	})
}

// restart ends the lease: what was granted is void, and all is claimed again. It needs mu.
func (h *holds) restart() {
	h.lease.End()
	h.ops = nil
	order := make([]claimKey, 0, len(h.claims))
	for key := range h.claims {
		order = append(order, key)
	}
	slices.SortFunc(order, func(a, b claimKey) int { return cmp.Compare(h.claims[a].number, h.claims[b].number) })
	for _, key := range order {
		h.again(key, h.claims[key])
	}
}

// again claims again what has no place any more. It needs mu.
func (h *holds) again(key claimKey, c *claim) {
	held := c.state == claimHeld
	c.state = claimAsking
	h.ops = append(h.ops, holdOp{claimKey: key, kind: opClaim})
	if held {
		c.claimant.Lost()
	}
}

// tick ends a lease that was not extended in time, and refuses claims that had no place in time.
func (h *holds) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != noEpoch && broker.BootTime() > h.lapses {
		h.restart()
		h.epoch, h.ops = noEpoch, nil
		h.signal()
	}
	if h.waiting == 0 {
		return
	}
	for key, c := range h.claims {
		if !c.placed && h.now()-c.since > h.limit {
			h.forget(key)
			h.send(holdOp{claimKey: key, kind: opRelease}) // it may be there after all
			c.claimant.Refused(broker.ErrUnavailable)
		}
	}
}

// reconnected is called with a new connection.
func (h *holds) reconnected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unread = true
	h.signal()
}

func (h *holds) mustRead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unread
}

func (h *holds) hasOps() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops) > 0
}

// readEntries compares the claims with what Redis has of them.
func (r *Broker) readEntries(ctx context.Context, c *connection, epoch string) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	key := r.names.holdRoot() + "entries:" + nodeHex(r.self.ID) + "." + formatRun(r.run) + "." + epoch
	fields, err := c.client.HGetAll(ctx, key).Result()
	if err != nil {
		if isMigrating(err) {
			return nil
		}
		return fmt.Errorf("exclusive groups: read entries: %w", err)
	}
	var entries []grantEntry
	for field, term := range fields {
		if g, ok := parseEntry(field, term); ok {
			entries = append(entries, g)
		}
	}
	r.holds.compare(epoch, entries)
	return nil
}

// compare brings the claims and the entries of the owner together. Operations that came since wait still.
func (h *holds) compare(epoch string, entries []grantEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch != epoch {
		return
	}
	h.unread = false
	pending := make(map[claimKey]bool, len(h.ops))
	for _, op := range h.ops {
		pending[op.claimKey] = true
	}
	there := make(map[claimKey]bool, len(entries))
	for _, e := range entries {
		there[e.claimKey] = true
		c := h.claims[e.claimKey]
		switch {
		case pending[e.claimKey]:
		case c == nil:
			h.ops = append(h.ops, holdOp{claimKey: e.claimKey, kind: opRelease})
		case e.term != 0:
			h.granted(e.claimKey, e.term)
		}
	}
	for key, c := range h.claims {
		if !there[key] && !pending[key] {
			h.again(key, c)
		}
	}
}

// leaveHolds carries out what waits, and gives the lease up unless something is held: a client that was told for how
// long may still act.
func (r *Broker) leaveHolds(ctx context.Context, c *connection) error {
	if err := r.holdRound(ctx, c); err != nil {
		return err
	}
	h := r.holds
	h.mu.Lock()
	free, epoch := true, h.epoch
	for _, c := range h.claims {
		free = free && c.state != claimHeld
	}
	h.mu.Unlock()
	if !free || epoch == noEpoch {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	err := c.client.Del(ctx, r.names.holdRoot()+"lease:"+nodeHex(r.self.ID)).Err()
	if err != nil && !refusesWrites(err) && !isMigrating(err) {
		return fmt.Errorf("exclusive groups: release lease: %w", err)
	}
	return nil
}

// close ends everything.
func (h *holds) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.lease.End()
	for _, c := range h.claims {
		c.claimant.Refused(broker.ErrClosed)
	}
	clear(h.claims)
	h.waiting = 0
}
