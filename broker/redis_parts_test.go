package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDeque(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var d deque[int]
		var want []int
		next := 0
		check := func(got int, ok bool, i int) {
			if ok != (len(want) > 0) || ok && got != want[i] {
				t.Fatalf("got %d, %v of %v", got, ok, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push back":  func(*rapid.T) { next++; d.pushBack(next); want = append(want, next) },
			"push front": func(*rapid.T) { next++; d.pushFront(next); want = append([]int{next}, want...) },
			"pop front": func(*rapid.T) {
				v, ok := d.popFront()
				check(v, ok, 0)
				want = want[min(1, len(want)):]
			},
			"pop back": func(*rapid.T) {
				v, ok := d.popBack()
				check(v, ok, len(want)-1)
				want = want[:max(0, len(want)-1)]
			},
			"": func(*rapid.T) {
				if d.len() != len(want) {
					t.Fatalf("length %d of %v", d.len(), want)
				}
				for i, v := range want {
					if d.at(i) != v {
						t.Fatalf("element %d of %v is %d", i, want, d.at(i))
					}
				}
			},
		})
	})
}

// TestArena checks that no memory is handed out twice, and that little is taken.
func TestArena(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type piece struct {
			buf   []byte
			block *block
			mark  byte
		}
		var a arena
		var held []piece
		mark := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, blockSize*2)).Draw(t, "n")
				buf, block := a.take(n)
				if len(buf) != 0 || cap(buf) < n {
					t.Fatalf("took %d of %d", cap(buf), n)
				}
				mark++
				held = append(held, piece{append(buf, bytes.Repeat([]byte{mark}, n)...), block, mark})
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, min(3, len(held)-1)).Draw(t, "i")
				a.release(held[i].block)
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

// TestRespPushes reads the same pushes whole and byte by byte.
func TestRespPushes(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 200_000)
	stream := "*3\r\n$9\r\nsubscribe\r\n$4\r\nms:g\r\n:1\r\n" +
		"*3\r\n$7\r\nmessage\r\n$4\r\nms:g\r\n$0\r\n\r\n" +
		"*3\r\n$8\r\nsmessage\r\n$4\r\nms:g\r\n$7\r\nhe\r\nllo\r\n" +
		"*3\r\n$7\r\nmessage\r\n$1\r\ng\r\n$200000\r\n" + big + "\r\n" +
		"*3\r\n$12\r\nsunsubscribe\r\n$4\r\nms:h\r\n:0\r\n"
	type push struct {
		kind pushKind
		what string
	}
	want := []push{
		{pushSubscribed, "ms:g"}, {pushMessage, ""}, {pushMessage, "he\r\nllo"}, {pushMessage, big}, {pushUnsubscribed, "ms:h"},
	}
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(stream), "bytes": iotest.OneByteReader(strings.NewReader(stream)),
		"halves": iotest.HalfReader(strings.NewReader(stream)),
	} {
		in := newRespReader(src, new(hearing))
		var got []push
		for {
			kind, what, err := in.push()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			got = append(got, push{kind, string(what)})
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(push{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRespRefused(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{
		"\r\n", "\n", "x\r\n", "*x\r\n", "*-\r\n", "*3\n", "*2\r\n$7\r\nmessage\r\n", "*3\r\n$5\r\nother\r\n$1\r\na\r\n$1\r\nb\r\n",
		"*3\r\n$7\r\nmessage\r\n:1\r\n", "*99999999999999999999\r\n", strings.Repeat("*", 2*respLine),
	} {
		_, _, err := newRespReader(strings.NewReader(stream), new(hearing)).push()
		if !errors.Is(err, errProtocol) {
			t.Errorf("%.20q: %v", stream, err)
		}
	}
	_, _, err := newRespReader(strings.NewReader("-NOPERM no\r\n"), new(hearing)).push()
	var refused serverError
	if !errors.As(err, &refused) || refused != "NOPERM no" || refused.passing() {
		t.Errorf("an error reply: %v", err)
	}
	if !serverError("MOVED 1 h:1").passing() || !serverError("LOADING").passing() {
		t.Error("a passing error is taken for a final one")
	}
}

func FuzzResp(f *testing.F) {
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\ng\r\n$2\r\nhi\r\n"), 3)
	f.Add([]byte("*3\r\n$9\r\nsubscribe\r\n$1\r\ng\r\n:1\r\n"), 1)
	f.Add([]byte("-ERR x\r\n"), 100)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		read := func(src io.Reader) (got []string) {
			in := newRespReader(src, new(hearing))
			for {
				kind, what, err := in.push()
				if err != nil {
					return got
				}
				got = append(got, string(rune(kind))+string(what))
			}
		}
		split = max(0, min(split, len(b)))
		parts := io.MultiReader(bytes.NewReader(b[:split]), bytes.NewReader(b[split:]))
		if d := cmp.Diff(read(bytes.NewReader(b)), read(parts)); d != "" {
			t.Error(d)
		}
	})
}

func FuzzCounts(f *testing.F) {
	f.Add(appendCount(appendCount(nil, "workers", 3), "", 1<<39))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := eachCount(b, func(group string, n int) {
			if n < Expected || len(group) > maxGroupLen {
				t.Errorf("%d members of %q", n, group)
			}
			again = appendCount(again, group, n)
		})
		if err == nil && len(again) > len(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// TestPeerCounts loses, repeats and reorders what one instance tells of its members.
func TestPeerCounts(t *testing.T) {
	t.Parallel()
	w := newWeights()
	var c peerCounts
	delta := func(version uint64, group string, n int) bool {
		ok, err := c.delta(w, 7, appendCount(binary.BigEndian.AppendUint64(nil, version), group, n))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	part := func(version uint64, i, of uint32, group string, n int) bool {
		be := binary.BigEndian
		b := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, version), i), of)
		complete, err := c.part(w, 7, appendCount(b, group, n))
		if err != nil {
			t.Fatal(err)
		}
		return complete
	}
	if delta(1, "g", 1) {
		t.Error("a delta was taken before all counts were known")
	}
	if part(3, 1, 2, "h", 1) || part(3, 0, 2, "g", 2) || part(3, 0, 2, "g", 2) || !part(3, 1, 2, "h", 5) {
		t.Error("the parts were put together wrongly")
	}
	if !delta(3, "g", 9) || w.count(7, "g") != 2 || w.count(7, "h") != 5 {
		t.Error("a delta from before the counts was applied")
	}
	if !delta(4, "g", 4) || w.count(7, "g") != 4 {
		t.Error("the next delta was not applied")
	}
	if delta(6, "g", 6) || w.count(7, "g") != 4 {
		t.Error("a gap went unnoticed")
	}
	if part(2, 0, 1, "g", 1) || w.count(7, "g") != 4 {
		t.Error("counts went back in time")
	}
	if !part(6, 0, 1, "g", 6) || w.count(7, "g") != 6 || w.count(7, "h") != 0 {
		t.Error("newer counts were not taken whole")
	}
	for _, counts := range [][]byte{{200}, {1}, {1, 'g'}, {1, 'g', 0xFF}, appendCount(nil, strings.Repeat("g", 256), 1)} {
		b := append(binary.BigEndian.AppendUint64(nil, 1), counts...)
		if _, err := (&peerCounts{known: true}).delta(w, 7, b); err == nil {
			t.Errorf("%x was accepted", b)
		}
	}
}
