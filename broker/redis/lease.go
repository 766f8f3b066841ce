package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker"
)

// runDigits is the length of the hexadecimal run that a lease's value begins with, for the scripts to compare.
const runDigits = 16

// lease is the value of a lease's key, behind the run.
type lease struct {
	Name    string    `json:"name,omitempty"`
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started"`
	Clients int       `json:"clients"`
	Counts  uint64    `json:"counts"` // version of the member counts
}

func formatRun(run uint64) string { return fmt.Sprintf("%016x", run) }

func encodeLease(self broker.Node, run, countsVersion uint64, clients int) (string, error) {
	b, err := json.Marshal(lease{self.Name, self.Version, self.Started, clients, countsVersion})
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
	version, clients := r.counts.current()
	value, err := encodeLease(r.self, r.run, version, clients)
	if err != nil {
		return nil, false, err
	}
	reply, err := refreshScript.Run(ctx, c.client, []string{r.names.lease(r.self.ID), r.names.nodes()},
		formatRun(r.run), value, r.opt.LeaseTTL.Milliseconds(), nodeHex(r.self.ID)).StringSlice()
	if err != nil {
		return nil, false, fmt.Errorf("refresh lease: %w", err)
	}
	if len(reply) == 0 || reply[0] == "taken" {
		return nil, false, fmt.Errorf("node %s: %w", nodeHex(r.self.ID), broker.ErrNodeIDTaken)
	}
	for _, s := range reply[1:] {
		if id, ok := parseNodeHex(s); ok && id != r.self.ID {
			ids = append(ids, id)
		}
	}
	return ids, reply[0] == "held", nil
}

// readLeases brings peers up to date with the leases of ids; before are the peers known when those were listed.
func (r *Broker) readLeases(ctx context.Context, c *connection, ids, before []broker.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	var values []any
	if len(ids) > 0 {
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = r.names.lease(id)
		}
		var err error
		if values, err = c.client.MGet(ctx, keys...).Result(); err != nil {
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
	return r.dropUnheld(ctx, c, ids, before, held)
}

// dropUnheld forgets instances without a lease, unless the leases may have been lost by Redis: then each gets the
// time to renew its own.
func (r *Broker) dropUnheld(ctx context.Context, c *connection, listed, before []broker.NodeID, held map[broker.NodeID]bool) error {
	if r.now() < r.leaseGrace {
		return nil
	}
	for _, id := range before {
		name := r.peers.name(id)
		if !held[id] && r.peers.remove(id, 0) {
			r.stats.lostNodes.Add(1)
			r.nodeGone(id)
			r.log.Warn("an instance is gone: its lease ended", "node", name, "id", nodeHex(id))
		}
	}
	for _, id := range listed {
		if held[id] {
			continue
		}
		err := pruneScript.Run(ctx, c.client, []string{r.names.lease(id), r.names.nodes()}, nodeHex(id)).Err()
		if err != nil {
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

// nodeGone ends what waits for an instance.
func (r *Broker) nodeGone(id broker.NodeID) {
	r.recv.gone(id)
	r.gathers.gone(id)
}

// leaseRound refreshes the own lease and reads the others'.
func (r *Broker) leaseRound(ctx context.Context, c *connection) error {
	before := r.peers.ids()
	ids, kept, err := r.refreshLease(ctx, c)
	if err != nil {
		return err
	}
	if !kept {
		r.leaseGrace = r.now() + int64(r.opt.LeaseTTL)
	}
	slices.Sort(ids)
	return r.readLeases(ctx, c, ids, before)
}

// leaseLoop keeps the lease until ctx ends or the connection fails.
func (r *Broker) leaseLoop(ctx context.Context, c *connection) error {
	tick := time.NewTicker(r.opt.LeaseTTL / 6)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.leaseRound(ctx, c); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// releaseLease gives the own lease up, as far as it can be done.
func (r *Broker) releaseLease(ctx context.Context, c *connection) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.DialTimeout)
	defer cancel()
	keys := []string{r.names.lease(r.self.ID), r.names.nodes()}
	err := releaseScript.Run(ctx, c.client, keys, formatRun(r.run), nodeHex(r.self.ID)).Err()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}
