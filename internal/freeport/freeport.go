// Package freeport hands out, in tests, ports on which a server can listen later, or again after it was restarted.
//
// A port from Listen(":0") that was closed belongs to the range from which the kernel takes the ports of outgoing
// connections: any connection of any process may have it by the time that the server wants it. The ports of this package
// lie below that range, and two test processes never have the same one at the same time.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// lowest leaves out the ports of well-known servers and those that a developer's own servers often have.
const lowest = 12_000

// Take returns a port that is free on all addresses. It belongs to the test until that ends.
func Take(tb testing.TB) int {
	tb.Helper()
	port, release, err := Find()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return port
}

// Address returns an address of 127.0.0.1 with a port of [Take].
func Address(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Take(tb)))
}

// Find is [Take] outside of a test: the port belongs to the caller until it calls release.
func Find() (port int, release func(), err error) {
	above := firstOutgoing()
	for range 1000 {
		port = lowest + rand.IntN(above-lowest)
		// The name is abstract (no file) and ends with the process at the latest.
		claim, err := net.Listen("unix", fmt.Sprintf("@mastersocket-test-port-%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			_ = claim.Close()
			continue
		}
		_ = l.Close()
		return port, func() { _ = claim.Close() }, nil
	}
	return 0, nil, errors.New("freeport: no free port found")
}

// firstOutgoing returns the first port of the range for outgoing connections: 32,768 unless the machine is set up otherwise.
func firstOutgoing() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 32_768
	}
	fields := strings.Fields(string(b))
	if len(fields) != 2 {
		return 32_768
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil || first < lowest+1000 {
		return 32_768
	}
	return first
}
