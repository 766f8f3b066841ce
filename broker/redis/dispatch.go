package redis

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

// readPushes reads the subscriber's connection until it fails. It calls Deliver.
func (r *Broker) readPushes(conn net.Conn) error {
	in := resp.NewReader(conn, &r.heardPushes)
	var f frame
	for {
		kind, what, err := in.Push()
		if err != nil {
			return fmt.Errorf("subscriber: %w", err)
		}
		switch {
		case kind != resp.PushMessage:
			if err := r.subs.commandAnswered(kind, what); err != nil {
				return fmt.Errorf("subscriber: %w", err)
			}
		case r.isOwn(what):
			r.dispatchOwn(what, &f)
		default:
			now := r.now()
			if r.holding.lapsed(now) {
				return errLapsed
			}
			r.dispatchForeign(what, &f, now)
		}
	}
}

// isOwn says, as fast as can be, whether this instance published b.
func (r *Broker) isOwn(b []byte) bool {
	be := binary.BigEndian
	return len(b) >= headerFixed && be.Uint16(b) == headerMagic && b[2]>>4 == headerMajor &&
		broker.NodeID(be.Uint32(b[12:])) == r.self.ID && be.Uint64(b[20:]) == r.run
}

// dispatchOwn takes a message of this instance that came back. Probes and member counts matter, the others are dropped.
func (r *Broker) dispatchOwn(b []byte, f *frame) {
	switch broker.Kind(b[3]) {
	case kindProbe:
		if r.parse(b, f) == nil && len(f.Payload) == 8 {
			r.probeReturned(binary.BigEndian.Uint64(f.Payload))
		}
	case kindDelta:
		if r.parse(b, f) == nil && len(f.Payload) >= deltaFixed {
			r.counts.cameBack(binary.BigEndian.Uint64(f.Payload))
		}
	}
}

// parse reads b into f and checks its signature, where the cluster has secrets.
func (r *Broker) parse(b []byte, f *frame) error {
	if err := parseFrame(b, f); err != nil {
		return err
	}
	if !r.names.signer.genuine(b) {
		r.stats.forged.Add(1)
		r.warnOfForgery("a message without the cluster's signature is ignored", f.From)
		return errForged
	}
	return nil
}

// warnOfForgery logs a message in the name of an instance that another program seems to have sent.
func (r *Broker) warnOfForgery(what string, from broker.NodeID) {
	r.refusals.Warn("another program may publish on the hub's channels", what, slog.String("instance", nodeHex(from)))
}

// probeReturned takes the nonce of a probe of this instance.
func (r *Broker) probeReturned(nonce uint64) {
	now := r.now()
	rtt, ok := r.probes.cameBack(nonce, now)
	if !ok {
		return
	}
	r.stats.probeRTT.Store(rtt)
	r.state.setAvailable()
	r.caught.Store(now - rtt)
	report(r.pub.caughtUp(now - rtt))
	r.recv.caughtUp(now - rtt)
}

// dispatchForeign takes a message of another instance, and counts bytes that are none.
func (r *Broker) dispatchForeign(b []byte, f *frame, now int64) {
	switch err := r.parse(b, f); err {
	case nil:
	case errForged:
		return
	case errVersion:
		if isNumbered(b) {
			r.dispatchNumbered(b, f, now)
			return
		}
		r.stats.otherVersion.Add(1)
		return
	case errCorrupt:
		r.stats.corrupt.Add(1)
		return
	default:
		r.stats.foreign.Add(1)
		return
	}
	if !isKnown(f.Kind) {
		r.stats.otherVersion.Add(1)
		return
	}
	if !isToAll(f.Kind) && f.Kind != broker.KindGroup && f.To != r.self.ID || f.From == r.self.ID {
		r.stats.foreign.Add(1)
		return
	}
	if isData(f.Kind) {
		r.recv.data(f, b, now)
		return
	}
	r.dispatchControl(f)
}

