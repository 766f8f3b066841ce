package arena

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestArena checks that no memory is handed out twice, and that little is taken.
func TestArena(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type piece struct {
			buf   []byte
			block *Block
			mark  byte
		}
		var a Arena
		var held []piece
		mark := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, blockSize*2)).Draw(t, "n")
				buf, block := a.Take(n)
				if len(buf) != 0 || cap(buf) < n {
					t.Fatalf("took %d of %d", cap(buf), n)
				}
				mark++
				held = append(held, piece{append(buf, bytes.Repeat([]byte{mark}, n)...), block, mark})
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip() // rapid takes another step instead
				}
				i := rapid.IntRange(0, min(3, len(held)-1)).Draw(t, "i")
				a.Release(held[i].block)
				held = slices.Delete(held, i, i+1)
			},
			"": func(*rapid.T) {
				for _, p := range held {
					if len(bytes.Trim(p.buf, string(rune(p.mark)))) > 0 && bytes.Count(p.buf, []byte{p.mark}) != len(p.buf) {
						t.Fatal("memory was handed out twice")
					}
				}
			},
		})
	})
}
