package hub

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/parts"
)

// A tracked request is an EVENT with expect: its sender learns when no answer can come any more. Its state lies in two
// places. The requester's loop has the request, in trackedrequest.go: how many clients got it, how many answered. The loop of
// each receiver has that one's part, in trackedparts.go: it owes an answer. Neither looks into the other's. They tell each
// other by what travels behind the messages themselves, so that what is said of a REPLY never overtakes it.

// handle names an open request on its instance: the loop, and a place in the loop's table with the number of its uses.
type handle uint64

const (
	handleIndexBits = 28
	handleLoopShift = 56
)

func newHandle(loop int, uses, index uint32) handle {
	return handle(loop)<<handleLoopShift | handle(uses&(1<<handleIndexBits-1))<<handleIndexBits | handle(index)
}

func (h handle) loop() int     { return int(h >> handleLoopShift) }
func (h handle) index() uint32 { return uint32(h) & (1<<handleIndexBits - 1) }

// tracked is a request as one loop has it: on the requester's loop and wherever it has receivers.
type tracked struct {
	// Set before the loop gets it.
	requester uuid.UUID
	id        string // unescaped
	handle    handle
	drawing   *drawing   // nil for a message that is not drawn, or once and at random
	reporting *reporting // nil where the loop itself tells the requester how many receivers it has
	expires   uint32     // by Hub.now
	hash      uint32     // of requester and id

	// Owned by the loop.
	first parts.Index   // of its receivers' parts that are not over
	added int32         // parts so far
	node  broker.NodeID // on the requester's loop: the instance that a message to one client was sent to
	here  bool          // on the requester's loop: a message to one client was queued for one of this loop

	attempt uint8 // from 1; set before the loop gets it
	toMany  bool  // to a group or to all clients; set before the loop gets it
}

// drawing says how an ANY is drawn that has a key, or is handed on.
type drawing struct {
	keyed  bool
	key    uint64      // its hash
	tried  []uuid.UUID // clients that have had it
	passed int         // loops of this instance that have no other member
}

// reporting adds up how many receivers a request from another instance has here.
type reporting struct {
	loops     atomic.Int32 // that are to report
	receivers atomic.Int32
}

// add adds the receivers of one loop. For the last one it returns how many there are in all, and true.
func (p *reporting) add(n int32) (total int, last bool) {
	p.receivers.Add(n)
	if p.loops.Add(-1) > 0 {
		return 0, false
	}
	return int(p.receivers.Load()), true // of all loops, since each adds before it counts itself off
}

// forLoop returns what another loop of the instance gets.
func (t *tracked) forLoop() *tracked {
	if t == nil {
		return nil
	}
	return &tracked{
		requester: t.requester, id: t.id, handle: t.handle, drawing: t.drawing, reporting: t.reporting, expires: t.expires,
		hash: t.hash, attempt: t.attempt, toMany: t.toMany,
	}
}

// setHere notes on the requester's loop that a message to one client was queued for one of this loop.
func (t *tracked) setHere() {
	if t != nil {
		t.here = true
	}
}

// origin returns the instance of the requester.
func (t *tracked) origin() broker.NodeID { return clientid.Locate(&t.requester).Node }

// isFor reports whether the request has that id and requester.
func (t *tracked) isFor(requester *uuid.UUID, id []byte) bool {
	return t.id == string(id) && t.requester == *requester
}

// isTried reports whether the client has had the request before.
func (t *tracked) isTried(id *uuid.UUID) bool {
	if t.drawing == nil {
		return false
	}
	for i := range t.drawing.tried {
		if t.drawing.tried[i] == *id {
			return true
		}
	}
	return false
}

// hashRequest returns the hash of a request, by which parts are found and remembered.
func (h *Hub) hashRequest(requester *uuid.UUID, id []byte) uint64 {
	be := binary.BigEndian // only id is of a client's choice
	return mix(be.Uint64(requester[:])) ^ mix(be.Uint64(requester[8:])+1) ^ maphash.Bytes(h.requestSeed, id)
}

