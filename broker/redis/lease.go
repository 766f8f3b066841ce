package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker"
)

// runDigits is the length of the hexadecimal run that a lease's value begins with, for the scripts to compare.
const runDigits = 16

// lease is what an instance says of itself: in its key in Redis, and in each kindHello and kindHere. Behind the run, it
// is JSON, of which older releases ignore what they don't know.
type lease struct {
	Name    string    `json:"name,omitempty"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address,omitempty"` // believed only as the instance itself published it: see peers.seen
	Started time.Time `json:"started"`
	Clients int       `json:"clients"`
	Counts  uint64    `json:"counts"`            // version of the member counts
	Minor   int       `json:"minor,omitempty"`   // minor version of the wire form; 0 in releases that didn't say it
	Watched []string  `json:"watched,omitempty"` // groups whose messages it needs without having members
	Kinds   int       `json:"kinds,omitempty"`   // the last kind of the Handler's messages that it knows; 0 for KindReturned
	Ask     bool      `json:"ask,omitempty"`     // in a kindHello: every instance answers with a kindHere
}

// lease describes this instance.
func (r *Broker) lease() lease {
	version, clients, watched := r.counts.current()
	return lease{
		Name: r.self.Name, Version: r.self.Version, Address: r.self.Address, Started: r.self.Started, Clients: clients, Counts: version,
		Minor: headerMinor, Watched: watched, Kinds: int(broker.LastKind),
	}
}

func formatRun(run uint64) string { return fmt.Sprintf("%016x", run) }

func encodeLease(run uint64, l lease) (string, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("encode lease: %w", err)
	}
	return formatRun(run) + string(b), nil
}

func decodeLease(value []byte) (run uint64, l lease, err error) {
	if len(value) < runDigits {
		return 0, l, fmt.Errorf("decode lease: %d bytes", len(value))
	}
	if run, err = strconv.ParseUint(string(value[:runDigits]), 16, 64); err != nil {
		return 0, l, fmt.Errorf("decode lease: %w", err)
	}
	if err = json.Unmarshal(value[runDigits:], &l); err != nil {
		return 0, l, fmt.Errorf("decode lease: %w", err)
	}
	return run, l, nil
}

// refreshScript takes or refreshes the own lease, unless another process holds it, and lists all instances.
// KEYS: lease, nodes. ARGV: run, value, ttl in ms, id. It returns whether the lease was there, or "taken"; then ids.
var refreshScript = goredis.NewScript(`
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, 16) ~= ARGV[1] then return {'taken'} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[2], 86400000)
local reply = redis.call('SMEMBERS', KEYS[2])
table.insert(reply, 1, held and 'held' or 'new')
return reply`)

// releaseScript gives the own lease up. KEYS and ARGV as above, without value and ttl.
var releaseScript = goredis.NewScript(`
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, 16) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[2])
return 1`)

