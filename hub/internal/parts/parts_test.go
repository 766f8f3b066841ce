package parts

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

type ask struct {
	hash  uint32
	first Index
}

// TestAgainstAModel adds and removes parts at random, and compares with sets.
func TestAgainstAModel(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	table := New(func(a *ask) uint32 { return a.hash })
	asks := make([]*ask, 40)
	for i := range asks {
		asks[i] = &ask{hash: uint32(i / 2)} // pairs with the same hash
	}
	type key struct {
		slot uint32
		ask  *ask
	}
	model := map[key]bool{} // whether it has begun
	find := func(k key) Index {
		return table.Find(k.slot, k.ask.hash, func(a *ask) bool { return a == k.ask })
	}
	for step := range 200_000 {
		k := key{uint32(r.IntN(60)), asks[r.IntN(len(asks))]}
		begun, has := model[k]
		i := find(k)
		if (i != 0) != has || has && (table.Of(i) != k.ask || table.Slot(i) != k.slot || table.Begun(i) != begun) {
			t.Fatalf("step %d: %v: found %v, want %v", step, k, i, has)
		}
		switch {
		case !has && r.IntN(10) < 7-step/20_000:
			table.Add(k.slot, k.ask, &k.ask.first)
			model[k] = false
		case has && r.IntN(3) == 0:
			table.Begin(i)
			model[k] = true
		case has:
			table.Remove(i, &k.ask.first)
			delete(model, k)
		}
		if table.Len() != len(model) {
			t.Fatalf("step %d: %d parts, want %d", step, table.Len(), len(model))
		}
		if step%1000 != 0 {
			continue
		}
		onSlots, ofAsks := 0, 0
		for slot := range uint32(61) {
			for i := table.FirstOn(slot); i != 0; i = table.NextOn(i) {
				if _, ok := model[key{slot, table.Of(i)}]; !ok || table.Slot(i) != slot {
					t.Fatalf("slot %d has a part that was removed", slot)
				}
				onSlots++
			}
		}
		for _, a := range asks {
			for i := a.first; i != 0; i = table.NextOf(i) {
				if _, ok := model[key{table.Slot(i), a}]; !ok || table.Of(i) != a {
					t.Fatal("a request has a part that was removed")
				}
				ofAsks++
			}
		}
		if onSlots != len(model) || ofAsks != len(model) {
			t.Fatalf("step %d: %d parts by slots, %d by requests, want %d", step, onSlots, ofAsks, len(model))
		}
	}
	for k := range model {
		table.Remove(find(k), &k.ask.first)
	}
	if table.Len() != 0 {
		t.Errorf("%d parts are left", table.Len())
	}
}

// TestABurstIsGivenBack: the memory of many parts is free again once the last is removed.
func TestABurstIsGivenBack(t *testing.T) {
	t.Parallel()
	table := New(func(a *ask) uint32 { return a.hash })
	a := &ask{hash: 7}
	for slot := range uint32(10_000) {
		table.Add(slot, a, &a.first)
	}
	for a.first != 0 {
		table.Remove(a.first, &a.first)
	}
	if table.Len() != 0 || table.chunks != nil || table.on != nil {
		t.Errorf("%d chunks are kept", len(table.chunks))
	}
	table.Add(3, a, &a.first)
	if table.FirstOn(3) == 0 {
		t.Error("the table is not usable any more")
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(part[ask]{}); n != 32 {
		t.Errorf("%d bytes, want 32", n)
	}
}

func TestAllocations(t *testing.T) {
	table := New(func(a *ask) uint32 { return a.hash })
	a := &ask{hash: 7}
	table.Add(1, a, &a.first)
	is := func(b *ask) bool { return a == b }
	if n := testing.AllocsPerRun(100, func() {
		table.Add(2, a, &a.first)
		table.Remove(table.Find(2, 7, is), &a.first)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
