package redis

import (
	"slices"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
)

// TestFenceWaitsForOthers loses a connection on which two instances had published: a message of the one, then a FENCE of
// the other, which must not be delivered before the message was had again.
func TestFenceWaitsForOthers(t *testing.T) {
	t.Parallel()
	one, other := originKey{1, 9}, originKey{3, 9}
	message := func(o originKey, pubSeq uint64) *frame {
		return &frame{
			Message: broker.Message{Kind: broker.KindDirect, From: o.node, To: 2, Seq: uint64(o.node)*100 + pubSeq}, run: o.run, pubSeq: pubSeq,
		}
	}
	fence := func(o originKey, pubSeq uint64) *frame {
		f := message(o, pubSeq)
		f.Flags = broker.FlagFence
		return f
	}
	type step func(m *model)
	data := func(f *frame) step { return func(m *model) { m.recv.data(f, wire(t, f), m.recv.now()) } }
	resent := func(f *frame) step {
		return func(m *model) {
			key := originKey{f.From, f.run}
			m.recv.recovered(key, m.recv.origins[key].recovery.request, f, wire(t, f))
		}
	}
	resumed := func(key originKey) step {
		return func(m *model) { m.recv.recoveryEnded(key, m.recv.origins[key].recovery.request, nil) }
	}
	broken := func(m *model) { m.breakReceiver(); m.recv.tick() }
	back := func(m *model) { m.connectReceiver([]originKey{one, other}) }
	for name, tc := range map[string]struct {
		steps []step
		want  []uint64
	}{
		"nothing broke": {[]step{data(message(one, 1)), data(fence(other, 1))}, []uint64{101, 301}},
		"FENCE on its channel": {
			[]step{broken, back, data(fence(other, 1)), resumed(other), resent(message(one, 1)), resumed(one)}, []uint64{101, 301},
		},
		"FENCE had again": {
			[]step{broken, back, resent(fence(other, 1)), resumed(other), resent(message(one, 1)), resumed(one)}, []uint64{101, 301},
		},
		"what follows the FENCE does not wait": {
			[]step{broken, back, resent(fence(other, 1)), resent(message(other, 2)), resumed(other), resumed(one)},
			[]uint64{302, 301},
		},
		"broken again": {
			[]step{
				broken, back, data(fence(other, 1)), resumed(other), broken, back, resumed(other), resent(message(one, 1)),
				resumed(one),
			},
			[]uint64{101, 301},
		},
		"held behind the FENCE of the last to resume": {
			[]step{
				broken, back, data(fence(one, 2)), data(fence(other, 1)), resumed(other), resent(message(one, 1)), resumed(one),
			},
			[]uint64{101, 102, 301},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newModel(nil)
			m.clock += 1 << 50
			for _, s := range tc.steps {
				s(m)
			}
			if !slices.Equal(m.got, tc.want) {
				t.Errorf("delivered %v, want %v", m.got, tc.want)
			}
			if len(m.recv.fences) != 0 {
				t.Errorf("%d are set aside still", len(m.recv.fences))
			}
		})
	}
}

// wire returns the wire form of f.
func wire(t *testing.T, f *frame) []byte {
	b, err := appendFrame(nil, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
