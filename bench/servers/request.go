//go:build linux

package servers

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
)

// request is an opening handshake as a plain client sends it. The key is the one of RFC 6455, section 1.3.
func request(path, extra string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, extra)
}

// groupName is what the group of that number is called.
func groupName(group int) string { return fmt.Sprintf("bench%04d", group) }

// padding returns what makes a payload of size bytes have want.
func padding(size, want int) []byte {
	return bytes.Repeat([]byte{'x'}, max(0, want-size))
}

func portOf(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }
