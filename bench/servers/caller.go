//go:build linux

package servers

import (
	"fmt"
	"net/netip"

	"github.com/mastersocket/mastersocket/bench/load"
)

// Caller is implemented by adapters whose server sends messages for callers by HTTP.
type Caller interface {
	// Call returns a request that has the server send a message of that shape to a group, and where to send it.
	Call(site Site, shape load.Shape, group int) (at netip.AddrPort, request []byte)
}

// httpCall returns a POST with JSON and further header lines.
func httpCall(path, fields, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		path, fields, len(body), body)
}

// Call implements Caller.
func (m Mastersocket) Call(site Site, shape load.Shape, group int) (netip.AddrPort, []byte) {
	message := string(masterDialect{shape}.publication(`{"target":"GROUP","identifier":"` + groupName(group) + `"}`))
	const op = `"op":0,`
	return site.Listen, httpCall("/v1/events", "Authorization: Bearer "+benchToken+"\r\n", "{"+message[len("{"+op):])
}

// centrifugoKey lets callers use Centrifugo's API.
const centrifugoKey = "bench-key-5f0c9b7e31d84a26"

// Call implements Caller.
func (c Centrifugo) Call(site Site, shape load.Shape, group int) (netip.AddrPort, []byte) {
	channel, data := centrifugoDialect{shape}.publication(groupName(group))
	return site.Admin, httpCall("/api/publish", "X-API-Key: "+centrifugoKey+"\r\n", fmt.Sprintf(`{"channel":%q,"data":"%s"}`, channel, data))
}
