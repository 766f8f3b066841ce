package bridge

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// Large messages share a budget; small ones always pass. A message's reservation is released in every case.
func TestMemoryForLargeMessages(t *testing.T) {
	t.Parallel()
	const most, shared = 1 << 20, 300 << 10
	b := &Bridge{opts: Options{MaxFrameBytes: most}}
	b.large.left.Store(shared)
	read := func(r io.Reader) (int, error) {
		s := &socket{b: b}
		large, err := s.readAll(r)
		b.large.release(large)
		return len(s.buf), err
	}
	for _, tc := range []struct {
		bytes int
		err   error
	}{{0, nil}, {1, nil}, {511, nil}, {512, nil}, {513, nil}, {freeBytes - 1, nil}, {200 << 10, nil}, {600 << 10, errMemory}, {100, nil}} {
		for _, r := range []io.Reader{bytes.NewReader(make([]byte, tc.bytes)), iotest.OneByteReader(bytes.NewReader(make([]byte, tc.bytes)))} {
			if n, err := read(r); !errors.Is(err, tc.err) || err == nil && n != tc.bytes {
				t.Errorf("%d bytes: %d read, %v", tc.bytes, n, err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := read(io.MultiReader(bytes.NewReader(make([]byte, 200<<10)), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader that breaks: %v", err)
	}
	if left := b.large.left.Load(); left != shared {
		t.Errorf("%d bytes are left, want %d", left, shared)
	}
	hog := &socket{b: b}
	held, err := hog.readAll(bytes.NewReader(make([]byte, 200<<10)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(bytes.NewReader(make([]byte, 200<<10))); !errors.Is(err, errMemory) {
		t.Errorf("a second large message: %v", err)
	}
	if _, err := read(bytes.NewReader(make([]byte, freeBytes-1))); err != nil {
		t.Errorf("a small message beside it: %v", err)
	}
	b.large.release(held)
}
