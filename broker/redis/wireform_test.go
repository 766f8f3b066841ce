package redis

import (
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// TestWireForm holds what instances send each other to its bytes. Instances of two releases run side by side during an
// upgrade: a change here needs a new headerMinor, and older instances must be sent the former bytes.
func TestWireForm(t *testing.T) {
	t.Parallel()
	be := binary.BigEndian
	whole := &frame{
		Message: broker.Message{
			Kind: broker.KindGroup, Flags: broker.FlagFence, From: 0x01020304, To: 0x05060708, Seq: 9,
			Sender: uuid.UUID{1, 2, 3}, Receiver: uuid.UUID{4, 5, 6}, Group: []byte("workers"), Payload: []byte("{}"),
		},
		run: 10, pubSeq: 11, chanSeq: 12,
	}
	extra := *whole
	extra.Extra = []byte{1, 2, 3}
	counts := appendCount(appendCount(appendCount(nil, "", 300), "workers", 1), "soon", broker.Expected)
	value, err := encodeLease(10, lease{
		Name: "a", Version: "1", Started: time.Unix(0, 0).UTC(), Clients: 2, Counts: 3, Minor: 1, Watched: []string{"$x"}, Ask: true, Kinds: 6,
	})
	if err != nil {
		t.Fatal(err)
	}
	subs := newSubscriptions(&names{}, 1, newOwnCounts(), func() int64 { return 1000 }, 0, 0)
	subs.global.since, subs.own.since = 1, 2
	subs.groups["workers"] = &subscription{want: true, since: 3}
	positions := (&channelSeq{kind: broker.KindGlobal, sent: 1}).append(nil, 5)
	positions = (&channelSeq{kind: broker.KindDirect, sent: 300, firstAt: 1, lastAt: 2}).append(positions, 5)
	positions = (&channelSeq{kind: broker.KindGroup, group: "workers", sent: 2, firstAt: 1, lastAt: 2}).append(positions, 5)
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"frame": {mustAppend(t, nil, whole), "e54d1202005b040777d931cf0102030405060708000000000000000a000000000000000b" +
			"000000000000000c0000000000000009010203000000000000000000000000000405060000000000000000000000000" +
			"0776f726b6572737b7d"},
		"frame with extra": {mustAppend(t, nil, &extra), "e54d120200600c079bc9d53f" +
			"0102030405060708000000000000000a000000000000000b000000000000000c000000000000000901020300000000000000000000000000040506000000000" +
			"00000000000000000776f726b65727300030102037b7d"},
		"counts of a kindDelta and a kindCounts": {counts, "00d80407776f726b6572730204736f6f6e01"},
		"lease": {[]byte(value), hex.EncodeToString([]byte(`000000000000000a{"name":"a","version":"1",` +
			`"started":"1970-01-01T00:00:00Z","clients":2,"counts":3,"minor":1,"watched":["$x"],"kinds":6,"ask":true}`))},
		"kindResume": {subs.resumeQuestion(&origin{key: originKey{2, 7}}, 5, 6),
			"0000000000000005" + "0000000000000007" + "0000000000000006" + "00000000000003e7" + "7fffffffffffffff" +
				hex.EncodeToString(be.AppendUint64(nil, groupHash([]byte("workers")))) + "00000000000003e5"},
		"hash of a group": {be.AppendUint64(nil, groupHash([]byte("workers"))), "e4dede02383cb9cc"},
		"kindPositions":   {positions, "0101050503ac0204030207776f726b657273020403"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
	kinds := []broker.Kind{
		kindProbe, kindHello, kindBye, kindDelta, kindSync, kindCounts, kindResume, kindResent, kindResumed, kindQuery, kindAnswer,
		kindHere, kindPositions,
	}
	for i, kind := range kinds {
		if kind != broker.Kind(64+i) {
			t.Errorf("kind %d is %d now", 64+i, kind)
		}
	}
}