// pruneScript takes an instance without a lease from the list.
var pruneScript = goredis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return redis.call('SREM', KEYS[2], ARGV[1])`)

// refreshLease refreshes the own lease and returns the ids of all instances that may hold one. kept says whether the
// lease was still there.
func (r *Broker) refreshLease(ctx context.Context, c *connection) (ids []broker.NodeID, kept bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	value, err := encodeLease(r.run, r.lease())
	if err != nil {
		return nil, false, err
	}
	sent := r.now()
	reply, err := refreshScript.Run(ctx, c.client, []string{r.names.leaseKey(r.self.ID), r.names.nodesKey()},
		formatRun(r.run), value, r.opt.LeaseTTL.Milliseconds(), nodeHex(r.self.ID)).StringSlice()
	switch {
	case refusesWrites(err), isMigrating(err):
		r.writesRefused(err)
		ids, err = r.listInstances(ctx, c)
		return ids, true, err
	case err != nil:
		return nil, false, fmt.Errorf("refresh lease: %w", err)
	case len(reply) == 0 || reply[0] == "taken":
		return nil, false, fmt.Errorf("node %s: %w", nodeHex(r.self.ID), broker.ErrNodeIDTaken)
	}
	r.writesTaken()
	r.holding.extend(sent, r.now()) // where that is too late, the next answer to a kindHello finds out
	return r.otherIDs(reply[1:]), reply[0] == "held", nil
}

// listInstances returns the ids of all instances that may hold a lease, where Redis refuses to write; none where the list is
// elsewhere.
func (r *Broker) listInstances(ctx context.Context, c *connection) ([]broker.NodeID, error) {
	hex, err := c.client.SMembers(ctx, r.names.nodesKey()).Result()
	if err != nil && !isMigrating(err) {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	return r.otherIDs(hex), nil
}

func (r *Broker) otherIDs(hex []string) (ids []broker.NodeID) {
	for _, s := range hex {
		if id, ok := parseNodeHex(s); ok && id != r.self.ID {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// refusesWrites says whether err is that the server takes no writes for now: its disk or memory is full, or it has too
// few replicas. Pub/sub goes on meanwhile.
func refusesWrites(err error) bool {
	if err == nil {
		return false
	}
	for _, code := range []string{"MISCONF ", "NOREPLICAS ", "OOM command"} {
		if strings.Contains(err.Error(), code) {
			return true
		}
	}
	return false
}

// isMigrating says whether err is that the slot of the hub's keys is on its way to another node of a cluster. The keys may
// be in either place; channels stay on this node until the slot has moved.
func isMigrating(err error) bool {
	return err != nil && (strings.HasPrefix(err.Error(), "ASK ") || strings.HasPrefix(err.Error(), "TRYAGAIN "))
}

func (r *Broker) writesRefused(err error) {
	if !r.noWrites {
		r.noWrites = true
		r.log.Warn("Redis refuses to write: leases end, and instances are taken for alive as long as they are heard", "error", err)
	}
}

func (r *Broker) writesTaken() {
	if r.noWrites {
		r.noWrites = false
		r.log.Info("Redis writes again: leases are refreshed")
	}
}

// readLeases brings peers up to date with the leases of ids; before are the peers known when those were listed.
// caught is the time up to which this instance had heard everything when it began to read.
func (r *Broker) readLeases(ctx context.Context, c *connection, ids, before []broker.NodeID, caught int64) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	var values []any
	if len(ids) > 0 {
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = r.names.leaseKey(id)
		}
		var err error
		if values, err = c.client.MGet(ctx, keys...).Result(); err != nil && !isMigrating(err) {
			return fmt.Errorf("read leases: %w", err)
		}
	}
	held := make(map[broker.NodeID]bool, len(ids))
	for i, v := range values {
		value, ok := v.(string)
		if !ok {
			continue
		}
		if err := r.noteLease(ids[i], []byte(value), r.peers.seen); err != nil {
			r.stats.corrupt.Add(1)
			continue
		}
		held[ids[i]] = true
	}
	if r.now() < r.leaseGrace {
		return nil
	}
	r.dropUnheld(before, held, caught)
	return r.prune(ctx, c, ids, held)
}

// dropUnheld forgets the instances of before without a lease that were not heard in the time of a lease. Time counts
// only as far as this instance has caught up with what was published, so that news under way is not taken for silence.
func (r *Broker) dropUnheld(before []broker.NodeID, held map[broker.NodeID]bool, caught int64) {
	for _, id := range before {
		name := r.peers.name(id)
		if !held[id] && r.peers.dropUnheard(id, caught-int64(r.opt.LeaseTTL)) {
			r.stats.lostNodes.Add(1)
			r.gathers.gone(id)
			r.log.Warn("an instance is gone: its lease ended", "node", name, "id", nodeHex(id))
			r.handler.NodeGone(broker.Node{ID: id, Name: name})
		}
	}
}

// prune takes instances without a lease from the list in Redis. An instance adds itself again with its next refresh.
func (r *Broker) prune(ctx context.Context, c *connection, listed []broker.NodeID, held map[broker.NodeID]bool) error {
	if r.noWrites {
		return nil
	}
	for _, id := range listed {
		if held[id] {
			continue
		}
		err := pruneScript.Run(ctx, c.client, []string{r.names.leaseKey(id), r.names.nodesKey()}, nodeHex(id)).Err()
		if err != nil && !refusesWrites(err) && !isMigrating(err) {
			return fmt.Errorf("prune instances: %w", err)
		}
	}
	return nil
}

// noteLease gives another instance's lease to take, one of peers' methods, and logs an instance that is new.
func (r *Broker) noteLease(id broker.NodeID, value []byte, take func(broker.NodeID, []byte) (added bool, err error)) error {
	added, err := take(id, value)
	if added {
		name := r.peers.name(id)
		r.log.Info("an instance is there", "node", name, "id", nodeHex(id))
		if name == r.self.Name {
			r.log.Warn("an instance has the name of this one: if it is not the one that was here before, give each its own",
				"node", name, "id", nodeHex(id))
		}
	}
	return err
}

// leaseRound refreshes the own lease and reads the others'.
func (r *Broker) leaseRound(ctx context.Context, c *connection) error {
	before, caught := r.peers.ids(), r.caught.Load()
	ids, kept, err := r.refreshLease(ctx, c)
	if err != nil {
		return err
	}
	if !kept {
		r.leaseGrace = r.now() + int64(r.opt.LeaseTTL)
	}
	return r.readLeases(ctx, c, ids, before, caught)
}

// leaseLoop keeps the lease until ctx ends or the connection fails.
func (r *Broker) leaseLoop(ctx context.Context, c *connection) error {
	tick := time.NewTicker(r.opt.LeaseTTL / 6)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.keepLease(ctx, c); err != nil {
				return err
			}
		case <-r.holds.wake:
			if err := r.holdRound(ctx, c); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// keepLease refreshes the lease and tells the others that this instance lives.
func (r *Broker) keepLease(ctx context.Context, c *connection) error {
	if err := r.leaseRound(ctx, c); err != nil {
		return err
	}
	sent := r.now()
	if err := r.announce(ctx, c); err != nil {
		return err
	}
	if !r.holding.extend(sent, r.now()) {
		return errLapsed
	}
	if err := r.holdRound(ctx, c); err != nil {
		return err
	}
	if r.state.isLinked() {
		r.probe() // it shows how far this instance has caught up with what the others say
	}
	return nil
}

// announce publishes the own lease by the connection for leases, where it doesn't wait behind messages.
func (r *Broker) announce(ctx context.Context, c *connection) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	value, err := encodeLease(r.run, r.lease())
	if err != nil {
		return err
	}
	b, err := appendFrame(nil, &frame{
		Message: broker.Message{Kind: kindHello, From: r.self.ID, Payload: []byte(value)}, run: r.run,
	}, r.names.signer)
	if err != nil {
		return err
	}
	if err := c.client.Do(ctx, r.names.publish, r.names.global(), b).Err(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// releaseLease gives the own lease up, as far as it can be done.
func (r *Broker) releaseLease(ctx context.Context, c *connection) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	keys := []string{r.names.leaseKey(r.self.ID), r.names.nodesKey()}
	err := releaseScript.Run(ctx, c.client, keys, formatRun(r.run), nodeHex(r.self.ID)).Err()
	if err != nil && !errors.Is(err, goredis.Nil) && !refusesWrites(err) && !isMigrating(err) {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}
