package socketio

import (
	"testing"
	"unsafe"
)

// TestClientSize: there is one of each for every client.
func TestClientSize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(session{}) + unsafe.Sizeof(socket{}); n > 48+24 {
		t.Errorf("a client takes %d bytes, want at most 72", n)
	}
}