// dispatchNumbered takes messages of a group with history.
func (r *Broker) dispatchNumbered(b []byte, f *frame, now int64) {
	switch err := r.recv.numbered(b, f, now); err {
	case nil, errForged:
	case errVersion:
		r.stats.otherVersion.Add(1)
	default:
		r.stats.corrupt.Add(1)
	}
}

// dispatchControl takes a message between brokers.
func (r *Broker) dispatchControl(f *frame) {
	err := error(nil)
	switch f.Kind {
	case kindHello, kindHere:
		err = r.takeLease(f)
	case kindBye:
		name := r.peers.name(f.From)
		r.recv.parted(originKey{f.From, f.run})
		if r.peers.part(f.From, f.run) {
			r.gathers.gone(f.From)
			r.log.Info("an instance has left", "node", name, "id", nodeHex(f.From))
			r.handler.NodeGone(broker.Node{ID: f.From, Name: name})
		}
	case kindDelta:
		err = r.peers.delta(f.From, f.run, f.Payload)
	case kindSync:
		r.counts.sendAll(f.From)
	case kindCounts:
		err = r.peers.takeCounts(f.From, f.run, f.Payload)
	case kindResume:
		q, ok := parseResumeQuestion(f.From, f.Payload)
		if !ok {
			err = errCorrupt
			break
		}
		report(r.pub.answerResume(q))
	case kindResent, kindResumed:
		err = r.dispatchResent(f)
	case kindPositions:
		err = r.recv.positions(originKey{f.From, f.run}, f.Payload)
	case kindQuery, kindAnswer:
		err = r.dispatchGather(f)
	case kindGrant:
		r.holds.signal()
	case kindProbe: // only its sender gets a probe
		err = errCorrupt
	}
	if err != nil && err != errForged { // which is counted already
		r.stats.corrupt.Add(1)
	}
}

// dispatchResent takes the answer to a kindResume.
func (r *Broker) dispatchResent(f *frame) error {
	request, raw, ok := parseRequest(f.Payload)
	if !ok {
		return errCorrupt
	}
	from := originKey{f.From, f.run}
	if f.Kind == kindResumed {
		return r.recv.recoveryEnded(from, request, raw)
	}
	var inner frame
	if err := r.parse(raw, &inner); err != nil {
		return err
	}
	if inner.From != f.From || inner.run != f.run || !isData(inner.Kind) {
		return errCorrupt
	}
	r.recv.recovered(from, request, &inner, raw)
	return nil
}

// askResume asks o for its messages after the number last.
func (r *Broker) askResume(o *origin, request, last uint64) {
	payload := r.subs.resumeQuestion(o, request, last)
	r.pub.send(&frame{Message: broker.Message{Kind: kindResume, To: o.key.node, Payload: payload}}, nil)
}

// askCounts asks node for its member counts.
func (r *Broker) askCounts(node broker.NodeID) {
	r.pub.send(&frame{Message: broker.Message{Kind: kindSync, To: node}}, nil)
}

// takeLease handles a kindHello or a kindHere.
func (r *Broker) takeLease(f *frame) error {
	if err := r.noteLease(f.From, f.Payload, r.peers.heard); err != nil {
		return err
	}
	_, l, err := decodeLease(f.Payload)
	if err != nil {
		return err
	}
	if l.Ask || l.Minor == 0 { // it has just connected
		r.recv.returned(originKey{f.From, f.run})
		r.peers.returned(f.From)
		r.counts.returned(f.From)
	}
	if l.Ask && f.Kind == kindHello {
		r.publishLease(kindHere, f.From, r.lease())
	}
	return nil
}

// askWhoIsThere tells all instances of this one, and asks each to answer.
func (r *Broker) askWhoIsThere() {
	l := r.lease()
	l.Ask = true
	r.publishLease(kindHello, 0, l)
}

func (r *Broker) publishLease(kind broker.Kind, to broker.NodeID, l lease) {
	value, err := encodeLease(r.run, l)
	if err != nil {
		return // not reached: refreshLease has encoded the same
	}
	r.pub.send(&frame{Message: broker.Message{Kind: kind, To: to, Payload: []byte(value)}}, nil)
}
