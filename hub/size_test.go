package hub

import (
	"testing"
	"unsafe"
)

// TestSessionSize keeps in mind that there is one session for every connection: a byte here is 10 kB for 10,000.
func TestSessionSize(t *testing.T) {
	t.Parallel()
	n := unsafe.Sizeof(session{})
	t.Log(n)
	if n > 144 {
		t.Errorf("a session takes %d bytes, want at most 144: the next size class is a tenth larger", n)
	}
	if n := unsafe.Sizeof(about{}) + unsafe.Sizeof(Peer{}); n > 64 {
		t.Errorf("a client of a service type takes %d bytes more, want at most 64", n)
	}
}
