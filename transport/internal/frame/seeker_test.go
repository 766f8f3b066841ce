package frame

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// masked returns a client's frame.
func masked(op ws.OpCode, payload string) []byte {
	var b bytes.Buffer
	h := ws.Header{Fin: true, OpCode: op, Masked: true, Mask: [4]byte{1, 2, 3, 4}, Length: int64(len(payload))}
	if err := ws.WriteHeader(&b, h); err != nil {
		panic(err)
	}
	p := []byte(payload)
	ws.Cipher(p, h.Mask, 0)
	b.Write(p)
	return b.Bytes()
}

func TestSeeker(t *testing.T) {
	t.Parallel()
	long := string(bytes.Repeat([]byte{0x88, 0x80, 1, 2, 3, 4}, 20_000)) // a payload that looks like close frames
	before := bytes.Join([][]byte{
		masked(ws.OpText, ""), masked(ws.OpText, "a"), masked(ws.OpPing, "ping"), masked(ws.OpBinary, long[:200]), masked(ws.OpText, long),
	}, nil)
	stream := append(before, masked(ws.OpClose, "\x03\xe8")...)
	for _, size := range []int{1, 2, 3, 7, 13, 14, 15, 100, 65536, len(stream)} {
		var s Seeker
		for i := 0; i < len(stream); i += size {
			end := min(i+size, len(stream))
			found := s.Seek(stream[i:end])
			if want := end == len(stream); found != want || s.Lost() {
				t.Fatalf("pieces of %d: behind %d bytes: found %v, lost %v", size, end, found, s.Lost())
			}
			if found {
				break
			}
		}
	}
}

func TestSeekerLosesTrack(t *testing.T) {
	t.Parallel()
	var s Seeker
	if s.Seek([]byte("\x81\xfe\x00\x05....hello")) || !s.Lost() { // a length of 5 in two bytes
		t.Error("an invalid header was passed over")
	}
	if s.Seek(masked(ws.OpClose, "")) {
		t.Error("found behind an invalid header")
	}
}

func TestSeekerAllocations(t *testing.T) {
	var s Seeker
	p := bytes.Repeat(masked(ws.OpText, "hello"), 100)
	if n := testing.AllocsPerRun(100, func() { s.Seek(p[:250]); s.Seek(p[250:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
