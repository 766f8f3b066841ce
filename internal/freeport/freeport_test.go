package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestTake(t *testing.T) {
	t.Parallel()
	first := firstOutgoing()
	seen := map[int]bool{}
	for range 50 {
		port := Take(t)
		if seen[port] {
			t.Fatalf("port %d was handed out twice", port)
		}
		seen[port] = true
		if port < lowest || port >= first {
			t.Errorf("port %d may be that of an outgoing connection (from %d on)", port, first)
		}
	}
	address := Address(t)
	for range 2 { // and again
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}

func TestReleasedPortsComeAgain(t *testing.T) {
	t.Parallel()
	port, release, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	name := "@mastersocket-test-port-" + strconv.Itoa(port)
	if l, err := net.Listen("unix", name); err == nil {
		_ = l.Close()
		t.Error("another process may have the port")
	}
	release()
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
