package hub

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// TestPageOfManyGroups: a page costs as much as it is long, however many groups there are.
func TestPageOfManyGroups(t *testing.T) { // not parallel: it counts the bytes that the whole process allocates
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	const groups = 50_000
	for i := range groups {
		g := h.groups.use(fmt.Sprintf("g%05d", i), 0)
		if i%2 == 0 { // the others have no members
			g.local[0].count.Add(1)
		}
	}
	var cursor string
	cost := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		page, err := h.Groups(t.Context(), "g", cursor, 100)
		runtime.ReadMemStats(&after)
		if err != nil || len(page.Groups) != 100 {
			t.Fatal(len(page.Groups), err)
		}
		cursor = page.Next
		return after.TotalAlloc - before.TotalAlloc
	}
	least := cost()
	for range 9 {
		least = min(least, cost())
	}
	if least > 400_000 {
		t.Errorf("a page of 100 among %d groups allocates %d bytes", groups, least)
	}
}

func TestPagesOfGroups(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	var names []string
	for i := range 3000 {
		name := fmt.Sprint(i)
		names = append(names, name)
		h.groups.use(name, 0).local[0].count.Add(1)
	}
	slices.Sort(names)
	for _, prefix := range []string{"", "1", "10", "299", "2999", "3000", "x"} {
		var want, got []string
		for _, name := range names {
			if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
				want = append(want, name)
			}
		}
		for cursor := ""; ; {
			page, err := h.Groups(t.Context(), prefix, cursor, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range page.Groups {
				got = append(got, g.Name)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("prefix %q: %d groups, want %d", prefix, len(got), len(want))
		}
	}
}