// What stands behind a message of KindGlobal, KindGroup, KindDirect or KindAny in broker.Message.Extra. The first byte says
// what it is.
const (
	extraRequest = 'Q' // handle 8, timeout in ms 4, attempt 1, whether it has a key 1, hash of the key 8, id 1+n, clients tried 2+16n
	extraReply   = 'A' // handle 8, attempt 1, whether the part is over 1
)

// extra returns what goes along with a request to other instances; nil for a message that is none.
func (t *tracked) extra(h *Hub) []byte {
	if t == nil {
		return nil
	}
	be := binary.BigEndian
	b := append(make([]byte, 0, 32+len(t.id)), extraRequest)
	b = be.AppendUint64(b, uint64(t.handle))
	b = be.AppendUint32(b, uint32(max(int32(t.expires-h.now()), 1)))
	b = append(b, t.attempt)
	var d drawing
	if t.drawing != nil {
		d = *t.drawing
	}
	b = append(b, boolByte(d.keyed))
	b = be.AppendUint64(b, d.key)
	b = append(b, byte(len(t.id)))
	b = append(b, t.id...)
	b = be.AppendUint16(b, uint16(len(d.tried)))
	for i := range d.tried {
		b = append(b, d.tried[i][:]...)
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// readTracked reads what extra wrote of a message of that sender; nil for anything else.
func (h *Hub) readTracked(sender uuid.UUID, b []byte) *tracked {
	r := reader{b: b}
	if r.byte() != extraRequest {
		return nil
	}
	t := &tracked{requester: sender, handle: handle(r.uint64())}
	t.expires = h.now() + min(r.uint32(), math.MaxInt32)
	t.attempt = r.byte()
	keyed, key := r.byte() == 1, r.uint64()
	t.id = string(r.bytes(int(r.byte())))
	tried := int(r.uint16())
	if keyed || tried > 0 || t.attempt > 1 {
		t.drawing = &drawing{keyed: keyed, key: key}
		for range tried {
			t.drawing.tried = append(t.drawing.tried, r.uuid())
		}
	}
	if r.short || t.id == "" {
		return nil
	}
	t.hash = uint32(h.hashRequest(&sender, []byte(t.id)))
	return t
}

// vouch says of a REPLY that it answers a request. The receiver's loop gives it: the requester's looks at nothing else.
type vouch struct {
	handle  handle
	attempt uint8
	final   bool // the part is over
}

func (v *vouch) extra() []byte {
	b := binary.BigEndian.AppendUint64([]byte{extraReply}, uint64(v.handle))
	return append(b, v.attempt, boolByte(v.final))
}

// readVouch reads what vouch.extra wrote.
func readVouch(b []byte) (v vouch, ok bool) {
	r := reader{b: b}
	if r.byte() != extraReply {
		return v, false
	}
	v = vouch{handle(r.uint64()), r.byte(), r.byte() == 1}
	return v, !r.short
}

// reader reads binary fields, as far as there are any.
type reader struct {
	b     []byte
	short bool // there were too few bytes
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.short = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) number(n int) (v uint64) {
	for _, c := range r.bytes(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (r *reader) byte() byte     { return byte(r.number(1)) }
func (r *reader) uint16() uint16 { return uint16(r.number(2)) }
func (r *reader) uint32() uint32 { return uint32(r.number(4)) }
func (r *reader) uint64() uint64 { return r.number(8) }

func (r *reader) uuid() (id uuid.UUID) {
	copy(id[:], r.bytes(len(id)))
	return id
}

// hashKey returns a hash of a key. It is the same on all instances and in all releases: FNV-1a with a finalizer.
func hashKey(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// score is the weight of a place for a key, more for more members.
func score(key, place uint64, members int) float64 {
	u := (float64(mix(key^mix(place+1))>>11) + 0.5) / (1 << 53)
	return float64(members) / -math.Log(u)
}
